//! The threads of a running dataplane: the worker, the exporter, and the one that talks to control.

use crate::assembly::Assembly;
use crate::config::Config;
use crate::exporter::{Exporter, ExporterError};
use crate::reporter::{DeviceFacts, Reporter};
use crate::start::Start;
use crate::stop_signals::StopSignals;
use crate::subscriber::{Subscriber, SubscriberParts};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// How long a replay waits at its end, so that control hears its last report.
const REPLAY_LINGER: Duration = Duration::from_millis(1_500);
/// How long it waits beyond that for a reader to take its flow records: some tries of a learner that looks for the ring
/// again after another dataplane ended. A reader that never comes must not keep a replay for ever.
const REPLAY_LINGER_FOR_READER: Duration = Duration::from_secs(5);
/// How often it looks whether they are taken.
const REPLAY_LINGER_PAUSE: Duration = Duration::from_millis(50);

/// What the worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// Judges until told to stop.
    Live,
    /// Judges until its devices deliver no more.
    Replay,
}

/// Why a run cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ThreadError {
    /// The exporter.
    #[error(transparent)]
    Exporter(#[from] ExporterError),
    /// A thread cannot be made.
    #[error("cannot start {0}: {1}")]
    Spawn(&'static str, std::io::Error),
    /// The processor is not there.
    #[error("cpu: there is no processor {0}; there are {1}")]
    Processor(usize, usize),
}

/// The threads, to be ended in order: the worker first, then the exporter, which carries what the worker left.
pub struct Threads {
    stopping: Arc<AtomicBool>,
    worker: JoinHandle<()>,
    exporter: JoinHandle<()>,
    exporter_stopping: Arc<AtomicBool>,
    subscriber: Subscriber,
    reporter: Reporter,
    finished: oneshot::Receiver<()>,
}

impl Threads {
    /// Starts worker and exporter. `devices` says what is reported of each.
    pub fn start(
        config: &Config,
        begin: Start,
        assembly: Assembly,
        devices: Vec<DeviceFacts>,
        kind: RunKind,
    ) -> Result<Self, ThreadError> {
        let Assembly { worker, publisher, counters, queue } = assembly;
        let epoch = epoch_ns();
        let ring = config.flow_ring.as_ref();
        let exporter = Exporter::new(vec![Arc::clone(&queue)], ring, &config.host, epoch)?;
        let reporter = Reporter {
            workers: vec![counters],
            queues: vec![queue],
            exporter: exporter.counters(),
            devices,
            started: Instant::now(),
        };
        let Start { host, accepted, last_good, .. } = begin;
        let control = config.control.clone();
        let subscriber = Subscriber::new(SubscriberParts {
            host,
            control,
            epoch,
            publisher,
            policy: accepted,
            last_good,
            reporter: reporter.clone(),
        });
        let core = config.cpu.map(processor).transpose()?;
        let (stopping, exporter_stopping) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (polling, idle_spins, stop) = (config.polling, config.idle_spins, Arc::clone(&stopping));
        let (finish, finished) = oneshot::channel();
        let work = move || {
            if let Some(core) = core {
                core_affinity::set_for_current(core);
            }
            match kind {
                RunKind::Live => worker.run(polling, idle_spins, &stop),
                RunKind::Replay => worker.run_through(&stop),
            }
            // Whoever listened may have ended first.
            _ = finish.send(());
        };
        let worker = spawn("worker-0", work)?;
        let stop = Arc::clone(&exporter_stopping);
        let exporter = spawn("exporter", move || exporter.run(&stop))?;
        Ok(Self { stopping, worker, exporter, exporter_stopping, subscriber, reporter, finished })
    }

    /// Talks to control until a signal or the worker's end, then ends all threads.
    pub fn serve(self, signals: StopSignals) {
        let Self { stopping, worker, exporter, exporter_stopping, subscriber, reporter, finished } = self;
        signals.run_until_told(async {
            tokio::select! {
                () = subscriber.run() => {}
                () = lingering(finished, &reporter) => tracing::info!("no device delivers any more"),
            }
        });
        stopping.store(true, Ordering::Release);
        join(worker);
        exporter_stopping.store(true, Ordering::Release);
        exporter.thread().unpark();
        join(exporter);
    }
}

/// Waits for the end of a replay, and until others have what they need of it.
async fn lingering(finished: oneshot::Receiver<()>, reporter: &Reporter) {
    if finished.await.is_err() {
        return;
    }
    tokio::time::sleep(REPLAY_LINGER).await;
    let taken = async {
        while !reporter.balance().is_settled() {
            tokio::time::sleep(REPLAY_LINGER_PAUSE).await;
        }
    };
    // In vain where nobody reads.
    _ = tokio::time::timeout(REPLAY_LINGER_FOR_READER, taken).await;
}

fn join(thread: JoinHandle<()>) {
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn spawn(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, ThreadError> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.spawn(work).map_err(|error| ThreadError::Spawn(name, error))
}

fn processor(number: usize) -> Result<core_affinity::CoreId, ThreadError> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let count = cores.len();
    cores.into_iter().find(|core| core.id == number).ok_or(ThreadError::Processor(number, count))
}

/// Returns a number that tells this run from others: the time of its start.
fn epoch_ns() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}
