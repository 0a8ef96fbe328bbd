//! How wide drafts are, by the addresses that were seen.

use super::*;
use crate::series::AddressPair;
use meshgate_policy::suggestion::Proposal;
use meshgate_policy::{Endpoint, EndpointFlags, EndpointId, Mac};
use std::net::IpAddr;

/// Adds endpoints `NAME-1`, `NAME-2`, ... with the addresses 10.0.NETWORK.1, 10.0.NETWORK.2, ...
fn populate(round: &mut Round, name: &str, network: u8, count: u8) {
    for number in 1..=count {
        round.policy.endpoints.push(Endpoint {
            id: EndpointId(u32::from(network) * 256 + u32::from(number)),
            name: Name::new(&format!("{name}-{number}")).unwrap(),
            segment: SegmentId::DEFAULT,
            mac: Mac([2, 0, 0, 0, network, number]),
            addresses: vec![[10, 0, network, number].into()],
            routes: Vec::new(),
            flags: EndpointFlags::default(),
            host: None,
            device: None,
        });
    }
}

fn pair(key: SeriesKey, source: [u8; 2], destination: [u8; 2]) -> AddressPair {
    let address = |[network, number]: [u8; 2]| IpAddr::from([10, 0, network, number]);
    AddressPair { key, source: address(source), destination: address(destination), is_answered: true }
}

impl Round {
    /// Watches a series in which these addresses talk in each window.
    fn watch_pairs(&mut self, windows: u64, key: SeriesKey, pairs: &[([u8; 2], [u8; 2])]) {
        for _ in 0..windows {
            let mut pairs: Vec<AddressPair> = pairs.iter().map(|(from, to)| pair(key, *from, *to)).collect();
            pairs.sort_unstable();
            let series = vec![(key, sums(30, 30, 0))];
            let window = Window { start_s: self.now_s, width_s: 1, series, pairs, ..Window::default() };
            self.profile.observe(&window);
            self.now_s += 1;
        }
    }
}

/// A hundred development nodes, of which one uses one of fifty production servers.
fn sparse() -> Round {
    let mut round = Round::new(Action::Allow);
    populate(&mut round, "dev", 3, 100);
    populate(&mut round, "prod", 4, 50);
    let key = round.key(&[DEV], &[PRODUCTION], 5_432);
    round.watch_pairs(40, key, &[([3, 7], [4, 9])]);
    round
}

fn says(proposal: &Proposal) -> String {
    let DraftKey { source, destination, .. } = DraftKey::of(proposal);
    format!("{source} > {destination}")
}

#[test]
fn a_group_of_which_hardly_anybody_talks_is_not_opened_as_a_whole() {
    let suggestion = sparse().only();
    assert_eq!(says(&suggestion.draft), "10.0.3.7/32 > ProductionServers");
    assert!(suggestion.justification.contains("between '10.0.3.7' and group 'ProductionServers'"));
    // One of 1 x 256 pairs was seen.
    assert!((suggestion.over_permissiveness - 255.0 / 256.0).abs() < 1e-9);
    let others: Vec<String> = suggestion.alternatives.iter().map(|other| says(&other.proposal)).collect();
    assert!(others.contains(&"DevNodes > 10.0.4.9/32".to_owned()), "{others:?}");
    assert_eq!(others.last().map(String::as_str), Some("any > ProductionServers"), "wide ones come last");
    assert!(suggestion.alternatives.iter().all(|other| other.coverage == 1.0));
    assert_eq!(suggestion.effect.attributed, 1_200);
}

#[test]
fn a_group_whose_members_talk_is_drafted_with_narrower_and_wider_ones_beside_it() {
    let mut round = Round::new(Action::Allow);
    populate(&mut round, "web", 1, 3);
    populate(&mut round, "db", 2, 1);
    let key = round.key(&[WEB, SERVERS], &[DATABASE, SERVERS], 80);
    round.policy.groups[4].intra_group = IntraGroup::Deny;
    round.watch_pairs(40, key, &[([1, 1], [2, 1]), ([1, 2], [2, 1])]);
    let suggestion = round.only();
    assert_eq!(says(&suggestion.draft), "WebServers > DatabaseServers");
    // Two of 4 x 2 pairs of addresses were seen.
    assert!((suggestion.over_permissiveness - 0.75).abs() < 1e-9, "{}", suggestion.over_permissiveness);
    let others: Vec<String> = suggestion.alternatives.iter().map(|other| says(&other.proposal)).collect();
    assert!(others.contains(&"10.0.1.1/32,10.0.1.2/32 > DatabaseServers".to_owned()), "{others:?}");
    assert_eq!(others.len(), 8, "{others:?}");
    for other in ["10.0.1.0/24 > DatabaseServers", "Servers > DatabaseServers", "any > DatabaseServers"] {
        assert!(others.contains(&other.to_owned()), "{other}: {others:?}");
    }
}

#[test]
fn after_too_broad_comes_a_narrower_one_and_then_a_narrower_one_still() {
    let mut round = Round::new(Action::Allow);
    populate(&mut round, "web", 1, 3);
    populate(&mut round, "db", 2, 1);
    let key = round.key(&[WEB], &[DATABASE], 80);
    round.watch_pairs(40, key, &[([1, 1], [2, 1]), ([1, 2], [2, 1])]);
    let mut before = round.only();
    for turn in 0..2 {
        let refused = DraftKey::of(&before.draft);
        round.draft_log.open(refused.clone(), round.now_s);
        assert_eq!(round.dropped(), DropReason::Repeated);
        round.draft_log.answer(refused, Verdict::Rejected, Some(Reason::TooBroad), round.now_s);
        let next = round.only();
        assert_ne!(says(&next.draft), says(&before.draft), "turn {turn}");
        assert!(next.over_permissiveness < before.over_permissiveness, "turn {turn}: {next:?}");
        let others = next.alternatives.iter();
        assert!(others.clone().all(|other| says(&other.proposal) != "WebServers > DatabaseServers"));
        before = next;
    }
}

#[test]
fn a_rejected_draft_that_was_not_too_broad_takes_its_widths_along() {
    let mut round = sparse();
    let key = DraftKey::of(&round.only().draft);
    round.draft_log.answer(key, Verdict::Rejected, Some(Reason::WrongRule), round.now_s);
    assert_eq!(round.dropped(), DropReason::Repeated);
}

#[test]
fn several_ports_that_were_too_broad_together_come_one_by_one() {
    let mut round = Round::new(Action::Allow);
    populate(&mut round, "web", 1, 2);
    populate(&mut round, "db", 2, 1);
    for port in [80, 443] {
        let key = round.key(&[WEB], &[DATABASE], port);
        round.watch_pairs(40, key, &[([1, 1], [2, 1]), ([1, 2], [2, 1])]);
    }
    let both = round.only();
    assert_eq!(both.draft.relationship().unwrap().port_range.to_string(), "80,443");
    round.draft_log.answer(DraftKey::of(&both.draft), Verdict::Rejected, Some(Reason::TooBroad), round.now_s);
    let advice = round.advise();
    let ports: Vec<String> = advice
        .suggestions
        .iter()
        .map(|suggestion| suggestion.draft.relationship().unwrap().port_range.to_string())
        .collect();
    assert_eq!(ports.len(), 2, "{advice:#?}");
    assert!(ports.contains(&"80".to_owned()) && ports.contains(&"443".to_owned()));
}

#[test]
fn what_a_person_made_of_a_draft_is_chosen_for_other_sources_too() {
    let mut round = Round::new(Action::Allow);
    populate(&mut round, "web", 1, 2);
    populate(&mut round, "db", 2, 2);
    populate(&mut round, "dev", 3, 2);
    let key = round.key(&[DEV], &[DATABASE], 80);
    round.watch_pairs(40, key, &[([3, 1], [2, 1]), ([3, 2], [2, 1])]);
    assert_eq!(says(&round.only().draft), "DevNodes > DatabaseServers");
    let made = r#"{"kind":"rule","group_name":"WebServers","direction":"egress","peer":["10.0.2.1/32"],
        "protocol":"TCP","port_range":"80","action":"allow"}"#;
    round.draft_log.prefer(&serde_json::from_str(made).unwrap());
    assert_eq!(says(&round.only().draft), "DevNodes > 10.0.2.1/32");
    let other = round.key(&[DEV], &[PRODUCTION], 80);
    let mut elsewhere = Round { draft_log: round.draft_log.clone(), ..Round::new(Action::Allow) };
    elsewhere.parties = round.parties.clone();
    elsewhere.watch_pairs(40, other, &[([3, 1], [4, 1])]);
    assert_eq!(says(&elsewhere.only().draft), "DevNodes > ProductionServers", "another destination");
}

#[test]
fn an_endpoint_in_no_group_is_drafted_by_its_address() {
    let mut round = Round::new(Action::Allow);
    populate(&mut round, "probe", 9, 1);
    populate(&mut round, "web", 1, 2);
    let key = round.key(&[], &[WEB], 9_100);
    round.watch_pairs(40, key, &[([9, 1], [1, 1]), ([9, 1], [1, 2])]);
    let suggestion = round.only();
    assert_eq!(says(&suggestion.draft), "10.0.9.1/32 > WebServers");
    assert!(suggestion.justification.contains("between '10.0.9.1' and group 'WebServers'"));
}

#[test]
fn two_endpoints_in_no_group_get_groups_that_people_recognise() {
    let mut round = Round::new(Action::Allow);
    populate(&mut round, "probe", 9, 2);
    let key = round.key(&[], &[], 9_100);
    let stranger = [8, 1];
    round.watch_pairs(40, key, &[([9, 1], stranger), ([9, 2], stranger)]);
    let suggestion = round.only();
    let Proposal::Grouped { groups, .. } = &suggestion.draft else { panic!("{suggestion:?}") };
    let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["probe", "servers-of-tcp-9100"]);
    assert_eq!((groups[0].members.len(), groups[1].prefixes.len()), (2, 1));
    assert!(groups.iter().all(|group| group.intra_group == IntraGroup::Deny), "they may not talk today");
    round.policy.groups.push(group(30, "probe", "10.0.77.0/24"));
    let Proposal::Grouped { groups, .. } = round.only().draft else { panic!("no groups") };
    assert_eq!(groups[0].name.as_str(), "probe-2");
}

#[test]
fn a_broadcast_is_no_destination_of_a_draft() {
    let mut round = Round::new(Action::Allow);
    let key = round.key(&[DEV], &[PRODUCTION], 137);
    round.watch_pairs(40, key, &[([3, 7], [4, 255])]);
    assert_eq!(round.dropped(), DropReason::Multicast);
    populate(&mut round, "prod", 4, 255);
    assert!(!round.advise().suggestions.is_empty(), "an endpoint owns the address");
}

#[test]
fn a_deny_spares_what_is_usual() {
    let mut round = Round::new(Action::Allow);
    populate(&mut round, "dev", 3, 4);
    populate(&mut round, "prod", 4, 2);
    let key = round.key(&[DEV], &[PRODUCTION], 22);
    let usual = [([3, 1], [4, 1]), ([3, 2], [4, 1]), ([3, 1], [4, 2]), ([3, 2], [4, 2])];
    round.watch_pairs(5, key, &usual);
    let series = vec![(key, sums(24, 24, 0))];
    let pairs = vec![pair(key, [3, 4], [4, 1])];
    let window = Window { start_s: round.now_s, width_s: 1, series, pairs, ..Window::default() };
    round.profile.observe(&window);
    round.anomalies = vec![anomaly(key, sums(24, 24, 0), round.now_s)];
    round.profile.note_anomalies(&round.anomalies);
    round.now_s += 1;
    let suggestion = round.only();
    assert_eq!(says(&suggestion.draft), "10.0.3.4/32 > ProductionServers");
    assert_eq!(suggestion.over_permissiveness, 0.0);
}
