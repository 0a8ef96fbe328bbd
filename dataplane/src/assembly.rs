//! Puts workers together from a configuration, packet memory, devices and a first policy. Programs, tests and benchmarks all begin
//! here, so that what is measured and tested is what runs.

use crate::capture::CaptureSwitch;
use crate::config::{Config, DEVICES_MAX};
use crate::counters::WorkerCounters;
use crate::flow_table::{FlowTable, KeyedHash};
use crate::leases::{LeaseQueue, QUEUE_WORDS};
use crate::meter::{Meter, RecordQueue};
use crate::published::{Published, Publisher};
use crate::switch::{Learned, Switch};
use crate::tracker::{Pickup, Tracker, TrackerConfig};
use crate::worker::{
    self, Attached, Crossings, Known, Order, OrderDesk, Queue, Worker, WorkerParts, WorkerSet,
};
use af_xdp::FramePool;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Flow records that may wait for the exporter: half a second at 130,000 records a second.
const QUEUE_RECORDS: usize = 65_536;
const SECOND_NS: u64 = 1_000_000_000;

/// How workers keep flows, beside its devices and its policy.
#[derive(Clone, Debug)]
pub struct FlowSettings {
    /// Flows that fit into all tables together.
    pub flows_max: u32,
    /// Timeouts, reports, pick-up.
    pub tracker: TrackerConfig,
    /// One in how many flows is recorded.
    pub sampling_rate: u16,
}

/// Workers that have not begun, and what belongs to them. Lists are by worker.
pub struct Assembly {
    /// The workers, each to be moved to its thread.
    pub workers: Vec<Worker>,
    /// Swaps their policy.
    pub publisher: Publisher,
    /// What each counts.
    pub counters: Vec<Arc<WorkerCounters>>,
    /// Where the flow records of each come out.
    pub queues: Vec<Arc<RecordQueue>>,
    /// Where each is told of devices.
    pub desks: Vec<OrderDesk>,
    /// Where what they overhear about leases comes out.
    pub leases: Arc<LeaseQueue>,
    /// Where captures are switched on.
    pub captures: Arc<CaptureSwitch>,
}

/// Why workers cannot be put together.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the bells of workers: {0}")]
pub struct AssemblyError(#[from] std::io::Error);

impl FlowSettings {
    /// Returns the settings of a configuration.
    pub fn of(config: &Config) -> Self {
        let pickup = match config.pickup {
            true => Pickup::On { window_ns: u64::from(config.pickup_window_s) * SECOND_NS },
            false => Pickup::Off,
        };
        Self {
            flows_max: config.flows_max,
            tracker: TrackerConfig {
                timeouts: config.timeouts.timeouts(),
                active_report_ns: u64::from(config.active_report_s) * SECOND_NS,
                pickup,
            },
            sampling_rate: config.sampling_rate,
        }
    }
}

impl Assembly {
    /// Returns a worker for each slice of packet memory, without devices. `first` must be compiled for as many.
    /// `now_ns` is the time at which they begin, nanoseconds since 1970.
    pub fn new(
        pools: Vec<FramePool>,
        first: Published,
        settings: &FlowSettings,
        now_ns: u64,
    ) -> Result<Self, AssemblyError> {
        let slices: Vec<usize> = pools.iter().map(FramePool::frames_in_slice).collect();
        let workers = slices.len();
        let (publisher, subscriptions) = Publisher::new(first, workers);
        let (hash, learned) = (KeyedHash::random(), Arc::new(Learned::new()));
        let flows_max = settings.flows_max.div_ceil(u32::try_from(workers).unwrap_or(u32::MAX).max(1));
        let leases = Arc::new(LeaseQueue::new(QUEUE_WORDS));
        let captures = Arc::new(CaptureSwitch::default());
        let mut assembly = Self {
            workers: vec![],
            publisher,
            counters: vec![],
            queues: vec![],
            desks: vec![],
            leases,
            captures,
        };
        let ends = Crossings::among(&slices)?;
        let away_chunks = Arc::default();
        for ((pool, subscription), crossings) in pools.into_iter().zip(subscriptions).zip(ends) {
            let number = crossings.worker();
            let counters = Arc::new(WorkerCounters::new(DEVICES_MAX));
            let queue = Arc::new(RecordQueue::new(QUEUE_RECORDS));
            let meter = Meter::new(Arc::clone(&queue), Arc::clone(&counters), settings.sampling_rate, now_ns);
            let table = FlowTable::new(flows_max, hash, now_ns);
            let counted = Arc::clone(&counters);
            let mut tracker = Tracker::new(table, settings.tracker.clone(), meter, counted, number);
            tracker.start(now_ns);
            let (desk, orders) = worker::desk(crossings.ringer(), pool.frames_in_slice(), &away_chunks);
            let switch = Switch::new(Arc::clone(&learned));
            let (counted, tap) = (Arc::clone(&counters), assembly.captures.tap());
            let parts = WorkerParts {
                pool,
                crossings,
                orders,
                subscription,
                tracker,
                switch,
                counters: counted,
                leases: Arc::clone(&assembly.leases),
                tap,
            };
            assembly.workers.push(Worker::new(parts));
            assembly.counters.push(counters);
            assembly.queues.push(queue);
            assembly.desks.push(desk);
        }
        Ok(assembly)
    }

    /// Likewise, with these queues dealt out: each goes to the worker of its place in the list.
    pub fn with_queues(
        pools: Vec<FramePool>,
        queues: Vec<Vec<Attached>>,
        first: Published,
        settings: &FlowSettings,
        now_ns: u64,
    ) -> Result<Self, AssemblyError> {
        let mut assembly = Self::new(pools, first, settings, now_ns)?;
        let mut known: BTreeMap<u16, Known> = BTreeMap::new();
        for (worker, attached) in
            (0..).zip(&queues).flat_map(|(worker, of)| of.iter().map(move |a| (worker, a)))
        {
            let fresh = Known { traits: attached.traits, senders: WorkerSet::default() };
            let entry = known.entry(attached.number).or_insert(fresh);
            if attached.device.can_send() {
                entry.senders.insert(worker);
            }
        }
        for (desk, queues) in assembly.desks.iter_mut().zip(queues) {
            let orders = known.iter().map(|(number, known)| Order::Know(*number, Some(*known)));
            let attach = queues.into_iter().map(|a| Order::Attach(Queue::new(a.device, a.number)));
            for order in orders.chain(attach) {
                assert!(desk.give(order).is_ok(), "an empty desk has room for all devices and queues");
            }
        }
        Ok(assembly)
    }
}
