//! Which series of a window are unusual.
//!
//! **Three questions.** Is what appears new (`novelty`)? Are there more flows than this series, or one that has just
//! appeared, usually has (`flow_baseline`)? Does the network find the row unlikely? Each answer becomes a p-value, the last
//! two by calibration on the benign rows of the past.
//!
//! **One answer.** With `w(p) = -log10 p`, the score of a row is `w(novelty) + w(count) + 0.1 w(model)`. On recorded flows
//! counts carry the detection; a tenth of the network finds attacks at low alarm rates that counts miss, more of it loses
//! some. The three are not independent and novelty is mostly 1, so the sum is no p-value: it is calibrated once more.
//!
//! **Young series.** An attack that begins with a new series is new for one window and then goes on. So a series is young
//! for [`YOUNG_WINDOWS`]: its novelty stays that of its birth, and its count is that of all flows which its source spends on
//! young series, so that a scan over many destinations counts as one thing. Series born while warming up are learned and
//! never young.
//!
//! **Enough to speak of.** One row in a thousand has a p-value below a thousandth, be everything ever so quiet. A row becomes
//! an anomaly only if there is something to show as well: `flows_min` flows of a young series' source, as many flows beyond
//! three times the expected ones, or, of a series that is not young, a model p-value below `MODEL_ALONE_P_VALUE`.

mod calibrations;
mod flow_baseline;
mod judgement;
mod novelty;
mod quarantine;
mod series_state;

use crate::checkpoint::saved::saved;
use crate::features::{NAMES, Row};
use crate::model::{HIDDEN, Hidden, Model, Predictions};
use crate::recent::Recent;
use crate::series::{PartyId, SeriesKey, SeriesSums, Window};
use calibrations::Calibrations;
use flow_baseline::FlowBaseline;
use hashbrown::{HashMap, HashSet};
pub use judgement::Judgement;
use novelty::{Novelty, NoveltyRates};
use quarantine::{Quarantine, Sample};
use serde::Deserialize;
use series_state::{Birth, Seen, SeriesState};

/// Series that are watched at once: 22 MB. A roll-up holds as many.
pub const SERIES_MAX: usize = 65_536;
/// Anomalies of one window, the strongest first. A flood of them is one incident.
pub const ANOMALIES_MAX: usize = 256;
/// Windows for which a series is young.
pub const YOUNG_WINDOWS: u64 = 5;
/// Weight of the model's evidence.
const MODEL_WEIGHT: f64 = 0.1;
/// What a known series is allowed to do, as a multiple of the expected flows, before flows count as evidence: services
/// that serve two of something double by chance.
const KNOWN_FLOWS_FACTOR: f64 = 3.0;
/// A p-value of the model that needs no flows beside it.
const MODEL_ALONE_P_VALUE: f64 = 1e-9;
/// Surprises of an anomaly.
const SURPRISES_MAX: usize = 3;

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
    /// By how new the parties and the service are to each other.
    pub novelty_p_value: f64,
    /// By the number of flows against the series' own past.
    pub count_p_value: f64,
    /// The source party was never seen as a source, at most [`YOUNG_WINDOWS`] before.
    pub is_new_source: bool,
    /// The parties never met in this direction, at most [`YOUNG_WINDOWS`] before.
    pub is_new_pair: bool,
    /// The service between them was never seen, at most [`YOUNG_WINDOWS`] before.
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
}

saved!(DetectorConfig { warm_up_windows, p_value_max, flows_min });

impl Default for DetectorConfig {
    fn default() -> Self {
        // In fifteen windows ten series give the scores that calibration needs. A mistyped address makes one flow or two;
        // five on something new are intent.
        Self { warm_up_windows: 15, p_value_max: 0.001, flows_min: 5 }
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
    novelty: NoveltyRates,
    calibrations: Calibrations,
    quarantine: Quarantine,
    windows: u64,
    rows_refused: u64,
    anomalies: u64,
}

saved!(Detector {
    config,
    model,
    series,
    novelty,
    calibrations,
    quarantine,
    windows,
    rows_refused,
    anomalies
});

impl Detector {
    /// Returns a detector that has seen nothing.
    pub fn new(config: DetectorConfig) -> Self {
        Self {
            config,
            model: None,
            series: Recent::new(SERIES_MAX),
            novelty: NoveltyRates::default(),
            calibrations: Calibrations::default(),
            quarantine: Quarantine::default(),
            windows: 0,
            rows_refused: 0,
            anomalies: 0,
        }
    }

    /// Takes a newer version of the network. States of series go on: a version is a small step from the one before.
    pub fn adopt(&mut self, model: Model) {
        self.model = Some(model);
    }

    /// Judges the rows of a window, learns from them, and returns what is unusual, the most unusual first.
    pub fn inspect(&mut self, window: &Window, rows: &[(SeriesKey, Row)]) -> Vec<Anomaly> {
        let judgements = self.judge(window, rows);
        let mut anomalies: Vec<&Judgement> = judgements.iter().filter(|row| row.is_anomalous).collect();
        anomalies.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.key.cmp(&b.key)));
        anomalies.truncate(ANOMALIES_MAX);
        anomalies.into_iter().map(|judgement| judgement.anomaly(window)).collect()
    }

    /// Judges the rows of a window and learns from them: one judgement for each row that was not refused, in their order.
    pub fn judge(&mut self, window: &Window, rows: &[(SeriesKey, Row)]) -> Vec<Judgement> {
        let seen = self.seen(window, rows);
        self.rows_refused += (rows.len() - seen.len()) as u64;
        let is_warm = self.windows >= self.config.warm_up_windows;
        let states = self.states(&seen, is_warm);
        let hidden: Vec<Hidden> = states.iter().map(|state| state.hidden).collect();
        let rows: Vec<Row> = seen.iter().map(|seen| *seen.row).collect();
        let predictions = self.model.as_ref().map(|model| model.predict(&hidden, &rows));
        let young_flows = self.young_flows(&seen, &states);
        let mut judgements: Vec<Judgement> = (0..seen.len())
            .map(|at| {
                let young_flows = young_flows.get(&seen[at].key.source).copied().unwrap_or(0);
                self.judgement(&seen[at], &states[at], young_flows, predictions.as_ref().map(|all| (all, at)))
            })
            .collect();
        for judgement in &mut judgements {
            judgement.is_anomalous = is_warm && self.is_anomalous(judgement);
        }
        if let Some(predictions) = &predictions {
            add_surprises(&mut judgements, &seen, predictions);
        }
        self.learn(&judgements, is_warm);
        self.remember(&seen, states, &judgements, &rows);
        self.windows += 1;
        judgements
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

    /// Replaces what is decided beforehand, after a checkpoint of other times was read.
    pub fn configure(&mut self, config: DetectorConfig) {
        self.config = config;
    }

    /// Returns the configuration.
    pub fn config(&self) -> &DetectorConfig {
        &self.config
    }

    /// Returns the rows that can be judged, with what their series did.
    fn seen<'a>(&self, window: &Window, rows: &'a [(SeriesKey, Row)]) -> Vec<Seen<'a>> {
        let seen = |(key, row): &'a (SeriesKey, Row)| {
            let place = window.series.binary_search_by_key(key, |(key, _)| *key).ok()?;
            let is_finite = row.iter().all(|value| value.is_finite());
            is_finite.then(|| Seen {
                key: *key,
                sums: window.series[place].1,
                row,
                novelty: Novelty::of(row),
            })
        };
        rows.iter().filter_map(seen).collect()
    }

    /// Returns the state of each series before this window. What is known is touched before anything new asks for room.
    fn states(&mut self, seen: &[Seen<'_>], is_warm: bool) -> Vec<SeriesState> {
        seen.iter()
            .map(|seen| match self.series.touch(&seen.key, self.windows) {
                Some(state) => state.clone(),
                None => SeriesState {
                    hidden: [0.0; HIDDEN],
                    baseline: FlowBaseline::default(),
                    birth: (is_warm && seen.novelty != Novelty::None).then(|| Birth {
                        window: self.windows,
                        novelty: seen.novelty,
                        p_value: self.novelty.p_value(seen.key.source, seen.novelty),
                        flows: 0,
                    }),
                },
            })
            .collect()
    }

    /// Returns the flows that each source spent on young series since they appeared.
    fn young_flows(&self, seen: &[Seen<'_>], states: &[SeriesState]) -> HashMap<PartyId, u64> {
        let mut flows: HashMap<PartyId, u64> = HashMap::new();
        for (seen, state) in seen.iter().zip(states).filter(|(seen, state)| self.is_young(seen, state)) {
            let spent = flows.entry(seen.key.source).or_default();
            let before = state.birth.map_or(0, |birth| birth.flows);
            *spent = spent.saturating_add(before).saturating_add(seen.sums.flows);
        }
        flows
    }

    /// Returns whether a series appeared a few windows ago. One that appears while warming up is judged like that as well,
    /// so that young series have a calibration.
    fn is_young(&self, seen: &Seen<'_>, state: &SeriesState) -> bool {
        match state.birth {
            Some(birth) => self.windows < birth.window + YOUNG_WINDOWS,
            None => seen.novelty != Novelty::None,
        }
    }

    /// Learns from what is usual: of young series when they are no longer young, of anomalies only while they are so many
    /// that they must be usual.
    fn learn(&mut self, judgements: &[Judgement], is_warm: bool) {
        let anomalous = judgements.iter().filter(|judgement| judgement.is_anomalous);
        let alarmed: HashSet<SeriesKey> = anomalous.map(|judgement| judgement.key).collect();
        self.anomalies += alarmed.len() as u64;
        self.calibrations.watch(alarmed.len(), judgements.len());
        let is_gate_open = self.calibrations.is_gate_open();
        let mut usual: Vec<Sample> = Vec::with_capacity(judgements.len());
        for judgement in judgements.iter().filter(|judgement| is_gate_open || !judgement.is_anomalous) {
            if !is_warm {
                // Everything is new at first, which says nothing about how rare that is, nor how it begins.
                let count = judgement.sample.count.filter(|_| !judgement.sample.is_young);
                usual.push(Sample { novelty: Novelty::None, count, ..judgement.sample });
            } else if judgement.sample.is_young && !is_gate_open {
                usual.extend(self.quarantine.push(judgement.key, judgement.sample, self.windows));
            } else {
                usual.push(judgement.sample);
            }
        }
        self.quarantine.drop_series(&alarmed);
        usual.extend(self.quarantine.release(self.windows));
        for sample in &usual {
            self.novelty.add(sample.source, sample.novelty, self.windows);
        }
        self.calibrations.learn(&usual, self.windows);
    }

    /// Brings the states of all series forward.
    fn remember(&mut self, seen: &[Seen<'_>], states: Vec<SeriesState>, judged: &[Judgement], rows: &[Row]) {
        let hidden: Vec<Hidden> = states.iter().map(|state| state.hidden).collect();
        let after = self.model.as_ref().map(|model| model.step(&hidden, rows));
        for (at, mut state) in states.into_iter().enumerate() {
            let Seen { key, sums, .. } = seen[at];
            state.baseline.add(sums.flows, judged[at].is_anomalous);
            state.birth = state.birth.filter(|birth| self.windows + 1 < birth.window + YOUNG_WINDOWS);
            if let Some(birth) = &mut state.birth {
                birth.flows = birth.flows.saturating_add(sums.flows);
            }
            if let Some(after) = &after {
                state.hidden = after[at];
            }
            if let Some(kept) = self.series.entry(key, self.windows, || state.clone()) {
                *kept = state;
            }
        }
    }
}

/// Gives the anomalies their surprises.
fn add_surprises(judgements: &mut [Judgement], seen: &[Seen<'_>], predictions: &Predictions) {
    for (at, judgement) in judgements.iter_mut().enumerate().filter(|(_, judgement)| judgement.is_anomalous) {
        let row = seen[at].row;
        let contributions = predictions.contributions(at, row).into_iter().enumerate();
        let surprise = |(target, contribution): (usize, crate::model::Contribution)| Surprise {
            feature: NAMES[target].name,
            seen: row[target],
            expected: contribution.expected,
            nats: contribution.nats,
        };
        let mut surprises: Vec<Surprise> =
            contributions.map(surprise).filter(|surprise| surprise.nats > 0.0).collect();
        surprises.sort_by(|a, b| b.nats.total_cmp(&a.nats));
        surprises.truncate(SURPRISES_MAX);
        judgement.surprises = surprises;
    }
}

#[cfg(test)]
mod tests;
