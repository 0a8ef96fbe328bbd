//! The forests, the rows that they are grown from, and what their scores mean.
//!
//! Rows that were no anomalies are kept, evenly chosen: [`ROWS_MAX`] of all (algorithm R, Vitter 1985). Whenever the past has
//! doubled, after four weeks at the latest, they are compared anew, each with all days but its own; the forests are grown from
//! them, and each forest's scores of them say what it finds usual. In between forests and scores stay as they are: a level
//! that follows every day is one that an attack can raise.
//!
//! **What never happened.** A cut lies between values that were seen. In a small and steady network everything is known
//! equally well, nothing can be cut there, and a stranger would look like everybody else. So a forest that saw no row of
//! some novelty gets one that is made up: a usual row, but with nothing known of its series, its pair, its destination or its
//! source. Likewise one that is ten times as loud as the loudest. One row does not make such rows usual, and it makes room
//! for a cut.

use super::baseline::{Apart, Span};
use super::comparison::compare;
use super::counts::{Counts, Related};
use super::entities::entities;
use super::streams::{Pacing, Step};
use super::voice;
use crate::calibration::{Calibration, weight_of_evidence};
use crate::checkpoint::saved::saved;
use crate::features::{FEATURES, Row, places};
use crate::isolation_forest::{ForestSettings, IsolationForest};
use crate::series::{Parties, SeriesKey};
use meshgate_policy::generate::Rng;

/// Rows that are kept to learn from: 13 MB.
const ROWS_MAX: usize = 65_536;
/// Trees of each forest. The four cut mostly the same: together they are as many as one forest needs. A hundred each, or
/// fifty, found no more on recorded flows, and every row goes down all of them.
const TREES: usize = 32;
/// Rows that a tree sees.
const SAMPLES: usize = 8_192;
/// Scores without which a calibration says nothing.
const SCORES_NEEDED: usize = 64;
/// Mean excess beyond the 99 % quantile that scores of a forest have as long as there are few.
const TAIL_PRIOR: f64 = 0.02;

/// What all forests cut.
const BASE: [&str; 20] = [
    "flows",
    "bytes_forward",
    "bytes_reverse",
    "answered_share",
    "refused_share",
    "source_fan_out",
    "destination_fan_in",
    "source_flows",
    "destination_flows",
    "series_known",
    "pair_known",
    "source_known",
    "destination_known",
    "service_known",
    "kin_pair_known",
    "kin_source_known",
    "stranger_surprise",
    "pair_pace",
    "day_sine",
    "day_cosine",
];
/// What each forest cuts beside that.
const BESIDE: [&[&str]; FORESTS] = [
    &[],
    &["stranger_trend"],
    &["source_meeting_surprise", "destination_meeting_surprise"],
    &["visitor_pace", "sweep_pace", "visitor_surprise"],
];
/// Forests.
const FORESTS: usize = 4;

/// p-value of the forests' evidence, as if it were one, from which on a row is not rare: it may vouch for the network.
const RARE_P_VALUE: f64 = 0.05;

/// Largest weight of evidence of one forest: beyond it one forest would decide for all.
const EVIDENCE_MAX: f64 = 12.0;

/// What is not known of a row that is made up, from little to much.
const NOVELTIES: [&[&str]; 4] = [
    &["series_known"],
    &["series_known", "pair_known"],
    &["series_known", "pair_known", "kin_pair_known", "destination_known", "service_known"],
    &["series_known", "pair_known", "kin_pair_known", "source_known", "kin_source_known"],
];
/// What is larger in a row that is made up to be loud.
const VOLUMES: [&str; 5] = ["flows", "source_flows", "destination_flows", "bytes_forward", "bytes_reverse"];
/// `ln` of how much louder it is than the loudest.
const LOUDER: f32 = std::f32::consts::LN_10;
/// Deviations beyond the largest ones of a pair's pace in such a row.
const LOUDER_PACE: f32 = 5.0;
/// The surprise of a made-up stranger: one in twenty thousand.
const STRANGER_SURPRISE: f32 = 10.0;

/// A usual row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) key: SeriesKey,
    pub(super) epoch: u64,
    pub(super) row: Row,
    pub(super) pacing: Pacing,
    /// Weight of evidence of the network when it was judged.
    pub(super) model: f64,
}

saved!(Sample { key, epoch, row, pacing, model });

/// A forest, and what its scores of usual rows look like.
#[derive(Clone, Debug)]
struct Judge {
    forest: IsolationForest<FEATURES>,
    usual: Calibration,
}

saved!(Judge { forest, usual });

/// The forests.
#[derive(Clone, Debug)]
pub(super) struct Forests {
    samples: Vec<Sample>,
    /// Usual rows that there were.
    rows: u64,
    rng: Rng,
    judges: Vec<Judge>,
    /// Weight of the network's evidence, by the rows that the forests were grown from.
    model_weight: f64,
    /// Windows of closed epochs at which the forests are grown the next time.
    due_windows: u64,
}

saved!(Forests { samples, rows, rng, judges, model_weight, due_windows } if is_sound);

impl Forests {
    /// Returns no forest, and nothing to grow one from.
    pub(super) fn new(seed: u64) -> Self {
        let (samples, judges) = (Vec::new(), Vec::new());
        let model_weight = voice::of_network(&[]);
        Self { samples, rows: 0, rng: Rng::new(seed), judges, model_weight, due_windows: 0 }
    }

    /// Takes a usual row in.
    pub(super) fn push(&mut self, sample: Sample) {
        self.rows = self.rows.saturating_add(1);
        if self.samples.len() < ROWS_MAX {
            self.samples.push(sample);
            return;
        }
        let place = self.rng.below(self.rows);
        if let Some(old) = usize::try_from(place).ok().and_then(|place| self.samples.get_mut(place)) {
            *old = sample;
        }
    }

    /// Returns the windows of closed epochs from which on the forests are to be grown anew.
    pub(super) fn due_windows(&self) -> u64 {
        self.due_windows
    }

    /// Compares the rows anew, each with all days but its own, drops those of days that do not count any more, and grows
    /// the forests. Returns the evidence against each row.
    pub(super) fn grow(
        &mut self,
        all: &Counts,
        apart: &Apart<'_>,
        parties: &Parties,
        span: Span,
    ) -> Vec<f64> {
        let before = self.samples.len().max(1) as u64;
        let mut epochs: Vec<u64> = self.samples.iter().map(|sample| sample.epoch).collect();
        epochs.sort_unstable();
        epochs.dedup();
        for epoch in epochs {
            let Some(own) = apart.epoch(epoch) else {
                self.samples.retain(|sample| sample.epoch != epoch);
                continue;
            };
            for Sample { key, row, pacing, .. } in
                self.samples.iter_mut().filter(|sample| sample.epoch == epoch)
            {
                let related = Related { all, own: Some(&own) };
                let step = Step::of(entities(key, parties), 0, related);
                compare(row, key, &step, pacing, related);
            }
        }
        // Of the rows that count, as many are behind those that are kept: the next ones have their fair chance.
        self.rows =
            (self.rows / before).saturating_mul(self.samples.len() as u64).max(self.samples.len() as u64);
        let mut rows: Vec<Row> = self.samples.iter().map(|sample| sample.row).collect();
        if rows.is_empty() {
            return Vec::new();
        }
        self.due_windows = span.twice();
        self.model_weight = voice::of_network(&rows);
        let made_up = made_up(&rows, &mut self.rng);
        rows.extend_from_slice(&made_up);
        let usual_rows = rows.len() - made_up.len();
        self.judges = BESIDE
            .iter()
            .map(|beside| {
                let settings = ForestSettings { trees: TREES, samples: SAMPLES, seed: self.rng.next_u64() };
                let cut: Vec<usize> = BASE.iter().chain(*beside).map(|name| places([name])[0]).collect();
                let forest = IsolationForest::grow(&rows, made_up.len(), &cut, settings);
                let mut usual = Calibration::new(SCORES_NEEDED, TAIL_PRIOR);
                forest.score(&rows[..usual_rows]).into_iter().for_each(|score| usual.push(score.into()));
                usual.settle();
                Judge { forest, usual }
            })
            .collect();
        rows.truncate(usual_rows);
        let forests = self.evidence(&rows).unwrap_or_default();
        let model = self.samples.iter().map(|sample| sample.model);
        forests.into_iter().zip(model).map(|(forests, model)| forests + self.model_weight * model).collect()
    }

    /// Returns how unusual each row is: the mean over the forests of `-log10` of a p-value; none before there are enough
    /// usual rows.
    pub(super) fn evidence(&self, rows: &[Row]) -> Option<Vec<f64>> {
        let mut evidence = vec![0.0; rows.len()];
        if self.judges.is_empty() {
            return None;
        }
        for Judge { forest, usual } in &self.judges {
            for (evidence, score) in evidence.iter_mut().zip(forest.score(rows)) {
                *evidence +=
                    weight_of_evidence(usual.p_value(score.into())?).min(EVIDENCE_MAX) / FORESTS as f64;
            }
        }
        Some(evidence)
    }

    /// Returns the evidence against a row: that of the forests and a share of the network's.
    pub(super) fn evidence_with(&self, forests: Option<f64>, model_p_value: Option<f64>) -> f64 {
        forests.unwrap_or(0.0) + self.model_weight * model_p_value.map_or(0.0, weight_of_evidence)
    }

    fn is_sound(&self) -> bool {
        self.samples.len() <= ROWS_MAX
            && self.samples.len() as u64 <= self.rows
            && (0.0..=1.0).contains(&self.model_weight)
    }
}

/// Returns whether a row with this evidence may say what the network finds usual.
pub(super) fn may_vouch(forests: Option<f64>) -> bool {
    forests.is_none_or(|evidence| evidence < weight_of_evidence(RARE_P_VALUE))
}

/// Returns a row of each novelty that none of these rows has, and a loud one.
fn made_up(rows: &[Row], rng: &mut Rng) -> Vec<Row> {
    let mut made_up = vec![loud(rows, rng)];
    for names in NOVELTIES {
        let unknown: Vec<usize> = names.iter().map(|name| places([name])[0]).collect();
        let is_new = |row: &Row| unknown.iter().all(|place| row[*place] == 0.0);
        if rows.iter().any(is_new) {
            continue;
        }
        let mut row = rows[rng.index(rows.len())];
        unknown.iter().for_each(|place| row[*place] = 0.0);
        if names.contains(&"destination_known") {
            row[places(["stranger_surprise"])[0]] = STRANGER_SURPRISE;
        }
        made_up.push(row);
    }
    made_up
}

/// Returns a row louder than all of these.
fn loud(rows: &[Row], rng: &mut Rng) -> Row {
    let mut row = rows[rng.index(rows.len())];
    let largest = |place: usize| rows.iter().map(|row| row[place]).fold(0.0, f32::max);
    for place in places(VOLUMES) {
        // What a recording does not say stays unsaid.
        let largest = largest(place);
        row[place] = if largest > 0.0 { largest + LOUDER } else { 0.0 };
    }
    let [pace] = places(["pair_pace"]);
    row[pace] = largest(pace) + LOUDER_PACE;
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_is_made_up_once_and_what_happened_is_not() {
        let mut usual = [0.0; FEATURES];
        for place in places(["series_known", "pair_known", "source_known", "destination_known", "flows"]) {
            usual[place] = 3.0;
        }
        let mut rng = Rng::new(1);
        let made = made_up(&vec![usual; 10], &mut rng);
        assert_eq!(made.len(), 1 + NOVELTIES.len());
        let [flows, bytes] = places(["flows", "bytes_forward"]);
        assert!(made[0][flows] > usual[flows] && made[0][bytes] == 0.0, "what is not said stays unsaid");
        // With a row of an unknown source the others of its kind are there as well.
        let mut stranger = usual;
        for place in places(["series_known", "pair_known", "kin_pair_known", "source_known"]) {
            stranger[place] = 0.0;
        }
        let fewer = made_up(&[usual, stranger], &mut rng);
        assert_eq!(fewer.len(), 2, "only the unknown destination is missing, and the loud row");
    }
}
