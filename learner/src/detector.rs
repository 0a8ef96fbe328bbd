//! Which series of a window are unusual.
//!
//! **The closed days.** What is asked of a row first is how well its parties, its pair and its service are known from the days
//! before (`baseline`), whether its source meets strangers, and how its pair's last hour compares with other hours
//! (`comparison`). A day that is open does not count, so that an attack does not become known by its own first minutes.
//!
//! **Two judges.** Isolation forests (`forests`) cut those values and those of the window: they find what stands apart in any
//! of them. The network, fed with the same rows, says how unlikely a row is after those before it. Each answer becomes a
//! p-value by calibration on usual rows.
//!
//! **One answer.** With `w(p) = -log10 p`, the evidence of a row is the mean of `w(forest)` plus a share of `w(model)`: all of it
//! where flows say what was in them, a fifth where they say no more than who spoke to whom (`voice`). What has been going on
//! for hours counts less (`habits`). The parts are not independent, so the sum is no p-value: it is calibrated once more.
//!
//! **Enough to speak of.** One row in a thousand has a p-value below a thousandth, be everything ever so quiet. A row becomes
//! an anomaly only if there is something to show as well: `flows_min` flows that the source spent of late on what the closed
//! days do not know, as many flows beyond three times the expected ones of what they know, or a model p-value below
//! `MODEL_ALONE_P_VALUE`: one connection can carry everything away.
//!
//! **Who vouches for whom.** Counts grow by rows that look usual (`learning`), whether others were reported or not:
//! an attack must not become known. Forests and calibrations learn from all rows but anomalies: cutting off every row with a
//! small p-value would shorten the tail that p-values are read from, a little more each time. What the network finds usual is
//! learned from rows that the forests do not find rare: a judge that chooses its own witnesses shortens its own tail, and one
//! that takes every row learns an attack that is half found.

mod baseline;
mod calibrations;
mod comparison;
mod counts;
mod entities;
mod flow_baseline;
mod forests;
mod habits;
mod judgement;
mod learning;
mod paces;
mod series_state;
mod streams;
mod study;
mod voice;

use crate::checkpoint::saved::saved;
use crate::features::Row;
use crate::model::{Hidden, Model};
use crate::recent::Recent;
use crate::series::{Parties, PartyId, SeriesKey, SeriesSums, Window};
use baseline::Baseline;
use calibrations::{Calibrations, Sample};
use comparison::Novelty;
use counts::Related;
use entities::{Entity, entities};
use forests::Forests;
use habits::Habits;
use hashbrown::HashMap;
pub use judgement::Judgement;
use paces::Paces;
use serde::Deserialize;
use series_state::{Seen, SeriesState};
use std::collections::BTreeMap;
use streams::{Step, Streams};
pub use study::{Answer, Lesson};

/// Series that are watched at once: 22 MB. A roll-up holds as many.
pub const SERIES_MAX: usize = 65_536;
/// Anomalies of one window, the strongest first. A flood of them is one incident.
pub const ANOMALIES_MAX: usize = 256;
/// What a known series is allowed to do, as a multiple of the expected flows, before flows count as evidence: services
/// that serve two of something double by chance.
const KNOWN_FLOWS_FACTOR: f64 = 3.0;
/// A p-value of the model that needs no flows beside it.
const MODEL_ALONE_P_VALUE: f64 = 1e-9;
/// Windows after which flows on what the closed days do not know count half.
const STRANGE_HALF_WINDOWS: f64 = 60.0;

/// A value that was not what the model expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Surprise {
    /// Name of the feature.
    pub feature: &'static str,
    /// What was seen, in the feature's own units.
    pub seen: f32,
    /// What the model expected (mean of its density).
    pub expected: f32,
    /// Negative log likelihood of what was seen, in nats, beyond that of the expected value.
    pub nats: f32,
}

/// A series that is unusual in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomaly {
    /// The series.
    pub key: SeriesKey,
    /// What it did.
    pub sums: SeriesSums,
    /// Start of the window, seconds since 1970.
    pub start_s: u64,
    /// Width of the window in seconds.
    pub width_s: u32,
    /// Probability that a usual series looks at least as unusual, by everything that is known: 0 to 1.
    pub p_value: f64,
    /// By the density of the model alone; none while it is not calibrated.
    pub model_p_value: Option<f64>,
    /// Probability of something so new, by how often its source meets such.
    pub novelty_p_value: f64,
    /// By the number of flows against the series' own past.
    pub count_p_value: f64,
    /// The source party was not seen as a source on the closed days.
    pub is_new_source: bool,
    /// The parties did not meet in this direction on the closed days.
    pub is_new_pair: bool,
    /// The service between them was not seen on the closed days.
    pub is_new_series: bool,
    /// What surprised the model most, largest first; at most three.
    pub surprises: Vec<Surprise>,
}

/// What is decided beforehand.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectorConfig {
    /// Windows at the beginning in which everything is learned and nothing is an anomaly.
    pub warm_up_windows: u64,
    /// Largest p-value of an anomaly.
    pub p_value_max: f64,
    /// Flows without which nothing is an anomaly by novelty or counts.
    pub flows_min: u64,
    /// Windows of the first of the spans that take the place of days in the beginning; they grow to days.
    pub first_epoch_windows: u64,
    /// Determines what is drawn: the forests, and the rows that they are grown from.
    pub seed: u64,
}

saved!(DetectorConfig { warm_up_windows, p_value_max, flows_min, first_epoch_windows, seed });

impl Default for DetectorConfig {
    fn default() -> Self {
        // In fifteen windows ten series give the scores that calibration needs. A mistyped address makes one flow or two;
        // five on something new are intent.
        Self { warm_up_windows: 15, p_value_max: 0.001, flows_min: 5, first_epoch_windows: 3, seed: 1 }
    }
}

/// Numbers for status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DetectorStatus {
    /// Windows that were judged.
    pub windows: u64,
    /// Series that are watched.
    pub series: usize,
    /// Series that were forgotten or found no room.
    pub series_left_out: u64,
    /// Rows that were refused: a value was no number, or the window does not have the series.
    pub rows_refused: u64,
    /// Rows that were anomalies.
    pub anomalies: u64,
    /// Scores of the final calibration.
    pub calibrated: usize,
    /// Scores that it needs.
    pub calibrated_needed: usize,
    /// Version of the model; none before there is one.
    pub model_version: Option<String>,
}

/// Judges window after window.
#[derive(Clone, Debug)]
pub struct Detector {
    config: DetectorConfig,
    model: Option<Model>,
    series: Recent<SeriesKey, SeriesState>,
    baseline: Baseline,
    habits: Habits,
    forests: Forests,
    streams: Streams,
    /// What sources spend on series that the closed days do not know.
    strange_paces: Paces,
    calibrations: Calibrations,
    windows: u64,
    rows_refused: u64,
    anomalies: u64,
    is_forgetful: bool,
}

saved!(Detector {
    config,
    model,
    series,
    baseline,
    habits,
    forests,
    streams,
    strange_paces,
    calibrations,
    windows,
    rows_refused,
    anomalies,
    is_forgetful
});

impl Detector {
    /// Returns a detector that has seen nothing.
    pub fn new(config: DetectorConfig) -> Self {
        Self {
            model: None,
            series: Recent::new(SERIES_MAX),
            baseline: Baseline::new(config.first_epoch_windows),
            habits: Habits::default(),
            forests: Forests::new(config.seed),
            streams: Streams::default(),
            strange_paces: Paces::fading(STRANGE_HALF_WINDOWS),
            calibrations: Calibrations::default(),
            windows: 0,
            rows_refused: 0,
            anomalies: 0,
            is_forgetful: false,
            config,
        }
    }

    /// Takes a newer version of the network. States of series go on: a version is a small step from the one before.
    pub fn adopt(&mut self, model: Model) {
        self.model = Some(model);
    }

    /// Judges the rows of a window, learns from them, and returns what is unusual, the most unusual first. The rows get the
    /// values that compare them with the days before.
    pub fn inspect(
        &mut self,
        window: &Window,
        parties: &Parties,
        rows: &mut [(SeriesKey, Row)],
    ) -> Vec<Anomaly> {
        let judgements = self.judge(window, parties, rows);
        let mut anomalies: Vec<&Judgement> = judgements.iter().filter(|row| row.is_anomalous).collect();
        anomalies.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.key.cmp(&b.key)));
        anomalies.truncate(ANOMALIES_MAX);
        anomalies.into_iter().map(|judgement| judgement.anomaly(window)).collect()
    }

    /// Judges the rows of a window and learns from them: one judgement for each row that was not refused, in their order.
    pub fn judge(
        &mut self,
        window: &Window,
        parties: &Parties,
        rows: &mut [(SeriesKey, Row)],
    ) -> Vec<Judgement> {
        let mut seen = self.compared(window, parties, rows);
        self.rows_refused += (rows.len() - seen.len()) as u64;
        let is_warm = self.windows >= self.config.warm_up_windows;
        let states = self.states(&seen);
        let hidden: Vec<Hidden> = states.iter().map(|state| state.hidden).collect();
        let rows: Vec<Row> = seen.iter().map(|seen| seen.row).collect();
        let predictions = self.model.as_ref().map(|model| model.predict(&hidden, &rows));
        let forest = self.forests.evidence(&rows);
        if is_warm {
            self.spend_strange_flows(&mut seen);
        }
        let mut judgements: Vec<Judgement> = (0..seen.len())
            .map(|at| {
                let forest = forest.as_ref().map(|evidence| evidence[at]);
                let prediction = predictions.as_ref().map(|all| (all, at));
                self.judgement(&seen[at], &states[at], forest, prediction)
            })
            .collect();
        for judgement in &mut judgements {
            judgement.is_anomalous = is_warm && self.is_anomalous(judgement);
        }
        if let Some(predictions) = &predictions {
            judgement::add_surprises(&mut judgements, &seen, predictions);
        }
        self.learn(&seen, &judgements, is_warm);
        self.remember(&seen, states, &judgements, &rows);
        self.windows += 1;
        if self.baseline.pass(window.end_s(), window.width_s) {
            self.baseline.close(parties);
            // A world that has changed is to be seen as it is.
            let is_due = self.baseline.closed_windows() >= self.forests.due_windows();
            if is_due || self.calibrations.is_gate_open() {
                self.grow(parties);
            }
        }
        judgements
    }

    /// Grows the forests anew, and calibrates the score by their answers.
    fn grow(&mut self, parties: &Parties) {
        self.baseline.keep_scale();
        let counts = self.baseline.counts();
        let scores = self.forests.grow(counts, &self.baseline.apart(parties), parties, self.baseline.span());
        self.calibrations.begin_scores(&scores);
    }

    /// Returns numbers for status.
    pub fn status(&self) -> DetectorStatus {
        DetectorStatus {
            windows: self.windows,
            series: self.series.len(),
            series_left_out: self.series.forgotten + self.series.left_out,
            rows_refused: self.rows_refused,
            anomalies: self.anomalies,
            calibrated: self.calibrations.scores.len(),
            calibrated_needed: self.calibrations.scores.needed(),
            model_version: self.model.as_ref().map(Model::version),
        }
    }

    /// Makes the network judge every row from an empty state, as if its series had never been seen: for measuring what its
    /// memory is worth.
    pub fn forget_between(&mut self, is_forgetful: bool) {
        self.is_forgetful = is_forgetful;
    }

    /// Goes on after it was read from a checkpoint, with what is decided beforehand as of today. `parties` are those that
    /// the checkpoint names.
    pub fn resume(&mut self, config: DetectorConfig, parties: &Parties) {
        self.config = config;
        self.baseline.count(parties);
    }

    /// Returns the rows that can be judged, compared with the days before, with what their series did.
    fn compared(&mut self, window: &Window, parties: &Parties, rows: &mut [(SeriesKey, Row)]) -> Vec<Seen> {
        let related = Related { all: self.baseline.counts(), own: None };
        let sums_of = |pair: &(SeriesKey, Row)| -> Option<SeriesSums> {
            let place = window.series.binary_search_by_key(&pair.0, |(key, _)| *key).ok()?;
            pair.1.iter().all(|value| value.is_finite()).then(|| window.series[place].1)
        };
        let sound: Vec<(&mut (SeriesKey, Row), SeriesSums)> =
            rows.iter_mut().filter_map(|pair| sums_of(pair).map(|sums| (pair, sums))).collect();
        let step = |(pair, sums): &(&mut (SeriesKey, Row), SeriesSums)| {
            Step::of(entities(&pair.0, parties), sums.flows, related)
        };
        let steps: Vec<Step> = sound.iter().map(step).collect();
        let pacing = self.streams.advance(&steps, self.windows);
        let mut seen = Vec::with_capacity(sound.len());
        for (((pair, sums), step), pacing) in sound.into_iter().zip(steps).zip(pacing) {
            let (key, row) = (pair.0, &mut pair.1);
            comparison::compare(row, &key, &step, &pacing, related);
            let novelty = Novelty::of(step.new);
            seen.push(Seen {
                key,
                sums,
                row: *row,
                step,
                pacing,
                habituation: self.habits.of(&key, &step, related, self.windows),
                novelty,
                novelty_p_value: novelty.p_value(&step.entities, related),
                strange_flows: 0.0,
            });
        }
        seen
    }

    /// Tells each row of the flows that its source spent of late on series that the closed days do not know.
    fn spend_strange_flows(&mut self, seen: &mut [Seen]) {
        let mut flows: BTreeMap<PartyId, u64> = BTreeMap::new();
        for seen in seen.iter().filter(|seen| seen.novelty != Novelty::None) {
            let spent = flows.entry(seen.key.source).or_default();
            *spent = spent.saturating_add(seen.sums.flows);
        }
        let of_source = |(source, flows)| {
            (source, self.strange_paces.add(Entity::source(source), flows as f64, self.windows))
        };
        let flows: HashMap<PartyId, f64> = flows.into_iter().map(of_source).collect();
        for seen in seen {
            seen.strange_flows = flows.get(&seen.key.source).copied().unwrap_or(0.0);
        }
    }

    /// Returns the state of each series before this window. What is known is touched before anything new asks for room.
    fn states(&mut self, seen: &[Seen]) -> Vec<SeriesState> {
        let state = |seen: &Seen| self.series.touch(&seen.key, self.windows).cloned();
        seen.iter().map(state).map(Option::unwrap_or_default).collect()
    }
}

#[cfg(test)]
mod tests;
