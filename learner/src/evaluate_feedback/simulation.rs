//! Lets a simulated administrator answer what a ranking shows, day by day.

use super::methods::{Method, static_order};
use super::world::{Case, World};
use crate::feedback::level::Seen;
use std::collections::VecDeque;

/// Suggestions that are shown and answered in a day.
pub const PLACES: usize = 10;

/// A suggestion that an administrator is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// It, and the truth about it.
    pub case: &'a Case,
    /// Its place in the list of the day, from 0.
    pub place: usize,
    /// The day, from 0, counted from the first with answers.
    pub day: usize,
}

/// Somebody who answers.
pub trait Administrator {
    /// Returns the answer; none where there is none.
    fn answer(&mut self, asked: &Asked<'_>) -> Option<bool>;

    /// Returns after how many days answers come.
    fn delay_days(&self) -> usize {
        0
    }
}

/// What a day brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DayOutcome {
    /// Right ones among those shown.
    pub hits: usize,
    /// Of each that was shown, in order, whether it is right.
    pub right: Vec<bool>,
    /// Right ones that could have been shown.
    pub possible: usize,
    /// Those shown.
    pub shown: usize,
    /// Confidence, answer, of each that was answered.
    pub answers: Vec<(f64, bool)>,
    /// Places of all suggestions of the day, in the order of the ranking.
    pub order: Vec<usize>,
    /// Whether the whole list of the day is in the order of the static score.
    pub is_static: bool,
    /// Whether what was learned decided the order.
    pub is_learned: bool,
}

/// Runs a method through a world, from a day on.
pub fn run(
    world: &World,
    from_day: usize,
    method: &mut dyn Method,
    administrator: &mut dyn Administrator,
) -> Vec<DayOutcome> {
    world.before.iter().for_each(|day| method.observe(day));
    let mut waiting: VecDeque<(usize, &Case, bool)> = VecDeque::new();
    let mut outcomes = Vec::new();
    for (day, cases) in world.days.iter().enumerate() {
        let seen: Vec<Seen> = cases.iter().map(|case| case.seen.clone()).collect();
        if day >= from_day {
            while waiting.front().is_some_and(|(due, _, _)| *due < day) {
                if let Some((_, case, yes)) = waiting.pop_front() {
                    method.learn(&case.seen, yes, case.is_of_situation);
                }
            }
            method.begin_day();
            let order = method.rank(&seen);
            let mut outcome = shown(cases, &order);
            outcome.is_learned = method.takes_part();
            outcome.is_static = outcome.order == static_order(&seen);
            for (place, (index, confidence)) in order.into_iter().take(PLACES).enumerate() {
                let case = &cases[index];
                let asked = Asked { case, place, day: day - from_day };
                if let Some(yes) = administrator.answer(&asked) {
                    outcome.answers.push((confidence, yes));
                    waiting.push_back((day + administrator.delay_days(), case, yes));
                }
            }
            outcomes.push(outcome);
        }
        method.observe(&seen);
    }
    outcomes
}

/// Returns what is shown of a day, nothing of it answered yet.
fn shown(cases: &[Case], order: &[(usize, f64)]) -> DayOutcome {
    let right: Vec<bool> = order.iter().take(PLACES).map(|(index, _)| cases[*index].is_right).collect();
    DayOutcome {
        hits: right.iter().filter(|right| **right).count(),
        shown: right.len(),
        order: order.iter().map(|(index, _)| *index).collect(),
        possible: cases.iter().filter(|case| case.is_right).count().min(PLACES),
        right,
        ..DayOutcome::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate_feedback::methods::Way;
    use crate::evaluate_feedback::persona::{Persona, Simulated};
    use crate::evaluate_feedback::synthetic;

    /// A method that takes note of when it learns.
    #[derive(Default)]
    struct Witness {
        days: usize,
        learned_on: Vec<usize>,
    }

    impl Method for Witness {
        fn observe(&mut self, _day: &[Seen]) {}
        fn begin_day(&mut self) {
            self.days += 1;
        }
        fn rank(&mut self, day: &[Seen]) -> Vec<(usize, f64)> {
            (0..day.len()).map(|index| (index, 0.5)).collect()
        }
        fn learn(&mut self, _seen: &Seen, _yes: bool, _is_of_situation: bool) {
            self.learned_on.push(self.days);
        }
    }

    #[test]
    fn answers_reach_the_ranking_on_the_next_day_and_late_ones_three_days_later() {
        let world = synthetic::world(1, 6, None);
        let learned_on = |persona| {
            let mut witness = Witness::default();
            let outcomes = run(&world, 0, &mut witness, &mut Simulated::new(persona, 1));
            assert!(outcomes.iter().all(|day| day.answers.len() == PLACES && day.shown == PLACES));
            witness.learned_on
        };
        let tens = |days: &[usize]| -> Vec<usize> {
            days.iter().flat_map(|day| std::iter::repeat_n(*day, PLACES)).collect()
        };
        assert_eq!(learned_on(Persona::Steady), tens(&[1, 2, 3, 4, 5]));
        assert_eq!(learned_on(Persona::Delayed), tens(&[4, 5]));
    }

    #[test]
    fn day_0_is_the_static_order_whatever_is_to_learn_later() {
        let world = synthetic::world(2, 4, None);
        for way in Way::ALL {
            let days = run(&world, 0, &mut *way.start(), &mut Simulated::new(Persona::Steady, 2));
            assert!(days[0].is_static, "{}", way.name());
        }
        let days = run(&world, 0, &mut *Way::Gated.start(), &mut Simulated::new(Persona::Steady, 2));
        assert!(days.iter().all(|day| day.is_static && !day.is_learned), "30 answers prove nothing yet");
    }
}
