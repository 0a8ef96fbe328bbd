//! Steady patterns of one service, of several, and of ports that never come twice.

use super::Exchange;
use crate::adviser::AdviserSettings;
use crate::proportion::share_at_most;
use crate::series::SeriesKey;
use hashbrown::HashMap;
use meshgate_policy::Protocol;
use meshgate_policy::limits::PORT_RANGES_PER_RULE_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// Ports between the lowest and the highest of a pattern of ports that never come twice. A program that draws them does
/// so from thousands; services that a monitor asks in turn lie closer or come again.
const SPREAD_PORTS_MIN: u16 = 1 << 13;
/// Part of the services of such a pattern from which a second protocol belongs to it.
const SECOND_PROTOCOL_PART: usize = 4;

/// Which ports a pattern is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternPorts {
    /// The one of its series.
    One,
    /// These, that of its series among them.
    Several(BTreeSet<u16>),
    /// Any: hardly one came twice.
    Spread {
        /// Whether they are ports of more than one protocol.
        any_protocol: bool,
    },
}

/// A series that goes on, is answered and is not unusual, or several of them between the same parties.
#[derive(Clone, Debug, PartialEq)]
pub struct SteadyPattern {
    /// The series; of several the one with most answered flows.
    pub key: SeriesKey,
    /// What it did; of several what they did together.
    pub exchange: Exchange,
    /// Its ports.
    pub ports: PatternPorts,
}

impl SteadyPattern {
    /// Returns the services of a pattern, none for ports that never come twice.
    pub fn services(&self) -> Vec<(u8, u16)> {
        match &self.ports {
            PatternPorts::One => vec![(self.key.protocol, self.key.service_port)],
            PatternPorts::Several(ports) => ports.iter().map(|port| (self.key.protocol, *port)).collect(),
            PatternPorts::Spread { .. } => Vec::new(),
        }
    }

    /// Returns the patterns as one with all their ports, as many as a rule takes. Expects patterns of one port each,
    /// between the same parties, by one protocol with ports, at least one.
    pub fn merged(patterns: &[&Self]) -> Option<Self> {
        let first = patterns.iter().max_by_key(|pattern| (pattern.exchange.answered, pattern.key))?;
        let patterns = patterns.iter().take(PORT_RANGES_PER_RULE_MAX);
        let ports = patterns.clone().map(|pattern| pattern.key.service_port).collect();
        let exchange = patterns.map(|pattern| pattern.exchange).reduce(|a, b| a.with(&b))?;
        Some(Self { key: first.key, exchange, ports: PatternPorts::Several(ports) })
    }
}

impl Exchange {
    /// Returns what two series did together. Windows are those of the one that was seen in fewer: a rule for both is as
    /// well founded as the worse of them.
    fn with(&self, other: &Self) -> Self {
        Self {
            first_s: self.first_s.min(other.first_s),
            last_s: self.last_s.max(other.last_s),
            windows: self.windows.min(other.windows),
            windows_answered: self.windows_answered.min(other.windows_answered),
            sources: self.sources.max(other.sources),
            destinations: self.destinations.max(other.destinations),
            ..self.sums_with(other)
        }
    }

    /// Returns the exchange with the flows and bytes of another added.
    fn sums_with(&self, other: &Self) -> Self {
        Self {
            flows: self.flows.saturating_add(other.flows),
            answered: self.answered.saturating_add(other.answered),
            refused: self.refused.saturating_add(other.refused),
            bytes_forward: self.bytes_forward.saturating_add(other.bytes_forward),
            bytes_reverse: self.bytes_reverse.saturating_add(other.bytes_reverse),
            recent_flows: self.recent_flows + other.recent_flows,
            recent_answered: self.recent_answered + other.recent_answered,
            ..*self
        }
    }
}

/// A series with what it did.
type Series<'a> = (&'a SeriesKey, &'a Exchange);

/// Returns the parties between which ports hardly ever come twice, over enough windows and answered: active FTP, RPC,
/// peers that choose their ports. No port of them is ever steady by itself.
///
/// A scan looks alike but for its answers: the answered share of all flows between the parties counts, and each must
/// have come in a window of its own, so that an hour's scan is at most an hour's windows.
pub(super) fn spread(
    exchanges: &HashMap<SeriesKey, Exchange>,
    settings: &AdviserSettings,
    is_over: impl Fn(&Exchange) -> bool,
) -> Vec<SteadyPattern> {
    let mut once: BTreeMap<(u32, u32, u16), Vec<Series<'_>>> = BTreeMap::new();
    for (key, exchange) in exchanges {
        if exchange.windows == 1 && Protocol(key.protocol).has_ports() {
            once.entry((key.source.0, key.destination.0, key.segment)).or_default().push((key, exchange));
        }
    }
    let enough = usize::try_from(settings.steady_windows).unwrap_or(usize::MAX).max(2);
    let patterns = once.into_values().filter(|series| series.len() >= enough).filter_map(|mut series| {
        series.sort_unstable_by_key(|(key, _)| **key);
        let pattern = spread_pattern(&series, settings)?;
        (!is_over(&pattern.exchange)).then_some(pattern)
    });
    patterns.collect()
}

fn spread_pattern(series: &[Series<'_>], settings: &AdviserSettings) -> Option<SteadyPattern> {
    let answered: Vec<_> = series.iter().filter(|(_, exchange)| exchange.answered > 0).collect();
    let ports = || answered.iter().map(|(key, _)| key.service_port);
    let spread = ports().max()?.saturating_sub(ports().min()?);
    let windows: BTreeSet<u64> = answered.iter().map(|(_, exchange)| exchange.first_s).collect();
    let windows = u64::try_from(windows.len()).unwrap_or(u64::MAX);
    let mut exchange = series.iter().map(|(_, exchange)| **exchange).reduce(|a, b| a.with(&b))?;
    exchange.windows = windows;
    exchange.windows_answered = windows;
    let passed = exchange.flows.saturating_sub(exchange.refused);
    let is_answered = share_at_most(exchange.answered, passed) >= settings.steady_answered_share;
    if spread < SPREAD_PORTS_MIN || windows < u64::from(settings.steady_windows) || !is_answered {
        return None;
    }
    let mut protocols: BTreeMap<u8, usize> = BTreeMap::new();
    answered.iter().for_each(|(key, _)| *protocols.entry(key.protocol).or_default() += 1);
    let (protocol, _) = protocols.iter().max_by_key(|(protocol, services)| (**services, **protocol))?;
    let others = answered.len() - protocols[protocol];
    let (key, _) = answered.iter().find(|(key, _)| key.protocol == *protocol)?;
    let any_protocol = others.saturating_mul(SECOND_PROTOCOL_PART) >= answered.len();
    Some(SteadyPattern { key: **key, exchange, ports: PatternPorts::Spread { any_protocol } })
}
