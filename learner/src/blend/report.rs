//! What was made, for people.

use super::BlendError;
use super::campaigns::{Campaign, Campaigns};
use super::cast::{Cast, SCALE_ONE};
use super::donors::Given;
use super::rows::Row;
use crate::evaluate::moment::{SpanEnd, minute_text};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A run of a campaign in the set.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The campaign.
    pub campaign: String,
    /// The number of the run, from 1.
    pub number: usize,
    /// Its flows.
    pub flows: usize,
    /// Hosts that stand in for victims.
    pub victims: usize,
    /// Addresses of the attacker.
    pub attackers: usize,
    /// Whether they are one host of the benign network.
    pub is_inside: bool,
    /// Its first second, since 1970.
    pub begin_s: u64,
    /// Seconds from its first flow to its last.
    pub span_s: u64,
    /// How many times faster it runs than it was recorded.
    pub speed: f64,
}

/// A set that was made.
#[derive(Clone, Debug)]
pub struct Blended {
    /// Where it lies.
    pub out: PathBuf,
    /// Benign flows.
    pub benign: usize,
    /// Addresses of the benign flows.
    pub addresses: usize,
    /// Attack flows.
    pub attack: usize,
    /// Runs of campaigns.
    pub runs: Vec<Run>,
    /// Benign flows that got bytes and packets.
    pub given: Given,
    /// Flows of the attack files that no label marks.
    pub left_unmarked: usize,
    /// Attack flows without a host at each end.
    pub left_without_host: usize,
    stand_ins: BTreeSet<IpAddr>,
}

impl Blended {
    /// Returns a set of benign flows alone.
    pub(super) fn of(benign: &[Row], campaigns: &Campaigns, out: &Path) -> Self {
        let addresses = benign.iter().flat_map(|row| [row.flow.source, row.flow.destination]);
        Self {
            out: out.into(),
            benign: benign.len(),
            addresses: addresses.collect::<BTreeSet<_>>().len(),
            attack: 0,
            runs: Vec::new(),
            given: Given::default(),
            left_unmarked: campaigns.rows_benign,
            left_without_host: campaigns.rows_without_host,
            stand_ins: BTreeSet::new(),
        }
    }

    /// Adds a run.
    pub(super) fn add(&mut self, campaign: &Campaign, cast: &Cast, number: usize, rows: &[Row]) {
        self.attack += rows.len();
        self.stand_ins.extend(campaign.victims.keys().filter_map(|victim| cast.stand_ins.get(victim)));
        self.runs.push(Run {
            campaign: campaign.name.clone(),
            number,
            flows: rows.len(),
            victims: campaign.victims.len(),
            attackers: if cast.is_inside { 1 } else { campaign.outside.len() },
            is_inside: cast.is_inside,
            begin_s: cast.begin_ns / 1_000_000_000,
            span_s: cast.scaled(campaign.span_ns()) / 1_000_000_000,
            speed: SCALE_ONE as f64 / cast.scale.max(1) as f64,
        });
    }

    /// Returns the share of flows that are attack.
    pub fn attack_share(&self) -> f64 {
        self.attack as f64 / (self.attack + self.benign).max(1) as f64
    }
}

impl fmt::Display for Blended {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { benign, addresses, attack, given, left_unmarked, left_without_host, .. } = self;
        writeln!(out, "{}: {} flows", self.out.display(), benign + attack)?;
        writeln!(out, "  benign: {benign} flows among {addresses} addresses")?;
        if *given != Given::default() {
            let Given { by_service, by_protocol, none } = given;
            writeln!(
                out,
                "    bytes of a recorded flow of the same service: {by_service}, of the same protocol: {by_protocol}, \
                 none: {none}"
            )?;
        }
        let campaigns: BTreeSet<&str> = self.runs.iter().map(|run| run.campaign.as_str()).collect();
        let (share, runs, victims) = (100.0 * self.attack_share(), self.runs.len(), self.stand_ins.len());
        writeln!(
            out,
            "  attack: {attack} flows ({share:.2} %), {} campaigns in {runs} runs, {victims} victims",
            campaigns.len()
        )?;
        writeln!(
            out,
            "    left out: {left_unmarked} flows that no label marks, {left_without_host} without a host at each end"
        )?;
        self.runs.iter().try_for_each(|run| writeln!(out, "  {run}"))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { campaign, number, flows, victims, attackers, is_inside, begin_s, span_s, speed } = self;
        let begin = minute_text(*begin_s);
        write!(out, "{campaign}#{number}: {flows} flows from {begin}:{:02} for {span_s} s", begin_s % 60)?;
        write!(out, " ({speed:.1} x), {victims} victims, ")?;
        match (attackers, is_inside) {
            (0, _) => write!(out, "attacker among them"),
            (_, true) => write!(out, "attacker on another host inside"),
            (_, false) => write!(out, "attacker at {attackers} addresses outside"),
        }
    }
}

/// Returns the error of a date that leaves nothing to learn from, or no time for attacks.
pub(super) fn no_span(from: SpanEnd, first_ns: u64, last_ns: u64) -> BlendError {
    let minute = |time_ns: u64| minute_text(time_ns / 1_000_000_000);
    BlendError::Span { from, first: minute(first_ns), last: minute(last_ns) }
}
