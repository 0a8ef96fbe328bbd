//! What goes to control and comes from it, in the words of this program.

use super::Caller;
use super::learned::bounded;
use crate::analysis::News;
use crate::collector_counts::CollectorCounts;
use crate::draft_key::DraftKey;
use crate::feedback::{Answer, Verdict};
use crate::status::Status;
use meshgate_policy::limits::ACTOR_BYTES_MAX;
use meshgate_policy::suggestion::{self, Decision, Feature, FiledSuggestion, Suggestion};
use meshgate_policy::{LearnerReport, Withdrawal};
use meshgate_proto::wire;

impl Caller {
    /// Returns a suggestion as control takes it.
    pub(super) fn wire_suggestion(&self, suggestion: &Suggestion) -> wire::Suggestion {
        wire::Suggestion { learner: self.learner.to_string(), ..suggestion.clone().into() }
    }

    /// Returns how the learner is doing.
    pub(super) fn report_of(&self, figures: &Status) -> LearnerReport {
        let analyst = figures.analyst();
        let CollectorCounts { records, lost, windows, windows_left_out, .. } = figures.collector.read();
        let dropped = |(reason, drafts): (&crate::adviser::DropReason, &u64)| Feature {
            name: reason.name().into(),
            value: crate::proportion::real(*drafts),
        };
        LearnerReport {
            learner: self.learner.clone(),
            epoch: self.epoch,
            model_version: analyst.detector.model_version.clone().unwrap_or_default(),
            records_read: records,
            records_lost: lost,
            window_s: figures.window_s,
            windows_closed: windows,
            windows_left_out,
            series_live: analyst.detector.series as u64,
            series_left_out: analyst.detector.series_left_out,
            training_steps: analyst.training_steps,
            training_loss: analyst.training_loss,
            calibration_scores: analyst.detector.calibrated as u64,
            calibration_scores_needed: analyst.detector.calibrated_needed as u64,
            suggestions_submitted: analyst.suggestions,
            drafts_dropped: analyst.dropped.iter().map(dropped).collect(),
            decision_sequence: analyst.decision_sequence,
            uptime_ns: u64::try_from(figures.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
            feedback: Some(bounded(analyst.feedback.clone())),
        }
    }
}

/// Returns what control told of one place in the sequence of decisions, with that place, or what of it is not understood.
pub(super) fn told(decided: wire::DecidedSuggestion) -> Result<(u64, News), String> {
    match decided {
        wire::DecidedSuggestion { suggestion: Some(message), withdrawal: None } => {
            let filed = FiledSuggestion::try_from(message).map_err(|fault| format!("suggestion.{fault}"))?;
            let FiledSuggestion { suggestion, decision, .. } = filed;
            decision_told(suggestion, decision.ok_or("suggestion.decision: is missing")?)
        }
        wire::DecidedSuggestion { suggestion: None, withdrawal: Some(message) } => {
            let withdrawal = Withdrawal::try_from(message).map_err(|fault| format!("withdrawal.{fault}"))?;
            let Withdrawal { sequence, suggestion, time_ns, .. } = withdrawal;
            Ok((sequence, News::Withdrawn { sequence, suggestion, time_ns }))
        }
        _ => Err("neither a decision nor a withdrawal alone".to_owned()),
    }
}

fn decision_told(suggestion: Suggestion, decision: Decision) -> Result<(u64, News), String> {
    // What a person says in words is for people; they read it at control.
    let Decision { sequence, suggestion: number, verdict, comment: _, mut actor, time_ns, automatic } =
        decision;
    let draft = DraftKey::of(&suggestion.draft);
    if automatic {
        return Ok((sequence, News::Automatic { sequence, draft, time_ns }));
    }
    let (verdict, reason, edited) = match verdict {
        suggestion::Verdict::Rejected(reason) => (Verdict::Rejected, Some(reason), None),
        suggestion::Verdict::Accepted { edited: false, .. } => (Verdict::Accepted, None, None),
        suggestion::Verdict::Accepted { edited: true, version: _, made } => {
            (Verdict::Edited, None, Some(made))
        }
        suggestion::Verdict::Expired => return Err("decision: expired is no answer".to_owned()),
    };
    actor.truncate(actor.floor_char_boundary(ACTOR_BYTES_MAX));
    let answer = Answer {
        sequence,
        suggestion: number,
        draft,
        features: suggestion.features,
        rank: suggestion.rank,
        propensity: suggestion.propensity,
        confidence: suggestion.confidence,
        verdict,
        reason,
        proposed: edited.is_some().then_some(suggestion.draft),
        edited,
        overlap: 1.0,
        actor,
        time_ns,
    };
    Ok((sequence, News::Answered(Box::new(answer))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::suggestion::Reason;

    fn draft(ports: &str) -> wire::GroupRelationship {
        wire::GroupRelationship {
            source_group_name: "a".into(),
            destination_group_name: "b".into(),
            protocol: "TCP".into(),
            port_range: ports.into(),
            action: "deny".into(),
            ..wire::GroupRelationship::default()
        }
    }

    fn decided(state: &str, decision: wire::Decision) -> wire::DecidedSuggestion {
        let decision = wire::Decision {
            sequence: 5,
            suggestion_id: 3,
            verdict: state.into(),
            actor: "alice (root)".into(),
            comment: "because".into(),
            time_ns: 9,
            ..decision
        };
        let suggestion = wire::Suggestion {
            id: 3,
            learner: "l1".into(),
            state: state.into(),
            origin: "anomaly".into(),
            draft: Some(draft("22").into()),
            confidence: 0.75,
            rank: 4,
            propensity: 0.5,
            decision: Some(decision),
            ..wire::Suggestion::default()
        };
        wire::DecidedSuggestion { suggestion: Some(suggestion), withdrawal: None }
    }

    fn answered(state: &str, decision: wire::Decision) -> Answer {
        match told(decided(state, decision)).unwrap() {
            (5, News::Answered(answer)) => *answer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_reason_reaches_the_learner_with_who_gave_it() {
        for reason in [Reason::WrongAnomaly, Reason::WrongRule, Reason::TooBroad, Reason::Later] {
            let decision = wire::Decision { reason: reason.to_string(), ..wire::Decision::default() };
            let answer = answered("rejected", decision);
            assert_eq!((answer.verdict, answer.reason), (Verdict::Rejected, Some(reason)));
            assert_eq!((answer.actor.as_str(), answer.suggestion, answer.time_ns), ("alice (root)", 3, 9));
            assert_eq!((answer.rank, answer.propensity, answer.confidence), (4, 0.5, 0.75));
        }
    }

    #[test]
    fn an_edited_draft_comes_as_it_was_committed() {
        let committed = wire::GroupRelationship { id: 8, ..draft("22,2222") };
        let with =
            || wire::Decision { version: 2, made: Some(committed.clone().into()), ..Default::default() };
        let edited = answered("edited", with()).edited.unwrap();
        let edited = edited.relationship().unwrap();
        assert_eq!(
            (edited.id.map(|id| id.0), edited.port_range.to_string()),
            (Some(8), "22,2222".to_owned())
        );
        assert_eq!(answered("accepted", with()).edited, None);
    }

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        let mut message =
            decided("rejected", wire::Decision { reason: "later".into(), ..Default::default() });
        let decision = message.suggestion.as_mut().unwrap().decision.as_mut().unwrap();
        decision.actor = format!("a{}", "\u{e9}".repeat(ACTOR_BYTES_MAX));
        let (_, News::Answered(answer)) = told(message).unwrap() else { panic!("no answer") };
        assert_eq!(answer.actor.len(), ACTOR_BYTES_MAX - 1);
    }

    #[test]
    fn what_control_accepts_by_itself_and_what_is_taken_back_are_no_answers() {
        let made = wire::GroupRelationship { id: 8, mode: "shadow".into(), ..draft("22") };
        let decision = wire::Decision { automatic: true, made: Some(made.into()), ..Default::default() };
        let (sequence, news) = told(decided("accepted", decision)).unwrap();
        assert!(matches!(news, News::Automatic { sequence: 5, time_ns: 9, .. }), "{news:?} {sequence}");
        let withdrawal = wire::Withdrawal {
            sequence: 6,
            suggestion_id: 3,
            decision: 5,
            time_ns: 10,
            ..Default::default()
        };
        let message = wire::DecidedSuggestion { suggestion: None, withdrawal: Some(withdrawal.clone()) };
        let expected = News::Withdrawn { sequence: 6, suggestion: 3, time_ns: 10 };
        assert_eq!(told(message).unwrap(), (6, expected));
        let odd = wire::Withdrawal { decision: 6, ..withdrawal };
        let message = wire::DecidedSuggestion { suggestion: None, withdrawal: Some(odd) };
        assert_eq!(told(message).unwrap_err(), "withdrawal.decision: stands out of order or twice");
        assert!(told(wire::DecidedSuggestion::default()).is_err());
    }
}
