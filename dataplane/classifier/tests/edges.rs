//! The classifier at its edges: smallest and largest policies, nests of prefixes, every action and mode, refusals.
#![expect(clippy::unwrap_used, reason = "what is unwrapped is written a line above")]

#[path = "random/generator.rs"]
#[expect(
    dead_code,
    reason = "the oracle test uses all of it, this one only the random numbers and the edges"
)]
mod generator;

use generator::Random;
use meshgate_classifier::{BURST_KEYS, Classifier, ColumnBudget, CompileError, Judgement, ProofBudget};
use meshgate_policy::limits::{ENDPOINTS_MAX, GROUPS_MAX, RULES_MAX};
use meshgate_policy::{
    Action, Endpoint, EndpointFlags, EndpointId, Group, GroupId, IntraGroup, L4Key, L4Match, Mac, Name,
    Policy, PolicyKey, PortRange, PortSet, Prefix, Priority, Protocol, Rule, RuleId, RuleKind, SegmentId,
    Side, Stage,
};
use std::net::IpAddr;

const ANY: Side = Side::Group(GroupId::ANY);

fn key(source: &str, destination: &str, l4: L4Key) -> PolicyKey {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    PolicyKey { segment: SegmentId::DEFAULT, source, destination, l4 }
}

fn tcp(port: u16) -> L4Key {
    L4Key::ports(Protocol::TCP, 40_000, port)
}

fn rule(id: u32, source: Side, destination: Side, l4: L4Match) -> Rule {
    let (kind, priority, action) = (RuleKind::Relationship, Priority(1000), Action::Allow);
    Rule { id: RuleId(id), kind, priority, action, shadow: false, source, destination, l4 }
}

fn group(id: u32, prefixes: &[&str]) -> Group {
    let name: Name = format!("g{id}").parse().unwrap();
    let prefixes = prefixes.iter().map(|text| text.parse().unwrap()).collect();
    let (segment, intra_group) = (SegmentId::DEFAULT, IntraGroup::Allow);
    Group { id: GroupId(id), name, segment, prefixes, endpoints: Vec::new(), intra_group }
}

fn peer(text: &str) -> Side {
    Side::Prefixes(vec![text.parse().unwrap()])
}

/// Compiles a policy, with every group a column and with as few columns as possible, and compares both with the linear
/// scan on these keys, alone and in bursts, and by their own proof. Returns the first.
fn compiled(policy: &Policy, keys: &[PolicyKey]) -> Classifier {
    let sets = ColumnBudget { cells_max: 0, ..ColumnBudget::default() };
    let forms = [ColumnBudget::NONE, sets, ColumnBudget::default()]
        .map(|budget| Classifier::compile_within(policy, budget).unwrap());
    for classifier in &forms {
        let mut judgements: Vec<Judgement> = keys.iter().map(|key| classifier.classify(key)).collect();
        for (key, judgement) in keys.iter().zip(&judgements) {
            assert_eq!(judgement.decision, policy.decide(key), "{key:?}");
            assert_eq!(judgement.shadow, policy.decide_shadow(key), "{key:?}");
        }
        let alone = judgements.clone();
        judgements.reverse();
        classifier.classify_burst(keys, &mut judgements);
        assert!(judgements == alone, "a burst is judged unlike its packets");
        let budget = ProofBudget { steps_max: 1_000_000, draws: 23, seed: 1 };
        classifier.prove(policy, budget).unwrap_or_else(|difference| panic!("{difference}"));
    }
    let [first, ..] = forms;
    first
}

#[test]
fn an_empty_policy_gives_its_default_to_every_packet() {
    for action in [Action::Deny, Action::Allow] {
        let keys = [key("10.0.0.1", "10.0.0.2", tcp(80)), key("::", "ff02::1", L4Key::default())];
        let classifier = compiled(&Policy::empty(action), &keys);
        let decision = classifier.classify(&keys[0]).decision;
        assert_eq!((decision.stage, decision.action), (Stage::Default, action));
    }
}

#[test]
fn one_rule_decides_what_it_names_and_nothing_beside() {
    let mut policy = Policy::empty(Action::Deny);
    policy.groups = vec![group(16, &["10.0.0.0/24"]), group(17, &["10.0.1.0/24"])];
    let ports = L4Match::Ports(Protocol::TCP, "80-8080".parse().unwrap());
    policy.rules = vec![rule(7, Side::Group(GroupId(16)), Side::Group(GroupId(17)), ports)];
    let keys: Vec<PolicyKey> = [79, 80, 8080, 8081].map(|port| key("10.0.0.9", "10.0.1.9", tcp(port))).into();
    let classifier = compiled(&policy, &keys);
    let rules: Vec<_> = keys.iter().map(|key| classifier.classify(key).rule_index).collect();
    assert_eq!(rules, [None, Some(0), Some(0), None]);
    let back = key("10.0.1.9", "10.0.0.9", tcp(80));
    assert_eq!(classifier.classify(&back).decision.stage, Stage::Default);
}

#[test]
fn sixty_four_port_ranges_are_told_apart_at_each_end() {
    let ranges = (0..64).map(|i| PortRange::new(i * 1000, i * 1000 + i).unwrap()).collect();
    let mut policy = Policy::empty(Action::Deny);
    policy.rules = vec![rule(1, ANY, ANY, L4Match::Ports(Protocol::UDP, PortSet::new(ranges).unwrap()))];
    let ports =
        (0..64u16).flat_map(|i| [i * 1000, i * 1000 + i, i * 1000 + i + 1, (i * 1000).wrapping_sub(1)]);
    let keys: Vec<PolicyKey> = ports
        .flat_map(|port| [Protocol::UDP, Protocol::TCP].map(|protocol| L4Key::ports(protocol, 1, port)))
        .map(|l4| key("10.0.0.1", "10.0.0.2", l4))
        .collect();
    let classifier = compiled(&policy, &keys);
    assert_eq!(classifier.footprint().l4_classes, 2);
}

#[test]
fn more_than_4096_l4_classes_take_three_levels_and_stay_apart() {
    let mut policy = Policy::empty(Action::Deny);
    let one_port = |port: u16| {
        L4Match::Ports(Protocol::TCP, PortSet::new(vec![PortRange::new(port, port).unwrap()]).unwrap())
    };
    policy.rules = (0..5000).map(|i| rule(u32::from(i) + 1, ANY, ANY, one_port(i * 13))).collect();
    let keys: Vec<PolicyKey> = (0..300)
        .flat_map(|i| [i * 216 + i, i * 13 * 16])
        .map(|port| key("10.0.0.1", "10.0.0.2", tcp(port)))
        .collect();
    let classifier = compiled(&policy, &keys);
    assert_eq!(classifier.footprint().l4_classes, 5001);
}

/// A nest of all prefixes around an address; each length has its own rule, and either the longest or the shortest
/// prefix has the largest priority.
fn nest(around: &str, is_longest_first: bool) -> (Policy, Vec<PolicyKey>) {
    let address: IpAddr = around.parse().unwrap();
    let width = if address.is_ipv4() { 32 } else { 128 };
    let mut policy = Policy::empty(Action::Deny);
    let mut keys = Vec::new();
    for length in 0..=width {
        let prefix = prefix_around(address, length);
        let priority = u16::from(if is_longest_first { length } else { width - length });
        let mut rule = rule(1 + u32::from(length), Side::Prefixes(vec![prefix]), ANY, L4Match::Any);
        rule.priority = Priority(priority);
        policy.rules.push(rule);
        for source in generator::edges(prefix) {
            keys.push(PolicyKey { segment: SegmentId::DEFAULT, source, destination: address, l4: tcp(1) });
        }
    }
    policy.rules.sort_by_key(Rule::order);
    (policy, keys)
}

fn prefix_around(address: IpAddr, length: u8) -> Prefix {
    let first = match address {
        IpAddr::V4(v4) => {
            IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)).into())
        }
        IpAddr::V6(v6) => {
            IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)).into())
        }
    };
    Prefix::new(first, length).unwrap()
}

#[test]
fn nests_of_every_prefix_length_are_told_apart_at_each_edge() {
    let ends = [
        "10.1.2.3",
        "0.0.0.0",
        "255.255.255.255",
        "2001:db8::1",
        "::",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ];
    for around in ends {
        for is_longest_first in [true, false] {
            let (policy, keys) = nest(around, is_longest_first);
            compiled(&policy, &keys);
        }
    }
}

#[test]
fn every_action_and_mode_is_reported_like_the_scan_reports_it() {
    let actions = [Action::Allow, Action::Deny, Action::Reject];
    for (first, second) in actions.iter().flat_map(|first| actions.map(|second| (*first, second))) {
        for shadows in [[false, false], [true, false], [false, true], [true, true]] {
            let mut policy = Policy::empty(Action::Deny);
            let mut rules =
                [rule(1, ANY, ANY, L4Match::Any), rule(2, ANY, ANY, L4Match::Protocol(Protocol::TCP))];
            rules[0].priority = Priority(2000);
            rules[0].action = first;
            rules[1].action = second;
            (rules[0].shadow, rules[1].shadow) = (shadows[0], shadows[1]);
            policy.rules = rules.into();
            policy.groups = vec![group(16, &["10.0.0.0/24"])];
            let keys = [key("10.0.0.1", "10.0.0.2", tcp(80)), key("10.0.1.1", "10.0.0.2", L4Key::default())];
            compiled(&policy, &keys);
        }
    }
}

#[test]
fn membership_denies_before_it_allows_and_names_the_lowest_group() {
    let mut policy = Policy::empty(Action::Deny);
    policy.groups = (16..24).map(|id| group(id, &["10.0.0.0/24", "fd00::/64"])).collect();
    policy.groups[5].intra_group = IntraGroup::Deny;
    policy.groups[6].intra_group = IntraGroup::Deny;
    let keys = [key("10.0.0.1", "10.0.0.2", tcp(80)), key("fd00::1", "fd00::2", tcp(80))];
    let decision = compiled(&policy, &keys).classify(&keys[0]).decision;
    assert_eq!((decision.group, decision.action), (Some(GroupId(21)), Action::Deny));
}

#[test]
fn sixteen_groups_on_both_sides_and_peers_are_all_looked_at() {
    let mut policy = Policy::empty(Action::Deny);
    policy.groups = (16..32).map(|id| group(id, &["10.0.0.0/24"])).collect();
    let pairs = (16..32).flat_map(|from| (16..32).map(move |to| (from, to)));
    let ranges =
        |id: u32| PortSet::new(vec![PortRange::new(u16::try_from(id).unwrap(), 300).unwrap()]).unwrap();
    policy.rules = (1..)
        .zip(pairs)
        .map(|(id, (from, to))| {
            let l4 = L4Match::Ports(Protocol::TCP, ranges(257 - id));
            rule(id, Side::Group(GroupId(from)), Side::Group(GroupId(to)), l4)
        })
        .collect();
    policy.rules.push(rule(900, ANY, ANY, L4Match::Ports(Protocol::TCP, "301".parse().unwrap())));
    policy.rules.push(rule(
        901,
        peer("10.0.0.8/29"),
        ANY,
        L4Match::Ports(Protocol::TCP, "302".parse().unwrap()),
    ));
    policy.rules.push(rule(
        902,
        ANY,
        peer("10.0.0.8/29"),
        L4Match::Ports(Protocol::TCP, "303".parse().unwrap()),
    ));
    policy.rules.sort_by_key(Rule::order);
    let keys: Vec<PolicyKey> = (0..305).map(|port| key("10.0.0.9", "10.0.0.10", tcp(port))).collect();
    let classifier = compiled(&policy, &keys);
    let decided: Vec<_> = keys.iter().filter_map(|key| classifier.classify(key).decision.rule).collect();
    assert_eq!(decided.len(), 303, "ports 1 to 303");
    assert_eq!(decided[0], RuleId(256), "port 1 is named by the last rule only");
}

#[test]
fn an_address_in_many_peers_needs_no_group_of_its_own() {
    let mut policy = Policy::empty(Action::Deny);
    let port =
        |i: u16| L4Match::Ports(Protocol::TCP, PortSet::new(vec![PortRange::new(i, i).unwrap()]).unwrap());
    let peers = |i: u16| {
        Side::Prefixes(vec![
            "10.0.0.0/8".parse().unwrap(),
            prefix_around([11, 0, 0, u8::try_from(i).unwrap()].into(), 32),
        ])
    };
    policy.rules = (0..200).map(|i| rule(u32::from(i) + 1, peers(i), peers(i + 1), port(i))).collect();
    let keys: Vec<PolicyKey> = (0..201).map(|i| key("10.0.0.9", &format!("11.0.0.{i}"), tcp(i))).collect();
    compiled(&policy, &keys);
}

#[test]
fn the_same_address_in_two_segments_is_two_addresses() {
    let mut policy = Policy::empty(Action::Deny);
    policy.groups = vec![group(16, &["10.0.0.0/24"]), group(17, &["10.0.0.0/24"])];
    policy.groups[1].segment = SegmentId(700);
    policy.rules = vec![rule(1, Side::Group(GroupId(17)), ANY, L4Match::Any)];
    let keys = [1, 2, 699, 700, 701, 65_535]
        .map(|segment| PolicyKey { segment: SegmentId(segment), ..key("10.0.0.1", "10.0.9.2", tcp(80)) });
    let classifier = compiled(&policy, &keys);
    let decided = keys.map(|key| classifier.classify(&key).rule_index.is_some());
    assert_eq!(decided, [false, false, false, true, false, false]);
}

#[test]
fn bursts_of_any_length_are_judged_as_far_as_both_lists_reach() {
    let (policy, keys) = nest("10.1.2.3", true);
    let classifier = Classifier::compile(&policy).unwrap();
    let blank = classifier.classify(&key("10.1.2.3", "10.0.0.1", tcp(1)));
    for (asked, answers) in [(0, 0), (0, 3), (3, 0), (5, 9), (9, 5), (BURST_KEYS + 7, BURST_KEYS + 7)] {
        let mut judgements = vec![blank; answers];
        classifier.classify_burst(&keys[..asked], &mut judgements);
        for (at, judgement) in judgements.iter().enumerate() {
            let expected = if at < asked { classifier.classify(&keys[at]) } else { blank };
            assert_eq!(*judgement, expected, "{asked} keys, {answers} answers, place {at}");
        }
    }
}

#[test]
fn an_address_in_seventeen_groups_is_refused_by_name() {
    let mut policy = Policy::empty(Action::Deny);
    policy.groups = (16..33).map(|id| group(id, &["10.0.0.0/24"])).collect();
    let error = Classifier::compile(&policy).unwrap_err();
    assert!(matches!(error, CompileError::GroupsPerAddress { .. }));
    let text = error.to_string();
    assert!(
        text.contains("10.0.0.0 in segment 1") && text.contains("GROUPS_PER_ENDPOINT_MAX is 16"),
        "{text}"
    );
}

#[test]
fn lists_out_of_order_and_impossible_matches_are_refused() {
    let mut policy = Policy::empty(Action::Deny);
    policy.rules = vec![rule(2, ANY, ANY, L4Match::Any), rule(1, ANY, ANY, L4Match::Any)];
    assert_eq!(Classifier::compile(&policy).unwrap_err(), CompileError::Order("rules"));
    policy.rules = vec![rule(1, ANY, ANY, L4Match::Ports(Protocol::ICMP, "80".parse().unwrap()))];
    assert_eq!(Classifier::compile(&policy).unwrap_err(), CompileError::L4Match(RuleId(1)));
    policy.rules = vec![rule(3, ANY, ANY, L4Match::Icmp(Protocol::TCP, 8, None))];
    assert_eq!(Classifier::compile(&policy).unwrap_err(), CompileError::L4Match(RuleId(3)));
}

#[test]
fn policies_beyond_a_limit_are_refused_by_its_name() {
    let mut policy = Policy::empty(Action::Deny);
    let ids = |count: usize| 1..=u32::try_from(count).unwrap() + 1;
    policy.rules = ids(RULES_MAX).map(|id| rule(id, ANY, ANY, L4Match::Any)).collect();
    let error = Classifier::compile(&policy).unwrap_err();
    assert_eq!(error.to_string(), "50001 rules, RULES_MAX is 50000");
    policy.rules.clear();
    policy.groups = ids(GROUPS_MAX).map(|id| group(id + 16, &[])).collect();
    assert_eq!(Classifier::compile(&policy).unwrap_err(), CompileError::Groups(GROUPS_MAX + 1));
    policy.groups.clear();
    let endpoint = |id| Endpoint {
        id: EndpointId(id),
        name: "e".parse().unwrap(),
        segment: SegmentId::DEFAULT,
        mac: Mac::default(),
        addresses: Vec::new(),
        routes: Vec::new(),
        flags: EndpointFlags::default(),
        host: None,
        device: None,
    };
    policy.endpoints = ids(ENDPOINTS_MAX).map(endpoint).collect();
    assert_eq!(Classifier::compile(&policy).unwrap_err(), CompileError::Endpoints(ENDPOINTS_MAX + 1));
}

#[test]
fn too_many_l4_classes_are_refused_by_name() {
    let mut random = Random::new(3);
    let mut ranges = || {
        let range = |start: u64| {
            let first = u16::try_from(start).unwrap();
            PortRange::new(first, first.saturating_add(5)).unwrap()
        };
        PortSet::new((0..64).map(|_| range(random.below(65_530))).collect()).unwrap()
    };
    let mut policy = Policy::empty(Action::Deny);
    let protocols = [Protocol::TCP, Protocol::UDP];
    policy.rules = (1..=3_000)
        .map(|id| rule(id, ANY, ANY, L4Match::Ports(protocols[id as usize % 2], ranges())))
        .collect();
    let error = Classifier::compile(&policy).unwrap_err();
    assert!(matches!(error, CompileError::L4Classes(_)), "{error}");
    assert!(error.to_string().ends_with("L4_CLASSES_MAX is 65536"), "{error}");
}

/// Rules from the prefixes of 0.0.0.0 of each length, so that the first address of all has the last class of the sources.
fn nested_sources(count: u8) -> Policy {
    let rule_of = |length: u8| {
        let ports = PortSet::new(vec![PortRange::new(u16::from(length) + 1, u16::from(length) + 1).unwrap()]);
        let l4 = L4Match::Ports(Protocol::TCP, ports.unwrap());
        Rule {
            kind: RuleKind::GroupRule,
            ..rule(1 + u32::from(length), peer(&format!("0.0.0.0/{length}")), ANY, l4)
        }
    };
    Policy { rules: (0..count).map(rule_of).collect(), ..Policy::empty(Action::Deny) }
}

#[test]
fn bursts_that_end_within_a_quad_are_judged_where_sources_have_more_classes_than_destinations() {
    for count in [2, 8, 31, 32] {
        let policy = nested_sources(count);
        let keys: Vec<PolicyKey> =
            (0..9).map(|at| key("0.0.0.0", "10.0.0.1", tcp(1 + at % u16::from(count)))).collect();
        for length in 1..=keys.len() {
            compiled(&policy, &keys[..length]);
        }
    }
}

#[test]
fn many_rules_of_many_l4_classes_have_few_enough_programs() {
    const GROUPS: u32 = 400;
    let mut policy = Policy::empty(Action::Deny);
    policy.groups =
        (0..GROUPS).map(|at| group(100 + at, &[&format!("10.{}.{}.0/24", at / 256, at % 256)])).collect();
    let pairs = (0..GROUPS).flat_map(|source| (0..GROUPS).map(move |destination| (source, destination)));
    policy.rules = (0..32_600u16)
        .zip(pairs)
        .map(|(at, (source, destination))| {
            let port = 1 + at % 4_200;
            let ports = PortSet::new(vec![PortRange::new(port, port).unwrap()]).unwrap();
            let side = |at| Side::Group(GroupId(100 + at));
            let l4 = L4Match::Ports(Protocol::TCP, ports);
            rule(1 + u32::from(at), side(source), side(destination), l4)
        })
        .collect();
    let classifier = Classifier::compile_within(&policy, ColumnBudget::NONE).unwrap();
    assert!(classifier.footprint().l4_classes > 4_096 && classifier.footprint().programs > 32_600);
    for (source, destination, port) in [(0, 0, 1), (0, 1, 2), (10, 99, 4_100), (81, 0, 3_001), (81, 0, 3_002)]
    {
        let address = |at: u32| format!("10.{}.{}.7", at / 256, at % 256);
        let key = key(&address(source), &address(destination), tcp(port));
        assert_eq!(classifier.classify(&key).decision, policy.decide(&key), "{key:?}");
    }
}
