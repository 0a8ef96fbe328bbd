//! Puts together what a host tells control of itself once a second.

use crate::counters::WorkerCounters;
use crate::device::offload::{OffloadAdvice, Source};
use crate::exporter::{ExporterCounters, RecordBalance};
use crate::meter::RecordQueue;
use crate::published::Publisher;
use meshgate_proto::wire;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What does not change about a device while it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Name.
    pub name: String,
    /// Role, as people write it.
    pub role: String,
    /// How it moves frames.
    pub mode: String,
    /// Who would have made frames that are too long.
    pub source: Source,
    /// Bytes that a frame may have.
    pub frame_bytes_max: usize,
    /// Whether it is open; one that vanished, or has not come yet, is not.
    pub is_open: bool,
}

/// Devices by number, changed by their keeper and read by who reports. Numbers without a device are none.
#[derive(Clone, Debug, Default)]
pub struct SharedFacts(Arc<Mutex<Vec<Option<DeviceFacts>>>>);

impl SharedFacts {
    /// Returns the facts of these devices.
    pub fn new(facts: Vec<Option<DeviceFacts>>) -> Self {
        Self(Arc::new(Mutex::new(facts)))
    }

    /// Returns them as of this moment, each with its number.
    pub fn read(&self) -> Vec<(usize, DeviceFacts)> {
        let facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        facts.iter().enumerate().filter_map(|(number, facts)| Some((number, facts.clone()?))).collect()
    }

    /// Says what is true of a number.
    pub fn set(&self, number: usize, facts: Option<DeviceFacts>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= number {
            all.resize(number + 1, None);
        }
        all[number] = facts;
    }
}

/// Where the figures are read.
#[derive(Clone)]
pub struct Reporter {
    /// Counters of each worker.
    pub workers: Vec<Arc<WorkerCounters>>,
    /// Rings of each worker.
    pub queues: Vec<Arc<RecordQueue>>,
    /// Counters behind them.
    pub exporter: Arc<ExporterCounters>,
    /// Devices by number, which is their place in the counters.
    pub devices: SharedFacts,
    /// When the dataplane started.
    pub started: Instant,
    /// Whether control is connected.
    pub connected: Arc<AtomicBool>,
}

impl Reporter {
    /// Returns the report as of this moment.
    pub fn report(&self, publisher: &Publisher) -> wire::HostReport {
        let published = publisher.current();
        let RecordBalance { produced, delivered, waiting, sampled_out, lost } = self.balance();
        wire::HostReport {
            version: published.version.0,
            digest: published.digest.0.to_vec(),
            counters: self
                .counters()
                .into_iter()
                .map(|(name, value)| wire::Counter { name, value })
                .collect(),
            devices: self.device_reports().into_iter().map(|(_, report)| report).collect(),
            rules: rules(publisher),
            flows_live: self.workers.iter().map(|worker| worker.flows_live.get()).sum(),
            records_produced: produced,
            records_delivered: delivered,
            records_waiting: waiting,
            records_sampled_out: sampled_out,
            records_lost: lost,
            uptime_ns: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
            // Leases are the subscriber's to tell.
            leases: Vec::new(),
        }
    }

    /// Returns what each device did so far, with its number.
    pub fn device_reports(&self) -> Vec<(usize, wire::DeviceReport)> {
        self.devices.read().iter().map(|(at, facts)| (*at, self.device(*at, facts))).collect()
    }

    /// Returns what became of the flow records so far.
    pub fn balance(&self) -> RecordBalance {
        RecordBalance::of(&self.workers, &self.queues, &self.exporter)
    }

    /// Returns what to do about devices that deliver frames that are too long, in the words for logs and people.
    pub fn advice(&self) -> Vec<(usize, String)> {
        let of = |(at, facts): (usize, DeviceFacts)| {
            let devices = || self.workers.iter().filter_map(|worker| worker.devices.get(at));
            let frames: u64 = devices().map(|device| device.oversize_packets.get()).sum();
            let longest = devices().map(|device| device.oversize_bytes_max.get()).max().unwrap_or(0);
            let advice = OffloadAdvice {
                device: facts.name,
                source: facts.source,
                frames,
                longest_bytes: usize::try_from(longest).unwrap_or(usize::MAX),
                frame_bytes_max: facts.frame_bytes_max,
            };
            (frames > 0).then(|| (at, advice.to_string()))
        };
        self.devices.read().into_iter().filter_map(of).collect()
    }

    /// Returns every counter that is not of a device or rule, over all workers, by name.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (name, value) in self.workers.iter().flat_map(|worker| worker.named()) {
            *sums.entry(name).or_default() += value;
        }
        sums
    }

    fn device(&self, at: usize, facts: &DeviceFacts) -> wire::DeviceReport {
        let sum = |of: fn(&crate::counters::DeviceCounters) -> u64| {
            self.workers.iter().filter_map(|worker| worker.devices.get(at)).map(of).sum()
        };
        wire::DeviceReport {
            name: facts.name.clone(),
            role: facts.role.clone(),
            mode: facts.mode.clone(),
            up: facts.is_open,
            received_packets: sum(|device| device.received_packets.get()),
            received_bytes: sum(|device| device.received_bytes.get()),
            sent_packets: sum(|device| device.sent_packets.get()),
            sent_bytes: sum(|device| device.sent_bytes.get()),
            dropped_packets: sum(|device| device.dropped_packets.get() + device.receive_full.get()),
        }
    }
}

fn rules(publisher: &Publisher) -> Vec<wire::RuleCounter> {
    let rule = |(id, totals): (meshgate_policy::RuleId, crate::published::RuleTotals)| {
        let crate::published::RuleTotals { flows, packets, bytes } = totals;
        wire::RuleCounter { rule: id.0, flows, packets, bytes }
    };
    publisher.rule_totals().into_iter().map(rule).collect()
}
