//! What acceptance looks like to somebody who learned nothing but how often answers are yes: the hypothesis that the gate
//! holds what was learned against.
//!
//! It mixes two: the static score as log odds with a bias that drifts, and the share of the last answers that were yes. Both
//! take constant time an answer.

use super::level::ODDS_OF_HEIGHT;
use serde::{Deserialize, Serialize};

/// Answers after which the bias forgets by `1/e`.
const DRIFT_SPAN: f64 = 150.0;
/// Answers after which the share of yes forgets by `1/e`.
const SHARE_SPAN: f64 = 100.0;
/// Share of the weight of the two that is dealt out anew with each answer.
const SHARED: f64 = 0.02;
/// Newton steps to the new bias: the posterior of one number is found in a few.
const STEPS: usize = 8;

/// The state after some answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Null {
    /// Mean and variance of the bias.
    bias: f64,
    variance: f64,
    /// Faded yes and answers, of which one each and two were given beforehand.
    yes: f64,
    answers: f64,
    /// Weight of the static score; the rest is that of the share.
    scored: f64,
}

impl Default for Null {
    fn default() -> Self {
        Self { bias: 0.0, variance: 1.0, yes: 0.0, answers: 0.0, scored: 0.5 }
    }
}

impl Null {
    /// Returns the probability of a yes at this height of the static score.
    pub fn probability(&self, height: f64) -> f64 {
        self.scored * self.by_score(height) + (1.0 - self.scored) * self.by_share()
    }

    /// Takes in an answer.
    pub fn learn(&mut self, height: f64, reward: f64) {
        let likelihood = |p: f64| p.powf(reward) * (1.0 - p).powf(1.0 - reward);
        let (scored, shared) = (likelihood(self.by_score(height)), likelihood(self.by_share()));
        let weight = self.scored * scored / (self.scored * scored + (1.0 - self.scored) * shared);
        self.scored = (1.0 - SHARED) * weight + SHARED / 2.0;

        let fade = (-1.0 / SHARE_SPAN).exp();
        (self.yes, self.answers) = (fade * self.yes + reward, fade * self.answers + 1.0);

        let (mean, variance) = self.drifted();
        let mut bias = mean;
        for _ in 0..STEPS {
            let p = sigmoid(ODDS_OF_HEIGHT * height + bias);
            let slope = reward - p - (bias - mean) / variance;
            bias += slope / (p * (1.0 - p) + 1.0 / variance);
        }
        let p = sigmoid(ODDS_OF_HEIGHT * height + bias);
        (self.bias, self.variance) = (bias, 1.0 / (p * (1.0 - p) + 1.0 / variance));
    }

    /// Returns whether it can have come about.
    pub fn is_sound(&self) -> bool {
        self.bias.is_finite()
            && self.variance > 0.0
            && self.variance.is_finite()
            && self.yes >= 0.0
            && self.answers >= self.yes - 1e-9
            && self.answers.is_finite()
            && (0.0..=1.0).contains(&self.scored)
    }

    fn by_score(&self, height: f64) -> f64 {
        let (mean, variance) = self.drifted();
        sigmoid((ODDS_OF_HEIGHT * height + mean) / (1.0 + std::f64::consts::PI * variance / 8.0).sqrt())
    }

    fn by_share(&self) -> f64 {
        (self.yes + 1.0) / (self.answers + 2.0)
    }

    fn drifted(&self) -> (f64, f64) {
        let fade = (-1.0 / DRIFT_SPAN).exp();
        (fade * self.bias, fade * fade * self.variance + 1.0 - fade * fade)
    }
}

/// Returns the logistic function.
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
