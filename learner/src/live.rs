//! The learner as a daemon: its threads, what connects them, and an orderly end.
//!
//! The collector's thread reads the ring; the analyst's thread judges windows and learns; everything that talks to control
//! shares a third. They are joined by bounded queues: whoever finds one full counts and goes on.

use crate::analysis::{Analysis, Wiring};
use crate::analyst::{Analyst, AnalystSettings};
use crate::checkpoint::{self, CheckpointError};
use crate::client::{Caller, NEWS_WAITING, SUGGESTIONS_WAITING};
use crate::collector::{Collector, Outlets, RingPlace, SharedPolicies};
use crate::collector_counts::CollectorCounts;
use crate::config::Config;
use crate::history::History;
use crate::intake::Intake;
use crate::reporter::Reporter;
use crate::status::Status;
use crate::subscriber;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Messages of grown buckets that may wait for the reporter: each can hold full buckets, 8 MiB a piece.
const REPORTS_WAITING: usize = 1;
/// Closed windows that may wait to be analysed: each can hold tens of thousands of series, 5 MiB.
const WINDOWS_WAITING: usize = 4;

/// Runs until a signal ends it.
pub fn run(config: &Config) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anything else, so that a signal never finds the default action.
    let (mut terminated, mut interrupted) = runtime.block_on(async {
        Ok::<_, std::io::Error>((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    })?;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = u64::try_from(since_1970.as_nanos())?;
    let policies = SharedPolicies::default();
    let analyst = first_analyst(config.analyst(), config.checkpoint.as_deref())?;
    let decisions_heard = analyst.feedback().sequence();
    let history = History::new(config.window_s)?;
    let intake = Intake::new(Arc::clone(&policies), history, analyst.parties().clone(), epoch);
    let status = Status::new(config.window_s, intake.counters());

    let (reports, grown) = mpsc::channel(REPORTS_WAITING);
    let (windows, closed) = crossbeam::channel::bounded(WINDOWS_WAITING);
    let (suggestions, suggested) = mpsc::channel(SUGGESTIONS_WAITING);
    let (news, heard) = crossbeam::channel::bounded(NEWS_WAITING);
    let place = RingPlace { socket: config.flow_ring.clone(), dataplane_uids: config.dataplane_uids.clone() };
    let collector = Collector::new(place, Arc::clone(&policies), intake, Outlets { reports, windows });
    let wiring = Wiring {
        windows: closed,
        news: heard,
        suggestions,
        policies: Arc::clone(&policies),
        status: status.clone(),
    };
    let threads = Threads::start(collector, Analysis::new(analyst, wiring, config.rhythm()))?;

    let name = config.collector.to_string();
    let caller = Caller { control: config.control.clone(), learner: config.collector.clone(), epoch };
    runtime.block_on(async {
        let reporting = tokio::spawn(Reporter::new(config.control.clone(), name.clone(), epoch).run(grown));
        let submitting = tokio::spawn(caller.clone().submit_all(suggested, news.clone()));
        let watching = tokio::spawn(caller.clone().watch_decisions(decisions_heard, news));
        let telling = tokio::spawn(caller.report_all(status));
        tokio::select! {
            () = subscriber::run(config.control.clone(), name, epoch, policies) => {}
            _ = terminated.recv() => tracing::info!("told to stop"),
            _ = interrupted.recv() => tracing::info!("interrupted"),
        }
        for task in [submitting, watching, telling] {
            task.abort();
        }
        let counts = tokio::task::spawn_blocking(|| threads.end()).await??;
        tracing::info!(records = counts.records, lost = counts.lost, unknown = counts.unknown, "collected");
        reporting.await?;
        Ok(())
    })
}

/// Returns the analyst of the checkpoint, or a new one and why.
fn first_analyst(settings: AnalystSettings, path: Option<&Path>) -> Result<Analyst, CheckpointError> {
    let Some(path) = path else {
        tracing::warn!("no checkpoint is configured: what is learned ends with the process");
        return Ok(Analyst::new(settings));
    };
    let refused = match checkpoint::load(path, &settings.hyperparameters) {
        Ok(None) => return Ok(Analyst::new(settings)),
        Ok(Some(found)) => match Analyst::resume(settings.clone(), found) {
            Ok(mut analyst) => {
                let (windows, steps) = (analyst.status().windows, analyst.status().training_steps);
                tracing::info!(path = %path.display(), windows, steps, "goes on from the checkpoint");
                return Ok(analyst);
            }
            Err(error) => error.to_string(),
        },
        // A file that cannot be read at all is likely to be needed and out of reach: starting anew would replace it.
        Err(error @ CheckpointError::Unusable(..)) => return Err(error),
        Err(error) => error.to_string(),
    };
    let aside = path.with_extension("refused");
    std::fs::rename(path, &aside).map_err(|error| CheckpointError::Unusable(path.to_owned(), error))?;
    tracing::error!(reason = refused, kept = %aside.display(), "checkpoint refused; learning begins anew");
    Ok(Analyst::new(settings))
}

/// The threads beside control's.
struct Threads {
    stopping: Arc<AtomicBool>,
    collecting: JoinHandle<CollectorCounts>,
    analysing: JoinHandle<()>,
}

/// A thread ended by a fault of ours.
#[derive(Debug, thiserror::Error)]
#[error("the thread {0:?} panicked")]
struct Panicked(&'static str);

impl Threads {
    fn start(collector: Collector, analysis: Analysis) -> std::io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let collecting =
            std::thread::Builder::new().name("collector".into()).spawn(move || collector.run(&stop))?;
        let analysing = std::thread::Builder::new().name("analyst".into()).spawn(move || analysis.run())?;
        Ok(Self { stopping, collecting, analysing })
    }

    /// Ends the collector, whose end is the analyst's.
    fn end(self) -> Result<CollectorCounts, Panicked> {
        self.stopping.store(true, Ordering::Release);
        self.collecting.thread().unpark();
        let counts = self.collecting.join().map_err(|_| Panicked("collector"))?;
        self.analysing.join().map_err(|_| Panicked("analyst"))?;
        Ok(counts)
    }
}
