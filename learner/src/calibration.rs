//! From scores to p-values: the probability that a usual series scores at least as much.
//!
//! The simple answer, the share of earlier scores that are at least as large, ends at one in as many as are remembered, and
//! everything beyond looks alike. Beyond the 99 % quantile an exponential tail goes on, as extreme values of most densities
//! do (Pickands 1975). Its mean is that of the scores beyond the quantile, drawn towards a mean given beforehand as long as
//! these are few: four scores must not decide what one in a million is.
//!
//! The last so many scores count, so that the level follows the network; who decides which scores are usual enough to
//! enter is the caller.

use crate::checkpoint::saved::saved;

/// Scores that are remembered. Their 99.9 % quantile still rests on 16 of them.
pub const SCORES_MAX: usize = 16_384;
/// Largest -log10 of a p-value: no tail is known well enough to say more.
pub const LOG10_MAX: f64 = 30.0;
/// Scores that come before all are put in order again: one in so many. It moves no quantile that matters.
const UNSORTED_SHARE: usize = 64;
/// Share of the scores beyond which the tail begins.
const TAIL_SHARE: f64 = 0.01;
/// Weight of the tail's mean that was given beforehand, in scores.
const TAIL_PRIOR_SCORES: f64 = 8.0;

/// Scores and what they say.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// The last scores, the next one's place turning round.
    scores: Vec<f64>,
    next: usize,
    /// Scores without which nothing is said.
    needed: usize,
    /// Mean of the tail that is believed as long as there are few scores.
    tail_prior: f64,
    /// The scores in order, as of the last time that they were put in order.
    sorted: Vec<f64>,
    /// Scores that came since.
    unsorted: usize,
    /// Where the tail begins.
    quantile: f64,
    tail_mean: f64,
}

saved!(Calibration { scores, next, needed, tail_prior, sorted, unsorted, quantile, tail_mean } if is_sound);

impl Calibration {
    /// Returns a calibration that says nothing before it has `needed` scores, with the mean excess that scores beyond their
    /// 99 % quantile are expected to have.
    pub fn new(needed: usize, tail_prior: f64) -> Self {
        assert!((1..=SCORES_MAX).contains(&needed) && tail_prior > 0.0);
        Self {
            scores: Vec::new(),
            next: 0,
            needed,
            tail_prior,
            sorted: Vec::new(),
            unsorted: 0,
            quantile: 0.0,
            tail_mean: tail_prior,
        }
    }

    /// Takes a usual score in. It counts after [`Calibration::settle`].
    pub fn push(&mut self, score: f64) {
        if !score.is_finite() {
            return;
        }
        if self.scores.len() < SCORES_MAX {
            self.scores.push(score);
        } else {
            self.scores[self.next] = score;
        }
        self.next = (self.next + 1) % SCORES_MAX;
        self.unsorted += 1;
    }

    /// Makes what was taken in count, once it is enough to be worth the sorting.
    pub fn settle(&mut self) {
        if self.unsorted == 0 || self.unsorted * UNSORTED_SHARE < self.scores.len() {
            return;
        }
        self.unsorted = 0;
        self.sorted.clone_from(&self.scores);
        self.sorted.sort_unstable_by(f64::total_cmp);
        let count = self.sorted.len();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a length is a length"
        )]
        let beyond = (count as f64 * TAIL_SHARE) as usize;
        let Some(quantile) = self.sorted.get(count.wrapping_sub(beyond + 1)) else { return };
        self.quantile = *quantile;
        let excess: f64 = self.sorted[count - beyond..].iter().map(|score| score - self.quantile).sum();
        let prior = TAIL_PRIOR_SCORES * self.tail_prior;
        // Never less than a tenth of what was expected: scores that are all alike do not make the next one impossible.
        self.tail_mean = ((excess + prior) / (beyond as f64 + TAIL_PRIOR_SCORES)).max(0.1 * self.tail_prior);
    }

    /// Returns the probability that a usual series scores at least as much; none before there are enough scores.
    pub fn p_value(&self, score: f64) -> Option<f64> {
        if self.sorted.len() < self.needed || score.is_nan() {
            return None;
        }
        let least = 10f64.powf(-LOG10_MAX);
        if score > self.quantile {
            let tail = TAIL_SHARE.max(1.0 / (self.sorted.len() as f64 + 1.0));
            return Some((tail * (-(score - self.quantile) / self.tail_mean).exp()).max(least));
        }
        let below = self.sorted.partition_point(|other| *other < score);
        Some((self.sorted.len() - below + 1) as f64 / (self.sorted.len() + 1) as f64)
    }

    fn is_sound(&self) -> bool {
        let Self { scores, next, sorted, .. } = self;
        scores.len() <= SCORES_MAX && sorted.len() <= SCORES_MAX && *next < SCORES_MAX
    }

    /// Returns how many scores there are.
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// Returns how many scores it takes to say something.
    pub fn needed(&self) -> usize {
        self.needed
    }
}

/// Returns -log10 of a p-value, at most [`LOG10_MAX`].
pub fn weight_of_evidence(p_value: f64) -> f64 {
    (-p_value.max(f64::MIN_POSITIVE).log10()).clamp(0.0, LOG10_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::generate::Rng;

    /// Returns a number of the exponential distribution of mean 1.
    fn exponential(rng: &mut Rng) -> f64 {
        -((rng.below(1 << 40) + 1) as f64 / (1u64 << 40) as f64).ln()
    }

    fn calibrated(scores: usize) -> Calibration {
        let mut rng = Rng::new(5);
        let mut calibration = Calibration::new(64, 0.5);
        (0..scores).for_each(|_| calibration.push(exponential(&mut rng)));
        calibration.settle();
        calibration
    }

    #[test]
    fn p_values_of_usual_scores_are_uniform() {
        let calibration = calibrated(SCORES_MAX);
        let mut rng = Rng::new(6);
        let values: Vec<f64> =
            (0..100_000).map(|_| calibration.p_value(exponential(&mut rng)).unwrap()).collect();
        for level in [0.5, 0.1, 0.01, 0.001] {
            let share = values.iter().filter(|value| **value <= level).count() as f64 / values.len() as f64;
            assert!((share / level - 1.0).abs() < 0.3, "{level}: {share}");
        }
    }

    #[test]
    fn the_tail_goes_on_where_no_score_ever_was_and_falls_evenly() {
        let calibration = calibrated(SCORES_MAX);
        // exp(-14) is one in a million.
        let p_value = calibration.p_value(14.0).unwrap();
        assert!((2e-7..5e-6).contains(&p_value), "{p_value}");
        assert_eq!(calibration.p_value(1e9), Some(1e-30));
        let values: Vec<f64> = (0..200).map(|at| calibration.p_value(f64::from(at) * 0.1).unwrap()).collect();
        assert!(values.windows(2).all(|pair| pair[1] <= pair[0]), "{values:?}");
    }

    #[test]
    fn nothing_is_said_before_there_are_enough_scores() {
        assert_eq!(calibrated(63).p_value(1.0), None);
        assert!(calibrated(64).p_value(1.0).is_some());
        assert_eq!(calibrated(64).p_value(f64::NAN), None);
    }

    #[test]
    fn scores_that_are_all_alike_leave_room_for_others() {
        let mut calibration = Calibration::new(64, 0.5);
        (0..1_000).for_each(|_| calibration.push(0.0));
        calibration.settle();
        assert_eq!(calibration.p_value(0.0), Some(1.0));
        let p_value = calibration.p_value(0.1).unwrap();
        assert!((1e-4..0.01).contains(&p_value), "{p_value}");
    }

    #[test]
    fn old_scores_are_forgotten() {
        let mut calibration = Calibration::new(64, 0.5);
        (0..SCORES_MAX).for_each(|_| calibration.push(1_000.0));
        (0..SCORES_MAX).for_each(|at| calibration.push(at as f64 / SCORES_MAX as f64));
        calibration.settle();
        assert!(calibration.p_value(10.0).unwrap() < 1e-6);
        assert_eq!(calibration.len(), SCORES_MAX);
    }
}
