//! What is thought of one row: scores, p-values, and whether they are enough for an anomaly.

use super::calibrations::Sample;
use super::comparison::Novelty;
use super::flow_baseline::log1p;
use super::series_state::{Seen, SeriesState};
use super::{Anomaly, Detector, KNOWN_FLOWS_FACTOR, MODEL_ALONE_P_VALUE, Surprise, forests};
use crate::calibration::weight_of_evidence;
use crate::features::NAMES;
use crate::model::{Contribution, Predictions};
use crate::series::{SeriesKey, SeriesSums, Window};

/// Surprises of an anomaly.
const SURPRISES_MAX: usize = 3;

/// What is thought of one row. The evaluation reads scores; everybody else reads anomalies.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The series.
    pub key: SeriesKey,
    /// What it did.
    pub sums: SeriesSums,
    /// The sum of the weighted evidence: the larger, the more unusual.
    pub score: f64,
    /// The weight of evidence of the forests; none before there is one.
    pub forest: Option<f64>,
    /// Negative log likelihood by the network, in nats; none without one.
    pub density: Option<f64>,
    /// The sum of the weighted evidence before habits were taken into account.
    pub(super) evidence: f64,
    /// The calibrated score; none while there are too few of them.
    pub p_value: Option<f64>,
    /// See [`Anomaly::model_p_value`].
    pub model_p_value: Option<f64>,
    /// See [`Anomaly::novelty_p_value`].
    pub novelty_p_value: f64,
    /// See [`Anomaly::count_p_value`]; none while counts are not calibrated.
    pub count_p_value: Option<f64>,
    /// Whether it is reported.
    pub is_anomalous: bool,
    /// What is new about it.
    pub(super) novelty: Novelty,
    /// What is to be learned of it.
    pub(super) sample: Sample,
    /// Flows that count as evidence, and how many are needed.
    pub(super) flows: f64,
    /// See [`Anomaly::surprises`].
    pub(super) surprises: Vec<Surprise>,
}

impl Judgement {
    /// Returns the anomaly that this row is.
    pub(super) fn anomaly(&self, window: &Window) -> Anomaly {
        Anomaly {
            key: self.key,
            sums: self.sums,
            start_s: window.start_s,
            width_s: window.width_s,
            p_value: self.p_value.unwrap_or(1.0),
            model_p_value: self.model_p_value,
            novelty_p_value: self.novelty_p_value,
            count_p_value: self.count_p_value.unwrap_or(1.0),
            is_new_source: self.novelty >= Novelty::Source,
            is_new_pair: self.novelty >= Novelty::Pair,
            is_new_series: self.novelty >= Novelty::Series,
            surprises: self.surprises.clone(),
        }
    }

    /// Returns the weight of evidence of the network; zero without one.
    pub(super) fn model_evidence(&self) -> f64 {
        self.model_p_value.map_or(0.0, weight_of_evidence)
    }
}

impl Detector {
    /// Returns what is thought of a row, by calibrations that do not know it. `forest` is the forests' weight of evidence.
    pub(super) fn judgement(
        &self,
        seen: &Seen,
        state: &SeriesState,
        forest: Option<f64>,
        prediction: Option<(&Predictions, usize)>,
    ) -> Judgement {
        let Seen { key, sums, row, novelty, novelty_p_value, strange_flows, .. } = *seen;
        let is_strange = novelty != Novelty::None;
        let calibrations = &self.calibrations;
        let (count_score, count_p_value, flows) = if is_strange {
            let score = strange_flows.ln_1p();
            let p_value = calibrations.strange_counts.p_value(score);
            (Some(score), p_value.or_else(|| calibrations.all_counts.p_value(score)), strange_flows)
        } else {
            let score = state.baseline.score(sums.flows);
            let p_value = score.and_then(|score| calibrations.counts.p_value(score));
            (score, p_value, sums.flows as f64 - KNOWN_FLOWS_FACTOR * state.baseline.expected())
        };
        let density_score = prediction.map(|(predictions, at)| -predictions.log_likelihood(at, &row));
        let model_p_value = density_score.and_then(|score| calibrations.densities.p_value(score));
        let evidence = self.forests.evidence_with(forest, model_p_value);
        let score = seen.habituation.left(evidence);

        let is_complete = forest.is_some() && density_score.is_some() == model_p_value.is_some();
        Judgement {
            key,
            sums,
            score,
            forest,
            density: density_score,
            evidence,
            p_value: calibrations.scores.p_value(score),
            model_p_value,
            novelty_p_value,
            count_p_value,
            is_anomalous: false,
            novelty,
            sample: Sample {
                is_strange,
                count: count_score,
                flows: log1p(sums.flows),
                density: density_score.filter(|_| forests::may_vouch(forest)),
                score: is_complete.then_some(score),
            },
            flows,
            surprises: Vec::new(),
        }
    }

    /// Returns whether a row is unusual enough, and whether there is enough to show for it.
    pub(super) fn is_anomalous(&self, judgement: &Judgement) -> bool {
        let is_unlikely = judgement.model_p_value.is_some_and(|p_value| p_value <= MODEL_ALONE_P_VALUE);
        judgement.p_value.is_some_and(|p_value| p_value <= self.config.p_value_max)
            && (judgement.flows >= self.config.flows_min as f64 || is_unlikely)
    }
}

/// Gives the anomalies their surprises.
pub(super) fn add_surprises(judgements: &mut [Judgement], seen: &[Seen], predictions: &Predictions) {
    for (at, judgement) in judgements.iter_mut().enumerate().filter(|(_, judgement)| judgement.is_anomalous) {
        let row = seen[at].row;
        let contributions = predictions.contributions(at, &row).into_iter().enumerate();
        let surprise = |(target, contribution): (usize, Contribution)| Surprise {
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
