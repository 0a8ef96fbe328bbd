//! What a draft rule would do to flows that were seen.
//!
//! A roll-up of flows does not name addresses, only the groups they were in and what decided. That is enough: a draft
//! between groups matches by those, and it decides if it stands before what decided. Nothing is judged again, so the
//! answer speaks of the verdicts as they were recorded.

use crate::ids::{GroupId, RuleId, SegmentId};
use crate::policy::Policy;
use crate::protocol::{L4Key, Protocol};
use crate::rule::{Action, Rule, Side};
use serde::Serialize;

/// Flows of one kind that were seen: who, what for, and what decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenFlows<'a> {
    /// Segment.
    pub segment: SegmentId,
    /// Groups of the initiator's address; `any` may be left out.
    pub source_groups: &'a [GroupId],
    /// Groups of the other address; `any` may be left out.
    pub destination_groups: &'a [GroupId],
    /// Protocol.
    pub protocol: Protocol,
    /// Destination port, or ICMP type.
    pub service_port: u16,
    /// What happened.
    pub action: Action,
    /// The rule that decided, if one did.
    pub rule: Option<RuleId>,
}

/// What a draft does to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// The draft does not match it.
    None,
    /// The draft matches, and another rule decides before it.
    Outranked,
    /// The flow keeps its verdict and owes it to the draft.
    Attributed,
    /// The flow was refused and would pass.
    NewlyAllowed,
    /// The flow passed and would be refused.
    NewlyDenied,
}

/// Counts of flows by [`Effect`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EffectCounts {
    /// All flows.
    #[serde(rename = "flows_seen")]
    pub seen: u64,
    /// Flows that the draft matches.
    #[serde(rename = "flows_matched")]
    pub matched: u64,
    /// Flows that were refused and would pass.
    #[serde(rename = "flows_newly_allowed")]
    pub newly_allowed: u64,
    /// Flows that passed and would be refused.
    #[serde(rename = "flows_newly_denied")]
    pub newly_denied: u64,
    /// Flows that keep their verdict and owe it to the draft.
    #[serde(rename = "flows_attributed")]
    pub attributed: u64,
}

impl EffectCounts {
    /// Counts so many flows with this effect.
    pub fn add(&mut self, effect: Effect, flows: u64) {
        self.seen = self.seen.saturating_add(flows);
        if effect == Effect::None {
            return;
        }
        self.matched = self.matched.saturating_add(flows);
        let count = match effect {
            Effect::None | Effect::Outranked => return,
            Effect::Attributed => &mut self.attributed,
            Effect::NewlyAllowed => &mut self.newly_allowed,
            Effect::NewlyDenied => &mut self.newly_denied,
        };
        *count = count.saturating_add(flows);
    }

    /// Returns the share of the flows whose verdict or attribution changes, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share is shown with few digits")]
    pub fn relevance(&self) -> f64 {
        let changed = self.newly_allowed.saturating_add(self.newly_denied).saturating_add(self.attributed);
        if self.seen == 0 { 0.0 } else { changed as f64 / self.seen as f64 }
    }
}

impl Policy {
    /// Returns what the draft, added to this policy, would do to flows that were seen.
    ///
    /// A group of the draft counts as the flow's if the flow's address was in it when it was seen. A side that lists
    /// prefixes matches nothing: roll-ups have no addresses. A deciding rule that the policy no longer has is taken as
    /// if the default had decided.
    pub fn effect(&self, draft: &Rule, flows: &SeenFlows<'_>) -> Effect {
        let fits = draft.l4.matches(l4_key(flows.protocol, flows.service_port))
            && side_fits(&draft.source, flows.source_groups)
            && side_fits(&draft.destination, flows.destination_groups);
        if !fits {
            return Effect::None;
        }
        let decided = flows.rule.and_then(|id| self.rules.iter().find(|rule| rule.id == id));
        if decided.is_some_and(|rule| rule.order() < draft.order()) {
            return Effect::Outranked;
        }
        match (flows.action.is_allow(), draft.action.is_allow()) {
            (false, true) => Effect::NewlyAllowed,
            (true, false) => Effect::NewlyDenied,
            _ => Effect::Attributed,
        }
    }
}

fn side_fits(side: &Side, groups: &[GroupId]) -> bool {
    match side {
        Side::Group(GroupId::ANY) => true,
        Side::Group(group) => groups.contains(group),
        Side::Prefixes(_) => false,
    }
}

/// Returns the key of a service: ports for protocols that have them, the type for ICMP, code 0.
fn l4_key(protocol: Protocol, service_port: u16) -> L4Key {
    if protocol.has_ports() {
        L4Key::ports(protocol, 0, service_port)
    } else if protocol.is_icmp() {
        L4Key::icmp(protocol, u8::try_from(service_port).unwrap_or(u8::MAX), 0)
    } else {
        L4Key::bare(protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{L4Match, PortSet, Priority, RuleKind};

    fn rule(id: u32, action: Action, priority: u16, ports: &str) -> Rule {
        Rule {
            id: RuleId(id),
            kind: RuleKind::Relationship,
            priority: Priority(priority),
            action,
            shadow: false,
            source: Side::Group(GroupId(16)),
            destination: Side::Group(GroupId(17)),
            l4: L4Match::Ports(Protocol::TCP, ports.parse::<PortSet>().unwrap()),
        }
    }

    fn seen(action: Action, rule: Option<u32>) -> SeenFlows<'static> {
        SeenFlows {
            segment: SegmentId::DEFAULT,
            source_groups: &[GroupId(16), GroupId(20)],
            destination_groups: &[GroupId(17)],
            protocol: Protocol::TCP,
            service_port: 80,
            action,
            rule: rule.map(RuleId),
        }
    }

    #[test]
    fn a_draft_changes_what_the_default_decided() {
        let policy = Policy::empty(Action::Deny);
        let allow = rule(9, Action::Allow, 500, "80");
        assert_eq!(policy.effect(&allow, &seen(Action::Deny, None)), Effect::NewlyAllowed);
        assert_eq!(policy.effect(&allow, &seen(Action::Allow, None)), Effect::Attributed);
        let deny = rule(9, Action::Deny, 500, "80");
        assert_eq!(policy.effect(&deny, &seen(Action::Allow, None)), Effect::NewlyDenied);
    }

    #[test]
    fn a_draft_below_the_deciding_rule_changes_nothing() {
        let policy =
            Policy { rules: vec![rule(3, Action::Allow, 1_000, "1-100")], ..Policy::empty(Action::Deny) };
        let deny = rule(9, Action::Deny, 500, "80");
        assert_eq!(policy.effect(&deny, &seen(Action::Allow, Some(3))), Effect::Outranked);
        let above = rule(9, Action::Deny, 1_000, "80");
        assert_eq!(policy.effect(&above, &seen(Action::Allow, Some(3))), Effect::NewlyDenied);
    }

    #[test]
    fn other_services_and_groups_are_left_alone() {
        let policy = Policy::empty(Action::Deny);
        assert_eq!(policy.effect(&rule(9, Action::Allow, 1, "81"), &seen(Action::Deny, None)), Effect::None);
        let strangers = SeenFlows { source_groups: &[GroupId(18)], ..seen(Action::Deny, None) };
        assert_eq!(policy.effect(&rule(9, Action::Allow, 1, "80"), &strangers), Effect::None);
    }

    #[test]
    fn relevance_is_the_share_that_changes() {
        let mut counts = EffectCounts::default();
        counts.add(Effect::None, 6);
        counts.add(Effect::NewlyAllowed, 3);
        counts.add(Effect::Outranked, 1);
        assert_eq!((counts.seen, counts.matched), (10, 4));
        assert!((counts.relevance() - 0.3).abs() < 1e-12);
    }
}
