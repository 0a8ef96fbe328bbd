//! Puts a worker together from a configuration, devices and a first policy. Programs, tests and benchmarks all begin
//! here, so that what is measured and tested is what runs.

use crate::config::Config;
use crate::counters::WorkerCounters;
use crate::flow_table::{FlowTable, KeyedHash};
use crate::meter::{Meter, RecordQueue};
use crate::published::{Published, Publisher};
use crate::switch::Switch;
use crate::tracker::{Pickup, Tracker, TrackerConfig};
use crate::worker::{Attached, Worker, WorkerParts};
use af_xdp::FramePool;
use std::sync::Arc;

/// Flow records that may wait for the exporter: half a second at 130,000 records a second.
const QUEUE_RECORDS: usize = 65_536;
const SECOND_NS: u64 = 1_000_000_000;

/// How a worker keeps flows, beside its devices and its policy.
#[derive(Clone, Debug)]
pub struct FlowSettings {
    /// Flows that fit.
    pub flows_max: u32,
    /// Timeouts, reports, pick-up.
    pub tracker: TrackerConfig,
    /// One in how many flows is recorded.
    pub sampling_rate: u16,
}

/// A worker that has not begun, and what belongs to it.
pub struct Assembly {
    /// The worker, to be moved to its thread.
    pub worker: Worker,
    /// Swaps its policy.
    pub publisher: Publisher,
    /// What it counts.
    pub counters: Arc<WorkerCounters>,
    /// Where its flow records come out.
    pub queue: Arc<RecordQueue>,
}

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
    /// Returns a single worker with these queues. `now_ns` is the time at which it begins, nanoseconds since 1970.
    pub fn new(
        pool: FramePool,
        queues: Vec<Attached>,
        first: Published,
        settings: &FlowSettings,
        now_ns: u64,
    ) -> Self {
        let devices = queues.iter().map(|queue| usize::from(queue.number) + 1).max().unwrap_or(0);
        let counters = Arc::new(WorkerCounters::new(devices));
        let queue = Arc::new(RecordQueue::new(QUEUE_RECORDS));
        let (publisher, subscriptions) = Publisher::new(first, 1);
        let subscription = subscriptions.into_iter().next().expect("one worker was asked for");
        let meter = Meter::new(Arc::clone(&queue), Arc::clone(&counters), settings.sampling_rate, now_ns);
        let table = FlowTable::new(settings.flows_max, KeyedHash::random(), now_ns);
        let mut tracker = Tracker::new(table, settings.tracker.clone(), meter, Arc::clone(&counters), 0);
        tracker.start(now_ns);
        let counted = Arc::clone(&counters);
        let switch = Switch::new();
        let parts = WorkerParts { pool, queues, subscription, tracker, switch, counters: counted };
        Self { worker: Worker::new(parts), publisher, counters, queue }
    }
}
