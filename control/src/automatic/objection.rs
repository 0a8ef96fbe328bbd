//! What speaks against accepting a draft without a person, beyond what speaks against it at all.

use super::real;
use crate::inbox::{Judge, Obstacle, drafted_rule};
use crate::words::rule_in_words;
use meshgate_policy::automatic::{AutomaticSettings, Expected};
use meshgate_policy::suggestion::{Proposal, Suggestion};
use meshgate_policy::{Rule, RuleId};

/// The feature with the confidence of the detector, before anything was learned from answers.
const OWN_CONFIDENCE: &str = "confidence";

/// Why a person has to decide.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Objection {
    /// Too little confidence.
    #[error("its confidence is {0:.3}, {1:.3} is asked for")]
    Confidence(f64, f64),
    /// Too much that passes now; holds the flows, the hours that these are of, and the most.
    #[error("it would refuse {0:.0} flows in {1} h that pass now, at most {2} are let pass")]
    Busy(f64, u32, u32),
    /// Too wide an allow.
    #[error("{0:.3} of what it permits was never seen, at most {1:.3} is asked for")]
    OverPermissiveness(f64, f64),
    /// The learner says that it narrows or shadows rules.
    #[error("the learner says that it narrows or shadows rule {0}")]
    Touches(RuleId),
    /// It would be refused, or do nothing.
    #[error(transparent)]
    Obstacle(#[from] Obstacle),
    /// It makes groups.
    #[error("it makes groups, which cannot be in shadow")]
    Groups,
    /// It changes who is in a group.
    #[error("it changes the members of a group, which cannot be in shadow")]
    Members,
    /// It is for addresses.
    #[error("it is for addresses, and what it would have done cannot be told from roll-ups, which have none")]
    Addresses,
    /// A rule of the other action takes some of the same packets.
    #[error("it overlaps rule {0} ({1}), which has the other action")]
    Narrows(RuleId, String),
    /// It would decide before a rule of people.
    #[error("it would decide before rule {0} ({1})")]
    Outranks(RuleId, String),
}

impl Objection {
    /// Returns what speaks against the draft under a version, if anything. `own` is the draft's own rule, once it is part of
    /// the policy.
    pub fn to(
        suggestion: &Suggestion,
        settings: &AutomaticSettings,
        judge: &Judge<'_>,
        own: Option<RuleId>,
    ) -> Option<Self> {
        let Suggestion { over_permissiveness, narrows, shadows, draft, .. } = suggestion;
        match draft {
            Proposal::Grouped { .. } => return Some(Self::Groups),
            Proposal::Membership { .. } => return Some(Self::Members),
            Proposal::Rule(rule) if !rule.peer.is_empty() => return Some(Self::Addresses),
            Proposal::Relationship(_) | Proposal::Rule(_) => {}
        }
        let confidence = confidence_of(suggestion);
        if confidence < settings.confidence {
            return Some(Self::Confidence(confidence, settings.confidence));
        }
        if *over_permissiveness > settings.over_permissiveness_max {
            return Some(Self::OverPermissiveness(*over_permissiveness, settings.over_permissiveness_max));
        }
        if let Some(rule) = narrows.iter().chain(shadows).next() {
            return Some(Self::Touches(*rule));
        }
        // Once it is there, it repeats itself.
        if own.is_none()
            && let Some(obstacle) = judge.obstacle(draft)
        {
            return Some(obstacle.into());
        }
        match drafted_rule(judge.book(), draft) {
            Err(obstacle) => Some(obstacle.into()),
            Ok(None) => None,
            Ok(Some(rule)) => Self::of_overlaps(&rule, judge, own),
        }
    }

    /// Returns what speaks against the draft by its replay, if anything: a deny of busy traffic is for people, whatever the
    /// rest of the traffic does.
    pub fn of_replay(draft: &Proposal, settings: &AutomaticSettings, expected: &Expected) -> Option<Self> {
        let AutomaticSettings { shadow_hours, shadow, .. } = settings;
        let period_s = real(u64::from(*shadow_hours) * 3_600);
        let refused = real(expected.changed) * period_s / real(expected.replayed_s.max(1));
        (denies(draft) && refused > f64::from(shadow.flows)).then_some(Self::Busy(
            refused,
            *shadow_hours,
            shadow.flows,
        ))
    }

    /// Control looks for itself: what a learner says may be of an older version.
    fn of_overlaps(draft: &Rule, judge: &Judge<'_>, own: Option<RuleId>) -> Option<Self> {
        let policy = judge.book().policy();
        let others = policy.rules.iter().filter(|rule| Some(rule.id) != own);
        let mut overlapping = others.filter(|rule| judge.extents().overlaps(rule, draft));
        overlapping.find_map(|rule| {
            let words = || rule_in_words(policy, rule);
            if rule.action.is_allow() != draft.action.is_allow() {
                Some(Self::Narrows(rule.id, words()))
            } else if draft.order() < rule.order() {
                Some(Self::Outranks(rule.id, words()))
            } else {
                None
            }
        })
    }
}

/// Returns the confidence that counts: what was learned from answers may lower that of the detector, and never lifts a
/// doubtful draft over a threshold.
fn confidence_of(suggestion: &Suggestion) -> f64 {
    let own = suggestion.features.iter().filter(|feature| feature.name == OWN_CONFIDENCE);
    own.fold(suggestion.confidence, |least, feature| least.min(feature.value))
}

/// Returns whether the draft refuses what it is about.
pub fn denies(draft: &Proposal) -> bool {
    match draft {
        Proposal::Relationship(relationship) | Proposal::Grouped { relationship, .. } => {
            !relationship.action.is_allow()
        }
        Proposal::Rule(rule) => !rule.action.is_allow(),
        Proposal::Membership { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy_book::{Change, PolicyBook};
    use meshgate_policy::suggestion::{Feature, Origin};
    use meshgate_policy::{AuthoredRelationship, EffectCounts, PolicyVersion};

    const POLICY: &str = "
default_action = 'allow'
[[groups]]
name = 'Dev'
prefixes = ['10.0.0.0/24']
[[groups]]
name = 'Prod'
prefixes = ['10.0.1.0/24']
";

    fn relationship(words: &str) -> AuthoredRelationship {
        let sides = "source_group_name = 'Dev'\ndestination_group_name = 'Prod'\nprotocol = 'TCP'\n";
        toml::from_str(&format!("{sides}{words}")).unwrap()
    }

    fn book(rules: &[&str]) -> PolicyBook {
        let mut changes = vec![Change::ReplaceAll(Box::new(toml::from_str(POLICY).unwrap()))];
        changes.extend(rules.iter().map(|words| Change::PutRelationship(relationship(words))));
        PolicyBook::default().apply(changes, None).unwrap().book
    }

    fn suggestion() -> Suggestion {
        Suggestion {
            origin: Origin::Anomaly,
            draft: relationship("port_range = '22'\naction = 'deny'").into(),
            alternatives: Vec::new(),
            confidence: 0.97,
            relevance: 0.1,
            rank: 1,
            propensity: 1.0,
            justification: "why".into(),
            evidence: Vec::new(),
            effect: EffectCounts::default(),
            over_permissiveness: 0.0,
            narrows: Vec::new(),
            shadows: Vec::new(),
            makes_explicit: false,
            features: Vec::new(),
            base_version: PolicyVersion(1),
            model_version: String::new(),
            window_end_ns: 0,
            expires_ns: 0,
        }
    }

    fn shown(suggestion: &Suggestion, rules: &[&str]) -> String {
        let book = book(rules);
        let settings = AutomaticSettings::default();
        let objection = Objection::to(suggestion, &settings, &Judge::new(&book), None);
        objection.map_or_else(String::new, |objection| objection.to_string())
    }

    #[test]
    fn a_confident_draft_beside_the_rules_of_people_may_pass() {
        assert_eq!(shown(&suggestion(), &[]), "");
        assert_eq!(shown(&suggestion(), &["port_range = '443'\naction = 'allow'"]), "");
        let before = "port_range = '22,23'\naction = 'deny'\npriority = 900";
        assert!(shown(&suggestion(), &[before]).starts_with("it would decide before rule 1 ("));
    }

    #[test]
    fn what_touches_rules_of_people_is_theirs_to_decide() {
        let narrows = shown(&suggestion(), &["action = 'allow'\npriority = 900"]);
        assert!(narrows.starts_with("it overlaps rule 1 ("), "{narrows}");
        assert!(narrows.ends_with("), which has the other action"), "{narrows}");
        let said = Suggestion { narrows: vec![RuleId(7)], ..suggestion() };
        assert_eq!(shown(&said, &[]), "the learner says that it narrows or shadows rule 7");
        let said = Suggestion { shadows: vec![RuleId(8)], ..suggestion() };
        assert_eq!(shown(&said, &[]), "the learner says that it narrows or shadows rule 8");
        // A rule in shadow is a rule that somebody is about to enforce.
        let shadow = shown(&suggestion(), &["port_range = '22'\naction = 'allow'\nmode = 'shadow'"]);
        assert!(!shadow.is_empty());
        let repeats = shown(&suggestion(), &["port_range = '22'\naction = 'deny'"]);
        assert!(repeats.contains("says the same already"), "{repeats}");
    }

    #[test]
    fn doubt_and_width_are_for_people() {
        let doubtful = Suggestion { confidence: 0.949, ..suggestion() };
        assert_eq!(shown(&doubtful, &[]), "its confidence is 0.949, 0.950 is asked for");
        let own = |value| vec![Feature { name: "confidence".into(), value }];
        let trusted = Suggestion { confidence: 0.99, features: own(0.6), ..suggestion() };
        assert_eq!(
            shown(&trusted, &[]),
            "its confidence is 0.600, 0.950 is asked for",
            "learned trust alone"
        );
        let distrusted = Suggestion { confidence: 0.6, features: own(0.99), ..suggestion() };
        assert_eq!(shown(&distrusted, &[]), "its confidence is 0.600, 0.950 is asked for");
        assert_eq!(shown(&Suggestion { features: own(0.96), ..suggestion() }, &[]), "");
        let wide = Suggestion { over_permissiveness: 0.5, ..suggestion() };
        assert_eq!(shown(&wide, &[]), "0.500 of what it permits was never seen, at most 0.100 is asked for");
    }

    #[test]
    fn only_what_can_be_in_shadow_and_replayed_passes_without_a_person() {
        let of = |text: &str| Suggestion { draft: toml::from_str(text).unwrap(), ..suggestion() };
        let rule = "kind = 'rule'\ngroup_name = 'Prod'\ndirection = 'ingress'\nprotocol = 'TCP'\nport_range = '22'\n\
                    action = 'deny'\n";
        assert_eq!(shown(&of(rule), &[]), "");
        let addresses = shown(&of(&format!("{rule}peer = ['10.0.0.7/32']")), &[]);
        assert!(addresses.starts_with("it is for addresses"), "{addresses}");
        let member = of("kind = 'membership'\nendpoint = 'e'\ngroup = 'Dev'\njoin = true");
        assert_eq!(shown(&member, &[]), "it changes the members of a group, which cannot be in shadow");
        let grouped =
            of("kind = 'grouped'\ngroups = [{ name = 'New', prefixes = ['10.0.0.7/32'] }]\n[relationship]\n\
                          source_group_name = 'New'\ndestination_group_name = 'Prod'\naction = 'deny'");
        assert_eq!(shown(&grouped, &[]), "it makes groups, which cannot be in shadow");
    }

    #[test]
    fn a_deny_of_busy_traffic_is_for_people() {
        let settings = AutomaticSettings::default();
        let said = |draft: &Proposal, changed| {
            let expected = Expected { replayed_s: 7 * 86_400, changed, ..Expected::default() };
            let objection = Objection::of_replay(draft, &settings, &expected);
            objection.map_or_else(String::new, |objection| objection.to_string())
        };
        let deny = suggestion().draft;
        assert_eq!(said(&deny, 140), "");
        assert_eq!(
            said(&deny, 141),
            "it would refuse 20 flows in 24 h that pass now, at most 20 are let pass"
        );
        let busy = said(&deny, 70_000);
        assert_eq!(busy, "it would refuse 10000 flows in 24 h that pass now, at most 20 are let pass");
        let allow = relationship("port_range = '22'\naction = 'allow'").into();
        assert_eq!(said(&allow, 70_000), "");
    }

    #[test]
    fn its_own_relationship_is_no_objection() {
        let book = book(&["port_range = '22'\naction = 'deny'\nmode = 'shadow'"]);
        let settings = AutomaticSettings::default();
        assert_eq!(Objection::to(&suggestion(), &settings, &Judge::new(&book), Some(RuleId(1))), None);
    }
}
