//! Proposals of a learner, from messages. What a field may hold is the inbox's business; here is only its kind.

use crate::suggestion::{Evidence, Feature, Measure, Proposal};
use meshgate_policy::{AuthoredRelationship, EffectCounts, PolicyVersion, RuleId, UnknownWord};
use meshgate_proto::{WireFault, wire};
use std::str::FromStr;

/// Bytes of the longest text that is shown back where a word was wanted.
const SHOWN_BYTES_MAX: usize = 64;

/// A field of a submitted suggestion that cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum ProposalFault {
    /// A field that must be present.
    #[error("{0}: is missing")]
    Missing(&'static str),
    /// A field that control fills in.
    #[error("{0}: control gives it, what is submitted has none")]
    Given(&'static str),
    /// A field of the draft.
    #[error("draft.{0}")]
    Draft(WireFault),
    /// A word that is none; the path ends where the field's own name begins.
    #[error("{0}{1}")]
    Word(String, UnknownWord),
    /// A tenant that does not exist.
    #[error("tenant: this version has only \"default\"")]
    Tenant,
    /// Another learner than the one that submits.
    #[error("learner: is another one than the learner that submits")]
    Learner,
    /// Evidence out of order.
    #[error("evidence[{0}].number: {1} where {2} is wanted")]
    Number(usize, u32, usize),
}

/// Returns the proposal of a message.
pub(super) fn proposal(message: wire::Suggestion, submitter: &str) -> Result<Proposal, ProposalFault> {
    let wire::Suggestion {
        id,
        tenant,
        learner,
        state,
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
        submitted_ns,
        decision,
    } = message;
    let given = [
        (id != 0, "id"),
        (!state.is_empty(), "state"),
        (submitted_ns != 0, "submitted_ns"),
        (decision.is_some(), "decision"),
    ];
    if let Some((_, field)) = given.into_iter().find(|(is_given, _)| *is_given) {
        return Err(ProposalFault::Given(field));
    }
    if !matches!(tenant.as_str(), "" | "default") {
        return Err(ProposalFault::Tenant);
    }
    if !learner.is_empty() && learner != submitter {
        return Err(ProposalFault::Learner);
    }
    let draft = draft.ok_or(ProposalFault::Missing("draft"))?;
    let evidence = evidence.into_iter().enumerate().map(|(at, message)| self::evidence(at, message));
    Ok(Proposal {
        origin: word("", origin)?,
        draft: AuthoredRelationship::try_from(draft).map_err(ProposalFault::Draft)?,
        confidence,
        relevance,
        rank,
        propensity,
        justification,
        evidence: evidence.collect::<Result<_, _>>()?,
        effect: self::effect(effect.unwrap_or_default()),
        over_permissiveness,
        narrows: narrows.into_iter().map(RuleId).collect(),
        shadows: shadows.into_iter().map(RuleId).collect(),
        makes_explicit,
        features: features.into_iter().map(feature).collect(),
        base_version: PolicyVersion(base_version),
        model_version,
        window_end_ns,
    })
}

fn evidence(at: usize, message: wire::Evidence) -> Result<Evidence, ProposalFault> {
    let wire::Evidence { number, kind, sentence, measures, from_ns, until_ns } = message;
    if usize::try_from(number) != Ok(at + 1) {
        return Err(ProposalFault::Number(at, number, at + 1));
    }
    let kind = word(&format!("evidence[{at}]."), kind)?;
    Ok(Evidence { kind, sentence, measures: measures.into_iter().map(measure).collect(), from_ns, until_ns })
}

fn measure(message: wire::Measure) -> Measure {
    let wire::Measure { name, value, unit, text } = message;
    Measure { name, value, unit, text }
}

/// Returns the feature of a message.
pub(super) fn feature(message: wire::Feature) -> Feature {
    let wire::Feature { name, value } = message;
    Feature { name, value }
}

fn effect(message: wire::DraftEffect) -> EffectCounts {
    let wire::DraftEffect {
        flows_seen,
        flows_matched,
        flows_newly_allowed,
        flows_newly_denied,
        flows_attributed,
    } = message;
    EffectCounts {
        seen: flows_seen,
        matched: flows_matched,
        newly_allowed: flows_newly_allowed,
        newly_denied: flows_newly_denied,
        attributed: flows_attributed,
    }
}

fn word<T: FromStr<Err = UnknownWord>>(path: &str, mut text: String) -> Result<T, ProposalFault> {
    text.truncate(text.floor_char_boundary(SHOWN_BYTES_MAX));
    text.parse().map_err(|unknown| ProposalFault::Word(path.to_owned(), unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> wire::Suggestion {
        let draft = wire::GroupRelationship {
            source_group_name: "a".into(),
            destination_group_name: "b".into(),
            action: "deny".into(),
            ..wire::GroupRelationship::default()
        };
        wire::Suggestion { origin: "anomaly".into(), draft: Some(draft), ..wire::Suggestion::default() }
    }

    fn refusal(message: wire::Suggestion) -> String {
        proposal(message, "l1").unwrap_err().to_string()
    }

    #[test]
    fn a_field_that_cannot_be_read_is_named() {
        let evidence = |number, kind: &str| {
            vec![wire::Evidence { number, kind: kind.into(), ..wire::Evidence::default() }]
        };
        assert_eq!(refusal(wire::Suggestion { draft: None, ..message() }), "draft: is missing");
        let odd = wire::GroupRelationship { port_range: "80-22".into(), ..message().draft.unwrap() };
        let shown = refusal(wire::Suggestion { draft: Some(odd), ..message() });
        assert_eq!(shown, "draft.port_range: port range 80-22 is backwards: 80 is above 22");
        let shown = refusal(wire::Suggestion { origin: "luck".into(), ..message() });
        assert_eq!(shown, "origin: \"luck\" is not one of steady, anomaly");
        let shown = refusal(wire::Suggestion { evidence: evidence(2, "volume"), ..message() });
        assert_eq!(shown, "evidence[0].number: 2 where 1 is wanted");
        let shown = refusal(wire::Suggestion { evidence: evidence(1, "smell"), ..message() });
        assert!(shown.starts_with("evidence[0].kind: \"smell\" is not one of volume, "), "{shown}");
        assert!(refusal(wire::Suggestion { tenant: "x".into(), ..message() }).starts_with("tenant: "));
        assert!(refusal(wire::Suggestion { learner: "l2".into(), ..message() }).starts_with("learner: "));
    }

    #[test]
    fn what_control_gives_is_not_taken_from_a_learner() {
        for (field, message) in [
            ("id", wire::Suggestion { id: 3, ..message() }),
            ("state", wire::Suggestion { state: "accepted".into(), ..message() }),
            ("submitted_ns", wire::Suggestion { submitted_ns: 1, ..message() }),
            ("decision", wire::Suggestion { decision: Some(wire::Decision::default()), ..message() }),
        ] {
            assert_eq!(refusal(message), format!("{field}: control gives it, what is submitted has none"));
        }
    }
}
