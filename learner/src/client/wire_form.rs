//! Suggestions, reports and decisions in the form of the wire, and back.

use super::Caller;
use crate::collector_counts::CollectorCounts;
use crate::feedback::{Answer, Verdict};
use crate::status::Status;
use crate::suggestion::{DraftKey, Evidence, EvidenceKind, Measure, Origin, RankFeature, Suggestion};
use meshgate_policy::{AuthoredRelationship, EffectCounts};
use meshgate_proto::wire;

impl Caller {
    /// Returns a suggestion as control takes it.
    pub(super) fn wire_suggestion(&self, suggestion: &Suggestion) -> wire::Suggestion {
        let Suggestion {
            origin,
            draft,
            confidence,
            relevance,
            rank,
            propensity,
            justification,
            evidence,
            effect,
            over_permissiveness,
            narrows,
            shadows,
            makes_explicit,
            features,
            base_version,
            model_version,
            window_end_ns,
        } = suggestion;
        wire::Suggestion {
            id: 0,
            tenant: "default".into(),
            learner: self.learner.clone(),
            state: String::new(),
            origin: origin_word(*origin).into(),
            draft: Some(draft.into()),
            confidence: *confidence,
            relevance: *relevance,
            rank: *rank,
            propensity: *propensity,
            justification: justification.clone(),
            evidence: evidence.iter().map(wire_evidence).collect(),
            effect: Some(wire_effect(effect)),
            over_permissiveness: *over_permissiveness,
            narrows: narrows.iter().map(|rule| rule.0).collect(),
            shadows: shadows.iter().map(|rule| rule.0).collect(),
            makes_explicit: *makes_explicit,
            features: features.iter().map(wire_feature).collect(),
            base_version: base_version.0,
            model_version: model_version.clone(),
            window_end_ns: *window_end_ns,
            submitted_ns: 0,
            decision: None,
        }
    }

    /// Returns how the learner is doing, as control takes it.
    pub(super) fn wire_report(&self, figures: &Status) -> wire::LearnerReport {
        let analyst = figures.analyst();
        let CollectorCounts { records, lost, windows, windows_left_out, .. } = figures.collector.read();
        let dropped = |(reason, drafts): (&crate::adviser::DropReason, &u64)| wire::Feature {
            name: reason.name().into(),
            value: crate::proportion::real(*drafts),
        };
        wire::LearnerReport {
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
    let suggestion = suggestion.ok_or("suggestion: is missing")?;
    let decision = suggestion.decision.ok_or("decision: is missing")?;
    let wire::Decision {
        sequence,
        suggestion_id,
        verdict,
        reason,
        comment: _,
        actor: _,
        time_ns,
        version: _,
        relationship,
    } = decision;
    let verdict: Verdict = verdict.parse().map_err(text)?;
    let edited = relationship.filter(|_| verdict == Verdict::Edited).map(AuthoredRelationship::try_from);
    Ok(Answer {
        sequence,
        suggestion: suggestion_id,
        draft: draft_key(suggestion.draft.ok_or("draft: is missing")?)?,
        features: suggestion
            .features
            .into_iter()
            .map(|wire::Feature { name, value }| RankFeature { name, value })
            .collect(),
        rank: suggestion.rank,
        propensity: suggestion.propensity,
        confidence: suggestion.confidence,
        verdict,
        reason: if reason.is_empty() { None } else { Some(reason.parse().map_err(text)?) },
        edited: edited.transpose().map_err(text)?,
        time_ns,
    })
}

/// Returns what a draft says.
pub(super) fn draft_key(draft: wire::GroupRelationship) -> Result<DraftKey, String> {
    Ok(DraftKey::of(&AuthoredRelationship::try_from(draft).map_err(text)?))
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` hands the error over")]
fn text(error: impl ToString) -> String {
    error.to_string()
}

fn origin_word(origin: Origin) -> &'static str {
    match origin {
        Origin::Steady => "steady",
        Origin::Anomaly => "anomaly",
    }
}

fn wire_evidence(evidence: &Evidence) -> wire::Evidence {
    let Evidence { number, kind, sentence, measures, from_ns, until_ns } = evidence;
    let kind = match kind {
        EvidenceKind::Volume => "volume",
        EvidenceKind::Answers => "answers",
        EvidenceKind::Refusals => "refusals",
        EvidenceKind::Novelty => "novelty",
        EvidenceKind::Surprise => "surprise",
        EvidenceKind::Span => "span",
    };
    wire::Evidence {
        number: *number,
        kind: kind.into(),
        sentence: sentence.clone(),
        measures: measures.iter().map(wire_measure).collect(),
        from_ns: *from_ns,
        until_ns: *until_ns,
    }
}

fn wire_measure(measure: &Measure) -> wire::Measure {
    let Measure { name, value, unit, text } = measure;
    wire::Measure { name: (*name).into(), value: *value, unit: (*unit).into(), text: text.clone() }
}

fn wire_feature(feature: &RankFeature) -> wire::Feature {
    let RankFeature { name, value } = feature;
    wire::Feature { name: name.clone(), value: *value }
}

fn wire_effect(effect: &EffectCounts) -> wire::DraftEffect {
    let EffectCounts { seen, matched, newly_allowed, newly_denied, attributed } = effect;
    wire::DraftEffect {
        flows_seen: *seen,
        flows_matched: *matched,
        flows_newly_allowed: *newly_allowed,
        flows_newly_denied: *newly_denied,
        flows_attributed: *attributed,
    }
}
