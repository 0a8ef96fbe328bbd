//! Who answered whom, address by address: what tells how wide a rule has to be.
//!
//! Sums are kept by groups, since groups are what people write rules for. Whether a rule should be for the whole group, for a
//! larger one or for two addresses of it can only be told from the addresses. Those of answered flows are kept, each pair
//! with the first and the last window in which it was seen; who was never answered speaks for no width.

use crate::series::{AddressPair, SeriesKey, Window};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Pairs that are kept. At some 100 bytes each that is 7 MB.
pub const PAIRS_MAX: usize = 1 << 16;
/// Pairs of one series: beyond that a list of addresses is no rule that anybody would write.
const PAIRS_PER_SERIES_MAX: usize = 1 << 10;
/// Share of the pairs that make room at once when there is none.
const EVICTED_PART: usize = 8;

/// A pair with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenPair {
    /// Who began the flows.
    pub source: IpAddr,
    /// Who answered.
    pub destination: IpAddr,
    /// Start of the first window in which it did, seconds since 1970.
    pub first_s: u64,
    /// Start of the last one.
    pub last_s: u64,
}

/// Start of the first and of the last window.
type Span = (u64, u64);

/// Segment, protocol and port, or ICMP type.
type ServiceKey = (u16, u8, u16);

/// The pairs of one series.
type PairsOfSeries = BTreeMap<(IpAddr, IpAddr), Span>;

/// The pairs of all series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenPairs {
    /// By service, as who else uses one is asked of every draft.
    services: BTreeMap<ServiceKey, BTreeMap<SeriesKey, PairsOfSeries>>,
    count: usize,
    /// Those of the last window, answered or not: an anomaly is about them.
    latest: Vec<AddressPair>,
}

/// What a checkpoint keeps of [`SeenPairs`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenPairsState(Vec<(SeriesKey, Vec<SeenPair>)>);

impl SeenPairs {
    /// Takes in the pairs of a window.
    pub fn observe(&mut self, window: &Window) {
        window.pairs.iter().filter(|pair| pair.is_answered).for_each(|pair| self.add(pair, window.start_s));
        self.latest.clone_from(&window.pairs);
    }

    /// Forgets what a series had for the first time in the window that was observed last: it was unusual.
    pub fn forget_newest(&mut self, key: &SeriesKey, start_s: u64) {
        let Some(pairs) = self.services.get_mut(&service(key)).and_then(|series| series.get_mut(key)) else {
            return;
        };
        let before = pairs.len();
        pairs.retain(|_, (first_s, _)| *first_s < start_s);
        self.count -= before - pairs.len();
    }

    /// Returns the pairs of a series.
    pub fn of(&self, key: &SeriesKey) -> impl Iterator<Item = SeenPair> + '_ {
        let pairs = self.services.get(&service(key)).and_then(|series| series.get(key)).into_iter().flatten();
        pairs.map(|((source, destination), (first_s, last_s))| SeenPair {
            source: *source,
            destination: *destination,
            first_s: *first_s,
            last_s: *last_s,
        })
    }

    /// Returns the series of a service within a segment that have pairs.
    pub fn series_of(&self, segment: u16, (protocol, port): (u8, u16)) -> impl Iterator<Item = &SeriesKey> {
        self.services.get(&(segment, protocol, port)).into_iter().flat_map(BTreeMap::keys)
    }

    /// Returns the series between the parties of this one that have pairs.
    pub fn between(&self, key: &SeriesKey) -> impl Iterator<Item = &SeriesKey> {
        let SeriesKey { source, destination, segment, .. } = *key;
        self.series().map(|(key, _)| key).filter(move |other| {
            (other.source, other.destination, other.segment) == (source, destination, segment)
        })
    }

    /// Returns the addresses of all pairs within a segment.
    pub fn addresses(&self, segment: u16) -> impl Iterator<Item = IpAddr> + '_ {
        let within = self.series().filter(move |(key, _)| key.segment == segment);
        within.flat_map(|(_, pairs)| pairs.keys().flat_map(|(source, destination)| [*source, *destination]))
    }

    /// Returns the pairs of a series in the window that was observed last, answered or not.
    pub fn latest_of(&self, key: &SeriesKey) -> impl Iterator<Item = &AddressPair> {
        let first = self.latest.partition_point(|pair| pair.key < *key);
        self.latest[first..].iter().take_while(move |pair| pair.key == *key)
    }

    /// Returns how many pairs are kept.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns whether none is.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns what a checkpoint keeps.
    pub fn state(&self) -> SeenPairsState {
        SeenPairsState(self.series().map(|(key, _)| (*key, self.of(key).collect())).collect())
    }

    /// Returns what a checkpoint kept, cut to the bounds of this one.
    pub fn restore(state: SeenPairsState) -> Self {
        let mut seen = Self::default();
        for (key, pairs) in state.0 {
            for SeenPair { source, destination, first_s, last_s } in pairs {
                if seen.count < PAIRS_MAX {
                    let pair = AddressPair { key, source, destination, is_answered: true };
                    seen.add(&pair, first_s);
                    seen.add(&pair, last_s.max(first_s));
                }
            }
        }
        seen
    }

    fn add(&mut self, pair: &AddressPair, start_s: u64) {
        let AddressPair { key, source, destination, is_answered: _ } = *pair;
        let series = self.services.get_mut(&service(&key)).and_then(|series| series.get_mut(&key));
        if let Some((_, last_s)) = series.and_then(|pairs| pairs.get_mut(&(source, destination))) {
            *last_s = start_s;
            return;
        }
        if self.count >= PAIRS_MAX {
            self.evict();
        }
        let pairs = self.services.entry(service(&key)).or_default().entry(key).or_default();
        if pairs.len() < PAIRS_PER_SERIES_MAX {
            pairs.insert((source, destination), (start_s, start_s));
            self.count += 1;
        }
    }

    /// Forgets the pairs that were seen least recently.
    fn evict(&mut self) {
        let all = self
            .series()
            .flat_map(|(key, pairs)| pairs.iter().map(|(pair, (_, last_s))| (*last_s, *key, *pair)));
        let mut ages: Vec<_> = all.collect();
        let part = ages.len() / EVICTED_PART;
        let (_, oldest_kept, _) = ages.select_nth_unstable(part);
        let oldest_kept = *oldest_kept;
        for series in self.services.values_mut() {
            series.retain(|key, pairs| {
                pairs.retain(|pair, (_, last_s)| (*last_s, *key, *pair) >= oldest_kept);
                !pairs.is_empty()
            });
        }
        self.services.retain(|_, series| !series.is_empty());
        self.count -= part;
    }

    fn series(&self) -> impl Iterator<Item = (&SeriesKey, &PairsOfSeries)> {
        self.services.values().flatten()
    }
}

fn service(key: &SeriesKey) -> ServiceKey {
    (key.segment, key.protocol, key.service_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::PartyId;
    use std::net::Ipv4Addr;

    fn key(port: u16) -> SeriesKey {
        SeriesKey { source: PartyId(0), destination: PartyId(1), segment: 1, protocol: 6, service_port: port }
    }

    fn pair(key: SeriesKey, number: u32, is_answered: bool) -> AddressPair {
        let source = Ipv4Addr::from_bits(0x0a00_0000 + number).into();
        AddressPair { key, source, destination: [10, 9, 9, 9].into(), is_answered }
    }

    fn window(start_s: u64, pairs: Vec<AddressPair>) -> Window {
        Window { start_s, width_s: 1, pairs, ..Window::default() }
    }

    #[test]
    fn answered_pairs_are_kept_with_their_span_and_others_for_a_window() {
        let mut seen = SeenPairs::default();
        seen.observe(&window(5, vec![pair(key(80), 1, true), pair(key(80), 2, false)]));
        seen.observe(&window(9, vec![pair(key(80), 1, true), pair(key(81), 1, false)]));
        let kept: Vec<_> = seen.of(&key(80)).map(|pair| (pair.first_s, pair.last_s)).collect();
        assert_eq!((kept, seen.len()), (vec![(5, 9)], 1));
        assert_eq!((seen.latest_of(&key(81)).count(), seen.of(&key(81)).count()), (1, 0));
        assert_eq!(seen.series_of(1, (6, 80)).count(), 1);
        assert_eq!(seen.series_of(2, (6, 80)).count(), 0);
    }

    #[test]
    fn what_was_new_in_an_unusual_window_is_forgotten() {
        let mut seen = SeenPairs::default();
        seen.observe(&window(5, vec![pair(key(80), 1, true)]));
        seen.observe(&window(6, vec![pair(key(80), 1, true), pair(key(80), 2, true)]));
        seen.forget_newest(&key(80), 6);
        assert_eq!((seen.of(&key(80)).count(), seen.len()), (1, 1));
    }

    #[test]
    fn there_are_bounds_and_a_checkpoint_keeps_within_them() {
        let mut seen = SeenPairs::default();
        let per_series = u32::try_from(PAIRS_PER_SERIES_MAX).unwrap();
        let series = u16::try_from(PAIRS_MAX / PAIRS_PER_SERIES_MAX).unwrap();
        for port in 0..=series {
            let pairs = (0..=per_series).map(|number| pair(key(port), number, true)).collect();
            seen.observe(&window(port.into(), pairs));
        }
        assert!(seen.len() <= PAIRS_MAX, "{}", seen.len());
        assert_eq!((seen.of(&key(0)).count(), seen.of(&key(series)).count()), (0, PAIRS_PER_SERIES_MAX));
        let total: usize = seen.series().map(|(_, pairs)| pairs.len()).sum();
        assert_eq!(total, seen.len());
        let text = serde_json::to_string(&seen.state()).unwrap();
        let again = SeenPairs::restore(serde_json::from_str(&text).unwrap());
        assert_eq!((again.len(), again.state()), (seen.len(), seen.state()));
    }
}
