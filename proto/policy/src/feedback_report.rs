//! What a learner says of what it has learned from answers.

use serde::{Deserialize, Serialize};

/// What was learned, for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeedbackReport {
    /// Answers that the ranking learns from: yes and no, withdrawn ones and `later` not counted.
    pub answers: u64,
    /// Answers that were withdrawn.
    pub withdrawn: u64,
    /// Answers that are kept and will be learned from: until days of suggestions have shown what is usual, and while a
    /// withdrawal has later answers gone through again.
    pub waiting: u64,
    /// Whether what was learned takes part in the ranking.
    pub gate_open: bool,
    /// Evidence that it ranks better than the static ranking does, in nats.
    pub evidence_nats: f64,
    /// Evidence at which the gate opens, in nats.
    pub evidence_needed_nats: f64,
    /// How often the gate opened or closed, oldest first; the last ones.
    pub gate_steps: Vec<GateStep>,
    /// Weight of the long memory in the mixture, 0 to 1; the rest is that of the short one.
    pub long_share: f64,
    /// When a change of mind was found, as the number of answers that were known then; the last ones.
    pub changes: Vec<u64>,
    /// Confidence against acceptance, in bins of as many answers each, by growing confidence.
    pub calibration: Vec<CalibrationBin>,
    /// Mean difference of confidence and acceptance over these bins, 0 to 1; none before there are bins.
    pub calibration_error: Option<f64>,
    /// Mean squared difference of confidence and answer, 0 to 1; none before there are bins.
    pub brier: Option<f64>,
    /// How good what was shown has been, oldest first.
    pub precision: Vec<PrecisionSpan>,
    /// Features by how much they move a suggestion, the strongest first.
    pub features: Vec<LearnedEffect>,
    /// Sources, destinations, pairs and services by how much they move a suggestion, the strongest first.
    pub entities: Vec<LearnedEffect>,
}

/// The gate opened or closed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateStep {
    /// Answers that were known then.
    pub answers: u64,
    /// Whether it is open since.
    pub open: bool,
    /// Evidence at that moment that what was learned ranks better than the static ranking does, in nats.
    pub evidence_nats: f64,
    /// When, nanoseconds since 1970.
    pub time_ns: u64,
}

/// Answers to suggestions of like confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// How many.
    pub answers: u64,
    /// Mean of the confidence that was shown, 0 to 1.
    pub confidence: f64,
    /// Share that was accepted, 0 to 1.
    pub accepted: f64,
}

/// A span of answers: what was shown first against what the static ranking would have shown first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrecisionSpan {
    /// When it began, nanoseconds since 1970.
    pub from_ns: u64,
    /// Answers in it.
    pub answers: u64,
    /// Share accepted of the half that the ranking put first, 0 to 1.
    pub shown: f64,
    /// Share accepted of the half that the static ranking would have put first, 0 to 1.
    pub by_static: f64,
}

/// How much something moves suggestions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearnedEffect {
    /// What: a feature by its name, or an entity such as `source web`, `pair web -> db`.
    pub name: String,
    /// How far it moves the log odds of acceptance: of a feature by one standard deviation, of an entity by its presence.
    pub log_odds: f64,
    /// Answers that speak of it; of a feature all of them.
    pub answers: u64,
}
