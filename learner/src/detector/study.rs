//! Learning from a recording, all of it known beforehand.
//!
//! A live detector compares a row with the days that are closed by then: on its first days it knows nobody. From a recording
//! each row can be compared with all days but its own, before it and after, and that is what rows of a later day will look
//! like. So a recording is walked through twice: once to count, and once, when there is a network, to learn what its answers
//! and the sum of both look like for usual rows.

use super::baseline::Standing;
use super::comparison::compare;
use super::counts::Related;
use super::entities::entities;
use super::streams::{Step, Streams};
use super::{Detector, forests};
use crate::features::Row;
use crate::model::Hidden;
use crate::series::{Parties, SeriesKey, Window};

/// A window of a recording, with the rows of its series.
#[derive(Clone, Debug)]
pub struct Lesson {
    /// The window.
    pub window: Window,
    /// Its rows, in its order. [`Detector::study`] fills in how they compare with other days.
    pub rows: Vec<(SeriesKey, Row)>,
    /// The day it belongs to; filled in likewise.
    epoch: u64,
}

impl Lesson {
    /// Returns the lesson of a window.
    pub fn new(window: Window, rows: Vec<(SeriesKey, Row)>) -> Self {
        Self { window, rows, epoch: 0 }
    }

    fn steps(&self, parties: &Parties, related: Related<'_>) -> Vec<Step> {
        let step = |(key, _): &(SeriesKey, Row)| {
            let place = self.window.series.binary_search_by_key(key, |(key, _)| *key);
            let flows = place.map_or(0, |place| self.window.series[place].1.flows);
            Step::of(entities(key, parties), flows, related)
        };
        self.rows.iter().map(step).collect()
    }
}

/// What is thought of a row of a lesson.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The weight of evidence of the forests; none before there is one.
    pub forest: Option<f64>,
    /// Negative log likelihood by the network, in nats; none without one.
    pub density: Option<f64>,
    /// See [`super::Judgement::p_value`].
    pub p_value: Option<f64>,
}

impl Detector {
    /// Learns who is usual from the windows of a recording, and compares their rows with all days but their own. Everything
    /// in them counts as usual. To be followed by [`Detector::calibrate`].
    pub fn study(&mut self, lessons: &mut [Lesson], parties: &Parties) {
        let epochs = self.count(lessons, parties);
        self.streams = Streams::default();
        let apart = self.baseline.apart(parties);
        let mut own = None;
        for (number, (lesson, epoch)) in (0..).zip(lessons.iter_mut().zip(epochs)) {
            if own.as_ref().is_none_or(|(number, _)| *number != epoch) {
                own = apart.epoch(epoch).map(|counts| (epoch, counts));
            }
            lesson.epoch = epoch;
            let related =
                Related { all: self.baseline.counts(), own: own.as_ref().map(|(_, counts)| counts) };
            let steps = lesson.steps(parties, related);
            let pacing = self.streams.advance(&steps, number);
            for (((key, row), step), pacing) in lesson.rows.iter_mut().zip(&steps).zip(pacing) {
                compare(row, key, step, &pacing, related);
                self.forests.push(forests::Sample { key: *key, epoch, row: *row, pacing, model: 0.0 });
            }
        }
        self.grow(parties);
    }

    /// Counts the rows of all lessons, and returns the epoch of each lesson.
    fn count(&mut self, lessons: &[Lesson], parties: &Parties) -> Vec<u64> {
        let mut epochs = Vec::with_capacity(lessons.len());
        for (at, lesson) in lessons.iter().enumerate() {
            // Only flows matter here, which no count changes.
            let related = Related { all: self.baseline.counts(), own: None };
            let steps = lesson.steps(parties, related);
            let pacing = self.streams.advance(&steps, self.windows);
            for ((key, _), pacing) in lesson.rows.iter().zip(pacing) {
                self.baseline.add(*key, pacing.pair, Standing::Usual);
            }
            epochs.push(self.baseline.open_epoch());
            self.windows += 1;
            let Window { width_s, .. } = lesson.window;
            if self.baseline.pass(lesson.window.end_s(), width_s) || at + 1 == lessons.len() {
                self.baseline.close(parties);
            }
        }
        epochs
    }

    /// Learns what the answers of the forests and of the network look like for usual rows, and returns what is
    /// thought of each row. The lessons are those that were studied.
    pub fn calibrate(&mut self, lessons: &[Lesson], parties: &Parties) -> Vec<Answer> {
        self.calibrations = super::Calibrations::default();
        let mut answers = Vec::new();
        for (number, Lesson { window, rows, .. }) in (0..).zip(lessons) {
            let only_rows: Vec<Row> = rows.iter().map(|(_, row)| *row).collect();
            let forest = self.forests.evidence(&only_rows);
            let densities = self.densities(number, rows, &only_rows);
            let mut usual = Vec::with_capacity(rows.len());
            for (at, (key, _)) in rows.iter().enumerate() {
                let density = densities.as_ref().map(|densities| densities[at]);
                let forest = forest.as_ref().map(|evidence| evidence[at]);
                answers.push(Answer { forest, density, p_value: None });
                let place = window.series.binary_search_by_key(key, |(key, _)| *key);
                let flows = place.map_or(0, |place| window.series[place].1.flows);
                let Some(state) = self.series.entry(*key, number, Default::default) else { continue };
                let count = state.baseline.score(flows);
                state.baseline.add(flows, false);
                let flows = super::flow_baseline::log1p(flows);
                let density = density.filter(|_| forests::may_vouch(forest));
                usual.push(super::Sample { is_strange: false, count, flows, density, score: None });
            }
            self.calibrations.learn(&usual, number, false);
        }
        self.calibrations.densities.settle();
        let evidence = |answer: &Answer| {
            let model = answer.density.and_then(|density| self.calibrations.densities.p_value(density));
            self.forests.evidence_with(answer.forest, model)
        };
        let evidence: Vec<f64> = answers.iter().map(evidence).collect();
        let scores = self.habituated(lessons, parties, &evidence);
        self.calibrations.begin_scores(&scores);
        for (answer, score) in answers.iter_mut().zip(scores) {
            answer.p_value = self.calibrations.scores.p_value(score);
        }
        answers
    }

    /// Returns what is left of the evidence of each row after what its pair did before.
    fn habituated(&mut self, lessons: &[Lesson], parties: &Parties, evidence: &[f64]) -> Vec<f64> {
        let mut scores = Vec::with_capacity(evidence.len());
        let apart = self.baseline.apart(parties);
        let mut epoch = 0;
        let mut own = apart.epoch(epoch);
        for (number, lesson) in (0..).zip(lessons) {
            if lesson.epoch != epoch {
                // The novelty of a row that is compared without its own day lasts for that day.
                self.habits.forget_unknown();
                epoch = lesson.epoch;
                own = apart.epoch(epoch);
            }
            let related = Related { all: self.baseline.counts(), own: own.as_ref() };
            let first = scores.len();
            let steps = lesson.steps(parties, related);
            for ((key, _), step) in lesson.rows.iter().zip(&steps) {
                let habituation = self.habits.of(key, step, related, number);
                scores.push(habituation.left(evidence[scores.len()]));
            }
            for (step, evidence) in steps.iter().zip(&evidence[first..]) {
                self.habits.add(&step.entities, step.new, *evidence, number);
            }
        }
        self.habits.forget_unknown();
        scores
    }

    /// Returns the negative log likelihood of each row, and brings the states of their series forward; none without a model.
    fn densities(&mut self, number: u64, rows: &[(SeriesKey, Row)], only_rows: &[Row]) -> Option<Vec<f64>> {
        let model = self.model.as_ref()?;
        let state = |(key, _): &(SeriesKey, Row)| {
            self.series.touch(key, number).map_or([0.0; crate::model::HIDDEN], |state| state.hidden)
        };
        let hidden: Vec<Hidden> = rows.iter().map(state).collect();
        let predictions = model.predict(&hidden, only_rows);
        let after = model.step(&hidden, only_rows);
        for ((key, _), hidden) in rows.iter().zip(after).filter(|_| !self.is_forgetful) {
            if let Some(state) = self.series.entry(*key, number, Default::default) {
                state.hidden = hidden;
            }
        }
        let density = |(at, row)| -predictions.log_likelihood(at, row);
        Some(only_rows.iter().enumerate().map(density).collect())
    }
}
