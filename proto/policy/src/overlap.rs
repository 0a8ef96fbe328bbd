//! How the matches of rules lie to each other: contains, overlaps, equal.
//!
//! A rule matches the packets of source addresses x destination addresses x layer 4, both addresses in one segment and
//! of one family. Within a segment and family that is a box, and boxes compare side by side: one contains another if it
//! does so in every dimension. The addresses are those of the policy's groups as they are in this version. The answers
//! are exact, with one reading of layer 4: `any` is every protocol number.

use crate::address_set::{AddressSet, GroupSets, ranges_contain, ranges_overlap, ranges_size};
use crate::ids::SegmentId;
use crate::policy::Policy;
use crate::protocol::L4Match;
use crate::rule::{Rule, Side};
use std::borrow::Cow;
use std::net::IpAddr;

/// How the packets that one match takes lie to those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    /// No packet fits both.
    Apart,
    /// The same packets fit both.
    Equal,
    /// Every packet of the other fits this one, and more do.
    Contains,
    /// Every packet of this one fits the other, and more do.
    Within,
    /// Some packets fit both, and some each one only.
    Crosses,
}

impl Relation {
    /// Returns the relation of two sets of which one, both or none contains the other and which overlap or do not.
    fn new(contains: bool, within: bool, overlaps: bool) -> Self {
        match (contains, within, overlaps) {
            (_, _, false) => Self::Apart,
            (true, true, true) => Self::Equal,
            (true, false, true) => Self::Contains,
            (false, true, true) => Self::Within,
            (false, false, true) => Self::Crosses,
        }
    }
}

impl L4Match {
    /// Returns whether every packet that fits `other` fits this match.
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) => false,
            (Self::Protocol(a), _) => other.is_of(*a),
            (Self::Ports(a, ports), Self::Protocol(b)) => a == b && ports.is_all(),
            (Self::Ports(a, ports), Self::Ports(b, others)) => a == b && ports.contains_set(others),
            (Self::Icmp(a, kind, code), Self::Icmp(b, other_kind, other_code)) => {
                a == b && kind == other_kind && (code.is_none() || code == other_code)
            }
            (Self::Ports(..), Self::Icmp(..)) | (Self::Icmp(..), _) => false,
        }
    }

    /// Returns whether a packet can fit both matches.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Protocol(a), b) | (b, Self::Protocol(a)) => b.is_of(*a),
            (Self::Ports(a, ports), Self::Ports(b, others)) => a == b && ports.overlaps(others),
            (Self::Icmp(a, kind, code), Self::Icmp(b, other_kind, other_code)) => {
                let codes_meet = code.is_none() || other_code.is_none() || code == other_code;
                a == b && kind == other_kind && codes_meet
            }
            (Self::Ports(..), Self::Icmp(..)) | (Self::Icmp(..), Self::Ports(..)) => false,
        }
    }

    /// Returns whether the match takes only packets of this protocol.
    fn is_of(&self, wanted: crate::Protocol) -> bool {
        match self {
            Self::Any => false,
            Self::Protocol(protocol) | Self::Ports(protocol, _) | Self::Icmp(protocol, ..) => {
                *protocol == wanted
            }
        }
    }
}

/// The address sets of one policy, worked out once for many comparisons.
pub struct Extents<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) sets: GroupSets,
}

/// A rule with the addresses of its sides worked out.
pub(crate) struct Extent<'r> {
    pub(crate) rule: &'r Rule,
    pub(crate) source: Cow<'r, AddressSet>,
    pub(crate) destination: Cow<'r, AddressSet>,
}

impl Policy {
    /// Returns the address sets of the policy, for comparisons of its rules and of drafts.
    pub fn extents(&self) -> Extents<'_> {
        Extents { policy: self, sets: GroupSets::new(self) }
    }

    /// Returns how the packets of two rules lie to each other. For many rules, ask [`Policy::extents`] once.
    pub fn relation(&self, a: &Rule, b: &Rule) -> Relation {
        self.extents().relation(a, b)
    }
}

impl Extents<'_> {
    /// Returns how the packets that rule `a` matches lie to those of `b`, whatever modes and actions they have. A rule
    /// that matches nothing is apart from every rule.
    pub fn relation(&self, a: &Rule, b: &Rule) -> Relation {
        self.relation_of(&self.extent(a), &self.extent(b))
    }

    /// Returns whether every packet that `inner` matches is matched by `outer`; true if `inner` matches nothing.
    pub fn contains(&self, outer: &Rule, inner: &Rule) -> bool {
        self.is_within(&self.extent(outer), &self.extent(inner))
    }

    /// Returns whether a packet is matched by both.
    pub fn overlaps(&self, a: &Rule, b: &Rule) -> bool {
        self.do_overlap(&self.extent(a), &self.extent(b))
    }

    /// Returns whether no packet can match the rule: a side without addresses, or sides that share no segment or family.
    pub fn is_empty(&self, rule: &Rule) -> bool {
        let extent = self.extent(rule);
        !self.do_overlap(&extent, &extent)
    }

    /// Returns how the addresses of two sides lie to each other.
    pub fn side_relation(&self, a: &Side, b: &Side) -> Relation {
        let (a, b) = (self.sets.side(a), self.sets.side(b));
        let (mut contains, mut within, mut overlaps) = (true, true, false);
        for segment in self.sets.distinct_segments(&[&a, &b]) {
            for (a, b) in a.segment(segment).both().into_iter().zip(b.segment(segment).both()) {
                contains &= ranges_contain(a, b);
                within &= ranges_contain(b, a);
                overlaps |= ranges_overlap(a, b);
            }
        }
        Relation::new(contains, within, overlaps)
    }

    /// Returns how many addresses a side has, those of each segment counted for themselves; rounded beyond 2^53.
    pub fn addresses(&self, side: &Side) -> f64 {
        let set = self.sets.side(side);
        let of = |segment| set.segment(segment).both().into_iter().map(ranges_size).sum::<f64>();
        self.sum_over_segments(&[&set], of)
    }

    /// Returns which of the addresses lie in a side within a segment.
    pub fn held(&self, side: &Side, segment: SegmentId, addresses: &[IpAddr]) -> Vec<bool> {
        let set = self.sets.side(side);
        let [v4, v6] = set.segment(segment).both();
        let holds = |address: &IpAddr| {
            let (ranges, number) = match address {
                IpAddr::V4(v4_address) => (v4, u128::from(v4_address.to_bits())),
                IpAddr::V6(v6_address) => (v6, v6_address.to_bits()),
            };
            let behind = ranges.partition_point(|(first, _)| *first <= number);
            behind > 0 && number <= ranges[behind - 1].1
        };
        addresses.iter().map(holds).collect()
    }

    /// Returns how many pairs of a source and a destination address fit the rule; rounded beyond 2^53.
    pub fn address_pairs(&self, rule: &Rule) -> f64 {
        let Extent { rule: _, source, destination } = self.extent(rule);
        let of = |segment| {
            let families =
                source.segment(segment).both().into_iter().zip(destination.segment(segment).both());
            families.map(|(source, destination)| ranges_size(source) * ranges_size(destination)).sum::<f64>()
        };
        self.sum_over_segments(&[&source, &destination], of)
    }

    fn sum_over_segments(&self, sets: &[&AddressSet], of: impl Fn(SegmentId) -> f64) -> f64 {
        let weighted = self.sets.weighted_segments(sets).into_iter();
        let weighted = weighted.map(|(segment, weight)| (segment, u32::try_from(weight).unwrap_or(u32::MAX)));
        weighted.map(|(segment, weight)| f64::from(weight) * of(segment)).sum()
    }

    pub(crate) fn extent<'r>(&'r self, rule: &'r Rule) -> Extent<'r> {
        Extent { rule, source: self.sets.side(&rule.source), destination: self.sets.side(&rule.destination) }
    }

    pub(crate) fn relation_of(&self, a: &Extent<'_>, b: &Extent<'_>) -> Relation {
        if !self.do_overlap(a, b) {
            return Relation::Apart;
        }
        Relation::new(self.is_within(a, b), self.is_within(b, a), true)
    }

    /// Returns whether every packet of `inner` is one of `outer`.
    pub(crate) fn is_within(&self, outer: &Extent<'_>, inner: &Extent<'_>) -> bool {
        (outer.rule.l4.contains(&inner.rule.l4) && self.addresses_within(outer, inner))
            || !self.do_overlap(inner, inner)
    }

    /// Returns whether every pair of addresses of `inner` is one of `outer`.
    pub(crate) fn addresses_within(&self, outer: &Extent<'_>, inner: &Extent<'_>) -> bool {
        self.boxes(outer, inner).all(|(outer, inner)| {
            let is_empty = inner.0.is_empty() || inner.1.is_empty();
            is_empty || (ranges_contain(outer.0, inner.0) && ranges_contain(outer.1, inner.1))
        })
    }

    pub(crate) fn do_overlap(&self, a: &Extent<'_>, b: &Extent<'_>) -> bool {
        let is_shared =
            |(a, b): (AddressBox<'_>, AddressBox<'_>)| ranges_overlap(a.0, b.0) && ranges_overlap(a.1, b.1);
        a.rule.l4.overlaps(&b.rule.l4) && self.boxes(a, b).any(is_shared)
    }

    /// Returns the addresses of both rules in every segment that matters, family by family.
    fn boxes<'e>(
        &self,
        a: &'e Extent<'_>,
        b: &'e Extent<'_>,
    ) -> impl Iterator<Item = (AddressBox<'e>, AddressBox<'e>)> {
        let sets: [&AddressSet; 4] = [&a.source, &a.destination, &b.source, &b.destination];
        self.sets.distinct_segments(&sets).into_iter().flat_map(move |segment| {
            let [a_source, a_destination, b_source, b_destination] =
                sets.map(|set| set.segment(segment).both());
            [0, 1].map(|family| {
                let a = (a_source[family], a_destination[family]);
                (a, (b_source[family], b_destination[family]))
            })
        })
    }
}

/// Source and destination addresses in one segment and family.
type AddressBox<'a> = (&'a [(u128, u128)], &'a [(u128, u128)]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Protocol, ProtocolMatch};

    fn l4(protocol: &str, ports: &str, kind: Option<u8>, code: Option<u8>) -> L4Match {
        let protocol: ProtocolMatch = protocol.parse().unwrap();
        L4Match::new(protocol, &ports.parse().unwrap(), kind, code).unwrap()
    }

    #[test]
    fn layer_4_matches_contain_what_is_narrower() {
        let chain = [l4("any", "", None, None), l4("tcp", "", None, None), l4("tcp", "80-90", None, None)];
        let icmp =
            [l4("icmp", "", None, None), l4("icmp", "", Some(8), None), l4("icmp", "", Some(8), Some(0))];
        for chain in [&chain, &icmp] {
            for (i, outer) in chain.iter().enumerate() {
                for (j, inner) in chain.iter().enumerate() {
                    assert_eq!(outer.contains(inner), i <= j, "{outer} {inner}");
                    assert!(outer.overlaps(inner), "{outer} {inner}");
                }
            }
        }
    }

    #[test]
    fn layer_4_matches_of_other_protocols_ports_or_types_are_apart() {
        let all = [
            l4("tcp", "80", None, None),
            l4("tcp", "81-90", None, None),
            l4("udp", "80", None, None),
            l4("icmp", "", Some(8), Some(0)),
            l4("icmp", "", Some(8), Some(1)),
            l4("icmp", "", Some(0), None),
            l4("icmpv6", "", Some(8), Some(0)),
            l4("47", "", None, None),
        ];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!((a.overlaps(b), a.contains(b)), (i == j, i == j), "{a} {b}");
            }
        }
    }

    #[test]
    fn addresses_and_pairs_are_counted_segment_by_segment() {
        use crate::{Action, Group, GroupId, IntraGroup, Name, Priority, RuleId, RuleKind, Segment};
        let group = |id: u32, prefixes: &[&str]| Group {
            id: GroupId(id),
            name: Name::new(&format!("g{id}")).unwrap(),
            segment: SegmentId::DEFAULT,
            prefixes: prefixes.iter().map(|text| text.parse().unwrap()).collect(),
            endpoints: Vec::new(),
            intra_group: IntraGroup::Allow,
        };
        let second =
            Segment { id: SegmentId(2), name: Name::new("b").unwrap(), tenant: Name::default_name() };
        let mut policy = Policy::empty(Action::Deny);
        policy.segments.push(second);
        policy.groups = vec![
            group(16, &["10.0.0.0/30", "10.0.0.0/31", "fd00::/127"]),
            group(17, &["10.1.0.0/31", "fd01::/128"]),
        ];
        let extents = policy.extents();
        assert!((extents.addresses(&Side::Group(GroupId(16))) - 6.0).abs() < 0.5);
        let any = extents.addresses(&Side::Group(GroupId::ANY));
        assert!((any / (2.0 * 2f64.powi(128)) - 1.0).abs() < 1e-9);
        let rule = Rule {
            id: RuleId(1),
            kind: RuleKind::Relationship,
            priority: Priority::default(),
            action: Action::Allow,
            shadow: false,
            source: Side::Group(GroupId(16)),
            destination: Side::Group(GroupId(17)),
            l4: L4Match::Any,
        };
        assert!((extents.address_pairs(&rule) - 10.0).abs() < 0.5, "4 x 2 and 2 x 1");
    }

    #[test]
    fn every_port_of_tcp_is_tcp() {
        let every = L4Match::Ports(Protocol::TCP, crate::PortSet::all());
        assert!(every.contains(&L4Match::Protocol(Protocol::TCP)));
    }
}
