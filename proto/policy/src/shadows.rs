//! Which rules never decide, and which contradict each other.

use crate::ids::RuleId;
use crate::limits::CONFLICTS_LISTED_MAX;
use crate::overlap::{Extent, Extents, Relation};
use crate::policy::Policy;
use crate::ports::PortRange;
use crate::protocol::L4Match;
use crate::rule::Rule;
use std::collections::BTreeMap;

/// Why a rule contradicts one of the policy. Rules contradict only if one allows and the other denies or rejects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConflictKind {
    /// They match some packets in common and each some more: which one is the exception is nowhere said.
    Crosses,
    /// They match the same packets: one of them is without effect.
    Equal,
    /// It would decide before a `protected` rule that matches some of its packets.
    Outranks,
}

/// A rule of the policy that another one contradicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conflict {
    /// The rule of the policy.
    pub rule: RuleId,
    /// Why.
    pub kind: ConflictKind,
}

/// Two rules of a policy that contradict each other, in final order: the first one decides where both match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConflictPair {
    /// The rule that decides.
    pub first: RuleId,
    /// The rule that does not.
    pub second: RuleId,
    /// Why; never [`ConflictKind::Outranks`].
    pub kind: ConflictKind,
}

impl Policy {
    /// Returns the rules that shadow the rule: [`Extents::shadowed_by`].
    pub fn shadowed_by(&self, rule: &Rule) -> Vec<RuleId> {
        self.extents().shadowed_by(rule)
    }

    /// Returns the rules of the policy that contradict each other: [`Extents::conflicts`].
    pub fn conflicts(&self) -> Vec<ConflictPair> {
        self.extents().conflicts()
    }
}

impl Extents<'_> {
    /// Returns rules that together decide every packet of the rule before it is asked, in final order; none if the rule
    /// may decide. The rule need not be one of the policy: its place is that of its [`Rule::order`].
    ///
    /// Enforced rules are shadowed by enforced ones only; a rule that is in shadow itself also by those. The answer is
    /// sound, not complete: rules are put together over protocols, ports and types, not over addresses; the exact answer,
    /// without names, is [`Extents::packet_decided_by`]. A rule that matches nothing is not shadowed; see
    /// [`Extents::is_empty`].
    pub fn shadowed_by(&self, rule: &Rule) -> Vec<RuleId> {
        let extent = self.extent(rule);
        if !self.do_overlap(&extent, &extent) {
            return Vec::new();
        }
        let takes_part = |other: &&Rule| other.id != rule.id && (rule.shadow || !other.shadow);
        let before = self.policy.rules.iter().take_while(|other| other.order() < rule.order());
        let mut rest = L4Rest::new(&rule.l4);
        let mut shadowing = Vec::new();
        for other in before.filter(takes_part).filter(|other| other.l4.overlaps(&rule.l4)) {
            if !self.addresses_within(&self.extent(other), &extent) {
                continue;
            }
            if other.l4.contains(&rule.l4) {
                return vec![other.id];
            }
            if rest.remove(&other.l4) {
                shadowing.push(other.id);
            }
            if rest.is_empty() {
                return shadowing;
            }
        }
        Vec::new()
    }

    /// Returns the rules of the policy, in shadow or not, that the rule would contradict, in final order. A rule inside
    /// a broader one of the other action is no conflict but an exception: see [`Extents::narrows`].
    pub fn conflicts_of(&self, rule: &Rule) -> Vec<Conflict> {
        let extent = self.extent(rule);
        let against = |other: &Rule| self.conflict(&extent, &self.extent(other));
        let may_conflict =
            |other: &&Rule| other.id != rule.id && opposes(rule, other) && rule.l4.overlaps(&other.l4);
        let others = self.policy.rules.iter().filter(may_conflict);
        others
            .filter_map(|other| against(other).map(|kind| Conflict { rule: other.id, kind }))
            .take(CONFLICTS_LISTED_MAX)
            .collect()
    }

    /// Returns the rules of the other action that contain the rule: it is an exception from them.
    pub fn narrows(&self, rule: &Rule) -> Vec<RuleId> {
        let extent = self.extent(rule);
        let is_broader = |other: &&Rule| {
            opposes(rule, other)
                && other.l4.contains(&rule.l4)
                && self.relation_of(&self.extent(other), &extent) == Relation::Contains
        };
        self.policy.rules.iter().filter(is_broader).map(|other| other.id).collect()
    }

    /// Returns the pairs of rules that contradict each other, at most [`CONFLICTS_LISTED_MAX`]. Looks at every pair of
    /// rules; meant for a report, not for every commit of a large policy.
    pub fn conflicts(&self) -> Vec<ConflictPair> {
        let extents: Vec<Extent<'_>> = self.policy.rules.iter().map(|rule| self.extent(rule)).collect();
        let pairs = extents.iter().enumerate().flat_map(|(at, first)| {
            extents[at + 1..].iter().filter_map(move |second| {
                let kind = self.contradiction(first, second)?;
                Some(ConflictPair { first: first.rule.id, second: second.rule.id, kind })
            })
        });
        pairs.take(CONFLICTS_LISTED_MAX).collect()
    }

    fn conflict(&self, rule: &Extent<'_>, other: &Extent<'_>) -> Option<ConflictKind> {
        let outranks = rule.rule.order() < other.rule.order()
            && other.rule.priority.is_protected()
            && opposes(rule.rule, other.rule)
            && self.do_overlap(rule, other);
        if outranks { Some(ConflictKind::Outranks) } else { self.contradiction(rule, other) }
    }

    fn contradiction(&self, a: &Extent<'_>, b: &Extent<'_>) -> Option<ConflictKind> {
        if !opposes(a.rule, b.rule) {
            return None;
        }
        match self.relation_of(a, b) {
            Relation::Crosses => Some(ConflictKind::Crosses),
            Relation::Equal => Some(ConflictKind::Equal),
            Relation::Apart | Relation::Contains | Relation::Within => None,
        }
    }
}

/// Returns whether one of the rules allows and the other does not.
fn opposes(a: &Rule, b: &Rule) -> bool {
    a.action.is_allow() != b.action.is_allow()
}

/// What is left of a layer-4 match: for each protocol ranges of ports or of `type * 256 + code`; the whole range for
/// protocols that have neither.
struct L4Rest(BTreeMap<u8, Vec<(u16, u16)>>);

impl L4Rest {
    fn new(l4: &L4Match) -> Self {
        let (protocols, ranges) = l4_ranges(l4);
        Self(protocols.map(|protocol| (protocol, ranges.clone())).collect())
    }

    /// Takes out what the match takes. Returns whether that was anything.
    fn remove(&mut self, l4: &L4Match) -> bool {
        let (protocols, ranges) = l4_ranges(l4);
        let mut has_changed = false;
        for (_, rest) in self.0.range_mut(protocols) {
            let less = ranges.iter().fold(rest.clone(), |rest, removed| without(&rest, *removed));
            has_changed |= less != *rest;
            *rest = less;
        }
        self.0.retain(|_, rest| !rest.is_empty());
        has_changed
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

pub(crate) fn l4_ranges(l4: &L4Match) -> (std::ops::RangeInclusive<u8>, Vec<(u16, u16)>) {
    let every = vec![(0, u16::MAX)];
    match l4 {
        L4Match::Any => (0..=u8::MAX, every),
        L4Match::Protocol(protocol) => (protocol.0..=protocol.0, every),
        L4Match::Ports(protocol, ports) => {
            let both = |range: &PortRange| (range.first(), range.last());
            (protocol.0..=protocol.0, ports.ranges().iter().map(both).collect())
        }
        L4Match::Icmp(protocol, kind, code) => {
            let first = u16::from_be_bytes([*kind, code.unwrap_or(0)]);
            let last = u16::from_be_bytes([*kind, code.unwrap_or(u8::MAX)]);
            (protocol.0..=protocol.0, vec![(first, last)])
        }
    }
}

/// Returns the ranges without the removed one.
fn without(ranges: &[(u16, u16)], (first, last): (u16, u16)) -> Vec<(u16, u16)> {
    let mut rest = Vec::with_capacity(ranges.len() + 1);
    for (begin, end) in ranges.iter().copied() {
        if end < first || begin > last {
            rest.push((begin, end));
            continue;
        }
        if begin < first {
            rest.push((begin, first - 1));
        }
        if end > last {
            rest.push((last + 1, end));
        }
    }
    rest
}
