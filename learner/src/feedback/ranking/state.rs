//! What a ranking that learns remembers: all else follows from it.

use super::{TURNS_MAX, WAITING_MAX};
use crate::feedback::course::{Course, Turn};
use crate::feedback::level::{HEIGHT_MAX, Level, Seen};
use crate::feedback::point::Questions;
use serde::{Deserialize, Serialize};

/// An answer as the ranking learns from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labelled {
    /// Number of the suggestion.
    pub suggestion: u64,
    /// What was known of it.
    pub seen: Seen,
    /// Height of its static score among those of its time, -4 to 4.
    pub height: f64,
    /// How far it was accepted, 0 to 1.
    pub reward: f64,
    /// What else the answer says, head by head.
    pub says: Vec<(Questions, f64)>,
    /// Who gave it, as a number.
    pub person: u32,
    /// When, nanoseconds since 1970.
    pub time_ns: u64,
}

/// A turn, and when it came.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnAt {
    /// Answers that were known then, the one that led to it included.
    pub answers: usize,
    /// When that was given, nanoseconds since 1970.
    pub time_ns: u64,
    /// Where the evidence stood then, in nats.
    pub evidence: f64,
    /// What turned.
    pub turn: Turn,
}

/// What a checkpoint keeps of a ranking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RankingState {
    pub(super) level: Level,
    /// Answers before the first that is kept.
    pub(super) gone: usize,
    pub(super) answers: Vec<Labelled>,
    /// Where things stood before each answer that was taken in, then where they stand.
    pub(super) courses: Vec<Course>,
    /// What was issued before each of them.
    pub(super) issued: Vec<f64>,
    pub(super) turns: Vec<TurnAt>,
    /// When the day began, nanoseconds since 1970.
    pub(super) today_ns: u64,
    /// Answers that take part in the ranking of the day.
    pub(super) in_force: usize,
}

impl Default for RankingState {
    fn default() -> Self {
        Self {
            level: Level::default(),
            gone: 0,
            answers: Vec::new(),
            courses: vec![Course::default()],
            issued: Vec::new(),
            turns: Vec::new(),
            today_ns: 0,
            in_force: 0,
        }
    }
}

impl RankingState {
    /// Forgets the oldest answer that was taken in; what followed from it stays.
    pub(super) fn forget_oldest(&mut self) {
        self.answers.remove(0);
        self.courses.remove(0);
        self.issued.remove(0);
        self.gone += 1;
        self.in_force = self.in_force.max(self.gone);
    }

    /// Drops the oldest answer that waits; it has left nothing behind.
    pub(super) fn drop_oldest_waiting(&mut self) {
        self.answers.remove(self.courses.len() - 1);
    }

    /// Returns how many answers there are, of those that were taken in, up to the first that was given today.
    pub(super) fn before_today(&self) -> usize {
        let taken_in = &self.answers[..self.courses.len() - 1];
        let is_today = |answer: &Labelled| answer.time_ns >= self.today_ns;
        self.gone + taken_in.iter().position(is_today).unwrap_or(taken_in.len())
    }

    /// Takes note of a turn.
    pub(super) fn turned(&mut self, turn: TurnAt) {
        if self.turns.len() == TURNS_MAX {
            self.turns.remove(0);
        }
        self.turns.push(turn);
    }

    /// Returns whether its parts fit together.
    pub(super) fn is_sound(&self, features: usize) -> bool {
        let Self { level, gone, answers, courses, issued, turns, today_ns: _, in_force } = self;
        let taken_in = courses.len().wrapping_sub(1);
        let finite = |answer: &Labelled| {
            let Labelled { seen, height, reward, says, .. } = answer;
            seen.is_finite()
                && seen.features.len() == features
                && height.abs() <= HEIGHT_MAX
                && (0.0..=1.0).contains(reward)
                && says.iter().all(|(_, reward)| (0.0..=1.0).contains(reward))
        };
        !courses.is_empty()
            && taken_in <= answers.len()
            && issued.len() == taken_in
            && answers.len() <= taken_in + WAITING_MAX
            && turns.len() <= TURNS_MAX
            && turns.iter().all(|turn| turn.evidence.is_finite())
            && gone.checked_add(taken_in).is_some_and(|known| (*gone..=known).contains(in_force))
            && courses.iter().all(|course| course.knows_at_most(gone.saturating_add(taken_in)))
            && level.is_sound(features)
            && courses.iter().all(Course::is_sound)
            && issued.iter().all(|probability| (0.0..=1.0).contains(probability))
            && answers.iter().all(finite)
    }
}
