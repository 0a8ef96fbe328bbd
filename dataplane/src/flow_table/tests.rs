//! The flow table against a hash map, its shares, and who goes when it is full.

use super::*;
use crate::packet::{TcpFields, TcpFlags};
use hashbrown::HashMap;
use meshgate_policy::{Action, L4Key, PolicyVersion, Protocol, SegmentId, Stage};

fn flow(number: u32) -> Beginning {
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
    Beginning {
        key: key.0,
        initiator: key.1,
        state: FlowState::Exchange(Exchange::Unanswered),
        grounds,
        l4: L4Key::default(),
        are_home: (true, true),
        is_sampled: true,
        now_ns: u64::from(number),
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
                assert_eq!(table.remove(index), Some(key));
                oracle.remove(&number);
            }
            None => match table.insert(&flow(number)) {
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
    let indexes: Vec<_> = (0..64).map(|number| table.insert(&flow(number)).unwrap()).collect();
    let refused = indexes.iter().filter(|index| table.set_refused(**index)).count();
    assert_eq!(refused, 8);
    table.remove(indexes[0]);
    assert!(table.set_refused(indexes[8]));
}

/// What a table with its policy for being full should hold, by searching.
#[derive(Default)]
struct Oracle {
    /// Flows by number, with standing and the order in which they came to it.
    flows: HashMap<u32, (Standing, u64)>,
    turn: u64,
}

impl Oracle {
    fn count(&self, wanted: Standing) -> usize {
        self.flows.values().filter(|(standing, _)| *standing == wanted).count()
    }

    fn oldest(&self, wanted: Standing) -> Option<u32> {
        let of_standing = self.flows.iter().filter(|(_, (standing, _))| *standing == wanted);
        of_standing.min_by_key(|(_, (_, turn))| *turn).map(|(number, _)| *number)
    }

    fn set(&mut self, number: u32, standing: Standing) {
        self.turn += 1;
        match self.flows.get_mut(&number) {
            Some((before, _)) if *before == standing => {}
            _ => _ = self.flows.insert(number, (standing, self.turn)),
        }
    }

    /// Returns who goes for a new unconfirmed flow; `Err` when there is no room.
    fn room(&self, flows_max: usize) -> Result<Option<u32>, ()> {
        if self.count(Standing::Unconfirmed) >= flows_max / 2 {
            return Ok(self.oldest(Standing::Unconfirmed));
        }
        if self.flows.len() < flows_max {
            return Ok(None);
        }
        self.oldest(Standing::Over).or(self.oldest(Standing::Unconfirmed)).map(Some).ok_or(())
    }
}

/// Returns a state of this standing.
fn state_of(standing: Standing) -> FlowState {
    let tcp = |flags| TcpFields {
        segment_bytes_max: None,
        flags,
        sequence: 1,
        acknowledgment: 2,
        window: 1,
        window_scale: None,
        payload_bytes: 0,
    };
    match standing {
        Standing::Confirmed => FlowState::Exchange(Exchange::Steady),
        Standing::Unconfirmed => FlowState::Exchange(Exchange::Answered),
        Standing::Over => {
            let mut connection = Connection::taken_up(&tcp(TcpFlags::ACK), Sender::Low);
            assert_eq!(connection.step(&tcp(TcpFlags::RST), Sender::Low, Sender::Low), Step::Pass);
            FlowState::Tcp(connection)
        }
        Standing::Reversed => FlowState::Reversed(Opening::default()),
        Standing::Refused => FlowState::Refused,
    }
}

#[test]
fn who_goes_when_the_table_is_full_is_who_a_search_would_choose() {
    const FLOWS: u32 = 64;
    let mut table = FlowTable::new(FLOWS, KeyedHash::seeded(7), 0);
    let mut oracle = Oracle::default();
    let mut rng = meshgate_policy::generate::Rng::new(43);
    let (mut evicted, mut refused) = (0, 0);
    for _ in 0..200_000 {
        // Long spells in which flows become confirmed, so that a table of nothing else is met, too.
        let is_confirming = oracle.turn % 4_000 < 2_000;
        let number = u32::try_from(rng.below(100)).unwrap();
        let key = flow(number).key;
        let found = table.find(&key, table.hash_of(&key));
        assert_eq!(found.is_some(), oracle.flows.contains_key(&number));
        let Some(index) = found else {
            let room = oracle.room(FLOWS as usize);
            let expected = match (room, table.room_for(Standing::Unconfirmed)) {
                (Ok(None), Room::Free) => true,
                (Ok(Some(goes)), Room::InsteadOf(index, standing)) => {
                    assert_eq!(table.get(index).key(), flow(goes).key);
                    assert_eq!(oracle.flows.remove(&goes).unwrap().0, standing);
                    table.remove(index).unwrap();
                    evicted += 1;
                    true
                }
                (Err(()), Room::None) => false,
                (room, other) => panic!("{room:?} {other:?}"),
            };
            refused += u32::from(!expected);
            if expected {
                table.insert(&flow(number)).unwrap();
                oracle.set(number, Standing::Unconfirmed);
            }
            continue;
        };
        match rng.below(20) {
            0..2 if !is_confirming => {
                table.remove(index).unwrap();
                oracle.flows.remove(&number);
            }
            2 => {
                if table.set_refused(index) {
                    oracle.set(number, Standing::Refused);
                } else {
                    assert!(oracle.count(Standing::Refused) >= (FLOWS / REFUSED_SHARE) as usize);
                }
            }
            choice => {
                let standing = match choice {
                    3 if !is_confirming => Standing::Over,
                    4 if !is_confirming => Standing::Unconfirmed,
                    _ => Standing::Confirmed,
                };
                table.get_mut(index).state = state_of(standing);
                table.settle(index);
                oracle.set(number, standing);
            }
        }
        for standing in [Standing::Confirmed, Standing::Unconfirmed, Standing::Over, Standing::Refused] {
            assert_eq!(table.flows_of(standing) as usize, oracle.count(standing));
        }
        assert_eq!(table.live() as usize, oracle.flows.len());
    }
    assert!(evicted > 1_000 && refused > 100, "{evicted} evicted, {refused} refused");
}

#[test]
fn a_state_has_the_standing_that_it_is_made_for() {
    use Standing::{Confirmed, Over, Refused, Reversed, Unconfirmed};
    for standing in [Confirmed, Unconfirmed, Over, Reversed, Refused] {
        assert_eq!(state_of(standing).standing(), standing);
    }
    assert_eq!(FlowState::Exchange(Exchange::Unanswered).standing(), Unconfirmed);
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
