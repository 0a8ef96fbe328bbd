//! How a row compares with the closed days before: how well everything in it is known, how surprising strangers are, and how
//! much busier its parties are than usual.
//!
//! What a recording does not say is unknown and not new: without ports there are no services to know, and what is the same
//! for all rows tells none apart.

use super::counts::{Known, Related};
use super::entities::{ALL, COUNTED, Entities, Kind, of_kind};
use super::streams::Pacing;
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
pub(super) fn compare(
    row: &mut Row,
    key: &SeriesKey,
    entities: &Entities,
    pacing: &Pacing,
    related: Related<'_>,
) {
    let knows_ports = key.protocol != 0;
    let values = &mut row[COMPARED];
    for (value, kind) in values.iter_mut().zip(&ALL[..COUNTED]) {
        let is_said = knows_ports || !matches!(kind, Kind::Series | Kind::Service);
        let rows = related.known(of_kind(entities, *kind)).rows * related.all.scale;
        *value = if is_said { single(rows.ln_1p()) } else { 0.0 };
    }
    values[COUNTED] = single(stranger_surprise(entities, related));
    values[COUNTED + 1] = single(pair_pace(entities, pacing.pair, related));
    let new = related.novelty(entities);
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
pub(super) fn stranger_surprise(entities: &Entities, related: Related<'_>) -> f64 {
    let source = related.known(of_kind(entities, Kind::Source));
    let strangers = related.share(related.all.strangers[0]);
    surprise(related.novelty(entities).destination, source.strangers, source.rows, strangers)
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
    /// Returns what is new about a row with these entities.
    pub(super) fn of(entities: &Entities, related: Related<'_>) -> Self {
        let new = related.novelty(entities);
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
