//! What runs add up to.

use super::methods::Way;
use super::simulation::DayOutcome;
use meshgate_policy::generate::Rng;
use serde::Serialize;

/// Bins of equal mass of the calibration error.
const BINS: usize = 5;
/// Answers that have to be left for a calibration error to be told.
const ANSWERS_MIN: usize = 50;
/// How often a perfect predictor is drawn for its own error.
const PERFECT_DRAWS: u32 = 100;
/// Days at the end that are told apart.
const LAST_DAYS: usize = 10;

/// A figure over all seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Smallest.
    pub least: f64,
    /// Largest.
    pub most: f64,
}

/// How far confidences can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Expected calibration error, five bins of equal mass.
    pub error: f64,
    /// What somebody who knows the chances exactly gets on as many answers.
    pub floor: f64,
    /// Mean squared difference to the answer.
    pub brier: f64,
}

/// Figures of one ranking in one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    precision: f64,
    last_days: f64,
    thirds: [f64; 3],
    /// Right ones missed, summed up by the end of each day.
    regret: Vec<f64>,
    regret_per_100: f64,
    is_static_at_first: bool,
    opened_after: Option<usize>,
    calibration: Option<Calibration>,
    ceiling: f64,
}

/// Figures of one ranking over all runs, the static one beside it in each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The ranking.
    pub ranking: &'static str,
    /// Share of right ones among those shown, all days.
    pub precision: Spread,
    /// The last ten days.
    pub last_days: Spread,
    /// By how much it is above the static ranking's in the same run, all days.
    pub gain: Spread,
    /// The same by thirds of the run.
    pub thirds_gain: [Spread; 3],
    /// Right ones missed for each 100 shown.
    pub regret: Spread,
    /// Regret as a share of the static ranking's; none where that has none.
    pub regret_share: Option<f64>,
    /// Whether day 0 was in the static order in every run.
    pub is_static_at_first: bool,
    /// Runs in which what was learned decided an order.
    pub opened: usize,
    /// Answers given before it first did, mean of those runs.
    pub opened_after: Option<f64>,
    /// Expected calibration error.
    pub calibration_error: Option<Spread>,
    /// That of a perfect predictor, mean.
    pub calibration_floor: Option<f64>,
    /// Brier score.
    pub brier: Option<Spread>,
    /// Right ones missed by the end of each day, mean.
    pub regret_by_day: Vec<f64>,
    /// Precision of somebody who knows, mean.
    pub ceiling: f64,
}

/// A point of a calibration plot.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CalibrationPoint {
    /// Mean confidence of a bin.
    pub confidence: f64,
    /// Share of yes in it.
    pub accepted: f64,
}

impl Spread {
    /// Returns the spread of figures; zero of none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let figures: Vec<f64> = figures.into_iter().collect();
        let mean = mean(&figures);
        let ends = figures.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), figure| {
            (least.min(*figure), most.max(*figure))
        });
        if figures.is_empty() {
            Self { mean, least: 0.0, most: 0.0 }
        } else {
            Self { mean, least: ends.0, most: ends.1 }
        }
    }
}

impl Figures {
    /// Returns the figures of a run. Confidences count from this many answers on.
    pub fn new(days: &[DayOutcome], trusted_after: usize) -> Self {
        let third = days.len() / 3;
        let thirds = [0, 1, 2].map(|at| {
            let end = if at == 2 { days.len() } else { (at + 1) * third };
            precision(&days[at * third..end])
        });
        let mut missed = 0.0;
        let regret: Vec<f64> = days
            .iter()
            .map(|day| {
                missed += day.possible.saturating_sub(day.hits) as f64;
                missed
            })
            .collect();
        let answers: Vec<(f64, bool)> = answers(days, trusted_after);
        let first_open = days.iter().position(|day| day.is_learned);
        Self {
            precision: precision(days),
            last_days: precision(&days[days.len().saturating_sub(LAST_DAYS)..]),
            thirds,
            regret_per_100: 100.0 * missed / shown(days).max(1.0),
            regret,
            is_static_at_first: days.first().is_none_or(|day| day.is_static),
            opened_after: first_open.map(|at| days[..at].iter().map(|day| day.answers.len()).sum()),
            calibration: (answers.len() >= ANSWERS_MIN).then(|| Calibration::new(answers)),
            ceiling: days.iter().map(|day| day.possible).sum::<usize>() as f64 / shown(days).max(1.0),
        }
    }
}

impl Row {
    /// Returns the figures of a ranking over all runs, and those of the static ranking in the same runs.
    pub fn new(way: Way, runs: &[&Figures], by_static: &[&Figures]) -> Self {
        let over = |figure: &dyn Fn(&Figures) -> f64| Spread::of(runs.iter().map(|run| figure(run)));
        let gain = |figure: &dyn Fn(&Figures) -> f64| {
            Spread::of(runs.iter().zip(by_static).map(|(run, other)| figure(run) - figure(other)))
        };
        let calibrations: Vec<Calibration> = runs.iter().filter_map(|run| run.calibration).collect();
        let opened: Vec<f64> =
            runs.iter().filter_map(|run| run.opened_after).map(|after| after as f64).collect();
        let calibrated = |figure: &dyn Fn(&Calibration) -> f64| {
            (way.is_confident() && !calibrations.is_empty())
                .then(|| Spread::of(calibrations.iter().map(figure)))
        };
        let regret = over(&|run| run.regret_per_100);
        let static_regret = Spread::of(by_static.iter().map(|run| run.regret_per_100)).mean;
        let days = runs.iter().map(|run| run.regret.len()).min().unwrap_or(0);
        Self {
            ranking: way.name(),
            precision: over(&|run| run.precision),
            last_days: over(&|run| run.last_days),
            gain: gain(&|run| run.precision),
            thirds_gain: [0, 1, 2].map(|third| gain(&|run| run.thirds[third])),
            regret,
            regret_share: (static_regret > 0.0).then_some(regret.mean / static_regret),
            is_static_at_first: runs.iter().all(|run| run.is_static_at_first),
            opened: opened.len(),
            opened_after: (!opened.is_empty()).then(|| mean(&opened)),
            calibration_error: calibrated(&|one| one.error),
            calibration_floor: calibrated(&|one| one.floor).map(|floor| floor.mean),
            brier: calibrated(&|one| one.brier),
            regret_by_day: (0..days).map(|day| over(&|run| run.regret[day]).mean).collect(),
            ceiling: over(&|run| run.ceiling).mean,
        }
    }
}

impl Calibration {
    /// Returns the figures of these confidences with their answers.
    fn new(mut answers: Vec<(f64, bool)>) -> Self {
        answers.sort_by(|a, b| a.0.total_cmp(&b.0));
        let yes: Vec<f64> = answers.iter().map(|(_, yes)| f64::from(u8::from(*yes))).collect();
        let confidences: Vec<f64> = answers.iter().map(|(confidence, _)| *confidence).collect();
        let squares: Vec<f64> = confidences.iter().zip(&yes).map(|(p, y)| (p - y).powi(2)).collect();
        let mut rng = Rng::new(7);
        let perfect = (0..PERFECT_DRAWS).map(|_| {
            let mut drawn =
                |p: &f64| if (rng.below(1 << 30) as f64) < p * f64::from(1 << 30) { 1.0 } else { 0.0 };
            let yes: Vec<f64> = confidences.iter().map(&mut drawn).collect();
            error(&confidences, &yes)
        });
        let floor = Spread::of(perfect).mean;
        Self { error: error(&confidences, &yes), floor, brier: mean(&squares) }
    }
}

/// Returns the calibration error of confidences in order of size.
fn error(confidences: &[f64], yes: &[f64]) -> f64 {
    let count = confidences.len();
    let bin = |bin: usize| {
        let span = bin * count / BINS..(bin + 1) * count / BINS;
        (mean(&confidences[span.clone()]) - mean(&yes[span.clone()])).abs() * span.len() as f64 / count as f64
    };
    (0..BINS).map(bin).sum()
}

/// Returns the points of a calibration plot, bins of equal mass over the answers of all runs.
pub fn calibration_points(mut answers: Vec<(f64, bool)>, bins: usize) -> Vec<CalibrationPoint> {
    answers.sort_by(|a, b| a.0.total_cmp(&b.0));
    let size = answers.len().div_ceil(bins).max(1);
    let point = |bin: &[(f64, bool)]| CalibrationPoint {
        confidence: mean(&bin.iter().map(|(confidence, _)| *confidence).collect::<Vec<_>>()),
        accepted: bin.iter().filter(|(_, yes)| *yes).count() as f64 / bin.len() as f64,
    };
    answers.chunks(size).map(point).collect()
}

/// Returns confidences and answers from this many answers on.
pub fn answers(days: &[DayOutcome], after: usize) -> Vec<(f64, bool)> {
    days.iter().flat_map(|day| day.answers.iter().copied()).skip(after).collect()
}

fn precision(days: &[DayOutcome]) -> f64 {
    days.iter().map(|day| day.hits).sum::<usize>() as f64 / shown(days).max(1.0)
}

fn shown(days: &[DayOutcome]) -> f64 {
    days.iter().map(|day| day.shown).sum::<usize>() as f64
}

/// Returns the mean; zero of none.
pub fn mean(figures: &[f64]) -> f64 {
    figures.iter().sum::<f64>() / figures.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(hits: usize, possible: usize, answers: &[(f64, bool)]) -> DayOutcome {
        DayOutcome {
            hits,
            possible,
            shown: 10,
            answers: answers.to_vec(),
            is_static: true,
            ..DayOutcome::default()
        }
    }

    #[test]
    fn precision_regret_and_thirds_are_those_of_the_days() {
        let figures = Figures::new(&[day(1, 4, &[]), day(2, 2, &[]), day(6, 10, &[])], 0);
        assert_eq!(figures.thirds, [0.1, 0.2, 0.6]);
        assert!((figures.precision - 0.3).abs() < 1e-12);
        assert_eq!(figures.regret, [3.0, 3.0, 7.0]);
        assert!((figures.regret_per_100 - 700.0 / 30.0).abs() < 1e-12);
        assert!(
            figures.is_static_at_first && figures.opened_after.is_none() && figures.calibration.is_none()
        );
    }

    #[test]
    fn a_gate_that_opens_is_told_with_the_answers_before_it() {
        let mut open = day(1, 1, &[]);
        open.is_learned = true;
        let figures = Figures::new(&[day(1, 1, &[(0.5, true); 10]), day(1, 1, &[(0.5, true); 7]), open], 0);
        assert_eq!(figures.opened_after, Some(17));
    }

    #[test]
    fn who_says_what_comes_true_is_near_the_floor_and_who_says_the_opposite_is_not() {
        let answers = |confidence: f64| -> Vec<(f64, bool)> {
            (0..300)
                .map(|at| if at % 10 == 0 { (1.0 - confidence, false) } else { (confidence, at % 10 < 9) })
                .collect()
        };
        let right = Calibration::new(answers(0.85));
        assert!(right.error < 0.1 && right.floor > 0.0 && right.brier < 0.15, "{right:?}");
        let wrong = Calibration::new(answers(0.1));
        assert!(wrong.error > 0.6 && wrong.brier > 0.6, "{wrong:?}");
    }

    #[test]
    fn gains_are_taken_run_by_run() {
        let run = |hits: usize| Figures::new(&[day(hits, 10, &[])], 0);
        let (ours, by_static) = ([run(6), run(2)], [run(3), run(3)]);
        let row = Row::new(Way::Gated, &[&ours[0], &ours[1]], &[&by_static[0], &by_static[1]]);
        assert!((row.gain.least + 0.1).abs() < 1e-12 && (row.gain.most - 0.3).abs() < 1e-12, "{row:?}");
        assert_eq!(row.regret.mean, 60.0);
        assert!((row.regret_share.unwrap() - 60.0 / 70.0).abs() < 1e-12);
    }
}
