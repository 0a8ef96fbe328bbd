//! What an administrator may set of the adviser.

use crate::feedback::settings::RankingSettings;
use serde::{Deserialize, Serialize};

/// Settings of profile and adviser. Spans are counted in windows, so that they fit any width of window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdviserSettings {
    /// Suggestions of one round at most, best first.
    pub suggestions_max: usize,
    /// Suggestions of a day at most: more than tens a day nobody answers. What finds no room today is made tomorrow, if it
    /// still holds.
    pub suggestions_per_day_max: usize,
    /// Windows in which an exchange must have been answered before it is steady.
    pub steady_windows: u32,
    /// Windows between the first and the last time it was seen. Above [`Self::steady_windows`], so that one busy half
    /// hour makes no rule.
    pub steady_span_windows: u32,
    /// Seconds for which a steady exchange may be silent; a nightly one must not be forgotten by day.
    pub steady_silence_s: u64,
    /// Share of the flows that must have been answered, 0 to 1. Below it, counting what was refused as not answered, no
    /// allow draft has a confidence above 0.5.
    pub steady_answered_share: f64,
    /// Windows for which an anomaly keeps its series from being steady.
    pub anomaly_open_windows: u32,
    /// Drafts below this confidence are dropped, 0 to 1.
    pub confidence_min: f64,
    /// What a tuple (source address, destination address, service) costs that a draft permits and nobody used, in tuples that
    /// a rehearsal found new: a high price gives narrow drafts, a low one wide ones.
    pub permitted_price: f64,
    /// Seconds for which a suggestion from a steady pattern waits for an answer. If the pattern still holds then, it is
    /// suggested anew.
    pub expiry_s: u64,
    /// Seconds for which a suggestion from an anomaly waits.
    pub anomaly_expiry_s: u64,
}

impl AdviserSettings {
    /// Returns how the ranking learns from answers.
    pub fn ranking(&self) -> RankingSettings {
        RankingSettings { places: self.suggestions_max.max(1), ..RankingSettings::default() }
    }
}

impl Default for AdviserSettings {
    fn default() -> Self {
        Self {
            suggestions_max: 10,
            suggestions_per_day_max: 40,
            steady_windows: 30,
            steady_span_windows: 60,
            steady_silence_s: 86_400,
            steady_answered_share: 0.9,
            anomaly_open_windows: 60,
            confidence_min: 0.05,
            permitted_price: 0.02,
            expiry_s: 14 * 86_400,
            anomaly_expiry_s: 3 * 86_400,
        }
    }
}
