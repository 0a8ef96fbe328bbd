//! Stage 4: flows that are known. The table that finds them, and what is kept of each.
//!
//! The table is fixed at start: a power-of-two array of list heads and a slab of flows linked by number. A growing
//! hash table was measured to stall for 8 to 40 ms at a constant number of live flows, by rehashing; here every
//! operation costs one short list walk, nothing is ever moved, and a removed flow is gone at once. The hash has a
//! secret, so that nobody outside can make the lists long.
//!
//! # When it is full
//!
//! Whoever may send a first packet can send a million with forged addresses. Three answers are wrong. Dropping the new
//! ones keeps every honest one out for as long as the flood lasts. Removing the flow that was silent longest lets the
//! flood push out connections that are merely idle. Removing one at random does both, slowly.
//!
//! What a flood with forged addresses cannot do is answer: the third packet of a handshake must carry a number that
//! went to the forged address. So a flow is *confirmed* when each side has answered to the other: TCP when both SYNs
//! were acknowledged, SCTP when the cookie came back, UDP and ping when the first side has spoken again after an
//! answer, a connection taken up in the middle when the other side has agreed with its numbers. Then:
//!
//! - **A confirmed flow is never removed for another one.** Only its end, its timeout or a policy removes it.
//! - **Unconfirmed flows fill at most one in [`UNCONFIRMED_SHARE`] of the table.** Behind that, a new one takes the place
//!   of the oldest unconfirmed one. So a flood removes its own flows, the rest of the table is left to flows that become
//!   confirmed, and becoming confirmed takes no place, so that it cannot fail.
//! - **When no slot is free at all**, the flow goes that ended longest ago, otherwise the oldest unconfirmed one.
//!   When there is neither, the new one is dropped as `flow-table-full`.
//! - Cut flows and connections taken up in reverse have shares of their own and never go for others, because a place
//!   made by removing them would open again what they keep shut.
//!
//! An honest handshake gets through a flood if it takes less time than the flood needs to fill the share: with 131,072
//! flows and a million forged SYNs a second, 65 ms. One that is pushed out is not lost: its SYN and ACK finds no flow and
//! is dropped, the client repeats its SYN, the server its answer; a client that has already got the answer goes on with
//! an ACK, by which the connection is taken up in its own direction. With `pickup = false` it must begin again.
//!
//! Who goes is known without a search: flows that may go stand in a list in the order in which they came to it,
//! threaded through the slab. Everything is a bounded number of loads: entering, leaving, and choosing. What this does
//! not do: keep one client with true addresses from filling the table with confirmed flows.

mod account;
mod flow;
mod grounds;
mod key;
mod moment;
mod pace;
mod sctp;
mod standing;
mod state;
mod tcp;
#[cfg(test)]
mod tests;
mod timeouts;
mod trail;
mod window;

pub use account::Account;
pub use flow::{Beginning, Flow, FlowGrounds};
pub use key::{FlowKey, KeyedHash, Sender, echo_identifier};
pub use pace::Pace;
pub(crate) use sctp::is_init;
pub use sctp::{Association, SctpState};
pub use standing::Standing;
pub use state::{Exchange, FlowState, Opening, REVERSED_MAX_NS, REVERSED_PACKETS_MAX};
pub(crate) use tcp::{ACK, FIN, RST, SYN};
pub use tcp::{Connection, Step, TcpState};
pub use timeouts::Timeouts;
pub use trail::Trail;

use crate::timing_wheel::TimingWheel;
use af_xdp::collect_in_huge_pages;
use flow::Seldom;
use grounds::GroundsStore;
use standing::{NONE, Rank, STANDINGS};

/// Most flows a table may be made for: indexes are 32 bits and one value is the end of a list.
pub const FLOWS_MAX: u32 = 1 << 26;
/// Share of the table that flows cut by a policy may occupy: one in this many.
pub const REFUSED_SHARE: u32 = 8;
/// Share of the table that flows may occupy whose sides have not both answered: one in this many.
pub const UNCONFIRMED_SHARE: u32 = 2;
/// Share of the table that connections taken up in reverse may occupy: one in this many. They last five seconds.
pub const REVERSED_SHARE: u32 = 8;

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
    slab: Vec<Flow>,
    /// What is seldom asked of each flow of the slab.
    seldom: Vec<Seldom>,
    grounds: GroundsStore,
    /// First free slot.
    free: u32,
    live: u32,
    /// Flows by standing.
    ranks: [Rank; STANDINGS],
    hash: KeyedHash,
    /// When each flow is looked at again.
    wheel: TimingWheel,
}

/// Whether a flow finds room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It does.
    Free,
    /// It does when this flow, of this standing, is removed.
    InsteadOf(FlowIndex, Standing),
    /// It does not.
    None,
}

impl FlowTable {
    /// Returns an empty table for at most `flows_max` flows, all memory taken now. `flows_max` is brought into the
    /// range 16 to [`FLOWS_MAX`].
    pub fn new(flows_max: u32, hash: KeyedHash, now_ns: u64) -> Self {
        let flows_max = flows_max.clamp(16, FLOWS_MAX);
        let free = |at: u32| Flow::free(if at + 1 == flows_max { NONE } else { at + 1 });
        let seldom = std::iter::repeat_n(Seldom::default(), flows_max as usize);
        Self {
            heads: collect_in_huge_pages(std::iter::repeat_n(NONE, flows_max.next_power_of_two() as usize)),
            slab: collect_in_huge_pages((0..flows_max).map(free)),
            seldom: collect_in_huge_pages(seldom),
            grounds: GroundsStore::new(flows_max),
            free: 0,
            live: 0,
            ranks: [Rank::EMPTY; STANDINGS],
            hash,
            wheel: TimingWheel::new(flows_max, now_ns),
        }
    }

    /// Returns the flow with this key, whose [`Self::hash_of`] is `hash`.
    #[inline]
    pub fn find(&self, key: &FlowKey, hash: u64) -> Option<FlowIndex> {
        let mut at = self.heads[self.head_of(hash)];
        while at != NONE {
            let slot = &self.slab[at as usize];
            if slot.is_named(key) {
                return Some(FlowIndex(at));
            }
            at = slot.next;
        }
        None
    }

    /// Returns whether a flow of this standing finds room.
    pub fn room_for(&self, standing: Standing) -> Room {
        let instead = |standing: Standing| match self.ranks[standing.index()].oldest {
            NONE => Room::None,
            oldest => Room::InsteadOf(FlowIndex(oldest), standing),
        };
        let is_within = |share: u32| self.flows_of(standing) < self.flows_max() / share;
        match standing {
            Standing::Unconfirmed if !is_within(UNCONFIRMED_SHARE) => return instead(standing),
            Standing::Reversed if !is_within(REVERSED_SHARE) => return Room::None,
            _ if self.free != NONE => return Room::Free,
            _ => {}
        }
        match instead(Standing::Over) {
            Room::None => instead(Standing::Unconfirmed),
            room => room,
        }
    }

    /// Puts a flow in that begins and returns its number; none when no slot is free. Its key must not be in.
    pub fn insert(&mut self, beginning: &Beginning) -> Option<FlowIndex> {
        let hash = self.hash_of(&beginning.key);
        debug_assert!(self.find(&beginning.key, hash).is_none(), "a key is in the table once");
        let at = self.free;
        let slot = self.slab.get_mut(at as usize)?;
        self.free = slot.next;
        let grounds = self.grounds.keep(&beginning.grounds);
        let head = self.head_of(hash);
        self.slab[at as usize].begin(beginning, (self.heads[head], grounds));
        self.seldom[at as usize] = Seldom::of(beginning);
        self.heads[head] = at;
        self.live += 1;
        self.enlist(at, beginning.state.standing());
        Some(FlowIndex(at))
    }

    /// Takes the flow out and returns its name; none if there is no flow with this number.
    pub fn remove(&mut self, index: FlowIndex) -> Option<FlowKey> {
        let at = index.0;
        let flow = self.slab.get(at as usize).filter(|flow| !flow.is_free())?;
        let (key, grounds, after) = (flow.key(), flow.grounds, flow.next);
        self.grounds.let_go(grounds);
        let head = self.head_of(self.hash_of(&key));
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
        self.delist(at);
        self.slab[at as usize].set_free(self.free);
        self.free = at;
        self.live -= 1;
        self.wheel.cancel(at);
        Some(key)
    }

    /// Returns the flow with this number. It must be in the table.
    #[inline]
    pub fn get(&self, index: FlowIndex) -> &Flow {
        let flow = &self.slab[index.0 as usize];
        debug_assert!(!flow.is_free(), "an index is used only while its flow is in the table");
        flow
    }

    /// Returns the flow with this number for change. [`Self::settle`] must follow where its standing may have changed, and
    /// it becomes `Refused` only through [`Self::set_refused`].
    #[inline]
    pub fn get_mut(&mut self, index: FlowIndex) -> &mut Flow {
        let flow = &mut self.slab[index.0 as usize];
        debug_assert!(!flow.is_free(), "an index is used only while its flow is in the table");
        flow
    }

    /// Makes the flow `Refused`; returns false, and leaves it, when such flows fill their share of the table.
    pub fn set_refused(&mut self, index: FlowIndex) -> bool {
        if !self.has_refused_room() {
            return false;
        }
        self.get_mut(index).state = FlowState::Refused;
        self.settle(index);
        true
    }

    /// Gives the flow the standing that its state demands.
    pub fn settle(&mut self, index: FlowIndex) {
        let standing = self.get(index).state.standing();
        if self.get(index).standing() != standing {
            self.delist(index.0);
            self.enlist(index.0, standing);
        }
    }

    /// Returns whether another `Refused` flow may be kept.
    pub fn has_refused_room(&self) -> bool {
        self.refused() < self.flows_max() / REFUSED_SHARE
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
        let skip = rest.iter().position(|flow| !flow.is_free())?;
        Some(FlowIndex(from + u32::try_from(skip).ok()?))
    }

    /// Returns how many flows are in, refused ones included.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// Returns how many flows in the table are refused.
    pub fn refused(&self) -> u32 {
        self.flows_of(Standing::Refused)
    }

    /// Returns how many flows of this standing are in the table.
    pub fn flows_of(&self, standing: Standing) -> u32 {
        self.ranks[standing.index()].flows
    }

    /// Returns how many flows fit.
    pub fn flows_max(&self) -> u32 {
        u32::try_from(self.slab.len()).expect("made from a u32")
    }

    /// Returns how many bytes of memory the table takes, all of them from the start.
    pub fn bytes(&self) -> usize {
        let slab = size_of_val(self.slab.as_slice()) + size_of_val(self.seldom.as_slice());
        size_of_val(self.heads.as_slice()) + slab + self.grounds.bytes() + self.wheel.bytes()
    }

    /// Returns the hash of a key.
    pub fn hash_of(&self, key: &FlowKey) -> u64 {
        self.hash.flow(key)
    }

    /// Returns the hash by which flows are found.
    pub fn hash(&self) -> &KeyedHash {
        &self.hash
    }

    /// Returns which of so many workers owns a key: the same for both directions and for all ports.
    pub fn owner_of(&self, key: &FlowKey, workers: usize) -> usize {
        // The upper half of a 32-bit number times their count: without a division.
        let share = (self.hash.owner(key) >> 32) * workers as u64;
        usize::try_from(share >> 32).unwrap_or(0)
    }

    /// Counts the flow among those of a standing, and puts it at the end of their list if they have one.
    fn enlist(&mut self, at: u32, standing: Standing) {
        let rank = &mut self.ranks[standing.index()];
        rank.flows += 1;
        let mut older = NONE;
        if standing.is_listed() {
            older = std::mem::replace(&mut rank.newest, at);
            match older {
                NONE => rank.oldest = at,
                _ => self.slab[older as usize].newer = at,
            }
        }
        let slot = &mut self.slab[at as usize];
        (slot.older, slot.newer) = (older, NONE);
        slot.set_standing(standing);
    }

    /// Undoes [`Self::enlist`].
    fn delist(&mut self, at: u32) {
        let flow = &self.slab[at as usize];
        let (older, newer, standing) = (flow.older, flow.newer, flow.standing());
        let rank = &mut self.ranks[standing.index()];
        rank.flows -= 1;
        if !standing.is_listed() {
            return;
        }
        match older {
            NONE => rank.oldest = newer,
            _ => self.slab[older as usize].newer = newer,
        }
        match newer {
            NONE => rank.newest = older,
            _ => self.slab[newer as usize].older = older,
        }
    }

    #[inline]
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
