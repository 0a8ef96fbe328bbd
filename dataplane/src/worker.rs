//! The loop of one pinned thread, run to completion: it owns queues of devices, a slice of packet memory, and flows.
//!
//! In here nothing locks, allocates, logs or waits, and the clock is read once a turn. Full means drop and count. The
//! one place that waits is [`Worker::run`] between turns, when there was nothing to do for a while. What is open and
//! which queue belongs to whom changes by [`Order`]s from outside, between turns.

mod answer;
mod crossing;
mod egress;
mod ingress;
mod judge;
mod order;
mod overhear;
mod parts;
mod plain;
mod stopped;
mod super_frames;
mod tagging;

pub use crossing::{Crossings, HAND_OVER_FRAMES_MAX, Ringer, WORKERS_MAX, WorkerSet};
pub use egress::EGRESS_FRAMES_MAX;
pub use order::{Attached, DeviceTraits, Known, Order, OrderDesk, Queue, desk};
pub use stopped::stop;

use crate::capture::Tap;
use crate::config::{DEVICES_MAX, Polling};
use crate::counters::WorkerCounters;
use crate::device::BURST_FRAMES;
use crate::flow_table::KeyedHash;
use crate::fragments::FragmentTable;
use crate::leases::LeaseQueue;
use crate::published::Subscription;
use crate::reject::RejectLimit;
use crate::switch::Switch;
use crate::tracker::Tracker;
use af_xdp::{Frame, FramePool};
use crossing::Crossing;
use egress::Leaving;
use ingress::LANES;
use judge::Lanes;
use order::OrderBook;
use parts::{WaitingPart, waiting_frames_max};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest sleep of an adaptive worker: half a tick of the timing wheel, so that timeouts stay punctual.
const SLEEP_MAX: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// Longest sleep while frames wait for a device that takes none: it may be down.
const SLEEP_WHILE_SENDING: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
/// Turns between two updates of the gauges of packet memory.
const GAUGE_TURNS: u64 = 1_024;

/// Queues of one worker: four of each device.
pub const QUEUES_MAX: usize = 4 * DEVICES_MAX;
/// Descriptors that a sleeping worker waits for.
const POLLED_MAX: usize = QUEUES_MAX + 1;

/// How often a replay looks whether there is a policy.
const POLICY_PAUSE: Duration = Duration::from_millis(5);
/// Turns without work after the end of a capture until a replay is over.
const QUIET_TURNS: u32 = 16;

/// What a worker is made of.
pub struct WorkerParts {
    /// Its slice of packet memory.
    pub pool: FramePool,
    /// Its ends of the lines to and from other workers.
    pub crossings: Crossings,
    /// Where it is told of devices.
    pub orders: OrderBook,
    /// Its view of the policy.
    pub subscription: Subscription,
    /// Its flows.
    pub tracker: Tracker,
    /// Its MAC table.
    pub switch: Switch,
    /// What it counts.
    pub counters: Arc<WorkerCounters>,
    /// Where it puts what it overhears about leases.
    pub leases: Arc<LeaseQueue>,
    /// Where packets are shown to a capture.
    pub tap: Tap,
}

/// One worker.
pub struct Worker {
    pool: FramePool,
    queues: Vec<Queue>,
    /// By number: the devices of this host, whoever has their queues.
    known: Vec<Option<Known>>,
    /// By number of the device: how frames leave.
    leaving: Vec<Leaving>,
    burst: Vec<Frame>,
    /// What others handed over, on its way into the lanes.
    handed: Vec<Crossing>,
    /// Of what others handed over to be judged, by which device each frame came in.
    handed_from: Vec<u16>,
    /// Places for what is found of frames that go through the stages side by side.
    lanes: Lanes,
    crossings: Crossings,
    orders: OrderBook,
    subscription: Subscription,
    switch: Switch,
    tracker: Tracker,
    /// Datagrams that come in parts.
    fragments: FragmentTable<WaitingPart>,
    counters: Arc<WorkerCounters>,
    reject_limit: RejectLimit,
    leases: Arc<LeaseQueue>,
    tap: Tap,
    turns: u64,
    /// Time of the burst that is being judged.
    burst_ns: u64,
    /// Time of the newest burst of a device with times of its own.
    captured_ns: Option<u64>,
}

impl Worker {
    /// Returns a worker that has no queues yet.
    pub fn new(parts: WorkerParts) -> Self {
        let WorkerParts { pool, crossings, orders, subscription, tracker, switch, counters, leases, tap } =
            parts;
        counters.frames_total.set(pool.frames_in_slice() as u64);
        Self {
            queues: Vec::with_capacity(QUEUES_MAX),
            known: vec![None; DEVICES_MAX],
            leaving: vec![Leaving::Nowhere; DEVICES_MAX],
            burst: Vec::with_capacity(BURST_FRAMES),
            handed: Vec::with_capacity(BURST_FRAMES),
            handed_from: Vec::with_capacity(BURST_FRAMES),
            lanes: Lanes::with_capacity(LANES),
            fragments: FragmentTable::new(waiting_frames_max(pool.frames_in_slice()), KeyedHash::random()),
            pool,
            crossings,
            orders,
            subscription,
            switch,
            tracker,
            counters,
            reject_limit: RejectLimit::default(),
            leases,
            tap,
            turns: 0,
            burst_ns: 0,
            captured_ns: None,
        }
    }

    /// Works until `stopping`. What it holds then is taken from it by [`stop`], once all workers have ended.
    pub fn run(&mut self, polling: Polling, idle_spins: u32, stopping: &AtomicBool) {
        let clock = Clock::start();
        self.tracker.start(clock.now_ns());
        let mut idle_turns = 0;
        while !stopping.load(Ordering::Relaxed) {
            if self.turn(clock.now_ns()) > 0 {
                idle_turns = 0;
            } else if polling == Polling::Spin || idle_turns < idle_spins {
                idle_turns += 1;
                std::hint::spin_loop();
            } else {
                self.retire_vanished();
                self.sleep();
            }
            if self.turns.is_multiple_of(GAUGE_TURNS) {
                self.retire_vanished();
            }
        }
    }

    /// Does what others ask, takes one burst from each queue, judges it, sends what may pass, and does what time
    /// demands. Returns how many frames were moved, in or out, so that zero means that nothing is to be done.
    pub fn turn(&mut self, now_ns: u64) -> usize {
        let published = Arc::clone(self.subscription.begin_burst());
        let mut moved = self.obey() + self.crossings.take_home(&mut self.pool);
        moved += self.orders.take_home(&mut self.pool);
        for from in 0..self.crossings.workers() {
            moved += self.run_errands(from, now_ns, &published);
        }
        for at in 0..self.queues.len() {
            moved += self.receive(at, now_ns, &published);
        }
        // Before sending, which takes long: others need not wait for it.
        self.crossings.ring();
        for at in 0..self.queues.len() {
            moved += self.transmit(at);
        }
        self.crossings.send_home(&mut self.pool);
        self.crossings.ring();
        let time_ns = self.captured_ns.unwrap_or(now_ns);
        let is_more_due = self.expire_parts(time_ns, &published);
        let is_more_due = self.tracker.advance(time_ns, &published) || is_more_due;
        self.turns += 1;
        if self.turns.is_multiple_of(GAUGE_TURNS) {
            self.gauge();
            self.switch.sweep(now_ns);
        }
        moved + usize::from(is_more_due)
    }

    /// Works through a capture: waits for a first policy, then for the end of what its devices deliver.
    pub fn run_through(&mut self, stopping: &AtomicBool) {
        let clock = Clock::start();
        while self.subscription.begin_burst().version.0 == 0 && !stopping.load(Ordering::Relaxed) {
            std::thread::park_timeout(POLICY_PAUSE);
        }
        let mut quiet_turns = 0;
        while quiet_turns < QUIET_TURNS && !stopping.load(Ordering::Relaxed) {
            let moved = self.turn(clock.now_ns());
            quiet_turns = if moved == 0 && self.is_finished() { quiet_turns + 1 } else { 0 };
        }
    }

    /// Waits until a device is ready, somebody rings, or time demands something.
    fn sleep(&mut self) {
        self.gauge();
        if !self.crossings.may_sleep() || self.orders.has_more() {
            self.crossings.awake();
            return;
        }
        self.subscription.fall_asleep();
        let is_sending = self.queues.iter().any(|queue| !queue.egress.is_empty());
        // A bounded list on the stack; queues beyond it are looked at when the sleep is over.
        let mut fds: arrayvec::ArrayVec<PollFd<'_>, POLLED_MAX> = arrayvec::ArrayVec::new();
        fds.push(PollFd::from_borrowed_fd(self.crossings.bell(), PollFlags::IN));
        let ready = self.queues.iter().filter_map(|queue| queue.device.readiness());
        fds.extend(ready.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).take(POLLED_MAX - 1));
        // An interrupted or failed wait is a short one.
        _ = poll(&mut fds, Some(if is_sending { &SLEEP_WHILE_SENDING } else { &SLEEP_MAX }));
        self.subscription.wake();
        self.crossings.awake();
    }

    /// Brings the gauges up to date.
    fn gauge(&self) {
        let at_devices: usize = self.queues.iter().map(|queue| queue.device.outstanding()).sum();
        let to_send: usize = self.queues.iter().flat_map(|queue| &queue.egress).map(Frame::chunks).sum();
        let held = to_send + self.fragments.waiting_frames() as usize;
        let mut away = self.crossings.chunks_on_the_way() + self.pool.foreign_frames() as u64;
        if self.crossings.worker() == 0 {
            // What is told by one is told.
            away += self.orders.away_chunks();
        }
        self.counters.frames_free.set(self.pool.free_frames() as u64);
        self.counters.frames_at_devices.set(at_devices as u64);
        self.counters.frames_held.set(held as u64);
        self.counters.frames_crossing.set(away);
        if self.crossings.worker() == 0 {
            self.counters.frames_stranded.set(self.pool.umem().stranded_frames().into());
        }
        // One device at a time: asking one of the kernel's is a system call.
        let asked = usize::try_from(self.turns / GAUGE_TURNS).unwrap_or(0) % self.queues.len().max(1);
        let Some(queue) = self.queues.get(asked) else { return };
        let of_device = self.queues.iter().filter(|other| other.number == queue.number);
        let losses = of_device.map(|queue| queue.device.losses());
        let (full, invalid) = losses.fold((0, 0), |sum, one| (sum.0 + one.receive_full, sum.1 + one.invalid));
        let counters = &self.counters.devices[usize::from(queue.number)];
        counters.receive_full.set(full);
        counters.invalid.set(invalid);
    }

    /// Returns whether no device will ever deliver another frame.
    pub fn is_finished(&self) -> bool {
        self.queues.iter().all(|queue| queue.device.is_finished())
    }
}

/// Nanoseconds since 1970 that never go back: the wall clock is read once, at the start.
struct Clock {
    started: Instant,
    started_ns: u64,
}

impl Clock {
    fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { started: Instant::now(), started_ns: nanoseconds(since_1970) }
    }

    fn now_ns(&self) -> u64 {
        self.started_ns.saturating_add(nanoseconds(self.started.elapsed()))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
