//! Reads flow records from the dataplane's ring and adds them into roll-ups.
//!
//! Waits for a first policy before it reads anything: until then nobody can say which groups an address is in, and
//! the ring keeps what comes.

use crate::flow_totals::FlowTotals;
use crate::policies::Policies;
use crate::rollup::{Bucket, FlowSumKey, Rollup};
use flow_ring::{AllowedUids, Consumer, Wake};
use meshgate_policy::{FLOW_RECORD_VERSION, FlowRecord};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Records taken at once.
const BATCH_RECORDS: usize = 4_096;
/// How long a turn waits for records.
const WAIT: Duration = Duration::from_millis(100);
/// Pause before the ring is asked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long a dataplane may take to hand its ring over.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often grown buckets are handed to the reporter.
const REPORT_PERIOD: Duration = Duration::from_secs(1);

/// What ended the reading of one ring.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The ring is not to be had.
    #[error("{0}: {1}")]
    Connect(PathBuf, flow_ring::HandOverError),
    /// What was handed over is no ring of ours.
    #[error("the ring is refused: {0}")]
    Open(#[from] flow_ring::OpenError),
    /// Its contents contradict themselves.
    #[error("the ring is given up: {0}")]
    Header(#[from] flow_ring::HeaderFault),
    /// Waiting failed.
    #[error("cannot wait for records: {0}")]
    Wait(#[from] flow_ring::WaitError),
}

/// Figures of the collector, for its own log and for status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectorCounts {
    /// Records read.
    pub records: u64,
    /// Records that the ring says were lost.
    pub lost: u64,
    /// Records of no known kind.
    pub unknown: u64,
}

/// Policies shared with the subscriber.
pub type SharedPolicies = Arc<Mutex<Policies>>;

/// The reading half of the learner.
pub struct Collector {
    socket: PathBuf,
    allowed: AllowedUids,
    policies: SharedPolicies,
    totals: FlowTotals,
    rollup: Rollup,
    counts: CollectorCounts,
    /// Run of the exporter whose records were read last.
    epoch: Option<u64>,
    /// Where grown buckets go; when full, the next period tries again with more.
    reports: tokio::sync::mpsc::Sender<Vec<Bucket>>,
    unsent: Option<Vec<Bucket>>,
    reported_s: u64,
}

impl Collector {
    /// Returns a collector of the ring at this socket.
    pub fn new(
        socket: PathBuf,
        dataplane_uids: &[u32],
        policies: SharedPolicies,
        reports: tokio::sync::mpsc::Sender<Vec<Bucket>>,
    ) -> Self {
        Self {
            socket,
            allowed: AllowedUids::own_and(dataplane_uids),
            policies,
            totals: FlowTotals::new(now_s().saturating_mul(1_000_000_000)),
            rollup: Rollup::default(),
            counts: CollectorCounts::default(),
            epoch: None,
            reports,
            unsent: None,
            reported_s: 0,
        }
    }

    /// Reads until `stopping`, whatever becomes of dataplanes meanwhile.
    pub fn run(mut self, stopping: &AtomicBool) -> CollectorCounts {
        let mut told = String::new();
        while !stopping.load(Ordering::Acquire) {
            if lock(&self.policies).newest().is_none() {
                std::thread::park_timeout(RETRY_PAUSE);
                continue;
            }
            if let Err(error) = self.read_ring(stopping) {
                let text = error.to_string();
                if text != told {
                    tracing::warn!(error = %text, "no flow records");
                    told = text;
                }
                self.report();
                std::thread::park_timeout(RETRY_PAUSE);
            }
        }
        self.reported_s = 0;
        self.report();
        self.counts
    }

    /// Reads one ring until its producer ends.
    fn read_ring(&mut self, stopping: &AtomicBool) -> Result<(), CollectError> {
        let handed = flow_ring::connect(&self.socket, &self.allowed, HAND_OVER_TIMEOUT)
            .map_err(|error| CollectError::Connect(self.socket.clone(), error))?;
        let mut ring = Consumer::<FlowRecord>::open(handed, FLOW_RECORD_VERSION)?;
        let epoch = ring.ring().epoch;
        tracing::info!(epoch, generation = ring.generation(), "reading flow records");
        if self.epoch.replace(epoch) != Some(epoch) {
            self.totals.clear();
        }
        let mut batch = Vec::with_capacity(BATCH_RECORDS);
        while !stopping.load(Ordering::Acquire) {
            batch.clear();
            let taken = ring.take(&mut batch, BATCH_RECORDS)?;
            let now_s = now_s();
            if taken.lost_since_last > 0 {
                self.counts.lost += taken.lost_since_last;
                self.rollup.add_lost(taken.lost_since_last, now_s);
            }
            batch.iter().for_each(|record| self.add(record, now_s));
            self.report();
            if taken.count == 0 && ring.wait(Some(WAIT))? == Wake::ProducerGone {
                tracing::warn!("the dataplane ended");
                return Ok(());
            }
        }
        ring.release();
        Ok(())
    }

    fn add(&mut self, record: &FlowRecord, now_s: u64) {
        self.counts.records += 1;
        let Some(increment) = self.totals.increment(record) else {
            self.counts.unknown += u64::from(record.record_kind().is_none());
            return;
        };
        let (source, destination) = record.addresses();
        let (version, segment) = (record.policy_version(), record.segment());
        let mut policies = lock(&self.policies);
        let sets =
            (policies.group_set(version, segment, source), policies.group_set(version, segment, destination));
        if let (Some(source), Some(destination)) = sets {
            self.rollup.add(&FlowSumKey::of(record, source, destination), &increment, record, now_s);
        }
    }

    /// Hands grown buckets on, at most once a period.
    fn report(&mut self) {
        let now_s = now_s();
        if now_s < self.reported_s + REPORT_PERIOD.as_secs() {
            return;
        }
        self.reported_s = now_s;
        if let Some(unsent) = self.unsent.take()
            && let Err(error) = self.reports.try_send(unsent)
        {
            self.unsent = Some(error.into_inner());
            return;
        }
        let grown = self.rollup.take(now_s);
        if !grown.is_empty()
            && let Err(error) = self.reports.try_send(grown)
        {
            self.unsent = Some(error.into_inner());
        }
    }
}

/// Locks the policies. A panic elsewhere leaves them whole: they are replaced, never edited in steps.
pub fn lock(policies: &Mutex<Policies>) -> std::sync::MutexGuard<'_, Policies> {
    policies.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
