//! Runs every persona through every ranking, seed by seed, on as many processors as there are.

use super::change::{AfterChange, change};
use super::figures::{CalibrationPoint, Figures, Row, answers, calibration_points};
use super::malice::{Planted, plant};
use super::methods::Way;
use super::persona::{Persona, Simulated};
use super::simulation::run;
use super::synthetic;
use super::world::World;
use serde::Serialize;
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bins of a calibration plot.
const POINTS: usize = 10;

/// Where runs take place.
#[derive(Clone, Debug)]
pub enum Worlds {
    /// A world of its own for each seed, with so many days with answers.
    Synthetic(usize),
    /// Recorded worlds, one for each seed of the detector, which take turns.
    Recorded(Vec<World>),
}

/// What a persona makes of each ranking.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// The persona.
    pub persona: &'static str,
    /// A row for each ranking, the static one first.
    pub rows: Vec<Row>,
    /// Confidences of our ranking against what was answered, over all runs.
    pub calibration: Vec<CalibrationPoint>,
}

/// What was measured in a world.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// Its name.
    pub world: &'static str,
    /// Days with answers.
    pub days: usize,
    /// Suggestions a day, mean.
    pub suggestions_per_day: f64,
    /// Of these right, mean.
    pub right_per_day: f64,
    /// Answers after which confidences count.
    pub trusted_after: usize,
    /// Each persona.
    pub trials: Vec<Trial>,
    /// The change of mind, run by run; none where it was not tried.
    pub changes: Vec<AfterChange>,
    /// The movement that somebody hid, run by run.
    pub planted: Vec<Planted>,
}

impl Worlds {
    fn of(&self, seed: u64) -> Cow<'_, World> {
        match self {
            Self::Synthetic(days) => Cow::Owned(synthetic::world(seed, *days, None)),
            Self::Recorded(worlds) => {
                let turn = usize::try_from(seed).unwrap_or(0) % worlds.len().max(1);
                Cow::Borrowed(&worlds[turn])
            }
        }
    }

    /// Returns the answers after which confidences count: a recording has few.
    fn trusted_after(&self) -> usize {
        match self {
            Self::Synthetic(_) => 100,
            Self::Recorded(_) => 40,
        }
    }
}

/// Returns what all personas make of all rankings in these worlds.
pub fn measure(worlds: &Worlds, seeds: u64) -> Place {
    let trials = Persona::ALL.map(|persona| {
        let trial = trial(persona, worlds, seeds);
        tracing::info!(world = worlds.of(0).name, persona = persona.name(), "tried");
        trial
    });
    let changes = match worlds {
        Worlds::Synthetic(days) => for_seeds(seeds, |seed| change(seed, *days)),
        Worlds::Recorded(_) => Vec::new(),
    };
    let planted = for_seeds(seeds, |seed| plant(&worlds.of(seed), seed));
    let first = worlds.of(0);
    let cases = first.days.iter().flatten();
    let days = first.days.len().max(1) as f64;
    Place {
        world: first.name,
        days: first.days.len(),
        suggestions_per_day: cases.clone().count() as f64 / days,
        right_per_day: cases.filter(|case| case.is_right).count() as f64 / days,
        trusted_after: worlds.trusted_after(),
        trials: trials.into(),
        changes: changes.into_iter().flatten().collect(),
        planted: planted.into_iter().flatten().collect(),
    }
}

/// Returns the rankings that a persona is asked with. What the gate is worth shows with the steady one and the coin.
fn ways(persona: Persona) -> Vec<Way> {
    let is_about_gate = matches!(persona, Persona::Steady | Persona::Coin);
    let is_asked = |way: &Way| is_about_gate || !matches!(way, Way::Ungated | Way::SoftMix);
    Way::ALL.into_iter().filter(is_asked).collect()
}

fn trial(persona: Persona, worlds: &Worlds, seeds: u64) -> Trial {
    let ways = ways(persona);
    let after = worlds.trusted_after();
    let runs = for_seeds(seeds, |seed| {
        let world = worlds.of(seed);
        let mut issued = Vec::new();
        let figures: Vec<Figures> = ways
            .iter()
            .map(|way| {
                let days = run(&world, 0, &mut *way.start(), &mut Simulated::new(persona, seed));
                if *way == Way::Gated {
                    issued = answers(&days, after);
                }
                Figures::new(&days, after)
            })
            .collect();
        (figures, issued)
    });
    let of = |place: usize| -> Vec<&Figures> { runs.iter().map(|(figures, _)| &figures[place]).collect() };
    let rows = ways.iter().enumerate().map(|(place, way)| Row::new(*way, &of(place), &of(0))).collect();
    let issued = runs.iter().flat_map(|(_, issued)| issued.iter().copied()).collect();
    Trial { persona: persona.name(), rows, calibration: calibration_points(issued, POINTS) }
}

/// Returns what comes of each seed, in their order.
fn for_seeds<T: Send>(seeds: u64, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut results: Vec<(u64, T)> = std::thread::scope(|scope| {
        let take = || {
            let mut results = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    return results;
                }
                results.push((seed, work(seed)));
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
        let joined = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined.flat_map(|results| results.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    results.sort_unstable_by_key(|(seed, _)| *seed);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_come_back_in_their_order_and_repeat() {
        assert_eq!(for_seeds(50, |seed| seed * seed), (0..50).map(|seed| seed * seed).collect::<Vec<_>>());
        let worlds = Worlds::Synthetic(3);
        assert_eq!(measure(&worlds, 2), measure(&worlds, 2));
    }

    #[test]
    fn recorded_worlds_take_turns() {
        let world = |name| World { name, ..World::default() };
        let worlds = Worlds::Recorded(vec![world("a"), world("b")]);
        assert_eq!([0, 1, 2, 7].map(|seed| worlds.of(seed).name), ["a", "b", "a", "b"]);
    }
}
