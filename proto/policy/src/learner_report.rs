//! What a learner says of how it is doing.

use crate::feedback_report::FeedbackReport;
use crate::name::Name;
use crate::suggestion::Feature;
use serde::{Deserialize, Serialize};

/// A report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearnerReport {
    /// The learner.
    pub learner: Name,
    /// Its process start, growing.
    pub epoch: u64,
    /// Version of its model; empty before there was one.
    pub model_version: String,
    /// Flow records read.
    pub records_read: u64,
    /// Flow records that never arrived.
    pub records_lost: u64,
    /// Width of a window in seconds.
    pub window_s: u32,
    /// Windows that were worked on.
    pub windows_closed: u64,
    /// Windows that came while the one before was still being worked on, and were left out.
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
    /// Since the start, in nanoseconds.
    pub uptime_ns: u64,
    /// What it learned from answers; none from a learner that does not say.
    pub feedback: Option<FeedbackReport>,
}

/// A learner as control remembers it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LearnerLine {
    /// Its newest report.
    #[serde(flatten)]
    pub report: LearnerReport,
    /// When that came, nanoseconds since 1970.
    pub reported_ns: u64,
}
