//! Windows that are being filled: what every series does in the span that is open.
//!
//! A window stays open for [`GRACE_S`] after its end, because records come late: an exporter gathers refusals for a
//! second before it tells them. A record whose window has closed, or that claims the future, goes where the clock is;
//! a window is never opened again. So windows come out in order, each once. A span without records makes none.

use crate::distinct::DistinctAddresses;
use crate::flow_totals::Increment;
use crate::series::{AddressPair, SeriesKey, SeriesSums, Window};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use meshgate_policy::address_from_bytes;
use std::collections::BTreeMap;

/// How long a window stays open after its end: two turns of an exporter's gathering of refusals.
pub const GRACE_S: u64 = 2;
/// Series of one window: as many as a table of 2^16 places holds before it doubles, 10 MiB. Beyond that, records of
/// further series are counted as left out.
pub const SERIES_MAX: usize = (1 << 16) / 8 * 7;
/// Pairs of addresses of one series and window. They are looked through one by one, and only for a flow that begins or is
/// answered; who talks on is found window by window.
const PAIRS_PER_SERIES_MAX: usize = 32;
/// Pairs of addresses of one window: 1 MiB.
pub const PAIRS_MAX: usize = 1 << 14;
/// The longest window: a day, as the time of day is one of the features.
pub const WIDTH_S_MAX: u32 = 86_400;

/// A width that no window can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a window of {0} s: the width is between 1 and {WIDTH_S_MAX} s")]
pub struct WidthError(pub u32);

/// What one record says about a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The series.
    pub key: SeriesKey,
    /// What the record adds.
    pub increment: Increment,
    /// Address of the initiator, as flow records carry it.
    pub source_address: [u8; 16],
    /// The other address.
    pub destination_address: [u8; 16],
    /// The rule that decided; 0 = none.
    pub rule: u32,
    /// Version of the policy that decided.
    pub policy_version: u64,
    /// Time of the last packet, nanoseconds since 1970.
    pub last_ns: u64,
}

/// The open windows.
#[derive(Debug)]
pub struct History {
    width_s: u32,
    open: BTreeMap<u64, OpenWindow>,
    /// Everything before this second is closed.
    closed_until_s: u64,
    /// Records that came too late for their own window, or claimed the future.
    records_late: u64,
}

/// A window that is being filled.
#[derive(Debug, Default)]
struct OpenWindow {
    series: HashMap<SeriesKey, OpenSeries>,
    /// Pairs of addresses of all series.
    pairs: usize,
    records: u64,
    records_lost: u64,
    records_left_out: u64,
}

/// A series of such a window.
#[derive(Debug, Default)]
struct OpenSeries {
    total: Increment,
    sources: DistinctAddresses,
    destinations: DistinctAddresses,
    pairs: Vec<OpenPair>,
    rule: u32,
    policy_version: u64,
    /// When rule and version decided.
    last_ns: u64,
}

/// Two addresses of such a series, as flow records carry them.
#[derive(Clone, Copy, Debug)]
struct OpenPair {
    source: [u8; 16],
    destination: [u8; 16],
    is_answered: bool,
}

impl History {
    /// Returns a history without windows; they will have this width.
    pub fn new(width_s: u32) -> Result<Self, WidthError> {
        if !(1..=WIDTH_S_MAX).contains(&width_s) {
            return Err(WidthError(width_s));
        }
        Ok(Self { width_s, open: BTreeMap::new(), closed_until_s: 0, records_late: 0 })
    }

    /// Returns the width of a window in seconds.
    pub fn width_s(&self) -> u32 {
        self.width_s
    }

    /// Returns how many records did not go into the window of their time.
    pub fn records_late(&self) -> u64 {
        self.records_late
    }

    /// Adds what a record said at `now_s` (seconds since 1970). Returns whether there was room for it.
    pub fn add(&mut self, observation: &Observation, now_s: u64) -> bool {
        let seen_s = observation.last_ns / 1_000_000_000;
        let start_s = self.start_of(seen_s);
        let is_open = seen_s <= now_s && self.is_open(start_s, now_s);
        self.records_late += u64::from(!is_open);
        let window = if is_open { self.open.entry(start_s).or_default() } else { self.window_at(now_s) };
        window.add(observation)
    }

    /// Takes note of records that never came.
    pub fn add_lost(&mut self, records: u64, now_s: u64) {
        self.window_at(now_s).records_lost += records;
    }

    /// Returns the windows that have closed at `now_s`, oldest first, each with its series in order.
    pub fn close(&mut self, now_s: u64) -> Vec<Window> {
        let mut closed = Vec::new();
        while let Some(first) = self.open.first_entry()
            && end_s(*first.key(), self.width_s) + GRACE_S <= now_s
        {
            let (start_s, window) = first.remove_entry();
            self.closed_until_s = end_s(start_s, self.width_s);
            closed.push(window.into_window(start_s, self.width_s));
        }
        closed
    }

    /// Returns all windows that are open, as if their time were over. For the end.
    pub fn close_all(&mut self) -> Vec<Window> {
        self.close(u64::MAX)
    }

    /// Returns how many series the open windows hold together.
    pub fn series_open(&self) -> usize {
        self.open.values().map(|window| window.series.len()).sum()
    }

    fn is_open(&self, start_s: u64, now_s: u64) -> bool {
        start_s >= self.closed_until_s && end_s(start_s, self.width_s) + GRACE_S > now_s
    }

    /// Returns the window in which the clock is. One that was closed while the clock stood further ahead stays so.
    fn window_at(&mut self, now_s: u64) -> &mut OpenWindow {
        let start_s = self.start_of(now_s).max(self.closed_until_s);
        self.open.entry(start_s).or_default()
    }

    fn start_of(&self, at_s: u64) -> u64 {
        at_s - at_s % u64::from(self.width_s)
    }
}

fn end_s(start_s: u64, width_s: u32) -> u64 {
    start_s.saturating_add(u64::from(width_s))
}

impl OpenWindow {
    fn add(&mut self, observation: &Observation) -> bool {
        let is_full = self.series.len() >= SERIES_MAX;
        let series = match self.series.entry(observation.key) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(_) if is_full => {
                self.records_left_out += 1;
                return false;
            }
            Entry::Vacant(place) => place.insert(OpenSeries::default()),
        };
        self.records += 1;
        series.add(observation);
        self.pairs += usize::from(series.add_pair(observation, self.pairs < PAIRS_MAX));
        true
    }

    fn into_window(self, start_s: u64, width_s: u32) -> Window {
        let mut pairs = Vec::with_capacity(self.pairs);
        let mut close = |(key, series): (SeriesKey, OpenSeries)| {
            pairs.extend(series.pairs.iter().map(|pair| pair.of(key)));
            (key, series.into_sums())
        };
        let mut series: Vec<_> = self.series.into_iter().map(&mut close).collect();
        series.sort_unstable_by_key(|(key, _)| *key);
        pairs.sort_unstable();
        Window {
            start_s,
            width_s,
            series,
            pairs,
            records: self.records,
            records_lost: self.records_lost,
            records_left_out: self.records_left_out,
        }
    }
}

impl OpenSeries {
    fn add(&mut self, observation: &Observation) {
        self.total.add(&observation.increment);
        self.sources.add(observation.source_address);
        self.destinations.add(observation.destination_address);
        if observation.last_ns >= self.last_ns {
            self.last_ns = observation.last_ns;
            self.rule = observation.rule;
            self.policy_version = observation.policy_version;
        }
    }

    /// Takes in the addresses of a flow that began or was answered. Returns whether they are new.
    fn add_pair(&mut self, observation: &Observation, has_room: bool) -> bool {
        let Observation { source_address: source, destination_address: destination, increment, .. } =
            *observation;
        let is_answered = increment.answered > 0;
        if increment.flows == 0 && !is_answered {
            return false;
        }
        let is_same = |pair: &&mut OpenPair| pair.source == source && pair.destination == destination;
        if let Some(known) = self.pairs.iter_mut().find(is_same) {
            known.is_answered |= is_answered;
            return false;
        }
        let is_new = has_room && self.pairs.len() < PAIRS_PER_SERIES_MAX;
        if is_new {
            self.pairs.push(OpenPair { source, destination, is_answered });
        }
        is_new
    }

    fn into_sums(self) -> SeriesSums {
        let Increment {
            flows,
            answered,
            refused,
            packets_forward,
            bytes_forward,
            packets_reverse,
            bytes_reverse,
        } = self.total;
        SeriesSums {
            flows,
            answered,
            refused,
            packets_forward,
            packets_reverse,
            bytes_forward,
            bytes_reverse,
            sources: self.sources.estimate(),
            destinations: self.destinations.estimate(),
            rule: self.rule,
            policy_version: self.policy_version,
        }
    }
}

impl OpenPair {
    fn of(&self, key: SeriesKey) -> AddressPair {
        let Self { source, destination, is_answered } = *self;
        let (source, destination) = (address_from_bytes(source), address_from_bytes(destination));
        AddressPair { key, source, destination, is_answered }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::PartyId;

    const NOW: u64 = 1_700_000_040;
    const WIDTH: u32 = 60;

    fn history() -> History {
        History::new(WIDTH).unwrap()
    }

    fn seen(service_port: u16, at_s: u64) -> Observation {
        Observation {
            key: SeriesKey {
                source: PartyId(1),
                destination: PartyId(2),
                segment: 1,
                protocol: 6,
                service_port,
            },
            increment: Increment { flows: 1, packets_forward: 3, bytes_forward: 200, ..Increment::default() },
            source_address: [1; 16],
            destination_address: [2; 16],
            rule: u32::from(service_port),
            policy_version: 7,
            last_ns: at_s * 1_000_000_000,
        }
    }

    #[test]
    fn a_window_closes_once_and_only_after_the_grace() {
        let mut history = history();
        history.add(&seen(80, NOW), NOW);
        assert!(history.close(NOW + 60 + GRACE_S - 1).is_empty());
        let closed = history.close(NOW + 60 + GRACE_S);
        assert_eq!(closed.iter().map(|window| window.start_s).collect::<Vec<_>>(), [NOW]);
        assert_eq!((closed[0].records, closed[0].series[0].1.flows), (1, 1));
        assert!(history.close_all().is_empty());
    }

    #[test]
    fn windows_come_in_order_with_their_series_in_order() {
        let mut history = history();
        for port in [443, 80, 22] {
            history.add(&seen(port, NOW + 60), NOW + 60);
        }
        history.add(&seen(22, NOW + 59), NOW + 60);
        let closed = history.close_all();
        assert_eq!(closed.iter().map(|window| window.start_s).collect::<Vec<_>>(), [NOW, NOW + 60]);
        let ports: Vec<_> = closed[1].series.iter().map(|(key, _)| key.service_port).collect();
        assert_eq!(ports, [22, 80, 443]);
    }

    #[test]
    fn a_late_record_goes_where_the_clock_is_and_so_does_one_from_the_future() {
        let mut history = history();
        history.add(&seen(80, NOW), NOW + 60 + GRACE_S);
        history.add(&seen(80, NOW + 600), NOW + 60 + GRACE_S);
        let closed = history.close_all();
        assert_eq!(closed.iter().map(|w| (w.start_s, w.records)).collect::<Vec<_>>(), [(NOW + 60, 2)]);
        assert_eq!(history.records_late(), 2);
    }

    #[test]
    fn a_clock_that_goes_back_opens_no_closed_window() {
        let mut history = history();
        history.add(&seen(80, NOW), NOW);
        assert_eq!(history.close(NOW + 100).len(), 1);
        history.add(&seen(80, NOW - 500), NOW - 500);
        assert_eq!(history.close_all()[0].start_s, NOW + 60);
    }

    #[test]
    fn losses_make_a_window_too() {
        let mut history = history();
        history.add_lost(5, NOW);
        let closed = history.close_all();
        assert_eq!((closed[0].records_lost, closed[0].series.len()), (5, 0));
    }

    #[test]
    fn a_full_window_counts_what_it_leaves_out_and_still_adds_to_what_it_has() {
        let mut history = history();
        let key = |at: usize| {
            let at = u32::try_from(at).unwrap();
            let observation = seen(80, NOW);
            Observation { key: SeriesKey { source: PartyId(at), ..observation.key }, ..observation }
        };
        let beyond = 1_000;
        let kept = (0..SERIES_MAX + beyond).filter(|at| history.add(&key(*at), NOW)).count();
        assert!(history.add(&key(0), NOW));
        let window = history.close_all().remove(0);
        assert_eq!((kept, window.series.len()), (SERIES_MAX, SERIES_MAX));
        assert_eq!(window.records + window.records_left_out, (SERIES_MAX + beyond + 1) as u64);
        assert_eq!(window.series[0].1.flows, 2);
    }

    #[test]
    fn pairs_of_addresses_are_those_of_flows_that_begin_or_are_answered_and_bounded() {
        let mut history = history();
        let from = |number: u16, increment| Observation {
            source_address: meshgate_policy::address_bytes(
                std::net::Ipv4Addr::from_bits(0x0a00_0000 + u32::from(number)).into(),
            ),
            increment,
            ..seen(80, NOW)
        };
        let (begins, goes_on) = (Increment { flows: 1, ..Increment::default() }, Increment::default());
        history.add(&from(1, begins), NOW);
        history.add(&from(1, Increment { answered: 1, ..goes_on }), NOW);
        history.add(&from(2, goes_on), NOW);
        history.add(&from(3, begins), NOW);
        let many = u16::try_from(2 * PAIRS_PER_SERIES_MAX).unwrap();
        (10..many).for_each(|number| _ = history.add(&from(number, begins), NOW));
        let window = history.close_all().remove(0);
        assert_eq!(window.pairs.len(), PAIRS_PER_SERIES_MAX);
        let known: Vec<(String, bool)> =
            window.pairs.iter().take(2).map(|pair| (pair.source.to_string(), pair.is_answered)).collect();
        assert_eq!(known, [("10.0.0.1".to_owned(), true), ("10.0.0.3".to_owned(), false)]);
    }

    #[test]
    fn the_rule_is_the_one_that_decided_last() {
        let mut history = history();
        let at = |rule, at_s| Observation { rule, ..seen(80, at_s) };
        for (rule, at_s) in [(1, NOW + 5), (2, NOW + 9), (3, NOW + 7)] {
            history.add(&at(rule, at_s), NOW + 9);
        }
        let sums = history.close_all()[0].series[0].1;
        assert_eq!((sums.rule, sums.policy_version, sums.sources, sums.destinations), (2, 7, 1, 1));
    }

    #[test]
    fn a_width_of_nothing_is_refused() {
        assert_eq!(History::new(0).unwrap_err(), WidthError(0));
        assert_eq!(History::new(WIDTH_S_MAX + 1).unwrap_err(), WidthError(WIDTH_S_MAX + 1));
    }
}
