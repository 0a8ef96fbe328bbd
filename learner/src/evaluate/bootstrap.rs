//! Whether one method is better than another, or was lucky with these days: a paired bootstrap (Efron 1979).
//!
//! Edges of one day resemble each other, so whole days are drawn, with replacement; both methods are measured on the same
//! draw, and the difference is kept. Of a test of few days, minutes are drawn. The interval holds 95 % of the differences: one
//! that holds zero says that the data cannot tell the methods apart.

use super::moment::DAY_S;
use super::truth::Truth;
use meshgate_policy::generate::Rng;
use serde::Serialize;
use std::collections::BTreeMap;

/// Draws. Their 2.5 % quantile rests on a dozen.
const DRAWS: usize = 500;
/// Days without which minutes are drawn.
const DAYS_MIN: usize = 5;
/// Determines the draws.
const SEED: u64 = 1;
/// What is compared, in order.
pub const FIGURES: [&str; 4] = ["ROC-AUC", "PR-AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR"];
/// The rates of the last two.
const RATES: [f64; 2] = [0.01, 0.001];

/// What one method gains over another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The method.
    pub method: String,
    /// The one it is compared with.
    pub other: String,
    /// Seed of both.
    pub seed: Option<u64>,
    /// What was drawn: `day` or `minute`.
    pub drawn: &'static str,
    /// For each of [`FIGURES`].
    pub gains: Vec<Gain>,
}

/// The difference of one figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gain {
    /// On the test itself.
    pub gain: f64,
    /// 2.5 % quantile over the draws.
    pub low: f64,
    /// 97.5 % quantile.
    pub high: f64,
}

/// The test edges by falling score.
struct Ranked {
    /// Block and attack of each edge, and whether the next one scores the same.
    edges: Vec<(usize, bool, bool)>,
}

/// Returns what the scores of `one` gain over those of `other`, both of the test edges. None without attacks or benign edges.
pub fn gains(truth: &Truth<'_>, one: &[f64], other: &[f64]) -> Option<(&'static str, Vec<Gain>)> {
    let (drawn, blocks, count) = blocks(truth);
    let ranked = [one, other].map(|scores| Ranked::of(truth, scores, &blocks));
    let all = vec![1.0; count];
    let difference = |weights: &[f64]| -> Option<[f64; FIGURES.len()]> {
        let [one, other] = [ranked[0].figures(weights)?, ranked[1].figures(weights)?];
        Some(std::array::from_fn(|at| one[at] - other[at]))
    };
    let on_test = difference(&all)?;
    let mut random = Rng::new(SEED);
    let mut draws: [Vec<f64>; FIGURES.len()] = Default::default();
    for _ in 0..DRAWS {
        let mut weights = vec![0.0; count];
        (0..count).for_each(|_| weights[random.index(count)] += 1.0);
        // A draw without attacks says nothing.
        let Some(found) = difference(&weights) else { continue };
        draws.iter_mut().zip(found).for_each(|(draws, found)| draws.push(found));
    }
    let gain = |(gain, mut draws): (f64, Vec<f64>)| {
        draws.sort_by(f64::total_cmp);
        let at = |per_mille: usize| draws.get(draws.len() * per_mille / 1_000).copied().unwrap_or(gain);
        Gain { gain, low: at(25), high: at(975) }
    };
    Some((drawn, on_test.into_iter().zip(draws).map(gain).collect()))
}

/// Returns what is drawn, the block of each edge, and how many blocks there are.
fn blocks(truth: &Truth<'_>) -> (&'static str, Vec<usize>, usize) {
    let numbered = |width_s: u64| {
        let mut numbers = BTreeMap::new();
        let number = |edge: &crate::baselines::edges::Edge| {
            let next = numbers.len();
            *numbers.entry(edge.minute_s / width_s).or_insert(next)
        };
        let blocks: Vec<usize> = truth.test.iter().map(number).collect();
        (blocks, numbers.len())
    };
    let (days, count) = numbered(DAY_S);
    if count >= DAYS_MIN {
        return ("day", days, count);
    }
    let (minutes, count) = numbered(crate::baselines::edges::MINUTE_S);
    ("minute", minutes, count)
}

impl Ranked {
    fn of(truth: &Truth<'_>, scores: &[f64], blocks: &[usize]) -> Self {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|one, other| scores[*other].total_cmp(&scores[*one]));
        let is_tied = |place: usize| {
            order.get(place + 1).is_some_and(|next| scores[*next].total_cmp(&scores[order[place]]).is_eq())
        };
        let edge = |(place, at): (usize, &usize)| (blocks[*at], truth.attacks[*at].is_some(), is_tied(place));
        Self { edges: order.iter().enumerate().map(edge).collect() }
    }

    /// Returns the figures where each edge counts as often as its block was drawn; none without attacks or benign edges.
    fn figures(&self, weights: &[f64]) -> Option<[f64; FIGURES.len()]> {
        let of = |attack: bool| -> f64 {
            let alike = self.edges.iter().filter(|(_, is_attack, _)| *is_attack == attack);
            alike.map(|(block, ..)| weights[*block]).sum()
        };
        let (attacks, benign) = (of(true), of(false));
        if attacks == 0.0 || benign == 0.0 {
            return None;
        }
        let (mut hits, mut alarms) = (0.0, 0.0);
        let (mut hits_before, mut alarms_before) = (0.0, 0.0);
        let (mut roc, mut precision) = (0.0, 0.0);
        let mut at_rates = [0.0; RATES.len()];
        for (block, is_attack, is_tied) in &self.edges {
            *(if *is_attack { &mut hits } else { &mut alarms }) += weights[*block];
            if *is_tied {
                continue;
            }
            roc += (alarms - alarms_before) * (hits + hits_before) / 2.0;
            if hits > hits_before {
                precision += (hits - hits_before) * hits / (hits + alarms);
            }
            for (at_rate, rate) in at_rates.iter_mut().zip(RATES) {
                if alarms <= rate * benign {
                    *at_rate = hits / attacks;
                }
            }
            (hits_before, alarms_before) = (hits, alarms);
        }
        Some([roc / (attacks * benign), precision / attacks, at_rates[0], at_rates[1]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baselines::edges::Edge;
    use crate::evaluate::truth::AttackId;

    /// Ten days of a hundred edges, a tenth of them attacks; scores that tell them apart as well as asked.
    fn world(seed: u64, clearness: f64) -> (Vec<Edge>, Vec<Option<AttackId>>, Vec<f64>) {
        let mut random = Rng::new(seed);
        let edge = |at: u64| Edge {
            minute_s: at / 100 * DAY_S + at % 100 * 60,
            source: 0,
            destination: 1,
            pair: 0,
            network_pair: 0,
            records: 1,
        };
        let edges = (0..1_000).map(edge).collect();
        let attacks: Vec<_> = (0..1_000).map(|at| (at % 10 == 0).then_some(AttackId(0))).collect();
        let score = |attack: &Option<AttackId>| {
            random.below(1_000) as f64 / 1_000.0 + if attack.is_some() { clearness } else { 0.0 }
        };
        let scores = attacks.iter().map(score).collect();
        (edges, attacks, scores)
    }

    #[test]
    fn figures_on_the_test_itself_are_those_of_the_report() {
        let (test, attacks, scores) = world(1, 0.5);
        let truth = Truth { test: &test, attacks: &attacks };
        let metrics = crate::evaluate::metrics::measure(&truth, &scores, false).unwrap();
        let (_, blocks, count) = blocks(&truth);
        let figures = Ranked::of(&truth, &scores, &blocks).figures(&vec![1.0; count]).unwrap();
        assert!((figures[0] - metrics.roc_auc).abs() < 1e-12);
        assert!((figures[1] - metrics.pr_auc).abs() < 1e-12);
        assert!((figures[2] - metrics.at_benign_rate[0].true_positive_rate).abs() < 1e-12);
    }

    #[test]
    fn a_better_method_gains_and_its_interval_says_so() {
        let (test, attacks, clear) = world(2, 0.9);
        let (.., blurred) = world(3, 0.2);
        let truth = Truth { test: &test, attacks: &attacks };
        let (drawn, gains) = gains(&truth, &clear, &blurred).unwrap();
        assert_eq!(drawn, "day");
        for gain in &gains[..2] {
            assert!(gain.low > 0.0 && gain.low <= gain.gain && gain.gain <= gain.high, "{gain:?}");
        }
    }

    #[test]
    fn of_two_that_are_equally_good_the_interval_holds_zero() {
        let (test, attacks, one) = world(6, 0.5);
        let (.., other) = world(7, 0.5);
        let truth = Truth { test: &test, attacks: &attacks };
        let (_, gains) = gains(&truth, &one, &other).unwrap();
        assert!(gains[..2].iter().all(|gain| gain.low < 0.0 && gain.high > 0.0), "{gains:?}");
        let (_, same) = super::gains(&truth, &one, &one).unwrap();
        assert!(same.iter().all(|gain| (gain.low, gain.gain, gain.high) == (0.0, 0.0, 0.0)));
    }
}
