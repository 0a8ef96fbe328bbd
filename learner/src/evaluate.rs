//! Measures the detector and the baselines on recorded flows whose attacks are known.
//!
//! The unit is an edge: everything from one address to one other within a minute. Time is split strictly: methods learn
//! from edges before the end of the training and are scored on those behind it. Labels score and never train, which
//! the types see to: a [`scorer::Scorer`] gets edges, and labels lie in [`truth::Truth`].

pub mod bootstrap;
pub mod learned;
pub mod metrics;
pub mod moment;
pub mod reading;
pub mod report;
pub mod run_log;
pub mod scorer;
pub mod truth;

use crate::baselines::edges::TooManyEdges;
use crate::recorded_flow::FlowFileError;
use crate::report_folder::{ReportFault, ReportFolder};
use bootstrap::Comparison;
use clap::Args;
use learned::Learned;
use metrics::{count_alerts, measure};
use moment::{SpanEnd, minute_text};
use reading::{Recording, read_flows};
use report::{REPORT_MARK, Report, Row};
use run_log::{RunLog, RunLogError};
use scorer::{Counting, Forest, NewPair, Scorer, Scores};
use std::path::PathBuf;
use std::time::Instant;

/// Seeds that one evaluation may run with: each trains the network anew.
const SEEDS_MAX: u64 = 20;

/// Measures how well attacks are found in recorded flows.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(
    after_help = "A DATE is a day (YYYY-MM-DD, UTC) or a minute (YYYY-MM-DDTHH:MM); what begins there does not belong
to the span. The test begins where the training ends.

Example, which learns from June 1-14 and scores June 15-27:
  meshgate-learner evaluate --flows darpa98_w1-4.csv.gz --train-until 1998-06-15 --test-until 1998-06-28 \\
    --report report"
)]
pub struct EvaluateArguments {
    /// Files of recorded flows, each in order of time: CSV with at least the columns ts, src, dst, plain or gzip, or
    /// captures. The column `label` scores and never trains.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub flows: Vec<PathBuf>,
    /// End of the flows to learn from, where those to score begin.
    #[arg(long, value_name = "DATE")]
    pub train_until: SpanEnd,
    /// End of the flows to score.
    #[arg(long, value_name = "DATE")]
    pub test_until: SpanEnd,
    /// Folder that gets report.md, report.json and the plots. It is made, or must hold an earlier report.
    #[arg(long, value_name = "DIR")]
    pub report: PathBuf,
    /// Runs of each method that draws random numbers.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=SEEDS_MAX))]
    pub seeds: u64,
    /// Append a line on this run - commit, machine, command, seeds, figures - to this file, which is made if it is missing.
    #[arg(long, value_name = "FILE")]
    pub append: Option<PathBuf>,
    /// Leave the network out and measure the baselines alone.
    #[arg(long)]
    pub baselines_only: bool,
}

/// Why there is no evaluation.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// A file of flows cannot be read.
    #[error(transparent)]
    Flows(#[from] FlowFileError),
    /// Nor a second time, for its digest.
    #[error("{0}: {1}")]
    Digest(PathBuf, std::io::Error),
    /// The recording is too large.
    #[error(transparent)]
    TooManyEdges(#[from] TooManyEdges),
    /// The test would end before it begins.
    #[error("--test-until {test} is not behind --train-until {train}")]
    Order {
        /// End of the training.
        train: SpanEnd,
        /// End of the test.
        test: SpanEnd,
    },
    /// No flow lies in a span.
    #[error("no flow to {purpose} {span}; the files hold {held}")]
    EmptySpan {
        /// `learn from` or `score`.
        purpose: &'static str,
        /// The span.
        span: String,
        /// What the files hold.
        held: String,
    },
    /// The folder of the report cannot be used.
    #[error(transparent)]
    Report(#[from] ReportFault),
    /// Nor the log of runs.
    #[error(transparent)]
    RunLog(#[from] RunLogError),
}

impl EvaluateArguments {
    /// Returns the command that repeats this evaluation.
    pub fn command_line(&self) -> String {
        let mut words = vec!["meshgate-learner evaluate --flows".to_owned()];
        words.extend(self.flows.iter().map(|path| path.display().to_string()));
        words.push(format!("--train-until {} --test-until {}", self.train_until, self.test_until));
        words.push(format!("--report {} --seeds {}", self.report.display(), self.seeds));
        if self.baselines_only {
            words.push("--baselines-only".into());
        }
        words.join(" ")
    }
}

/// Measures all methods, writes the report, and returns it.
pub fn run(arguments: &EvaluateArguments) -> Result<Report, EvaluateError> {
    if arguments.test_until <= arguments.train_until {
        return Err(EvaluateError::Order { train: arguments.train_until, test: arguments.test_until });
    }
    let folder = ReportFolder::open(&arguments.report, REPORT_MARK)?;
    let run_log = arguments.append.as_deref().map(RunLog::open).transpose()?;
    let (train_until_s, test_until_s) = (arguments.train_until.second(), arguments.test_until.second());
    let recording = read_flows(&arguments.flows, train_until_s, test_until_s)?;
    check_spans(arguments, &recording)?;
    let mut scorers: Vec<Box<dyn Scorer>> = vec![Box::new(NewPair), Box::new(Counting), Box::new(Forest)];
    if !arguments.baselines_only {
        scorers.push(Box::new(Learned::read(&arguments.flows, &recording.edges, test_until_s)?));
    }
    let (mut rows, mut comparisons) = (Vec::new(), Vec::new());
    for scorer in scorers {
        let seeds = if scorer.is_seeded() { arguments.seeds } else { 1 };
        let mut runs = Vec::new();
        for seed in 0..seeds {
            let started = Instant::now();
            let scores = scorer.score(&recording.edges, seed)?;
            let seconds = started.elapsed().as_secs_f64();
            tracing::info!(method = scorer.name(), seed, seconds, "scored");
            comparisons.extend(compared(&recording, &scores));
            runs.extend(scores.into_iter().map(|scores| row(&recording, scores, seconds)).enumerate());
        }
        // A scorer of several methods gives them all for each seed; the report has the seeds of a method together.
        runs.sort_by_key(|(method, _)| *method);
        rows.extend(runs.into_iter().map(|(_, row)| row));
    }
    let report = Report::new(arguments.command_line(), &recording, rows, comparisons);
    report::write(&report, &folder)?;
    if let Some(run_log) = run_log {
        run_log.append(&report)?;
    }
    Ok(report)
}

/// Returns what methods of one run gain over those that they are to be compared with.
fn compared(recording: &Recording, scores: &[Scores]) -> Vec<Comparison> {
    let truth = recording.truth();
    let of = |method: &str| scores.iter().find(|scores| scores.method == method);
    let compare = |(method, other): (&str, &str)| {
        let (one, other) = (of(method)?, of(other)?);
        let behind = |scores: &Scores| scores.scores[scores.scores.len() - truth.test.len()..].to_vec();
        let (drawn, gains) = bootstrap::gains(&truth, &behind(one), &behind(other))?;
        let (method, other, seed) = (one.method.clone(), other.method.clone(), one.seed);
        Some(Comparison { method, other, seed, drawn, gains })
    };
    learned::COMPARED.into_iter().filter_map(compare).collect()
}

/// Refuses a training or a test without flows, and says which flows there are.
fn check_spans(arguments: &EvaluateArguments, recording: &Recording) -> Result<(), EvaluateError> {
    let edges = &recording.edges;
    let (train, test) = (minute_text(recording.train_until_s), minute_text(recording.test_until_s));
    let (purpose, span) = if edges.training().is_empty() {
        ("learn from", format!("before {train} (--train-until {})", arguments.train_until))
    } else if edges.test().is_empty() {
        ("score", format!("from {train} to {test} (--test-until {})", arguments.test_until))
    } else {
        return Ok(());
    };
    let later = recording.records_after_test;
    let held = match (edges.all().first(), edges.all().last()) {
        (Some(first), Some(last)) => {
            let (first, last) = (minute_text(first.minute_s), minute_text(last.minute_s));
            format!("flows from {first} to {last} and {later} later ones")
        }
        _ => format!("only {later} later ones"),
    };
    Err(EvaluateError::EmptySpan { purpose, span, held })
}

fn row(recording: &Recording, mut scores: Scores, seconds: f64) -> Row {
    // What a model cannot score at all is as unusual as can be; the report says how often that happened.
    let mut unscored = 0;
    for score in scores.scores.iter_mut().filter(|score| score.is_nan()) {
        *score = f64::INFINITY;
        unscored += 1;
    }
    let truth = recording.truth();
    let metrics = measure(&truth, &scores.scores, scores.says_p_values);
    let alerts = count_alerts(&truth, &scores.scores);
    Row { method: scores.method, seed: scores.seed, seconds, unscored, metrics, alerts }
}
