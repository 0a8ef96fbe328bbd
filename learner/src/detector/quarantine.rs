//! What is to be learned of a row, and where it waits while its series is young.
//!
//! The first window of an attack may be too little to speak of. Were it learned at once, it would vouch for the second one.
//! So what young series did waits until they are no longer young, and is dropped if they turn out to be anomalies. It must
//! be learned in the end: that now and then something small and new appears is what makes novelty less than astonishing.

use super::YOUNG_WINDOWS;
use super::novelty::Novelty;
use crate::checkpoint::saved::saved;
use crate::series::{PartyId, SeriesKey};
use hashbrown::HashSet;
use std::collections::VecDeque;

/// Samples that wait, 2 MB. Under a flood of new series the oldest are learned early.
const WAITING_MAX: usize = 16_384;

/// What is to be learned of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// Who began the flows.
    pub(super) source: PartyId,
    /// What was new about it.
    pub(super) novelty: Novelty,
    /// Whether the count is that of young series.
    pub(super) is_young: bool,
    /// Score of the count; none before a series has a past.
    pub(super) count: Option<f64>,
    /// `ln(1 + flows)`.
    pub(super) flows: f64,
    /// Negative log likelihood; none without a model.
    pub(super) density: Option<f64>,
    /// The score; none if something that it rests on was not calibrated.
    pub(super) score: Option<f64>,
}

saved!(Sample { source, novelty, is_young, count, flows, density, score });

#[derive(Clone, Copy, Debug, PartialEq)]
struct Waiting {
    since: u64,
    key: SeriesKey,
    sample: Sample,
}

saved!(Waiting { since, key, sample });

/// Samples that wait, in order of windows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Quarantine {
    waiting: VecDeque<Waiting>,
}

saved!(Quarantine { waiting });

impl Quarantine {
    /// Takes a sample in; returns the oldest one where there is no room.
    pub(super) fn push(&mut self, key: SeriesKey, sample: Sample, window: u64) -> Option<Sample> {
        self.waiting.push_back(Waiting { since: window, key, sample });
        if self.waiting.len() > WAITING_MAX {
            self.waiting.pop_front().map(|oldest| oldest.sample)
        } else {
            None
        }
    }

    /// Drops the samples of these series.
    pub(super) fn drop_series(&mut self, series: &HashSet<SeriesKey>) {
        if !series.is_empty() {
            self.waiting.retain(|waiting| !series.contains(&waiting.key));
        }
    }

    /// Returns the samples that have waited long enough.
    pub(super) fn release(&mut self, window: u64) -> Vec<Sample> {
        let due = self.waiting.partition_point(|waiting| waiting.since + YOUNG_WINDOWS <= window);
        self.waiting.drain(..due).map(|waiting| waiting.sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(number: u16) -> SeriesKey {
        let (source, destination) = (PartyId(1), PartyId(2));
        SeriesKey { source, destination, segment: 1, protocol: 6, service_port: number }
    }

    fn sample(flows: f64) -> Sample {
        let (source, novelty) = (PartyId(1), Novelty::Pair);
        Sample { source, novelty, is_young: true, count: None, flows, density: None, score: None }
    }

    #[test]
    fn a_sample_is_learned_when_its_series_is_no_longer_young() {
        let mut quarantine = Quarantine::default();
        quarantine.push(series(1), sample(1.0), 10);
        quarantine.push(series(2), sample(2.0), 11);
        assert!(quarantine.release(10 + YOUNG_WINDOWS - 1).is_empty());
        assert_eq!(quarantine.release(10 + YOUNG_WINDOWS), [sample(1.0)]);
        assert_eq!(quarantine.release(11 + YOUNG_WINDOWS), [sample(2.0)]);
    }

    #[test]
    fn what_an_anomaly_did_before_is_never_learned() {
        let mut quarantine = Quarantine::default();
        quarantine.push(series(1), sample(1.0), 10);
        quarantine.push(series(2), sample(2.0), 10);
        quarantine.drop_series(&HashSet::from_iter([series(1)]));
        assert_eq!(quarantine.release(u64::MAX), [sample(2.0)]);
    }

    #[test]
    fn a_flood_makes_the_oldest_leave_early() {
        let mut quarantine = Quarantine::default();
        let left = (0..WAITING_MAX + 5).filter_map(|_| quarantine.push(series(1), sample(0.0), 1)).count();
        assert_eq!((left, quarantine.waiting.len()), (5, WAITING_MAX));
    }
}
