//! `meshgate-learner replay`: recorded flows or captures through the analyst, and what it would have suggested.
//!
//! The same analyst as in the daemon, with the recording's own time. Nobody answers, so each draft is made once.

use crate::adviser::AdviserSettings;
use crate::analyst::{Analyst, AnalystSettings, ResumeError};
use crate::checkpoint::{self, CheckpointError};
use crate::detector::DetectorConfig;
use crate::history::{History, WidthError};
use crate::recorded::{Grouping, PolicyFileError, RecordedWindows};
use crate::recorded_flow::{FlowFileError, MergedFlows};
use crate::series::{ClosedWindow, PartiesError};
use crate::train::Hyperparameters;
use clap::Args;
use meshgate_policy::suggestion::{Alternative, Origin, Proposal, Suggestion};
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;

/// Suggestions that are printed where nothing was said.
const SHOWN: usize = 20;

/// Arguments of the command.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  meshgate-learner replay flows.csv.gz
  meshgate-learner replay --policy policy.toml --window 10 monday.pcap tuesday.pcap
  meshgate-learner replay flows.csv.gz --output json
  meshgate-learner replay --policy policy.toml --model learner.checkpoint june.csv.gz

Flow files are CSV, plain or gzip, with the columns ts, src, dst, proto, sport, dport, bytes_out, bytes_in, pkts_out,
pkts_in, dur, state, service; captures are pcap or pcapng. Without a policy, private networks are the groups.")]
pub struct ReplayArguments {
    /// Flow files (CSV) and captures, merged by time
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Groups of this policy file (TOML) instead of private networks
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Go on from this checkpoint, which was made with groups of this policy, windows of this width and the default seed
    #[arg(long, value_name = "CHECKPOINT", requires = "policy")]
    model: Option<PathBuf>,
    /// Width of a window in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    window: u32,
    /// Windows in which an exchange must have been answered before it is steady
    #[arg(long, value_name = "N", default_value_t = 5)]
    steady_windows: u32,
    /// Windows at the beginning in which nothing is unusual
    #[arg(long, value_name = "N", default_value_t = 3)]
    warm_up_windows: u64,
    /// Training steps after each window
    #[arg(long, value_name = "N", default_value_t = 4)]
    steps: u64,
    /// Print at most this many suggestions, best first
    #[arg(long, value_name = "N", default_value_t = SHOWN)]
    top: usize,
    /// table for people, json for programs
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

/// How the result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The recording.
    #[error(transparent)]
    Flows(#[from] FlowFileError),
    /// The policy.
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
    /// The width.
    #[error("--window: {0}")]
    Width(#[from] WidthError),
    /// Numbers of parties that do not fit together: our own fault.
    #[error(transparent)]
    Parties(#[from] PartiesError),
    /// The checkpoint.
    #[error("--model: {0}")]
    Model(#[from] CheckpointError),
    /// What it holds.
    #[error("--model: {0}")]
    Resume(#[from] ResumeError),
    /// It is missing.
    #[error("--model {0}: there is no such file")]
    NoModel(PathBuf),
}

/// What a replay found.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Flows read.
    pub flows: u64,
    /// Windows.
    pub windows: u64,
    /// Anomalies.
    pub anomalies: u64,
    /// Suggestions, best first.
    pub suggestions: Vec<Suggestion>,
}

/// Replays and returns the text to print.
pub fn run(arguments: &ReplayArguments) -> Result<String, ReplayError> {
    let replayed = replay(arguments)?;
    Ok(match arguments.output {
        Output::Table => table(&replayed, arguments.top),
        Output::Json => json(&replayed, arguments.top),
    })
}

/// Replays a recording.
pub fn replay(arguments: &ReplayArguments) -> Result<Replayed, ReplayError> {
    let grouping = match &arguments.policy {
        Some(path) => Grouping::by_policy_file(path)?,
        None => Grouping::by_networks(),
    };
    let history = History::new(arguments.window)?;
    let mut analyst = arguments.analyst()?;
    let recorded = RecordedWindows::new(MergedFlows::open(&arguments.files)?, grouping, history);
    let mut recorded = recorded.following(analyst.parties().clone());
    let mut replayed = Replayed::default();
    let mut parties_told = analyst.parties().len();
    while let Some(window) = recorded.next_window()? {
        let parties = recorded.parties().since(parties_told).to_vec();
        let closed = ClosedWindow { window, first_party: parties_told, parties };
        parties_told = recorded.parties().len();
        let findings = analyst.observe(&closed, recorded.policy())?;
        analyst.train(|steps| steps < arguments.steps);
        replayed.windows += 1;
        replayed.anomalies += findings.anomalies.len() as u64;
        replayed.suggestions.extend(findings.suggestions);
    }
    replayed.flows = recorded.counts().flows;
    let score = |suggestion: &Suggestion| suggestion.confidence * suggestion.relevance;
    replayed
        .suggestions
        .sort_by(|a, b| a.makes_explicit.cmp(&b.makes_explicit).then_with(|| score(b).total_cmp(&score(a))));
    Ok(replayed)
}

impl ReplayArguments {
    /// Returns the analyst of the checkpoint, or a new one.
    fn analyst(&self) -> Result<Analyst, ReplayError> {
        let settings = self.settings();
        let Some(path) = &self.model else { return Ok(Analyst::new(settings)) };
        let found = checkpoint::load(path, &settings.hyperparameters)?;
        Ok(Analyst::resume(settings, found.ok_or_else(|| ReplayError::NoModel(path.clone()))?)?)
    }

    fn settings(&self) -> AnalystSettings {
        let adviser = AdviserSettings {
            steady_windows: self.steady_windows,
            steady_span_windows: self.steady_windows,
            ..AdviserSettings::default()
        };
        let detector = DetectorConfig { warm_up_windows: self.warm_up_windows, ..DetectorConfig::default() };
        let hyperparameters = Hyperparameters::default();
        AnalystSettings { window_s: self.window, detector, adviser, hyperparameters }
    }
}

fn table(replayed: &Replayed, top: usize) -> String {
    let Replayed { flows, windows, anomalies, suggestions } = replayed;
    let mut text = format!(
        "{flows} flows in {windows} windows; {anomalies} anomalies; {} suggestions, the best {} of them:\n",
        suggestions.len(),
        suggestions.len().min(top)
    );
    for (place, suggestion) in (1..).zip(suggestions.iter().take(top)) {
        // Writing into a text cannot fail.
        _ = write!(
            text,
            "\n{place}. {}\n   confidence {:.2}, relevance {:.4}, never seen of what it permits {:.2}\n",
            suggestion.justification,
            suggestion.confidence,
            suggestion.relevance,
            suggestion.over_permissiveness
        );
        for (number, evidence) in (1..).zip(&suggestion.evidence) {
            _ = writeln!(text, "   [{number}] {}", evidence.sentence);
        }
    }
    text
}

/// A suggestion for programs.
#[derive(Serialize)]
struct Line<'a> {
    origin: Origin,
    draft: &'a Proposal,
    alternatives: &'a [Alternative],
    confidence: f64,
    relevance: f64,
    over_permissiveness: f64,
    justification: &'a str,
    evidence: Vec<&'a str>,
}

fn json(replayed: &Replayed, top: usize) -> String {
    let line = |suggestion: &Suggestion| {
        let line = Line {
            origin: suggestion.origin,
            draft: &suggestion.draft,
            alternatives: &suggestion.alternatives,
            confidence: suggestion.confidence,
            relevance: suggestion.relevance,
            over_permissiveness: suggestion.over_permissiveness,
            justification: &suggestion.justification,
            evidence: suggestion.evidence.iter().map(|evidence| evidence.sentence.as_str()).collect(),
        };
        serde_json::to_string(&line).expect("our own types have text keys and no other faults") + "\n"
    };
    replayed.suggestions.iter().take(top).map(line).collect()
}
