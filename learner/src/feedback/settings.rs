//! Every figure of the ranking that learns.

use super::point::KernelWeights;

/// How the ranking learns from answers.
#[derive(Clone, Debug, PartialEq)]
pub struct RankingSettings {
    /// Suggestions that a person is shown in a day: the static score of the last of them is what others are measured by.
    pub places: usize,
    /// Of the kernel.
    pub kernel: KernelWeights,
    /// Answers after which one counts `1/e`, for the long memory.
    pub long_span: f32,
    /// And for the short one.
    pub short_span: f32,
    /// Share of the weight of the two that is dealt out anew with each answer.
    pub shared: f64,
    /// Evidence in nats at which the gate opens. At 4 coin-flip answers did no harm in 30 of 30 runs.
    pub evidence_needed: f64,
    /// Most evidence that is kept: what it takes to close the gate again.
    pub evidence_max: f64,
    /// Least evidence that is kept: how much has to be made up for after a bad start.
    pub evidence_min: f64,
    /// Evidence in nats that what was learned before is worth less than nothing, at which it is let go.
    pub change_needed: f64,
    /// Answers that are kept to be gone through again when one of them is withdrawn.
    pub kept: usize,
    /// Alarms, the strongest by the static score, that keep a place among those shown, whatever was learned.
    pub kept_in_view: usize,
}

impl Default for RankingSettings {
    fn default() -> Self {
        Self {
            places: 10,
            kernel: KernelWeights::default(),
            long_span: 3_000.0,
            short_span: 200.0,
            shared: 0.005,
            evidence_needed: 4.0,
            evidence_max: 6.0,
            evidence_min: -4.0,
            change_needed: 5.0,
            kept: 2_000,
            kept_in_view: 2,
        }
    }
}
