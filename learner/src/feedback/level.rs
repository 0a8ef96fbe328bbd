//! What the ranking knows of suggestions before anybody answered one: how large their values are, and how strong the static
//! score of the last one shown usually is.

use super::ranking::narrow;
use crate::proportion::real;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Days over which the level of the last place is a median.
const LEVEL_DAYS: usize = 14;
/// Height at which a static score stops to count: a flood must not outweigh everything that was ever answered.
pub const HEIGHT_MAX: f64 = 4.0;
/// Log odds of a unit of height.
pub const ODDS_OF_HEIGHT: f64 = 0.7;
/// Days after which the scale of values is fixed, and suggestions that they need to have brought.
const SCALED_AFTER_DAYS: usize = 3;
/// See `SCALED_AFTER_DAYS`.
pub const SCALED_AFTER: u64 = 16;
/// Deviations beyond which a value counts as this many.
const DEVIATIONS_MAX: f64 = 5.0;

/// A suggestion as it comes to the ranking.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// What the static ranking orders by; larger is better.
    pub static_score: f64,
    /// What else is known of it. All have as many.
    pub features: Vec<f64>,
    /// Numbers of its source, destination, pair and service; 0 is nobody.
    pub entities: [u64; super::point::ENTITIES],
}

impl Seen {
    /// Returns whether all of its values are numbers.
    pub fn is_finite(&self) -> bool {
        self.static_score.is_finite() && self.features.iter().all(|value| value.is_finite())
    }
}

/// Means and deviations, by Welford's sums until they are fixed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    seen: u64,
    /// Of the static score, then of each feature.
    means: Vec<f64>,
    squares: Vec<f64>,
    is_fixed: bool,
    /// Standardised static scores of the last place, one a day, oldest first.
    lasts: VecDeque<f64>,
}

impl Level {
    /// Takes in all suggestions of a day, of which nobody needs to have answered one.
    pub fn observe(&mut self, day: &[Seen], places: usize) {
        if !self.is_fixed {
            day.iter().for_each(|seen| self.add(seen));
            self.is_fixed = self.seen >= SCALED_AFTER && self.lasts.len() + 1 >= SCALED_AFTER_DAYS;
        }
        let mut scores: Vec<f64> = day.iter().map(|seen| self.standardised(seen.static_score)).collect();
        scores.sort_unstable_by(|a, b| b.total_cmp(a));
        if let Some(last) = scores.get(places.saturating_sub(1)).or(scores.last()) {
            if self.lasts.len() == LEVEL_DAYS {
                self.lasts.pop_front();
            }
            self.lasts.push_back(*last);
        }
    }

    /// Returns whether the scale stays as it is from here on. Before that nothing is learned from answers.
    pub fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// Returns how far a suggestion's static score is above that of the usual last place, bounded: -4 to 4.
    pub fn height(&self, seen: &Seen) -> f64 {
        let mut lasts: Vec<f64> = self.lasts.iter().copied().collect();
        lasts.sort_unstable_by(f64::total_cmp);
        let level = match lasts.len() {
            0 => 0.0,
            days if days % 2 == 1 => lasts[days / 2],
            days => (lasts[days / 2 - 1] + lasts[days / 2]) / 2.0,
        };
        let above = (self.standardised(seen.static_score) - level) / HEIGHT_MAX;
        HEIGHT_MAX * above.tanh()
    }

    /// Returns the features in deviations from their mean.
    pub fn features(&self, seen: &Seen) -> Vec<f32> {
        let values = seen.features.iter().enumerate();
        values.map(|(at, value)| narrow(self.scaled(at + 1, *value))).collect()
    }

    /// Returns how many features there are.
    pub fn dimensions(&self) -> usize {
        self.means.len().saturating_sub(1)
    }

    /// Returns whether it can have come about from suggestions with so many features.
    pub fn is_sound(&self, features: usize) -> bool {
        let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        let lasts = self.lasts.iter().all(|value| value.is_finite()) && self.lasts.len() <= LEVEL_DAYS;
        let is_begun = !self.is_fixed || (self.means.len() > 1 && self.seen > 0);
        let is_wide = self.means.is_empty() || self.means.len() == features + 1;
        is_begun
            && is_wide
            && self.means.len() == self.squares.len()
            && finite(&self.means)
            && finite(&self.squares)
            && lasts
    }

    fn add(&mut self, seen: &Seen) {
        let size = seen.features.len() + 1;
        if self.means.is_empty() {
            (self.means, self.squares) = (vec![0.0; size], vec![0.0; size]);
        }
        self.seen += 1;
        let values = std::iter::once(seen.static_score).chain(seen.features.iter().copied());
        for ((mean, square), value) in self.means.iter_mut().zip(&mut self.squares).zip(values) {
            let before = value - *mean;
            *mean += before / real(self.seen);
            *square += before * (value - *mean);
        }
    }

    fn standardised(&self, static_score: f64) -> f64 {
        // Not bounded here: the height is.
        let deviation = self.deviation(0);
        if deviation > 0.0 { (static_score - self.means[0]) / deviation } else { 0.0 }
    }

    fn scaled(&self, at: usize, value: f64) -> f64 {
        // What never varied may yet: features are of like size, so that its own unit is a fair deviation.
        let deviation = Some(self.deviation(at)).filter(|deviation| *deviation > 0.0).unwrap_or(1.0);
        let mean = self.means.get(at).copied().unwrap_or(0.0);
        ((value - mean) / deviation).clamp(-DEVIATIONS_MAX, DEVIATIONS_MAX)
    }

    fn deviation(&self, at: usize) -> f64 {
        let square = self.squares.get(at).copied().unwrap_or(0.0);
        if square > 1e-9 * real(self.seen) { (square / real(self.seen)).sqrt() } else { 0.0 }
    }
}
