//! What scores of usual rows look like, question by question, and which rows count as usual.
//!
//! Rows that are anomalies do not: an attack must not vouch for itself. If more than [`GATE_SHARE`] of all rows have been
//! anomalies over the last some hundred windows, the world has changed: everything enters until the share has fallen. A
//! calibration that shuts out what it does not know would otherwise never come back.
//!
//! Only anomalies are kept out, not everything with a small p-value: cutting the tail off the scores that the tail is
//! estimated from would shorten it a little more each time.

use super::quarantine::Sample;
use crate::calibration::Calibration;
use crate::checkpoint::saved::saved;

/// Scores without which a calibration says nothing.
const SCORES_NEEDED: usize = 64;
/// Rows of one window that enter, evenly chosen: a calibration then spans 64 windows at least, however many series there are.
const ROWS_PER_WINDOW_MAX: usize = 256;
const _: () = assert!(64 * ROWS_PER_WINDOW_MAX == crate::calibration::SCORES_MAX);
/// Share of anomalies beyond which they enter: fifty times what a threshold of a thousandth allows.
const GATE_SHARE: f64 = 0.05;
/// How much of the share is that of the last window: half of it is forgotten in 350 windows.
const GATE_STEP: f64 = 0.002;

/// The calibrations.
#[derive(Clone, Debug)]
pub(super) struct Calibrations {
    /// Standard deviations of flows beyond a series' own past.
    pub(super) counts: Calibration,
    /// `ln(1 + flows)` that sources spend on young series.
    pub(super) young_counts: Calibration,
    /// `ln(1 + flows)` of all rows: stands in for the young ones while these are few.
    pub(super) all_counts: Calibration,
    /// Negative log likelihoods.
    pub(super) densities: Calibration,
    /// The sum of the weighted evidence.
    pub(super) scores: Calibration,
    /// Share of the rows that were anomalies.
    anomalous_share: f64,
}

saved!(Calibrations { counts, young_counts, all_counts, densities, scores, anomalous_share });

impl Default for Calibrations {
    fn default() -> Self {
        // Beyond its 99 % quantile -log10 of a uniform p-value exceeds it by 1 / ln 10 on average; the others are what
        // Gaussian and Student-t tails of their units do.
        let calibration = |tail_prior| Calibration::new(SCORES_NEEDED, tail_prior);
        Self {
            counts: calibration(0.4),
            young_counts: calibration(0.5),
            all_counts: calibration(0.5),
            densities: calibration(3.0),
            scores: calibration(std::f64::consts::LOG10_E),
            anomalous_share: 0.0,
        }
    }
}

impl Calibrations {
    /// Returns whether anomalies count as usual for the time being.
    pub(super) fn is_gate_open(&self) -> bool {
        self.anomalous_share > GATE_SHARE
    }

    /// Takes note of how many rows of a window were anomalies.
    pub(super) fn watch(&mut self, anomalies: usize, rows: usize) {
        if rows > 0 {
            self.anomalous_share += GATE_STEP * (anomalies as f64 / rows as f64 - self.anomalous_share);
        }
    }

    /// Takes usual rows in. `window` is the number of the window.
    pub(super) fn learn(&mut self, samples: &[Sample], window: u64) {
        let step = samples.len().div_ceil(ROWS_PER_WINDOW_MAX).max(1);
        // Other rows every window.
        let first = usize::try_from(window % step as u64).unwrap_or(0);
        for sample in samples.iter().skip(first).step_by(step) {
            let counts = if sample.is_young { &mut self.young_counts } else { &mut self.counts };
            sample.count.into_iter().for_each(|score| counts.push(score));
            self.all_counts.push(sample.flows);
            sample.density.into_iter().for_each(|score| self.densities.push(score));
            sample.score.into_iter().for_each(|score| self.scores.push(score));
        }
        let Self { counts, young_counts, all_counts, densities, scores, anomalous_share: _ } = self;
        [counts, young_counts, all_counts, densities, scores].into_iter().for_each(Calibration::settle);
    }
}
