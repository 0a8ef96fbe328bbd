//! What a cycle holds: the same for the same seed, each flow as often as any other, refusals by name.

use super::*;
use std::collections::HashSet;

fn traffic() -> FlowTraffic {
    FlowTraffic {
        macs: [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])],
        sources: vec!["10.0.0.1-10.0.0.20".parse().unwrap(), "fd00::1-fd00::9".parse().unwrap()],
        destinations: vec!["10.0.1.1-10.0.1.20".parse().unwrap(), "fd01::1".parse().unwrap()],
        destination_ports: (80, 89),
        tcp_percent: 50,
        flows: 300,
        new_flows_percent: 0,
        sizes: Sizes::Fixed([64]),
        seed: 7,
    }
}

#[test]
fn the_same_seed_makes_the_same_frames_and_another_one_others() {
    let cycle = traffic().cycle().unwrap();
    assert_eq!(cycle, traffic().cycle().unwrap());
    assert_ne!(cycle, FlowTraffic { seed: 8, ..traffic() }.cycle().unwrap());
}

#[test]
fn every_flow_comes_as_often_as_any_other() {
    let mut times = HashMap::new();
    for template in traffic().cycle().unwrap().templates {
        *times.entry(template.head).or_insert(0) += 1;
    }
    assert_eq!(times.len(), 300);
    let (least, most) = (times.values().min().unwrap(), times.values().max().unwrap());
    assert!(most - least <= 1, "{least} to {most}");
}

#[test]
fn heads_are_of_one_length_and_frames_as_long_as_they_need() {
    let cycle = traffic().cycle().unwrap();
    // The headers of IPv6 with TCP are longer than the shortest frame.
    assert!(cycle.templates.iter().all(|template| template.head.len() == 74));
    let lengths: HashSet<u16> = cycle.templates.iter().map(|template| template.frame_bytes).collect();
    assert_eq!(lengths, HashSet::from([60, 62, 74]));
}

#[test]
fn new_flows_differ_until_told_and_have_their_share() {
    let traffic = FlowTraffic { new_flows_percent: 10, ..traffic() };
    let cycle = traffic.cycle().unwrap();
    let entries = cycle.templates.len() as u64;
    let new = cycle.templates.iter().filter(|template| template.changing.is_some()).count() as u64;
    assert_eq!(new, entries / 10);
    let mut seen = HashSet::new();
    cycle.frames(3 * entries, |frame| {
        seen.insert(frame.to_vec());
    });
    assert!(cycle.new_flows_before_repeat > 3 * new);
    assert_eq!(seen.len() as u64, 300 + 3 * new);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let of = |sources: &str, destinations: &str| FlowTraffic {
        sources: vec![sources.parse().unwrap()],
        destinations: vec![destinations.parse().unwrap()],
        destination_ports: (9, 9),
        ..traffic()
    };
    assert_eq!(of("10.0.0.1", "fd00::1").cycle().unwrap_err(), TrafficRefusal::Families);
    let many = FlowTraffic { flows: 20_000, ..of("10.0.0.1", "10.0.0.2") };
    assert_eq!(many.cycle().unwrap_err(), TrafficRefusal::Flows { flows: 20_000, possible: 15_872 });
    let backwards = FlowTraffic { destination_ports: (9, 8), ..traffic() };
    assert_eq!(backwards.cycle().unwrap_err(), TrafficRefusal::Ports(9, 8));
    let nothing = FlowTraffic { flows: 0, ..traffic() };
    assert_eq!(nothing.cycle().unwrap_err(), TrafficRefusal::Nothing);
}
