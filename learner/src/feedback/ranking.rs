//! The ranking that learns: the static ranking's score as an offset, what answers add to it, and the gate between both.
//!
//! Everything follows from the list of answers alone, in their order, so that an answer that is withdrawn leaves no trace: what
//! came after it is gone through again.
//!
//! The list of a day is fixed: answers take part from the next day on. A list that follows each answer at once is a little better
//! with sensible answers and does harm with senseless ones.

mod history;
mod state;

pub use state::{Labelled, RankingState, TurnAt};

use super::confidence::{self, Confidence};
use super::course::Course;
use super::expert::{Expert, Observation, Observations};
use super::fitted::Fitted;
use super::level::{ODDS_OF_HEIGHT, Seen};
use super::point::{KernelWeights, Point};
use super::settings::RankingSettings;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Observations that a Gaussian process rests on: a refit factors a matrix of this size.
pub const OBSERVATIONS_MAX: usize = 600;
/// Answers that may wait to be gone through.
pub const WAITING_MAX: usize = 10_000;
/// Turns that are remembered.
pub const TURNS_MAX: usize = 64;
/// Suggestions that are predicted at once: 2.4 MB of covariances.
const POINTS_MAX: usize = 1_024;

/// A suggestion's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    /// Its place in what was handed in.
    pub index: usize,
    /// Probability of acceptance, after what people answered to such probabilities.
    pub confidence: f64,
    /// Height of its static score, -4 to 4.
    pub height: f64,
    /// Whether it keeps its place by its static score alone, against what was learned.
    pub is_kept_in_view: bool,
}

/// The ranking.
#[derive(Clone, Debug)]
pub struct Ranking {
    settings: RankingSettings,
    state: RankingState,
    /// Experts that know all answers that were taken in.
    newest: Option<Arc<Fitted>>,
    /// Experts that know those in force.
    fitted: Option<Arc<Fitted>>,
}

impl Default for Ranking {
    fn default() -> Self {
        Self::new(RankingSettings::default())
    }
}

impl PartialEq for Ranking {
    fn eq(&self, other: &Self) -> bool {
        // The experts follow from the rest.
        self.settings == other.settings && self.state == other.state
    }
}

impl Ranking {
    /// Returns a ranking that knows nothing.
    pub fn new(settings: RankingSettings) -> Self {
        Self { settings, state: RankingState::default(), newest: None, fitted: None }
    }

    /// Returns the ranking that a checkpoint kept, of suggestions with so many features; none where that makes no sense.
    pub fn restore(settings: RankingSettings, state: RankingState, features: usize) -> Option<Self> {
        if !state.is_sound(features) {
            return None;
        }
        let mut ranking = Self { settings, state, newest: None, fitted: None };
        ranking.put_in_force();
        Some(ranking)
    }

    /// Returns what a checkpoint keeps.
    pub fn state(&self) -> &RankingState {
        &self.state
    }

    /// Takes in all suggestions of a day that has ended, whether answered or not.
    pub fn observe(&mut self, day: &[Seen]) {
        self.state.level.observe(day, self.settings.places);
    }

    /// Begins a day: what was answered before it, nanoseconds since 1970, takes part.
    pub fn begin_day(&mut self, today_ns: u64) {
        self.state.today_ns = today_ns;
        self.take_in();
        self.put_in_force();
    }

    /// Lets the answers before today take part.
    fn put_in_force(&mut self) {
        self.state.in_force = self.state.before_today();
        let knows_all = self.state.in_force == self.taken_in();
        self.fitted = if knows_all { self.experts() } else { self.fit(self.state.in_force) };
    }

    /// Returns how far a suggestion's static score is above the usual last place, -4 to 4.
    pub fn height(&self, seen: &Seen) -> f64 {
        self.state.level.height(seen)
    }

    /// Returns where things stand after all answers.
    pub fn course(&self) -> &Course {
        self.state.courses.last().expect("there is one at least")
    }

    /// Returns whether what was learned takes part in the ranking of the day.
    pub fn is_in_force(&self) -> bool {
        self.fitted.is_some() && self.course_at(self.state.in_force).is_open
    }

    /// Returns how many answers take part in the ranking of the day.
    pub fn in_force(&self) -> usize {
        self.state.in_force
    }

    /// Returns the answers that are kept, oldest first, each with what was issued before it.
    pub fn issued(&self) -> impl ExactSizeIterator<Item = (&Labelled, f64)> + Clone {
        self.state.answers.iter().zip(self.state.issued.iter().copied())
    }

    /// Returns the last turns, oldest first.
    pub fn turns(&self) -> &[TurnAt] {
        &self.state.turns
    }

    /// Returns the experts that know all answers; none before there is one.
    pub fn experts(&mut self) -> Option<Arc<Fitted>> {
        if self.newest.is_none() {
            self.newest = self.fit(self.taken_in());
        }
        self.newest.clone()
    }

    /// Returns how many answers were taken in, those that are not kept included.
    pub fn taken_in(&self) -> usize {
        self.state.gone + self.state.courses.len() - 1
    }

    /// Returns how many answers are kept that were not taken in yet.
    pub fn waiting(&self) -> usize {
        self.state.answers.len() + 1 - self.state.courses.len()
    }

    /// Returns the settings.
    pub fn settings(&self) -> &RankingSettings {
        &self.settings
    }

    /// Returns the suggestions in the order in which they are to be shown, for so many places. Of those that are an alarm, by
    /// their place in the list, the most unusual keep one.
    pub fn rank(&self, suggestions: &[Seen], places: usize, is_alarm: impl Fn(usize) -> bool) -> Vec<Placed> {
        let place = |(index, seen)| Placed {
            index,
            confidence: 0.0,
            height: self.height(seen),
            is_kept_in_view: false,
        };
        let mut placed: Vec<Placed> = suggestions.iter().enumerate().map(place).collect();
        let probabilities = self.probabilities(suggestions, &placed);
        let line = self.confidence();
        for (placed, probability) in placed.iter_mut().zip(&probabilities) {
            placed.confidence = line.of(*probability);
        }
        let score = |placed: &Placed| suggestions[placed.index].static_score;
        let by_static = |a: &Placed, b: &Placed| score(b).total_cmp(&score(a)).then(a.index.cmp(&b.index));
        placed.sort_by(by_static);
        if self.is_in_force() {
            let alarms = placed.iter().map(|placed| placed.index).filter(|at| is_alarm(*at));
            let strongest: Vec<usize> = alarms.take(self.settings.kept_in_view).collect();
            let by_learned =
                |a: &Placed, b: &Placed| probabilities[b.index].total_cmp(&probabilities[a.index]);
            placed.sort_by(|a, b| by_learned(a, b).then_with(|| by_static(a, b)));
            keep_in_view(&mut placed, places, &strongest);
        }
        placed
    }

    fn probabilities(&self, suggestions: &[Seen], placed: &[Placed]) -> Vec<f64> {
        let course = self.course_at(self.state.in_force);
        let null = |point: &Point| course.null(f64::from(point.height));
        let mut probabilities = Vec::with_capacity(suggestions.len());
        for (seen, placed) in suggestions.chunks(POINTS_MAX).zip(placed.chunks(POINTS_MAX)) {
            let points = seen.iter().zip(placed).map(|(seen, placed)| self.point(seen, placed.height));
            let points: Vec<Point> = points.collect();
            match &self.fitted {
                None => probabilities.extend(points.iter().map(null)),
                Some(fitted) => {
                    let memories = fitted.probabilities(&points);
                    let mixed = |(point, (long, short))| course.mixed(null(point), long, short);
                    probabilities.extend(points.iter().zip(memories).map(mixed));
                }
            }
        }
        probabilities
    }

    /// Returns the line from probabilities to what is shown, by the answers in force.
    fn confidence(&self) -> Confidence {
        let in_force = self.state.in_force - self.state.gone;
        let first = in_force.saturating_sub(confidence::ANSWERS_MAX);
        let known = self.issued().skip(first).take(in_force - first);
        let known: Vec<(f64, f64)> = known.map(|(answer, issued)| (issued, answer.reward)).collect();
        Confidence::fit(&known)
    }

    fn course_at(&self, answers: usize) -> &Course {
        &self.state.courses[answers - self.state.gone]
    }

    /// Returns experts that know the answers before `end`; none where there is none.
    fn fit(&self, end: usize) -> Option<Arc<Fitted>> {
        let weights = self.weights();
        let changed = self.course_at(end).first.clamp(self.state.gone, end);
        let since: BTreeSet<u32> = self.state.answers[changed - self.state.gone..end - self.state.gone]
            .iter()
            .map(|answer| answer.person)
            .collect();
        let begin = end.saturating_sub(OBSERVATIONS_MAX).max(self.state.gone);
        let mut rows = Vec::new();
        for at in begin..end {
            let Labelled { seen, height, says, person, .. } = &self.state.answers[at - self.state.gone];
            // Who answered before a change of mind and not since has not changed it.
            if at < changed && since.contains(person) {
                continue;
            }
            let point = self.point(seen, *height);
            rows.extend(says.iter().map(|(questions, reward)| Observation {
                point: point.clone(),
                questions: *questions,
                reward: narrow(*reward),
                time: at,
                person: *person,
            }));
        }
        rows.drain(..rows.len().saturating_sub(OBSERVATIONS_MAX));
        if rows.is_empty() {
            return None;
        }
        let observations = Observations::new(rows, &weights);
        let long = Expert::fit(&observations, 0, self.settings.long_span);
        let short = Expert::fit(&observations, 0, self.settings.short_span);
        Some(Arc::new(Fitted { observations, weights, long, short }))
    }

    fn point(&self, seen: &Seen, height: f64) -> Point {
        Point::new(
            narrow(ODDS_OF_HEIGHT * height),
            narrow(height),
            self.state.level.features(seen),
            seen.entities,
        )
    }

    fn weights(&self) -> KernelWeights {
        let dimensions = u16::try_from(self.state.level.dimensions().max(1)).unwrap_or(u16::MAX);
        KernelWeights { dimensions: f32::from(dimensions), ..self.settings.kernel.clone() }
    }

    /// Returns of each suggestion the chance of acceptance to who learned nothing, and by all that was learned, as of this day.
    pub fn chances(&self, suggestions: &[Seen]) -> Vec<(f64, f64)> {
        let course = self.course_at(self.state.in_force);
        let place = |(index, seen)| Placed {
            index,
            confidence: 0.0,
            height: self.height(seen),
            is_kept_in_view: false,
        };
        let placed: Vec<Placed> = suggestions.iter().enumerate().map(place).collect();
        let probabilities = self.probabilities(suggestions, &placed);
        placed.iter().zip(probabilities).map(|(one, learned)| (course.null(one.height), learned)).collect()
    }
}

/// Moves the strongest, which are in order, to the last of the places that are shown, where they would not be among them.
fn keep_in_view(placed: &mut Vec<Placed>, places: usize, strongest: &[usize]) {
    let places = places.min(placed.len());
    let is_out = |index: &&usize| placed[places..].iter().any(|placed| placed.index == **index);
    let out: Vec<usize> = strongest.iter().filter(is_out).copied().take(places).collect();
    let first = places - out.len();
    for (at, index) in out.into_iter().enumerate() {
        if let Some(from) = placed.iter().position(|placed| placed.index == index) {
            let kept = Placed { is_kept_in_view: true, ..placed.remove(from) };
            placed.insert(first + at, kept);
        }
    }
}

/// Returns a number in single precision, which is what the experts work in.
#[expect(clippy::cast_possible_truncation, reason = "rounding is meant")]
pub(super) fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests;
