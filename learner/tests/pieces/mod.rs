//! The packets of a policy cut into pieces that no rule tells apart: a slow and plain form of how matches lie to each
//! other, for comparison.
//!
//! Addresses are cut wherever a prefix, an endpoint or the multicast range begins or ends, ports and types wherever a rule
//! names one. A packet at the beginning of each piece stands for the piece, and the linear oracle says who matches it.

use meshgate_policy::generate::Rng;
use meshgate_policy::{L4Key, L4Match, Policy, PolicyKey, Prefix, Protocol, Rule, SegmentId, Side};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A segment and one of its addresses.
type Place = (SegmentId, IpAddr);

/// The pieces of a policy with one rule more.
pub struct Pieces<'a> {
    policy: &'a Policy,
    places: Vec<Place>,
    l4: Vec<L4Key>,
}

/// What a rule matches, piece by piece.
struct Matched {
    sources: BTreeSet<Place>,
    destinations: BTreeSet<Place>,
    l4: BTreeSet<L4Key>,
}

impl<'a> Pieces<'a> {
    pub fn new(policy: &'a Policy, draft: &Rule) -> Self {
        let mut edges = BTreeSet::new();
        let sides = policy.rules.iter().flat_map(|rule| [&rule.source, &rule.destination]);
        let of_rules = sides.flat_map(|side| match side {
            Side::Prefixes(prefixes) => prefixes.clone(),
            Side::Group(_) => Vec::new(),
        });
        let of_groups = policy.groups.iter().flat_map(|group| group.prefixes.clone());
        let of_endpoints = policy.endpoints.iter().flat_map(|endpoint| endpoint.addresses.clone());
        let multicast = ["0.0.0.0/0", "224.0.0.0/4", "255.255.255.255/32", "::/0", "ff00::/8"];
        let multicast = multicast.map(|text| text.parse::<Prefix>().unwrap());
        let all = of_rules.chain(of_groups).chain(of_endpoints.map(Prefix::host)).chain(multicast);
        all.for_each(|prefix| edges.extend(edges_of(prefix)));
        let segments = policy.segments.iter().map(|segment| segment.id);
        let places = segments.flat_map(|segment| edges.iter().map(move |address| (segment, *address)));
        let places = places.collect();
        Self { policy, places, l4: l4_pieces(policy, draft) }
    }

    /// Returns whether a packet fits both.
    pub fn overlaps(&self, a: &Rule, b: &Rule) -> bool {
        let (a, b) = (self.matched(a), self.matched(b));
        let shared = |a: &BTreeSet<Place>, b: &BTreeSet<Place>| a & b;
        let sources = shared(&a.sources, &b.sources);
        let destinations = shared(&a.destinations, &b.destinations);
        !a.l4.is_disjoint(&b.l4)
            && sources.iter().any(|source| destinations.iter().any(|other| are_peers(source, other)))
    }

    /// Returns whether every packet of `inner` fits `outer`.
    pub fn contains(&self, outer: &Rule, inner: &Rule) -> bool {
        let (outer, inner) = (self.matched(outer), self.matched(inner));
        let mut pairs = pairs(&inner);
        let no_packet = inner.l4.is_empty() || pairs.next().is_none();
        no_packet
            || (inner.l4.is_subset(&outer.l4)
                && self::pairs(&inner).all(|(source, destination)| {
                    outer.sources.contains(&source) && outer.destinations.contains(&destination)
                }))
    }

    /// Returns a packet of every piece that the rule matches.
    pub fn packets(&self, rule: &Rule) -> impl Iterator<Item = PolicyKey> {
        let matched = self.matched(rule);
        let l4 = matched.l4.clone();
        let pairs: Vec<_> = pairs(&matched).collect();
        pairs.into_iter().flat_map(move |(source, destination)| {
            let packet =
                move |l4| PolicyKey { segment: source.0, source: source.1, destination: destination.1, l4 };
            l4.clone().into_iter().map(packet)
        })
    }

    /// Returns packets of some of these pieces.
    pub fn some_packets(&self, rule: &Rule, count: usize, rng: &mut Rng) -> Vec<PolicyKey> {
        let all: Vec<PolicyKey> = self.packets(rule).collect();
        (0..count).filter_map(|_| rng.pick(&all).copied()).collect()
    }

    fn matched(&self, rule: &Rule) -> Matched {
        let fits = |side: &Side| -> BTreeSet<Place> {
            let is_in = |(segment, address): &&Place| match side {
                Side::Group(group) => self.policy.is_member(*group, *segment, *address),
                Side::Prefixes(prefixes) => prefixes.iter().any(|prefix| prefix.contains(*address)),
            };
            self.places.iter().filter(is_in).copied().collect()
        };
        Matched {
            sources: fits(&rule.source),
            destinations: fits(&rule.destination),
            l4: self.l4.iter().filter(|key| rule.l4.matches(**key)).copied().collect(),
        }
    }
}

fn are_peers(a: &Place, b: &Place) -> bool {
    a.0 == b.0 && a.1.is_ipv4() == b.1.is_ipv4()
}

fn pairs(matched: &Matched) -> impl Iterator<Item = (Place, Place)> {
    let with = |source: &Place| {
        let source = *source;
        let peers = matched.destinations.iter().filter(move |other| are_peers(&source, other));
        peers.map(move |destination| (source, *destination))
    };
    matched.sources.iter().flat_map(with)
}

/// Returns the first address of the prefix and the first one behind it.
fn edges_of(prefix: Prefix) -> Vec<IpAddr> {
    let length = u32::from(prefix.length());
    let mut edges = vec![prefix.address()];
    match prefix.address() {
        IpAddr::V4(v4) => {
            let last = v4.to_bits() | u32::MAX.checked_shr(length).unwrap_or(0);
            edges.extend(last.checked_add(1).map(|next| IpAddr::V4(Ipv4Addr::from_bits(next))));
        }
        IpAddr::V6(v6) => {
            let last = v6.to_bits() | u128::MAX.checked_shr(length).unwrap_or(0);
            edges.extend(last.checked_add(1).map(|next| IpAddr::V6(Ipv6Addr::from_bits(next))));
        }
    }
    edges
}

fn l4_pieces(policy: &Policy, draft: &Rule) -> Vec<L4Key> {
    let matches: Vec<&L4Match> = policy.rules.iter().chain([draft]).map(|rule| &rule.l4).collect();
    // A protocol that nobody names stands for all of these.
    let mut protocols = BTreeSet::from([Protocol(251)]);
    let (mut ports, mut kinds, mut codes) =
        (BTreeSet::from([0u16]), BTreeSet::from([0u8]), BTreeSet::from([0u8]));
    for l4 in matches {
        match l4 {
            L4Match::Any => {}
            L4Match::Protocol(protocol) => {
                protocols.insert(*protocol);
            }
            L4Match::Ports(protocol, set) => {
                protocols.insert(*protocol);
                for range in set.ranges() {
                    ports.extend([Some(range.first()), range.last().checked_add(1)].into_iter().flatten());
                }
            }
            L4Match::Icmp(protocol, kind, code) => {
                protocols.insert(*protocol);
                kinds.extend([Some(*kind), kind.checked_add(1)].into_iter().flatten());
                codes.extend([*code, code.and_then(|code| code.checked_add(1))].into_iter().flatten());
            }
        }
    }
    let of = |protocol: &Protocol| -> Vec<L4Key> {
        if protocol.has_ports() {
            ports.iter().map(|port| L4Key::ports(*protocol, 0, *port)).collect()
        } else if protocol.is_icmp() {
            let with =
                |kind: &u8| codes.iter().map(|code| L4Key::icmp(*protocol, *kind, *code)).collect::<Vec<_>>();
            kinds.iter().flat_map(with).collect()
        } else {
            vec![L4Key::bare(*protocol)]
        }
    };
    protocols.iter().flat_map(of).collect()
}
