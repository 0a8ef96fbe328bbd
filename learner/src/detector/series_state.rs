//! What is known of one series, and what is seen of it in one window.

use super::flow_baseline::FlowBaseline;
use super::novelty::Novelty;
use crate::checkpoint::saved::saved;
use crate::features::Row;
use crate::model::Hidden;
use crate::series::{SeriesKey, SeriesSums};

/// When a series appeared, how new that was, and the flows since.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Birth {
    pub(super) window: u64,
    pub(super) novelty: Novelty,
    pub(super) p_value: f64,
    pub(super) flows: u64,
}

saved!(Birth { window, novelty, p_value, flows });

/// What is known of one series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SeriesState {
    pub(super) hidden: Hidden,
    pub(super) baseline: FlowBaseline,
    /// None once it is no longer young, and if it was there before anything was judged.
    pub(super) birth: Option<Birth>,
}

saved!(SeriesState { hidden, baseline, birth });

/// A row with what its series did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) key: SeriesKey,
    pub(super) sums: SeriesSums,
    pub(super) row: &'a Row,
    pub(super) novelty: Novelty,
}
