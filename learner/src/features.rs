//! What the model sees of a series in one window: 13 targets, which it predicts, then 8 facts of the context, which are
//! known before the window's contents are.
//!
//! Counts are `ln(1 + n)`, so that a hundredfold is a step of the same size everywhere.

/// Values that the model predicts. They come first.
pub const TARGETS: usize = 13;
/// Values that are known before the window: the prediction may use them.
pub const CONTEXT: usize = 8;
/// All values of a row.
pub const FEATURES: usize = TARGETS + CONTEXT;

/// One value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Name, as reports write it.
    pub name: &'static str,
    /// What it says, with its range.
    pub meaning: &'static str,
}

/// The values of a row, in order.
pub const NAMES: [Feature; FEATURES] = [
    Feature { name: "flows", meaning: "ln(1 + flows begun or refused), 0 and up" },
    Feature { name: "packets_forward", meaning: "ln(1 + packets from the initiators), 0 and up" },
    Feature { name: "packets_reverse", meaning: "ln(1 + packets back), 0 and up" },
    Feature { name: "bytes_forward", meaning: "ln(1 + bytes from the initiators), 0 and up" },
    Feature { name: "bytes_reverse", meaning: "ln(1 + bytes back), 0 and up" },
    Feature { name: "answered_share", meaning: "answered flows among all, 0 to 1" },
    Feature { name: "refused_share", meaning: "refused attempts among all flows, 0 to 1" },
    Feature { name: "sources", meaning: "ln(1 + distinct initiating addresses), 0 and up" },
    Feature { name: "destinations", meaning: "ln(1 + distinct far addresses), 0 and up" },
    Feature { name: "source_fan_out", meaning: "ln(1 + series that the source party began), 0 and up" },
    Feature { name: "destination_fan_in", meaning: "ln(1 + series into the destination party), 0 and up" },
    Feature { name: "source_flows", meaning: "ln(1 + flows of the source party), 0 and up" },
    Feature { name: "destination_flows", meaning: "ln(1 + flows into the destination party), 0 and up" },
    Feature { name: "gap", meaning: "ln(1 + windows since the series was seen), 0 and up; 0 if never" },
    Feature { name: "is_new_source", meaning: "1 if the source party was never seen as a source" },
    Feature { name: "is_new_pair", meaning: "1 if the two parties never met in this direction" },
    Feature { name: "is_new_series", meaning: "1 if the series was never seen" },
    Feature { name: "windows_seen", meaning: "ln(1 + windows in which the series was seen), 0 and up" },
    Feature { name: "pair_windows_seen", meaning: "ln(1 + windows in which the pair was seen), 0 and up" },
    Feature { name: "day_sine", meaning: "sine of the time of day (UTC), -1 to 1" },
    Feature { name: "day_cosine", meaning: "cosine of the time of day (UTC), -1 to 1" },
];

/// One row: a series in one window.
pub type Row = [f32; FEATURES];
