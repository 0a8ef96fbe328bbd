//! What an evaluation found, with everything that is needed to repeat it.

mod markdown;
mod plots;

use super::bootstrap::Comparison;
use super::metrics::{Alerts, Metrics};
use super::moment::{DAY_S, minute_text};
use super::reading::{FlowFile, Recording};
use super::truth::AttackId;
use crate::baselines::edges::Edge;
use crate::report_folder::{ReportFault, ReportFolder};
use crate::report_page::page;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What the JSON of a report says that it is. A folder without it is not ours to replace.
pub const REPORT_MARK: &str = "meshgate-learner evaluate";

/// Version of the JSON.
const REPORT_VERSION: u32 = 2;

/// An evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`REPORT_MARK`].
    pub report: &'static str,
    /// Version of this form.
    pub version: u32,
    /// The command that repeats it.
    pub command_line: String,
    /// The files it read.
    pub flows: Vec<FlowFile>,
    /// Records from the end of the test on, which were not taken.
    pub records_after_test: u64,
    /// What the methods learned from.
    pub training: Span,
    /// What they were scored on.
    pub test: Span,
    /// The attacks of the test.
    pub attacks: Vec<Attack>,
    /// One row for each method and seed.
    pub methods: Vec<Row>,
    /// What one method gains over another, with its interval.
    pub comparisons: Vec<Comparison>,
}

/// A span of time and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// First edge (UTC).
    pub from: String,
    /// Where it ends; that minute does not belong to it.
    pub until: String,
    /// Records.
    pub records: u64,
    /// Edges.
    pub edges: usize,
    /// Edges that carry an attack.
    pub attack_edges: usize,
}

/// An attack of the test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attack {
    /// Its name.
    pub name: String,
    /// Edges that carry it.
    pub edges: usize,
    /// Days on which it occurs.
    pub days: usize,
}

/// One run of one method.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Method.
    pub method: String,
    /// Seed, if it draws random numbers.
    pub seed: Option<u64>,
    /// Time that it took to learn and to score.
    pub seconds: f64,
    /// Edges that it gave no score; they count as most unusual.
    pub unscored: usize,
    /// What the labels say of it; none without attacks or without benign edges in the test.
    pub metrics: Option<Metrics>,
    /// Alerts at thresholds fixed on the training span.
    pub alerts: Vec<Alerts>,
}

/// Writes all files of a report.
pub(super) fn write(report: &Report, folder: &ReportFolder) -> Result<(), ReportFault> {
    let text = markdown::text(report);
    let mut plots = Vec::new();
    if report.methods.iter().any(|row| row.metrics.is_some()) {
        let drawn = |plot: Result<String, crate::plot::PlotError>| {
            plot.map_err(|error| folder.fault(error.to_string()))
        };
        plots.push((plots::ROC, drawn(plots::roc(&report.methods))?));
        plots.push((plots::PRECISION_RECALL, drawn(plots::precision_recall(&report.methods))?));
        plots.push((plots::CALIBRATION, drawn(plots::calibration(&report.methods))?));
    } else {
        // Of an earlier report, whose flows had labels.
        [plots::ROC, plots::PRECISION_RECALL, plots::CALIBRATION]
            .into_iter()
            .for_each(|plot| folder.remove(plot));
    }
    let mut files: Vec<(&str, &str)> = plots.iter().map(|(name, svg)| (*name, svg.as_str())).collect();
    let page = page("Evaluation", &text, &files);
    files.extend([("report.html", page.as_str()), ("report.md", text.as_str())]);
    folder.write(report, &files)
}

impl Report {
    /// Puts a report together.
    pub fn new(
        command_line: String,
        recording: &Recording,
        methods: Vec<Row>,
        comparisons: Vec<Comparison>,
    ) -> Self {
        let edges = &recording.edges;
        let (training, test) = recording.attacks.split_at(edges.training().len());
        Self {
            report: REPORT_MARK,
            version: REPORT_VERSION,
            command_line,
            flows: recording.files.clone(),
            records_after_test: recording.records_after_test,
            training: Span::new(edges.training(), training, recording.train_until_s),
            test: Span::new(edges.test(), test, recording.test_until_s),
            attacks: attacks(recording),
            methods,
            comparisons,
        }
    }
}

impl Span {
    fn new(edges: &[Edge], attacks: &[Option<AttackId>], until_s: u64) -> Self {
        Self {
            from: edges.first().map(|edge| minute_text(edge.minute_s)).unwrap_or_default(),
            until: minute_text(until_s),
            records: edges.iter().map(|edge| u64::from(edge.records)).sum(),
            edges: edges.len(),
            attack_edges: attacks.iter().flatten().count(),
        }
    }
}

/// Returns the attacks of the test, those with the most edges first.
fn attacks(recording: &Recording) -> Vec<Attack> {
    let truth = recording.truth();
    let mut seen: BTreeMap<AttackId, (usize, BTreeSet<u64>)> = BTreeMap::new();
    for (edge, attack) in truth.test.iter().zip(truth.attacks) {
        if let Some(attack) = attack {
            let (edges, days) = seen.entry(*attack).or_default();
            *edges += 1;
            days.insert(edge.minute_s / DAY_S);
        }
    }
    let name = |attack: AttackId| {
        let place = usize::try_from(attack.0).ok();
        place.and_then(|place| recording.attack_names.get(place)).cloned().unwrap_or_default()
    };
    let attack = |(attack, (edges, days)): (_, (_, BTreeSet<u64>))| Attack {
        name: name(attack),
        edges,
        days: days.len(),
    };
    let mut attacks: Vec<Attack> = seen.into_iter().map(attack).collect();
    attacks.sort_by_key(|attack| std::cmp::Reverse(attack.edges));
    attacks
}
