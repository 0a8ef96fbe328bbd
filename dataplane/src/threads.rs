//! The threads of a running dataplane: the workers, the exporter, and the one that talks to control and keeps devices.

use crate::assembly::Assembly;
use crate::config::Config;
use crate::device_keeper::DeviceKeeper;
use crate::exporter::{Exporter, ExporterError};
use crate::inside::{Inside, ReloadWish};
use crate::inspector::Inspector;
use crate::metrics::{Metrics, MetricsError};
use crate::reporter::{Reporter, SharedFacts};
use crate::start::Start;
use crate::stop_signals::StopSignals;
use crate::subscriber::{DeviceChange, Subscriber, SubscriberParts};
use crate::top_flows::TopFlows;
use crate::worker::{self, Worker};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

/// How often it is looked for devices that vanished or returned: a machine that restarts should not wait for it.
const LOOK_PERIOD: Duration = Duration::from_millis(200);
/// How long a replay waits at its end, so that control hears its last report.
const REPLAY_LINGER: Duration = Duration::from_millis(1_500);
/// How long it waits beyond that for a reader to take its flow records: some tries of a learner that looks for the ring
/// again after another dataplane ended. A reader that never comes must not keep a replay for ever.
const REPLAY_LINGER_FOR_READER: Duration = Duration::from_secs(5);
/// How often it looks whether they are taken.
const REPLAY_LINGER_PAUSE: Duration = Duration::from_millis(50);

/// What workers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// Judge until told to stop.
    Live,
    /// Judge until their devices deliver no more.
    Replay,
}

/// Why a run cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ThreadError {
    /// The exporter.
    #[error(transparent)]
    Exporter(#[from] ExporterError),
    /// Metrics cannot be offered.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A thread cannot be made.
    #[error("cannot start {0}: {1}")]
    Spawn(String, std::io::Error),
    /// The processor is not there.
    #[error("cpus: there is no processor {0}; there are {1}")]
    Processor(usize, usize),
}

/// The threads, to be ended in order: the workers first, then the exporter, which carries what the workers left.
pub struct Threads {
    stopping: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Worker>>,
    exporter: JoinHandle<()>,
    exporter_stopping: Arc<AtomicBool>,
    subscriber: Subscriber,
    reporter: Reporter,
    inspector: Inspector,
    metrics: Option<Metrics>,
    finished: oneshot::Receiver<()>,
    changes: mpsc::Sender<DeviceChange>,
    reloads: mpsc::Receiver<ReloadWish>,
}

impl Threads {
    /// Starts workers and exporter. `devices` says what is reported of each.
    pub fn start(
        config: &Config,
        begin: Start,
        assembly: Assembly,
        devices: SharedFacts,
        kind: RunKind,
    ) -> Result<Self, ThreadError> {
        let Assembly { workers, publisher, counters, queues, desks: _, leases, captures } = assembly;
        let epoch = epoch_ns();
        let ring = config.flow_ring.as_ref();
        let top_flows = Arc::new(TopFlows::new(config.active_report_s));
        let top = Arc::clone(&top_flows);
        let exporter = Exporter::new(queues.clone(), ring, &config.host, epoch, top)?;
        let reporter = Reporter {
            workers: counters,
            queues,
            exporter: exporter.counters(),
            devices,
            started: Instant::now(),
            connected: Arc::default(),
        };
        let (reload, reloads) = mpsc::channel(1);
        let inside = Inside {
            reload,
            config: Arc::new(config.clone()),
            epoch,
            reporter: reporter.clone(),
            rules: publisher.reader(),
            top_flows,
            captures,
        };
        let metrics = config.metrics.as_ref().map(|at| Metrics::open(at, inside.clone())).transpose()?;
        let Start { host, accepted, compiler, last_good, .. } = begin;
        let (changes, changed) = mpsc::channel(1);
        let subscriber = Subscriber::new(SubscriberParts {
            host,
            control: config.control.clone(),
            epoch,
            publisher,
            policy: accepted,
            compiler,
            last_good,
            reporter: reporter.clone(),
            start_action: config.start_action,
            changes: changed,
            leases,
        });
        let (stopping, exporter_stopping) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (finish, finished) = oneshot::channel();
        let workers = start_workers(config, workers, kind, (&stopping, finish))?;
        let stop = Arc::clone(&exporter_stopping);
        let exporter = spawn("exporter".into(), move || exporter.run(&stop))?;
        let inspector = Inspector::new(inside);
        Ok(Self {
            stopping,
            workers,
            exporter,
            exporter_stopping,
            subscriber,
            reporter,
            inspector,
            metrics,
            finished,
            changes,
            reloads,
        })
    }

    /// Talks to control until a signal or the workers' end, then ends all threads. With a keeper, devices that vanish
    /// are taken again when they return, and SIGHUP has the configuration read again.
    pub fn serve(self, signals: StopSignals, keeper: Option<DeviceKeeper>) {
        let Self { stopping, workers, exporter, exporter_stopping, finished, changes, reloads, .. } = self;
        let Self { subscriber, reporter, inspector, metrics, .. } = self;
        signals.run_until_told(|hung_up| async {
            tokio::select! {
                () = subscriber.run() => {}
                () = inspector.run() => {}
                () = Metrics::run(metrics) => {}
                () = lingering(finished, &reporter) => tracing::info!("no device delivers any more"),
                () = keep_devices(keeper, hung_up, changes, reloads) => {}
            }
        });
        stopping.store(true, Ordering::Release);
        let mut workers: Vec<Worker> = workers.into_iter().map(join).collect();
        worker::stop(&mut workers);
        exporter_stopping.store(true, Ordering::Release);
        exporter.thread().unpark();
        join(exporter);
    }
}

/// Starts a thread for each worker, pinned where it is to be. `ending` is what they stop by and whom they tell.
fn start_workers(
    config: &Config,
    workers: Vec<Worker>,
    kind: RunKind,
    ending: (&Arc<AtomicBool>, oneshot::Sender<()>),
) -> Result<Vec<JoinHandle<Worker>>, ThreadError> {
    let cores = config.cpus.iter().map(|cpu| processor(*cpu)).collect::<Result<Vec<_>, _>>()?;
    let (stopping, finish) = ending;
    let mut finish = Some(finish);
    let start = |(number, mut worker): (usize, Worker)| {
        let core = cores.get(number).copied();
        let (polling, idle_spins, stop) = (config.polling, config.idle_spins, Arc::clone(stopping));
        // The first one tells; a replay has no other.
        let finish = finish.take();
        let work = move || {
            if let Some(core) = core {
                core_affinity::set_for_current(core);
            }
            match kind {
                RunKind::Live => worker.run(polling, idle_spins, &stop),
                RunKind::Replay => {
                    worker.run_through(&stop);
                    tracing::info!("capture judged");
                }
            }
            // Whoever listened may have ended first.
            _ = finish.map(|finish| finish.send(()));
            worker
        };
        spawn(format!("worker-{number}"), work)
    };
    workers.into_iter().enumerate().map(start).collect()
}

/// Looks after devices for as long as the future is polled.
async fn keep_devices(
    keeper: Option<DeviceKeeper>,
    mut hung_up: Signal,
    changes: mpsc::Sender<DeviceChange>,
    mut reloads: mpsc::Receiver<ReloadWish>,
) {
    let Some(mut keeper) = keeper else {
        // Whoever wishes for it hears that nobody is there.
        drop(reloads);
        return std::future::pending().await;
    };
    let mut period = tokio::time::interval(LOOK_PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = period.tick() => keeper.look(),
            heard = hung_up.recv() => match heard {
                // What came of it is in the log.
                Some(()) => _ = keeper.reload(&changes).await,
                None => std::future::pending().await,
            },
            Some(wish) = reloads.recv() => {
                let outcome = keeper.reload(&changes).await;
                // Whoever asked may have gone.
                _ = wish.send(outcome.map_err(|error| error.to_string()));
            }
        }
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

fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn spawn<T: Send + 'static>(
    name: String,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, ThreadError> {
    std::thread::Builder::new()
        .name(name.clone())
        .spawn(work)
        .map_err(|error| ThreadError::Spawn(name, error))
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
