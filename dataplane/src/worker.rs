//! The loop of one pinned thread, run to completion: it owns its devices, its packet memory and its flows.
//!
//! In here nothing locks, allocates, logs or waits, and the clock is read once a turn. Full means drop and count. The
//! one place that waits is [`Worker::run`] between turns, when there was nothing to do for a while.

mod egress;
mod ingress;
mod judge;

pub use egress::EGRESS_FRAMES_MAX;

use crate::config::{DEVICES_MAX, Polling};
use crate::counters::WorkerCounters;
use crate::device::{BURST_FRAMES, Device};
use crate::published::Subscription;
use crate::switch::Switch;
use crate::tracker::Tracker;
use af_xdp::{Frame, FramePool};
use ingress::LANES;
use judge::Lanes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest sleep of an adaptive worker: half a tick of the timing wheel, so that timeouts stay punctual.
const SLEEP_MAX: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// Longest sleep while frames wait for a device that takes none: it may be down.
const SLEEP_WHILE_SENDING: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
/// Turns between two updates of the gauges of packet memory.
const GAUGE_TURNS: u64 = 1_024;

/// How often a replay looks whether there is a policy.
const POLICY_PAUSE: Duration = Duration::from_millis(5);
/// Turns without work after the end of a capture until a replay is over.
const QUIET_TURNS: u32 = 16;

/// A queue of a device, and what the worker must know of it.
pub struct Attached {
    /// The queue; a device of the kernel has one or several.
    pub device: Box<dyn Device>,
    /// Number of the device: its place in the configuration.
    pub number: u16,
    /// Whether senders behind it may leave L4 checksums to the device.
    pub may_be_partial: bool,
    /// Bytes of the largest frame that may come from it: its MTU and the Ethernet header with a tag.
    pub frame_bytes_max: usize,
}

/// What a worker is made of.
pub struct WorkerParts {
    /// Its slice of packet memory.
    pub pool: FramePool,
    /// Its queues.
    pub queues: Vec<Attached>,
    /// Its view of the policy.
    pub subscription: Subscription,
    /// Its flows.
    pub tracker: Tracker,
    /// Its MAC table.
    pub switch: Switch,
    /// What it counts.
    pub counters: Arc<WorkerCounters>,
}

/// One worker.
pub struct Worker {
    pool: FramePool,
    queues: Vec<Attached>,
    /// By number of the device: the queue by which frames leave.
    leaving: Vec<usize>,
    /// Frames on their way to each queue.
    egress: Vec<VecDeque<Frame>>,
    burst: Vec<Frame>,
    /// Frames that go through the stages side by side; empty between turns.
    lanes: Lanes,
    subscription: Subscription,
    switch: Switch,
    tracker: Tracker,
    counters: Arc<WorkerCounters>,
    turns: u64,
    /// Time of the newest burst of a device with times of its own.
    captured_ns: Option<u64>,
}

impl Worker {
    /// Returns a worker that has not begun.
    pub fn new(parts: WorkerParts) -> Self {
        let WorkerParts { pool, queues, subscription, tracker, switch, counters } = parts;
        counters.frames_total.set(pool.frames_in_slice() as u64);
        let waiting = || VecDeque::with_capacity(EGRESS_FRAMES_MAX);
        let devices = counters.devices.len();
        Self {
            leaving: leaving(&queues, devices),
            egress: std::iter::repeat_with(waiting).take(queues.len()).collect(),
            burst: Vec::with_capacity(BURST_FRAMES),
            lanes: Lanes::with_capacity(LANES),
            pool,
            queues,
            subscription,
            switch,
            tracker,
            counters,
            turns: 0,
            captured_ns: None,
        }
    }

    /// Works until `stopping`, then ends flows and devices and gives every frame back.
    pub fn run(mut self, polling: Polling, idle_spins: u32, stopping: &AtomicBool) {
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
        self.stop();
    }

    /// Takes back the memory of devices that are gone, and sends nothing to them any more.
    fn retire_vanished(&mut self) {
        let mut at = 0;
        while at < self.queues.len() {
            if !self.queues[at].device.is_finished() {
                at += 1;
                continue;
            }
            let attached = self.queues.swap_remove(at);
            attached.device.close(&mut self.pool);
            self.egress.swap_remove(at).into_iter().for_each(|frame| self.pool.release(frame));
            self.leaving = leaving(&self.queues, self.leaving.len());
        }
    }

    /// Takes one burst from each device, judges it, sends what may pass, and does what time demands. Returns how many
    /// frames were moved, in or out, so that zero means that nothing is to be done.
    pub fn turn(&mut self, now_ns: u64) -> usize {
        let published = Arc::clone(self.subscription.begin_burst());
        let mut moved = 0;
        for at in 0..self.queues.len() {
            moved += self.receive(at, now_ns, &published);
        }
        for at in 0..self.queues.len() {
            moved += self.transmit(at);
        }
        let is_more_due = self.tracker.advance(self.captured_ns.unwrap_or(now_ns), &published);
        self.turns += 1;
        if self.turns.is_multiple_of(GAUGE_TURNS) {
            self.gauge();
        }
        moved + usize::from(is_more_due)
    }

    /// Works through a capture: waits for a first policy, then for the end of what its devices deliver.
    pub fn run_through(mut self, stopping: &AtomicBool) {
        let clock = Clock::start();
        while self.subscription.begin_burst().version.0 == 0 && !stopping.load(Ordering::Relaxed) {
            std::thread::park_timeout(POLICY_PAUSE);
        }
        let mut quiet_turns = 0;
        while quiet_turns < QUIET_TURNS && !stopping.load(Ordering::Relaxed) {
            let moved = self.turn(clock.now_ns());
            quiet_turns = if moved == 0 && self.is_finished() { quiet_turns + 1 } else { 0 };
        }
        self.stop();
    }

    /// Waits until a device is ready or time demands something.
    fn sleep(&mut self) {
        let is_sending = self.egress.iter().any(|queue| !queue.is_empty());
        self.gauge();
        self.subscription.fall_asleep();
        // A bounded list on the stack; queues beyond it are looked at when the sleep is over.
        let mut fds: arrayvec::ArrayVec<PollFd<'_>, DEVICES_MAX> = arrayvec::ArrayVec::new();
        let ready = self.queues.iter().filter_map(|attached| attached.device.readiness());
        fds.extend(ready.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).take(DEVICES_MAX));
        // An interrupted or failed wait is a short one.
        _ = poll(&mut fds, Some(if is_sending { &SLEEP_WHILE_SENDING } else { &SLEEP_MAX }));
        self.subscription.wake();
    }

    /// Brings the gauges up to date.
    fn gauge(&self) {
        let at_devices: usize = self.queues.iter().map(|attached| attached.device.outstanding()).sum();
        let held: usize = self.egress.iter().flatten().map(Frame::chunks).sum();
        self.counters.frames_free.set(self.pool.free_frames() as u64);
        self.counters.frames_at_devices.set(at_devices as u64);
        self.counters.frames_held.set(held as u64);
        // One device at a time: asking one of the kernel's is a system call.
        let devices = self.counters.devices.len();
        let asked = usize::try_from(self.turns / GAUGE_TURNS).unwrap_or(0) % devices.max(1);
        let Some(counters) = self.counters.devices.get(asked).filter(|_| !self.queues.is_empty()) else {
            return;
        };
        let of_asked = self.queues.iter().filter(|attached| usize::from(attached.number) == asked);
        let losses = of_asked.map(|attached| attached.device.losses());
        let (full, invalid) = losses.fold((0, 0), |sum, one| (sum.0 + one.receive_full, sum.1 + one.invalid));
        counters.receive_full.set(full);
        counters.invalid.set(invalid);
    }

    /// Ends all flows and devices and takes every frame back.
    pub fn stop(&mut self) {
        self.gauge();
        self.tell_balance("worker stops");
        self.tracker.stop();
        for queue in &mut self.egress {
            queue.drain(..).for_each(|frame| self.pool.release(frame));
        }
        for attached in self.queues.drain(..) {
            attached.device.close(&mut self.pool);
        }
        self.gauge();
        self.tell_balance("worker stopped");
    }

    /// Logs where the packet memory is, and what passed: `free + at_devices + held = total` at both ends of a stop.
    fn tell_balance(&self, when: &str) {
        let WorkerCounters { frames_total, frames_free, frames_at_devices, frames_held, .. } =
            &*self.counters;
        let (total, free) = (frames_total.get(), frames_free.get());
        let (at_devices, held, allowed) =
            (frames_at_devices.get(), frames_held.get(), self.counters.allowed.get());
        let flows = self.counters.flows_created.get();
        let records = self.counters.records_produced.get();
        let missing = i128::from(total) - i128::from(free) - i128::from(at_devices) - i128::from(held);
        tracing::info!(total, free, at_devices, held, missing, allowed, flows, records, "{when}");
        for (number, device) in self.counters.devices.iter().enumerate() {
            let (received, sent) = (device.received_packets.get(), device.sent_packets.get());
            let (dropped, full) = (device.dropped_packets.get(), device.receive_full.get());
            tracing::info!(number, received, sent, dropped, full, "{when}: device");
        }
    }

    /// Returns whether no device will ever deliver another frame.
    pub fn is_finished(&self) -> bool {
        self.queues.iter().all(|attached| attached.device.is_finished())
    }
}

/// Returns, by number of the device, the queue by which frames leave: its first one. `usize::MAX` where it has none.
fn leaving(queues: &[Attached], devices: usize) -> Vec<usize> {
    let first_of = |number| queues.iter().position(|queue| usize::from(queue.number) == number);
    (0..devices).map(|number| first_of(number).unwrap_or(usize::MAX)).collect()
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
