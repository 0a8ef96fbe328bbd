//! The miner on small cases, and against what a list of all tuples says.

use super::choice::Prices;
use super::rehearsal::rehearsals;
use super::rule_set::RuleSet;
use super::seen::{Addresses, Service, Use};
use super::width::Width;
use super::*;
use meshgate_policy::Protocol;
use std::sync::Arc;

fn used(source: [u8; 4], destination: [u8; 4], port: u16) -> Use {
    Use {
        source: source.into(),
        destination: destination.into(),
        service: Service { protocol: Protocol::TCP, port },
    }
}

fn mined(uses: &[(u64, Use)], prices: Prices) -> (Seen, RuleSet) {
    let addresses = Arc::new(Addresses::of(uses.iter().map(|(_, used)| used)));
    let seen = Seen::new(&addresses, uses.iter().map(|(_, used)| used));
    let miner = Miner::new(seen.clone(), &rehearsals(&addresses, uses), SEEN_WEIGHT);
    (seen, miner.rules(prices))
}

/// Uses drawn from a seed: three networks, a few strangers, a few ports, each at its own time.
fn drawn(seed: u32) -> Vec<(u64, Use)> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut below = |bound: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u8::try_from((state >> 16) % bound).unwrap()
    };
    let mut address = |strangers: u32| match below(strangers) {
        0 => [8, 8, below(3), below(5)],
        _ => [10, 1, below(3), below(6) + 1],
    };
    let uses: Vec<([u8; 4], [u8; 4])> = (0..80).map(|_| (address(9), address(4))).collect();
    let mut time = 0;
    let use_at = |(source, destination): ([u8; 4], [u8; 4])| {
        time += 7;
        (time, used(source, destination, 80 + u16::from(destination[3] % 3)))
    };
    uses.into_iter().filter(|(source, destination)| source != destination).map(use_at).collect()
}

#[test]
fn what_rules_permit_is_what_a_list_of_all_tuples_says() {
    for seed in 0..20 {
        for permitted in [0.3, 0.05, 0.005] {
            let (seen, rules) = mined(&drawn(seed), Prices { permitted, rule: RULE_PRICE });
            let mut all = 0;
            let mut known = 0;
            for port in 80..83 {
                let service = Service { protocol: Protocol::TCP, port };
                for pair in
                    (0..seen.addresses.len()).flat_map(|a| (0..seen.addresses.len()).map(move |b| (a, b)))
                {
                    if pair.0 != pair.1 && rules.permits(service, pair) {
                        all += 1;
                        known += usize::from(seen.pairs(service).contains(&pair));
                    }
                }
            }
            let counted = rules.permitted(&seen);
            assert_eq!((counted.tuples, counted.seen), (all, known), "seed {seed}, price {permitted}");
        }
    }
}

#[test]
fn where_nothing_unseen_may_be_permitted_rules_are_what_was_seen() {
    for seed in 0..20 {
        let (seen, rules) = mined(&drawn(seed), Prices { permitted: 1_000.0, rule: 1e-6 });
        let permitted = rules.permitted(&seen);
        assert_eq!((permitted.tuples, permitted.seen), (seen.tuples(), seen.tuples()), "seed {seed}");
    }
}

#[test]
fn a_lower_price_of_rules_or_tuples_never_covers_less_of_what_it_is_paid_for() {
    for seed in 0..10 {
        let covered = |permitted: f64| {
            let (seen, rules) = mined(&drawn(seed), Prices { permitted, rule: RULE_PRICE });
            rules.covered(&seen)
        };
        // At no price at all everything that was seen is worth covering by some wide rule.
        assert!(covered(0.0) >= covered(0.2), "seed {seed}");
    }
}

#[test]
fn servers_of_one_service_with_ever_new_clients_are_opened_to_their_network() {
    // A new client each minute, two servers that all of them use.
    let uses: Vec<(u64, Use)> = (1..=40u8)
        .flat_map(|client| {
            let time = u64::from(client);
            (1..=2u8).map(move |server| (time, used([10, 1, 7, client], [10, 1, 9, server], 443)))
        })
        .collect();
    let (_, rules) = mined(&uses, Prices { permitted: 0.05, rule: RULE_PRICE });
    assert!(rules.rules.len() <= 2, "{rules:?}");
    let is_open =
        |width: Width| matches!(width, Width::Network(..) | Width::NetworksOfRole(..) | Width::Area(_));
    assert!(rules.rules.iter().any(|rule| is_open(rule.source)), "{:?}", rules.rules);
}

#[test]
fn the_same_sides_with_several_ports_are_one_rule() {
    let uses: Vec<(u64, Use)> = (0..20)
        .flat_map(|time| [135, 445, 49_152].map(|port| (time, used([10, 1, 7, 1], [10, 1, 9, 1], port))))
        .collect();
    let (_, rules) = mined(&uses, Prices { permitted: 1.0, rule: RULE_PRICE });
    assert_eq!(rules.rules.len(), 1);
    assert_eq!(rules.rules[0].ports.iter().copied().collect::<Vec<_>>(), [135, 445, 49_152]);
}

#[test]
fn nothing_seen_gives_no_rules() {
    let (seen, rules) = mined(&[], Prices { permitted: 0.0, rule: 0.0 });
    assert_eq!((rules.rules.len(), rules.permitted(&seen).tuples), (0, 0));
    assert!(rules.permitted(&seen).over_permissiveness().abs() < 1e-12);
}
