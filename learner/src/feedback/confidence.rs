//! The confidence that people see: probabilities held against the answers that came, by a straight line through log odds
//! (J. Platt 1999), fitted to what was said before each of the last answers. Strong priors keep the line near the identity as
//! long as there are few.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Answers that the line rests on.
const ANSWERS_MAX: usize = 150;
/// Weight of the prior slope 1, in inverse variance.
const SLOPE_PRIOR: f64 = 8.0;
/// Weight of the prior intercept 0, likewise.
const INTERCEPT_PRIOR: f64 = 2.0;
/// Newton steps; the posterior is convex.
const STEPS: usize = 12;
/// Largest log odds that are looked at.
const ODDS_MAX: f64 = 6.0;

/// What was said and what was answered, and the line between them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confidence {
    /// Log odds that were issued, and rewards.
    issued: VecDeque<(f64, f64)>,
    slope: f64,
    intercept: f64,
}

impl Default for Confidence {
    fn default() -> Self {
        Self { issued: VecDeque::new(), slope: 1.0, intercept: 0.0 }
    }
}

impl Confidence {
    /// Takes in an answer with the probability that was issued before it.
    pub fn learn(&mut self, probability: f64, reward: f64) {
        if self.issued.len() == ANSWERS_MAX {
            self.issued.pop_front();
        }
        self.issued.push_back((log_odds(probability), reward));
        self.fit();
    }

    /// Returns the confidence for an issued probability.
    pub fn of(&self, probability: f64) -> f64 {
        sigmoid(self.slope * log_odds(probability) + self.intercept)
    }

    fn fit(&mut self) {
        let (mut slope, mut intercept) = (1.0, 0.0);
        for _ in 0..STEPS {
            let mut gradient = [-SLOPE_PRIOR * (slope - 1.0), -INTERCEPT_PRIOR * intercept];
            let (mut ss, mut si, mut ii) = (SLOPE_PRIOR, 0.0, INTERCEPT_PRIOR);
            for (odds, reward) in &self.issued {
                let p = sigmoid(slope * odds + intercept);
                let curvature = p * (1.0 - p);
                gradient[0] += (reward - p) * odds;
                gradient[1] += reward - p;
                ss += curvature * odds * odds;
                si += curvature * odds;
                ii += curvature;
            }
            let determinant = ss * ii - si * si;
            // Steps of at most one: far from the top the parabola misleads.
            slope += ((ii * gradient[0] - si * gradient[1]) / determinant).clamp(-1.0, 1.0);
            intercept += ((ss * gradient[1] - si * gradient[0]) / determinant).clamp(-1.0, 1.0);
        }
        // A line that falls would turn the order around: what was said is worth nothing then.
        (self.slope, self.intercept) = (slope.max(0.0), intercept);
    }
}

fn log_odds(probability: f64) -> f64 {
    (probability / (1.0 - probability)).ln().clamp(-ODDS_MAX, ODDS_MAX)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
