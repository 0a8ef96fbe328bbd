//! The two linear methods that papers compare with, over the same values, entities included, with the priors of our kernel.
//!
//! Both keep a normal belief about weights. LinUCB explains the answer itself (0 or 1) and orders by mean plus deviation;
//! logistic regression explains its log odds and orders by the mean chance. The static score is a feature whose weight is
//! expected to be what it is in our offset. An entity gets a weight of its own when it is answered first.

use super::{Method, ordered};
use crate::feedback::level::{Level, ODDS_OF_HEIGHT, Seen};
use crate::feedback::point::KernelWeights;
use hashbrown::HashMap;

/// Deviations that LinUCB adds to a mean.
const BOUND_DEVIATIONS: f64 = 1.0;
/// Change of a chance with its log odds at one half.
const CHANCE_OF_ODDS: f64 = 0.25;
/// Variance of an answer around a chance of one half.
const ANSWER_VARIANCE: f64 = 0.25;
/// Places that the product shows, for the same scale.
const PLACES: usize = 10;
/// Columns before those of the features: one, the height.
const FIRST: usize = 2;

/// How it learns and orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// LinUCB.
    Bound,
    /// Logistic regression.
    Logistic,
}

/// A linear method.
pub struct Linear {
    rule: Rule,
    level: Level,
    /// Columns of entities.
    columns: HashMap<(usize, u64), usize>,
    belief: Belief,
}

/// A normal belief about weights.
#[derive(Default)]
struct Belief {
    mean: Vec<f64>,
    covariance: Vec<Vec<f64>>,
}

/// The values of a suggestion that are not zero, by column.
type Values = Vec<(usize, f64)>;

impl Linear {
    /// Returns one that knows nothing.
    pub fn new(rule: Rule) -> Self {
        Self { rule, level: Level::default(), columns: HashMap::new(), belief: Belief::default() }
    }

    /// Returns the values of a suggestion, and the variance of its entities that were never answered.
    fn values(&self, seen: &Seen) -> (Values, f64) {
        let mut values = vec![(0, 1.0), (1, self.level.height(seen))];
        let scale = 1.0 / (self.level.dimensions().max(1) as f64).sqrt();
        let features = self.level.features(seen).into_iter().enumerate();
        values.extend(features.map(|(at, value)| (FIRST + at, f64::from(value) * scale)));
        let mut unknown = 0.0;
        for (kind, entity) in seen.entities.iter().enumerate().filter(|(_, entity)| **entity != 0) {
            match self.columns.get(&(kind, *entity)) {
                Some(column) => values.push((*column, 1.0)),
                None => unknown += self.variance(KernelWeights::default().entities[kind]),
            }
        }
        (values, unknown)
    }

    /// Returns the prior variance of a weight whose deviation is this in log odds.
    fn variance(&self, deviation: f32) -> f64 {
        (f64::from(deviation) * self.of_odds()).powi(2)
    }

    fn of_odds(&self) -> f64 {
        if self.rule == Rule::Bound { CHANCE_OF_ODDS } else { 1.0 }
    }

    /// Gives what is answered first its columns.
    fn widen(&mut self, seen: &Seen) {
        let weights = KernelWeights::default();
        if self.belief.mean.is_empty() {
            self.belief.add(0.0, self.variance(weights.common));
            self.belief.add(ODDS_OF_HEIGHT * self.of_odds(), self.variance(weights.height));
            seen.features.iter().for_each(|_| self.belief.add(0.0, self.variance(weights.linear)));
        }
        for (kind, entity) in seen.entities.iter().enumerate().filter(|(_, entity)| **entity != 0) {
            if !self.columns.contains_key(&(kind, *entity)) {
                self.columns.insert((kind, *entity), self.belief.mean.len());
                self.belief.add(0.0, self.variance(weights.entities[kind]));
            }
        }
    }

    /// Returns what a suggestion is ordered by, and its chance.
    fn score(&self, seen: &Seen) -> (f64, f64) {
        let (values, unknown) = self.values(seen);
        let (mean, known) = self.belief.of(&values);
        let variance = known + unknown;
        match self.rule {
            Rule::Bound => (mean + BOUND_DEVIATIONS * variance.sqrt(), (0.5 + mean).clamp(0.01, 0.99)),
            Rule::Logistic => {
                let chance = sigmoid(mean / (1.0 + std::f64::consts::PI * variance / 8.0).sqrt());
                (chance, chance)
            }
        }
    }
}

impl Method for Linear {
    fn observe(&mut self, day: &[Seen]) {
        self.level.observe(day, PLACES);
    }

    // Answers come between the days: there is nothing to hold back.
    fn begin_day(&mut self) {}

    fn rank(&mut self, day: &[Seen]) -> Vec<(usize, f64)> {
        if self.belief.mean.is_empty() {
            return ordered(day, &vec![0.0; day.len()]).into_iter().map(|index| (index, 0.5)).collect();
        }
        let (scores, chances): (Vec<f64>, Vec<f64>) = day.iter().map(|seen| self.score(seen)).unzip();
        ordered(day, &scores).into_iter().map(|index| (index, chances[index])).collect()
    }

    fn learn(&mut self, seen: &Seen, yes: bool, _is_of_situation: bool) {
        if !self.level.is_fixed() {
            return;
        }
        self.widen(seen);
        let (values, _) = self.values(seen);
        let (mean, _) = self.belief.of(&values);
        let reward = f64::from(u8::from(yes));
        match self.rule {
            Rule::Bound => {
                self.belief.learn(&values, 1.0 / ANSWER_VARIANCE, (reward - 0.5 - mean) / ANSWER_VARIANCE);
            }
            Rule::Logistic => {
                let chance = sigmoid(mean);
                self.belief.learn(&values, chance * (1.0 - chance), reward - chance);
            }
        }
    }

    fn takes_part(&self) -> bool {
        !self.belief.mean.is_empty()
    }
}

impl Belief {
    /// Adds a weight that nothing is known of but this.
    fn add(&mut self, mean: f64, variance: f64) {
        self.covariance.iter_mut().for_each(|row| row.push(0.0));
        self.mean.push(mean);
        let mut row = vec![0.0; self.mean.len()];
        if let Some(own) = row.last_mut() {
            *own = variance;
        }
        self.covariance.push(row);
    }

    /// Returns mean and variance of what these values add up to.
    fn of(&self, values: &[(usize, f64)]) -> (f64, f64) {
        let mean = values.iter().map(|(at, value)| self.mean[*at] * value).sum();
        let line = |at: usize| -> f64 {
            values.iter().map(|(other, value)| self.covariance[at][*other] * value).sum()
        };
        let variance = values.iter().map(|(at, value)| value * line(*at)).sum::<f64>();
        (mean, variance.max(0.0))
    }

    /// Takes in an answer whose log likelihood has this slope and curvature at the mean (one step of Newton's).
    fn learn(&mut self, values: &[(usize, f64)], curvature: f64, slope: f64) {
        let across: Vec<f64> = self
            .covariance
            .iter()
            .map(|row| values.iter().map(|(other, value)| row[*other] * value).sum())
            .collect();
        let variance: f64 = values.iter().map(|(at, value)| across[*at] * value).sum();
        let shrunk = 1.0 / (1.0 + curvature * variance);
        for ((row, mean), own) in self.covariance.iter_mut().zip(&mut self.mean).zip(&across) {
            *mean += own * slope * shrunk;
            let factor = curvature * shrunk * own;
            row.iter_mut().zip(&across).for_each(|(value, other)| *value -= factor * other);
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_belief_follows_the_formulas_of_one_weight() {
        let mut belief = Belief::default();
        belief.add(0.5, 4.0);
        belief.add(0.0, 1.0);
        // Kalman: gain 4 / (4 + 1), of an answer 1.5 with variance 1.
        belief.learn(&[(0, 1.0)], 1.0, 1.0);
        let (mean, variance) = belief.of(&[(0, 1.0)]);
        assert!((mean - 1.3).abs() < 1e-12 && (variance - 0.8).abs() < 1e-12, "{mean} {variance}");
        assert_eq!(belief.of(&[(1, 2.0)]), (0.0, 4.0));
    }
}
