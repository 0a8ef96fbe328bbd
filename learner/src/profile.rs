//! What is usual: who exchanges what with whom, for how long, and whether the other side answers.
//!
//! A series that goes on for many windows and is answered is a pattern that a rule may carry. What is kept of a series is
//! a few sums, and of all flows the counts by who, what for and what decided of the last days ([`remembered`]), against
//! which a draft is replayed.

pub mod pairs;
mod patterns;
pub mod remembered;

pub use patterns::{PatternPorts, SteadyPattern};

use crate::adviser::AdviserSettings;
use crate::detector::Anomaly;
use crate::proportion::{real, share, share_at_least, share_at_most};
use crate::series::{SeriesKey, SeriesSums, Window};
use hashbrown::HashMap;
use pairs::{SeenPairs, SeenPairsState};
use remembered::{FlowKind, RememberedFlows, RememberedState};
use serde::{Deserialize, Serialize};

/// Series of which sums are kept. At some 200 bytes each that is 13 MB.
pub const EXCHANGES_MAX: usize = 1 << 16;
/// Share of the series that make room at once when there is none: an eighth, so that making room costs little a series.
const EVICTED_PART: usize = 8;
/// Windows after which what a series did counts half as recent activity.
const RECENT_HALF_WINDOWS: f64 = 30.0;

/// What one series did since it was first seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Start of the first window, seconds since 1970.
    pub first_s: u64,
    /// End of the last window, seconds since 1970.
    pub last_s: u64,
    /// Windows in which it was seen.
    pub windows: u64,
    /// Windows of these in which something was answered.
    pub windows_answered: u64,
    /// Flows begun, and refused attempts.
    pub flows: u64,
    /// Flows of these that were answered.
    pub answered: u64,
    /// Attempts that the policy refused.
    pub refused: u64,
    /// Bytes from the initiators.
    pub bytes_forward: u64,
    /// Bytes back.
    pub bytes_reverse: u64,
    /// Distinct initiating addresses of the window that had most: at least as many there were.
    pub sources: u32,
    /// Distinct far addresses of the window that had most.
    pub destinations: u32,
    /// Flows, halved with every 30 windows that pass.
    pub recent_flows: f64,
    /// Answered flows, likewise.
    pub recent_answered: f64,
    /// Whether anything was let pass in the last window.
    pub is_allowed: bool,
    /// The rule that decided last; 0 = none.
    pub rule: u32,
    /// End of the last window in which the series was unusual.
    pub anomaly_s: Option<u64>,
    /// What of the sums above belongs to unusual windows.
    pub unusual: Unusual,
}

/// The part of an [`Exchange`] that was unusual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unusual {
    /// Windows.
    pub windows: u64,
    /// Windows of these in which something was answered.
    pub windows_answered: u64,
    /// Flows begun, and refused attempts.
    pub flows: u64,
    /// Flows of these that were answered.
    pub answered: u64,
}

/// The usual of all series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    exchanges: HashMap<SeriesKey, Exchange>,
    remembered: RememberedFlows,
    pairs: SeenPairs,
    /// Width of the last window.
    width_s: u32,
    /// Series that were forgotten for want of room.
    pub exchanges_evicted: u64,
}

/// What a checkpoint keeps of a profile. Its keys mean something only together with the parties of the same time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileState {
    exchanges: Vec<(SeriesKey, Exchange)>,
    remembered: RememberedState,
    pairs: SeenPairsState,
    width_s: u32,
    exchanges_evicted: u64,
}

impl Exchange {
    /// Returns the share of all flows that were answered; refused ones were not.
    pub fn answered_share(&self) -> f64 {
        share(self.answered, self.flows)
    }

    /// Returns what the answered share is at least, as far as so many flows can tell.
    pub fn answered_at_least(&self) -> f64 {
        share_at_least(self.answered, self.flows)
    }

    /// Returns the share of the flows of late that were answered.
    pub fn recently_answered_share(&self) -> f64 {
        if self.recent_flows > 0.0 { (self.recent_answered / self.recent_flows).min(1.0) } else { 0.0 }
    }

    /// Returns the exchange without its unusual windows, as far as counts go; all of the rest counts as recent.
    pub fn without_unusual(&self) -> Self {
        let Unusual { windows, windows_answered, flows, answered } = self.unusual;
        let (flows, answered) = (self.flows.saturating_sub(flows), self.answered.saturating_sub(answered));
        Self {
            windows: self.windows.saturating_sub(windows),
            windows_answered: self.windows_answered.saturating_sub(windows_answered),
            flows,
            answered,
            recent_flows: real(flows),
            recent_answered: real(answered),
            unusual: Unusual::default(),
            ..*self
        }
    }

    fn add(&mut self, sums: &SeriesSums, window: &Window) {
        let elapsed_s = window.end_s().saturating_sub(self.last_s);
        let elapsed_windows = real(elapsed_s) / f64::from(window.width_s.max(1));
        let kept = (-elapsed_windows / RECENT_HALF_WINDOWS).exp2();
        self.recent_flows = self.recent_flows * kept + real(sums.flows);
        self.recent_answered = self.recent_answered * kept + real(sums.answered);
        self.last_s = self.last_s.max(window.end_s());
        self.windows = self.windows.saturating_add(1);
        self.windows_answered = self.windows_answered.saturating_add(u64::from(sums.answered > 0));
        self.flows = self.flows.saturating_add(sums.flows);
        self.answered = self.answered.saturating_add(sums.answered);
        self.refused = self.refused.saturating_add(sums.refused);
        self.bytes_forward = self.bytes_forward.saturating_add(sums.bytes_forward);
        self.bytes_reverse = self.bytes_reverse.saturating_add(sums.bytes_reverse);
        self.sources = self.sources.max(sums.sources);
        self.destinations = self.destinations.max(sums.destinations);
        self.is_allowed = sums.refused < sums.flows || sums.flows == 0;
        self.rule = sums.rule;
    }
}

impl Profile {
    /// Takes in what all series did in one span.
    pub fn observe(&mut self, window: &Window) {
        self.width_s = window.width_s;
        self.remembered.expire(window.end_s());
        self.pairs.observe(window);
        for (key, sums) in &window.series {
            self.remember(window, key, sums);
            if self.exchanges.len() >= EXCHANGES_MAX && !self.exchanges.contains_key(key) {
                self.evict();
            }
            let new = || Exchange { first_s: window.start_s, last_s: window.start_s, ..Exchange::default() };
            self.exchanges.entry(*key).or_insert_with(new).add(sums, window);
        }
    }

    /// Takes note of which series were unusual in the window that was observed last.
    pub fn note_anomalies(&mut self, anomalies: &[Anomaly]) {
        for anomaly in anomalies {
            self.pairs.forget_newest(&anomaly.key, anomaly.start_s);
            let Some(exchange) = self.exchanges.get_mut(&anomaly.key) else { continue };
            exchange.anomaly_s = Some(anomaly.start_s.saturating_add(u64::from(anomaly.width_s)));
            let unusual = &mut exchange.unusual;
            unusual.windows = unusual.windows.saturating_add(1);
            let is_answered = u64::from(anomaly.sums.answered > 0);
            unusual.windows_answered = unusual.windows_answered.saturating_add(is_answered);
            unusual.flows = unusual.flows.saturating_add(anomaly.sums.flows);
            unusual.answered = unusual.answered.saturating_add(anomaly.sums.answered);
        }
    }

    /// Returns the series that were answered in enough windows over long enough, go on at `now_s` and have not been
    /// unusual of late, in order of keys; behind them parties whose ports hardly ever come twice.
    ///
    /// What counts is the answered share of the flows that the policy let pass: a refused attempt could not be
    /// answered. It says nothing for the series either, which is for the adviser to weigh. A share of few flows is taken
    /// for what it may be at most: one flow lost of six is no reason to doubt the five.
    pub fn steady(&self, now_s: u64, settings: &AdviserSettings) -> Vec<SteadyPattern> {
        let windows_s = |windows: u32| u64::from(windows) * u64::from(self.width_s);
        let is_over = |exchange: &Exchange| {
            let rests = exchange.anomaly_s.is_some_and(|anomaly_s| {
                now_s < anomaly_s.saturating_add(windows_s(settings.anomaly_open_windows))
            });
            rests
                || exchange.last_s.saturating_sub(exchange.first_s) < windows_s(settings.steady_span_windows)
                || now_s.saturating_sub(exchange.last_s) > settings.steady_silence_s
        };
        let is_steady = |exchange: &Exchange| {
            let passed = exchange.flows.saturating_sub(exchange.refused);
            !is_over(exchange)
                && exchange.windows_answered >= u64::from(settings.steady_windows)
                && share_at_most(exchange.answered, passed) >= settings.steady_answered_share
        };
        let steady = self.exchanges.iter().filter(|(_, exchange)| is_steady(exchange));
        let one = |(key, exchange): (&SeriesKey, &Exchange)| SteadyPattern {
            key: *key,
            exchange: *exchange,
            ports: PatternPorts::One,
        };
        let mut steady: Vec<_> = steady.map(one).collect();
        steady.sort_unstable_by_key(|pattern| pattern.key);
        steady.extend(patterns::spread(&self.exchanges, settings, is_over));
        steady
    }

    /// Returns what is known of a series.
    pub fn exchange(&self, key: &SeriesKey) -> Option<&Exchange> {
        self.exchanges.get(key)
    }

    /// Returns the counts of flows of the last days.
    pub fn remembered(&self) -> &RememberedFlows {
        &self.remembered
    }

    /// Returns who answered whom, address by address.
    pub fn pairs(&self) -> &SeenPairs {
        &self.pairs
    }

    /// Returns how many series are known.
    pub fn len(&self) -> usize {
        self.exchanges.len()
    }

    /// Returns whether no series is known.
    pub fn is_empty(&self) -> bool {
        self.exchanges.is_empty()
    }

    /// Returns what a checkpoint keeps.
    pub fn state(&self) -> ProfileState {
        let mut exchanges: Vec<_> = self.exchanges.iter().map(|(key, value)| (*key, *value)).collect();
        exchanges.sort_unstable_by_key(|(key, _)| *key);
        ProfileState {
            exchanges,
            remembered: self.remembered.state(),
            pairs: self.pairs.state(),
            width_s: self.width_s,
            exchanges_evicted: self.exchanges_evicted,
        }
    }

    /// Returns the profile that a checkpoint kept, cut to the bounds of this one.
    pub fn restore(state: ProfileState) -> Self {
        let ProfileState { exchanges, remembered, pairs, width_s, exchanges_evicted } = state;
        Self {
            exchanges: exchanges.into_iter().take(EXCHANGES_MAX).collect(),
            remembered: RememberedFlows::restore(remembered),
            pairs: SeenPairs::restore(pairs),
            width_s,
            exchanges_evicted,
        }
    }

    fn remember(&mut self, window: &Window, key: &SeriesKey, sums: &SeriesSums) {
        let refused = sums.refused.min(sums.flows);
        for (is_allowed, flows) in [(true, sums.flows - refused), (false, refused)] {
            if flows > 0 {
                self.remembered.add(window.start_s, FlowKind::of(key, is_allowed, sums.rule), flows);
            }
        }
    }

    /// Forgets the series that were seen least recently, of those seen at once the ones seen in fewest windows.
    fn evict(&mut self) {
        let age = |key: &SeriesKey, exchange: &Exchange| (exchange.last_s, exchange.windows, *key);
        let mut ages: Vec<_> = self.exchanges.iter().map(|(key, exchange)| age(key, exchange)).collect();
        let part = ages.len() / EVICTED_PART;
        let (_, oldest_kept, _) = ages.select_nth_unstable(part);
        let oldest_kept = *oldest_kept;
        self.exchanges.retain(|key, exchange| age(key, exchange) >= oldest_kept);
        self.exchanges_evicted =
            self.exchanges_evicted.saturating_add(u64::try_from(part).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::PartyId;

    const NOW: u64 = 1_700_000_000;

    fn key(source: u32) -> SeriesKey {
        SeriesKey {
            source: PartyId(source),
            destination: PartyId(1),
            segment: 1,
            protocol: 6,
            service_port: 80,
        }
    }

    fn sums(flows: u64, answered: u64, refused: u64) -> SeriesSums {
        SeriesSums { flows, answered, refused, ..SeriesSums::default() }
    }

    fn window(at: u64, series: Vec<(SeriesKey, SeriesSums)>) -> Window {
        Window { start_s: NOW + at, width_s: 1, series, ..Window::default() }
    }

    fn settings() -> AdviserSettings {
        AdviserSettings { steady_windows: 10, steady_span_windows: 10, ..AdviserSettings::default() }
    }

    fn watched(windows: u64, sums: SeriesSums) -> Profile {
        let mut profile = Profile::default();
        (0..windows).for_each(|at| profile.observe(&window(at, vec![(key(0), sums)])));
        profile
    }

    #[test]
    fn an_exchange_is_steady_once_it_was_answered_in_enough_windows() {
        assert!(watched(9, sums(5, 5, 0)).steady(NOW + 9, &settings()).is_empty());
        let steady = watched(10, sums(5, 5, 0)).steady(NOW + 10, &settings());
        assert_eq!((steady.len(), steady[0].exchange.flows, steady[0].exchange.windows), (1, 50, 10));
    }

    #[test]
    fn an_exchange_that_is_not_answered_is_not_steady() {
        assert!(watched(50, sums(10, 8, 0)).steady(NOW + 50, &settings()).is_empty());
        assert!(watched(50, sums(10, 0, 10)).steady(NOW + 50, &settings()).is_empty());
        // What was refused could not be answered.
        assert_eq!(watched(50, sums(10, 5, 5)).steady(NOW + 50, &settings()).len(), 1);
    }

    #[test]
    fn ten_windows_in_a_short_span_are_not_steady() {
        let settings = AdviserSettings { steady_span_windows: 30, ..settings() };
        assert!(watched(20, sums(5, 5, 0)).steady(NOW + 20, &settings).is_empty());
        assert_eq!(watched(30, sums(5, 5, 0)).steady(NOW + 30, &settings).len(), 1);
    }

    #[test]
    fn an_exchange_that_was_unusual_rests() {
        let mut profile = watched(20, sums(5, 5, 0));
        let anomaly = crate::adviser::tests::anomaly(key(0), sums(5, 5, 0), NOW + 19);
        profile.note_anomalies(&[anomaly]);
        let settings = AdviserSettings { anomaly_open_windows: 30, ..settings() };
        assert!(profile.steady(NOW + 49, &settings).is_empty());
        assert_eq!(profile.steady(NOW + 50, &settings).len(), 1);
        let past = profile.exchange(&key(0)).unwrap().without_unusual();
        assert_eq!((past.flows, past.windows, past.answered), (95, 19, 95));
    }

    #[test]
    fn recent_activity_fades_while_sums_stay() {
        let mut profile = watched(100, sums(10, 10, 0));
        (100..130).for_each(|at| profile.observe(&window(at, vec![(key(0), sums(10, 0, 10))])));
        let exchange = profile.exchange(&key(0)).unwrap();
        assert!((exchange.answered_share() - 1_000.0 / 1_300.0).abs() < 1e-9);
        assert!(exchange.recently_answered_share() < 0.5);
    }

    #[test]
    fn a_full_table_forgets_those_not_seen_for_longest() {
        let mut profile = Profile::default();
        let max = u32::try_from(EXCHANGES_MAX).unwrap();
        profile.observe(&window(0, (0..max).map(|at| (key(at), sums(1, 1, 0))).collect()));
        profile.observe(&window(1, (0..max / 2).map(|at| (key(at), sums(1, 1, 0))).collect()));
        profile.observe(&window(2, vec![(key(max), sums(1, 1, 0))]));
        assert_eq!(profile.len(), EXCHANGES_MAX - EXCHANGES_MAX / EVICTED_PART + 1);
        assert_eq!(profile.exchanges_evicted, u64::from(max) / 8);
        assert!((0..max / 2).all(|at| profile.exchange(&key(at)).is_some()));
    }

    #[test]
    fn a_checkpoint_brings_all_of_it_back() {
        let mut profile = watched(30, sums(5, 4, 1));
        profile.note_anomalies(&[crate::adviser::tests::anomaly(key(0), sums(5, 4, 1), NOW + 29)]);
        let text = serde_json::to_string(&profile.state()).unwrap();
        assert_eq!(Profile::restore(serde_json::from_str(&text).unwrap()), profile);
    }
}
