//! The log of evaluations: one line for each run on test days, so that nobody can look at them unseen.
//!
//! A figure that was chosen on test days is kind, the kinder the more often they were looked at. So every look is written
//! down, good or bad, by the program: what ran, where, and what it came to.

use super::metrics::{Metrics, NOMINAL_RATES};
use super::moment::minute_text;
use super::report::{Report, Row};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the file begins with. Another file is not written to.
const HEAD: &str = "# Evaluations on test days\n";
/// What a new file begins with.
const BEGINNING: &str = "# Evaluations on test days

Each line is one run of `meshgate-learner evaluate --append`, in order. Figures are the worst of the seeds (`low to high`
where both ends matter); `best baseline` is the largest PR-AUC of a method that is no part of the detector.

| when (UTC) | commit | machine | command | seeds | figures |
|---|---|---|---|---|---|
";

/// The method that the product runs.
const DETECTOR: &str = "detector";
/// Methods that are no part of it.
const BASELINES: [&str; 4] = ["new pair", "new /24 pair", "counting (MIDAS)", "isolation forest"];

/// The log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunLogError {
    /// It cannot be read or written.
    #[error("--append {0}: {1}")]
    Unusable(PathBuf, std::io::Error),
    /// It is a file of something else.
    #[error("--append {0}: not a log of evaluations; it is left as it is")]
    Foreign(PathBuf),
}

/// A log that may be written to.
#[derive(Debug)]
pub struct RunLog {
    path: PathBuf,
    file: File,
    /// As of the beginning: an hour later another commit may lie there.
    commit: String,
}

impl RunLog {
    /// Opens the log, which is made if it is missing. Before the run: an hour of it must not end at a mistyped name.
    pub fn open(path: &Path) -> Result<Self, RunLogError> {
        let unusable = |error| RunLogError::Unusable(path.to_owned(), error);
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(unusable)?;
        let mut start = Vec::new();
        (&file).take(HEAD.len() as u64).read_to_end(&mut start).map_err(unusable)?;
        if start.is_empty() {
            file.write_all(BEGINNING.as_bytes()).map_err(unusable)?;
        } else if start != HEAD.as_bytes() {
            return Err(RunLogError::Foreign(path.to_owned()));
        }
        Ok(Self { path: path.to_owned(), file, commit: commit() })
    }

    /// Appends the line of a run.
    pub fn append(mut self, report: &Report) -> Result<(), RunLogError> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut seeds: Vec<u64> = report.methods.iter().filter_map(|row| row.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
        let cells = [
            minute_text(now_s),
            self.commit,
            machine(),
            format!("`{}`", report.command_line),
            seeds.join(", "),
            figures(&report.methods),
        ];
        let cells = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        let line = format!("| {} |\n", cells.join(" | "));
        self.file.write_all(line.as_bytes()).map_err(|error| RunLogError::Unusable(self.path, error))
    }
}

/// Returns the commit of the folder that the program runs in, and whether something in it differs.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".into() };
    let is_clean =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| changes.is_empty());
    if is_clean { commit } else { commit + " and changes" }
}

/// Returns the processor's name and how many of them there are.
fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let name = name.map_or("unknown processor", |(_, name)| name.trim());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{processors} x {name}")
}

/// Returns the figures of the detector, or of every method where it did not run.
fn figures(rows: &[Row]) -> String {
    let runs = || rows.chunk_by(|one, next| one.method == next.method);
    let has_detector = rows.iter().any(|row| row.method == DETECTOR && row.metrics.is_some());
    let told = runs().filter(|runs| !has_detector || runs[0].method == DETECTOR);
    let mut parts: Vec<String> = told.filter_map(figures_of).collect();
    let is_baseline = |row: &&Row| BASELINES.contains(&row.method.as_str());
    let worst = |runs: &[Row]| {
        let areas = runs.iter().filter_map(|row| Some(row.metrics.as_ref()?.pr_auc));
        Some((areas.reduce(f64::min)?, runs[0].method.clone()))
    };
    let baselines = runs().filter(|runs| is_baseline(&&runs[0])).filter_map(worst);
    if let Some((area, method)) =
        baselines.max_by(|one, other| one.0.total_cmp(&other.0)).filter(|_| has_detector)
    {
        parts.push(format!("best baseline: {method}, PR-AUC {area:.4}"));
    }
    if parts.is_empty() { "no labels on both sides".into() } else { parts.join("; ") }
}

/// Returns the figures of one method; none without metrics.
fn figures_of(runs: &[Row]) -> Option<String> {
    let all: Vec<&Metrics> = runs.iter().filter_map(|row| row.metrics.as_ref()).collect();
    let first = all.first()?;
    let lowest = |figure: &dyn Fn(&Metrics) -> f64| {
        all.iter().map(|metrics| figure(metrics)).fold(f64::INFINITY, f64::min)
    };
    let highest = |figure: &dyn Fn(&Metrics) -> f64| {
        all.iter().map(|metrics| figure(metrics)).fold(f64::NEG_INFINITY, f64::max)
    };
    let mut text = format!(
        "{}: ROC-AUC {:.4}, PR-AUC {:.4}",
        runs[0].method,
        lowest(&|metrics| metrics.roc_auc),
        lowest(&|metrics| metrics.pr_auc)
    );
    for (place, rate) in NOMINAL_RATES.into_iter().enumerate() {
        let days = |metrics: &Metrics| metrics.at_benign_rate[place].attack_days_found as f64;
        let realised = |metrics: &Metrics| metrics.at_training_rate[place].false_positive_rate * 100.0;
        text += &format!(
            ", at {} %: TPR {:.3}, attack-days {:.0} of {}, fixed beforehand {:.3} to {:.3} %",
            rate * 100.0,
            lowest(&|metrics| metrics.at_benign_rate[place].true_positive_rate),
            lowest(&days),
            first.at_benign_rate[place].attack_days,
            lowest(&realised),
            highest(&realised),
        );
    }
    Some(text)
}
