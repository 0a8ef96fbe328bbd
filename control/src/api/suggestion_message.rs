//! Suggestions and decisions as messages.

use crate::suggestion::{Decision, Evidence, Feature, Measure, Proposal, Suggestion, Verdict};
use meshgate_policy::EffectCounts;
use meshgate_proto::wire;

/// Returns the message of a suggestion.
pub(super) fn suggestion_message(suggestion: Suggestion) -> wire::Suggestion {
    let state = suggestion.state();
    let Suggestion { id, learner, submitted_ns, proposal, decision } = suggestion;
    let Proposal {
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
    } = proposal;
    wire::Suggestion {
        id,
        tenant: "default".to_owned(),
        learner: learner.to_string(),
        state: state.to_string(),
        origin: origin.to_string(),
        draft: Some((&draft).into()),
        confidence,
        relevance,
        rank,
        propensity,
        justification,
        evidence: (1..).zip(evidence).map(evidence_message).collect(),
        effect: Some(effect_message(effect)),
        over_permissiveness,
        narrows: narrows.into_iter().map(|id| id.0).collect(),
        shadows: shadows.into_iter().map(|id| id.0).collect(),
        makes_explicit,
        features: features.into_iter().map(feature_message).collect(),
        base_version: base_version.0,
        model_version,
        window_end_ns,
        submitted_ns,
        decision: decision.map(decision_message),
    }
}

/// Returns the message of a decision.
pub(super) fn decision_message(decision: Decision) -> wire::Decision {
    let state = decision.verdict.state();
    let Decision { sequence, suggestion, verdict, comment, actor, time_ns } = decision;
    let (reason, version, relationship) = match verdict {
        Verdict::Rejected(reason) => (reason.to_string(), 0, None),
        Verdict::Accepted { edited: _, version, relationship } => {
            (String::new(), version.0, Some((&relationship).into()))
        }
    };
    wire::Decision {
        sequence,
        suggestion_id: suggestion,
        verdict: state.to_string(),
        reason,
        comment,
        actor,
        time_ns,
        version,
        relationship,
    }
}

/// Returns the message of counts of a replay.
pub(super) fn effect_message(counts: EffectCounts) -> wire::DraftEffect {
    let EffectCounts { seen, matched, newly_allowed, newly_denied, attributed } = counts;
    wire::DraftEffect {
        flows_seen: seen,
        flows_matched: matched,
        flows_newly_allowed: newly_allowed,
        flows_newly_denied: newly_denied,
        flows_attributed: attributed,
    }
}

/// Returns the message of a feature.
pub(super) fn feature_message(feature: Feature) -> wire::Feature {
    let Feature { name, value } = feature;
    wire::Feature { name, value }
}

fn evidence_message((number, evidence): (u32, Evidence)) -> wire::Evidence {
    let Evidence { kind, sentence, measures, from_ns, until_ns } = evidence;
    let measure = |Measure { name, value, unit, text }| wire::Measure { name, value, unit, text };
    let measures = measures.into_iter().map(measure).collect();
    wire::Evidence { number, kind: kind.to_string(), sentence, measures, from_ns, until_ns }
}
