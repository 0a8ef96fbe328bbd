//! How long it takes until an answer has its effect: refit, and a list ranked anew.

use super::synthetic::normal;
use crate::feedback::level::Seen;
use crate::feedback::point::Questions;
use crate::feedback::ranking::{Labelled, OBSERVATIONS_MAX, Ranking};
use crate::feedback::settings::RankingSettings;
use meshgate_policy::generate::Rng;
use serde::Serialize;
use std::time::Instant;

/// Suggestions of the list.
const SUGGESTIONS: usize = 1_000;
/// Values of a suggestion, about as many as the product knows.
const FEATURES: usize = 35;
/// Days before the first answer, more than the scale of values waits for: before that an answer costs nothing.
const DAYS_BEFORE: usize = 7;
/// How often it is measured.
const TIMES: usize = 15;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// Answers that are known.
    pub answers: usize,
    /// Suggestions that are ranked.
    pub suggestions: usize,
    /// Milliseconds for both, median.
    pub median_ms: f64,
    /// The longest.
    pub longest_ms: f64,
    /// How often it was measured.
    pub times: usize,
}

/// Measures on one processor.
pub fn measure() -> Speed {
    let mut rng = Rng::new(1);
    let mut ranking = Ranking::new(RankingSettings::default());
    let day: Vec<Seen> = (0..SUGGESTIONS).map(|_| seen(&mut rng)).collect();
    (0..DAYS_BEFORE).for_each(|_| ranking.observe(&day));
    let mut number = 0;
    let mut answer = |ranking: &mut Ranking, rng: &mut Rng| {
        let seen = seen(rng);
        let height = ranking.height(&seen);
        let reward = f64::from(u8::from(seen.features[0] + seen.features[1] > 0.0));
        number += 1;
        let says = vec![(Questions::BOTH, reward)];
        Labelled { suggestion: number, seen, height, reward, says, person: 1, time_ns: number }
    };
    for _ in 0..OBSERVATIONS_MAX {
        let answer = answer(&mut ranking, &mut rng);
        ranking.learn(answer);
    }
    assert_eq!(ranking.taken_in(), OBSERVATIONS_MAX, "what is measured has learned from its answers");
    let mut spans_ms: Vec<f64> = (0..TIMES)
        .map(|_| {
            let answer = answer(&mut ranking, &mut rng);
            let started = Instant::now();
            ranking.learn(answer);
            ranking.begin_day(u64::MAX);
            let first =
                ranking.rank(&day, ranking.settings().places, |_| true).first().map(|placed| placed.index);
            std::hint::black_box(first);
            1_000.0 * started.elapsed().as_secs_f64()
        })
        .collect();
    spans_ms.sort_unstable_by(f64::total_cmp);
    Speed {
        answers: OBSERVATIONS_MAX,
        suggestions: SUGGESTIONS,
        median_ms: spans_ms[TIMES / 2],
        longest_ms: spans_ms[TIMES - 1],
        times: TIMES,
    }
}

fn seen(rng: &mut Rng) -> Seen {
    Seen {
        static_score: normal(rng),
        features: (0..FEATURES).map(|_| normal(rng)).collect(),
        entities: [1 + rng.below(37), 100 + rng.below(53), 1_000 + rng.below(900), 10_000 + rng.below(11)],
    }
}
