//! What a worker is told from outside: which devices there are, and which queues are its own.
//!
//! Orders are put into a bounded ring by one keeper of devices and obeyed between turns. A queue is opened off the
//! worker and arrives ready to use. It is closed off the worker, too, because the kernel may take its time to let go of
//! it: the worker hands it back, and the keeper sends the memory that it held home.

use super::crossing::HOMECOMERS_PER_TURN;
use super::egress::Leaving;
use super::{QUEUES_MAX, Ringer, Worker, WorkerSet};
use crate::config::DEVICES_MAX;
use crate::counters::Count;
use crate::device::Device;
use af_xdp::{Frame, FramePool};
use crossbeam::queue::ArrayQueue;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Orders that may wait: two for each device and one for each queue.
const ORDERS_MAX: usize = 2 * DEVICES_MAX + QUEUES_MAX;

/// A queue of a device that is open, and what must be known of the device.
pub struct Attached {
    /// The queue; a device of the kernel has one or several.
    pub device: Box<dyn Device>,
    /// Number of the device: its place in the configuration.
    pub number: u16,
    /// How its frames are read.
    pub traits: DeviceTraits,
}

/// What must be known of a device to read a frame that came in by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceTraits {
    /// Whether senders behind it may leave L4 checksums to the device.
    pub may_be_partial: bool,
    /// Bytes of the largest frame that may come from it: its MTU and the Ethernet header with tags.
    pub frame_bytes_max: usize,
}

/// A device of this host, as all workers know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// How its frames are read.
    pub traits: DeviceTraits,
    /// Workers with a queue by which frames can leave.
    pub senders: WorkerSet,
}

/// A queue that belongs to a worker, and the frames that wait for it.
pub struct Queue {
    pub(super) device: Box<dyn Device>,
    pub(super) number: u16,
    pub(super) egress: VecDeque<Frame>,
}

impl Queue {
    /// Returns the queue of a device, with room for frames that wait.
    pub fn new(device: Box<dyn Device>, number: u16) -> Self {
        Self { device, number, egress: VecDeque::with_capacity(super::EGRESS_FRAMES_MAX) }
    }
}

/// What a worker is told.
pub enum Order {
    /// This is the device of this number; or there is none any more.
    Know(u16, Option<Known>),
    /// This queue is yours.
    Attach(Queue),
    /// Close all your queues of the device of this number.
    Detach(u16),
}

/// What both ends of a worker's orders share.
struct Shared {
    orders: ArrayQueue<Order>,
    obeyed: Count,
    vanished: ArrayQueue<u16>,
    /// Queues to be closed.
    retired: ArrayQueue<Box<dyn Device>>,
    /// Chunks of the worker's slice that such queues held; it has room for the whole slice.
    homeward: ArrayQueue<Frame>,
    /// Chunks of any slice that are with such queues, or on their way home from them. All workers share it.
    away_chunks: Arc<AtomicU64>,
}

/// Where one worker's orders are put.
#[derive(Clone)]
pub struct OrderDesk {
    shared: Arc<Shared>,
    ringer: Ringer,
    given: u64,
}

/// Where a worker finds them.
pub struct OrderBook(Arc<Shared>);

/// Returns both ends of the orders of a worker whose slice has so many frames. `away_chunks` is the same of all workers.
pub fn desk(ringer: Ringer, slice_frames: usize, away_chunks: &Arc<AtomicU64>) -> (OrderDesk, OrderBook) {
    let shared = Arc::new(Shared {
        orders: ArrayQueue::new(ORDERS_MAX),
        obeyed: Count::default(),
        vanished: ArrayQueue::new(QUEUES_MAX),
        retired: ArrayQueue::new(QUEUES_MAX),
        homeward: ArrayQueue::new(slice_frames.max(1)),
        away_chunks: Arc::clone(away_chunks),
    });
    let book = OrderBook(Arc::clone(&shared));
    (OrderDesk { shared, ringer, given: 0 }, book)
}

impl OrderDesk {
    /// Gives an order; gives it back when too many wait.
    pub fn give(&mut self, order: Order) -> Result<(), Order> {
        self.shared.orders.push(order)?;
        self.given += 1;
        self.ringer.ring();
        Ok(())
    }

    /// Returns whether all orders that were given here have been obeyed.
    pub fn is_obeyed(&self) -> bool {
        self.shared.obeyed.get() >= self.given
    }

    /// Returns the number of a device of which a queue vanished since the last call, one at a time.
    pub fn take_vanished(&self) -> Option<u16> {
        self.shared.vanished.pop()
    }

    /// Closes the queues that the worker handed back, into a pool from which their memory is to be sent home. May take
    /// as long as the kernel does. Returns how many queues those were.
    pub fn close_retired(&self, pool: &mut FramePool) -> usize {
        let close = |device: Box<dyn Device>| {
            let held = device.outstanding();
            let came_back = device.close(pool);
            // What the kernel has not let go of is stranded, and counted as that.
            self.shared.away_chunks.fetch_sub(held.saturating_sub(came_back) as u64, Ordering::Relaxed);
        };
        std::iter::from_fn(|| self.shared.retired.pop()).map(close).count()
    }

    /// Sends a chunk of the worker's slice home.
    pub fn send_home(&self, frame: Frame) {
        if self.shared.homeward.push(frame).is_err() {
            debug_assert!(false, "a slice has room in the ring that leads to it");
        }
        self.ringer.ring();
    }
}

impl OrderBook {
    /// Returns whether an order waits.
    pub(super) fn has_more(&self) -> bool {
        !self.0.orders.is_empty()
    }

    /// Takes memory in that came home from queues that were closed. Returns how many chunks.
    pub(super) fn take_home(&self, pool: &mut FramePool) -> usize {
        let frames = std::iter::from_fn(|| self.0.homeward.pop()).take(HOMECOMERS_PER_TURN);
        let taken = frames.map(|frame| pool.release(frame)).count();
        if taken > 0 {
            self.0.away_chunks.fetch_sub(taken as u64, Ordering::Relaxed);
        }
        taken
    }

    /// Returns how many chunks, of whatever slice, are with queues that are being closed or on their way home from them.
    pub(super) fn away_chunks(&self) -> u64 {
        self.0.away_chunks.load(Ordering::Relaxed)
    }

    /// Closes what nobody has closed yet, for the end of all workers.
    pub(super) fn close_rest(&self, pool: &mut FramePool) {
        while let Some(device) = self.0.retired.pop() {
            let held = device.outstanding() as u64;
            device.close(pool);
            self.0.away_chunks.fetch_sub(held, Ordering::Relaxed);
        }
    }
}

impl Worker {
    /// Does what it was told. Returns how many orders that were.
    pub(super) fn obey(&mut self) -> usize {
        let mut obeyed = 0;
        while let Some(order) = self.orders.0.orders.pop() {
            match order {
                Order::Know(number, known) => {
                    if let Some(place) = self.known.get_mut(usize::from(number)) {
                        *place = known;
                    }
                }
                Order::Attach(queue) if self.queues.len() < QUEUES_MAX => self.queues.push(queue),
                Order::Attach(queue) => self.retire(queue),
                Order::Detach(number) => self.retire_all(|queue| queue.number == number),
            }
            self.find_ways();
            self.orders.0.obeyed.add(1);
            obeyed += 1;
        }
        obeyed
    }

    /// Takes back the memory of devices that are gone, and sends nothing to them any more.
    pub(super) fn retire_vanished(&mut self) {
        let is_gone = |queue: &Queue| queue.device.is_finished();
        if !self.queues.iter().any(is_gone) {
            return;
        }
        for queue in self.queues.iter().filter(|queue| is_gone(queue)) {
            // When full: the keeper of devices has much to do already and looks at all of them.
            _ = self.orders.0.vanished.push(queue.number);
        }
        self.retire_all(is_gone);
        self.find_ways();
    }

    /// Hands the queues back of which this is true.
    fn retire_all(&mut self, is_meant: impl Fn(&Queue) -> bool) {
        let mut at = 0;
        while at < self.queues.len() {
            if is_meant(&self.queues[at]) {
                let queue = self.queues.swap_remove(at);
                self.retire(queue);
            } else {
                at += 1;
            }
        }
    }

    /// Hands a queue back to be closed.
    fn retire(&mut self, queue: Queue) {
        let Queue { device, number: _, egress } = queue;
        egress.into_iter().for_each(|frame| self.pool.release(frame));
        let orders = &self.orders.0;
        orders.away_chunks.fetch_add(device.outstanding() as u64, Ordering::Relaxed);
        // Nobody has closed any for as many as there can be queues: better late than lost.
        if let Err(device) = orders.retired.push(device) {
            let held = device.outstanding() as u64;
            device.close(&mut self.pool);
            orders.away_chunks.fetch_sub(held, Ordering::Relaxed);
        }
    }

    /// Closes all queues, for the end of the worker.
    pub(super) fn close_all(&mut self) {
        for Queue { device, number: _, egress } in self.queues.drain(..) {
            device.close(&mut self.pool);
            egress.into_iter().for_each(|frame| self.pool.release(frame));
        }
        self.orders.close_rest(&mut self.pool);
    }

    /// Finds anew, for each device, how frames leave.
    fn find_ways(&mut self) {
        for number in 0..self.leaving.len() {
            self.leaving[number] = self.leaving_by(number);
        }
    }

    /// Frames leave by a queue of this worker, if it has one: then they do not cross. Otherwise by one of another, so
    /// chosen that not all workers choose the same.
    fn leaving_by(&self, number: usize) -> Leaving {
        let is_way = |queue: &Queue| usize::from(queue.number) == number && queue.device.can_send();
        if let Some(at) = self.queues.iter().position(is_way) {
            return Leaving::Queue(at);
        }
        let senders = self.known[number].map(|known| known.senders).unwrap_or_default();
        let turn = self.crossings.worker() % senders.len().max(1);
        senders.iter().nth(turn).map_or(Leaving::Nowhere, Leaving::Worker)
    }
}
