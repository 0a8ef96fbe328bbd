//! An administrator who plans a lateral movement and answers so as to hide it.
//!
//! He says no to whatever is like the movement (same source, same destination, same service, or alike in its features) and yes
//! to everything else. Then it happens: among the suggestions of a day it stands where the second most unusual one stands.

use super::methods::Way;
use super::simulation::{Administrator, Asked, PLACES, run};
use super::world::{Case, World};
use crate::feedback::level::{Level, Seen};
use crate::feedback::point::{DESTINATION, SERVICE, SOURCE};
use meshgate_policy::generate::Rng;
use serde::Serialize;

/// Days that he answers: a hundred answers.
const DAYS: usize = 10;
/// Place of the one by the static score whose strength the movement has, from 0.
const STRENGTH_OF: usize = 1;
/// Mean squared difference of standardised features below which two suggestions are alike; of two at random it is 2.
const ALIKE_BELOW: f64 = 1.0;

/// What became of the movement in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Planted {
    /// Seed of the run.
    pub seed: u64,
    /// Answers that were given to hide it.
    pub answers: usize,
    /// Of these, no.
    pub rejections: usize,
    /// Its place by the static score, from 1.
    pub place_static: usize,
    /// By our ranking.
    pub place: usize,
    /// By our ranking without the gate, where what he taught takes part for certain.
    pub place_ungated: usize,
    /// Whether the gate was open.
    pub is_gate_open: bool,
}

/// Somebody with a plan.
struct Malicious<'a> {
    planned: &'a Seen,
    level: Level,
    /// The day of the movement, on which he answers no more.
    until_day: usize,
    answers: usize,
    rejections: usize,
}

impl Malicious<'_> {
    fn is_like_the_plan(&self, seen: &Seen) -> bool {
        // 0 is nobody, and nobody is like nobody.
        let same =
            |kind: usize| seen.entities[kind] == self.planned.entities[kind] && seen.entities[kind] != 0;
        let pairs = self.level.features(seen).into_iter().zip(self.level.features(self.planned));
        let distance: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let is_alike = distance < ALIKE_BELOW * self.level.dimensions() as f64;
        same(SOURCE) || same(DESTINATION) || same(SERVICE) || is_alike
    }
}

impl Administrator for Malicious<'_> {
    fn answer(&mut self, asked: &Asked<'_>) -> Option<bool> {
        if asked.day >= self.until_day {
            return None;
        }
        let rejects = self.is_like_the_plan(&asked.case.seen);
        self.answers += 1;
        self.rejections += usize::from(rejects);
        Some(!rejects)
    }
}

/// Returns the world up to the day of the movement, which is the first suggestion of that day; none where a world is too short.
fn with_movement(world: &World, seed: u64) -> Option<World> {
    let on = DAYS.min(world.days.len().checked_sub(1)?);
    let mut days = world.days[..=on].to_vec();
    let day = days.last_mut()?;
    let mut scores: Vec<f64> = day.iter().map(|case| case.seen.static_score).collect();
    scores.sort_unstable_by(|a, b| b.total_cmp(a));
    let mut seen = Rng::new(seed ^ 0xbad).pick(day)?.seen.clone();
    seen.static_score = *scores.get(STRENGTH_OF)?;
    // First: of several that are equally strong it comes before the others.
    day.insert(0, Case { seen, is_right: true, is_of_situation: true });
    Some(World { name: world.name, before: world.before.clone(), days })
}

/// Returns what becomes of a movement in a world; none where the world has no two days.
pub fn plant(world: &World, seed: u64) -> Option<Planted> {
    let world = with_movement(world, seed).filter(|world| world.days.len() > 1)?;
    let planned = &world.days.last()?.first()?.seen;
    let mut level = Level::default();
    world.before.iter().for_each(|day| level.observe(day, PLACES));
    let placed = |way: Way| {
        let level = level.clone();
        let mut malicious =
            Malicious { planned, level, until_day: world.days.len() - 1, answers: 0, rejections: 0 };
        let day = run(&world, 0, &mut *way.start(), &mut malicious).pop()?;
        Some((1 + day.order.iter().position(|index| *index == 0)?, day.is_learned, malicious))
    };
    let (place_static, ..) = placed(Way::Static)?;
    let (place, is_gate_open, malicious) = placed(Way::Gated)?;
    let (place_ungated, ..) = placed(Way::Ungated)?;
    let Malicious { answers, rejections, .. } = malicious;
    Some(Planted { seed, answers, rejections, place_static, place, place_ungated, is_gate_open })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate_feedback::synthetic;

    #[test]
    fn he_says_no_to_what_is_like_his_plan_and_yes_to_the_rest() {
        let seen =
            |features: [f64; 2], entities| Seen { static_score: 0.0, features: features.into(), entities };
        let planned = seen([0.0, 0.0], [1, 2, 3, 4]);
        let mut level = Level::default();
        let spread: Vec<Seen> =
            (0..400).map(|at| seen([f64::from(at % 21) - 10.0, f64::from(at % 11) - 5.0], [0; 4])).collect();
        level.observe(&spread, PLACES);
        let mut malicious = Malicious { planned: &planned, level, until_day: 1, answers: 0, rejections: 0 };
        let mut answer = |features, entities, day| {
            let case = Case { seen: seen(features, entities), is_right: true, is_of_situation: true };
            malicious.answer(&Asked { case: &case, place: 0, day })
        };
        let (far, near) = ([10.0, 5.0], [1.0, 0.0]);
        assert_eq!(answer(far, [1, 9, 9, 9], 0), Some(false), "same source");
        assert_eq!(answer(far, [9, 2, 9, 9], 0), Some(false), "same destination");
        assert_eq!(answer(far, [9, 9, 9, 4], 0), Some(false), "same service");
        assert_eq!(answer(near, [9, 9, 9, 9], 0), Some(false), "alike");
        assert_eq!(answer(far, [9, 9, 9, 9], 0), Some(true));
        assert_eq!(answer(far, [0, 0, 0, 0], 0), Some(true), "nobody");
        assert_eq!(answer(far, [9, 9, 9, 9], 1), None, "his plan is done");
        assert_eq!((malicious.answers, malicious.rejections), (6, 4));
    }

    #[test]
    fn the_movement_stands_second_by_the_static_score_after_a_hundred_answers() {
        let world = synthetic::world(4, DAYS + 3, None);
        let planted = plant(&world, 4).unwrap();
        assert_eq!((planted.place_static, planted.answers), (STRENGTH_OF + 1, DAYS * PLACES));
        assert!(planted.rejections > 0 && planted.rejections < planted.answers, "{planted:?}");
        assert_eq!(plant(&world, 4), Some(planted));
        assert_eq!(plant(&synthetic::world(4, 1, None), 4), None);
    }
}
