//! Makes traffic from an intended graph: each edge so many times, and noise that no rule should come from.
//!
//! A group of the graph becomes a group with a network of its own and a few endpoints; the whole address space becomes
//! `external`, and its traffic comes from documentation addresses. Each edge is used once in every round by endpoints
//! drawn anew; an edge for any protocol takes TCP and UDP in turn, one for a range of ports a port of it drawn anew.
//!
//! Noise, in equal parts: an edge whose service does not answer; the right pair on a wrong port, refused; one of a scan,
//! not answered; a stray connection between any two groups on any port, answered, once.

use super::intended::{Edge, Graph};
use crate::recorded_flow::RecordedFlow;
use meshgate_policy::{AuthoredGroup, AuthoredPolicy, IntraGroup, Name, Prefix, Protocol, ProtocolMatch};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Seconds of a window, and between two rounds.
pub const WINDOW_S: u32 = 60;
/// When the traffic begins: seconds since 1970, a multiple of a window.
const START_S: u64 = 1_700_000_040;
/// Endpoints of a group.
const ENDPOINTS: u64 = 4;
/// Kinds of noise.
const NOISE_KINDS: u64 = 4;

/// Traffic with the policy whose groups it is among.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Groups, and no rules.
    pub policy: AuthoredPolicy,
    /// The flows in order of time.
    pub flows: Vec<RecordedFlow>,
    /// How many of them are noise.
    pub noise_flows: usize,
}

/// A seeded source of numbers (splitmix64, G. L. Steele and others, 2014).
struct Numbers(u64);

impl Numbers {
    /// Returns a number below `bound`, which is small beside 2^64.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    fn port(&mut self) -> u16 {
        u16::try_from(self.below(1 << 16)).unwrap_or(u16::MAX)
    }
}

/// Returns traffic in which each edge is seen `seen` times and `noise` percent of all flows are noise.
pub fn make(graph: &Graph, seen: u32, noise: u32, seed: u64) -> Traffic {
    let mut numbers = Numbers(seed);
    let places = places(graph);
    let mut flows = Vec::new();
    for round in 0..seen {
        for edge in &graph.edges {
            let ports = port_of(edge, &mut numbers);
            let protocol = protocol_of(edge, round);
            let (source, destination) = (
                endpoint(&places, &edge.source, &mut numbers),
                endpoint(&places, &edge.destination, &mut numbers),
            );
            let time = within(round, &mut numbers);
            flows.push(flow(time, (source, destination), (protocol, ports), true));
        }
    }
    let wanted = flows.len() * usize::try_from(noise).unwrap_or(0);
    let noise_flows = wanted.div_ceil(100usize.saturating_sub(usize::try_from(noise).unwrap_or(0)).max(1));
    for _ in 0..noise_flows {
        let round = u32::try_from(numbers.below(seen.into())).unwrap_or(0);
        let time = within(round, &mut numbers);
        flows.push(noise_flow(graph, &places, time, &mut numbers));
    }
    flows.sort_by_key(|flow| flow.time_ns);
    Traffic { policy: policy(&places), flows, noise_flows }
}

/// Returns the second byte of the network of each group; none for `external`.
fn places(graph: &Graph) -> BTreeMap<Name, Option<u16>> {
    let names = graph.edges.iter().flat_map(|edge| [&edge.source, &edge.destination]);
    let all: std::collections::BTreeSet<&Name> = names.collect();
    let place = |(place, name): (u16, &Name)| {
        (name.clone(), (name.as_str() != super::intended::EXTERNAL).then_some(place))
    };
    (0..).zip(all).map(place).collect()
}

fn policy(places: &BTreeMap<Name, Option<u16>>) -> AuthoredPolicy {
    let group = |(name, place): (&Name, &Option<u16>)| {
        let [high, low] = (*place)?.to_be_bytes();
        let prefix = Prefix::new(IpAddr::V4(Ipv4Addr::new(10, high, low, 0)), 24).ok()?;
        Some(AuthoredGroup {
            name: name.clone(),
            tenant: Name::default_name(),
            segment: Name::default_name(),
            members: Vec::new(),
            selector: BTreeMap::new(),
            prefixes: vec![prefix],
            intra_group: IntraGroup::Allow,
        })
    };
    AuthoredPolicy { groups: places.iter().filter_map(group).collect(), ..AuthoredPolicy::default() }
}

/// Returns an endpoint of a group, drawn anew.
fn endpoint(places: &BTreeMap<Name, Option<u16>>, group: &Name, numbers: &mut Numbers) -> IpAddr {
    let host = u8::try_from(numbers.below(ENDPOINTS) + 1).unwrap_or(1);
    match places.get(group).copied().flatten() {
        Some(place) => {
            let [high, low] = place.to_be_bytes();
            Ipv4Addr::new(10, high, low, host).into()
        }
        // RFC 5737.
        None => Ipv4Addr::new(203, 0, 113, host).into(),
    }
}

fn within(round: u32, numbers: &mut Numbers) -> u64 {
    let window = u64::from(WINDOW_S);
    (START_S + u64::from(round) * window) * 1_000_000_000 + numbers.below(window * 1_000_000_000)
}

fn protocol_of(edge: &Edge, round: u32) -> Protocol {
    match edge.protocol {
        ProtocolMatch::Is(protocol) => protocol,
        ProtocolMatch::Any if round.is_multiple_of(2) => Protocol::TCP,
        ProtocolMatch::Any => Protocol::UDP,
    }
}

fn port_of(edge: &Edge, numbers: &mut Numbers) -> u16 {
    // The first range; no graph at hand has several.
    let Some(range) = edge.ports.ranges().first() else { return numbers.port() };
    let width = u64::from(range.last() - range.first()) + 1;
    range.first() + u16::try_from(numbers.below(width)).unwrap_or(0)
}

fn noise_flow(
    graph: &Graph,
    places: &BTreeMap<Name, Option<u16>>,
    time: u64,
    numbers: &mut Numbers,
) -> RecordedFlow {
    let drawn = |numbers: &mut Numbers| {
        let at = usize::try_from(numbers.below(u64::try_from(graph.edges.len()).unwrap_or(1))).unwrap_or(0);
        &graph.edges[at]
    };
    let (edge, other) = (drawn(numbers), drawn(numbers));
    let source = endpoint(places, &edge.source, numbers);
    let to = |group: &Name, numbers: &mut Numbers| endpoint(places, group, numbers);
    let protocol = protocol_of(edge, 0);
    match numbers.below(NOISE_KINDS) {
        0 => {
            let port = port_of(edge, numbers);
            flow(time, (source, to(&edge.destination, numbers)), (protocol, port), false)
        }
        1 => flow(time, (source, to(&edge.destination, numbers)), (protocol, numbers.port()), false),
        2 => flow(time, (source, to(&other.destination, numbers)), (Protocol::TCP, numbers.port()), false),
        _ => flow(time, (source, to(&other.destination, numbers)), (protocol, numbers.port()), true),
    }
}

fn flow(
    time_ns: u64,
    (source, destination): (IpAddr, IpAddr),
    (protocol, port): (Protocol, u16),
    is_answered: bool,
) -> RecordedFlow {
    RecordedFlow {
        protocol: Some(protocol),
        source_port: Some(40_000),
        destination_port: Some(port),
        bytes_forward: Some(1_000),
        bytes_reverse: Some(if is_answered { 5_000 } else { 0 }),
        packets_forward: Some(10),
        packets_reverse: Some(if is_answered { 10 } else { 0 }),
        duration_ns: Some(1_000_000_000),
        answered: Some(is_answered),
        ..RecordedFlow::between(time_ns, source, destination)
    }
}
