//! Which series of a window are unusual.

use crate::series::{SeriesKey, SeriesSums};

/// A value that was not what the model expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Surprise {
    /// Name of the feature.
    pub feature: &'static str,
    /// What was seen, in the feature's own units.
    pub seen: f32,
    /// What the model expected (mean of its density).
    pub expected: f32,
    /// Negative log likelihood of what was seen, in nats, beyond that of the expected value.
    pub nats: f32,
}

/// A series that is unusual in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomaly {
    /// The series.
    pub key: SeriesKey,
    /// What it did.
    pub sums: SeriesSums,
    /// Start of the window, seconds since 1970.
    pub start_s: u64,
    /// Width of the window in seconds.
    pub width_s: u32,
    /// Probability that a usual series looks at least as unusual, by everything that is known: 0 to 1.
    pub p_value: f64,
    /// By the density of the model alone; none while it is not calibrated.
    pub model_p_value: Option<f64>,
    /// By how new the parties and the service are to each other.
    pub novelty_p_value: f64,
    /// By the number of flows against the series' own past.
    pub count_p_value: f64,
    /// The source party was never seen as a source.
    pub is_new_source: bool,
    /// The parties never met in this direction.
    pub is_new_pair: bool,
    /// The service between them was never seen.
    pub is_new_series: bool,
    /// What surprised the model most, largest first; at most three.
    pub surprises: Vec<Surprise>,
}
