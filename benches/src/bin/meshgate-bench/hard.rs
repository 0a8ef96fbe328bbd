//! Policies and traffic that are as hard as people can make them, beside a typical policy with uniform traffic, in turns: a
//! port scan, every endpoint in as many groups as it may be, every address far from all others, as many port ranges a rule
//! as it may have, and all of that at once. And what lies over a limit, with what is said of it.

use crate::BenchError;
use crate::groups::Compiled;
use crate::product::{self, Shape};
use crate::timing::{Spread, Timing};
use meshgate_dataplane::classifier::{Classifier, ColumnBudget, CompileError};
use meshgate_policy::generate::Rng;
use meshgate_policy::limits::{
    ENDPOINTS_MAX, GROUPS_MAX, GROUPS_PER_ENDPOINT_MAX, PORT_RANGES_PER_RULE_MAX, RULES_MAX,
};
use meshgate_policy::{
    EndpointId, Group, GroupId, L4Key, L4Match, Policy, PolicyKey, PortRange, PortSet, Protocol, Rule,
    RuleId, SegmentId,
};
use std::net::{IpAddr, Ipv4Addr};

/// Packets looked up.
const PACKETS: usize = 65_536;
/// How much longer than in typical policies a look-up may take.
const RATIO_MAX: f64 = 3.0;
/// Bytes that a compiled policy may take: twice what the largest typical one may, 100,000 endpoints with 10,000 rules.
const BYTES_MAX: usize = 60_000_000;
/// An odd number, near the golden ratio of 2^32: what counts up is thrown all over (Knuth, 6.4).
const SCATTER: u32 = 0x9e37_79b1;
/// First octets of unicast addresses: 1 to 223.
const FIRST_OCTETS: u64 = 223;
/// First octet of addresses that never leave a machine, and what stands for it.
const LOOPBACK_OCTET: u8 = 127;
const LOOPBACK_INSTEAD: u8 = 224 - 1;

/// Look-ups in policies and traffic that are as hard as people can make them
#[derive(Debug, clap::Args)]
pub struct Hard {
    #[command(flatten)]
    shape: Shape,
    /// Let the compiler spend so many times its budget on hard policies
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    budget: u32,
    /// Seconds of one measurement
    #[arg(long, default_value_t = 0.3, value_parser = crate::timing::parse_seconds)]
    seconds: f64,
    /// Turns, of which the median counts
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    turns: u16,
}

/// What is hard.
#[derive(Clone, Copy, Debug, Default)]
struct Hardness {
    /// Its name.
    name: &'static str,
    /// One source goes through all destinations and ports.
    scan: bool,
    /// Every endpoint is in `GROUPS_PER_ENDPOINT_MAX` groups.
    groups: bool,
    /// No two addresses have much in common.
    apart: bool,
    /// Every rule has `PORT_RANGES_PER_RULE_MAX` ranges of ports.
    ranges: bool,
}

const KINDS: [Hardness; 6] = [
    Hardness { name: "port scan", scan: true, groups: false, apart: false, ranges: false },
    Hardness { name: "16 groups an endpoint", scan: false, groups: true, apart: false, ranges: false },
    Hardness { name: "addresses apart", scan: false, groups: false, apart: true, ranges: false },
    Hardness { name: "64 port ranges a rule", scan: false, groups: false, apart: false, ranges: true },
    Hardness { name: "all at once", scan: false, groups: true, apart: true, ranges: true },
    Hardness { name: "all at once with a port scan", scan: true, groups: true, apart: true, ranges: true },
];
const _: () = assert!(GROUPS_PER_ENDPOINT_MAX == 16 && PORT_RANGES_PER_RULE_MAX == 64, "the names say so");

impl Hard {
    /// Runs it and prints what came out.
    pub fn run(&self) -> Result<(), BenchError> {
        let Shape { endpoints, groups, rules, seed } = self.shape;
        if (groups as usize) < GROUPS_PER_ENDPOINT_MAX {
            return Err(BenchError::FewGroups(groups));
        }
        let timing = Timing { seconds: self.seconds, repetitions: self.turns, in_turns: false };
        let typical = Compiled::new(&product::policy(self.shape), product::packets(self.shape, PACKETS))?;
        println!(
            "policies: {endpoints} endpoints, {groups} groups, {rules} rules, seed {seed}; {PACKETS} packets each"
        );
        println!(
            "typical, uniform: {}; compiled in {:.0} ms",
            typical.classifier.footprint(),
            1e3 * typical.compile_s
        );
        let (mut worst_ratio, mut worst_bytes, mut bars) = (0.0f64, 0, Vec::new());
        for kind in KINDS {
            let policy = kind.policy(self.shape);
            let keys = kind.packets(&policy, self.shape);
            let hard = match Compiled::within(&policy, keys, self.budget()) {
                Ok(hard) => hard,
                Err(BenchError::Compile(refusal)) => {
                    println!("{}: refused: {refusal}", kind.name);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let turns = in_turns(&timing, &typical, &hard);
            let ratio = Spread::of(turns.iter().map(|[typical, hard]| hard / typical).collect());
            let [typical_ns, hard_ns] =
                [0, 1].map(|side| Spread::of(turns.iter().map(|turn| turn[side]).collect()).median);
            let footprint = hard.classifier.footprint();
            println!(
                "{}: {hard_ns:.2} ns a packet beside {typical_ns:.2}, ratio {:.2} ({:.2} to {:.2}); compiled in {:.0} ms, \
                 proof {:.0} ms; {footprint}",
                kind.name,
                ratio.median,
                ratio.least,
                ratio.most,
                1e3 * hard.compile_s,
                1e3 * hard.proof_s
            );
            bars.push(format!("bar: hard_{} = {:.2} ratio", kind.name.replace(' ', "_"), ratio.median));
            worst_ratio = worst_ratio.max(ratio.median);
            worst_bytes = worst_bytes.max(footprint.bytes);
        }
        let is_inside = if worst_bytes <= BYTES_MAX { "inside" } else { "over" };
        println!(
            "memory: {worst_bytes} bytes at most, {is_inside} the limit of {BYTES_MAX}; time: within {RATIO_MAX} wanted"
        );
        let unnamed = over_the_limits(self.shape);
        bars.iter().for_each(|bar| println!("{bar}"));
        println!("bar: hard_bytes = {worst_bytes} bytes");
        println!("bar: hard_vs_typical = {worst_ratio:.2} ratio");
        if unnamed == 0 { Ok(()) } else { Err(BenchError::UnnamedRefusals(unnamed)) }
    }
}

impl Hard {
    /// Returns what the compiler may spend.
    fn budget(&self) -> ColumnBudget {
        let ColumnBudget { cells_max, steps_max, merges_max, ranks_max, .. } = ColumnBudget::default();
        let times = self.budget as usize;
        ColumnBudget {
            cells_max: cells_max.saturating_mul(self.budget.into()),
            steps_max: steps_max.saturating_mul(self.budget.into()),
            merges_max: merges_max.saturating_mul(times),
            ranks_max: ranks_max.saturating_mul(times),
            ..ColumnBudget::default()
        }
    }
}

/// Returns the nanoseconds of a look-up in both, in turns that follow each other closely.
fn in_turns(timing: &Timing, typical: &Compiled, hard: &Compiled) -> Vec<[f64; 2]> {
    let once = |compiled: &Compiled| timing.once(PACKETS, &mut compiled.round());
    // The first times find cold caches and untouched pages.
    for compiled in [typical, hard] {
        compiled.round()();
    }
    (0..timing.repetitions).map(|_| [typical, hard].map(once)).collect()
}

impl Hardness {
    /// Returns the typical policy of a shape, made as hard.
    fn policy(self, shape: Shape) -> Policy {
        let mut rng = Rng::new(shape.seed ^ 0x6861_7264);
        let mut policy = product::policy(shape);
        if self.groups {
            join_many(&mut policy.groups, shape.endpoints, GROUPS_PER_ENDPOINT_MAX, &mut rng);
        }
        if self.apart {
            for (endpoint, number) in policy.endpoints.iter_mut().zip(1..) {
                endpoint.addresses = vec![apart(number)];
            }
        }
        if self.ranges {
            policy.rules.iter_mut().for_each(|rule| rule.l4 = many_ranges(&mut rng));
            policy.rules.sort_by_key(Rule::order);
        }
        policy
    }

    /// Returns the packets, whose endpoints are those of the policy.
    fn packets(self, policy: &Policy, shape: Shape) -> Vec<PolicyKey> {
        let mut rng = Rng::new(shape.seed ^ 0x7363_616e);
        let address = |at: usize| policy.endpoints[at % policy.endpoints.len()].addresses[0];
        let scanner = rng.index(policy.endpoints.len());
        let packet = |at: usize| {
            let (source, destination, port) = if self.scan {
                // Destination by destination, then the next port: what a scanner that hides sends.
                (scanner, at, u16::try_from(1 + at / policy.endpoints.len() + at % 1_021).unwrap_or(1))
            } else {
                (rng.index(policy.endpoints.len()), rng.index(policy.endpoints.len()), rng.u16())
            };
            let l4 = L4Key::ports(Protocol::TCP, 49_152 + rng.u16() % 16_384, port);
            PolicyKey {
                segment: SegmentId::DEFAULT,
                source: address(source),
                destination: address(destination),
                l4,
            }
        };
        (0..PACKETS).map(packet).collect()
    }
}

/// Puts every endpoint into so many groups.
fn join_many(groups: &mut [Group], endpoints: u32, count: usize, rng: &mut Rng) {
    let mut memberships = vec![0; endpoints as usize + 1];
    for endpoint in groups.iter().flat_map(|group| &group.endpoints) {
        memberships[endpoint.0 as usize] += 1;
    }
    for endpoint in (1..=endpoints).map(EndpointId) {
        while memberships[endpoint.0 as usize] < count {
            let group = rng.index(groups.len());
            let members = &mut groups[group].endpoints;
            if let Err(place) = members.binary_search(&endpoint) {
                members.insert(place, endpoint);
                memberships[endpoint.0 as usize] += 1;
            }
        }
    }
}

/// Returns the address of an endpoint that has little in common with any other's.
fn apart(number: u32) -> IpAddr {
    let [first, b, c, d] = number.wrapping_mul(SCATTER).to_be_bytes();
    let first = 1 + u8::try_from(u64::from(first) * (FIRST_OCTETS - 1) / 256).unwrap_or(0);
    let first = if first == LOOPBACK_OCTET { LOOPBACK_INSTEAD } else { first };
    IpAddr::V4(Ipv4Addr::new(first, b, c, d))
}

/// Returns as many ranges of ports as a rule may have, that do not touch.
fn many_ranges(rng: &mut Rng) -> L4Match {
    let step = u16::MAX / u16::try_from(PORT_RANGES_PER_RULE_MAX).unwrap_or(u16::MAX);
    let range = |at| {
        let first = at * step + 1 + rng.u16() % (step / 2);
        PortRange::new(first, first + rng.u16() % (step / 2 - 1)).ok()
    };
    let count = u16::try_from(PORT_RANGES_PER_RULE_MAX).unwrap_or(u16::MAX);
    let ranges = (0..count).filter_map(range).collect();
    PortSet::new(ranges)
        .map_or(L4Match::Protocol(Protocol::TCP), |ports| L4Match::Ports(Protocol::TCP, ports))
}

/// Goes over each limit by one, prints what is said, and returns how often the limit is not named.
fn over_the_limits(shape: Shape) -> usize {
    let base = product::policy(shape);
    let mut more_rules = base.clone();
    if let Some(rule) = base.rules.first() {
        let numbered = |id| Rule { id: RuleId(id), ..rule.clone() };
        more_rules.rules = (1..).take(RULES_MAX + 1).map(numbered).collect();
    }
    let mut more_groups = base.clone();
    if let Some(group) = base.groups.first() {
        let numbered = |id| Group { id: GroupId(id), endpoints: Vec::new(), ..group.clone() };
        more_groups.groups = (100..).take(GROUPS_MAX + 1).map(numbered).collect();
    }
    let mut more_endpoints = base.clone();
    if let Some(endpoint) = base.endpoints.first() {
        let numbered = |id| meshgate_policy::Endpoint { id: EndpointId(id), ..endpoint.clone() };
        more_endpoints.endpoints = (1..).take(ENDPOINTS_MAX + 1).map(numbered).collect();
    }
    let mut more_memberships = base;
    let mut rng = Rng::new(shape.seed);
    join_many(&mut more_memberships.groups, shape.endpoints, GROUPS_PER_ENDPOINT_MAX + 1, &mut rng);
    let ranges = (0..=PORT_RANGES_PER_RULE_MAX).filter_map(|at| {
        let port = u16::try_from(2 * at + 1).ok()?;
        PortRange::new(port, port).ok()
    });
    let said_of_ranges = PortSet::new(ranges.collect()).err().map(|refusal| refusal.to_string());
    let said =
        |policy: &Policy| Classifier::compile(policy).err().map(|refusal: CompileError| refusal.to_string());
    let refusals = [
        ("rules", "RULES_MAX", said(&more_rules)),
        ("groups", "GROUPS_MAX", said(&more_groups)),
        ("endpoints", "ENDPOINTS_MAX", said(&more_endpoints)),
        ("groups of an endpoint", "GROUPS_PER_ENDPOINT_MAX", said(&more_memberships)),
        // A set of ports is refused where it is written, before there is a policy.
        ("port ranges of a rule", "a rule has at most 64", said_of_ranges),
    ];
    let mut unnamed = 0;
    for (what, limit, said) in refusals {
        let said = said.unwrap_or_else(|| "not refused".to_owned());
        println!("one over the limit of {what}: {said}");
        unnamed += usize::from(!said.contains(limit));
    }
    unnamed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const SHAPE: Shape = Shape { endpoints: 500, groups: 40, rules: 50, seed: 3 };

    #[test]
    fn all_at_once_is_as_hard_as_it_says() {
        let policy = KINDS[5].policy(SHAPE);
        let mut memberships = [0; 501];
        policy
            .groups
            .iter()
            .flat_map(|group| &group.endpoints)
            .for_each(|at| memberships[at.0 as usize] += 1);
        assert!(memberships[1..].iter().all(|count| *count == 16));
        let addresses: HashSet<_> = policy.endpoints.iter().map(|endpoint| endpoint.addresses[0]).collect();
        assert_eq!(addresses.len(), 500);
        for rule in &policy.rules {
            let L4Match::Ports(_, ports) = &rule.l4 else { panic!("{rule:?}") };
            assert_eq!(ports.ranges().len(), 64);
        }
    }

    #[test]
    fn a_scan_comes_from_one_source_and_reaches_every_endpoint() {
        let policy = KINDS[0].policy(SHAPE);
        let packets = KINDS[0].packets(&policy, SHAPE);
        let of =
            |address: fn(&PolicyKey) -> IpAddr| packets.iter().map(address).collect::<HashSet<_>>().len();
        assert_eq!((of(|key| key.source), of(|key| key.destination)), (1, 500));
    }

    #[test]
    fn what_is_over_a_limit_is_refused_by_its_name() {
        assert_eq!(over_the_limits(SHAPE), 0);
    }
}
