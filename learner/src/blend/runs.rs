//! The flows of one run of a campaign.

use super::campaigns::{Campaign, is_attack_label};
use super::cast::Cast;
use super::rows::{Row, column};
use crate::conn_state;
use crate::recorded_flow::RecordedFlow;
use meshgate_policy::Protocol;
use std::net::IpAddr;

/// Which columns benign flows fill. What none of them says, attack flows do not say either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Filled {
    /// Bytes and packets.
    pub counts: bool,
    /// Durations.
    pub durations: bool,
    /// States of connections.
    pub states: bool,
    /// Names of services.
    pub services: bool,
}

impl Filled {
    /// Returns what these rows fill.
    pub fn by(rows: &[Row]) -> Self {
        let any = |column| rows.iter().any(|row| !row.value(column).is_empty());
        Self {
            counts: rows.iter().any(Row::has_counts),
            durations: any(column::DURATION),
            states: any(column::STATE),
            services: any(column::SERVICE),
        }
    }
}

/// Returns the rows of a run, in order of time. What servers of the attacker said to each other is left out where one host
/// stands in for all of them.
pub(super) fn rows(campaign: &Campaign, cast: &Cast, number: usize, filled: Filled) -> Vec<Row> {
    let label_name = format!("{}#{number}", campaign.name);
    let rows = campaign.rows.iter().map(|row| staged(row, campaign.begin_ns(), cast, &label_name, filled));
    rows.filter(|row| row.flow.source != row.flow.destination).collect()
}

fn staged(row: &Row, begin_ns: u64, cast: &Cast, label_name: &str, filled: Filled) -> Row {
    let stand_in = |address: IpAddr| cast.stand_ins.get(&address).copied().unwrap_or(address);
    let mut row = row.clone();
    let flow = &mut row.flow;
    // Whole microseconds, as they are written: what is sorted is what is read.
    flow.time_ns = (cast.begin_ns + cast.scaled(flow.time_ns - begin_ns)) / 1_000 * 1_000;
    flow.source = stand_in(flow.source);
    flow.destination = stand_in(flow.destination);
    flow.duration_ns = flow.duration_ns.filter(|_| filled.durations).map(|time_ns| cast.scaled(time_ns));
    let label = [row.flow.label_name_for_scoring(), row.flow.label_for_scoring()];
    let label =
        label.into_iter().flatten().find(|label| is_attack_label(label)).unwrap_or("attack").to_owned();
    let flow = &row.flow;
    let (time, duration) = (seconds(flow.time_ns), flow.duration_ns.map(seconds).unwrap_or_default());
    let (source, destination) = (flow.source.to_string(), flow.destination.to_string());
    let service = if filled.services { row.value(column::SERVICE) } else { "" }.to_owned();
    let state = state(&row, &service, filled).to_owned();
    let mut changes = vec![
        (column::TIME, time.as_str()),
        (column::SOURCE, &source),
        (column::DESTINATION, &destination),
        (column::DURATION, &duration),
        (column::STATE, &state),
        (column::SERVICE, &service),
        (column::LABEL, &label),
        (column::LABEL_NAME, label_name),
    ];
    if !filled.counts {
        changes.extend(column::COUNTS.map(|column| (column, "")));
    }
    row.replace(&changes);
    row
}

/// Returns the state that the row keeps: its own where benign flows have states; otherwise none, unless it takes one to say
/// whether a TCP connection was answered, which of benign flows their other columns say. Nobody may take an attack for
/// what it is because its answer got lost on the way here.
fn state<'a>(row: &'a Row, service: &str, filled: Filled) -> &'a str {
    if filled.states {
        return row.value(column::STATE);
    }
    let flow = &row.flow;
    let left = if filled.counts {
        flow.clone()
    } else {
        RecordedFlow {
            bytes_forward: None,
            bytes_reverse: None,
            packets_forward: None,
            packets_reverse: None,
            ..flow.clone()
        }
    };
    let is_told = conn_state::answered(&left, "", service) == flow.answered;
    match flow.answered {
        Some(true) if flow.protocol == Some(Protocol::TCP) && !is_told => "SF",
        Some(false) if flow.protocol == Some(Protocol::TCP) && !is_told => "S0",
        _ => "",
    }
}

/// Returns a time in seconds, as flow files write it.
fn seconds(time_ns: u64) -> String {
    format!("{}.{:06}", time_ns / 1_000_000_000, time_ns / 1_000 % 1_000_000)
}
