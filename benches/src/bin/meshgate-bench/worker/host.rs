//! A host with one worker and everything on, its devices, and somebody who empties its ring of flow records.

use super::WorkerError;
use super::device::{self, Load};
use super::policy::published;
use super::traffic::Traffic;
use af_xdp::{Umem, UmemConfig};
use meshgate_dataplane::assembly::{Assembly, FlowSettings};
use meshgate_dataplane::config::Config;
use meshgate_dataplane::counters::{Count, WorkerCounters};
use meshgate_dataplane::device::Device;
use meshgate_dataplane::meter::RecordQueue;
use meshgate_dataplane::verdict::DropReason;
use meshgate_dataplane::worker::{Attached, DeviceTraits};
use meshgate_policy::generate::Rng;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

/// When it all begins: a time of day, nanoseconds since 1970.
const START_NS: u64 = 1_700_000_000_000_000_000;
/// Time over which known flows are opened: as long as the wheel takes for a turn, so that later a few of them are looked
/// at in each moment, and not all in one.
const OPENING_NS: u64 = 10_000_000_000;
/// Time from turn to turn: about what a turn takes.
const TURN_NS: u64 = 10_000;
/// Pause between two times that the ring of records is emptied. It is full after 13 ms at five million a second.
const EMPTYING_PAUSE: Duration = Duration::from_millis(1);
/// Configuration beside what is asked for: the defaults.
const CONFIGURATION: &str = "host = \"h\"\n[[device]]\nname = \"clients0\"\nrole = \"endpoint\"\n";
/// Bytes of the longest frame of a device with the usual MTU: Ethernet with two tags.
const DEVICE_FRAME_BYTES_MAX: usize = 1_522;

/// A worker at work.
pub struct Site {
    assembly: Assembly,
    loads: [Sender<Load>; 2],
    now_ns: u64,
    emptier: Emptier,
}

/// What a worker counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets allowed.
    pub allowed: u64,
    /// Packets dropped, for any reason.
    pub dropped: u64,
    /// Packets that a rule refused.
    pub refused_by_rule: u64,
    /// Packets refused because no rule allows them.
    pub refused_by_default: u64,
    /// Flows begun.
    pub begun: u64,
    /// Flows in the table.
    pub live: u64,
    /// Flow records made.
    pub records: u64,
    /// Flow records that found the ring full.
    pub records_lost: u64,
}

/// Returns packet memory as hosts have it by default.
pub fn memory() -> Result<UmemConfig, WorkerError> {
    let config = configuration()?;
    Ok(UmemConfig { frames_total: config.frames, frame_bytes: config.frame_bytes, ..UmemConfig::default() })
}

fn configuration() -> Result<Config, WorkerError> {
    Ok(Config::parse(CONFIGURATION, Path::new("built in"))?)
}

impl Site {
    /// Returns a worker with a table for so many flows, without any, that judges by so many rules.
    pub fn new(table_flows: usize, rules: usize, rng: &mut Rng) -> Result<Self, WorkerError> {
        let (_umem, pools) = Umem::new(&memory()?)?;
        let mut settings = FlowSettings::of(&configuration()?);
        settings.flows_max = u32::try_from(table_flows).unwrap_or(u32::MAX);
        let [(clients, of_clients), (servers, of_servers)] = [device::prepared(), device::prepared()];
        let attached = |(device, number)| Attached {
            device: Box::new(device) as Box<dyn Device>,
            number,
            traits: DeviceTraits { may_be_partial: true, frame_bytes_max: DEVICE_FRAME_BYTES_MAX },
        };
        let queues = vec![[(clients, 0), (servers, 1)].map(attached).into()];
        let assembly = Assembly::with_queues(pools, queues, published(rules, rng)?, &settings, START_NS)?;
        let emptier = Emptier::start(Arc::clone(&assembly.queues[0]));
        let mut site = Self { assembly, loads: [of_clients, of_servers], now_ns: START_NS, emptier };
        // It takes its devices.
        site.turn();
        Ok(site)
    }

    /// Opens the known flows of this traffic, and has its lists delivered from then on.
    pub fn open(&mut self, traffic: &Traffic) {
        let turns = traffic.openings().count().max(1) as u64 * 2;
        for [openings, answers, confirmations] in traffic.openings() {
            for frames in [[openings, answers], [confirmations, Vec::new()]] {
                self.now_ns += OPENING_NS / turns;
                self.load(frames.map(|frames| Load { frames, is_endless: false }));
                self.turn();
            }
        }
        self.load(traffic.loads());
    }

    fn load(&self, loads: [Load; 2]) {
        for (sender, load) in self.loads.iter().zip(loads) {
            // The device has the other end for as long as the worker lives.
            _ = sender.send(load);
        }
    }

    /// Has the worker do so many turns.
    pub fn turns(&mut self, turns: usize) {
        (0..turns).for_each(|_| self.turn());
    }

    fn turn(&mut self) {
        self.now_ns += TURN_NS;
        self.assembly.workers[0].turn(self.now_ns);
    }

    /// Returns what was counted.
    pub fn counted(&self) -> Counted {
        let counters: &WorkerCounters = &self.assembly.counters[0];
        let of_devices = |of: fn(&meshgate_dataplane::counters::DeviceCounters) -> &Count| {
            counters.devices.iter().map(|device| of(device).get()).sum()
        };
        Counted {
            received: of_devices(|device| &device.received_packets),
            sent: of_devices(|device| &device.sent_packets),
            allowed: counters.allowed.get(),
            dropped: of_devices(|device| &device.dropped_packets),
            refused_by_rule: counters.dropped(DropReason::RuleDeny),
            refused_by_default: counters.dropped(DropReason::DefaultDeny),
            begun: counters.flows_created.get(),
            live: counters.flows_live.get(),
            records: counters.records_produced.get(),
            records_lost: counters.records_lost.get(),
        }
    }

    /// Ends the worker and returns what was counted and how many records came out of the ring.
    pub fn stop(self) -> (Counted, u64) {
        let counted = self.counted();
        (counted, self.emptier.stop())
    }
}

/// A thread that takes flow records out of a worker's ring, as an exporter does.
struct Emptier {
    is_stopping: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Emptier {
    fn start(queue: Arc<RecordQueue>) -> Self {
        let is_stopping = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&is_stopping);
        let thread = std::thread::spawn(move || {
            let mut records = 0;
            loop {
                let is_last = stopping.load(Ordering::Acquire);
                records += std::iter::from_fn(|| queue.pop()).count() as u64;
                if is_last {
                    return records;
                }
                std::thread::park_timeout(EMPTYING_PAUSE);
            }
        });
        Self { is_stopping, thread }
    }

    /// Takes what is left and returns how many records that were in all.
    fn stop(self) -> u64 {
        self.is_stopping.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join().unwrap_or(0)
    }
}
