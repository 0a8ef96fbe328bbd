//! Measures rules: how much of what came later they cover, how much they permit that nobody ever used, how many they are.
//!
//! Two questions, either or both:
//!
//! - `--flows`: rules are mined from the first minutes of a recording and held against the minutes behind them. Time is
//!   split strictly; what is chosen is chosen on the training alone, and the later part only counts. Beside the curve
//!   stand its hindsight optimum (the same choice, shown the later tuples) and rules without any choice.
//! - `--intended`: traffic is made from a graph of who should talk to whom, and the adviser's drafts are held against it.
//!
//! What the shares are shares of stands at each field of [`curve::Point`] and [`intended::Recovery`].

pub mod curve;
mod html;
pub mod intended;
mod markdown;
pub mod reading;
pub mod report;
pub mod traffic;

use crate::recorded::PolicyFileError;
use crate::recorded_flow::FlowFileError;
use crate::report_folder::{ReportFault, ReportFolder};
use crate::series::PartiesError;
use clap::Args;
use curve::Ground;
use report::{REPORT_MARK, Recorded, Report};
use std::path::PathBuf;

/// Rules that are allowed where nothing was said: what a person reads in a sitting.
const RULES_MAX: usize = 150;
/// Runs with traffic of an intended graph: each draws its noise and its endpoints anew.
const SEEDS_MAX: u64 = 1_000;

/// Measures rules that would be suggested.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  meshgate-learner evaluate-rules --flows wrccdc2018_first15min.csv.gz --train-minutes 10 --test-minutes 5 --report out
  meshgate-learner evaluate-rules --intended onlineboutique.csv --seeds 50 --report out

Minutes count from the first flow. A FILE of an intended graph is CSV with the columns src_group, dst_group, protocol,
port_range.")]
pub struct EvaluateRulesArguments {
    /// Files of recorded flows, each in order of time: CSV, plain or gzip, or captures
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "intended")]
    pub flows: Vec<PathBuf>,
    /// Minutes to learn from
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub train_minutes: u64,
    /// Minutes behind them to measure by
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub test_minutes: u64,
    /// Rules at most
    #[arg(long, value_name = "N", default_value_t = RULES_MAX)]
    pub rules_max: usize,
    /// Files of intended graphs, to be recovered from traffic that is made from them
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub intended: Vec<PathBuf>,
    /// How often each edge of an intended graph is seen
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub seen: u32,
    /// Percent of the traffic that is noise: unanswered, to wrong ports, scans, strays
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=90))]
    pub noise: u32,
    /// Runs with an intended graph
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=SEEDS_MAX))]
    pub seeds: u64,
    /// Folder that gets report.md, report.html and report.json. It is made, or must hold an earlier report
    #[arg(long, value_name = "DIR")]
    pub report: PathBuf,
}

/// Why rules are not measured.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateRulesError {
    /// A file of flows cannot be read.
    #[error(transparent)]
    Flows(#[from] FlowFileError),
    /// Nor a second time, for its digest.
    #[error(transparent)]
    Digest(#[from] crate::evaluate::EvaluateError),
    /// A span has no flow.
    #[error("no flow {0}")]
    EmptySpan(&'static str),
    /// A file of an intended graph cannot be used.
    #[error("{0}: {1}")]
    Intended(PathBuf, String),
    /// The groups of an intended graph make no policy.
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
    /// Numbers of parties that do not fit together: our own fault.
    #[error(transparent)]
    Parties(#[from] PartiesError),
    /// The folder of the report cannot be used.
    #[error(transparent)]
    Report(#[from] ReportFault),
}

impl EvaluateRulesArguments {
    /// Returns the command that repeats this evaluation.
    pub fn command_line(&self) -> String {
        let list = |paths: &[PathBuf]| -> Vec<String> {
            paths.iter().map(|path| path.display().to_string()).collect()
        };
        let mut words = vec!["meshgate-learner evaluate-rules".to_owned()];
        if !self.flows.is_empty() {
            words.push(format!("--flows {}", list(&self.flows).join(" ")));
            words
                .push(format!("--train-minutes {} --test-minutes {}", self.train_minutes, self.test_minutes));
            words.push(format!("--rules-max {}", self.rules_max));
        }
        if !self.intended.is_empty() {
            words.push(format!("--intended {}", list(&self.intended).join(" ")));
            words.push(format!("--seen {} --noise {} --seeds {}", self.seen, self.noise, self.seeds));
        }
        words.push(format!("--report {}", self.report.display()));
        words.join(" ")
    }
}

/// Measures, writes the report, and returns what is to be said of it.
pub fn run(arguments: &EvaluateRulesArguments) -> Result<String, EvaluateRulesError> {
    let folder = ReportFolder::open(&arguments.report, REPORT_MARK)?;
    let report = measure(arguments)?;
    let (text, page) = (markdown::text(&report), html::page(&report));
    folder.write(&report, &[("report.md", &text), ("report.html", &page)])?;
    Ok(report.summary() + &format!("{}: the report is written\n", arguments.report.display()))
}

/// Measures.
pub fn measure(arguments: &EvaluateRulesArguments) -> Result<Report, EvaluateRulesError> {
    let recorded = if arguments.flows.is_empty() { None } else { Some(recorded(arguments)?) };
    let graphs = arguments.intended.iter().map(|path| intended::recover(path, arguments));
    Ok(Report::new(arguments.command_line(), recorded, graphs.collect::<Result<_, _>>()?))
}

fn recorded(arguments: &EvaluateRulesArguments) -> Result<Recorded, EvaluateRulesError> {
    let recording = reading::read(&arguments.flows, arguments.train_minutes, arguments.test_minutes)?;
    if recording.training.is_empty() {
        return Err(EvaluateRulesError::EmptySpan("to learn from"));
    }
    if recording.later.is_empty() {
        return Err(EvaluateRulesError::EmptySpan("behind the training (--train-minutes)"));
    }
    let files = arguments.flows.iter().map(|path| crate::evaluate::reading::flow_file(path));
    let files = files.collect::<Result<_, _>>()?;
    let ground = Ground::new(&recording);
    let (mined, hindsight) = (ground.mined(arguments.rules_max), ground.hindsight(arguments.rules_max));
    tracing::info!(points = mined.len(), "rules are mined");
    Ok(Recorded::new(files, &recording, &ground, mined, hindsight))
}
