//! Suggestions and decisions, both ways. One message carries a suggestion as a learner hands it in and as control gives
//! it out; what a number or text of it may hold at most is the business of control's inbox.

use crate::fault::{At, Problem, WireFault, Within};
use crate::field::{messages, word};
use crate::wire;
use meshgate_policy::limits::ALTERNATIVES_MAX;
use meshgate_policy::suggestion::{
    Alternative, Decision, Evidence, Feature, FiledSuggestion, Measure, Proposal, State, Suggestion, Verdict,
};
use meshgate_policy::{EffectCounts, Name, PolicyVersion, RuleId};

/// What control adds to a suggestion.
struct Filing {
    id: u64,
    learner: String,
    state: String,
    submitted_ns: u64,
    decision: Option<wire::Decision>,
}

/// Takes a message apart.
fn parts(message: wire::Suggestion) -> Result<(Filing, Suggestion), WireFault> {
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
        alternatives,
        expires_ns,
    } = message;
    if !matches!(tenant.as_str(), "" | "default") {
        return Err(Problem::Tenant).at("tenant");
    }
    let draft = draft.ok_or(Problem::Missing).at("draft")?;
    let evidence = evidence.into_iter().enumerate();
    let evidence = evidence.map(|(at, message)| self::evidence(at, message).within_entry("evidence", at));
    let suggestion = Suggestion {
        origin: word(&origin).at("origin")?,
        draft: Proposal::try_from(draft).within("draft")?,
        alternatives: messages(alternatives, "alternatives", ALTERNATIVES_MAX, Alternative::try_from)?,
        confidence,
        relevance,
        rank,
        propensity,
        justification,
        evidence: evidence.collect::<Result<_, _>>()?,
        effect: effect.unwrap_or_default().into(),
        over_permissiveness,
        narrows: narrows.into_iter().map(RuleId).collect(),
        shadows: shadows.into_iter().map(RuleId).collect(),
        makes_explicit,
        features: features.into_iter().map(Into::into).collect(),
        base_version: PolicyVersion(base_version),
        model_version,
        window_end_ns,
        expires_ns,
    };
    Ok((Filing { id, learner, state, submitted_ns, decision }, suggestion))
}

/// As a learner hands it in. Who submits is said beside it, so the learner's name is not looked at.
impl TryFrom<wire::Suggestion> for Suggestion {
    type Error = WireFault;
    fn try_from(message: wire::Suggestion) -> Result<Self, WireFault> {
        let (Filing { id, learner: _, state, submitted_ns, decision }, suggestion) = parts(message)?;
        let given = [
            (id != 0, "id"),
            (!state.is_empty(), "state"),
            (submitted_ns != 0, "submitted_ns"),
            (decision.is_some(), "decision"),
        ];
        match given.into_iter().find(|(is_given, _)| *is_given) {
            Some((_, field)) => Err(Problem::Given).at(field),
            None => Ok(suggestion),
        }
    }
}

impl From<Suggestion> for wire::Suggestion {
    fn from(suggestion: Suggestion) -> Self {
        let Suggestion {
            origin,
            draft,
            alternatives,
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
            expires_ns,
        } = suggestion;
        Self {
            id: 0,
            tenant: Name::default_name().to_string(),
            learner: String::new(),
            state: String::new(),
            origin: origin.to_string(),
            draft: Some((&draft).into()),
            confidence,
            relevance,
            rank,
            propensity,
            justification,
            evidence: (1..).zip(evidence).map(evidence_message).collect(),
            effect: Some(effect.into()),
            over_permissiveness,
            narrows: narrows.into_iter().map(|rule| rule.0).collect(),
            shadows: shadows.into_iter().map(|rule| rule.0).collect(),
            makes_explicit,
            features: features.into_iter().map(Into::into).collect(),
            base_version: base_version.0,
            model_version,
            window_end_ns,
            submitted_ns: 0,
            decision: None,
            alternatives: alternatives.iter().map(Into::into).collect(),
            expires_ns,
        }
    }
}

/// As control gives it out.
impl TryFrom<wire::Suggestion> for FiledSuggestion {
    type Error = WireFault;
    fn try_from(message: wire::Suggestion) -> Result<Self, WireFault> {
        let (Filing { id, learner, state, submitted_ns, decision }, suggestion) = parts(message)?;
        let filed = Self {
            id,
            learner: Name::new(&learner).at("learner")?,
            submitted_ns,
            suggestion,
            decision: decision.map(|decision| Decision::try_from(decision).within("decision")).transpose()?,
        };
        let told: State = word(&state).at("state")?;
        if told == filed.state() {
            Ok(filed)
        } else {
            Err(Problem::Contradicts(state, "decision")).at("state")
        }
    }
}

impl From<FiledSuggestion> for wire::Suggestion {
    fn from(filed: FiledSuggestion) -> Self {
        let state = filed.state().to_string();
        let FiledSuggestion { id, learner, submitted_ns, suggestion, decision } = filed;
        let (learner, decision) = (learner.to_string(), decision.map(Into::into));
        Self { id, learner, state, submitted_ns, decision, ..suggestion.into() }
    }
}

impl TryFrom<wire::Decision> for Decision {
    type Error = WireFault;
    fn try_from(message: wire::Decision) -> Result<Self, WireFault> {
        let wire::Decision {
            sequence,
            suggestion_id,
            verdict,
            reason,
            comment,
            actor,
            time_ns,
            version,
            made,
            automatic,
        } = message;
        let verdict = match word(&verdict).at("verdict")? {
            State::Open => {
                return Err(Problem::Word(verdict, "accepted, edited, rejected, expired")).at("verdict");
            }
            State::Rejected => Verdict::Rejected(word(&reason).at("reason")?),
            State::Expired => Verdict::Expired,
            state @ (State::Accepted | State::Edited) => {
                let made = made.ok_or(Problem::Missing).at("made")?;
                Verdict::Accepted {
                    edited: state == State::Edited,
                    version: PolicyVersion(version),
                    made: Proposal::try_from(made).within("made")?,
                }
            }
        };
        Ok(Self { sequence, suggestion: suggestion_id, verdict, comment, actor, time_ns, automatic })
    }
}

impl From<Decision> for wire::Decision {
    fn from(decision: Decision) -> Self {
        let state = decision.verdict.state();
        let Decision { sequence, suggestion, verdict, comment, actor, time_ns, automatic } = decision;
        let (reason, version, made) = match verdict {
            Verdict::Rejected(reason) => (reason.to_string(), 0, None),
            Verdict::Expired => (String::new(), 0, None),
            Verdict::Accepted { edited: _, version, made } => {
                (String::new(), version.0, Some((&made).into()))
            }
        };
        Self {
            sequence,
            suggestion_id: suggestion,
            verdict: state.to_string(),
            reason,
            comment,
            actor,
            time_ns,
            version,
            made,
            automatic,
        }
    }
}

/// Returns the reason at a place of the list, which is its number less one.
fn evidence(at: usize, message: wire::Evidence) -> Result<Evidence, WireFault> {
    let wire::Evidence { number, kind, sentence, measures, from_ns, until_ns } = message;
    if usize::try_from(number) != Ok(at + 1) {
        return Err(Problem::Place(number, at + 1)).at("number");
    }
    let measure = |wire::Measure { name, value, unit, text }| Measure { name, value, unit, text };
    let (kind, measures) = (word(&kind).at("kind")?, measures.into_iter().map(measure).collect());
    Ok(Evidence { kind, sentence, measures, from_ns, until_ns })
}

fn evidence_message((number, evidence): (u32, Evidence)) -> wire::Evidence {
    let Evidence { kind, sentence, measures, from_ns, until_ns } = evidence;
    let measure = |Measure { name, value, unit, text }| wire::Measure { name, value, unit, text };
    let measures = measures.into_iter().map(measure).collect();
    wire::Evidence { number, kind: kind.to_string(), sentence, measures, from_ns, until_ns }
}

impl From<wire::Feature> for Feature {
    fn from(message: wire::Feature) -> Self {
        let wire::Feature { name, value } = message;
        Self { name, value }
    }
}

impl From<Feature> for wire::Feature {
    fn from(feature: Feature) -> Self {
        let Feature { name, value } = feature;
        Self { name, value }
    }
}

impl From<wire::DraftEffect> for EffectCounts {
    fn from(message: wire::DraftEffect) -> Self {
        let wire::DraftEffect {
            flows_seen: seen,
            flows_matched: matched,
            flows_newly_allowed: newly_allowed,
            flows_newly_denied: newly_denied,
            flows_attributed: attributed,
        } = message;
        Self { seen, matched, newly_allowed, newly_denied, attributed }
    }
}

impl From<EffectCounts> for wire::DraftEffect {
    fn from(counts: EffectCounts) -> Self {
        let EffectCounts { seen, matched, newly_allowed, newly_denied, attributed } = counts;
        Self {
            flows_seen: seen,
            flows_matched: matched,
            flows_newly_allowed: newly_allowed,
            flows_newly_denied: newly_denied,
            flows_attributed: attributed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relationship() -> wire::GroupRelationship {
        wire::GroupRelationship {
            source_group_name: "a".into(),
            destination_group_name: "b".into(),
            action: "deny".into(),
            ..wire::GroupRelationship::default()
        }
    }

    fn message() -> wire::Suggestion {
        let draft = relationship();
        wire::Suggestion {
            origin: "anomaly".into(),
            draft: Some(draft.into()),
            ..wire::Suggestion::default()
        }
    }

    fn refusal(message: wire::Suggestion) -> String {
        Suggestion::try_from(message).unwrap_err().to_string()
    }

    #[test]
    fn a_field_that_cannot_be_read_is_named() {
        let evidence = |number, kind: &str| {
            vec![wire::Evidence { number, kind: kind.into(), ..wire::Evidence::default() }]
        };
        assert_eq!(refusal(wire::Suggestion { draft: None, ..message() }), "draft: is missing");
        let odd = wire::GroupRelationship { port_range: "80-22".into(), ..relationship() };
        let shown = refusal(wire::Suggestion { draft: Some(odd.into()), ..message() });
        assert_eq!(shown, "draft.relationship.port_range: port range 80-22 is backwards: 80 is above 22");
        let shown = refusal(wire::Suggestion { origin: "luck".into(), ..message() });
        assert_eq!(shown, "origin: \"luck\" is not one of steady, anomaly");
        let shown = refusal(wire::Suggestion { evidence: evidence(2, "volume"), ..message() });
        assert_eq!(shown, "evidence[0].number: 2 where 1 is wanted");
        let shown = refusal(wire::Suggestion { evidence: evidence(1, "smell"), ..message() });
        assert!(shown.starts_with("evidence[0].kind: \"smell\" is not one of volume, "), "{shown}");
        assert!(refusal(wire::Suggestion { tenant: "x".into(), ..message() }).starts_with("tenant: "));
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

    fn filed() -> wire::Suggestion {
        wire::Suggestion { id: 3, learner: "l1".into(), state: "open".into(), ..message() }
    }

    #[test]
    fn a_decision_that_is_none_is_named() {
        let decided = |state: &str, decision| {
            let message = wire::Suggestion { state: state.into(), decision, ..filed() };
            FiledSuggestion::try_from(message).map_err(|fault| fault.to_string())
        };
        let decision = |verdict: &str, reason: &str| {
            let (verdict, reason) = (verdict.into(), reason.into());
            Some(wire::Decision { verdict, reason, ..wire::Decision::default() })
        };
        let open = FiledSuggestion::try_from(filed()).unwrap();
        assert_eq!((open.id, open.state()), (3, State::Open));
        let contradicts = "state: \"accepted\" does not go together with decision";
        let cases = [
            ("accepted", None, contradicts),
            ("accepted", decision("rejected", "later"), contradicts),
            ("accepted", decision("accepted", ""), "decision.made: is missing"),
            (
                "open",
                decision("open", ""),
                "decision.verdict: \"open\" is not one of accepted, edited, rejected, expired",
            ),
            ("rejected", decision("rejected", "no"), "decision.reason: \"no\" is not one of wrong-anomaly, "),
        ];
        for (state, decision, expected) in cases {
            let shown = decided(state, decision).unwrap_err();
            assert!(shown.starts_with(expected), "{shown}");
        }
        assert!(decided("rejected", decision("rejected", "later")).is_ok());
    }

    #[test]
    fn what_is_filed_survives_the_wire() {
        let draft = message().draft;
        let decision = wire::Decision {
            sequence: 4,
            suggestion_id: 3,
            verdict: "edited".into(),
            version: 9,
            made: draft,
            ..wire::Decision::default()
        };
        let evidence = wire::Evidence {
            number: 1,
            kind: "span".into(),
            measures: vec![wire::Measure { value: 0.1 + 0.2, ..wire::Measure::default() }],
            ..wire::Evidence::default()
        };
        let features = vec![wire::Feature { name: "novelty".into(), value: 1e-300 }];
        let (state, evidence, decision) = ("edited".into(), vec![evidence], Some(decision));
        let filed = wire::Suggestion { state, evidence, features, decision, ..filed() };
        let filed = FiledSuggestion::try_from(filed).unwrap();
        assert_eq!(FiledSuggestion::try_from(wire::Suggestion::from(filed.clone())).unwrap(), filed);
    }
}
