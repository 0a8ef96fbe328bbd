//! What a worker is told from outside: which devices there are, and which queues are its own.
//!
//! Orders are put into a bounded ring by one keeper of devices and obeyed between turns. A queue is opened off the
//! worker and arrives ready to use; it is closed by the worker, because closing gives memory back to its pool.

use super::egress::Leaving;
use super::{QUEUES_MAX, Ringer, Worker, WorkerSet};
use crate::config::DEVICES_MAX;
use crate::counters::Count;
use crate::device::Device;
use af_xdp::Frame;
use crossbeam::queue::ArrayQueue;
use std::collections::VecDeque;
use std::sync::Arc;

/// Orders that may wait: two for each device and one for each queue.
const ORDERS_MAX: usize = 2 * DEVICES_MAX + QUEUES_MAX;

/// A queue of a device that is open, and what must be known of the device.
pub struct Attached {
    /// The queue; a device of the kernel has one or several.
    pub device: Box<dyn Device>,
    /// Number of the device: its place in the configuration.
    pub number: u16,
    /// Whether senders behind it may leave L4 checksums to the device.
    pub may_be_partial: bool,
    /// Bytes of the largest frame that may come from it: its MTU and the Ethernet header with tags.
    pub frame_bytes_max: usize,
}

impl Attached {
    /// Returns what must be known of the device.
    pub fn traits(&self) -> DeviceTraits {
        DeviceTraits { may_be_partial: self.may_be_partial, frame_bytes_max: self.frame_bytes_max }
    }
}

/// What must be known of a device to read a frame that came in by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceTraits {
    /// Whether senders behind it may leave L4 checksums to the device.
    pub may_be_partial: bool,
    /// Bytes of the largest frame that may come from it.
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

/// Where one worker's orders are put.
#[derive(Clone)]
pub struct OrderDesk {
    orders: Arc<ArrayQueue<Order>>,
    obeyed: Arc<Count>,
    vanished: Arc<ArrayQueue<u16>>,
    ringer: Ringer,
    given: u64,
}

/// Where a worker finds them.
pub struct OrderBook {
    orders: Arc<ArrayQueue<Order>>,
    obeyed: Arc<Count>,
    vanished: Arc<ArrayQueue<u16>>,
}

/// Returns both ends of a worker's orders.
pub fn desk(ringer: Ringer) -> (OrderDesk, OrderBook) {
    let (orders, obeyed) = (Arc::new(ArrayQueue::new(ORDERS_MAX)), Arc::new(Count::default()));
    let vanished = Arc::new(ArrayQueue::new(QUEUES_MAX));
    let book = OrderBook {
        orders: Arc::clone(&orders),
        obeyed: Arc::clone(&obeyed),
        vanished: Arc::clone(&vanished),
    };
    (OrderDesk { orders, obeyed, vanished, ringer, given: 0 }, book)
}

impl OrderDesk {
    /// Gives an order; gives it back when too many wait.
    pub fn give(&mut self, order: Order) -> Result<(), Order> {
        self.orders.push(order)?;
        self.given += 1;
        self.ringer.ring();
        Ok(())
    }

    /// Returns whether all orders that were given here have been obeyed.
    pub fn is_obeyed(&self) -> bool {
        self.obeyed.get() >= self.given
    }

    /// Returns the number of a device of which a queue vanished since the last call, one at a time.
    pub fn take_vanished(&self) -> Option<u16> {
        self.vanished.pop()
    }
}

impl OrderBook {
    /// Returns whether an order waits.
    pub(super) fn has_more(&self) -> bool {
        !self.orders.is_empty()
    }
}

impl Worker {
    /// Does what it was told. Returns how many orders that were.
    pub(super) fn obey(&mut self) -> usize {
        let mut obeyed = 0;
        while let Some(order) = self.orders.orders.pop() {
            match order {
                Order::Know(number, known) => {
                    if let Some(place) = self.known.get_mut(usize::from(number)) {
                        *place = known;
                    }
                }
                Order::Attach(queue) if self.queues.len() < QUEUES_MAX => self.queues.push(queue),
                Order::Attach(queue) => self.close(queue),
                Order::Detach(number) => self.close_all(|queue| queue.number == number),
            }
            self.find_ways();
            self.orders.obeyed.add(1);
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
            _ = self.orders.vanished.push(queue.number);
        }
        self.close_all(is_gone);
        self.find_ways();
    }

    /// Closes the queues of which this is true.
    pub(super) fn close_all(&mut self, is_meant: impl Fn(&Queue) -> bool) {
        let mut at = 0;
        while at < self.queues.len() {
            if is_meant(&self.queues[at]) {
                let queue = self.queues.swap_remove(at);
                self.close(queue);
            } else {
                at += 1;
            }
        }
    }

    fn close(&mut self, queue: Queue) {
        let Queue { device, number: _, egress } = queue;
        device.close(&mut self.pool);
        egress.into_iter().for_each(|frame| self.pool.release(frame));
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
