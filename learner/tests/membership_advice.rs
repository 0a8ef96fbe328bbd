//! Membership advice on a recorded network whose roles are known by something else than behaviour: eight teams have the
//! same machines at the same places of their networks. One machine after the other is hidden from its group; is it found?

#![expect(clippy::unwrap_used, reason = "a file that cannot be read is a failed test")]
#![expect(clippy::print_stdout, reason = "figures are the point, and a test that is skipped says so")]

use meshgate_learner::membership_advice::{Actor, Behaviours, Deed, MembershipLimits, Part, likenesses};
use meshgate_learner::networks::is_internal;
use meshgate_learner::recorded_flow::MergedFlows;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

const MINUTE_NS: u64 = 60_000_000_000;
/// Peers in no group: of the house, and outside.
const INTERNAL: u32 = 1 << 20;
const EXTERNAL: u32 = 1 << 21;
/// Minutes in which something must have been seen.
const MINUTES_MIN: u64 = 2;
/// Members of a group that is looked at; one is hidden, so that three are left at least.
const MEMBERS_MIN: usize = 4;

/// Who used what of whom, once a minute.
type Uses = BTreeSet<(u64, IpAddr, IpAddr, u8, u16)>;

fn uses(path: PathBuf) -> Uses {
    let mut uses = Uses::new();
    for flow in MergedFlows::open(&[path]).unwrap() {
        let flow = flow.unwrap();
        if let Some(protocol) = flow.protocol.filter(|_| flow.answered != Some(false)) {
            let minute = flow.time_ns / MINUTE_NS;
            uses.insert((minute, flow.source, flow.destination, protocol.0, flow.service_port()));
        }
    }
    uses
}

/// Returns the place of a machine in its team's network, the same for all teams.
fn place(address: IpAddr) -> Option<u32> {
    let IpAddr::V4(v4) = address else { return None };
    let [a, b, network, host] = v4.octets();
    let kind = match (a, b, network) {
        (10, 47, 1..=8) => 1,
        (10, 47, 21..=28) => 2,
        (10, 10, _) => 3,
        _ => return None,
    };
    Some(kind << 8 | u32::from(host))
}

/// Returns what everybody does where one machine is in no group, in order of `machines`.
fn actors(uses: &Uses, machines: &[IpAddr], hidden: Option<IpAddr>) -> Vec<Actor> {
    let numbers: BTreeMap<IpAddr, u32> = machines.iter().copied().zip(0..).collect();
    let group = |address: IpAddr| place(address).filter(|_| Some(address) != hidden);
    let peer =
        |address: IpAddr| group(address).unwrap_or(if is_internal(address) { INTERNAL } else { EXTERNAL });
    let mut behaviours = Behaviours::default();
    for (minute, source, destination, protocol, port) in uses {
        let sides = [(Part::Uses, *source, *destination), (Part::Serves, *destination, *source)];
        for (part, own, other) in sides {
            let Some(number) = numbers.get(&own) else { continue };
            for deed in Deed::of(part, *protocol, *port, peer(other)) {
                behaviours.note(*number, deed, *minute);
            }
        }
    }
    let actor = |address: &IpAddr| Actor {
        groups: group(*address).into_iter().collect(),
        deeds: behaviours.deeds(numbers[address], MINUTES_MIN).map(|(deed, _)| deed).collect(),
    };
    machines.iter().map(actor).collect()
}

#[test]
fn a_machine_that_is_hidden_from_its_role_is_found_again() {
    let Some(data) = std::env::var_os("MESHGATE_DATA") else {
        println!("skipped: no data");
        return;
    };
    let uses = uses(PathBuf::from(data).join("flows/wrccdc2018_first15min.csv.gz"));
    let machines: BTreeSet<IpAddr> =
        uses.iter().flat_map(|(_, source, destination, ..)| [*source, *destination]).collect();
    let machines: Vec<IpAddr> = machines.into_iter().filter(|address| is_internal(*address)).collect();
    let limits = MembershipLimits::default();
    let all = actors(&uses, &machines, None);
    let mut active: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (number, actor) in all.iter().enumerate().filter(|(_, actor)| actor.deeds.len() >= limits.shared_min)
    {
        actor.groups.iter().for_each(|group| active.entry(*group).or_default().push(number));
    }
    active.retain(|_, members| members.len() >= MEMBERS_MIN);
    let standing = likenesses(&all, &limits);
    let (mut tried, mut right, mut wrong) = (0, 0, 0);
    for (group, members) in &active {
        let (mut found, mut elsewhere) = (0, Vec::new());
        for member in members {
            let actors = actors(&uses, &machines, Some(machines[*member]));
            let advice = likenesses(&actors, &limits);
            match advice.iter().find(|one| one.actor == *member) {
                Some(one) if one.group == *group => found += 1,
                Some(one) => elsewhere.push(format!("{} -> {}", machines[*member], name(one.group))),
                None => {}
            }
        }
        println!("{}: {found} of {} found again; elsewhere: {elsewhere:?}", name(*group), members.len());
        (tried, right, wrong) = (tried + members.len(), right + found, wrong + elsewhere.len());
    }
    println!(
        "wrccdc2018: {} roles, {tried} machines hidden one by one: {right} found again, {wrong} suggested for another \
         role, {} not suggested; {} of {} machines suggested with nobody hidden",
        active.len(),
        tried - right - wrong,
        standing.len(),
        machines.len()
    );
    standing.iter().for_each(|one| {
        println!("nobody hidden: {} -> {} ({:.2})", machines[one.actor], name(one.group), one.confidence);
    });
    assert!(tried >= 40, "{tried}");
}

fn name(group: u32) -> String {
    let network = ["?", "10.47.1-8", "10.47.21-28", "10.10.*"][usize::try_from(group >> 8).unwrap().min(3)];
    format!("{network}.{}", group & 0xff)
}
