//! A draft replayed against roll-ups: what it would have done to the flows that were seen. Pure; the store adds up.

use crate::flow_book::FlowKey;
use meshgate_policy::{
    EffectCounts, GroupId, L4Match, Policy, Protocol, Rule, RuleId, SeenFlows, SegmentId, Side,
};

/// Seconds of the past that a draft is replayed against: a week, so that every day of it is in.
pub const REPLAYED_S: u64 = 7 * 86_400;

/// Which roll-ups a draft can match at all. The others only count as seen, and need not be looked at one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matchable {
    /// The source is in this group; none = any.
    pub source_group: Option<GroupId>,
    /// The destination is in this group; none = any.
    pub destination_group: Option<GroupId>,
    /// The protocol; none = any.
    pub protocol: Option<Protocol>,
}

impl Matchable {
    /// Returns what a draft between two groups can match.
    pub fn by(draft: &Rule) -> Self {
        let group = |side: &Side| match side {
            Side::Group(GroupId::ANY) | Side::Prefixes(_) => None,
            Side::Group(group) => Some(*group),
        };
        Self {
            source_group: group(&draft.source),
            destination_group: group(&draft.destination),
            protocol: match &draft.l4 {
                L4Match::Any => None,
                L4Match::Protocol(protocol) | L4Match::Ports(protocol, _) | L4Match::Icmp(protocol, ..) => {
                    Some(*protocol)
                }
            },
        }
    }
}

/// Adds up what a draft does to flows.
#[derive(Debug)]
pub struct Replay<'a> {
    policy: &'a Policy,
    draft: &'a Rule,
    counts: EffectCounts,
}

impl<'a> Replay<'a> {
    /// Returns the replay of a draft under a version, with nothing seen yet.
    pub fn new(policy: &'a Policy, draft: &'a Rule) -> Self {
        Self { policy, draft, counts: EffectCounts::default() }
    }

    /// Counts so many flows under one key.
    pub fn add(&mut self, key: &FlowKey, flows: u64) {
        let FlowKey { segment, source_groups, destination_groups, protocol, service_port, .. } = key;
        let seen = SeenFlows {
            segment: SegmentId(*segment),
            source_groups,
            destination_groups,
            protocol: Protocol(*protocol),
            service_port: *service_port,
            action: key.action,
            rule: Some(RuleId(key.rule)).filter(|rule| *rule != RuleId(0)),
        };
        self.counts.add(self.policy.effect(self.draft, &seen), flows);
    }

    /// Returns the counts, out of so many flows in all.
    pub fn into_counts(self, flows_seen: u64) -> EffectCounts {
        EffectCounts { seen: self.counts.seen.max(flows_seen), ..self.counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::{Action, Priority, RuleKind};

    fn rule(id: u32, action: Action, priority: u16) -> Rule {
        Rule {
            id: RuleId(id),
            kind: RuleKind::Relationship,
            priority: Priority(priority),
            action,
            shadow: false,
            source: Side::Group(GroupId(16)),
            destination: Side::Group(GroupId::ANY),
            l4: L4Match::Ports(Protocol::TCP, "22".parse().unwrap()),
        }
    }

    fn key(source: u32, service_port: u16, (action, rule): (Action, u32)) -> FlowKey {
        FlowKey {
            segment: 1,
            source_groups: vec![GroupId(source)],
            destination_groups: vec![GroupId(17)],
            protocol: 6,
            service_port,
            action,
            stage: 5,
            rule,
            shadow_rule: 0,
        }
    }

    #[test]
    fn flows_are_counted_by_what_the_draft_does_to_them() {
        let policy = Policy { rules: vec![rule(3, Action::Allow, 5_000)], ..Policy::empty(Action::Allow) };
        let draft = rule(9, Action::Deny, 1_000);
        let mut replay = Replay::new(&policy, &draft);
        replay.add(&key(16, 22, (Action::Allow, 0)), 5);
        replay.add(&key(16, 22, (Action::Deny, 0)), 2);
        replay.add(&key(16, 22, (Action::Allow, 3)), 4);
        replay.add(&key(18, 22, (Action::Allow, 0)), 1);
        replay.add(&key(16, 80, (Action::Allow, 0)), 1);
        let expected =
            EffectCounts { seen: 90, matched: 11, newly_denied: 5, attributed: 2, newly_allowed: 0 };
        assert_eq!(replay.into_counts(90), expected);
    }

    #[test]
    fn no_more_flows_are_matched_than_were_seen() {
        let (policy, draft) = (Policy::empty(Action::Allow), rule(9, Action::Deny, 1_000));
        let mut replay = Replay::new(&policy, &draft);
        replay.add(&key(16, 22, (Action::Allow, 0)), 5);
        // A bucket may be deleted between the two questions to the store.
        assert_eq!(replay.into_counts(3).seen, 5);
    }

    #[test]
    fn any_group_and_any_protocol_can_match_everything() {
        let draft = rule(9, Action::Deny, 1_000);
        let matchable = Matchable::by(&draft);
        assert_eq!((matchable.source_group, matchable.destination_group), (Some(GroupId(16)), None));
        assert_eq!(matchable.protocol, Some(Protocol::TCP));
        assert_eq!(Matchable::by(&Rule { l4: L4Match::Any, ..draft }).protocol, None);
    }
}
