//! What was measured of rules, with everything that is needed to repeat it.

use super::curve::{Ground, Point};
use super::intended::Recovery;
use super::reading::{LeftOut, Recording};
use crate::evaluate::reading::FlowFile;
use crate::miner::rule_set::RuleSet;
use serde::Serialize;
use std::fmt::Write;

/// What the JSON of a report says that it is. A folder without it is not ours to replace.
pub const REPORT_MARK: &str = "meshgate-learner evaluate-rules";
/// Version of the JSON.
const REPORT_VERSION: u32 = 1;
/// Over-permissiveness at which coverage is told: a tenth, and three in a hundred, of what is permitted was seen.
pub const TOLD_AT: [f64; 2] = [0.90, 0.97];

/// A report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`REPORT_MARK`].
    pub report: &'static str,
    /// Version of this form.
    pub version: u32,
    /// The command that repeats it.
    pub command_line: String,
    /// Rules mined from a recording.
    pub recorded: Option<Recorded>,
    /// Intended graphs.
    pub intended: Vec<Recovery>,
}

/// What a recording says of mined rules.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recorded {
    /// The files.
    pub files: Vec<FlowFile>,
    /// What was learned from.
    pub training: Amount,
    /// What was measured by.
    pub later: Amount,
    /// Flows that were not taken.
    pub left_out: LeftOut,
    /// The curve, narrow rules first.
    pub curve: Vec<Point>,
    /// Its hindsight optimum.
    pub hindsight: Vec<Point>,
    /// Rules without any choice.
    pub baselines: Vec<Point>,
    /// The rules at each of [`TOLD_AT`].
    pub told: Vec<Told>,
}

/// How much a span holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Flows.
    pub flows: usize,
    /// Distinct tuples (source, destination, protocol, service port).
    pub tuples: usize,
    /// Addresses.
    pub addresses: usize,
}

/// The rules at a bound of over-permissiveness, chosen as [`Ground::at_most`] says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Told {
    /// The bound.
    pub over_permissiveness_max: f64,
    /// What they are worth.
    pub point: Point,
    /// The rules in words.
    pub rules: Vec<RuleLine>,
}

/// A rule in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleLine {
    /// Source.
    pub source: String,
    /// Destination.
    pub destination: String,
    /// Protocol and ports.
    pub service: String,
    /// Addresses of the source that training saw.
    pub sources: usize,
    /// Addresses of the destination that training saw.
    pub destinations: usize,
    /// Tuples that it permits.
    pub permitted: usize,
    /// Of these, seen in training.
    pub seen: usize,
}

impl Recorded {
    /// Puts together what a recording says.
    pub fn new(
        files: Vec<FlowFile>,
        recording: &Recording,
        ground: &Ground,
        mined: Vec<(Point, RuleSet)>,
        hindsight: Vec<(Point, RuleSet)>,
    ) -> Self {
        let amount = |flows: usize, span: &crate::miner::seen::Seen| Amount {
            flows,
            tuples: span.tuples(),
            addresses: span.present.len(),
        };
        let told = TOLD_AT.iter().filter_map(|bound| {
            let (point, rules) = ground.at_most(&mined, *bound)?;
            Some(Told { over_permissiveness_max: *bound, point, rules: lines(&rules, ground) })
        });
        Self {
            files,
            training: amount(recording.training.len(), ground.seen()),
            later: amount(recording.later.len(), ground.later()),
            left_out: recording.left_out,
            told: told.collect(),
            curve: mined.into_iter().map(|(point, _)| point).collect(),
            hindsight: hindsight.into_iter().map(|(point, _)| point).collect(),
            baselines: ground.baselines(),
        }
    }
}

/// Returns the rules in words, those that permit most first.
fn lines(rules: &RuleSet, ground: &Ground) -> Vec<RuleLine> {
    let line = |rule: &crate::miner::rule_set::MinedRule| {
        let permitted = RuleSet { rules: vec![rule.clone()], worth: 0.0 }.permitted(ground.seen());
        let ports: Vec<String> = rule.ports.iter().map(ToString::to_string).collect();
        RuleLine {
            source: rule.source.to_string(),
            destination: rule.destination.to_string(),
            service: format!("{} {}", rule.protocol, ports.join(",")),
            sources: rule.sources.common_len(&ground.seen().present),
            destinations: rule.destinations.common_len(&ground.seen().present),
            permitted: permitted.tuples,
            seen: permitted.seen,
        }
    };
    let mut lines: Vec<RuleLine> = rules.rules.iter().map(line).collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.permitted));
    lines
}

impl Report {
    /// Puts a report together.
    pub fn new(command_line: String, recorded: Option<Recorded>, intended: Vec<Recovery>) -> Self {
        Self { report: REPORT_MARK, version: REPORT_VERSION, command_line, recorded, intended }
    }

    /// Returns the figures in a few lines.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for told in self.recorded.iter().flat_map(|recorded| &recorded.told) {
            let Told { over_permissiveness_max, point, .. } = told;
            // Writing into a text cannot fail.
            _ = writeln!(
                text,
                "at over-permissiveness {over_permissiveness_max:.2} ({:.4}): {:.4} of later tuples, {:.4} of later \
                 flows, {} rules",
                point.over_permissiveness, point.tuples_covered, point.flows_covered, point.rules
            );
        }
        for graph in &self.intended {
            _ = writeln!(
                text,
                "{}: precision {:.4}, recall {:.4} of {} edges in {} runs",
                graph.name, graph.precision, graph.recall, graph.edges, graph.runs
            );
        }
        text
    }
}
