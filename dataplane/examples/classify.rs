//! Prints what a look-up and a compilation cost for policies of the usual shape: endpoints in three or four
//! overlapping groups, rules between random groups.
//!
//! `cargo run --release -p meshgate-dataplane --example classify`
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use meshgate_dataplane::classifier::{BURST_KEYS, Classifier, ColumnBudget, Judgement};
use meshgate_policy::{
    Action, Endpoint, EndpointFlags, EndpointId, Group, GroupId, IntraGroup, L4Key, L4Match, Mac, Name,
    Policy, PolicyKey, PortRange, PortSet, Priority, Protocol, Rule, RuleId, RuleKind, SegmentId, Side,
};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Packets of one trace; none is asked for twice in a row.
const PACKETS: usize = 20_000;
/// Packets that are compared with the linear scan.
const CHECKED: usize = 100;
/// Passes over the trace.
const PASSES: usize = 10;
/// Service ports that rules name.
const PORTS: [u16; 16] = [22, 25, 53, 80, 111, 123, 389, 443, 1433, 2379, 3306, 5432, 6379, 8080, 9092, 9200];

/// A size of policy.
struct Shape {
    endpoints: u32,
    groups: u32,
    rules: u32,
    is_ipv6: bool,
}

/// Random numbers: splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) % u64::from(end)).expect("the remainder is below 2^32")
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(u32::try_from(list.len()).expect("lists are short")) as usize]
    }
}

fn name(text: &str, number: u32) -> Name {
    format!("{text}{number}").parse().expect("letters and digits are a name")
}

/// Returns the address of an endpoint: dense in 10.0.0.0/8 or fd00::/112.
fn address(shape: &Shape, number: u32) -> IpAddr {
    if shape.is_ipv6 {
        IpAddr::V6(Ipv6Addr::from((0xfd00u128 << 112) | u128::from(number)))
    } else {
        IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number))
    }
}

fn policy(shape: &Shape, random: &mut Random) -> Policy {
    let mut policy = Policy::empty(Action::Deny);
    let mut members: Vec<BTreeSet<EndpointId>> = vec![BTreeSet::new(); shape.groups as usize];
    for number in 1..=shape.endpoints {
        let bytes = number.to_be_bytes();
        policy.endpoints.push(Endpoint {
            id: EndpointId(number),
            name: name("e", number),
            segment: SegmentId::DEFAULT,
            mac: Mac([2, 0, bytes[0], bytes[1], bytes[2], bytes[3]]),
            addresses: vec![address(shape, number)],
            routes: Vec::new(),
            flags: EndpointFlags::default(),
            host: None,
            device: None,
        });
        for _ in 0..3 + random.below(2) {
            members[random.below(shape.groups) as usize].insert(EndpointId(number));
        }
    }
    for (number, members) in (0..).zip(members) {
        policy.groups.push(Group {
            id: GroupId(16 + number),
            name: name("g", number),
            segment: SegmentId::DEFAULT,
            prefixes: Vec::new(),
            endpoints: members.into_iter().collect(),
            intra_group: IntraGroup::Allow,
        });
    }
    policy.rules = (1..=shape.rules).map(|number| rule(shape, number, random)).collect();
    policy.rules.sort_by_key(Rule::order);
    policy
}

fn rule(shape: &Shape, number: u32, random: &mut Random) -> Rule {
    let group = |random: &mut Random| match random.below(40) {
        0 => Side::Group(GroupId::EXTERNAL),
        1 => Side::Group(GroupId::ANY),
        _ => Side::Group(GroupId(16 + random.below(shape.groups))),
    };
    let source = group(random);
    // A rule from any to any would decide every packet.
    let destination =
        if source == Side::Group(GroupId::ANY) { Side::Group(GroupId(16)) } else { group(random) };
    let port = random.pick(&PORTS);
    let last = if random.below(4) == 0 { port + 20 } else { port };
    let ports = PortSet::new(vec![PortRange::new(port, last).expect("not backwards")]).expect("one range");
    let protocol = random.pick(&[Protocol::TCP, Protocol::TCP, Protocol::TCP, Protocol::UDP]);
    Rule {
        id: RuleId(number),
        kind: RuleKind::Relationship,
        priority: Priority(u16::try_from(random.below(1_000)).expect("below 1,000")),
        action: random.pick(&[Action::Allow, Action::Allow, Action::Deny]),
        shadow: false,
        source,
        destination,
        l4: if random.below(10) == 0 { L4Match::Any } else { L4Match::Ports(protocol, ports) },
    }
}

fn keys(shape: &Shape, random: &mut Random) -> Vec<PolicyKey> {
    let mut end = || address(shape, 1 + random.below(shape.endpoints + shape.endpoints / 20));
    let ends: Vec<(IpAddr, IpAddr)> = (0..PACKETS).map(|_| (end(), end())).collect();
    let l4 = |random: &mut Random| {
        L4Key::ports(random.pick(&[Protocol::TCP, Protocol::UDP]), 40_000, random.pick(&PORTS))
    };
    ends.into_iter()
        .map(|(source, destination)| PolicyKey {
            segment: SegmentId::DEFAULT,
            source,
            destination,
            l4: l4(random),
        })
        .collect()
}

/// Returns the time that this thread has spent on a processor; other programs share the machine, so that the time on
/// the wall tells nothing.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = text.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(ns.unwrap_or(0))
}

/// Returns the time per packet of the middle one of all bursts. A burst takes some microseconds, so that hardly one is
/// interrupted by what else runs on the machine, and those do not move the middle.
fn ns_a_packet(keys: &[PolicyKey], mut judge: impl FnMut(&[PolicyKey])) -> f64 {
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..PASSES {
        for burst in keys.chunks_exact(BURST_KEYS) {
            let start = Instant::now();
            judge(burst);
            times.push(start.elapsed());
        }
    }
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    middle.as_secs_f64() * 1e9 / f64::from(u32::try_from(BURST_KEYS).expect("a burst is short"))
}

fn measure(shape: &Shape, form: &str, budget: ColumnBudget) {
    let mut random = Random(7);
    let policy = policy(shape, &mut random);
    let keys = keys(shape, &mut random);
    let start = processor_time();
    let classifier = match Classifier::compile_within(&policy, budget) {
        Ok(classifier) => classifier,
        Err(error) => return println!("not compiled: {error}"),
    };
    let compile = processor_time() - start;
    let mut judgements: Vec<Judgement> = keys.iter().map(|key| classifier.classify(key)).collect();
    let decided = judgements.iter().filter(|judgement| judgement.rule_index.is_some()).count();
    let wrong = keys
        .iter()
        .zip(&judgements)
        .take(CHECKED)
        .filter(|(key, got)| policy.decide(key) != got.decision)
        .count();
    let scalar =
        ns_a_packet(&keys, |burst| burst.iter().for_each(|key| _ = black_box(classifier.classify(key))));
    let burst = ns_a_packet(&keys, |burst| {
        classifier.classify_burst(burst, &mut judgements);
        black_box(&judgements);
    });
    let family = if shape.is_ipv6 { "IPv6" } else { "IPv4" };
    println!(
        "{} endpoints, {} groups, {} rules, {family}, {form}:",
        shape.endpoints, shape.groups, shape.rules
    );
    println!(
        "    {burst:.1} ns a packet in bursts, {scalar:.1} ns alone, compiled in {:.1} ms, {:.0} % meet a rule, \
         {wrong} of {CHECKED} wrong",
        compile.as_secs_f64() * 1e3,
        f64::from(u32::try_from(decided).unwrap_or(0)) * 100.0
            / f64::from(u32::try_from(PACKETS).unwrap_or(1)),
    );
    println!("    {:?}", classifier.footprint());
}

fn main() {
    for (endpoints, groups, rules) in [(2_000, 65, 500), (20_000, 215, 2_000)] {
        for is_ipv6 in [false, true] {
            let shape = Shape { endpoints, groups, rules, is_ipv6 };
            measure(&shape, "one group a column", ColumnBudget::NONE);
            measure(&shape, "columns merged", ColumnBudget::default());
        }
    }
}
