//! The learner program.
#![forbid(unsafe_code)]

use clap::Parser;
use meshgate_learner::collector::{Collector, Outlets, RingPlace, SharedPolicies};
use meshgate_learner::config::Config;
use meshgate_learner::history::History;
use meshgate_learner::intake::Intake;
use meshgate_learner::reporter::Reporter;
use meshgate_learner::series::Parties;
use meshgate_learner::subscriber;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Messages of grown buckets that may wait for the reporter: each can hold full buckets, 8 MiB a piece.
const REPORTS_WAITING: usize = 1;
/// Closed windows that may wait to be analysed: each can hold 57,344 series, 5 MiB.
const WINDOWS_WAITING: usize = 4;

/// Collects the flow records of a dataplane and hands their sums to control.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  meshgate-learner --config /etc/meshgate/learner.toml --check
  meshgate-learner --config /etc/meshgate/learner.toml

Log lines go to standard error; MESHGATE_LOG sets their level (error, warn, info, debug, trace)."
)]
struct Arguments {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration and end.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let level = tracing_subscriber::EnvFilter::try_from_env("MESHGATE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the one place where the program speaks of its own failure")]
fn tell(error: &dyn std::error::Error) {
    eprintln!("meshgate-learner: {}", error.to_string().replace('\n', "; "));
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::read(&arguments.config)?;
    if arguments.check {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = u64::try_from(since_1970.as_nanos())?;
    let (reports, grown) = mpsc::channel(REPORTS_WAITING);
    let policies = SharedPolicies::default();
    let history = History::new(config.window_s)?;
    let (windows, _closed) = crossbeam::channel::bounded(WINDOWS_WAITING);
    let intake = Intake::new(Arc::clone(&policies), history, Parties::default(), epoch);
    let place = RingPlace { socket: config.flow_ring.clone(), dataplane_uids: config.dataplane_uids.clone() };
    let collector = Collector::new(place, Arc::clone(&policies), intake, Outlets { reports, windows });
    let stopping = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopping);
    let collecting =
        std::thread::Builder::new().name("collector".into()).spawn(move || collector.run(&stop))?;
    let name = config.collector.to_string();
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let reporting = tokio::spawn(Reporter::new(config.control.clone(), name.clone(), epoch).run(grown));
        tokio::select! {
            () = subscriber::run(config.control.clone(), name, epoch, policies) => {}
            _ = terminated.recv() => tracing::info!("told to stop"),
            _ = interrupted.recv() => tracing::info!("interrupted"),
        }
        stopping.store(true, Ordering::Release);
        collecting.thread().unpark();
        let joined = tokio::task::spawn_blocking(move || collecting.join()).await?;
        let counts = joined.map_err(|_| "the collector panicked")?;
        tracing::info!(records = counts.records, lost = counts.lost, unknown = counts.unknown, "collected");
        reporting.await?;
        Ok(())
    })
}
