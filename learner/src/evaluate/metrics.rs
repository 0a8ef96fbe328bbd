//! How well scores find the edges that carry an attack.
//!
//! Definitions are those of scikit-learn, so that figures compare: ROC-AUC as `roc_auc_score` (equal scores count
//! half), PR-AUC as `average_precision_score` (the sum over distinct scores of the gain in recall times the precision
//! there, without interpolation). A threshold for a rate of false positives is `numpy.quantile(benign, 1 - rate,
//! method="higher")`, and a score *above* it is an alert: the realised rate is at most the nominal one.

use super::truth::{AttackId, Truth};
use crate::baselines::edges::Edge;
use serde::Serialize;
use std::collections::BTreeMap;

/// Rates of false positives at which detectors are compared.
pub const NOMINAL_RATES: [f64; 2] = [0.01, 0.001];

/// Rates of false positives at which the calibration is shown: two a decade, about.
pub const CALIBRATION_RATES: [f64; 8] = [0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.000_3, 0.000_1];

/// Lengths of the head of the ranking whose precision is reported.
pub const HEADS: [usize; 2] = [100, 1_000];

/// Distance between the points of a curve that a plot keeps: about two pixels of it.
const CURVE_STEP: f64 = 0.005;

/// What a method's scores are worth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Probability that an attack scores above a benign edge, equal scores counting half.
    pub roc_auc: f64,
    /// Average precision.
    pub pr_auc: f64,
    /// At thresholds that the benign test edges set: one for each of [`NOMINAL_RATES`].
    pub at_benign_rate: Vec<OperatingPoint>,
    /// At thresholds fixed on the training span, without labels, or p-values: one for each of [`NOMINAL_RATES`].
    pub at_training_rate: Vec<OperatingPoint>,
    /// What alerts of benign edges come to at thresholds fixed like these, from [`CALIBRATION_RATES`].
    pub calibration: Vec<CalibrationPoint>,
    /// Share of attacks among the highest scores, for each of [`HEADS`].
    pub precision_in_head: Vec<f64>,
    /// For plots; left out of the JSON.
    #[serde(skip)]
    pub curves: Curves,
}

/// A rate that was asked for beforehand, and what it came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CalibrationPoint {
    /// Rate of false positives that was asked for.
    pub nominal_rate: f64,
    /// Share of the benign test edges that are alerts.
    pub realised_rate: f64,
}

/// A threshold and what it finds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperatingPoint {
    /// Rate of false positives that was asked for.
    pub nominal_rate: f64,
    /// Scores above it are alerts.
    pub threshold: f64,
    /// Share of the attack edges that are alerts.
    pub true_positive_rate: f64,
    /// Share of the benign edges that are alerts.
    pub false_positive_rate: f64,
    /// Benign edges that are alerts.
    pub false_alerts: usize,
    /// Attack-days (one attack name on one day, UTC) with at least one alert.
    pub attack_days_found: usize,
    /// Attack-days.
    pub attack_days: usize,
    /// Median over the attack-days found of the minutes from the first edge to the first alert; none if none is found.
    pub median_delay_minutes: Option<u64>,
    /// The 90 % quantile of these.
    pub p90_delay_minutes: Option<u64>,
    /// The longest of these.
    pub longest_delay_minutes: Option<u64>,
}

/// The points of the two curves, thinned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    /// (false positive rate, true positive rate), from (0, 0) to (1, 1).
    pub roc: Vec<(f64, f64)>,
    /// (recall, precision), by growing recall.
    pub precision_recall: Vec<(f64, f64)>,
}

/// Returns the metrics of the scores of all edges; none unless the test holds attacks and benign edges. Scores that are
/// p-values are held to what they say: their thresholds are the nominal rates themselves.
pub fn measure(truth: &Truth<'_>, scores: &[f64], says_p_values: bool) -> Option<Metrics> {
    let (training, test) = scores.split_at(scores.len() - truth.test.len());
    let ranking = Ranking::of(truth, test);
    if ranking.attacks == 0 || ranking.benign() == 0 {
        return None;
    }
    let benign_scores =
        truth.attacks.iter().zip(test).filter(|(attack, _)| attack.is_none()).map(|(_, score)| *score);
    let benign = Sorted::new(benign_scores.collect());
    let usual = Sorted::new(training.to_vec());
    let at = |threshold: &dyn Fn(f64) -> f64| {
        let rates = NOMINAL_RATES.into_iter();
        rates.map(|rate| operating_point(truth, test, rate, threshold(rate))).collect()
    };
    let fixed = |rate| if says_p_values { just_below(-f64::log10(rate)) } else { usual.threshold(rate) };
    Some(Metrics {
        roc_auc: ranking.roc_auc(),
        pr_auc: ranking.average_precision(),
        at_benign_rate: at(&|rate| benign.threshold(rate)),
        at_training_rate: at(&fixed),
        calibration: calibration(&benign, fixed),
        precision_in_head: HEADS.map(|head| ranking.precision_in_head(head)).into(),
        curves: ranking.curves(),
    })
}

/// Returns the shares of these benign scores above the thresholds of [`CALIBRATION_RATES`].
fn calibration(benign: &Sorted, threshold: impl Fn(f64) -> f64) -> Vec<CalibrationPoint> {
    let point = |nominal_rate| {
        let Sorted(scores) = benign;
        let threshold = threshold(nominal_rate);
        let alerts = scores.len() - scores.partition_point(|score| *score <= threshold);
        CalibrationPoint { nominal_rate, realised_rate: share(alerts, scores.len()) }
    };
    CALIBRATION_RATES.map(point).into()
}

/// Returns the largest number below this one, so that a score which reaches it is an alert.
fn just_below(score: f64) -> f64 {
    score.next_down()
}

/// Alerts at a threshold that the training span sets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alerts {
    /// Share of the training edges that lie above the threshold.
    pub nominal_rate: f64,
    /// Scores above it are alerts.
    pub threshold: f64,
    /// Test edges above it.
    pub edges: usize,
    /// Share of the test edges.
    pub share: f64,
}

/// Returns how many test edges lie above thresholds that the training span sets: all that can be said without labels.
pub fn count_alerts(truth: &Truth<'_>, scores: &[f64]) -> Vec<Alerts> {
    let (training, test) = scores.split_at(scores.len() - truth.test.len());
    let usual = Sorted::new(training.to_vec());
    let alerts = |nominal_rate| {
        let threshold = usual.threshold(nominal_rate);
        let edges = test.iter().filter(|score| **score > threshold).count();
        Alerts { nominal_rate, threshold, edges, share: share(edges, test.len()) }
    };
    NOMINAL_RATES.map(alerts).into()
}

/// Scores in order.
struct Sorted(Vec<f64>);

impl Sorted {
    fn new(mut scores: Vec<f64>) -> Self {
        scores.sort_unstable_by(f64::total_cmp);
        Self(scores)
    }

    /// Returns the score that at most this share of the scores exceeds: the quantile `1 - rate`, rounded up to a score
    /// that occurs. Nothing exceeds the threshold of no scores.
    fn threshold(&self, rate: f64) -> f64 {
        let Some(last) = self.0.len().checked_sub(1) else { return f64::INFINITY };
        // Floating point writes 0.999 x 1,000 as a little above 999, which would round up to the next score.
        let place = ((1.0 - rate) * last as f64 - 1e-9).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to the last place"
        )]
        let place = place.max(0.0) as usize;
        self.0[place.min(last)]
    }
}

/// The test edges by falling score, as runs of equal scores.
struct Ranking {
    /// Attacks and edges so far, after each run.
    runs: Vec<(usize, usize)>,
    /// Whether each edge is an attack, by falling score and, where it is equal, by time.
    is_attack: Vec<bool>,
    attacks: usize,
}

impl Ranking {
    fn of(truth: &Truth<'_>, test: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..test.len()).collect();
        order.sort_by(|one, other| test[*other].total_cmp(&test[*one]));
        let is_attack: Vec<bool> = order.iter().map(|place| truth.attacks[*place].is_some()).collect();
        let mut runs = Vec::new();
        let (mut attacks, mut edges) = (0, 0);
        for run in order.chunk_by(|one, next| test[*one].total_cmp(&test[*next]).is_eq()) {
            edges += run.len();
            attacks += run.iter().filter(|place| truth.attacks[**place].is_some()).count();
            runs.push((attacks, edges));
        }
        Self { runs, is_attack, attacks }
    }

    fn benign(&self) -> usize {
        self.is_attack.len() - self.attacks
    }

    fn true_positive_rate(&self, run: (usize, usize)) -> f64 {
        share(run.0, self.attacks)
    }

    fn false_positive_rate(&self, run: (usize, usize)) -> f64 {
        share(run.1 - run.0, self.benign())
    }

    /// Returns the area under the curve by trapezoids, which gives equal scores a half.
    fn roc_auc(&self) -> f64 {
        let mut area = 0.0;
        let (mut before_x, mut before_y) = (0.0, 0.0);
        for run in &self.runs {
            let (x, y) = (self.false_positive_rate(*run), self.true_positive_rate(*run));
            area += (x - before_x) * (y + before_y) / 2.0;
            (before_x, before_y) = (x, y);
        }
        area
    }

    fn average_precision(&self) -> f64 {
        let mut before = 0;
        let mut sum = 0.0;
        for (attacks, edges) in &self.runs {
            sum += share(attacks - before, self.attacks) * share(*attacks, *edges);
            before = *attacks;
        }
        sum
    }

    fn precision_in_head(&self, head: usize) -> f64 {
        let head = &self.is_attack[..head.min(self.is_attack.len())];
        share(head.iter().filter(|is_attack| **is_attack).count(), head.len())
    }

    fn curves(&self) -> Curves {
        let mut roc = vec![(0.0, 0.0)];
        let mut precision_recall = Vec::new();
        for run in &self.runs {
            roc.push((self.false_positive_rate(*run), self.true_positive_rate(*run)));
            precision_recall.push((self.true_positive_rate(*run), share(run.0, run.1)));
        }
        Curves { roc: thinned(&roc), precision_recall: thinned(&precision_recall) }
    }
}

/// Returns points that a plot can tell apart, always with the first and the last.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for (place, (x, y)) in points.iter().enumerate() {
        let is_far = kept.last().is_none_or(|(last_x, last_y)| {
            // Near zero the axis of false positives is logarithmic: a tenth more is a step there.
            x - last_x > CURVE_STEP.min(last_x / 10.0) || (y - last_y).abs() > CURVE_STEP
        });
        if is_far || place + 1 == points.len() {
            kept.push((*x, *y));
        }
    }
    kept
}

fn operating_point(truth: &Truth<'_>, test: &[f64], nominal_rate: f64, threshold: f64) -> OperatingPoint {
    let (mut attack_alerts, mut false_alerts, mut attack_edges) = (0, 0, 0);
    let mut attack_days: BTreeMap<(AttackId, u64), AttackDay> = BTreeMap::new();
    for ((edge, attack), score) in truth.test.iter().zip(truth.attacks).zip(test) {
        let is_alert = *score > threshold;
        let Some(attack) = attack else {
            false_alerts += usize::from(is_alert);
            continue;
        };
        attack_edges += 1;
        attack_alerts += usize::from(is_alert);
        let day = attack_days.entry((*attack, edge.minute_s / super::moment::DAY_S)).or_default();
        day.add(edge, is_alert);
    }
    let mut delays: Vec<u64> = attack_days.values().filter_map(AttackDay::delay_minutes).collect();
    delays.sort_unstable();
    OperatingPoint {
        nominal_rate,
        threshold,
        true_positive_rate: share(attack_alerts, attack_edges),
        false_positive_rate: share(false_alerts, test.len() - attack_edges),
        false_alerts,
        attack_days_found: delays.len(),
        attack_days: attack_days.len(),
        median_delay_minutes: delays.get(delays.len().saturating_sub(1) / 2).copied(),
        p90_delay_minutes: delays.get((delays.len() * 9).div_ceil(10).saturating_sub(1)).copied(),
        longest_delay_minutes: delays.last().copied(),
    }
}

/// One attack on one day.
#[derive(Default)]
struct AttackDay {
    first_s: Option<u64>,
    found_s: Option<u64>,
}

impl AttackDay {
    fn add(&mut self, edge: &Edge, is_alert: bool) {
        self.first_s.get_or_insert(edge.minute_s);
        if is_alert {
            self.found_s.get_or_insert(edge.minute_s);
        }
    }

    fn delay_minutes(&self) -> Option<u64> {
        Some((self.found_s? - self.first_s?) / crate::baselines::edges::MINUTE_S)
    }
}

fn share(part: usize, all: usize) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Edges a minute apart, and the attack of each: a digit, or `-`.
    fn edges(labels: &str) -> (Vec<Edge>, Vec<Option<AttackId>>) {
        let edge = |minute: u64| Edge {
            minute_s: minute * 60,
            source: 0,
            destination: 0,
            pair: 0,
            network_pair: 0,
            records: 1,
        };
        (0_u64..).map(edge).zip(labels.chars().map(|label| label.to_digit(10).map(AttackId))).unzip()
    }

    /// Measures test edges behind these training scores.
    fn measured(labels: &str, training: &[f64], test: &[f64]) -> Option<Metrics> {
        let (edges, attacks) = edges(labels);
        measure(&Truth { test: &edges, attacks: &attacks }, &[training, test].concat(), false)
    }

    fn is_near(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-12
    }

    #[test]
    fn the_calibration_counts_benign_edges_above_what_was_fixed() {
        let (edges, attacks) = edges("-----1----1");
        let truth = Truth { test: &edges, attacks: &attacks };
        // p-values: of nine benign edges one has 0.05, one 0.01 exactly, one 0.0002.
        let scores = [0.1, 0.2, 0.3, 1.301, 0.1, 9.0, 2.0, 0.0, 3.699, 0.1, 9.0];
        let realised = |says_p_values| -> Vec<f64> {
            let metrics = measure(&truth, &scores, says_p_values).unwrap();
            assert!(
                metrics
                    .calibration
                    .iter()
                    .zip(CALIBRATION_RATES)
                    .all(|(point, rate)| point.nominal_rate == rate)
            );
            metrics.calibration.iter().map(|point| point.realised_rate * 9.0).collect()
        };
        let expected = [3.0, 3.0, 2.0, 2.0, 1.0, 1.0, 1.0, 0.0];
        assert!(
            realised(true).iter().zip(expected).all(|(one, other)| is_near(*one, other)),
            "{:?}",
            realised(true)
        );
        assert!(
            realised(false).iter().all(|alerts| is_near(*alerts, 0.0)),
            "nothing exceeds what no training set"
        );
    }

    #[test]
    fn areas_agree_with_those_by_hand() {
        // Of the six pairs (attack, benign) four are in order. Precision is 1, 2/3, 3/4 where recall grows.
        let metrics = measured("1-11-", &[], &[0.9, 0.8, 0.7, 0.6, 0.5]).unwrap();
        assert!(is_near(metrics.roc_auc, 4.0 / 6.0), "{metrics:?}");
        assert!(is_near(metrics.pr_auc, (1.0 + 2.0 / 3.0 + 3.0 / 4.0) / 3.0), "{metrics:?}");
        let reversed = measured("1-11-", &[], &[0.5, 0.6, 0.7, 0.8, 0.9]).unwrap();
        assert!(is_near(reversed.roc_auc, 2.0 / 6.0), "{reversed:?}");
    }

    #[test]
    fn equal_scores_count_half_in_whatever_order_they_come() {
        for labels in ["1-1-", "11--", "--11"] {
            let metrics = measured(labels, &[], &[0.5; 4]).unwrap();
            assert!(is_near(metrics.roc_auc, 0.5) && is_near(metrics.pr_auc, 0.5), "{metrics:?}");
        }
        // Run of two (one attack), run of two (one attack): precision 1/2 at both.
        let metrics = measured("1-1-", &[], &[1.0, 1.0, 0.0, 0.0]).unwrap();
        assert!(is_near(metrics.roc_auc, 0.5) && is_near(metrics.pr_auc, 0.5), "{metrics:?}");
    }

    #[test]
    fn a_threshold_is_the_next_higher_score_of_the_quantile() {
        let sorted = Sorted::new((0..=1_000).rev().map(f64::from).collect());
        assert!(is_near(sorted.threshold(0.01), 990.0) && is_near(sorted.threshold(0.001), 999.0));
        let few = Sorted::new(vec![3.0, 1.0, 2.0]);
        assert!(is_near(few.threshold(0.01), 3.0) && is_near(few.threshold(0.5), 2.0));
        assert_eq!(Sorted::new(Vec::new()).threshold(0.01), f64::INFINITY);
    }

    #[test]
    fn only_scores_above_the_threshold_are_alerts() {
        // Benign scores 0.1, 0.4, 0.4: the threshold is 0.4, and the attack that scores 0.4 is missed.
        let metrics = measured("-1-1-", &[], &[0.1, 0.4, 0.4, 0.5, 0.4]).unwrap();
        let point = &metrics.at_benign_rate[0];
        assert!(is_near(point.threshold, 0.4) && is_near(point.true_positive_rate, 0.5), "{point:?}");
        assert_eq!((point.false_alerts, point.false_positive_rate), (0, 0.0));
    }

    #[test]
    fn the_training_span_sets_its_own_thresholds() {
        let training: Vec<f64> = (0..=100).map(f64::from).collect();
        let metrics = measured("-1-1-", &training, &[99.5, 99.5, 98.0, 98.0, 99.0]).unwrap();
        let point = &metrics.at_training_rate[0];
        assert!(is_near(point.threshold, 99.0), "{point:?}");
        assert!(is_near(point.false_positive_rate, 1.0 / 3.0) && is_near(point.true_positive_rate, 0.5));
    }

    #[test]
    fn an_attack_day_is_found_by_one_alert_and_the_delay_is_from_its_first_edge() {
        // Attack 1 is found at its third edge, two minutes after the first; attack 2 at once; attack 3 never.
        let scores = [0.1, 0.1, 0.9, 0.9, 0.0, 0.2, 0.8];
        let metrics = measured("1112-3-", &[], &scores).unwrap();
        let point = &metrics.at_benign_rate[0];
        assert_eq!((point.attack_days_found, point.attack_days), (2, 3));
        assert_eq!((point.median_delay_minutes, point.longest_delay_minutes), (Some(0), Some(2)));
    }

    #[test]
    fn one_attack_on_two_days_is_two_attack_days() {
        let (mut edges, attacks) = edges("11-");
        edges[1].minute_s = super::super::moment::DAY_S;
        let truth = Truth { test: &edges, attacks: &attacks };
        let point = &measure(&truth, &[1.0, 0.0, 0.5], false).unwrap().at_benign_rate[0];
        assert_eq!((point.attack_days_found, point.attack_days), (1, 2));
    }

    #[test]
    fn precision_in_the_head_is_that_of_what_there_is() {
        let metrics = measured("11--", &[], &[0.9, 0.1, 0.5, 0.4]).unwrap();
        assert_eq!(metrics.precision_in_head, [0.5, 0.5]);
        let ranking = Ranking { runs: Vec::new(), is_attack: vec![true, false, true], attacks: 2 };
        assert!(is_near(ranking.precision_in_head(1), 1.0) && is_near(ranking.precision_in_head(2), 0.5));
    }

    #[test]
    fn without_attacks_or_without_benign_edges_there_are_no_metrics_but_alerts() {
        assert_eq!(measured("---", &[0.0], &[0.1, 0.2, 0.3]), None);
        assert_eq!(measured("111", &[0.0], &[0.1, 0.2, 0.3]), None);
        let (edges, attacks) = edges("---");
        let alerts = count_alerts(&Truth { test: &edges, attacks: &attacks }, &[0.2, 0.1, 0.2, 0.3]);
        assert_eq!((alerts[0].edges, alerts[1].edges), (1, 1));
        assert!(is_near(alerts[0].share, 1.0 / 3.0));
    }

    #[test]
    fn curves_begin_and_end_in_their_corners_and_stay_small() {
        let mut random = meshgate_policy::generate::Rng::new(4);
        let labels: String = (0..5_000).map(|_| if random.chance(20) { '1' } else { '-' }).collect();
        let scores: Vec<f64> = (0..5_000).map(|_| random.below(1 << 40) as f64).collect();
        let curves = measured(&labels, &[], &scores).unwrap().curves;
        assert_eq!((curves.roc.first(), curves.roc.last()), (Some(&(0.0, 0.0)), Some(&(1.0, 1.0))));
        assert!(is_near(curves.precision_recall.last().unwrap().0, 1.0));
        assert!(curves.roc.len() < 1_000 && curves.precision_recall.len() < 1_000);
    }
}
