//! The confidence that people see: probabilities held against the answers that came, by a straight line through log odds
//! (J. Platt 1999), fitted to what was said before each of the last answers. Strong priors keep the line near the identity as
//! long as there are few.

use super::null::sigmoid;

/// Answers that the line rests on.
pub const ANSWERS_MAX: usize = 150;
/// Weight of the prior slope 1, in inverse variance.
const SLOPE_PRIOR: f64 = 8.0;
/// Weight of the prior intercept 0, likewise.
const INTERCEPT_PRIOR: f64 = 2.0;
/// Newton steps; the posterior is convex.
const STEPS: usize = 12;
/// Largest log odds that are looked at.
const ODDS_MAX: f64 = 6.0;

/// A line from issued log odds to those of acceptance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Confidence {
    slope: f64,
    intercept: f64,
}

impl Confidence {
    /// Returns the line through probabilities that were issued and the rewards that followed.
    pub fn fit(issued: &[(f64, f64)]) -> Self {
        let (mut slope, mut intercept) = (1.0, 0.0);
        for _ in 0..STEPS {
            let mut gradient = [-SLOPE_PRIOR * (slope - 1.0), -INTERCEPT_PRIOR * intercept];
            let (mut ss, mut si, mut ii) = (SLOPE_PRIOR, 0.0, INTERCEPT_PRIOR);
            for &(probability, reward) in issued {
                let odds = log_odds(probability);
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
        Self { slope: slope.max(0.0), intercept }
    }

    /// Returns the confidence for an issued probability.
    pub fn of(self, probability: f64) -> f64 {
        sigmoid(self.slope * log_odds(probability) + self.intercept)
    }
}

fn log_odds(probability: f64) -> f64 {
    (probability / (1.0 - probability)).ln().clamp(-ODDS_MAX, ODDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_answers_what_was_issued_is_shown() {
        let line = Confidence::fit(&[]);
        assert!((line.of(0.3) - 0.3).abs() < 1e-9 && (line.of(0.9) - 0.9).abs() < 1e-9);
    }

    #[test]
    fn what_was_too_sure_of_itself_becomes_less_sure_and_keeps_its_order() {
        // Said 0.9 and 0.1, and right three times of four.
        let answers: Vec<(f64, f64)> = (0..120)
            .map(|at| {
                let is_high = at % 2 == 0;
                let is_surprise = at % 8 < 2;
                (if is_high { 0.9 } else { 0.1 }, f64::from(u8::from(is_high != is_surprise)))
            })
            .collect();
        let line = Confidence::fit(&answers);
        assert!((line.of(0.9) - 0.75).abs() < 0.05 && (line.of(0.1) - 0.25).abs() < 0.05, "{line:?}");
        let turned: Vec<(f64, f64)> = answers.iter().map(|(said, reward)| (1.0 - said, *reward)).collect();
        let nonsense = Confidence::fit(&turned);
        assert!(nonsense.of(0.9) >= nonsense.of(0.1));
    }
}
