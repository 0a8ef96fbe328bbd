//! Lets a simulated administrator answer what a ranking shows, day by day.

use super::persona::Persona;
use super::world::{Case, World};
use crate::feedback::level::Seen;
use crate::feedback::point::Questions;
use crate::feedback::ranking::{Labelled, Ranking};
use crate::feedback::settings::RankingSettings;
use meshgate_policy::generate::Rng;
use std::collections::VecDeque;

/// Suggestions that are shown and answered in a day.
pub const PLACES: usize = 10;

/// A way to rank that may learn.
pub trait Method {
    /// Takes in a day that has ended.
    fn observe(&mut self, day: &[Seen]);
    /// A day begins.
    fn begin_day(&mut self);
    /// Returns the order of a day's suggestions, with the confidence in each.
    fn rank(&mut self, day: &[Seen]) -> Vec<(usize, f64)>;
    /// Takes in an answer.
    fn learn(&mut self, seen: &Seen, yes: bool, is_of_situation: bool);
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
}

/// Runs a method through a world, from a day on.
pub fn run(
    world: &World,
    from_day: usize,
    method: &mut dyn Method,
    persona: Persona,
    seed: u64,
) -> Vec<DayOutcome> {
    let mut rng = Rng::new(seed.wrapping_mul(0x9e37_79b9) ^ 0xadd);
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
            let right = cases.iter().filter(|case| case.is_right).count();
            let mut outcome = DayOutcome { possible: right.min(PLACES), ..DayOutcome::default() };
            for (place, (index, confidence)) in order.into_iter().take(PLACES).enumerate() {
                let case = &cases[index];
                outcome.shown += 1;
                outcome.hits += usize::from(case.is_right);
                outcome.right.push(case.is_right);
                if let Some(yes) = persona.answer(case.is_right, place, day - from_day, &mut rng) {
                    outcome.answers.push((confidence, yes));
                    waiting.push_back((day + persona.delay_days(), case, yes));
                }
            }
            outcomes.push(outcome);
        }
        method.observe(&seen);
    }
    outcomes
}

/// The order of the static score.
pub struct Static;

impl Method for Static {
    fn observe(&mut self, _day: &[Seen]) {}
    fn begin_day(&mut self) {}
    fn rank(&mut self, day: &[Seen]) -> Vec<(usize, f64)> {
        let mut order: Vec<usize> = (0..day.len()).collect();
        order.sort_by(|a, b| day[*b].static_score.total_cmp(&day[*a].static_score).then(a.cmp(b)));
        order.into_iter().map(|index| (index, 0.5)).collect()
    }
    fn learn(&mut self, _seen: &Seen, _yes: bool, _is_of_situation: bool) {}
}

/// The ranking of the product.
pub struct Learned {
    ranking: Ranking,
    next: u64,
}

impl Learned {
    /// Returns it with these settings.
    pub fn new(settings: RankingSettings) -> Self {
        Self { ranking: Ranking::new(settings), next: 1 }
    }

    /// Returns it.
    pub fn ranking(&self) -> &Ranking {
        &self.ranking
    }
}

impl Method for Learned {
    fn observe(&mut self, day: &[Seen]) {
        self.ranking.observe(day);
    }

    fn begin_day(&mut self) {
        self.ranking.begin_day(self.next);
    }

    fn rank(&mut self, day: &[Seen]) -> Vec<(usize, f64)> {
        self.ranking.rank(day).into_iter().map(|placed| (placed.index, placed.confidence)).collect()
    }

    fn learn(&mut self, seen: &Seen, yes: bool, is_of_situation: bool) {
        let says = match (yes, is_of_situation) {
            (true, _) => vec![(Questions::BOTH, 1.0)],
            (false, true) => vec![(Questions::SITUATION, 0.0)],
            (false, false) => vec![(Questions::RULE, 0.0), (Questions::SITUATION, 1.0)],
        };
        let height = self.ranking.height(seen);
        self.ranking.learn(Labelled {
            suggestion: self.next,
            seen: seen.clone(),
            height,
            reward: f64::from(u8::from(yes)),
            says,
            person: 1,
            time_ns: self.next,
        });
        self.next += 1;
    }
}
