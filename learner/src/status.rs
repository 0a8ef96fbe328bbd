//! How the learner is doing: figures that its threads write and the report to control reads.

use crate::analyst::AnalystStatus;
use crate::collector_counts::CollectorCounters;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Figures of all parts.
#[derive(Clone)]
pub struct Status {
    /// When the program started.
    pub started: Instant,
    /// Width of the windows in seconds.
    pub window_s: u32,
    /// Of the collector.
    pub collector: Arc<CollectorCounters>,
    analyst: Arc<Mutex<AnalystStatus>>,
}

impl Status {
    /// Returns figures of a learner that starts.
    pub fn new(window_s: u32, collector: Arc<CollectorCounters>) -> Self {
        Self { started: Instant::now(), window_s, collector, analyst: Arc::default() }
    }

    /// Returns the analyst's figures.
    pub fn analyst(&self) -> AnalystStatus {
        self.analyst.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the analyst's figures.
    pub fn set_analyst(&self, status: AnalystStatus) {
        *self.analyst.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}
