//! What has been going on for long enough to be no news.
//!
//! **Unknown pairs.** A long session between two parties that never met is unusual in every window, and after an hour of it
//! nobody wants to hear of it again. So a row of an unknown pair counts the less, the more of its pair's rows lie an hour
//! back, if its destination is known in any role, or twelve hours, if it is not. What an unknown source does never becomes a
//! habit: that is how an attack from outside looks.
//!
//! **Known pairs.** Parties that know each other and are loud all day are told of for an hour; then what they do beyond a row
//! in thirty counts the less, the more of their loud rows lie an hour and at most a day back, but never less than
//! [`LOUD_SCORE`].

use super::counts::{New, Related};
use super::entities::{Entities, Entity, Kind, of_kind};
use super::streams::Step;
use crate::checkpoint::saved::saved;
use crate::recent::Recent;
use crate::series::SeriesKey;

/// Windows that are counted together: a quarter of an hour of minutes.
const QUARTER_WINDOWS: u64 = 15;
/// Quarters that are told apart: a day.
const QUARTERS: usize = 96;
/// Quarters after which something is no news: an hour, and the one that has begun.
const HOUR_QUARTERS: usize = 5;
/// Quarters after which an unknown destination is none.
const HALF_DAY_QUARTERS: usize = 49;
/// Rows of an unknown pair that halve what a row counts.
const HALVING_ROWS: f64 = 10.0;
/// Loud rows of a known pair that halve what a row counts beyond [`LOUD_SCORE`].
const HALVING_LOUD_ROWS: f64 = 30.0;
/// Score from which a row is loud: `-log10` of one row in thirty.
const LOUD_SCORE: f64 = 1.5;
/// Pairs that are followed, 7 MB.
const PAIRS_MAX: usize = 32_768;

/// The rows of one pair.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Habit {
    /// Number of the quarter of the first of `rows`.
    quarter: u64,
    /// Window in which it was seen last: a pair counts once a window, however many services it uses.
    window: Option<u64>,
    /// Windows of this quarter, and of those before it, in which it was seen.
    rows: [u16; QUARTERS],
}

saved!(Habit { quarter, window, rows });

impl Habit {
    fn new(quarter: u64) -> Self {
        Self { quarter, window: None, rows: [0; QUARTERS] }
    }

    /// Brings the quarters up to the one given.
    fn advance(&mut self, quarter: u64) {
        let passed = quarter.saturating_sub(self.quarter);
        for _ in 0..passed.min(QUARTERS as u64) {
            self.rows.rotate_right(1);
            self.rows[0] = 0;
        }
        self.quarter = quarter;
    }

    /// Returns the windows that lie so many quarters back, and not more than a day.
    fn rows_before(&self, quarters: usize) -> f64 {
        f64::from(self.rows[quarters..].iter().map(|rows| u32::from(*rows)).sum::<u32>())
    }

    fn add(&mut self, window: u64) {
        if self.window.replace(window) != Some(window) {
            self.rows[0] = self.rows[0].saturating_add(1);
        }
    }
}

/// The pairs that no closed day knows, but for what unknown sources do, and the known ones that are loud.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    unknown: Recent<Entity, Habit>,
    loud: Recent<Entity, Habit>,
}

saved!(Habits { unknown, loud });

impl Default for Habits {
    fn default() -> Self {
        Self { unknown: Recent::new(PAIRS_MAX), loud: Recent::new(PAIRS_MAX) }
    }
}

/// How a row is told of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Habituation {
    /// For the first time, as far as is known, or always.
    News,
    /// The pair is unknown; so many of its rows lie back.
    Unknown(f64),
    /// The pair is known; so many of its loud rows lie back.
    Known(f64),
}

impl Habituation {
    /// Returns what is left of a score.
    pub(super) fn left(self, score: f64) -> f64 {
        match self {
            Self::News => score,
            Self::Unknown(rows) => score / (1.0 + rows / HALVING_ROWS),
            Self::Known(rows) if score > LOUD_SCORE => {
                LOUD_SCORE + (score - LOUD_SCORE) / (1.0 + rows / HALVING_LOUD_ROWS)
            }
            Self::Known(_) => score,
        }
    }
}

impl Habits {
    /// Forgets the unknown pairs: another day begins, of which rows are compared without their own.
    pub(super) fn forget_unknown(&mut self) {
        self.unknown = Recent::new(PAIRS_MAX);
    }

    /// Returns how a row is told of, from the windows before.
    pub(super) fn of(
        &mut self,
        key: &SeriesKey,
        step: &Step,
        related: Related<'_>,
        window: u64,
    ) -> Habituation {
        let Step { entities, new: New { source, pair, .. }, .. } = *step;
        let quarter = window / QUARTER_WINDOWS;
        let entity = of_kind(&entities, Kind::Pair);
        let found = if pair { &mut self.unknown } else { &mut self.loud };
        let Some(habit) = found.touch(&entity, window).filter(|_| !source) else { return Habituation::News };
        habit.advance(quarter);
        if !pair {
            return Habituation::Known(habit.rows_before(HOUR_QUARTERS));
        }
        let known = related.knows(key.destination);
        let back = if known { HOUR_QUARTERS } else { HALF_DAY_QUARTERS };
        Habituation::Unknown(habit.rows_before(back))
    }

    /// Takes a row in, with what it scored before habits were taken into account.
    pub(super) fn add(&mut self, entities: &Entities, new: New, score: f64, window: u64) {
        let quarter = window / QUARTER_WINDOWS;
        let habits = match (new.pair, new.source) {
            (true, true) => return,
            (true, false) => &mut self.unknown,
            (false, _) if score > LOUD_SCORE => &mut self.loud,
            (false, _) => return,
        };
        let pair = of_kind(entities, Kind::Pair);
        if let Some(habit) = habits.entry(pair, window, || Habit::new(quarter)) {
            habit.advance(quarter);
            habit.add(window);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::baseline::{Baseline, Standing};
    use super::super::entities::entities;
    use super::*;
    use crate::series::{Parties, PartyId};

    fn key(source: u32, destination: u32) -> SeriesKey {
        let (source, destination) = (PartyId(source), PartyId(destination));
        SeriesKey { source, destination, segment: 1, protocol: 6, service_port: 80 }
    }

    /// Of the days before, sources 1 and 2 are known, and destination 3.
    fn known() -> Baseline {
        let mut baseline = Baseline::new(1);
        [key(1, 3), key(2, 3)].into_iter().for_each(|key| baseline.add(key, 1.0, Standing::Usual));
        baseline.pass(60, 60);
        baseline.close(&Parties::default());
        baseline
    }

    /// Lives through windows in which a series is seen with this score, and returns how it is told of in the end.
    fn told(key: SeriesKey, windows: u64, rows: usize, score: f64) -> Habituation {
        let (baseline, mut habits) = (known(), Habits::default());
        let related = Related { all: baseline.counts(), own: None };
        let step = Step::of(entities(&key, &Parties::default()), 1, related);
        for window in 0..windows {
            habits.of(&key, &step, related, window);
            (0..rows).for_each(|_| habits.add(&step.entities, step.new, score, window));
        }
        habits.of(&key, &step, related, windows)
    }

    #[test]
    fn an_hour_of_two_known_parties_is_no_news() {
        // 1 and 2 are known, though 2 as a source only; they never met.
        assert_eq!(told(key(1, 2), 60, 1, 4.0), Habituation::Unknown(0.0));
        assert_eq!(told(key(1, 2), 180, 1, 4.0), Habituation::Unknown(120.0));
        assert!((told(key(1, 2), 180, 1, 4.0).left(6.5) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_scan_of_many_services_in_one_window_is_one_window() {
        assert_eq!(told(key(1, 2), 180, 1_000, 4.0), told(key(1, 2), 180, 1, 4.0));
    }

    #[test]
    fn a_destination_nobody_knows_takes_half_a_day_and_an_unknown_source_for_ever() {
        assert_eq!(told(key(1, 9), 700, 1, 4.0), Habituation::Unknown(0.0));
        assert_eq!(told(key(1, 9), 780, 1, 4.0), Habituation::Unknown(60.0));
        assert_eq!(told(key(9, 3), 1_000, 1, 4.0), Habituation::News);
    }

    #[test]
    fn a_known_pair_that_is_loud_falls_to_just_below_loud_and_a_quiet_one_is_left_alone() {
        let loud = told(key(1, 3), 180, 1, 4.0);
        assert_eq!(loud, Habituation::Known(120.0));
        assert!((loud.left(6.5) - 2.5).abs() < 1e-12 && (loud.left(1.0) - 1.0).abs() < 1e-12);
        assert_eq!(told(key(1, 3), 180, 1, 1.0), Habituation::News);
    }
}
