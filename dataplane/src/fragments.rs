//! Stage 3: parts of datagrams. A later part has no ports, so it inherits what was decided of the first one.
//!
//! The table remembers of each datagram that is under way which parts came, how long it is and what was decided of its
//! first part. That is all that is kept: nothing is put together here, parts go on as they come.
//!
//! - **What belongs together**: same segment, device, addresses, protocol and identification ([`DatagramKey`]). The
//!   device is part of it, so that nobody can append to what somebody else may send.
//! - **The first part** is judged like a whole packet by stages 4 to 7, also when the table holds parts already. Each
//!   first part is judged once: one that comes again is dropped, and can therefore not smuggle other ports in.
//! - **Early parts** wait for the first one, in a bounded number ([`FragmentTable::wait`]). When it is allowed they follow
//!   it in the order in which they came; when it is refused or does not come within [`WAITING_NS`], they end by name.
//! - **Overlaps** are never harmless: receivers differ in which copy they believe. A part that overlaps another one or
//!   contradicts the datagram's end is dropped, and with it all that follows of the datagram (RFC 5722 section 4; RFC
//!   1858 and RFC 3128 for IPv4). A part that is the exact copy of one before is dropped alone, because networks
//!   duplicate (RFC 8200 section 4.5).
//! - **Identifications** are used again. A datagram that is complete is forgotten at once, so that the next one may
//!   have its number; an incomplete one after [`DATAGRAM_NS`].
//! - **Full** means that the oldest give way: each sender has a share, senders behind endpoint devices and senders
//!   behind uplinks have half of the table each. So one endpoint can spoil no more than its own share, and no stranger
//!   with invented addresses what endpoints send to each other. A datagram that gave way loses its parts that are still
//!   to come: they end as parts whose first one does not come.
//!
//! Two things are asked again at every part: whether the flow that the first part belongs to may still go on (a new
//! policy may have cut it), and stage 2, to which a part is a packet like any other.

mod ages;
mod coverage;
mod key;
#[cfg(test)]
mod tests;
mod waiting;

pub use coverage::{PARTS_MAX, Part};
pub use key::{Arrival, DatagramKey, Origin};
pub use waiting::Returned;

use crate::flow_table::KeyedHash;
use crate::tracker::FlowPlace;
use crate::verdict::{DropReason, Grounds};
use ages::Ages;
use coverage::{Coverage, Fit};
use key::{age_of, share_of};
use waiting::WaitingParts;

/// How long a datagram that is not complete is remembered: as long as Linux waits for one (`ipfrag_time`). RFC 8200 has
/// 60 s, in which a busy sender uses every IPv4 identification again several times.
pub const DATAGRAM_NS: u64 = 30_000_000_000;
/// How long a part waits for its first one. Paths differ by milliseconds; the memory of waiting frames is dear.
pub const WAITING_NS: u64 = 1_000_000_000;
/// Datagrams under way of senders behind endpoint devices, and as many of senders behind uplinks: 3 MiB a worker, and
/// room for 20,000 datagrams a second that take 100 ms each to pass.
pub const DATAGRAMS_MAX: u32 = 2_048;
/// Share of those that one sender may have: one in this many.
const SENDER_SHARE: u32 = 8;
/// Share of the waiting parts that one sender may have: one in this many.
const WAITING_SHARE: u32 = 4;
/// Shares of each half of the table. Senders that fall into one share have it together.
const SHARES: u32 = 256;
/// Datagrams that are given up in one turn of the worker for their age.
const EXPIRIES_PER_TURN: usize = 64;
/// End of a list.
const NONE: u32 = u32::MAX;

const _: () = assert!(DATAGRAMS_MAX.is_power_of_two() && SHARES.is_power_of_two());
const _: () = assert!(size_of::<Datagram>() * 2 * DATAGRAMS_MAX as usize <= 3 << 20);

/// Number of a datagram in its table. Valid until the next call that changes the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramIndex(u32);

/// What was decided of a datagram.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// Its first part has not come, or is being judged.
    Undecided,
    /// Its first part was allowed.
    Allowed(Allowance),
    /// Its first part was refused.
    Refused(Grounds),
    /// No part of it passes any more, for this reason.
    Poisoned(DropReason),
}

/// What allows the later parts of a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// What the verdict on the first part rests on.
    pub grounds: Grounds,
    /// The policy by which it was judged, as [`crate::published::Published::generation`].
    pub generation: u64,
    /// The flow of the first part.
    pub place: FlowPlace,
    /// Of TCP: see [`crate::tracker::number_at_header`].
    pub number_at_header: Option<u32>,
}

/// What is to be done with a part.
#[derive(Clone, Copy, Debug)]
pub enum Admission {
    /// It is the first one: it must be judged, and [`FragmentTable::decide`] told what came out.
    Judge(DatagramIndex),
    /// It follows its first one, if the flow still may go on.
    Follow(Allowance),
    /// Its first one was refused, and so is it.
    Refuse(Grounds),
    /// It must wait for its first one: [`FragmentTable::wait`].
    Wait(DatagramIndex),
}

/// One datagram under way, or a free place.
#[derive(Clone)]
struct Datagram {
    /// Next datagram with the same head, or next free place.
    next: u32,
    /// None when free.
    arrival: Option<Arrival>,
    fate: Fate,
    /// When it was begun; of a datagram with a fate, when that was decided.
    since_ns: u64,
    coverage: Coverage,
}

/// Datagrams under way, and the parts `T` that wait for their first one. One owner, no locks; all memory is taken when
/// it is made.
pub struct FragmentTable<T> {
    /// First datagram of each list; as many as a power of two.
    heads: Vec<u32>,
    slab: Vec<Datagram>,
    /// First free place.
    free: u32,
    /// Datagrams in order of age: [`AGE_ENDPOINTS`], [`AGE_UPLINKS`], [`AGE_UNDECIDED`].
    ages: Ages,
    /// Decided datagrams of each share in order of age.
    shares: Ages,
    waiting: WaitingParts<T>,
    hash: KeyedHash,
    /// Datagrams that had to give way.
    evicted: u64,
}

/// Decided datagrams from endpoint devices.
const AGE_ENDPOINTS: u32 = 0;
/// Decided datagrams from uplinks.
const AGE_UPLINKS: u32 = 1;
/// Datagrams whose first part has not come.
const AGE_UNDECIDED: u32 = 2;

impl<T> FragmentTable<T> {
    /// Returns an empty table in which parts of at most so many frames (chunks) of packet memory may wait.
    pub fn new(waiting_frames_max: u32, hash: KeyedHash) -> Self {
        // An undecided datagram has a part that waits, but for the one that is being judged.
        let places = 2 * DATAGRAMS_MAX + waiting_frames_max + 1;
        let slab = (1..=places).map(|next| Datagram {
            next: if next == places { NONE } else { next },
            arrival: None,
            fate: Fate::Undecided,
            since_ns: 0,
            coverage: Coverage::default(),
        });
        Self {
            heads: vec![NONE; 2 * DATAGRAMS_MAX as usize],
            slab: slab.collect(),
            free: 0,
            ages: Ages::new(3, places),
            shares: Ages::new(2 * SHARES, places),
            waiting: WaitingParts::new(waiting_frames_max, places, 2 * SHARES),
            hash,
            evicted: 0,
        }
    }

    /// Takes note of a part and returns what is to be done with it, or why it ends here.
    pub fn admit(&mut self, arrival: &Arrival) -> Result<Admission, DropReason> {
        let hash = arrival.key.hash(&self.hash);
        let place = match self.find_current(arrival, hash) {
            Some(place) => place,
            None => self.begin(arrival, hash)?,
        };
        let fate = self.slab[place as usize].fate;
        match fate {
            Fate::Poisoned(reason) => return Err(reason),
            Fate::Undecided if !arrival.is_first() => self.check_room(arrival)?,
            _ => {}
        }
        match self.slab[place as usize].coverage.add(arrival.part) {
            Fit::New => {}
            Fit::Duplicate => return Err(DropReason::FragmentDuplicate),
            Fit::Conflict => return Err(self.poison(place, DropReason::FragmentOverlap)),
            Fit::TooMany => return Err(self.poison(place, DropReason::FragmentLimit)),
        }
        let admission = match fate {
            Fate::Undecided if arrival.is_first() => return Ok(Admission::Judge(DatagramIndex(place))),
            Fate::Undecided => return Ok(Admission::Wait(DatagramIndex(place))),
            Fate::Allowed(allowance) => Admission::Follow(allowance),
            Fate::Refused(grounds) => Admission::Refuse(grounds),
            Fate::Poisoned(reason) => return Err(reason),
        };
        self.forget_if_complete(place);
        Ok(admission)
    }

    /// Keeps a part of so many frames (chunks) until its first one comes. There is room: [`Self::admit`] has looked.
    pub fn wait(&mut self, index: DatagramIndex, part: T, frames: u32) {
        let share = self.share_of(index.0);
        self.waiting.push(index.0, share, (part, frames));
    }

    /// Takes note of what was decided of a first part; what waited for it can then be taken from
    /// [`Self::take_returned`], to follow it or to end with it.
    pub fn decide(&mut self, index: DatagramIndex, fate: Fate) {
        let place = index.0;
        let outcome = match fate {
            Fate::Allowed(_) => Ok(()),
            _ => Err(DropReason::FragmentRefused),
        };
        self.waiting.give_back(place, outcome);
        if self.slab[place as usize].coverage.is_complete() {
            self.remove(place);
            return;
        }
        let Some(arrival) = self.slab[place as usize].arrival else { return };
        let (age, share) = (age_of(&arrival), self.share_of(place));
        if self.shares.count(share) >= DATAGRAMS_MAX / SENDER_SHARE {
            self.evict(self.shares.oldest(share));
        } else if self.ages.count(age) >= DATAGRAMS_MAX {
            self.evict(self.ages.oldest(age));
        }
        self.ages.remove(place);
        self.ages.push(age, place);
        self.shares.push(share, place);
        self.slab[place as usize].fate = fate;
    }

    /// Takes a part that waits no more, and learns what becomes of it. To be called until there is none after each call
    /// that changes the table.
    pub fn take_returned(&mut self) -> Option<Returned<T>> {
        self.waiting.take_returned()
    }

    /// Gives up what is too old. Returns whether more is due already.
    pub fn expire(&mut self, now_ns: u64) -> bool {
        let mut left = EXPIRIES_PER_TURN;
        for age in [AGE_UNDECIDED, AGE_ENDPOINTS, AGE_UPLINKS] {
            while let Some(place) = self.ages.oldest(age).filter(|place| self.is_over(*place, now_ns)) {
                if left == 0 {
                    return true;
                }
                left -= 1;
                self.give_up(place, DropReason::FragmentTimeout);
            }
        }
        false
    }

    /// Gives up everything, for the end of the worker.
    pub fn clear(&mut self) {
        for age in [AGE_UNDECIDED, AGE_ENDPOINTS, AGE_UPLINKS] {
            while let Some(place) = self.ages.oldest(age) {
                self.give_up(place, DropReason::FragmentTimeout);
            }
        }
    }

    /// Returns how many datagrams are under way.
    pub fn live(&self) -> u32 {
        [AGE_UNDECIDED, AGE_ENDPOINTS, AGE_UPLINKS].into_iter().map(|age| self.ages.count(age)).sum()
    }

    /// Returns how many frames (chunks) of packet memory are with parts that wait.
    pub fn waiting_frames(&self) -> u32 {
        self.waiting.frames()
    }

    /// Returns how many datagrams had to give way to others.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Returns the datagram that a part belongs to, unless that is over. One whose first part has not come is over with
    /// the policy under which its parts passed stage 2.
    fn find_current(&mut self, arrival: &Arrival, hash: u64) -> Option<u32> {
        let mut place = self.heads[self.head_of(hash)];
        while place != NONE {
            let datagram = &self.slab[place as usize];
            let Some(known) = datagram.arrival.filter(|known| known.key == arrival.key) else {
                place = datagram.next;
                continue;
            };
            let is_undecided = matches!(datagram.fate, Fate::Undecided);
            if self.is_over(place, arrival.now_ns) {
                self.give_up(place, DropReason::FragmentTimeout);
            } else if is_undecided && known.generation != arrival.generation {
                self.give_up(place, DropReason::FragmentRefused);
            } else {
                return Some(place);
            }
            return None;
        }
        None
    }

    fn is_over(&self, place: u32, now_ns: u64) -> bool {
        let datagram = &self.slab[place as usize];
        let lasts_ns = if matches!(datagram.fate, Fate::Undecided) { WAITING_NS } else { DATAGRAM_NS };
        now_ns >= datagram.since_ns.saturating_add(lasts_ns)
    }

    /// Begins a datagram whose first part is being judged, or has not come and may wait.
    fn begin(&mut self, arrival: &Arrival, hash: u64) -> Result<u32, DropReason> {
        if !arrival.is_first() {
            self.check_room(arrival)?;
        }
        let place = self.free;
        if place == NONE {
            return Err(DropReason::FragmentTableFull);
        }
        let head = self.head_of(hash);
        let datagram = &mut self.slab[place as usize];
        self.free = datagram.next;
        datagram.next = self.heads[head];
        datagram.arrival = Some(*arrival);
        datagram.fate = Fate::Undecided;
        datagram.since_ns = arrival.now_ns;
        datagram.coverage.clear();
        self.heads[head] = place;
        self.ages.push(AGE_UNDECIDED, place);
        Ok(place)
    }

    /// Looks whether another part of this sender may wait.
    fn check_room(&self, arrival: &Arrival) -> Result<(), DropReason> {
        let share = share_of(arrival, &self.hash);
        let has_room = self.waiting.has_room(share, arrival.frames, WAITING_SHARE);
        if has_room { Ok(()) } else { Err(DropReason::FragmentEarly) }
    }

    /// Lets nothing more of a datagram pass. Returns the reason.
    fn poison(&mut self, place: u32, reason: DropReason) -> DropReason {
        self.waiting.give_back(place, Err(reason));
        if matches!(self.slab[place as usize].fate, Fate::Undecided) {
            self.decide(DatagramIndex(place), Fate::Poisoned(reason));
        } else {
            self.slab[place as usize].fate = Fate::Poisoned(reason);
        }
        reason
    }

    fn evict(&mut self, oldest: Option<u32>) {
        if let Some(place) = oldest {
            self.evicted += 1;
            self.give_up(place, DropReason::FragmentTableFull);
        }
    }

    fn give_up(&mut self, place: u32, reason: DropReason) {
        self.waiting.give_back(place, Err(reason));
        self.remove(place);
    }

    fn forget_if_complete(&mut self, place: u32) {
        if self.slab[place as usize].coverage.is_complete() {
            self.remove(place);
        }
    }

    /// Takes a datagram without waiting parts out.
    fn remove(&mut self, place: u32) {
        let Some(arrival) = self.slab[place as usize].arrival.take() else { return };
        let head = self.head_of(arrival.key.hash(&self.hash));
        let next = self.slab[place as usize].next;
        let mut before = self.heads[head];
        if before == place {
            self.heads[head] = next;
        } else {
            while self.slab[before as usize].next != place {
                before = self.slab[before as usize].next;
            }
            self.slab[before as usize].next = next;
        }
        self.ages.remove(place);
        self.shares.remove(place);
        self.slab[place as usize].next = self.free;
        self.free = place;
    }

    fn share_of(&self, place: u32) -> u32 {
        let arrival = self.slab[place as usize].arrival.as_ref().expect("asked of datagrams under way only");
        share_of(arrival, &self.hash)
    }

    fn head_of(&self, hash: u64) -> usize {
        let mask = self.heads.len() - 1;
        usize::try_from(hash & (mask as u64)).expect("masked to the number of heads")
    }
}
