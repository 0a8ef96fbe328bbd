//! Compiling any policy: one that is refused has the fault that the error names, and one that is not has none of them
//! and can be asked.
//!
//! An input is a byte that counts what is done to spoil the policy, the spoils, and a policy.

use super::input::Input;
use crate::generator::{self, Boundaries, Random};
use meshgate_dataplane::classifier::{Classifier, ColumnBudget, CompileError};
use meshgate_policy::limits::{ENDPOINTS_MAX, GROUPS_MAX, GROUPS_PER_ENDPOINT_MAX, RULES_MAX};
use meshgate_policy::{
    Action, Group, GroupId, IntraGroup, L4Match, Policy, PortSet, Protocol, Rule, SegmentId,
};

/// Packets that a policy is asked about when it compiled.
const PACKETS: usize = 32;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let spoils = input.byte() % 4;
    let spoils: Vec<[u8; 3]> = (0..spoils).map(|_| [input.byte(), input.byte(), input.byte()]).collect();
    let cells_max = input.one_of(&[0, 100, 2_000, 1 << 20]);
    let mut random = Random::of(input.rest());
    let mut policy = generator::policy(&mut random);
    spoils.iter().for_each(|spoil| spoil_with(&mut policy, *spoil));
    let budget = ColumnBudget { cells_max, ..ColumnBudget::default() };
    let compiled = Classifier::compile_within(&policy, budget);
    let faults = faults(&policy);
    let classifier = match compiled {
        Ok(classifier) => classifier,
        Err(error) => return check_refusal(&error, &policy, &faults),
    };
    assert_eq!(faults, [], "it compiled");
    let footprint = classifier.footprint();
    assert!(footprint.bytes > 0 && footprint.classes > 0 && footprint.l4_classes > 0, "{footprint:?}");
    let boundaries = Boundaries::of(&policy);
    for _ in 0..PACKETS {
        let key = boundaries.packet(&mut random);
        assert_eq!(classifier.classify(&key).decision, policy.decide(&key), "{key:?}");
    }
}

/// What a policy that is compiled must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    TooMany,
    Order(&'static str),
    L4Match,
    Crowded,
}

fn faults(policy: &Policy) -> Vec<Fault> {
    let Policy { groups, endpoints, rules, .. } = policy;
    let is_too_many = rules.len() > RULES_MAX || groups.len() > GROUPS_MAX || endpoints.len() > ENDPOINTS_MAX;
    let mut faults = Vec::new();
    let mut note = |is_so: bool, fault| faults.extend(is_so.then_some(fault));
    note(is_too_many, Fault::TooMany);
    note(!rules.windows(2).all(|two| two[0].order() < two[1].order()), Fault::Order("rules"));
    note(!groups.windows(2).all(|two| two[0].id < two[1].id), Fault::Order("groups"));
    note(!endpoints.windows(2).all(|two| two[0].id < two[1].id), Fault::Order("endpoints"));
    note(!rules.iter().all(|rule| is_possible(&rule.l4)), Fault::L4Match);
    note(is_crowded(policy), Fault::Crowded);
    faults
}

/// Returns whether ports and types stand with protocols that have them.
fn is_possible(l4: &L4Match) -> bool {
    match l4 {
        L4Match::Any | L4Match::Protocol(_) => true,
        L4Match::Ports(protocol, _) => protocol.has_ports(),
        L4Match::Icmp(protocol, ..) => protocol.is_icmp(),
    }
}

fn is_crowded(policy: &Policy) -> bool {
    let of_groups = policy.groups.iter().flat_map(|group| {
        // The set of groups changes only where a prefix begins or where one has ended.
        let edges = group.prefixes.iter().flat_map(|prefix| generator::edges(*prefix));
        edges.map(move |address| (group.segment, address))
    });
    let of_endpoints = policy
        .endpoints
        .iter()
        .flat_map(|endpoint| endpoint.addresses.iter().map(move |address| (endpoint.segment, *address)));
    of_groups
        .chain(of_endpoints)
        .any(|(segment, address)| groups_of(policy, segment, address) > GROUPS_PER_ENDPOINT_MAX)
}

fn groups_of(policy: &Policy, segment: SegmentId, address: std::net::IpAddr) -> usize {
    policy.groups_of(segment, address).iter().filter(|group| !group.is_built_in()).count()
}

fn check_refusal(error: &CompileError, policy: &Policy, faults: &[Fault]) {
    let has = |fault| assert!(faults.contains(&fault), "{error}, but the policy has {faults:?}");
    match error {
        CompileError::Rules(_) | CompileError::Groups(_) | CompileError::Endpoints(_) => has(Fault::TooMany),
        CompileError::Order(list) => has(Fault::Order(list)),
        CompileError::L4Match(id) => {
            let wrong = policy.rules.iter().find(|rule| rule.id == *id && !is_possible(&rule.l4));
            assert!(wrong.is_some(), "{error}");
        }
        CompileError::GroupsPerAddress { address, segment } => {
            let segment = segment.expect("peers of rules are no groups");
            let groups = groups_of(policy, segment, *address);
            assert!(groups > GROUPS_PER_ENDPOINT_MAX, "{error}; it is in {groups}");
        }
        CompileError::L4Classes(_)
        | CompileError::L4Pieces
        | CompileError::TrieNodes
        | CompileError::TriePages
        | CompileError::Runs
        | CompileError::ClaimsSwept
        | CompileError::ClassAtoms
        | CompileError::ProgramRanks
        | CompileError::Blocks
        | CompileError::Numbers
        | CompileError::AtomCells => {
            panic!("a small policy is too large: {error}")
        }
    }
}

/// Makes a policy wrong in one way, or larger.
fn spoil_with(policy: &mut Policy, [kind, first, second]: [u8; 3]) {
    let (first, second) = (usize::from(first), usize::from(second));
    match kind % 10 {
        0 => swap(&mut policy.rules, first, second),
        1 => swap(&mut policy.groups, first, second),
        2 => swap(&mut policy.endpoints, first, second),
        3 => twice(&mut policy.rules, first),
        4 => twice(&mut policy.groups, first),
        5 => twice(&mut policy.endpoints, first),
        6 => {
            let l4 = [
                L4Match::Ports(Protocol::ICMP, PortSet::all()),
                L4Match::Icmp(Protocol::TCP, 8, None),
                L4Match::Ports(Protocol(47), PortSet::all()),
                L4Match::Protocol(Protocol::ICMPV6),
            ];
            if let Some(rule) = at(&mut policy.rules, first) {
                rule.l4 = l4[second % l4.len()].clone();
            }
        }
        7 => crowd(policy, first % 20, second),
        8 => {
            if let Some(group) = at(&mut policy.groups, first) {
                group.prefixes.reverse();
                group.endpoints.reverse();
            }
        }
        _ => {
            policy.default_action = Action::Reject;
            policy.rules.retain(|rule| usize::try_from(rule.id.0).unwrap() % 7 != first % 7);
            policy.rules.sort_by_key(Rule::order);
        }
    }
}

/// Adds so many groups around the same addresses.
fn crowd(policy: &mut Policy, count: usize, place: usize) {
    let prefixes =
        ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "10.0.1.7/32", "::/0", "fd00::/16", "224.0.0.0/4"];
    let prefix = prefixes[place % prefixes.len()].parse().unwrap();
    let segment = policy.segments[place % policy.segments.len()].id;
    let first = policy.groups.iter().map(|group| group.id.0).max().unwrap_or(15) + 1;
    policy.groups.extend((first..).take(count).map(|number| Group {
        id: GroupId(number),
        name: format!("crowd{number}").parse().unwrap(),
        segment,
        prefixes: vec![prefix],
        endpoints: Vec::new(),
        intra_group: IntraGroup::Allow,
    }));
}

fn at<T>(list: &mut [T], place: usize) -> Option<&mut T> {
    let length = list.len().max(1);
    list.get_mut(place % length)
}

fn swap<T>(list: &mut [T], first: usize, second: usize) {
    if !list.is_empty() {
        list.swap(first % list.len(), second % list.len());
    }
}

fn twice<T: Clone>(list: &mut Vec<T>, place: usize) {
    if !list.is_empty() {
        let place = place % list.len();
        list.insert(place, list[place].clone());
    }
}
