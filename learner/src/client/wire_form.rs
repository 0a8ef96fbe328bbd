//! What goes to control and comes from it, in the words of this program.

use super::Caller;
use crate::collector_counts::CollectorCounts;
use crate::draft_key::DraftKey;
use crate::feedback::{Answer, Verdict};
use crate::status::Status;
use meshgate_policy::LearnerReport;
use meshgate_policy::suggestion::{self, Decision, Feature, FiledSuggestion, Suggestion};
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
        }
    }
}

/// Returns the answer that a decision is, or what of it is not understood.
pub(super) fn answer(decided: wire::DecidedSuggestion) -> Result<Answer, String> {
    let wire::DecidedSuggestion { suggestion } = decided;
    let message = suggestion.ok_or("suggestion: is missing")?;
    let filed = FiledSuggestion::try_from(message).map_err(|fault| fault.to_string())?;
    let FiledSuggestion { id: _, learner: _, submitted_ns: _, suggestion, decision } = filed;
    let decision = decision.ok_or("decision: is missing")?;
    let Decision { sequence, suggestion: number, verdict, comment: _, actor: _, time_ns } = decision;
    let (verdict, reason, edited) = match verdict {
        suggestion::Verdict::Rejected(reason) => (Verdict::Rejected, Some(reason), None),
        suggestion::Verdict::Accepted { edited: false, .. } => (Verdict::Accepted, None, None),
        suggestion::Verdict::Accepted { edited: true, version: _, made } => {
            (Verdict::Edited, None, Some(made))
        }
        suggestion::Verdict::Expired => return Err("decision: expired is no answer".to_owned()),
    };
    Ok(Answer {
        sequence,
        suggestion: number,
        draft: DraftKey::of(&suggestion.draft),
        features: suggestion.features,
        rank: suggestion.rank,
        propensity: suggestion.propensity,
        confidence: suggestion.confidence,
        verdict,
        reason,
        edited,
        time_ns,
    })
}
