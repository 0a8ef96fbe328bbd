//! The ranking that learns: the static ranking's score as an offset, what answers add to it, and the gate between both.
//!
//! Everything follows from the list of answers alone, in their order, so that an answer that is withdrawn leaves no trace: what
//! came after it is gone through again.
//!
//! The list of a day is fixed: answers take part from the next day on. A list that follows each answer at once is a little better
//! with sensible answers and does harm with senseless ones.

use super::course::{Course, Issued};
use super::expert::{Expert, Observation, Observations};
use super::level::{Level, ODDS_OF_HEIGHT, Seen};
use super::point::{KernelWeights, Point, Questions};
use super::settings::RankingSettings;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Observations that a Gaussian process rests on: a refit factors a matrix of this size.
pub const OBSERVATIONS_MAX: usize = 600;
/// Answers that are gone through again when one of them is withdrawn; older ones have had their effect.
pub const LABELLED_MAX: usize = 2_000;
/// Suggestions that are predicted at once: 2.4 MB of covariances.
const POINTS_MAX: usize = 1_024;

/// An answer as the ranking learns from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labelled {
    /// Number of the suggestion.
    pub suggestion: u64,
    /// What was known of it.
    pub seen: Seen,
    /// Height of its static score among those of its time, -3 to 3.
    pub height: f64,
    /// How far it was accepted, 0 to 1.
    pub reward: f64,
    /// What else the answer says, head by head.
    pub says: Vec<(Questions, f64)>,
    /// Who gave it, as a number.
    pub person: u32,
}

/// A suggestion's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    /// Its place in what was handed in.
    pub index: usize,
    /// Probability of acceptance, after what people answered to such probabilities.
    pub confidence: f64,
    /// Height of its static score, -3 to 3.
    pub height: f64,
    /// Whether it keeps its place by its static score alone, against what was learned.
    pub is_kept_in_view: bool,
}

/// The ranking.
#[derive(Clone, Debug)]
pub struct Ranking {
    settings: RankingSettings,
    level: Level,
    answers: Vec<Labelled>,
    /// Where things stood before each of the answers that were taken in, and where they stand.
    courses: Vec<Course>,
    /// The first observation of each answer that was taken in: one says one thing or two.
    current: Option<Arc<Fitted>>,
    in_force: Option<(Course, Arc<Fitted>)>,
}

/// Experts that know the answers up to a place.
#[derive(Clone, Debug)]
struct Fitted {
    observations: Observations,
    weights: KernelWeights,
    long: Expert,
    short: Expert,
}

impl Ranking {
    /// Returns a ranking that knows nothing.
    pub fn new(settings: RankingSettings) -> Self {
        Self {
            settings,
            level: Level::default(),
            answers: Vec::new(),
            courses: vec![Course::default()],
            current: None,
            in_force: None,
        }
    }

    /// Takes in all suggestions of a day that has ended, whether answered or not.
    pub fn observe(&mut self, day: &[Seen]) {
        self.level.observe(day, self.settings.places);
    }

    /// Takes in an answer.
    pub fn learn(&mut self, answer: Labelled) {
        self.answers.push(answer);
        self.take_in();
    }

    /// Forgets an answer as if it had never been given.
    pub fn retract(&mut self, suggestion: u64) {
        let Some(at) = self.answers.iter().position(|answer| answer.suggestion == suggestion) else { return };
        self.answers.remove(at);
        self.courses.truncate(at + 1);
        self.current = None;
        self.take_in();
    }

    /// Lets everything that was answered take part.
    pub fn begin_day(&mut self) {
        self.take_in();
        self.in_force = self.fitted().map(|fitted| (self.course().clone(), fitted));
    }

    /// Returns how far a suggestion's static score is above the usual last place, -3 to 3.
    pub fn height(&self, seen: &Seen) -> f64 {
        self.level.height(seen)
    }

    /// Returns where things stand.
    pub fn course(&self) -> &Course {
        self.courses.last().expect("there is one at least")
    }

    fn take_in(&mut self) {
        if !self.level.is_fixed() {
            return;
        }
        while self.courses.len() <= self.answers.len() {
            let at = self.courses.len() - 1;
            let answer = &self.answers[at];
            let point = self.point(&answer.seen, answer.height);
            let issued = self.issue(at, &point);
            let mut course = self.course().clone();
            let _turns = course.learn(at, &issued, answer.reward, &self.settings);
            self.courses.push(course);
            self.current = None;
        }
    }

    /// Returns what is predicted of a point by the answers before this one.
    fn issue(&self, at: usize, point: &Point) -> Issued {
        let course = &self.courses[at];
        let Some(fitted) = self.current.clone().or_else(|| self.fit(at, course)) else {
            let p = f64::from(
                super::expert::Prediction {
                    mean: point.offset,
                    variance: self.weights().covariance((point, Questions::BOTH), (point, Questions::BOTH)),
                }
                .probability(),
            );
            return Issued {
                height: f64::from(point.height),
                long: p,
                short: p,
                fresh: vec![p; course.fresh.len()],
            };
        };
        let points = std::slice::from_ref(point);
        let across = fitted.observations.across(points, &fitted.weights);
        let by = |expert: &Expert| {
            let predictions = expert.predict(&fitted.observations, &across, points, &fitted.weights);
            f64::from(predictions[0].probability())
        };
        let prior = f64::from(
            super::expert::Prediction {
                mean: point.offset,
                variance: self.weights().covariance((point, Questions::BOTH), (point, Questions::BOTH)),
            }
            .probability(),
        );
        let fresh = course.fresh.iter().map(|fresh| match fitted.observations.position(fresh.start) {
            Some(first) => by(&Expert::fit(&fitted.observations, first, self.settings.long_span)),
            None => prior,
        });
        Issued {
            height: f64::from(point.height),
            long: by(&fitted.long),
            short: by(&fitted.short),
            fresh: fresh.collect(),
        }
    }

    fn fitted(&mut self) -> Option<Arc<Fitted>> {
        if self.current.is_none() {
            let course = self.course().clone();
            self.current = self.fit(self.courses.len() - 1, &course);
        }
        self.current.clone()
    }

    /// Returns experts that know the answers before `end`; none where there is none.
    fn fit(&self, end: usize, course: &Course) -> Option<Arc<Fitted>> {
        let weights = self.weights();
        let mut rows = Vec::new();
        let begin = course.first.max(end.saturating_sub(OBSERVATIONS_MAX));
        for at in begin..end {
            let Labelled { seen, height, says, person, .. } = &self.answers[at];
            let point = self.point(seen, *height);
            rows.extend(says.iter().map(|(questions, reward)| Observation {
                point: point.clone(),
                questions: *questions,
                reward: *reward as f32,
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
        Point::new((ODDS_OF_HEIGHT * height) as f32, height as f32, self.level.features(seen), seen.entities)
    }

    fn weights(&self) -> KernelWeights {
        KernelWeights { dimensions: self.level.dimensions().max(1) as f32, ..self.settings.kernel.clone() }
    }

    /// Returns the suggestions in the order in which they are to be shown.
    pub fn rank(&self, suggestions: &[Seen]) -> Vec<Placed> {
        let mut placed: Vec<Placed> = suggestions
            .iter()
            .enumerate()
            .map(|(index, seen)| Placed {
                index,
                confidence: 0.0,
                height: self.level.height(seen),
                is_kept_in_view: false,
            })
            .collect();
        let by_static = |a: &Placed, b: &Placed| {
            let score = |placed: &Placed| suggestions[placed.index].static_score;
            score(b).total_cmp(&score(a)).then(a.index.cmp(&b.index))
        };
        let course = self.in_force.as_ref().map_or_else(|| self.course(), |(course, _)| course);
        let probabilities = self.probabilities(suggestions, &placed);
        for (placed, probability) in placed.iter_mut().zip(&probabilities) {
            placed.confidence = course.confidence.of(*probability);
        }
        placed.sort_by(by_static);
        if self.in_force.as_ref().is_some_and(|(course, _)| course.is_open) {
            let strongest: Vec<usize> = placed
                .iter()
                .take(self.settings.kept_in_view)
                .filter(|placed| placed.height >= self.settings.kept_from_height)
                .map(|placed| placed.index)
                .collect();
            placed.sort_by(|a, b| {
                probabilities[b.index].total_cmp(&probabilities[a.index]).then_with(|| by_static(a, b))
            });
            self.keep_in_view(&mut placed, &strongest);
        }
        placed
    }

    /// Moves the strongest by static score among those that are shown, at the end of them.
    fn keep_in_view(&self, placed: &mut Vec<Placed>, strongest: &[usize]) {
        let places = self.settings.places;
        let out: Vec<usize> =
            (places..placed.len()).filter(|at| strongest.contains(&placed[*at].index)).collect();
        let mut kept: Vec<Placed> = out.iter().rev().map(|at| placed.remove(*at)).collect();
        kept.reverse();
        let first = places.saturating_sub(kept.len());
        for (at, mut one) in kept.into_iter().enumerate() {
            one.is_kept_in_view = true;
            placed.insert((first + at).min(placed.len()), one);
        }
    }

    fn probabilities(&self, suggestions: &[Seen], placed: &[Placed]) -> Vec<f64> {
        let mut probabilities = Vec::with_capacity(suggestions.len());
        for (seen, placed) in suggestions.chunks(POINTS_MAX).zip(placed.chunks(POINTS_MAX)) {
            let points: Vec<Point> =
                seen.iter().zip(placed).map(|(seen, placed)| self.point(seen, placed.height)).collect();
            match &self.in_force {
                None => probabilities
                    .extend(points.iter().map(|point| self.course().null(f64::from(point.height)))),
                Some((course, fitted)) => {
                    let across = fitted.observations.across(&points, &fitted.weights);
                    let by = |expert: &Expert| {
                        expert.predict(&fitted.observations, &across, &points, &fitted.weights)
                    };
                    let (long, short) = (by(&fitted.long), by(&fitted.short));
                    probabilities.extend(points.iter().zip(long.iter().zip(&short)).map(
                        |(point, (long, short))| {
                            let null = course.null(f64::from(point.height));
                            course.mixed(null, f64::from(long.probability()), f64::from(short.probability()))
                        },
                    ));
                }
            }
        }
        probabilities
    }

    /// Returns of each suggestion the chance of acceptance to who learned nothing, and by all that was learned, as of this day.
    pub fn chances(&self, suggestions: &[Seen]) -> Vec<(f64, f64)> {
        let course = self.in_force.as_ref().map_or_else(|| self.course(), |(course, _)| course);
        let height = |(index, seen): (usize, &Seen)| Placed {
            index,
            confidence: 0.0,
            height: self.level.height(seen),
            is_kept_in_view: false,
        };
        let placed: Vec<Placed> = suggestions.iter().enumerate().map(height).collect();
        let probabilities = self.probabilities(suggestions, &placed);
        placed.iter().zip(probabilities).map(|(one, learned)| (course.null(one.height), learned)).collect()
    }
}
