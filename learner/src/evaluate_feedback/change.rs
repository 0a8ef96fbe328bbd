//! A change of mind: half way through, everything that was wanted is unwanted and the other way around. Beside our ranking runs
//! one that begins on that day and never knew the old wishes.

use super::methods::Way;
use super::persona::{Persona, Simulated};
use super::simulation::{DayOutcome, run};
use super::synthetic;
use serde::Serialize;

/// Answers after the change between which precision is told: first, one behind the last.
pub const SPANS: [(usize, usize); 3] = [(0, 25), (25, 50), (50, 100)];

/// Precision after a change of mind in one run, by span.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AfterChange {
    /// Of our ranking, which knew the old wishes.
    pub ours: [f64; SPANS.len()],
    /// Of one that begins on that day.
    pub newcomer: [f64; SPANS.len()],
    /// Of the static ranking.
    pub by_static: [f64; SPANS.len()],
}

/// Returns what a change of mind does in the synthetic world; none where too few days are left behind it.
pub fn change(seed: u64, days: usize) -> Option<AfterChange> {
    let on = days / 2;
    let world = synthetic::world(seed, days, Some(on));
    let from = |way: Way, day: usize| {
        let outcomes = run(&world, day, &mut *way.start(), &mut Simulated::new(Persona::Steady, seed));
        precision(&outcomes[on - day..])
    };
    Some(AfterChange {
        ours: from(Way::Gated, 0)?,
        newcomer: from(Way::Gated, on)?,
        by_static: from(Way::Static, on)?,
    })
}

fn precision(days: &[DayOutcome]) -> Option<[f64; SPANS.len()]> {
    let right: Vec<bool> = days.iter().flat_map(|day| day.right.iter().copied()).collect();
    let mut precision = [0.0; SPANS.len()];
    for (value, (first, end)) in precision.iter_mut().zip(SPANS) {
        let hits = right.get(first..end)?.iter().filter(|right| **right).count();
        *value = hits as f64 / (end - first) as f64;
    }
    Some(precision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wanted_most_is_wanted_least() {
        let (before, after) = (synthetic::world(9, 8, None), synthetic::world(9, 8, Some(4)));
        assert_eq!(before.days[..4], after.days[..4]);
        let mut both = 0;
        for (old, new) in before.days[4..].iter().flatten().zip(after.days[4..].iter().flatten()) {
            assert_eq!(old.seen, new.seen);
            both += usize::from(old.is_right && new.is_right);
        }
        let share = |cases: &[Vec<crate::evaluate_feedback::world::Case>]| {
            cases.iter().flatten().filter(|case| case.is_right).count() as f64 / 240.0
        };
        assert_eq!(both, 0);
        assert!((0.2..0.45).contains(&share(&after.days[4..])), "{}", share(&after.days[4..]));
    }

    #[test]
    fn too_short_a_world_says_nothing_of_a_change() {
        assert_eq!(change(1, 12), None);
        let days = |hits: usize| DayOutcome { right: vec![true; hits], ..DayOutcome::default() };
        assert_eq!(precision(&[days(60), days(40)]), Some([1.0; 3]));
        assert_eq!(precision(&[days(60), days(39)]), None);
    }
}
