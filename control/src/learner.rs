//! What a learner says of how it is doing. The newest report of each learner is kept.

use crate::suggestion::Feature;
use meshgate_policy::Name;
use serde::{Deserialize, Serialize};

/// Learners that are remembered; a new one beyond takes the place of the one not heard of for longest. A fleet has one
/// learner or a few.
pub const LEARNERS_MAX: u32 = 64;
/// Kinds of drafts that were dropped.
pub const DROPPED_KINDS_MAX: usize = 32;

/// A report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearnerReport {
    /// The learner.
    pub learner: Name,
    /// Its process start, growing.
    pub epoch: u64,
    /// Version of its model.
    pub model_version: String,
    /// Flow records read.
    pub records_read: u64,
    /// Flow records that never arrived.
    pub records_lost: u64,
    /// Width of a window in seconds.
    pub window_s: u32,
    /// Windows that were worked on.
    pub windows_closed: u64,
    /// Windows that came too fast.
    pub windows_left_out: u64,
    /// Series that are followed.
    pub series_live: u64,
    /// Series for which there was no room.
    pub series_left_out: u64,
    /// Steps of training.
    pub training_steps: u64,
    /// Mean loss of the last steps, in nats a series and window; none before the first.
    pub training_loss: Option<f64>,
    /// Scores that calibration rests on.
    pub calibration_scores: u64,
    /// Scores that it needs.
    pub calibration_scores_needed: u64,
    /// Drafts handed in.
    pub suggestions_submitted: u64,
    /// Drafts dropped, by reason.
    pub drafts_dropped: Vec<Feature>,
    /// The last decision that was taken in.
    pub decision_sequence: u64,
    /// Since the start.
    pub uptime_ns: u64,
}

/// A learner as it is remembered.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnerLine {
    /// Its newest report.
    pub report: LearnerReport,
    /// When that came, nanoseconds since 1970.
    pub reported_ns: u64,
}
