//! How a row compares with the closed days before: how well everything in it is known, how surprising strangers are, and how
//! much busier its parties are than usual.
//!
//! What a recording does not say is unknown and not new: without ports there are no services to know, and what is the same
//! for all rows tells none apart.

use super::counts::{Known, New, Related};
use super::entities::{ALL, COUNTED, Entities, Kind, of_kind};
use super::streams::{Pacing, Step};
use crate::features::{ASIDE, COMPARED, Row};
use crate::model::single;
use crate::series::SeriesKey;

const _: () = assert!(COUNTED + 2 == COMPARED.end - COMPARED.start);

/// Rows that the frequency of all counts in that of one.
const SHARED_ROWS: f64 = 5.0;
/// Probabilities are kept this far from impossible and from certain.
const PROBABILITY_MIN: f64 = 1e-6;
/// Rows that the pace of all pairs counts in that of one.
const SHARED_PACES: f64 = 2.0;
/// Variance that is added, so that a pair which never changed may change by a little.
const VARIANCE_FLOOR: f64 = 0.1;

/// Fills in what compares a row with the days before.
pub(super) fn compare(row: &mut Row, key: &SeriesKey, step: &Step, pacing: &Pacing, related: Related<'_>) {
    let Step { entities, new, stranger_surprise, .. } = step;
    let knows_ports = key.protocol != 0;
    let values = &mut row[COMPARED];
    for (value, kind) in values.iter_mut().zip(&ALL[..COUNTED]) {
        let is_said = knows_ports || !matches!(kind, Kind::Series | Kind::Service);
        let rows = related.known(of_kind(entities, *kind)).rows * related.all.scale;
        *value = if is_said { single(rows.ln_1p()) } else { 0.0 };
    }
    values[COUNTED] = single(*stranger_surprise);
    values[COUNTED + 1] = single(pair_pace(entities, pacing.pair, related));
    let (source, destination) = (Kind::Source, Kind::Destination);
    let [source, destination] = [source, destination].map(|kind| related.known(of_kind(entities, kind)));
    let meetings = related.share(related.all.first_meetings);
    let visitors = related.share(related.all.strangers[1]);
    row[ASIDE].copy_from_slice(&[
        single(surprise(new.pair, source.first_meetings, source.rows, meetings)),
        single(surprise(new.pair, destination.first_meetings, destination.rows, meetings)),
        single(surprise(new.source, destination.strangers, destination.rows, visitors)),
        single(pacing.visitors),
        single(pacing.sweep),
        single(pacing.trend),
    ]);
}

/// Returns how surprising it is that the destination is a stranger, or that it is none, from this source.
pub(super) fn stranger_surprise(entities: &Entities, new: New, related: Related<'_>) -> f64 {
    let source = related.known(of_kind(entities, Kind::Source));
    let strangers = related.share(related.all.strangers[0]);
    surprise(new.destination, source.strangers, source.rows, strangers)
}

/// Returns how surprising it is that something is new, or that it is not, where so many of so many rows had it new: `-ln` of
/// that frequency, drawn towards that of all.
fn surprise(is_new: bool, new_rows: f64, rows: f64, shared: f64) -> f64 {
    let frequency = (new_rows + SHARED_ROWS * bounded(shared)) / (rows + SHARED_ROWS);
    let probability = bounded(frequency);
    -(if is_new { probability } else { 1.0 - probability }).ln()
}

fn bounded(probability: f64) -> f64 {
    probability.clamp(PROBABILITY_MIN, 1.0 - PROBABILITY_MIN)
}

/// Returns by how many standard deviations the pair's pace is more than its rows used to have.
fn pair_pace(entities: &Entities, pace: f64, related: Related<'_>) -> f64 {
    let Known { rows, paces, .. } = related.known(of_kind(entities, Kind::Pair));
    let all = related.all.paces;
    let mean = (paces.sum + SHARED_PACES * related.share(all.sum)) / (rows + SHARED_PACES);
    let square = (paces.squares + SHARED_PACES * related.share(all.squares)) / (rows + SHARED_PACES);
    (pace - mean) / ((square - mean * mean).max(0.0) + VARIANCE_FLOOR).sqrt()
}

/// What is new about a row, from little to much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Novelty {
    /// Nothing.
    None,
    /// The service: the parties met on the closed days.
    Series,
    /// The pair: its source was a source.
    Pair,
    /// The source.
    Source,
}

impl Novelty {
    /// Returns the most that is new about a row.
    pub(super) fn of(new: New) -> Self {
        match (new.source, new.pair, new.series) {
            (true, ..) => Self::Source,
            (_, true, _) => Self::Pair,
            (_, _, true) => Self::Series,
            _ => Self::None,
        }
    }

    /// Returns how often the row's source meets something so new; of a source that is new itself, how often anybody is
    /// asked by such a one. 1 where nothing is new.
    pub(super) fn p_value(self, entities: &Entities, related: Related<'_>) -> f64 {
        let all = related.all;
        let source = related.known(of_kind(entities, Kind::Source));
        let shared = |rows: f64| bounded(related.share(rows));
        let own = |rows: f64, shared: f64| (rows + SHARED_ROWS * shared) / (source.rows + SHARED_ROWS);
        match self {
            Self::None => 1.0,
            Self::Series => own(source.first_services, shared(all.first_services)),
            Self::Pair => own(source.first_meetings, shared(all.first_meetings)),
            Self::Source => shared(all.strangers[1]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::baseline::{Baseline, Standing};
    use super::super::entities::entities;
    use super::*;
    use crate::features::{FEATURES, places};
    use crate::series::{Parties, PartyId};

    fn key(source: u32, destination: u32, service_port: u16) -> SeriesKey {
        let (source, destination) = (PartyId(source), PartyId(destination));
        SeriesKey { source, destination, segment: 1, protocol: 6, service_port }
    }

    /// Three days: 1 asks 10 every minute and nobody else; 2 asks another destination each day.
    fn days() -> Baseline {
        let mut baseline = Baseline::new(1_440);
        for day in 0..3_u32 {
            (0..400).for_each(|_| baseline.add(key(1, 10, 443), 2.0, Standing::Usual));
            (0..400).for_each(|_| baseline.add(key(2, 20 + day, 443), 4.0, Standing::Usual));
            let minutes = u64::from(day) * 1_440 + 1..=(u64::from(day) + 1) * 1_440;
            assert_eq!(minutes.filter(|minute| baseline.pass(minute * 60, 60)).count(), 1);
            baseline.close(&Parties::default());
        }
        baseline
    }

    fn described(baseline: &Baseline, key: SeriesKey, pacing: Pacing) -> Row {
        let related = Related { all: baseline.counts(), own: None };
        let step = Step::of(entities(&key, &Parties::default()), 1, related);
        let mut row = [0.0; FEATURES];
        compare(&mut row, &key, &step, &pacing, related);
        row
    }

    fn values<const N: usize>(row: &Row, names: [&str; N]) -> [f32; N] {
        places(names).map(|place| row[place])
    }

    #[test]
    fn what_was_seen_on_the_closed_days_is_known_as_often() {
        let row = described(&days(), key(1, 10, 443), Pacing::default());
        let known = ["series_known", "pair_known", "source_known", "destination_known", "service_known"];
        let expected = single(1_201_f64.ln());
        assert!(values(&row, known).iter().all(|value| (value - expected).abs() < 1e-5), "{row:?}");
        // Another port: the parties are as known as before, the service is not.
        let other = described(&days(), key(1, 10, 22), Pacing::default());
        let [series, pair, service] = values(&other, ["series_known", "pair_known", "service_known"]);
        assert!(series == 0.0 && service == 0.0 && (pair - expected).abs() < 1e-5);
    }

    #[test]
    fn without_ports_there_is_no_service_to_know() {
        let row = described(&days(), SeriesKey { protocol: 0, ..key(1, 10, 443) }, Pacing::default());
        assert_eq!(values(&row, ["series_known", "service_known"]), [0.0; 2]);
        assert!(values(&row, ["pair_known", "source_known"]).iter().all(|value| *value > 5.0));
    }

    #[test]
    fn a_stranger_surprises_from_who_never_meets_any_and_not_from_who_always_does() {
        let baseline = days();
        let surprise = |source, destination| {
            let row = described(&baseline, key(source, destination, 443), Pacing::default());
            values(&row, ["stranger_surprise", "source_meeting_surprise"])
        };
        let (steady, restless) = (surprise(1, 99), surprise(2, 99));
        assert!(
            steady.iter().zip(restless).all(|(steady, restless)| *steady > restless + 3.0),
            "{steady:?} {restless:?}"
        );
        // And whom it knows surprises nobody.
        assert!(surprise(1, 10).iter().all(|value| *value < 0.1));
    }

    #[test]
    fn a_surprise_is_finite_and_grows_with_rarity() {
        assert!(surprise(true, 0.0, 1e9, 0.0) < 14.0 && surprise(false, 1e9, 1e9, 1.0) < 14.0);
        let rates = [0.5, 0.1, 0.01, 0.001].map(|rate| surprise(true, 1_000.0 * rate, 1_000.0, rate));
        assert!(rates.is_sorted_by(|one, next| one < next), "{rates:?}");
        // Without a past of its own it is that of all.
        assert!((surprise(true, 0.0, 0.0, 0.05) - -(0.05_f64.ln())).abs() < 1e-9);
    }

    #[test]
    fn a_pace_is_held_against_that_of_the_pair() {
        let pace = |source, pair| {
            let row = described(
                &days(),
                key(source, if source == 1 { 10 } else { 20 }, 443),
                Pacing { pair, ..Pacing::default() },
            );
            values(&row, ["pair_pace"])[0]
        };
        assert!(pace(1, 2.0).abs() < 0.2 && pace(2, 4.0).abs() < 0.2);
        assert!(pace(1, 4.0) > 3.0 && pace(2, 2.0) < -3.0);
    }

    #[test]
    fn the_most_that_is_new_is_told_with_how_often_its_source_meets_such() {
        let baseline = days();
        let related = Related { all: baseline.counts(), own: None };
        let told = |key: SeriesKey| {
            let entities = entities(&key, &Parties::default());
            let novelty = Novelty::of(related.novelty(&entities));
            (novelty, novelty.p_value(&entities, related))
        };
        assert_eq!(told(key(1, 10, 443)), (Novelty::None, 1.0));
        assert_eq!(told(key(1, 10, 22)).0, Novelty::Series);
        assert_eq!(told(key(9, 10, 443)).0, Novelty::Source);
        let ((one, steady), (other, restless)) = (told(key(1, 99, 443)), told(key(2, 99, 443)));
        assert_eq!((one, other), (Novelty::Pair, Novelty::Pair));
        assert!(steady < 0.01 && restless > 0.9, "{steady} {restless}");
    }
}
