//! What scores of usual rows look like, question by question, and which rows count as usual.
//!
//! Rows that are anomalies do not: an attack must not vouch for itself. If more than [`GATE_SHARE`] of all rows have been
//! anomalies over the last some hundred windows, from as many of the sources and to as many of the destinations, the world
//! has changed: everything enters until the share has fallen. A calibration that shuts out what it does not know would
//! otherwise never come back. An attack may be most of the rows for a day: a scan is from one source, a flood to one victim.
//!
//! Only anomalies are kept out, not everything with a small p-value: cutting the tail off the scores that the tail is
//! estimated from would shorten it a little more each time.

use crate::calibration::Calibration;
use crate::checkpoint::saved::saved;

/// Scores without which a calibration says nothing.
const SCORES_NEEDED: usize = 64;
/// Scores from which on those of the days before are enough: a thousand, of which one is as rare as an anomaly.
const SCORES_ENOUGH: usize = 1_024;
/// Rows of one window that enter, evenly chosen: a calibration then spans 64 windows at least, however many series there are.
const ROWS_PER_WINDOW_MAX: usize = 256;
const _: () = assert!(64 * ROWS_PER_WINDOW_MAX == crate::calibration::SCORES_MAX);
/// Share of anomalies beyond which they enter: more than half of everything is not unusual.
const GATE_SHARE: f64 = 0.5;
/// How much of the share is that of the last window: half of it is forgotten in 350 windows.
const GATE_STEP: f64 = 0.002;

/// What is to be learned of a usual row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// Whether the count is that of what the closed days do not know.
    pub(super) is_strange: bool,
    /// Score of the count; none before a series has a past.
    pub(super) count: Option<f64>,
    /// `ln(1 + flows)`.
    pub(super) flows: f64,
    /// Negative log likelihood; none without a model.
    pub(super) density: Option<f64>,
    /// The score; none if something that it rests on was not calibrated.
    pub(super) score: Option<f64>,
}

/// The calibrations.
#[derive(Clone, Debug)]
pub(super) struct Calibrations {
    /// Standard deviations of flows beyond a series' own past.
    pub(super) counts: Calibration,
    /// `ln(1 + flows)` that sources spend of late on what the closed days do not know.
    pub(super) strange_counts: Calibration,
    /// `ln(1 + flows)` of all rows: stands in for the strange ones while these are few.
    pub(super) all_counts: Calibration,
    /// Negative log likelihoods.
    pub(super) densities: Calibration,
    /// The sum of the weighted evidence.
    pub(super) scores: Calibration,
    /// Share of what was seen that was anomalous, see [`Calibrations::watch`].
    anomalous_share: f64,
}

/// What was seen in a window, and how much of it was anomalous.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) all: usize,
    pub(super) anomalous: usize,
}

impl Seen {
    fn share(self) -> f64 {
        self.anomalous as f64 / self.all.max(1) as f64
    }
}

saved!(Calibrations { counts, strange_counts, all_counts, densities, scores, anomalous_share } if is_sound);

impl Default for Calibrations {
    fn default() -> Self {
        // Beyond its 99 % quantile -log10 of a uniform p-value exceeds it by 1 / ln 10 on average; the others are what
        // Gaussian and Student-t tails of their units do.
        let calibration = |tail_prior| Calibration::new(SCORES_NEEDED, tail_prior);
        Self {
            counts: calibration(0.4),
            strange_counts: calibration(0.5),
            all_counts: calibration(0.5),
            densities: calibration(3.0),
            scores: calibration(std::f64::consts::LOG10_E),
            anomalous_share: 0.0,
        }
    }
}

impl Calibrations {
    /// Makes these scores, of usual rows, what scores are held against.
    pub(super) fn begin_scores(&mut self, scores: &[f64]) {
        self.scores = Calibration::new(SCORES_NEEDED, std::f64::consts::LOG10_E);
        // Evenly chosen: they are in order of time.
        let step = scores.len().div_ceil(crate::calibration::SCORES_MAX).max(1);
        scores.iter().step_by(step).for_each(|score| self.scores.push(*score));
        self.scores.settle();
    }

    fn is_sound(&self) -> bool {
        (0.0..=1.0).contains(&self.anomalous_share)
    }

    /// Returns whether anomalies count as usual for the time being.
    pub(super) fn is_gate_open(&self) -> bool {
        self.anomalous_share > GATE_SHARE
    }

    /// Takes note of how many rows of a window were anomalies, from how many of its sources, and to how many of its
    /// destinations. The smallest share counts.
    pub(super) fn watch(&mut self, rows: Seen, sources: Seen, destinations: Seen) {
        if rows.all > 0 {
            let share = rows.share().min(sources.share()).min(destinations.share());
            self.anomalous_share += GATE_STEP * (share - self.anomalous_share);
        }
    }

    /// Takes usual rows in. `window` is the number of the window. Scores follow only while `is_young` and few: otherwise they
    /// are held against what the forests were grown from. A level that goes on following lets an attack raise it that is half
    /// found.
    pub(super) fn learn(&mut self, samples: &[Sample], window: u64, is_young: bool) {
        let step = samples.len().div_ceil(ROWS_PER_WINDOW_MAX).max(1);
        let follows = is_young && self.scores.len() < SCORES_ENOUGH;
        // Other rows every window.
        let first = usize::try_from(window % step as u64).unwrap_or(0);
        for sample in samples.iter().skip(first).step_by(step) {
            let counts = if sample.is_strange { &mut self.strange_counts } else { &mut self.counts };
            sample.count.into_iter().for_each(|score| counts.push(score));
            self.all_counts.push(sample.flows);
            sample.density.into_iter().for_each(|score| self.densities.push(score));
            sample.score.into_iter().filter(|_| follows).for_each(|score| self.scores.push(score));
        }
        let Self { counts, strange_counts, all_counts, densities, scores, anomalous_share: _ } = self;
        [counts, strange_counts, all_counts, densities, scores].into_iter().for_each(Calibration::settle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(all: usize, anomalous: usize) -> Seen {
        Seen { all, anomalous }
    }

    /// Watches a day of windows that are all alike.
    fn is_open_after_a_day(rows: Seen, sources: Seen, destinations: Seen) -> bool {
        let mut calibrations = Calibrations::default();
        (0..1_440).for_each(|_| calibrations.watch(rows, sources, destinations));
        calibrations.is_gate_open()
    }

    #[test]
    fn a_scan_and_a_flood_of_a_day_leave_the_gate_shut_and_another_world_opens_it() {
        assert!(
            !is_open_after_a_day(seen(1_000, 980), seen(20, 1), seen(990, 980)),
            "one source, all destinations"
        );
        assert!(
            !is_open_after_a_day(seen(1_000, 980), seen(990, 980), seen(20, 1)),
            "all sources, one destination"
        );
        assert!(
            !is_open_after_a_day(seen(1_000, 300), seen(20, 15), seen(30, 25)),
            "a part of what everybody does"
        );
        assert!(is_open_after_a_day(seen(1_000, 800), seen(20, 15), seen(30, 25)));
        assert!(!is_open_after_a_day(seen(0, 0), seen(0, 0), seen(0, 0)), "a silent network");
    }

    #[test]
    fn scores_follow_while_they_are_few_and_young_and_no_longer() {
        let sample = Sample { is_strange: false, count: None, flows: 1.0, density: None, score: Some(1.0) };
        let mut calibrations = Calibrations::default();
        calibrations.learn(&[sample; 100], 0, false);
        assert!(calibrations.scores.is_empty());
        (0..20).for_each(|window| calibrations.learn(&[sample; 100], window, true));
        let scores = calibrations.scores.len();
        assert!((SCORES_ENOUGH..SCORES_ENOUGH + 100).contains(&scores), "{scores}");
        assert_eq!(calibrations.all_counts.len(), 2_100, "counts go on");
    }
}
