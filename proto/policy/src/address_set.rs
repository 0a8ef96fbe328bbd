//! Sets of addresses as sorted ranges, segment by segment: what a side of a rule covers, exactly.
//!
//! Prefixes nest and endpoints are single addresses, so a set of either is a short list of ranges, and "contains" and
//! "overlaps" are one walk over two such lists. Most sides are alike in every segment or exist in few; a set therefore
//! holds one list for "every segment" and the segments that differ.

use crate::address::Prefix;
use crate::ids::{GroupId, SegmentId};
use crate::policy::{Group, Policy};
use crate::rule::Side;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Sorted ranges, both ends included, that neither overlap nor touch. IPv4 addresses are numbers below 2^32.
type Ranges = Vec<(u128, u128)>;

/// The addresses of both families in one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Families {
    v4: Ranges,
    v6: Ranges,
}

/// A set of addresses of a policy's segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AddressSet {
    /// The addresses in each segment that `exceptions` does not name.
    everywhere: Families,
    /// The addresses in the segments that differ.
    exceptions: BTreeMap<SegmentId, Families>,
}

/// The address sets of the groups of one policy.
pub(crate) struct GroupSets {
    segments: BTreeSet<SegmentId>,
    groups: BTreeMap<GroupId, AddressSet>,
}

impl GroupSets {
    pub(crate) fn new(policy: &Policy) -> Self {
        let segments = policy.segments.iter().map(|segment| segment.id).collect();
        let of = |group: &Group| (group.id, group_set(policy, group));
        let mut groups: BTreeMap<GroupId, AddressSet> = policy.groups.iter().map(of).collect();
        groups.insert(GroupId::ANY, AddressSet::alike(Families::all()));
        groups.insert(GroupId::MULTICAST, AddressSet::alike(Families::multicast()));
        groups.insert(GroupId::EXTERNAL, external_set(policy));
        Self { segments, groups }
    }

    /// Returns the addresses of a side; none for a group that the policy does not have.
    pub(crate) fn side(&self, side: &Side) -> Cow<'_, AddressSet> {
        match side {
            Side::Group(id) => self.groups.get(id).map_or_else(Cow::default, Cow::Borrowed),
            Side::Prefixes(prefixes) => {
                let families = Families::new(prefixes.iter().copied().map(Span::from));
                Cow::Owned(AddressSet::alike(families))
            }
        }
    }

    /// Returns one segment for each way in which the sets may differ: those that any of them names and, if the policy
    /// has more, one of the others.
    pub(crate) fn distinct_segments(&self, sets: &[&AddressSet]) -> BTreeSet<SegmentId> {
        let mut segments: BTreeSet<SegmentId> =
            sets.iter().flat_map(|set| set.exceptions.keys().copied()).collect();
        let other = self.segments.iter().find(|segment| !segments.contains(segment)).copied();
        segments.extend(other);
        segments
    }

    /// Returns [`Self::distinct_segments`], each with how many segments it stands for.
    pub(crate) fn weighted_segments(&self, sets: &[&AddressSet]) -> Vec<(SegmentId, usize)> {
        let is_named = |segment: &SegmentId| sets.iter().any(|set| set.exceptions.contains_key(segment));
        let others = self.segments.iter().filter(|segment| !is_named(segment)).count();
        let weight = |segment| (segment, if is_named(&segment) { 1 } else { others });
        self.distinct_segments(sets).into_iter().map(weight).collect()
    }
}

impl AddressSet {
    /// Returns the set that is alike in every segment.
    fn alike(everywhere: Families) -> Self {
        Self { everywhere, exceptions: BTreeMap::new() }
    }

    /// Returns the addresses in the segment.
    pub(crate) fn segment(&self, segment: SegmentId) -> &Families {
        self.exceptions.get(&segment).unwrap_or(&self.everywhere)
    }
}

impl Families {
    fn new(spans: impl Iterator<Item = Span>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for span in spans {
            if span.is_v4 { v4.push(span.range) } else { v6.push(span.range) }
        }
        Self { v4: merged(v4), v6: merged(v6) }
    }

    fn all() -> Self {
        Self { v4: vec![(0, u32::MAX.into())], v6: vec![(0, u128::MAX)] }
    }

    /// Returns what [`crate::is_group_address`] accepts.
    fn multicast() -> Self {
        let v4 = |address: Ipv4Addr| u128::from(address.to_bits());
        let first = Ipv4Addr::new(224, 0, 0, 0);
        let last = Ipv4Addr::new(239, 255, 255, 255);
        let broadcast = v4(Ipv4Addr::BROADCAST);
        let v6 = Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).to_bits();
        Self { v4: vec![(v4(first), v4(last)), (broadcast, broadcast)], v6: vec![(v6, u128::MAX)] }
    }

    /// Returns every other address.
    fn complement(&self) -> Self {
        Self { v4: gaps(&self.v4, u32::MAX.into()), v6: gaps(&self.v6, u128::MAX) }
    }

    fn union(&self, other: &Self) -> Self {
        let both = |a: &Ranges, b: &Ranges| merged(a.iter().chain(b).copied().collect());
        Self { v4: both(&self.v4, &other.v4), v6: both(&self.v6, &other.v6) }
    }

    /// Returns the ranges of IPv4 and of IPv6.
    pub(crate) fn both(&self) -> [&[(u128, u128)]; 2] {
        [&self.v4, &self.v6]
    }
}

/// Returns how many numbers the ranges hold, rounded beyond 2^53.
#[expect(clippy::cast_precision_loss, reason = "IPv6 has more addresses than any exact number here needs")]
pub(crate) fn ranges_size(ranges: &[(u128, u128)]) -> f64 {
    ranges.iter().map(|(first, last)| (last - first) as f64 + 1.0).sum()
}

/// Returns whether every number of `inner` is in `outer`.
pub(crate) fn ranges_contain(outer: &[(u128, u128)], inner: &[(u128, u128)]) -> bool {
    inner.iter().all(|(first, last)| {
        let at = outer.partition_point(|(_, end)| end < first);
        outer.get(at).is_some_and(|(begin, end)| begin <= first && last <= end)
    })
}

/// Returns whether a number is in both.
pub(crate) fn ranges_overlap(a: &[(u128, u128)], b: &[(u128, u128)]) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    short.iter().any(|(first, last)| {
        let at = long.partition_point(|(_, end)| end < first);
        long.get(at).is_some_and(|(begin, _)| begin <= last)
    })
}

/// The addresses of one prefix.
struct Span {
    is_v4: bool,
    range: (u128, u128),
}

impl From<Prefix> for Span {
    fn from(prefix: Prefix) -> Self {
        match prefix.address() {
            IpAddr::V4(v4) => {
                let behind = u32::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
                Self { is_v4: true, range: (v4.to_bits().into(), (v4.to_bits() | behind).into()) }
            }
            IpAddr::V6(v6) => {
                let behind = u128::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
                Self { is_v4: false, range: (v6.to_bits(), v6.to_bits() | behind) }
            }
        }
    }
}

/// Returns the prefixes of the group in its segment and the addresses of its endpoints in theirs.
fn group_set(policy: &Policy, group: &Group) -> AddressSet {
    let mut spans: BTreeMap<SegmentId, Vec<Prefix>> = BTreeMap::new();
    spans.insert(group.segment, group.prefixes.clone());
    for endpoint in group.endpoints.iter().filter_map(|id| policy.endpoint(*id)) {
        let addresses = endpoint.addresses.iter().copied().map(Prefix::host);
        spans.entry(endpoint.segment).or_default().extend(addresses);
    }
    let families = |(segment, prefixes): (SegmentId, Vec<Prefix>)| {
        (segment, Families::new(prefixes.into_iter().map(Span::from)))
    };
    AddressSet { everywhere: Families::default(), exceptions: spans.into_iter().map(families).collect() }
}

/// Returns what neither a prefix nor an endpoint of the segment claims and is not multicast.
fn external_set(policy: &Policy) -> AddressSet {
    let mut claims: BTreeMap<SegmentId, Vec<Prefix>> = BTreeMap::new();
    for group in &policy.groups {
        claims.entry(group.segment).or_default().extend(&group.prefixes);
    }
    for endpoint in &policy.endpoints {
        let addresses = endpoint.addresses.iter().copied().map(Prefix::host);
        claims.entry(endpoint.segment).or_default().extend(addresses);
    }
    let multicast = Families::multicast();
    let rest = |(segment, claimed): (SegmentId, Vec<Prefix>)| {
        let claimed = Families::new(claimed.into_iter().map(Span::from));
        (segment, claimed.union(&multicast).complement())
    };
    let exceptions = claims.into_iter().map(rest).collect();
    AddressSet { everywhere: multicast.complement(), exceptions }
}

/// Returns the ranges sorted and joined where they overlap or touch.
pub(crate) fn merged(mut ranges: Ranges) -> Ranges {
    ranges.sort_unstable();
    let mut joined: Ranges = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match joined.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// Returns what of 0..=`max` the ranges leave out.
fn gaps(ranges: &[(u128, u128)], max: u128) -> Ranges {
    let mut gaps = Vec::with_capacity(ranges.len() + 1);
    let mut next = Some(0);
    for (first, last) in ranges {
        if let Some(open) = next.filter(|open| open < first) {
            gaps.push((open, first - 1));
        }
        next = last.checked_add(1);
    }
    gaps.extend(next.filter(|open| *open <= max).map(|open| (open, max)));
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one_and_gaps_are_the_rest() {
        let ranges = merged(vec![(5, 9), (0, 1), (10, 12), (2, 2), (8, 8)]);
        assert_eq!(ranges, [(0, 2), (5, 12)]);
        assert_eq!(gaps(&ranges, 20), [(3, 4), (13, 20)]);
        assert_eq!(gaps(&[], 20), [(0, 20)]);
        assert_eq!(gaps(&[(0, u128::MAX)], u128::MAX), []);
        assert_eq!(gaps(&[(0, 20)], 20), []);
    }

    #[test]
    fn containing_and_overlapping_are_exact_at_the_edges() {
        let outer = [(0, 2), (5, 12)];
        assert!(ranges_contain(&outer, &[(5, 5), (12, 12)]) && ranges_contain(&outer, &[]));
        assert!(!ranges_contain(&outer, &[(2, 3)]) && !ranges_contain(&outer, &[(12, 13)]));
        assert!(ranges_overlap(&outer, &[(12, 99)]) && ranges_overlap(&outer, &[(4, 5)]));
        assert!(!ranges_overlap(&outer, &[(3, 4)]) && !ranges_overlap(&outer, &[(13, 99)]));
    }

    #[test]
    fn a_span_of_everything_and_of_one_address() {
        let span = |text: &str| Span::from(text.parse::<Prefix>().unwrap()).range;
        assert_eq!(span("0.0.0.0/0"), (0, u32::MAX.into()));
        assert_eq!(span("::/0"), (0, u128::MAX));
        assert_eq!(span("0.0.0.7/32"), (7, 7));
        assert_eq!(span("::7/128"), (7, 7));
        assert_eq!(span("0.0.0.4/30"), (4, 7));
    }
}
