//! A Gaussian process over suggestions that answers with yes and no are explained by (Rasmussen and Williams, "Gaussian
//! Processes for Machine Learning", 2006, chapter 3).
//!
//! The log odds of acceptance are `offset + g`, where the offset is the static ranking's and `g` what is learned. `g` of two
//! suggestions is alike as far as the kernel finds them alike and as the answers lie near in time:
//! `k(a, b) exp(-|t - t'| / T)`, t counted in answers, so that old answers fade.
//!
//! **The mode.** Where likelihood and prior balance, the slopes `a = y - sigma(f)` of the answers give `g = K a`. Newton's steps
//! find it and need a factorisation each; they also run away at times. Here a step uses a factor that is kept: first with the
//! largest curvature that a logistic likelihood has, 1/4, with which no step can go too far (Böhning and Lindsay 1988), then,
//! when the mode is near, once with the curvature there, which brings the rest in a few steps and gives the variances.
//!
//! **Bounds.** What is learned of a suggestion is the sum over answers of `k a`, `|a| < 1`. One answer moves it by at most
//! [`ANSWER_SHIFT_MAX`], all answers of one person by at most [`PERSON_SHIFT_MAX`], whatever they say.

use super::point::{KernelWeights, Point, Questions};
use super::triangle::{Triangle, dot};
use crate::matrix_product::{Panels, Strips, add_product};

/// Most that one answer moves the log odds of a suggestion.
pub const ANSWER_SHIFT_MAX: f32 = 2.0;
/// Most that all answers of one person do.
pub const PERSON_SHIFT_MAX: f32 = 6.0;
/// Steps with the curvature bounded from above.
const FIRST_STEPS: usize = 12;
/// Steps at most with the curvature near the mode.
const LAST_STEPS: usize = 24;
/// Difference of slopes that is none.
const SLOPE_TOLERANCE: f32 = 1e-5;

/// An answer, as a Gaussian process takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// What it was about.
    pub point: Point,
    /// Which questions it answers.
    pub questions: Questions,
    /// How far it was accepted, 0 to 1.
    pub reward: f32,
    /// Its place among the answers.
    pub time: usize,
    /// Who gave it, as a number.
    pub person: u32,
}

/// Answers with how alike they are, which all experts share.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    rows: Vec<Observation>,
    /// Row by row, the lower half. [rows, rows]
    covariances: Vec<f32>,
}

/// What one expert has learned.
#[derive(Clone, Debug)]
pub struct Expert {
    /// Which of the answers it knows.
    first: usize,
    /// Slopes of the answers at the mode.
    slopes: Vec<f32>,
    /// Square roots of their curvatures there.
    roots: Vec<f32>,
    /// Factor of `1 + roots K roots`.
    triangle: Triangle,
    /// How much answers count by their age in answers.
    fading: Vec<f32>,
}

/// Log odds of acceptance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Mean.
    pub mean: f32,
    /// Variance.
    pub variance: f32,
}

impl Prediction {
    /// Returns the probability of acceptance: the mean of a logistic function of a normal variable (MacKay 1992).
    pub fn probability(self) -> f32 {
        sigmoid(self.mean / (1.0 + std::f32::consts::PI * self.variance / 8.0).sqrt())
    }
}

impl Observations {
    /// Returns observations, in order of time.
    pub fn new(rows: Vec<Observation>, weights: &KernelWeights) -> Self {
        let size = rows.len();
        let mut covariances = vec![0.0; size * size];
        for (at, row) in rows.iter().enumerate() {
            let line = &mut covariances[at * size..at * size + at + 1];
            for (value, other) in line.iter_mut().zip(&rows) {
                *value = weights.covariance((&row.point, row.questions), (&other.point, other.questions));
            }
        }
        Self { rows, covariances }
    }

    /// Returns how alike each is to each of these points, of which both questions are asked. [rows, points]
    pub fn across(&self, points: &[Point], weights: &KernelWeights) -> Vec<f32> {
        let width = self.rows.first().map_or(0, |row| row.point.features.len());
        let mut across = vec![0.0; self.rows.len() * points.len()];
        if width > 0 {
            let features: Vec<f32> = self.rows.iter().flat_map(|row| &row.point.features).copied().collect();
            let transposed: Vec<f32> =
                (0..width).flat_map(|at| points.iter().map(move |point| point.features[at])).collect();
            let (mut strips, panels) = (Strips::default(), Panels::of(&transposed, points.len()));
            strips.fill(&features, width);
            add_product(&mut across, &strips, &panels);
        }
        for (row, line) in self.rows.iter().zip(across.chunks_exact_mut(points.len().max(1))) {
            weights.line((&row.point, row.questions), points, line);
        }
        across
    }

    /// Returns the place of the first that answers the suggestion at this place or a later one; none where there is none.
    pub fn position(&self, time: usize) -> Option<usize> {
        let first = self.rows.partition_point(|row| row.time < time);
        (first < self.rows.len()).then_some(first)
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl Expert {
    /// Returns what is learned from the answers from `first` on, where an answer counts `1/e` after `span` further ones.
    pub fn fit(observations: &Observations, first: usize, span: f32) -> Self {
        let rows = &observations.rows[first..];
        let oldest = rows.first().map_or(0, |row| row.time);
        let newest = rows.last().map_or(0, |row| row.time);
        // One place more for the age of the newest as seen by the next.
        let fading: Vec<f32> = (0..newest - oldest + 2).map(|age| (-(age as f32) / span).exp()).collect();
        let size = rows.len();
        let mut kernel = vec![0.0; size * size];
        for (at, row) in rows.iter().enumerate() {
            let from = (first + at) * observations.len() + first;
            for (other, known) in observations.covariances[from..from + at + 1].iter().enumerate() {
                let value = known * fading[row.time - rows[other].time];
                kernel[at * size + other] = value;
                kernel[other * size + at] = value;
            }
        }
        let mut mode = Mode { rows, kernel, shifts: vec![0.0; size], slopes: vec![0.0; size] };
        mode.read_slopes();
        let first_roots = vec![0.5; size];
        let bounded = mode.factor(&first_roots);
        mode.walk(&bounded, &first_roots, FIRST_STEPS);
        let mut roots = mode.roots();
        let mut triangle = mode.factor(&roots);
        if !mode.walk(&triangle, &roots, LAST_STEPS) {
            // Only far from the mode does the curvature mislead: go on with the one that cannot.
            mode.walk(&bounded, &first_roots, 8 * LAST_STEPS);
            roots = mode.roots();
            triangle = mode.factor(&roots);
        }
        Self { first, slopes: mode.slopes, roots, triangle, fading }
    }

    /// Returns each answer that it knows with its slope, as it counts for the next suggestion.
    pub fn faded_slopes<'a>(
        &'a self,
        observations: &'a Observations,
    ) -> impl Iterator<Item = (&'a Observation, f32)> + 'a {
        let rows = &observations.rows[self.first..];
        let next = rows.last().map_or(0, |row| row.time) + 1;
        rows.iter().zip(&self.slopes).map(move |(row, slope)| (row, self.fading[next - row.time] * slope))
    }

    /// Returns the log odds of points as the next suggestions, given what [`Observations::across`] said of all of them.
    /// `[rows, points], [points]`
    pub fn predict(
        &self,
        observations: &Observations,
        across: &[f32],
        points: &[Point],
        weights: &KernelWeights,
    ) -> Vec<Prediction> {
        let rows = &observations.rows[self.first..];
        let count = points.len();
        let known = &across[self.first * count..];
        let next = rows.last().map_or(0, |row| row.time) + 1;
        let mut shifts = Shifts::new(count);
        let mut scaled = Vec::with_capacity(rows.len() * count);
        for ((row, line), (slope, root)) in
            rows.iter().zip(known.chunks_exact(count)).zip(self.slopes.iter().zip(&self.roots))
        {
            let fading = self.fading[next - row.time];
            shifts.add((row.time, row.person), line, fading * slope);
            scaled.extend(line.iter().map(|value| value * fading * root));
        }
        let explained = self.triangle.squared_lengths(scaled, count);
        let shifts = shifts.total();
        let of = |((point, shift), explained): ((&Point, f32), f32)| {
            let prior = weights.covariance((point, Questions::BOTH), (point, Questions::BOTH));
            Prediction { mean: point.offset + shift, variance: (prior - explained).max(0.0) }
        };
        points.iter().zip(shifts).zip(explained).map(of).collect()
    }
}

/// The sums of what answers do to points, by person.
struct Shifts {
    by_person: Vec<(u32, Vec<f32>)>,
    /// What the answer at hand does: it may speak to several questions, and is bounded as one.
    of_answer: Vec<f32>,
    /// Its place and its person.
    answer: Option<(usize, u32)>,
}

impl Shifts {
    fn new(points: usize) -> Self {
        Self { by_person: Vec::new(), of_answer: vec![0.0; points], answer: None }
    }

    /// Adds what an answer does by one of the questions that it speaks to; those of one answer come one after the other.
    fn add(&mut self, answer: (usize, u32), line: &[f32], scale: f32) {
        if self.answer != Some(answer) {
            self.settle();
            self.answer = Some(answer);
        }
        for (sum, value) in self.of_answer.iter_mut().zip(line) {
            *sum += value * scale;
        }
    }

    /// Adds the answer at hand to what its person does.
    fn settle(&mut self) {
        let Some((_, person)) = self.answer.take() else { return };
        let place = self.by_person.iter().position(|(known, _)| *known == person);
        let place = place.unwrap_or_else(|| {
            self.by_person.push((person, vec![0.0; self.of_answer.len()]));
            self.by_person.len() - 1
        });
        for (sum, value) in self.by_person[place].1.iter_mut().zip(&mut self.of_answer) {
            *sum += std::mem::take(value).clamp(-ANSWER_SHIFT_MAX, ANSWER_SHIFT_MAX);
        }
    }

    fn total(mut self) -> Vec<f32> {
        self.settle();
        let mut total = vec![0.0; self.of_answer.len()];
        for (_, sums) in self.by_person {
            for (total, sum) in total.iter_mut().zip(sums) {
                // Bent, not cut: the order of what was learned stays.
                *total += PERSON_SHIFT_MAX * (sum / PERSON_SHIFT_MAX).tanh();
            }
        }
        total
    }
}

/// The way to the mode.
struct Mode<'a> {
    rows: &'a [Observation],
    /// [rows, rows]
    kernel: Vec<f32>,
    /// `g` of each answer.
    shifts: Vec<f32>,
    /// `y - sigma(f)` of each.
    slopes: Vec<f32>,
}

impl Mode<'_> {
    fn odds(&self) -> impl Iterator<Item = f32> + '_ {
        self.rows.iter().zip(&self.shifts).map(|(row, shift)| row.point.offset + shift)
    }

    fn read_slopes(&mut self) {
        self.slopes = self.odds().zip(self.rows).map(|(odds, row)| row.reward - sigmoid(odds)).collect();
    }

    fn roots(&self) -> Vec<f32> {
        self.odds().map(|odds| (sigmoid(odds) * (1.0 - sigmoid(odds))).max(1e-6).sqrt()).collect()
    }

    fn factor(&self, roots: &[f32]) -> Triangle {
        let size = self.rows.len();
        let mut matrix = self.kernel.clone();
        for (at, (line, root)) in matrix.chunks_exact_mut(size.max(1)).zip(roots).enumerate() {
            for (value, other) in line[..at + 1].iter_mut().zip(roots) {
                *value *= root * other;
            }
            line[at] += 1.0;
        }
        Triangle::of(matrix, size)
    }

    /// Goes up to so many steps with a factor, and returns whether it arrived.
    fn walk(&mut self, triangle: &Triangle, roots: &[f32], steps: usize) -> bool {
        let mut last = f32::INFINITY;
        for _ in 0..steps {
            // b = W g + slopes, a = b - R (1 + R K R)^-1 R K b.
            let target: Vec<f32> = (self.shifts.iter().zip(roots).zip(&self.slopes))
                .map(|((shift, root), slope)| root * root * shift + slope)
                .collect();
            let mut inner: Vec<f32> = self.product(&target);
            inner.iter_mut().zip(roots).for_each(|(value, root)| *value *= root);
            triangle.solve(&mut inner);
            let weights: Vec<f32> = (target.iter().zip(roots).zip(&inner))
                .map(|((target, root), inner)| target - root * inner)
                .collect();
            self.shifts = self.product(&weights);
            self.read_slopes();
            let differences = weights.iter().zip(&self.slopes).map(|(weight, slope)| (weight - slope).abs());
            let difference = differences.fold(0.0, f32::max);
            if difference < SLOPE_TOLERANCE {
                return true;
            }
            if difference > 2.0 * last {
                return false;
            }
            last = difference;
        }
        false
    }

    fn product(&self, vector: &[f32]) -> Vec<f32> {
        self.kernel.chunks_exact(vector.len().max(1)).map(|line| dot(line, vector)).collect()
    }
}

/// Returns the logistic function.
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
