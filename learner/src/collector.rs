//! Reads flow records from the dataplane's ring, and hands on what became of them: buckets of the roll-ups to the
//! reporter, closed windows to the analyst. Neither is waited for.
//!
//! Waits for a first policy before it reads anything: until then nobody can say which groups an address is in, and
//! the ring keeps what comes.

use crate::collector_counts::{CollectorCounters, CollectorCounts};
use crate::intake::Intake;
use crate::policies::Policies;
use crate::rollup::Bucket;
use crate::series::ClosedWindow;
use crossbeam::channel::{Sender, TrySendError};
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

/// Policies shared with the subscriber.
pub type SharedPolicies = Arc<Mutex<Policies>>;

/// Where the dataplane's ring is to be had.
#[derive(Clone, Debug)]
pub struct RingPlace {
    /// Its socket.
    pub socket: PathBuf,
    /// Users beside our own as which the dataplane may run.
    pub dataplane_uids: Vec<u32>,
}

/// Where the collector's results go.
pub struct Outlets {
    /// Grown buckets; when full, the next period tries again with more.
    pub reports: tokio::sync::mpsc::Sender<Vec<Bucket>>,
    /// Closed windows; when full, the window is left out and counted.
    pub windows: Sender<ClosedWindow>,
}

/// The reading half of the learner.
pub struct Collector {
    socket: PathBuf,
    allowed: AllowedUids,
    policies: SharedPolicies,
    intake: Intake,
    /// Run of the exporter whose records were read last.
    epoch: Option<u64>,
    outlets: Outlets,
    unsent: Option<Vec<Bucket>>,
    reported_s: u64,
}

impl Collector {
    /// Returns a collector of the ring at this place. The intake must follow the same policies.
    pub fn new(place: RingPlace, policies: SharedPolicies, intake: Intake, outlets: Outlets) -> Self {
        Self {
            allowed: AllowedUids::own_and(&place.dataplane_uids),
            socket: place.socket,
            policies,
            intake,
            epoch: None,
            outlets,
            unsent: None,
            reported_s: 0,
        }
    }

    /// Returns the figures, which other threads may read while the collector runs.
    pub fn counters(&self) -> Arc<CollectorCounters> {
        self.intake.counters()
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
                self.hand_on(now_s());
                std::thread::park_timeout(RETRY_PAUSE);
            }
        }
        self.intake.close_all_windows();
        self.reported_s = 0;
        self.hand_on(now_s());
        self.counters().read()
    }

    /// Reads one ring until its producer ends.
    fn read_ring(&mut self, stopping: &AtomicBool) -> Result<(), CollectError> {
        let handed = flow_ring::connect(&self.socket, &self.allowed, HAND_OVER_TIMEOUT)
            .map_err(|error| CollectError::Connect(self.socket.clone(), error))?;
        let mut ring = Consumer::<FlowRecord>::open(handed, FLOW_RECORD_VERSION)?;
        let epoch = ring.ring().epoch;
        tracing::info!(epoch, generation = ring.generation(), "reading flow records");
        if self.epoch.replace(epoch) != Some(epoch) {
            self.intake.forget_flows();
        }
        self.intake.reads_host(ring.ring().host.as_str());
        let mut batch = Vec::with_capacity(BATCH_RECORDS);
        while !stopping.load(Ordering::Acquire) {
            batch.clear();
            let taken = ring.take(&mut batch, BATCH_RECORDS)?;
            let now_s = now_s();
            if taken.lost_since_last > 0 {
                self.intake.add_lost(taken.lost_since_last, now_s);
            }
            self.intake.add(&batch, now_s);
            self.hand_on(now_s);
            if taken.count == 0 && ring.wait(Some(WAIT))? == Wake::ProducerGone {
                tracing::warn!("the dataplane ended");
                return Ok(());
            }
        }
        ring.release();
        Ok(())
    }

    /// Hands on what has grown or closed. Windows close by the clock, whether records come or not.
    fn hand_on(&mut self, now_s: u64) {
        self.intake.close_windows(now_s);
        let windows = &self.outlets.windows;
        self.intake.hand_windows(|window| {
            windows.try_send(window).map_err(|error| match error {
                TrySendError::Full(window) | TrySendError::Disconnected(window) => window,
            })
        });
        self.report(now_s);
    }

    /// Hands grown buckets on, at most once a period.
    fn report(&mut self, now_s: u64) {
        if now_s < self.reported_s + REPORT_PERIOD.as_secs() {
            return;
        }
        self.reported_s = now_s;
        if let Some(unsent) = self.unsent.take()
            && let Err(error) = self.outlets.reports.try_send(unsent)
        {
            self.unsent = Some(error.into_inner());
            return;
        }
        let grown = self.intake.take_buckets(now_s);
        if !grown.is_empty()
            && let Err(error) = self.outlets.reports.try_send(grown)
        {
            self.unsent = Some(error.into_inner());
        }
    }
}

/// Locks the policies. A panic elsewhere leaves them whole: they are replaced, never edited in steps.
pub fn lock(policies: &Mutex<Policies>) -> std::sync::MutexGuard<'_, Policies> {
    policies.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the second since 1970.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
