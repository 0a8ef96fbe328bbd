//! Packets drawn from a policy: inside, on the edge of, and one beside what its rules and groups name.

use super::Rng;
use crate::address::Prefix;
use crate::decide::PolicyKey;
use crate::ids::{GroupId, SegmentId};
use crate::policy::{Group, Policy};
use crate::protocol::{L4Key, L4Match, Protocol};
use crate::rule::Side;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// In so many of a hundred draws an address, port or type is one beside what was picked.
const BESIDE_PERCENT: u64 = 10;
/// Draws for an address of the wanted segment and family before any address of them is taken.
const TRIES: usize = 8;

/// Returns the first packet of a flow, drawn from the policy. Both addresses are of one family.
pub fn packet(policy: &Policy, rng: &mut Rng) -> PolicyKey {
    let any = Side::Group(GroupId::ANY);
    match rng.below(100) {
        0..=69 => match rng.pick(&policy.rules) {
            Some(rule) => {
                let (segment, source) = source(policy, rng, &rule.source);
                let destination = address(policy, rng, &rule.destination, (segment, source.is_ipv4()));
                PolicyKey { segment, source, destination, l4: l4(rng, &rule.l4) }
            }
            None => between(policy, rng, &any),
        },
        70..=86 => match rng.pick(&policy.groups) {
            Some(group) => between(policy, rng, &Side::Group(group.id)),
            None => between(policy, rng, &any),
        },
        _ => between(policy, rng, &any),
    }
}

/// Returns a packet between two addresses of the side.
fn between(policy: &Policy, rng: &mut Rng, side: &Side) -> PolicyKey {
    let (segment, source) = source(policy, rng, side);
    let destination = address(policy, rng, side, (segment, source.is_ipv4()));
    let of_a_rule = if rng.chance(30) { rng.pick(&policy.rules) } else { None };
    let l4 = match of_a_rule {
        Some(rule) => l4(rng, &rule.l4),
        None => l4(rng, &L4Match::Any),
    };
    PolicyKey { segment, source, destination, l4 }
}

fn source(policy: &Policy, rng: &mut Rng, side: &Side) -> (SegmentId, IpAddr) {
    let wanted = rng.pick(&policy.segments).map_or(SegmentId::DEFAULT, |segment| segment.id);
    let group = match side {
        Side::Group(id) => policy.group(*id),
        Side::Prefixes(_) => None,
    };
    let segment = match group {
        Some(group) if group.endpoints.is_empty() => group.segment,
        Some(group) => rng
            .pick(&group.endpoints)
            .and_then(|id| policy.endpoint(*id))
            .map_or(group.segment, |endpoint| endpoint.segment),
        None => wanted,
    };
    let is_v4 = rng.chance(60);
    (segment, address(policy, rng, side, (segment, is_v4)))
}

/// Returns an address in, on the edge of or beside the side, of the segment and family.
fn address(policy: &Policy, rng: &mut Rng, side: &Side, of: (SegmentId, bool)) -> IpAddr {
    for _ in 0..TRIES {
        let place = match side {
            Side::Group(GroupId::ANY) => somewhere(policy, rng, of),
            Side::Group(GroupId::EXTERNAL) => Some(Prefix::host(outside(rng, of.1))),
            Side::Group(GroupId::MULTICAST) => Some(multicast(rng, of.1)),
            Side::Group(id) => policy.group(*id).and_then(|group| of_group(policy, rng, group, of.0)),
            Side::Prefixes(prefixes) => rng.pick(prefixes).copied(),
        };
        if let Some(place) = place.filter(|place| place.address().is_ipv4() == of.1) {
            return near(rng, place);
        }
    }
    somewhere(policy, rng, of).map_or_else(|| outside(rng, of.1), Prefix::address)
}

/// Returns a prefix or the address of an endpoint of the group, in the segment.
fn of_group(policy: &Policy, rng: &mut Rng, group: &Group, segment: SegmentId) -> Option<Prefix> {
    let in_prefix = !group.prefixes.is_empty() && (group.endpoints.is_empty() || rng.chance(40));
    if in_prefix {
        return rng.pick(&group.prefixes).copied().filter(|_| group.segment == segment);
    }
    let endpoint = rng.pick(&group.endpoints).and_then(|id| policy.endpoint(*id))?;
    if endpoint.segment != segment {
        return None;
    }
    rng.pick(&endpoint.addresses).copied().map(Prefix::host)
}

/// Returns an endpoint's address, a prefix or an address outside.
fn somewhere(policy: &Policy, rng: &mut Rng, (segment, is_v4): (SegmentId, bool)) -> Option<Prefix> {
    let place = match rng.below(10) {
        0..=5 => {
            let endpoint = rng.pick(&policy.endpoints).filter(|endpoint| endpoint.segment == segment)?;
            Prefix::host(*rng.pick(&endpoint.addresses)?)
        }
        6..=7 => {
            let group = rng.pick(&policy.groups).filter(|group| group.segment == segment)?;
            *rng.pick(&group.prefixes)?
        }
        8 => Prefix::host(outside(rng, is_v4)),
        _ => multicast(rng, is_v4),
    };
    (place.address().is_ipv4() == is_v4).then_some(place)
}

/// Returns an address of a documentation prefix that generated policies do not name (RFC 5737, RFC 3849).
fn outside(rng: &mut Rng, is_v4: bool) -> IpAddr {
    if is_v4 {
        IpAddr::V4(Ipv4Addr::new(203, 0, 113, rng.byte()))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db9 << 96) | u128::from(rng.byte())))
    }
}

fn multicast(rng: &mut Rng, is_v4: bool) -> Prefix {
    let texts = if is_v4 {
        ["224.0.0.0/4", "224.0.0.251/32", "255.255.255.255/32"]
    } else {
        ["ff00::/8", "ff02::1/128", "ff02::/16"]
    };
    rng.one_of(texts).parse().expect("the prefixes above are prefixes")
}

/// Returns an address inside the prefix, its first or last one, or one beside these.
fn near(rng: &mut Rng, prefix: Prefix) -> IpAddr {
    let width = if prefix.address().is_ipv4() { 32 } else { 128 };
    let free = width - u32::from(prefix.length());
    let behind = if free == 128 { u128::MAX } else { (1u128 << free) - 1 };
    let random = (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64());
    let first = match prefix.address() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let last = first | behind;
    let bits = match rng.below(100) {
        0..BESIDE_PERCENT => {
            if rng.chance(50) {
                first.wrapping_sub(1)
            } else {
                last.wrapping_add(1)
            }
        }
        BESIDE_PERCENT..25 => first,
        25..40 => last,
        _ => first | (random & behind),
    };
    if width == 32 {
        let low = u32::try_from(bits & u128::from(u32::MAX)).unwrap_or(0);
        IpAddr::V4(Ipv4Addr::from_bits(low))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits(bits))
    }
}

/// Returns a key inside, on the edge of or beside the match.
fn l4(rng: &mut Rng, l4: &L4Match) -> L4Key {
    match l4 {
        L4Match::Any => {
            let number = rng.byte();
            let protocol =
                rng.one_of([Protocol::TCP, Protocol::TCP, Protocol::UDP, Protocol::ICMP, Protocol(number)]);
            of_protocol(rng, protocol)
        }
        L4Match::Protocol(protocol) => {
            let beside = rng.chance(BESIDE_PERCENT);
            let number = if beside { protocol.0.wrapping_add(1) } else { protocol.0 };
            of_protocol(rng, Protocol(number))
        }
        L4Match::Ports(protocol, ports) => {
            let Some(range) = rng.pick(ports.ranges()) else { return of_protocol(rng, *protocol) };
            let inside = u64::from(range.last() - range.first()) + 1;
            let port = match rng.below(100) {
                0..BESIDE_PERCENT => {
                    if rng.chance(50) {
                        range.first().wrapping_sub(1)
                    } else {
                        range.last().wrapping_add(1)
                    }
                }
                BESIDE_PERCENT..40 => range.first(),
                40..70 => range.last(),
                _ => range.first().saturating_add(u16::try_from(rng.below(inside)).unwrap_or(0)),
            };
            L4Key::ports(*protocol, rng.u16(), port)
        }
        L4Match::Icmp(protocol, kind, code) => {
            let beside = rng.chance(BESIDE_PERCENT);
            let kind = if beside { kind.wrapping_add(1) } else { *kind };
            let code = match code {
                Some(code) if rng.chance(BESIDE_PERCENT) => code.wrapping_add(1),
                Some(code) => *code,
                None => rng.byte(),
            };
            L4Key::icmp(*protocol, kind, code)
        }
    }
}

fn of_protocol(rng: &mut Rng, protocol: Protocol) -> L4Key {
    if protocol.has_ports() {
        let port = if rng.chance(50) { rng.one_of([0, 22, 53, 80, 443, 65_535]) } else { rng.u16() };
        L4Key::ports(protocol, rng.u16(), port)
    } else if protocol.is_icmp() {
        L4Key::icmp(protocol, rng.one_of([0, 3, 8, 128, 135]), rng.one_of([0, 1, 4]))
    } else {
        L4Key::bare(protocol)
    }
}
