//! What is known of one series, and what is seen of it in one window.

use super::comparison::Novelty;
use super::flow_baseline::FlowBaseline;
use super::habits::Habituation;
use super::streams::{Pacing, Step};
use crate::checkpoint::saved::saved;
use crate::features::Row;
use crate::model::{HIDDEN, Hidden};
use crate::series::{SeriesKey, SeriesSums};

/// What is known of one series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SeriesState {
    pub(super) hidden: Hidden,
    pub(super) baseline: FlowBaseline,
}

saved!(SeriesState { hidden, baseline });

impl Default for SeriesState {
    fn default() -> Self {
        Self { hidden: [0.0; HIDDEN], baseline: FlowBaseline::default() }
    }
}

/// A row with what its series did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) key: SeriesKey,
    pub(super) sums: SeriesSums,
    pub(super) row: Row,
    pub(super) step: Step,
    pub(super) pacing: Pacing,
    pub(super) habituation: Habituation,
    pub(super) novelty: Novelty,
    pub(super) novelty_p_value: f64,
    /// Flows that its source spent of late on what the closed days do not know; 0 while warming up.
    pub(super) strange_flows: f64,
}
