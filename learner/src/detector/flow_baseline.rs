//! How many flows a series has, by its own past.
//!
//! Counting scores in the manner of MIDAS (Bhatia et al. 2020) compare the flows of a window with a mean by a chi-square:
//! under it a busy series is never usual, since real traffic scatters far more than its root. On logarithms a doubling is
//! the same step for the busy and for the quiet, and the series' own scatter is its measure. Mean and variance follow, so
//! that a slow drift stays usual.

use crate::checkpoint::saved::saved;

/// Windows that mean and variance remember.
const WINDOWS_REMEMBERED: f64 = 64.0;
/// Variance that is added, so that a series which never changed may change by a little.
const VARIANCE_FLOOR: f64 = 0.1;
/// Variance that a series is taken to have before it was seen, and the windows that this counts.
const VARIANCE_PRIOR: f64 = 0.5;
const PRIOR_WINDOWS: f64 = 2.0;
/// Standard deviations beyond which a window that was anomalous moves the mean no further: the past follows a change that
/// stays, in some ten windows, and a burst does not make the next burst usual.
const STEP_MAX: f64 = 3.0;

/// Mean and variance of `ln(1 + flows)` over the windows in which a series was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FlowBaseline {
    windows: f64,
    mean: f64,
    variance: f64,
}

saved!(FlowBaseline { windows, mean, variance });

impl FlowBaseline {
    /// Returns by how many standard deviations the flows are more than usual; none before there is a past.
    pub fn score(&self, flows: u64) -> Option<f64> {
        (self.windows > 0.0).then(|| (log1p(flows) - self.mean) / self.deviation())
    }

    /// Returns the usual number of flows.
    pub fn expected(&self) -> f64 {
        self.mean.exp_m1()
    }

    /// Takes the flows of a window in.
    pub fn add(&mut self, flows: u64, is_anomalous: bool) {
        let mut value = log1p(flows);
        if is_anomalous && self.windows > 0.0 {
            value = value.min(self.mean + STEP_MAX * self.deviation());
        }
        self.windows = (self.windows + 1.0).min(WINDOWS_REMEMBERED);
        let share = 1.0 / self.windows;
        let difference = value - self.mean;
        self.mean += share * difference;
        self.variance = (1.0 - share) * (self.variance + share * difference * difference);
    }

    fn deviation(&self) -> f64 {
        let variance =
            (self.windows * self.variance + PRIOR_WINDOWS * VARIANCE_PRIOR) / (self.windows + PRIOR_WINDOWS);
        (variance + VARIANCE_FLOOR).sqrt()
    }
}

/// Returns `ln(1 + flows)`.
pub fn log1p(flows: u64) -> f64 {
    (flows as f64).ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(windows: u64, flows: impl Fn(u64) -> u64) -> FlowBaseline {
        let mut baseline = FlowBaseline::default();
        (0..windows).for_each(|window| baseline.add(flows(window), false));
        baseline
    }

    #[test]
    fn a_burst_stands_out_whether_the_series_is_busy_or_quiet() {
        for usual in [2, 50, 10_000] {
            let baseline = after(100, |window| usual + window % 2);
            assert!(baseline.score(usual).unwrap().abs() < 1.0);
            assert!(baseline.score(usual * 20).unwrap() > 5.0);
            assert!((baseline.expected() / usual as f64 - 1.0).abs() < 0.3);
        }
        assert_eq!(FlowBaseline::default().score(5), None);
    }

    #[test]
    fn a_slow_drift_stays_usual() {
        let mut baseline = FlowBaseline::default();
        for window in 0..1_000 {
            let flows = 10 + window / 5;
            assert!(baseline.score(flows).is_none_or(|score| score < 2.5), "{window}");
            baseline.add(flows, false);
        }
    }

    #[test]
    fn a_burst_does_not_make_the_next_one_usual_but_a_change_that_stays_does() {
        let mut baseline = after(100, |_| 10);
        baseline.add(1_000, true);
        assert!(baseline.score(1_000).unwrap() > 5.0);
        (0..200).for_each(|_| baseline.add(1_000, baseline.score(1_000).unwrap() > 3.0));
        assert!(baseline.score(1_000).unwrap() < 1.0);
    }
}
