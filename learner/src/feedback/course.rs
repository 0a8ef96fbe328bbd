//! What follows from the answers one after the other: which memory predicted them better, whether what was learned deserves to
//! take part, whether people changed their mind.
//!
//! All of it rests on probabilities that were issued before their answer, so that nothing is judged by what it was fitted to.
//!
//! **The gate.** What was learned ranks in shadow until it has predicted answers better than the [`Null`] by
//! `evidence_needed` nats; it closes again when the evidence is used up. Evidence is a sum of log ratios between two bounds, so
//! that neither an early luck nor an old merit counts for ever. Answers without any pattern open it with a probability of at most
//! `e^-4` a start (Ville's inequality), and then not for long.
//!
//! **A change of mind.** Every `FRESH_EVERY` answers an expert begins anew that knows nothing older. Where one predicts better
//! than all memory by `change_needed` nats over its life, what came before it is let go, and the gate stands where it would stand
//! had nobody ever answered before.

use super::null::Null;
use super::settings::RankingSettings;
use serde::{Deserialize, Serialize};

/// Answers between the beginnings of two experts that know nothing older.
const FRESH_EVERY: usize = 8;
/// Such experts at a time: the oldest has seen 64 answers.
pub const FRESH_MAX: usize = 8;
/// Answers that a fresh expert has to have predicted before a change is believed.
const FRESH_ANSWERS_MIN: usize = 8;
/// Least probability of an answer: one surprise counts so much and no more.
const LIKELIHOOD_MIN: f64 = 0.02;

/// An expert that knows no answers before its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fresh {
    /// Place of its first answer.
    pub start: usize,
    /// By how much it predicted better than the memory, in nats.
    lead: f64,
    /// Where the gate would stand by its predictions.
    evidence: f64,
    is_open: bool,
}

/// What was issued before an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Issued {
    /// Height of the static score.
    pub height: f64,
    /// By the long memory.
    pub long: f64,
    /// By the short one.
    pub short: f64,
    /// By each of the fresh experts.
    pub fresh: Vec<f64>,
}

/// The gate opened, closed, or what was learned before was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turn {
    /// The gate opened or closed.
    Gate(bool),
    /// Answers before this place are let go.
    Change(usize),
}

/// Where things stand after some answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Course {
    /// Answers before this one are let go.
    pub first: usize,
    /// Weights of nothing learned, of the long memory and of the short one; they add up to one.
    pub shares: [f64; 3],
    /// Evidence that what was learned is worth something, in nats.
    pub evidence: f64,
    /// Whether it takes part.
    pub is_open: bool,
    /// Experts that know only what is new, oldest first.
    pub fresh: Vec<Fresh>,
    null: Null,
}

impl Default for Course {
    fn default() -> Self {
        Self {
            first: 0,
            shares: [0.4, 0.4, 0.2],
            evidence: 0.0,
            is_open: false,
            fresh: Vec::new(),
            null: Null::default(),
        }
    }
}

impl Course {
    /// Returns the probability that the three give together.
    pub fn mixed(&self, null: f64, long: f64, short: f64) -> f64 {
        self.shares.iter().zip([null, long, short]).map(|(share, probability)| share * probability).sum()
    }

    /// Returns the probability of somebody who learned nothing but how often answers are yes.
    pub fn null(&self, height: f64) -> f64 {
        self.null.probability(height)
    }

    /// Takes in the answer at this place, and returns what turned.
    pub fn learn(
        &mut self,
        at: usize,
        issued: &Issued,
        reward: f64,
        settings: &RankingSettings,
    ) -> Vec<Turn> {
        let Issued { height, long, short, ref fresh } = *issued;
        let mut turns = Vec::new();
        let null = self.null.probability(height);
        let mixed = self.mixed(null, long, short);
        let log = |probability: f64| log_likelihood(probability, reward);
        let was_open = self.is_open;
        step(&mut self.evidence, &mut self.is_open, log(mixed) - log(null), settings);
        for (fresh, probability) in self.fresh.iter_mut().zip(fresh) {
            fresh.lead += log(*probability) - log(mixed);
            step(&mut fresh.evidence, &mut fresh.is_open, log(*probability) - log(null), settings);
        }
        let mut total = 0.0;
        for (share, probability) in self.shares.iter_mut().zip([null, long, short]) {
            *share *= log(probability).exp();
            total += *share;
        }
        let dealt = settings.shared / 3.0;
        self.shares.iter_mut().for_each(|share| *share = (1.0 - settings.shared) * *share / total + dealt);
        self.null.learn(height, reward);
        if let Some(changed) = self.changed(at, settings) {
            (self.first, self.evidence, self.is_open) = (changed.start, changed.evidence, changed.is_open);
            self.shares = Self::default().shares;
            self.fresh.clear();
            turns.push(Turn::Change(changed.start));
        }
        if (at + 1).is_multiple_of(FRESH_EVERY) && at + 1 > self.first {
            if self.fresh.len() == FRESH_MAX {
                self.fresh.remove(0);
            }
            self.fresh.push(Fresh { start: at + 1, lead: 0.0, evidence: 0.0, is_open: false });
        }
        if self.is_open != was_open {
            turns.push(Turn::Gate(self.is_open));
        }
        turns
    }

    /// Returns whether it can have come about.
    pub fn is_sound(&self) -> bool {
        let finite = |fresh: &Fresh| fresh.lead.is_finite() && fresh.evidence.is_finite();
        let shares: f64 = self.shares.iter().sum();
        self.shares.iter().all(|share| (0.0..=1.0).contains(share))
            && (shares - 1.0).abs() < 1e-6
            && self.evidence.is_finite()
            && self.fresh.len() <= FRESH_MAX
            && self.fresh.iter().all(finite)
            && self.null.is_sound()
    }

    /// Returns whether nothing in it speaks of more answers than these.
    pub fn knows_at_most(&self, answers: usize) -> bool {
        self.first <= answers && self.fresh.iter().all(|fresh| fresh.start <= answers)
    }

    /// Returns the fresh expert that leads by enough, if one does.
    fn changed(&self, at: usize, settings: &RankingSettings) -> Option<Fresh> {
        let old_enough = |fresh: &&Fresh| (at + 1).saturating_sub(fresh.start) >= FRESH_ANSWERS_MIN;
        let leading = self.fresh.iter().filter(old_enough).max_by(|a, b| a.lead.total_cmp(&b.lead));
        leading.filter(|fresh| fresh.lead >= settings.change_needed).copied()
    }
}

/// Adds to the evidence, and opens or closes the gate.
fn step(evidence: &mut f64, is_open: &mut bool, more: f64, settings: &RankingSettings) {
    *evidence = (*evidence + more).clamp(settings.evidence_min, settings.evidence_max);
    if *evidence >= settings.evidence_needed {
        *is_open = true;
    } else if *evidence < 0.0 {
        *is_open = false;
    }
}

fn log_likelihood(probability: f64, reward: f64) -> f64 {
    let probability = probability.clamp(LIKELIHOOD_MIN, 1.0 - LIKELIHOOD_MIN);
    reward * probability.ln() + (1.0 - reward) * (1.0 - probability).ln()
}
