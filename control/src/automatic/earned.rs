//! Whether a confidence has been earned: the share that people accepted of what was shown with it.
//!
//! Of few answers the share is a poor witness, so the lower end of its 95 % Wilson interval counts: the least share that
//! such answers go together with. E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
//! 1927.

use meshgate_policy::automatic::{AutomaticSettings, Earned};

/// Standard deviations of a two-sided 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

/// Returns what the last answers say, newest first: whether each draft was accepted as it was. An edited draft counts as
/// not accepted: as it was, it would have been wrong.
pub fn earned(said: &[bool], settings: &AutomaticSettings) -> Earned {
    let asked = usize::try_from(settings.answers).unwrap_or(usize::MAX);
    let last = &said[..said.len().min(asked)];
    let answers = u32::try_from(last.len()).unwrap_or(u32::MAX);
    let accepted = u32::try_from(last.iter().filter(|yes| **yes).count()).unwrap_or(u32::MAX);
    let (lower, upper) = wilson(accepted, answers);
    let needed = settings.confidence - settings.margin;
    let is_earned = answers >= settings.answers && lower >= needed;
    Earned { answers, accepted, lower, upper, needed, is_earned }
}

fn wilson(accepted: u32, answers: u32) -> (f64, f64) {
    if answers == 0 {
        return (0.0, 1.0);
    }
    let n = f64::from(answers);
    let share = f64::from(accepted) / n;
    let scale = 1.0 + Z * Z / n;
    let centre = (share + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(accepted: usize, of: usize) -> Vec<bool> {
        (0..of).map(|at| at < accepted).collect()
    }

    #[test]
    fn the_interval_is_that_of_the_tables() {
        let (lower, upper) = wilson(8, 10);
        assert!((lower - 0.4902).abs() < 1e-4 && (upper - 0.9433).abs() < 1e-4, "{lower} {upper}");
        let (lower, upper) = wilson(100, 100);
        assert!((lower - 0.9630).abs() < 1e-4 && upper >= 1.0 - 1e-12, "{lower} {upper}");
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    #[test]
    fn a_confidence_is_earned_by_many_answers_that_bear_it_out() {
        let settings = AutomaticSettings::default();
        let of = |accepted, answers| earned(&said(accepted, answers), &settings);
        assert!(of(96, 100).is_earned, "{:?}", of(96, 100));
        assert!(!of(95, 100).is_earned, "{:?}", of(95, 100));
        assert!(!of(99, 99).is_earned, "one answer is missing");
        assert!(!of(0, 0).is_earned);
    }

    #[test]
    fn only_the_last_answers_count() {
        let settings = AutomaticSettings { answers: 50, ..AutomaticSettings::default() };
        // Newest first: the rejections lie before the last fifty.
        let answers = [said(50, 50), said(0, 50)].concat();
        assert_eq!((earned(&answers, &settings).answers, earned(&answers, &settings).accepted), (50, 50));
        assert!(earned(&answers, &settings).is_earned);
        let turned: Vec<bool> = answers.into_iter().rev().collect();
        assert!(!earned(&turned, &settings).is_earned);
    }
}
