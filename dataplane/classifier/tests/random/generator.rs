//! Seeded random policies, small enough for the linear oracle and crowded enough that groups, prefixes, ports and
//! priorities collide; and packets drawn at the boundaries of what a policy names.

#![expect(clippy::unwrap_used, reason = "a generator that errs fails its test")]

use meshgate_policy::{
    Action, Endpoint, EndpointFlags, EndpointId, Group, GroupId, IntraGroup, L4Key, L4Match, Mac, Name,
    Policy, PolicyKey, PolicyVersion, PortRange, PortSet, Prefix, Priority, Protocol, Rule, RuleId, RuleKind,
    Segment, SegmentId, Side,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ports that rules and packets share, so that they meet.
const PORTS: [u16; 12] = [0, 1, 22, 53, 79, 80, 81, 443, 8079, 8080, 65534, 65535];
/// Priorities of few values, so that ties are common.
pub const PRIORITIES: [u16; 4] = [0, 1000, 1001, 65535];
/// Protocols beside those with ports or types.
const BARE_PROTOCOLS: [u8; 4] = [0, 47, 50, 255];

/// Choices: of bytes as long as there are any, then random numbers: splitmix64 (Steele, Lea, Flood 2014).
pub struct Random {
    state: u64,
    /// Bytes that are still to be taken, the next one last.
    bytes: Vec<u8>,
}

#[allow(dead_code, reason = "a test file draws from a seed or from bytes")]
impl Random {
    /// Returns the random numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed, bytes: Vec::new() }
    }

    /// Returns the choices that the bytes make, one a byte.
    pub fn of(bytes: &[u8]) -> Self {
        Self { state: 0, bytes: bytes.iter().rev().copied().collect() }
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        match (self.bytes.pop(), end) {
            (None, _) => self.next() % end,
            (Some(byte), ..=0x100) => u64::from(byte) % end,
            (Some(byte), _) => (u64::from(byte) << 8 | u64::from(self.bytes.pop().unwrap_or(0))) % end,
        }
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()].clone()
    }
}

/// Returns an address out of few: 10.0.x.y or fd00::x:y with small x and y, seldom one from far away.
fn address(random: &mut Random) -> IpAddr {
    let (x, y) = (random.below(4), random.pick(&[0u64, 1, 2, 3, 4, 7, 8, 63, 64, 127, 128, 200, 254, 255]));
    let is_far = random.chance(8);
    if random.chance(60) {
        let far = [0u32, 0x0a00_0400, 0x0b00_0000, 0xe000_0001, 0xefff_ffff, 0xf000_0000, 0xffff_ffff];
        let near = 0x0a00_0000 | u32::try_from(x << 8 | y).unwrap();
        IpAddr::V4(Ipv4Addr::from(if is_far { random.pick(&far) } else { near }))
    } else {
        let far = ["::", "fc00::", "fd01::", "fe80::1", "ff02::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"];
        let near = (0xfd00u128 << 112) | u128::from(x << 16 | y);
        let far: Ipv6Addr = random.pick(&far).parse().unwrap();
        IpAddr::V6(if is_far { far } else { near.into() })
    }
}

/// Returns a prefix around a likely address, of any length but mostly a telling one.
fn prefix(random: &mut Random) -> Prefix {
    let address = address(random);
    let width = if address.is_ipv4() { 32 } else { 128 };
    let length = match random.below(10) {
        0 => 0,
        1 | 2 => u8::try_from(random.below(width + 1)).unwrap(),
        3 | 4 => u8::try_from(width).unwrap(),
        _ => u8::try_from(width - 1 - random.below(13)).unwrap(),
    };
    (0..=length).rev().find_map(|length| masked(address, length)).unwrap()
}

/// Returns the prefix of that length around an address.
fn masked(address: IpAddr, length: u8) -> Option<Prefix> {
    let first = match address {
        IpAddr::V4(v4) => {
            IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)).into())
        }
        IpAddr::V6(v6) => {
            IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)).into())
        }
    };
    Prefix::new(first, length).ok()
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list.dedup();
    list
}

fn ports(random: &mut Random, many_percent: u64) -> PortSet {
    if random.chance(many_percent) {
        // Each rule names its own share of the same 240 ports: two ports that one rule tells apart are of two classes,
        // so that some rules make more classes than a page has places.
        let port = |random: &mut Random| u16::try_from(2_000 + 3 * random.below(240)).unwrap();
        let single = |random: &mut Random| {
            let port = port(random);
            PortRange::new(port, port).unwrap()
        };
        return PortSet::new((0..48).map(|_| single(random)).collect()).unwrap();
    }
    let count = 1 + random.below(3);
    let range = |random: &mut Random| {
        let (a, b) = if random.chance(80) {
            (random.pick(&PORTS), random.pick(&PORTS))
        } else {
            (u16::try_from(random.below(65536)).unwrap(), u16::try_from(random.below(65536)).unwrap())
        };
        if random.chance(60) {
            PortRange::new(a, a).unwrap()
        } else {
            PortRange::new(a.min(b), a.max(b)).unwrap()
        }
    };
    PortSet::new((0..count).map(|_| range(random)).collect()).unwrap()
}

fn l4_match(random: &mut Random, many_percent: u64) -> L4Match {
    let with_ports = [Protocol::TCP, Protocol::TCP, Protocol::UDP, Protocol::SCTP];
    let icmp = [Protocol::ICMP, Protocol::ICMPV6];
    match random.below(10) {
        0..=2 => L4Match::Any,
        3 => L4Match::Protocol(random.pick(&[Protocol::TCP, Protocol::UDP, Protocol::ICMP, Protocol(47)])),
        4..=7 => L4Match::Ports(random.pick(&with_ports), ports(random, many_percent)),
        8 => L4Match::Icmp(random.pick(&icmp), random.pick(&[0, 8, 128, 255]), None),
        _ => L4Match::Icmp(random.pick(&icmp), random.pick(&[0, 8, 128]), Some(random.pick(&[0, 1, 255]))),
    }
}

fn side(random: &mut Random, groups: u32) -> Side {
    let built_in = [GroupId::ANY, GroupId::ANY, GroupId::EXTERNAL, GroupId::MULTICAST];
    match random.below(20) {
        0..=3 => Side::Group(random.pick(&built_in)),
        4..=5 => Side::Prefixes(sorted((0..1 + random.below(3)).map(|_| prefix(random)).collect())),
        // A number above the last group: a group that does not exist.
        6 => Side::Group(GroupId(16 + groups)),
        _ => Side::Group(GroupId(16 + u32::try_from(random.below(u64::from(groups).max(1))).unwrap())),
    }
}

fn name(text: &str, number: u32) -> Name {
    format!("{text}{number}").parse().unwrap()
}

/// Returns a policy of up to three segments, twenty endpoints, sixteen groups and forty rules.
pub fn policy(random: &mut Random) -> Policy {
    let mut policy = Policy::empty(random.pick(&[Action::Deny, Action::Allow]));
    policy.version = PolicyVersion(random.below(1000));
    let segments: Vec<SegmentId> = (1..=random.pick(&[1, 1, 1, 1, 2, 3])).map(SegmentId).collect();
    policy.segments = segments
        .iter()
        .map(|id| Segment { id: *id, name: name("s", id.0.into()), tenant: name("t", 0) })
        .collect();
    let mut taken = std::collections::HashSet::new();
    for number in 0..u32::try_from(random.below(20)).unwrap() {
        let segment = random.pick(&segments);
        let addresses: Vec<IpAddr> = (0..random.below(4)).map(|_| address(random)).collect();
        let addresses =
            sorted(addresses.into_iter().filter(|address| taken.insert((segment, *address))).collect());
        policy.endpoints.push(Endpoint {
            id: EndpointId(1 + number * 2),
            name: name("e", number),
            segment,
            mac: Mac([2, 0, 0, 0, 0, u8::try_from(number).unwrap()]),
            addresses,
            routes: Vec::new(),
            flags: EndpointFlags::default(),
            host: None,
            device: None,
        });
    }
    let groups = u32::try_from(random.below(17)).unwrap();
    let densities = random.pick(&[[5, 30, 60], [5, 30, 60], [100, 100, 95]]);
    for number in 0..groups {
        let density = random.pick(&densities);
        let endpoints = policy.endpoints.iter().map(|endpoint| endpoint.id);
        policy.groups.push(Group {
            id: GroupId(16 + number),
            name: name("g", number),
            segment: random.pick(&segments),
            endpoints: endpoints.filter(|_| random.chance(density)).collect(),
            prefixes: sorted((0..random.below(4)).map(|_| prefix(random)).collect()),
            intra_group: random.pick(&[IntraGroup::Allow, IntraGroup::Allow, IntraGroup::Deny]),
        });
    }
    let shadow_percent = random.pick(&[0, 0, 20, 40]);
    // Seldom so many ports that the L4 classes fill more than one page.
    let many_percent = random.pick(&[2, 2, 2, 2, 2, 2, 2, 80]);
    let rules = random.pick(&[0, 1, 12, 24, 40, 40, 40]);
    for number in 0..rules {
        policy.rules.push(Rule {
            id: RuleId(1 + number * 3),
            kind: random.pick(&[RuleKind::Relationship, RuleKind::GroupRule]),
            priority: Priority(random.pick(&PRIORITIES)),
            action: random.pick(&[Action::Allow, Action::Allow, Action::Deny, Action::Reject]),
            shadow: random.chance(shadow_percent),
            source: side(random, groups),
            destination: side(random, groups),
            l4: l4_match(random, many_percent),
        });
    }
    policy.rules.sort_by_key(Rule::order);
    policy
}

/// What packets are drawn from: the boundaries of everything a policy names.
pub struct Boundaries {
    everything: Addresses,
    rules: Vec<RuleEdges>,
    l4: Vec<L4Key>,
    segments: Vec<SegmentId>,
}

/// Addresses at the boundaries of both sides of a rule, keys at those of its match, and where its groups are.
#[derive(Clone)]
struct RuleEdges {
    source: Addresses,
    destination: Addresses,
    l4: Vec<L4Key>,
    segment: Option<SegmentId>,
}

/// Addresses by family.
#[derive(Clone, Default)]
struct Addresses([Vec<IpAddr>; 2]);

impl Addresses {
    fn add(&mut self, address: IpAddr) {
        self.0[usize::from(address.is_ipv6())].push(address);
    }

    fn add_prefixes(&mut self, prefixes: &[Prefix]) {
        for [first, last, before, behind] in prefixes.iter().map(|prefix| edges(*prefix)) {
            // Three of four lie inside, or too few packets would meet a rule.
            [first, last, first, last, first, last, before, behind]
                .into_iter()
                .for_each(|address| self.add(address));
        }
    }

    /// Returns one of the family, if there is any.
    fn pick(&self, family: usize, random: &mut Random) -> Option<IpAddr> {
        (!self.0[family].is_empty()).then(|| random.pick(&self.0[family]))
    }
}

impl Boundaries {
    pub fn of(policy: &Policy) -> Self {
        let mut everything = Addresses::default();
        policy.endpoints.iter().flat_map(|e| &e.addresses).for_each(|address| everything.add(*address));
        policy.groups.iter().for_each(|group| everything.add_prefixes(&group.prefixes));
        for text in ["10.0.0.1", "224.0.0.5", "255.255.255.255", "fd00::1", "ff02::1"] {
            everything.add(text.parse().unwrap());
        }
        for side in policy.rules.iter().flat_map(|rule| [&rule.source, &rule.destination]) {
            if let Side::Prefixes(prefixes) = side {
                everything.add_prefixes(prefixes);
            }
        }
        let addresses = |side: &Side| match side {
            Side::Prefixes(prefixes) => {
                let mut inside = Addresses::default();
                inside.add_prefixes(prefixes);
                inside
            }
            Side::Group(id) => policy.group(*id).map_or_else(
                || everything.clone(),
                |group| {
                    let mut members = Addresses::default();
                    members.add_prefixes(&group.prefixes);
                    let endpoints = group.endpoints.iter().filter_map(|id| policy.endpoint(*id));
                    endpoints.flat_map(|e| &e.addresses).for_each(|address| members.add(*address));
                    members
                },
            ),
        };
        let segment_of = |side: &Side| match side {
            Side::Group(id) => policy.group(*id).map(|group| group.segment),
            Side::Prefixes(_) => None,
        };
        let rule_edges = |rule: &Rule| RuleEdges {
            source: addresses(&rule.source),
            destination: addresses(&rule.destination),
            l4: l4_edges(&rule.l4),
            segment: segment_of(&rule.source).or(segment_of(&rule.destination)),
        };
        let rules = policy.rules.iter().map(rule_edges).collect();
        let l4 = policy.rules.iter().flat_map(|rule| l4_edges(&rule.l4)).collect();
        // Also a segment that the policy does not know.
        let segments = policy.segments.iter().map(|segment| segment.id).chain([SegmentId(9)]).collect();
        Self { everything, rules, l4, segments }
    }

    /// Returns a packet, mostly at a boundary, and mostly at that of one rule.
    pub fn packet(&self, random: &mut Random) -> PolicyKey {
        let mut family = usize::from(random.chance(45));
        let unknown_segment = random.chance(2);
        let mut segment =
            if unknown_segment { *self.segments.last().unwrap() } else { random.pick(&self.segments) };
        if self.rules.is_empty() || random.chance(10) {
            let (source, destination) = (self.address(family, random), self.address(family, random));
            return PolicyKey { segment, source, destination, l4: self.l4_key(random) };
        }
        let rule = random.pick(&self.rules);
        let has = |family: usize| !rule.source.0[family].is_empty() && !rule.destination.0[family].is_empty();
        if !has(family) && has(1 - family) {
            family = 1 - family;
        }
        if random.chance(95) {
            segment = rule.segment.unwrap_or(segment);
        }
        let source = rule.source.pick(family, random).unwrap_or_else(|| self.address(family, random));
        let destination =
            rule.destination.pick(family, random).unwrap_or_else(|| self.address(family, random));
        let l4 = if random.chance(90) { random.pick(&rule.l4) } else { self.l4_key(random) };
        PolicyKey { segment, source, destination, l4 }
    }

    /// Returns an address of the family, mostly at any boundary.
    fn address(&self, family: usize, random: &mut Random) -> IpAddr {
        if random.chance(90) {
            return self.everything.pick(family, random).unwrap();
        }
        (0..).map(|_| address(random)).find(|address| usize::from(address.is_ipv6()) == family).unwrap()
    }

    fn l4_key(&self, random: &mut Random) -> L4Key {
        if !self.l4.is_empty() && random.chance(75) {
            return random.pick(&self.l4);
        }
        match random.below(6) {
            0 | 1 => L4Key::ports(Protocol::TCP, random.pick(&PORTS), random.pick(&PORTS)),
            2 => L4Key::ports(Protocol::UDP, random.pick(&PORTS), random.pick(&PORTS)),
            3 => L4Key::icmp(Protocol::ICMP, random.pick(&[0, 8, 255]), random.pick(&[0, 1, 255])),
            // No message has such a type or code; it must still be judged like everywhere else.
            4 => L4Key {
                protocol: Protocol::ICMPV6,
                source_port: 0x0180,
                destination_port: random.pick(&PORTS),
            },
            _ => L4Key::bare(Protocol(random.pick(&BARE_PROTOCOLS))),
        }
    }
}

/// Returns the first and last address of a prefix, and those beside it.
pub fn edges(prefix: Prefix) -> [IpAddr; 4] {
    match prefix.address() {
        IpAddr::V4(first) => {
            let first = first.to_bits();
            let last = first | u32::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
            let edges = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
            edges.map(|bits| IpAddr::V4(bits.into()))
        }
        IpAddr::V6(first) => {
            let first = first.to_bits();
            let last = first | u128::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
            let edges = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
            edges.map(|bits| IpAddr::V6(bits.into()))
        }
    }
}

/// Returns keys at the boundaries of a match.
fn l4_edges(l4: &L4Match) -> Vec<L4Key> {
    match l4 {
        L4Match::Any => vec![L4Key::ports(Protocol::TCP, 1024, 80)],
        L4Match::Protocol(protocol) => vec![L4Key::bare(*protocol), L4Key::ports(*protocol, 8, 0)],
        L4Match::Ports(protocol, ports) => {
            let edges = ports.ranges().iter().flat_map(|range| {
                let (first, last) = (range.first(), range.last());
                [first, last, first, last, first.wrapping_sub(1), last.wrapping_add(1)]
            });
            edges.map(|port| L4Key::ports(*protocol, 1024, port)).collect()
        }
        L4Match::Icmp(protocol, kind, code) => {
            let code = code.unwrap_or(0);
            let near = [(*kind, code), (*kind, code.wrapping_add(1)), (kind.wrapping_add(1), code)];
            near.map(|(kind, code)| L4Key::icmp(*protocol, kind, code)).into()
        }
    }
}
