//! A packet that a rule decides: the exact answer to whether a rule does anything at all.
//!
//! [`Extents::shadowed_by`] names rules, each of which takes all addresses of the shadowed one. That says why, and misses
//! rules that take them only together. Here the packets of the rule are cut into pieces that no rule before it tells apart:
//! layer 4 first, then source addresses; in each piece the destinations that the rules before it take are put together,
//! and what is left of the rule's own is a packet that reaches it. Pieces that the same rules take are looked at once, so
//! that the cost is that of (source ranges x rules before it that overlap it), not of addresses.

use crate::address_set::{merged, ranges_contain};
use crate::decide::PolicyKey;
use crate::ids::SegmentId;
use crate::overlap::{Extent, Extents};
use crate::protocol::{L4Key, Protocol};
use crate::rule::Rule;
use crate::shadows::l4_ranges;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Sorted ranges of addresses of one family.
type Ranges = [(u128, u128)];

impl Extents<'_> {
    /// Returns a packet that the rule decides, if there is one. The rule need not be one of the policy: its place is that
    /// of its [`Rule::order`]. Enforced rules go before an enforced one; before one in shadow, also those in shadow.
    pub fn packet_decided_by(&self, rule: &Rule) -> Option<PolicyKey> {
        let extent = self.extent(rule);
        let before = self.policy.rules.iter().take_while(|other| other.order() < rule.order());
        let takes_part = |other: &&Rule| other.id != rule.id && (rule.shadow || !other.shadow);
        let before = before.filter(takes_part).filter(|other| other.l4.overlaps(&rule.l4));
        let before: Vec<Extent<'_>> =
            before.map(|other| self.extent(other)).filter(|other| self.do_overlap(other, &extent)).collect();
        let mut looked_at = BTreeSet::new();
        for l4 in l4_pieces(&extent, &before) {
            let takes = |other: &&Extent<'_>| other.rule.l4.matches(l4);
            let taking: Vec<&Extent<'_>> = before.iter().filter(takes).collect();
            if !looked_at.insert(taking.iter().map(|other| other.rule.id).collect::<Vec<_>>()) {
                continue;
            }
            if let Some((segment, source, destination)) = self.pair_outside(&extent, &taking) {
                return Some(PolicyKey { segment, source, destination, l4 });
            }
        }
        None
    }

    /// Returns a pair of addresses of the rule that none of the others has.
    fn pair_outside(
        &self,
        extent: &Extent<'_>,
        others: &[&Extent<'_>],
    ) -> Option<(SegmentId, IpAddr, IpAddr)> {
        let all = others.iter().copied().chain([extent]);
        let sets: Vec<_> = all.flat_map(|extent| [&*extent.source, &*extent.destination]).collect();
        for segment in self.sets.distinct_segments(&sets) {
            for (family, is_v4) in [(0, true), (1, false)] {
                let sides = |extent: &Extent<'_>| {
                    let (source, destination) = (&extent.source, &extent.destination);
                    (
                        source.segment(segment).both()[family].to_vec(),
                        destination.segment(segment).both()[family].to_vec(),
                    )
                };
                let boxes: Vec<_> = others.iter().map(|other| sides(other)).collect();
                if let Some((source, destination)) = outside(&sides(extent), &boxes) {
                    return Some((segment, address(source, is_v4), address(destination, is_v4)));
                }
            }
        }
        None
    }
}

/// Returns a source and a destination of the box that no other box has.
fn outside(inner: &AddressBox, boxes: &[AddressBox]) -> Option<(u128, u128)> {
    let (sources, destinations) = inner;
    let mut looked_at = BTreeSet::new();
    for source in cuts(sources, boxes.iter().map(|(sources, _)| sources.as_slice())) {
        let has_source =
            |(_, (sources, _)): &(usize, &AddressBox)| ranges_contain(sources, &[(source, source)]);
        let taking: Vec<(usize, &AddressBox)> = boxes.iter().enumerate().filter(has_source).collect();
        if !looked_at.insert(taking.iter().map(|(at, _)| *at).collect::<Vec<_>>()) {
            continue;
        }
        let taken = merged(taking.iter().flat_map(|(_, (_, destinations))| destinations.clone()).collect());
        if let Some(destination) = first_outside(destinations, &taken) {
            return Some((source, destination));
        }
    }
    None
}

/// Source and destination addresses of a rule in one segment and family.
type AddressBox = (Vec<(u128, u128)>, Vec<(u128, u128)>);

/// Returns the first address of each piece into which the others cut the ranges.
fn cuts<'r>(ranges: &Ranges, others: impl Iterator<Item = &'r Ranges>) -> BTreeSet<u128> {
    let edges = others.flatten().flat_map(|(first, last)| [Some(*first), last.checked_add(1)]);
    let inside = edges.flatten().filter(|edge| ranges_contain(ranges, &[(*edge, *edge)]));
    inside.chain(ranges.iter().map(|(first, _)| *first)).collect()
}

/// Returns the first number of the ranges that is not taken. What is taken is merged: behind a range is a gap.
fn first_outside(ranges: &Ranges, taken: &Ranges) -> Option<u128> {
    ranges.iter().find_map(|(first, last)| {
        let at = taken.partition_point(|(_, end)| end < first);
        match taken.get(at) {
            Some((begin, end)) if begin <= first => end.checked_add(1).filter(|next| next <= last),
            _ => Some(*first),
        }
    })
}

/// Returns a key of each piece into which the others cut the rule's layer 4.
fn l4_pieces(extent: &Extent<'_>, others: &[Extent<'_>]) -> Vec<L4Key> {
    let (protocols, ranges) = l4_ranges(&extent.rule.l4);
    let wide = |ranges: &[(u16, u16)]| -> Vec<(u128, u128)> {
        ranges.iter().map(|(first, last)| (u128::from(*first), u128::from(*last))).collect()
    };
    let ranges = wide(&ranges);
    let others: Vec<_> = others.iter().map(|other| l4_ranges(&other.rule.l4)).collect();
    let mut pieces = Vec::new();
    for protocol in protocols {
        let of_protocol = others.iter().filter(|(protocols, _)| protocols.contains(&protocol));
        let cutting: Vec<_> = of_protocol.map(|(_, ranges)| wide(ranges)).collect();
        let firsts = cuts(&ranges, cutting.iter().map(Vec::as_slice));
        let number = |first: u128| u16::try_from(first).unwrap_or(u16::MAX);
        pieces.extend(firsts.into_iter().map(|first| l4_key(Protocol(protocol), number(first))));
    }
    pieces
}

/// Returns the key with this port, or `type * 256 + code`.
fn l4_key(protocol: Protocol, number: u16) -> L4Key {
    if protocol.has_ports() {
        L4Key::ports(protocol, 0, number)
    } else if protocol.is_icmp() {
        let [kind, code] = number.to_be_bytes();
        L4Key::icmp(protocol, kind, code)
    } else {
        L4Key::bare(protocol)
    }
}

fn address(number: u128, is_v4: bool) -> IpAddr {
    match u32::try_from(number) {
        Ok(bits) if is_v4 => IpAddr::V4(Ipv4Addr::from_bits(bits)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_jumped_over() {
        assert_eq!(first_outside(&[(5, 9)], &[(0, 4), (7, 8)]), Some(5));
        assert_eq!(first_outside(&[(5, 9)], &[(5, 8)]), Some(9));
        assert_eq!(first_outside(&[(5, 9), (20, 20)], &[(0, 9)]), Some(20));
        assert_eq!(first_outside(&[(5, u128::MAX)], &[(5, u128::MAX)]), None);
    }

    #[test]
    fn two_boxes_cover_a_third_together_and_not_if_one_is_short() {
        let inner = (vec![(0, 9)], vec![(0, 9)]);
        let left = (vec![(0, 4)], vec![(0, 20)]);
        let right = (vec![(5, 9)], vec![(0, 9)]);
        assert_eq!(outside(&inner, &[left.clone(), right]), None);
        let short = (vec![(5, 9)], vec![(0, 3), (5, 9)]);
        assert_eq!(outside(&inner, &[left, short]), Some((5, 4)));
    }
}
