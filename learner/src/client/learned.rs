//! What was learned, as control takes it: within the limits of the wire. A report with a number that is none would be
//! refused as a whole, and then nobody sees how the learner is doing.

use meshgate_policy::FeedbackReport;
use meshgate_policy::feedback_report::LearnedEffect;
use meshgate_policy::limits::{LEARNED_LISTED_MAX, LEARNED_NAME_BYTES_MAX};

/// Returns the report within the limits: of what is ordered by time the newest, of what is ordered by strength the
/// strongest; entries without a finite number are left out.
pub(super) fn bounded(report: FeedbackReport) -> FeedbackReport {
    let share = |value: f64| if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 };
    let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
    let FeedbackReport {
        answers,
        withdrawn,
        waiting,
        gate_open,
        evidence_nats,
        evidence_needed_nats,
        mut gate_steps,
        long_share,
        changes,
        mut calibration,
        calibration_error,
        brier,
        mut precision,
        features,
        entities,
    } = report;
    gate_steps.retain(|step| step.evidence_nats.is_finite());
    calibration.retain(|bin| is_share(bin.confidence) && is_share(bin.accepted));
    calibration.truncate(LEARNED_LISTED_MAX);
    precision.retain(|span| is_share(span.shown) && is_share(span.by_static));
    FeedbackReport {
        answers,
        withdrawn,
        waiting,
        gate_open,
        evidence_nats: finite(evidence_nats),
        evidence_needed_nats: finite(evidence_needed_nats),
        gate_steps: last(gate_steps),
        long_share: share(long_share),
        changes: last(changes),
        calibration,
        calibration_error: calibration_error.filter(|error| error.is_finite()).map(share),
        brier: brier.filter(|brier| brier.is_finite()).map(share),
        precision: last(precision),
        features: strongest(features),
        entities: strongest(entities),
    }
}

fn is_share(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}

fn last<T>(mut list: Vec<T>) -> Vec<T> {
    list.split_off(list.len().saturating_sub(LEARNED_LISTED_MAX))
}

fn strongest(mut effects: Vec<LearnedEffect>) -> Vec<LearnedEffect> {
    effects.retain(|effect| effect.log_odds.is_finite());
    effects.truncate(LEARNED_LISTED_MAX);
    for effect in &mut effects {
        let end = effect.name.floor_char_boundary(LEARNED_NAME_BYTES_MAX);
        effect.name.truncate(end);
    }
    effects
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::feedback_report::{CalibrationBin, GateStep};
    use meshgate_proto::wire;

    #[test]
    fn whatever_was_learned_is_a_report_that_control_takes() {
        let effect = |log_odds, name: &str| LearnedEffect { name: name.repeat(300), log_odds, answers: 1 };
        let step = |time_ns| GateStep { answers: 1, open: true, evidence_nats: 1.0, time_ns };
        let report = FeedbackReport {
            evidence_nats: f64::NAN,
            long_share: 1.0 + 1e-12,
            brier: Some(f64::INFINITY),
            gate_steps: (0..100).map(step).collect(),
            changes: (0..100).collect(),
            calibration: vec![CalibrationBin { answers: 1, confidence: f64::NAN, accepted: 0.5 }],
            features: vec![effect(f64::NAN, "x"), effect(0.5, "\u{e9}")],
            entities: vec![effect(1.0, "y"); 100],
            ..FeedbackReport::default()
        };
        let bounded = bounded(report);
        assert_eq!((bounded.gate_steps.len(), bounded.gate_steps[0].time_ns), (64, 36), "the newest stay");
        assert_eq!((bounded.features.len(), bounded.features[0].log_odds), (1, 0.5));
        assert_eq!((bounded.brier, bounded.calibration.len(), bounded.entities.len()), (None, 0, 64));
        let message = wire::FeedbackReport::from(bounded.clone());
        assert_eq!(FeedbackReport::try_from(message).unwrap(), bounded);
    }
}
