//! How frames change workers.
//!
//! All packets of a flow are judged by the flow's owner: the worker that a keyed hash of segment, addresses and protocol
//! names, without ports, so that fragments and replies agree. All rings of a queue are touched by one worker only. So
//! a packet crosses at most twice: from the worker that received it to the owner, and from there to one that has a queue
//! of the device by which it leaves.
//!
//! Between each two workers, in each direction, there is a [`Line`]: a ring of handles for errands, where full means
//! drop and count, and a ring in which memory goes home, which has room for the whole slice that it leads to and so is
//! never full. Both are lock-free. A worker that sleeps has said so at its bell before it looked into the rings a last
//! time; whoever puts something in looks at the bell afterwards. With a full fence on both sides one of them sees the
//! other.

use crate::counters::Count;
use af_xdp::{Frame, FramePool};
use crossbeam::queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Workers of one host: more than the queues of any card that is shared by virtual machines, and as many as there are
/// bits in a set of them.
pub const WORKERS_MAX: usize = 64;
/// Frames that may be on their way from one worker to another: 64 bursts. Where workers share their cores with others, a
/// receiver is kept from its core for tens of milliseconds; with a ring of 1,024, one packet in six hundred was lost so, at a
/// hundred thousand handed over a second.
pub const HAND_OVER_FRAMES_MAX: usize = 4_096;
/// Handles of homeward memory taken in from one place in a turn.
pub(super) const HOMECOMERS_PER_TURN: usize = 256;

/// A set of workers, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerSet(u64);

impl WorkerSet {
    /// Adds a worker.
    pub fn insert(&mut self, worker: usize) {
        debug_assert!(worker < WORKERS_MAX, "workers are counted when they are made");
        self.0 |= 1 << worker;
    }

    /// Removes all of them, and returns them in order.
    pub fn drain(&mut self) -> impl Iterator<Item = usize> {
        std::mem::take(self).iter()
    }

    /// Returns its members in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..WORKERS_MAX).filter(move |worker| self.0 & (1 << worker) != 0)
    }

    /// Returns how many there are.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Returns whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What another worker is asked to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// To judge it: it came in by this device.
    Judge {
        /// The device.
        ingress: u16,
    },
    /// To send it: it was allowed.
    Send {
        /// The device it came in by.
        ingress: u16,
        /// The device it leaves by.
        egress: u16,
        /// Of a super-frame: how long the IP packets may be into which it is to be cut.
        cut_to: Option<u16>,
    },
}

/// A frame and what is to be done with it.
pub(super) struct Crossing {
    pub(super) frame: Frame,
    pub(super) errand: Errand,
}

/// The way from one worker to another.
struct Line {
    handed: ArrayQueue<Crossing>,
    /// Chunks whose home is where the line leads.
    homeward: ArrayQueue<Frame>,
    /// Chunks put in, written by the one end.
    put_chunks: Count,
    /// Chunks taken out, written by the other.
    taken_chunks: Count,
}

/// Says whether a worker sleeps, and wakes it.
struct Bell {
    is_asleep: AtomicBool,
    event: OwnedFd,
}

impl Bell {
    fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { is_asleep: AtomicBool::new(false), event })
    }

    fn ring_if_asleep(&self) {
        fence(Ordering::SeqCst);
        if self.is_asleep.load(Ordering::Relaxed) && self.is_asleep.swap(false, Ordering::SeqCst) {
            // Full after 2^64 - 2 rings that nobody heard: then it is readable anyway.
            _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }
}

/// Wakes one worker.
#[derive(Clone)]
pub struct Ringer {
    bells: Arc<[Bell]>,
    worker: usize,
}

impl Ringer {
    /// Wakes the worker if it sleeps.
    pub fn ring(&self) {
        self.bells[self.worker].ring_if_asleep();
    }
}

/// One worker's end of all lines from and to the others.
pub struct Crossings {
    worker: usize,
    /// By worker; none to itself.
    outgoing: Vec<Option<Arc<Line>>>,
    incoming: Vec<Option<Arc<Line>>>,
    bells: Arc<[Bell]>,
    /// Who got something in this turn.
    to_ring: WorkerSet,
}

impl Crossings {
    /// Returns the ends of all lines among so many workers, whose slices have these numbers of frames.
    pub fn among(slices_frames: &[usize]) -> io::Result<Vec<Self>> {
        let workers = slices_frames.len();
        assert!((1..=WORKERS_MAX).contains(&workers), "checked in the configuration");
        let bells: Vec<Bell> = (0..workers).map(|_| Bell::new()).collect::<io::Result<_>>()?;
        let bells: Arc<[Bell]> = bells.into();
        let line = |from: usize, to: usize| (from != to).then(|| Arc::new(Line::to(slices_frames[to])));
        let lines: Vec<Vec<Option<Arc<Line>>>> =
            (0..workers).map(|from| (0..workers).map(|to| line(from, to)).collect()).collect();
        let end = |worker: usize| Self {
            worker,
            outgoing: lines[worker].clone(),
            incoming: lines.iter().map(|from| from[worker].clone()).collect(),
            bells: Arc::clone(&bells),
            to_ring: WorkerSet::default(),
        };
        Ok((0..workers).map(end).collect())
    }

    /// Returns which worker's end this is.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// Returns how many workers there are.
    pub fn workers(&self) -> usize {
        self.outgoing.len()
    }

    /// Returns what wakes this worker.
    pub fn ringer(&self) -> Ringer {
        Ringer { bells: Arc::clone(&self.bells), worker: self.worker }
    }

    /// Returns the descriptor that becomes readable when somebody rings.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bells[self.worker].event.as_fd()
    }

    /// Hands a frame over; gives it back when the line is full.
    pub(super) fn hand_over(&mut self, to: usize, crossing: Crossing) -> Result<(), Frame> {
        let Some(line) = self.outgoing.get(to).and_then(Option::as_ref) else { return Err(crossing.frame) };
        let chunks = crossing.frame.chunks() as u64;
        line.handed.push(crossing).map_err(|back| back.frame)?;
        line.put_chunks.add(chunks);
        self.to_ring.insert(to);
        Ok(())
    }

    /// Sends the memory home that was released here and belongs to others.
    pub(super) fn send_home(&mut self, pool: &mut FramePool) {
        while let Some(frame) = pool.take_foreign() {
            let home = pool.home_of(&frame) as usize;
            let line = self.outgoing.get(home).and_then(Option::as_ref);
            let line = line.expect("what is foreign belongs to another worker");
            if let Err(frame) = line.homeward.push(frame) {
                debug_assert!(false, "a slice has room in the ring that leads to it");
                pool.release(frame);
                return;
            }
            line.put_chunks.add(1);
            self.to_ring.insert(home);
        }
    }

    /// Takes memory in that came home. Returns how many chunks.
    pub(super) fn take_home(&mut self, pool: &mut FramePool) -> usize {
        let mut taken = 0;
        for line in self.incoming.iter().flatten() {
            let frames = std::iter::from_fn(|| line.homeward.pop()).take(HOMECOMERS_PER_TURN);
            let from_line = frames.map(|frame| pool.release(frame)).count();
            line.taken_chunks.add(from_line as u64);
            taken += from_line;
        }
        taken
    }

    /// Takes errands of one worker in, as many as fit.
    pub(super) fn take_errands(&mut self, from: usize, into: &mut Vec<Crossing>) {
        let Some(line) = self.incoming.get(from).and_then(Option::as_ref) else { return };
        while into.len() < into.capacity() {
            let Some(crossing) = line.handed.pop() else { return };
            line.taken_chunks.add(crossing.frame.chunks() as u64);
            into.push(crossing);
        }
    }

    /// Wakes those who got something and sleep. Called at the end of a turn.
    pub(super) fn ring(&mut self) {
        for worker in self.to_ring.drain() {
            self.bells[worker].ring_if_asleep();
        }
    }

    /// Says that this worker goes to sleep; returns false if there is something to do.
    pub(super) fn may_sleep(&self) -> bool {
        self.bells[self.worker].is_asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let is_idle = self.incoming.iter().flatten().all(|line| line.handed.is_empty());
        if !is_idle {
            self.awake();
        }
        is_idle
    }

    /// Says that this worker is awake, and forgets the rings it heard.
    pub(super) fn awake(&self) {
        self.bells[self.worker].is_asleep.store(false, Ordering::SeqCst);
        // An eventfd is emptied by one read; one that nobody rang says so.
        _ = rustix::io::read(&self.bells[self.worker].event, &mut [0_u8; 8]);
    }

    /// Returns how many chunks are on their way from here.
    pub(super) fn chunks_on_the_way(&self) -> u64 {
        let on_the_way = |line: &Arc<Line>| {
            // Taken before put: a count that runs ahead would be one of chunks that do not exist.
            let taken = line.taken_chunks.get();
            line.put_chunks.get().saturating_sub(taken)
        };
        self.outgoing.iter().flatten().map(on_the_way).sum()
    }
}

impl Line {
    fn to(slice_frames: usize) -> Self {
        Self {
            handed: ArrayQueue::new(HAND_OVER_FRAMES_MAX),
            homeward: ArrayQueue::new(slice_frames.max(1)),
            put_chunks: Count::default(),
            taken_chunks: Count::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use af_xdp::{Umem, UmemConfig};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn setting() -> (Vec<Crossings>, Vec<FramePool>) {
        setting_with(2_048)
    }

    /// Returns two workers with slices of so many frames.
    fn setting_with(slice_frames: usize) -> (Vec<Crossings>, Vec<FramePool>) {
        let frames_total = u32::try_from(2 * slice_frames).unwrap();
        let config = UmemConfig { frames_total, workers: 2, ..UmemConfig::default() };
        let pools = Umem::new(&config).unwrap().1;
        (Crossings::among(&[slice_frames; 2]).unwrap(), pools)
    }

    fn is_ringing(end: &Crossings) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(end.bell(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    const JUDGE: Errand = Errand::Judge { ingress: 3 };

    #[test]
    fn an_errand_arrives_and_its_memory_goes_home() {
        let (mut ends, mut pools) = setting();
        let frame = pools[0].allocate().unwrap();
        ends[0].hand_over(1, Crossing { frame, errand: JUDGE }).unwrap();
        assert_eq!(ends[0].chunks_on_the_way(), 1);
        let mut errands = Vec::with_capacity(4);
        ends[1].take_errands(0, &mut errands);
        let Crossing { frame, errand } = errands.pop().unwrap();
        assert_eq!((errand, ends[0].chunks_on_the_way()), (JUDGE, 0));
        pools[1].release(frame);
        ends[1].send_home(&mut pools[1]);
        assert_eq!((ends[1].chunks_on_the_way(), pools[0].free_frames()), (1, 2_047));
        assert_eq!(ends[0].take_home(&mut pools[0]), 1);
        assert_eq!((ends[1].chunks_on_the_way(), pools[0].free_frames()), (0, 2_048));
    }

    #[test]
    fn a_full_line_gives_the_frame_back() {
        let (mut ends, mut pools) = setting_with(2 * HAND_OVER_FRAMES_MAX);
        for _ in 0..HAND_OVER_FRAMES_MAX {
            let frame = pools[0].allocate().unwrap();
            assert!(ends[0].hand_over(1, Crossing { frame, errand: JUDGE }).is_ok());
        }
        let frame = pools[0].allocate().unwrap();
        let back = ends[0].hand_over(1, Crossing { frame, errand: JUDGE }).unwrap_err();
        pools[0].release(back);
    }

    #[test]
    fn a_whole_slice_can_go_home_at_once() {
        let (mut ends, mut pools) = setting();
        let frames: Vec<_> = std::iter::from_fn(|| pools[0].allocate()).collect();
        frames.into_iter().for_each(|frame| pools[1].release(frame));
        ends[1].send_home(&mut pools[1]);
        assert_eq!((pools[1].foreign_frames(), ends[1].chunks_on_the_way()), (0, 2_048));
        while ends[0].take_home(&mut pools[0]) > 0 {}
        assert_eq!(pools[0].free_frames(), 2_048);
    }

    #[test]
    fn only_who_sleeps_is_woken_and_nobody_sleeps_over_an_errand() {
        let (mut ends, mut pools) = setting();
        let mut put = |ends: &mut [Crossings]| {
            let frame = pools[0].allocate().unwrap();
            ends[0].hand_over(1, Crossing { frame, errand: JUDGE }).unwrap();
            ends[0].ring();
        };
        put(&mut ends);
        assert!(!is_ringing(&ends[1]), "it is awake");
        assert!(!ends[1].may_sleep(), "something is there");
        let mut errands = Vec::with_capacity(8);
        ends[1].take_errands(0, &mut errands);
        assert!(ends[1].may_sleep());
        put(&mut ends);
        assert!(is_ringing(&ends[1]));
        ends[1].awake();
        assert!(!is_ringing(&ends[1]));
    }

    #[test]
    fn a_set_of_workers_has_every_member_once_and_in_order() {
        let mut set = WorkerSet::default();
        [5, 0, 63, 5].into_iter().for_each(|worker| set.insert(worker));
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 5, 63]);
        assert_eq!((set.len(), set.drain().count(), set.is_empty()), (3, 3, true));
    }
}
