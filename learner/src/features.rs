//! What is seen of a series in one window: 22 targets, which the model predicts, then 3 facts of the context, which are known
//! before the window's contents are. The isolation forests cut some of both.
//!
//! Of the targets the first 13 say what the window holds, the others how that compares with the closed days before: how well
//! the parties are known is predicted too, so that a stranger is as unlikely as it should be.
//!
//! Counts are `ln(1 + n)`, so that a hundredfold is a step of the same size everywhere.

/// Values that the model predicts. They come first.
pub const TARGETS: usize = 22;
/// Values that are known before the window: the prediction may use them.
pub const CONTEXT: usize = 3;
/// Values that the forests cut and the model does not see.
pub const ASIDE: std::ops::Range<usize> = TARGETS + CONTEXT..FEATURES;
/// All values of a row.
pub const FEATURES: usize = TARGETS + CONTEXT + 6;

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
    Feature {
        name: "series_known",
        meaning: "ln(1 + earlier windows with the series), 0 and up; 0 without ports",
    },
    Feature { name: "pair_known", meaning: "ln(1 + earlier rows of the two parties, this way), 0 and up" },
    Feature {
        name: "source_known",
        meaning: "ln(1 + earlier rows of the source party as a source), 0 and up",
    },
    Feature { name: "destination_known", meaning: "ln(1 + earlier rows into the destination), 0 and up" },
    Feature {
        name: "service_known",
        meaning: "ln(1 + earlier rows of the service there), 0 and up; 0 without ports",
    },
    Feature {
        name: "kin_pair_known",
        meaning: "ln(1 + earlier rows between the parties' networks), 0 and up",
    },
    Feature { name: "kin_source_known", meaning: "ln(1 + earlier rows of the source's network), 0 and up" },
    Feature {
        name: "stranger_surprise",
        meaning: "-ln p of a destination as new as this one, from this source",
    },
    Feature { name: "pair_pace", meaning: "flows of the pair's last hour, in deviations from its usual" },
    Feature { name: "gap", meaning: "ln(1 + windows since the series was seen), 0 and up; 0 if never" },
    Feature { name: "day_sine", meaning: "sine of the time of day (UTC), -1 to 1" },
    Feature { name: "day_cosine", meaning: "cosine of the time of day (UTC), -1 to 1" },
    Feature {
        name: "source_meeting_surprise",
        meaning: "-ln p of a pair as new as this one, of this source",
    },
    Feature {
        name: "destination_meeting_surprise",
        meaning: "-ln p of a pair as new as this one, of this destination",
    },
    Feature {
        name: "visitor_surprise",
        meaning: "-ln p of a source as new as this one, at this destination",
    },
    Feature {
        name: "visitor_pace",
        meaning: "ln(1 + rows of unknown sources into the destination in the last hour)",
    },
    Feature {
        name: "sweep_pace",
        meaning: "ln(1 + rows of unknown pairs from the source into that network, likewise)",
    },
    Feature {
        name: "stranger_trend",
        meaning: "mean stranger_surprise of the source over its last six hours",
    },
];

/// Places of the values that compare a row with the days before.
pub const COMPARED: std::ops::Range<usize> = 13..TARGETS;

/// Returns where the values with these names stand.
///
/// # Panics
/// If there is none with such a name.
pub const fn places<const N: usize>(names: [&str; N]) -> [usize; N] {
    let mut found = [FEATURES; N];
    let mut wanted = 0;
    while wanted < N {
        let mut at = 0;
        while at < FEATURES {
            if are_equal(NAMES[at].name.as_bytes(), names[wanted].as_bytes()) {
                found[wanted] = at;
            }
            at += 1;
        }
        assert!(found[wanted] < FEATURES, "no value has this name");
        wanted += 1;
    }
    found
}

const fn are_equal(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// One row: a series in one window.
pub type Row = [f32; FEATURES];
