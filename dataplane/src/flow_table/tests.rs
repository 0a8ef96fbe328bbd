//! The flow table against a hash map, its shares, and who goes when it is full.

use super::*;
use crate::meter::Parties;
use hashbrown::HashMap;
use meshgate_policy::{Action, L4Key, PolicyVersion, Protocol, SegmentId, Stage};

fn flow(number: u32) -> Flow {
    let [_, _, high, low] = number.to_be_bytes();
    let key = FlowKey::new(
        SegmentId(1),
        Protocol::UDP,
        ([10, 0, high, low].into(), 1),
        ([10, 9, 9, 9].into(), u16::try_from(number >> 16).unwrap()),
    );
    let grounds = FlowGrounds {
        version: PolicyVersion(1),
        generation: 0,
        rule: 0,
        rule_index: u32::MAX,
        shadow_rule: 0,
        stage: Stage::Default,
        action: Action::Allow,
    };
    Flow {
        key: key.0,
        initiator: key.1,
        state: FlowState::Exchange(Exchange::Unanswered),
        grounds,
        l4: L4Key::default(),
        first_ns: u64::from(number),
        last_ns: 0,
        reported_ns: 0,
        parties: Parties::default(),
        is_sampled: true,
        paces: [Pace::default(); 2],
        delivered: [u16::MAX; 2],
    }
}

#[test]
fn a_million_random_inserts_and_removes_agree_with_a_hash_map() {
    const FLOWS: u32 = 1_000;
    let mut table = FlowTable::new(FLOWS, KeyedHash::seeded(7), 0);
    let mut oracle: HashMap<u32, FlowIndex> = HashMap::new();
    let mut rng = meshgate_policy::generate::Rng::new(42);
    for _ in 0..1_000_000 {
        let number = u32::try_from(rng.below(1_500)).unwrap();
        let key = flow(number).key;
        let found = table.find(&key, table.hash_of(&key));
        assert_eq!(found, oracle.get(&number).copied());
        match found {
            Some(index) => {
                assert_eq!(table.remove(index).unwrap().first_ns, u64::from(number));
                oracle.remove(&number);
            }
            None => match table.insert(flow(number)) {
                Some(index) => _ = oracle.insert(number, index),
                None => assert_eq!(oracle.len(), FLOWS as usize),
            },
        }
    }
    assert_eq!(table.live() as usize, oracle.len());
}

#[test]
fn refused_flows_fill_at_most_an_eighth() {
    let mut table = FlowTable::new(64, KeyedHash::seeded(7), 0);
    let indexes: Vec<_> = (0..64).map(|number| table.insert(flow(number)).unwrap()).collect();
    let refused = indexes.iter().filter(|index| table.set_refused(**index)).count();
    assert_eq!(refused, 8);
    table.remove(indexes[0]);
    assert!(table.set_refused(indexes[8]));
}

#[test]
fn both_directions_have_one_key_and_different_senders() {
    let (a, b) = (([10, 0, 0, 1].into(), 5), ([10, 0, 0, 2].into(), 4));
    let there = FlowKey::new(SegmentId(1), Protocol::TCP, a, b);
    let back = FlowKey::new(SegmentId(1), Protocol::TCP, b, a);
    assert_eq!(there.0, back.0);
    assert_eq!(there.1, back.1.other());
    assert_eq!(there.0.side(there.1), a);
    assert_ne!(there.0, FlowKey::new(SegmentId(2), Protocol::TCP, a, b).0);
}

#[test]
fn the_owner_of_a_flow_does_not_depend_on_ports() {
    let hash = KeyedHash::random();
    let key = |port| {
        let (a, b) = (([10, 0, 0, 1].into(), port), ([10, 0, 0, 2].into(), 80));
        FlowKey::new(SegmentId(1), Protocol::TCP, a, b).0
    };
    assert_eq!(hash.owner(&key(1)), hash.owner(&key(2)));
    assert_ne!(hash.flow(&key(1)), hash.flow(&key(2)));
}
