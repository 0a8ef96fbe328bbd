//! Stage 4: flows that are known. The table that finds them, and what is kept of each.
//!
//! The table is fixed at start: a power-of-two array of list heads and a slab of flows linked by number. A growing
//! hash table was measured to stall for 8 to 40 ms at a constant number of live flows, by rehashing; here every
//! operation costs one short list walk, nothing is ever moved, and a removed flow is gone at once. The hash has a
//! secret, so that nobody outside can make the lists long.

mod flow;
mod key;
mod tcp;

pub use flow::{
    Flow, FlowGrounds, FlowState, Opening, Pace, REVERSED_MAX_NS, REVERSED_PACKETS_MAX, Timeouts,
};
pub use key::{FlowKey, KeyedHash, Sender, echo_identifier};
pub(crate) use tcp::{ACK, FIN, RST, SYN};
pub use tcp::{TcpState, TcpStep};

use crate::timing_wheel::TimingWheel;
use af_xdp::{prefetch, prefetch_whole};

/// End of a list.
const NONE: u32 = u32::MAX;
/// Most flows a table may be made for: indexes are 32 bits and one value is the end of a list.
pub const FLOWS_MAX: u32 = 1 << 26;
/// Share of the table that flows cut by a policy may occupy: one in this many.
pub const REFUSED_SHARE: u32 = 8;

/// Number of a flow in its table. Valid until the flow is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowIndex(u32);

/// A flow that a packet belongs to, and which of its sides sent the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// The flow.
    pub index: FlowIndex,
    /// The side.
    pub sender: Sender,
}

/// Flows by key. One owner, no locks.
pub struct FlowTable {
    /// First flow of each list; as many as a power of two.
    heads: Vec<u32>,
    slab: Vec<Slot>,
    /// First free slot.
    free: u32,
    live: u32,
    refused: u32,
    hash: KeyedHash,
    /// When each flow is looked at again.
    wheel: TimingWheel,
}

struct Slot {
    /// Next flow of the list, or next free slot.
    next: u32,
    /// None when free.
    flow: Option<Flow>,
}

impl FlowTable {
    /// Returns an empty table for at most `flows_max` flows, all memory taken now. `flows_max` is brought into the
    /// range 16 to [`FLOWS_MAX`].
    pub fn new(flows_max: u32, hash: KeyedHash, now_ns: u64) -> Self {
        let flows_max = flows_max.clamp(16, FLOWS_MAX);
        let slot = |at: u32| Slot { next: if at + 1 == flows_max { NONE } else { at + 1 }, flow: None };
        Self {
            heads: vec![NONE; flows_max.next_power_of_two() as usize],
            slab: (0..flows_max).map(slot).collect(),
            free: 0,
            live: 0,
            refused: 0,
            hash,
            wheel: TimingWheel::new(flows_max, now_ns),
        }
    }

    /// Asks for the memory in which the list of this hash begins, without waiting for it.
    pub fn prefetch_list(&self, hash: u64) {
        prefetch(&self.heads[self.head_of(hash)]);
    }

    /// Asks for the memory of the first flow of this hash's list, without waiting for it. Cheap when the beginning of
    /// the list has been asked for before.
    pub fn prefetch_flow(&self, hash: u64) {
        if let Some(slot) = self.slab.get(self.heads[self.head_of(hash)] as usize) {
            prefetch_whole(slot);
        }
    }

    /// Returns the flow with this key, whose [`Self::hash_of`] is `hash`.
    pub fn find(&self, key: &FlowKey, hash: u64) -> Option<FlowIndex> {
        let mut at = self.heads[self.head_of(hash)];
        while at != NONE {
            let slot = &self.slab[at as usize];
            if slot.flow.as_ref().is_some_and(|flow| flow.key == *key) {
                return Some(FlowIndex(at));
            }
            at = slot.next;
        }
        None
    }

    /// Puts a flow in and returns its number; none when the table is full. Its key must not be in.
    pub fn insert(&mut self, flow: Flow) -> Option<FlowIndex> {
        let hash = self.hash_of(&flow.key);
        debug_assert!(self.find(&flow.key, hash).is_none(), "a key is in the table once");
        let at = self.free;
        if at == NONE {
            return None;
        }
        let head = self.head_of(hash);
        self.refused += u32::from(flow.state == FlowState::Refused);
        let slot = &mut self.slab[at as usize];
        self.free = slot.next;
        slot.next = self.heads[head];
        slot.flow = Some(flow);
        self.heads[head] = at;
        self.live += 1;
        Some(FlowIndex(at))
    }

    /// Takes the flow out.
    pub fn remove(&mut self, index: FlowIndex) -> Option<Flow> {
        let at = index.0;
        let flow = self.slab[at as usize].flow.take()?;
        let head = self.head_of(self.hash_of(&flow.key));
        let after = self.slab[at as usize].next;
        let mut previous = NONE;
        let mut here = self.heads[head];
        while here != at {
            previous = here;
            here = self.slab[here as usize].next;
        }
        match previous {
            NONE => self.heads[head] = after,
            _ => self.slab[previous as usize].next = after,
        }
        self.slab[at as usize].next = self.free;
        self.free = at;
        self.live -= 1;
        self.refused -= u32::from(flow.state == FlowState::Refused);
        self.wheel.cancel(at);
        Some(flow)
    }

    /// Returns the flow with this number. It must be in the table.
    pub fn get(&self, index: FlowIndex) -> &Flow {
        self.slab[index.0 as usize]
            .flow
            .as_ref()
            .expect("an index is used only while its flow is in the table")
    }

    /// Returns the flow with this number for change. Its key must stay, and its state may become or cease to be
    /// `Refused` only through [`Self::set_refused`].
    pub fn get_mut(&mut self, index: FlowIndex) -> &mut Flow {
        self.slab[index.0 as usize]
            .flow
            .as_mut()
            .expect("an index is used only while its flow is in the table")
    }

    /// Makes the flow `Refused`; returns false, and leaves it, when such flows fill their share of the table.
    pub fn set_refused(&mut self, index: FlowIndex) -> bool {
        if !self.has_refused_room() {
            return false;
        }
        let flow = self.get_mut(index);
        if flow.state != FlowState::Refused {
            flow.state = FlowState::Refused;
            self.refused += 1;
        }
        true
    }

    /// Returns whether another `Refused` flow may be kept.
    pub fn has_refused_room(&self) -> bool {
        self.refused < self.flows_max() / REFUSED_SHARE
    }

    /// Makes the flow due for a look at `at_ns`, or earlier.
    pub fn look_again(&mut self, index: FlowIndex, at_ns: u64) {
        self.wheel.schedule(index.0, at_ns);
    }

    /// Returns one flow that is due for a look and stops its timer.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<FlowIndex> {
        self.wheel.pop_due(now_ns).map(FlowIndex)
    }

    /// Returns the number of any flow at or behind this place, for going through all of them.
    pub fn next_live(&self, from: u32) -> Option<FlowIndex> {
        let rest = self.slab.get(from as usize..)?;
        let skip = rest.iter().position(|slot| slot.flow.is_some())?;
        Some(FlowIndex(from + u32::try_from(skip).ok()?))
    }

    /// Returns how many flows are in, refused ones included.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// Returns how many flows in the table are refused.
    pub fn refused(&self) -> u32 {
        self.refused
    }

    /// Returns how many flows fit.
    pub fn flows_max(&self) -> u32 {
        u32::try_from(self.slab.len()).expect("made from a u32")
    }

    /// Returns the hash of a key.
    pub fn hash_of(&self, key: &FlowKey) -> u64 {
        self.hash.flow(key)
    }

    /// Returns which of so many workers owns a key: the same for both directions and for all ports.
    pub fn owner_of(&self, key: &FlowKey, workers: usize) -> usize {
        // The upper half of a 32-bit number times their count: without a division.
        let share = (self.hash.owner(key) >> 32) * workers as u64;
        usize::try_from(share >> 32).unwrap_or(0)
    }

    fn head_of(&self, hash: u64) -> usize {
        let mask = self.heads.len() - 1;
        usize::try_from(hash & (mask as u64)).expect("masked to the number of heads")
    }
}

impl FlowIndex {
    /// Returns the place behind this one, for [`FlowTable::next_live`].
    pub fn following(self) -> u32 {
        self.0 + 1
    }
}

#[cfg(test)]
mod tests {
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
            state: FlowState::Exchange { answered: false },
            grounds,
            l4: L4Key::default(),
            first_ns: u64::from(number),
            last_ns: 0,
            reported_ns: 0,
            parties: Parties::default(),
            is_sampled: true,
            paces: [Pace::default(); 2],
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
}
