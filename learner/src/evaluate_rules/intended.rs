//! Whether the adviser finds an intended graph again in the traffic of it.

use super::traffic::{Traffic, WINDOW_S, make};
use super::{EvaluateRulesArguments, EvaluateRulesError};
use crate::adviser::{AdviserInput, AdviserSettings, suggest_policy};
use crate::draft_log::DraftLog;
use crate::feedback::ranking::Ranking;
use crate::history::History;
use crate::profile::Profile;
use crate::proportion::share;
use crate::recorded::{Grouping, RecordedWindows};
use meshgate_policy::suggestion::Proposal;
use meshgate_policy::{AuthoredRelationship, Name, PortRange, PortSet, ProtocolMatch};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The group that the whole address space of a graph becomes.
pub const EXTERNAL: &str = "external";
/// How graphs write the whole address space.
const EVERYWHERE: &str = "0.0.0.0-255.255.255.255";
/// Edges of a graph at most.
const EDGES_MAX: usize = 1 << 14;
/// Letters of a name of a group at most: what a policy takes.
const NAME_LETTERS_MAX: usize = 63;
/// Drafts that are told as wrong or missing.
const WRONG_TOLD_MAX: usize = 20;

/// Who should talk to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// Its edges.
    pub edges: Vec<Edge>,
}

/// One intended permission.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Source group.
    pub source: Name,
    /// Destination group.
    pub destination: Name,
    /// Protocol.
    pub protocol: ProtocolMatch,
    /// Ports.
    pub ports: PortSet,
}

/// How well a graph was found again.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Recovery {
    /// Its file.
    pub name: String,
    /// Edges of the graph.
    pub edges: usize,
    /// Runs, each with traffic drawn anew.
    pub runs: u64,
    /// Flows of the last run, noise included.
    pub flows: usize,
    /// Flows of noise of the last run.
    pub noise_flows: usize,
    /// Allow drafts of all runs, taken apart into one for each range of ports.
    pub drafts: usize,
    /// Of these, those of which groups, protocol and ports are exactly those of an edge.
    pub right: usize,
    /// `right` / `drafts`.
    pub precision: f64,
    /// `right` / (`edges` * `runs`).
    pub recall: f64,
    /// Precision of the worst run.
    pub worst_precision: f64,
    /// Recall of the worst run.
    pub worst_recall: f64,
    /// Some of the drafts that are no edge, and of the edges that no draft is, with the run.
    pub wrong: Vec<String>,
}

/// What is compared: groups, protocol, one range of ports.
type Permission = (Name, Name, ProtocolMatch, PortRange);

/// Makes traffic from a graph, lets the adviser draft, and compares.
pub fn recover(path: &Path, arguments: &EvaluateRulesArguments) -> Result<Recovery, EvaluateRulesError> {
    let graph = Graph::read(path)?;
    let intended = permissions(
        graph.edges.iter().map(|edge| (&edge.source, &edge.destination, edge.protocol, &edge.ports)),
    );
    let mut recovery = Recovery {
        name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        edges: intended.len(),
        runs: arguments.seeds,
        worst_precision: 1.0,
        worst_recall: 1.0,
        ..Recovery::default()
    };
    let mut all = 0;
    for seed in 0..arguments.seeds {
        let traffic = make(&graph, arguments.seen, arguments.noise, seed);
        (recovery.flows, recovery.noise_flows) = (traffic.flows.len(), traffic.noise_flows);
        let (drafts, others) = drafts(traffic, arguments.seen)?;
        let drafted = permissions(drafts.iter().map(|draft| {
            (&draft.source_group_name, &draft.destination_group_name, draft.protocol, &draft.port_range)
        }));
        let right = drafted.intersection(&intended).count();
        recovery.drafts += drafted.len() + others.len();
        recovery.right += right;
        all += intended.len();
        recovery.worst_precision = recovery.worst_precision.min(of(right, drafted.len() + others.len()));
        recovery.worst_recall = recovery.worst_recall.min(of(right, intended.len()));
        let told = |kind: &str, (source, destination, protocol, ports): &Permission| {
            format!("run {seed}: {kind}: {source} > {destination} {protocol} {ports}")
        };
        let no_edge = drafted.difference(&intended).map(|of| told("no edge", of));
        let missing = intended.difference(&drafted).map(|of| told("missing", of));
        recovery.wrong.extend(no_edge.chain(missing));
        recovery.wrong.extend(others.iter().map(|other| format!("run {seed}: no edge: {other}")));
    }
    recovery.wrong.truncate(WRONG_TOLD_MAX);
    recovery.precision = of(recovery.right, recovery.drafts);
    recovery.recall = of(recovery.right, all);
    Ok(recovery)
}

fn of(part: usize, whole: usize) -> f64 {
    share(u64::try_from(part).unwrap_or(0), u64::try_from(whole).unwrap_or(0))
}

/// Returns the allow drafts that the adviser makes of traffic: profile and adviser as they run live, a window at a time,
/// without a detector, whose anomalies are no part of the question. Those that are no rules between groups are told in words.
fn drafts(
    traffic: Traffic,
    seen: u32,
) -> Result<(Vec<AuthoredRelationship>, Vec<String>), EvaluateRulesError> {
    let grouping = Grouping::by_policy(traffic.policy)?;
    let Ok(history) = History::new(WINDOW_S) else { return Ok(Default::default()) };
    let mut windows = RecordedWindows::new(traffic.flows.into_iter().map(Ok), grouping, history);
    let settings = AdviserSettings {
        steady_windows: seen,
        steady_span_windows: seen,
        suggestions_max: EDGES_MAX,
        suggestions_per_day_max: EDGES_MAX,
        ..AdviserSettings::default()
    };
    let mut profile = Profile::default();
    let mut window_end_s = 0;
    while let Some(window) = windows.next_window()? {
        window_end_s = window.end_s();
        profile.observe(&window);
    }
    let advice = suggest_policy(&AdviserInput {
        ranking: &Ranking::default(),
        policy: windows.policy(),
        parties: windows.parties(),
        profile: &profile,
        anomalies: &[],
        draft_log: &DraftLog::default(),
        settings: &settings,
        window_end_s,
        model_version: "",
    });
    let (mut drafts, mut others) = (Vec::new(), Vec::new());
    for suggestion in advice.suggestions {
        match suggestion.draft {
            Proposal::Relationship(relationship) => drafts.push(relationship),
            _ => others.push(suggestion.justification),
        }
    }
    Ok((drafts, others))
}

/// Returns permissions one range of ports each, ranges that touch joined first: one rule with two ports permits the same
/// as two with one.
fn permissions<'a>(
    rules: impl Iterator<Item = (&'a Name, &'a Name, ProtocolMatch, &'a PortSet)>,
) -> BTreeSet<Permission> {
    let mut ranges: BTreeMap<(&Name, &Name, ProtocolMatch), Vec<PortRange>> = BTreeMap::new();
    for (source, destination, protocol, ports) in rules {
        let known = ranges.entry((source, destination, protocol)).or_default();
        if ports.is_all() { known.extend(PortSet::all().ranges()) } else { known.extend(ports.ranges()) }
    }
    let joined = |((source, destination, protocol), ranges): ((&Name, &Name, _), Vec<PortRange>)| {
        let ranges = PortSet::new(ranges.clone()).map_or(ranges, |ports| ports.ranges().to_vec());
        let (source, destination) = (source.clone(), destination.clone());
        ranges.into_iter().map(move |range| (source.clone(), destination.clone(), protocol, range))
    };
    ranges.into_iter().flat_map(joined).collect()
}

impl Graph {
    /// Reads a graph: CSV with the columns `src_group`, `dst_group`, `protocol`, `port_range`.
    pub fn read(path: &Path) -> Result<Self, EvaluateRulesError> {
        let fault = |reason: String| EvaluateRulesError::Intended(path.to_owned(), reason);
        let mut reader = csv::Reader::from_path(path).map_err(|error| fault(error.to_string()))?;
        let columns = ["src_group", "dst_group", "protocol", "port_range"];
        let headers = reader.headers().map_err(|error| fault(error.to_string()))?.clone();
        if headers.iter().ne(columns) {
            return Err(fault(format!("its columns are not {}", columns.join(", "))));
        }
        let mut edges = Vec::new();
        for (line, row) in (2..).zip(reader.records()) {
            let row = row.map_err(|error| fault(error.to_string()))?;
            let cell = |at: usize| row.get(at).unwrap_or_default();
            let value = |at: usize, error: String| fault(format!("line {line}: {} {error}", columns[at]));
            let group = |at| group_name(cell(at)).ok_or_else(|| value(at, "is no name of a group".into()));
            edges.push(Edge {
                source: group(0)?,
                destination: group(1)?,
                protocol: cell(2).to_lowercase().parse().map_err(|error| value(2, format!("{error}")))?,
                ports: cell(3).parse().map_err(|error| value(3, format!("{error}")))?,
            });
            if edges.len() > EDGES_MAX {
                return Err(fault(format!("more than {EDGES_MAX} edges")));
            }
        }
        if edges.is_empty() { Err(fault("it has no edge".into())) } else { Ok(Self { edges }) }
    }
}

/// Returns the name of a group as a policy takes it: `backend/checkout` becomes `backend-checkout`.
fn group_name(text: &str) -> Option<Name> {
    if text == EVERYWHERE {
        return Name::new(EXTERNAL).ok();
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = text.chars().map(plain).take(NAME_LETTERS_MAX).collect();
    Name::new(name.trim_matches('-')).ok()
}
