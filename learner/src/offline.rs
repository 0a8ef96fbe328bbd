//! `meshgate-learner train`: learning from recorded flows, and a checkpoint that a daemon goes on from.
//!
//! The same analyst as in the daemon, with the recording's own time, and a number of training steps after each window
//! instead of a share of the time: the same flows, policy and configuration give the same bytes on one machine.
//!
//! Parties are the groups of the policy, by their numbers. Control numbers the groups of a policy that is brought to it in
//! the order of the file, so a daemon goes on from a checkpoint of the file that was brought; with other numbers everybody
//! would be somebody else.

use crate::analyst::{Analyst, AnalystSettings};
use crate::checkpoint::{self, CheckpointError};
use crate::config::{Config, ConfigError};
use crate::evaluate::moment::SpanEnd;
use crate::history::{History, WidthError};
use crate::recorded::{Grouping, PolicyFileError, RecordedWindows};
use crate::recorded_flow::{FlowFileError, MergedFlows, RecordedFlow};
use crate::series::{ClosedWindow, PartiesError};
use clap::Args;
use sha2::{Digest, Sha256};
use std::fmt::{self, Write};
use std::path::PathBuf;

/// Width of the windows where no configuration says another: the daemon's.
const WINDOW_S: u32 = 60;

/// Arguments of the command.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "A DATE is a day (YYYY-MM-DD, UTC) or a minute (YYYY-MM-DDTHH:MM); what begins there is not learned from.

Example, and what the result is for:
  meshgate-learner train --flows may.csv.gz --policy policy.toml --until 2024-05-20 --out learner.checkpoint
  meshgate-learner replay --policy policy.toml --model learner.checkpoint june.csv.gz
  # or as the `checkpoint` of a daemon with the same configuration, whose control holds this policy"
)]
pub struct TrainArguments {
    /// Files of recorded flows, each in order of time: CSV, plain or gzip, or captures.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub flows: Vec<PathBuf>,
    /// Policy file (TOML) whose groups are the parties.
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// End of the flows to learn from.
    #[arg(long, value_name = "DATE")]
    pub until: SpanEnd,
    /// Checkpoint to write; an earlier checkpoint is replaced, another file is not.
    #[arg(long, value_name = "CHECKPOINT")]
    pub out: PathBuf,
    /// Configuration of the daemon that is to go on from it (TOML), for its windows, seed and detector.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Training steps after each window.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub steps: u64,
}

/// Why nothing was learned.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The recording.
    #[error(transparent)]
    Flows(#[from] FlowFileError),
    /// The policy.
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The width of its windows.
    #[error("window_s: {0}")]
    Width(#[from] WidthError),
    /// Numbers of parties that do not fit together: our own fault.
    #[error(transparent)]
    Parties(#[from] PartiesError),
    /// No flow lies in the span.
    #[error("--until {0}: no flow before it")]
    Empty(SpanEnd),
    /// The file to write.
    #[error("--out: {0}")]
    Out(#[from] CheckpointError),
}

/// What was learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// Flows read.
    pub flows: u64,
    /// Windows.
    pub windows: u64,
    /// Training steps.
    pub steps: u64,
    /// Mean negative log likelihood of a row in nats, over the last steps; none before the first.
    pub loss: Option<f64>,
    /// Digest of the checkpoint.
    pub sha256: String,
}

impl fmt::Display for Trained {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flows, windows, steps, loss, sha256 } = self;
        write!(formatter, "{flows} flows in {windows} windows; {steps} training steps")?;
        if let Some(loss) = loss {
            write!(formatter, ", {loss:.3} nats a row")?;
        }
        writeln!(formatter, "\ncheckpoint SHA-256 {sha256}")
    }
}

/// Learns, writes the checkpoint, and returns what was learned.
pub fn run(arguments: &TrainArguments) -> Result<Trained, TrainError> {
    let settings = match &arguments.config {
        Some(path) => Config::read(path)?.analyst(),
        None => AnalystSettings { window_s: WINDOW_S, ..AnalystSettings::default() },
    };
    // A checkpoint that does not fit is one nevertheless, and may be replaced.
    if let Err(error @ (CheckpointError::Foreign | CheckpointError::Unusable(..))) =
        checkpoint::load(&arguments.out, &settings.hyperparameters)
    {
        return Err(error.into());
    }
    let grouping = Grouping::by_policy_file(&arguments.policy)?;
    let until_s = arguments.until.second();
    let is_before_end = |flow: &RecordedFlow| flow.time_ns / 1_000_000_000 < until_s;
    let flows = MergedFlows::open(&arguments.flows)?;
    let flows = flows.take_while(|flow| flow.as_ref().map_or(true, is_before_end));
    let mut recorded = RecordedWindows::new(flows, grouping, History::new(settings.window_s)?);
    let mut analyst = Analyst::new(settings);
    let mut told = 0;
    while let Some(window) = recorded.next_window()? {
        let parties = recorded.parties().since(told).to_vec();
        let closed = ClosedWindow { window, first_party: told, parties };
        told = recorded.parties().len();
        // Nobody is told of suggestions.
        analyst.observe(&closed, recorded.policy())?;
        analyst.train(|steps| steps < arguments.steps);
    }
    let status = analyst.status();
    if status.windows == 0 {
        return Err(TrainError::Empty(arguments.until));
    }
    let bytes = analyst.checkpoint();
    checkpoint::store(&arguments.out, &bytes)?;
    let mut sha256 = String::new();
    for byte in Sha256::digest(&bytes) {
        // Writing into a text cannot fail.
        let _ = write!(sha256, "{byte:02x}");
    }
    Ok(Trained {
        flows: recorded.counts().flows,
        windows: status.windows,
        steps: status.training_steps,
        loss: status.training_loss,
        sha256,
    })
}
