//! Makes the values of a row alike: mean 0, variance 1 over what was seen.
//!
//! Mean and variance follow the rows as they come; a model works with the copy that was frozen when it was trained, so that
//! the same row means the same to it for as long as it lives.

use super::single;
use crate::checkpoint::saved::saved;
use crate::features::{ASIDE, FEATURES, Row};

/// Rows that mean and variance remember: after so many, new ones count one in so many. A day of minutes of 70 series.
const ROWS_REMEMBERED: f64 = 100_000.0;
/// Standard deviations at which a value is cut off. What lies beyond is as surprising as it needs to be.
const BOUND: f64 = 10.0;
/// A standard deviation below which a value never changes: less than any of the features can move by one flow.
const DEVIATION_MIN: f64 = 1e-4;

/// Mean and variance of each value, growing with every row.
#[derive(Clone, Debug, PartialEq)]
pub struct Standardiser {
    rows: f64,
    means: [f64; FEATURES],
    variances: [f64; FEATURES],
}

saved!(Standardiser { rows, means, variances });

impl Default for Standardiser {
    fn default() -> Self {
        Self { rows: 0.0, means: [0.0; FEATURES], variances: [0.0; FEATURES] }
    }
}

impl Standardiser {
    /// Takes a row of finite values in.
    pub fn add(&mut self, row: &Row) {
        self.rows = (self.rows + 1.0).min(ROWS_REMEMBERED);
        let share = 1.0 / self.rows;
        for ((mean, variance), value) in self.means.iter_mut().zip(&mut self.variances).zip(row) {
            let difference = f64::from(*value) - *mean;
            *mean += share * difference;
            *variance = (1.0 - share) * (*variance + share * difference * difference);
        }
    }

    /// Returns the scale as it is.
    pub fn scale(&self) -> Scale {
        Scale {
            means: self.means,
            deviations: self.variances.map(|variance| {
                let deviation = variance.sqrt();
                if deviation < DEVIATION_MIN { 0.0 } else { deviation }
            }),
        }
    }
}

/// A frozen scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    means: [f64; FEATURES],
    /// Zero for a value that never changed.
    deviations: [f64; FEATURES],
}

saved!(Scale { means, deviations });

impl Scale {
    /// Returns the row in standard deviations from the mean; 0 for what never changed, for what is no number, and
    /// for what the model does not see.
    pub fn standardise(&self, row: &Row) -> Row {
        std::array::from_fn(|at| {
            let deviations = (f64::from(row[at]) - self.means[at]) / self.deviations[at];
            if self.deviations[at] == 0.0 || deviations.is_nan() || ASIDE.contains(&at) {
                return 0.0;
            }
            single(deviations.clamp(-BOUND, BOUND))
        })
    }

    /// Returns a value of a row in its own units.
    pub fn restore(&self, at: usize, value: f32) -> f32 {
        single(self.means[at] + f64::from(value) * self.deviations[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_alike_and_what_never_changes_becomes_zero() {
        let mut standardiser = Standardiser::default();
        let mut row = [3.0; FEATURES];
        for at in 0..1_000 {
            row[0] = if at % 2 == 0 { 10.0 } else { 20.0 };
            standardiser.add(&row);
        }
        let scale = standardiser.scale();
        row[0] = 20.0;
        row[1] = 1e9;
        let standardised = scale.standardise(&row);
        assert!((standardised[0] - 1.0).abs() < 1e-3);
        assert_eq!(standardised[1], 0.0);
        assert!((scale.restore(0, standardised[0]) - 20.0).abs() < 1e-3);
    }

    #[test]
    fn no_value_leaves_the_bounds() {
        let mut standardiser = Standardiser::default();
        standardiser.add(&[0.0; FEATURES]);
        standardiser.add(&[1.0; FEATURES]);
        let scale = standardiser.scale();
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            assert!(scale.standardise(&[value; FEATURES]).iter().all(|value| value.abs() <= 10.0));
        }
    }
}
