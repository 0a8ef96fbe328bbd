//! What a learner learned from answers, both ways. Numbers are finite, shares are shares, lists and names are bounded.

use crate::fault::{At, Problem, WireFault};
use crate::field::{check_count, check_finite, check_share, check_text, messages};
use crate::wire;
use meshgate_policy::FeedbackReport;
use meshgate_policy::feedback_report::{CalibrationBin, GateStep, LearnedEffect, PrecisionSpan};
use meshgate_policy::limits::{LEARNED_LISTED_MAX, LEARNED_NAME_BYTES_MAX};

impl TryFrom<wire::FeedbackReport> for FeedbackReport {
    type Error = WireFault;
    fn try_from(message: wire::FeedbackReport) -> Result<Self, WireFault> {
        let wire::FeedbackReport {
            answers,
            withdrawn,
            waiting,
            gate_open,
            evidence_nats,
            evidence_needed_nats,
            gate_steps,
            long_share,
            changes,
            calibration,
            calibration_error,
            brier,
            precision,
            features,
            entities,
        } = message;
        check_finite(evidence_nats).at("evidence_nats")?;
        check_finite(evidence_needed_nats).at("evidence_needed_nats")?;
        check_share(long_share).at("long_share")?;
        check_count(&changes, LEARNED_LISTED_MAX).at("changes")?;
        check_share(calibration_error.unwrap_or(0.0)).at("calibration_error")?;
        check_share(brier.unwrap_or(0.0)).at("brier")?;
        Ok(Self {
            answers,
            withdrawn,
            waiting,
            gate_open,
            evidence_nats,
            evidence_needed_nats,
            gate_steps: messages(gate_steps, "gate_steps", LEARNED_LISTED_MAX, gate_step)?,
            long_share,
            changes,
            calibration: messages(calibration, "calibration", LEARNED_LISTED_MAX, bin)?,
            calibration_error,
            brier,
            precision: messages(precision, "precision", LEARNED_LISTED_MAX, precision_span)?,
            features: messages(features, "features", LEARNED_LISTED_MAX, effect)?,
            entities: messages(entities, "entities", LEARNED_LISTED_MAX, effect)?,
        })
    }
}

fn gate_step(message: wire::GateStep) -> Result<GateStep, WireFault> {
    let wire::GateStep { answers, open, evidence_nats, time_ns } = message;
    check_finite(evidence_nats).at("evidence_nats")?;
    let most = i64::MAX.unsigned_abs();
    if time_ns > most {
        return Err(Problem::Above(time_ns, most)).at("time_ns");
    }
    Ok(GateStep { answers, open, evidence_nats, time_ns })
}

fn bin(message: wire::CalibrationBin) -> Result<CalibrationBin, WireFault> {
    let wire::CalibrationBin { answers, confidence, accepted } = message;
    check_share(confidence).at("confidence")?;
    check_share(accepted).at("accepted")?;
    Ok(CalibrationBin { answers, confidence, accepted })
}

fn precision_span(message: wire::PrecisionSpan) -> Result<PrecisionSpan, WireFault> {
    let wire::PrecisionSpan { from_ns, answers, shown, by_static } = message;
    check_share(shown).at("shown")?;
    check_share(by_static).at("by_static")?;
    Ok(PrecisionSpan { from_ns, answers, shown, by_static })
}

fn effect(message: wire::LearnedEffect) -> Result<LearnedEffect, WireFault> {
    let wire::LearnedEffect { name, log_odds, answers } = message;
    check_text(&name, LEARNED_NAME_BYTES_MAX).at("name")?;
    check_finite(log_odds).at("log_odds")?;
    Ok(LearnedEffect { name, log_odds, answers })
}

impl From<FeedbackReport> for wire::FeedbackReport {
    fn from(report: FeedbackReport) -> Self {
        let FeedbackReport {
            answers,
            withdrawn,
            waiting,
            gate_open,
            evidence_nats,
            evidence_needed_nats,
            gate_steps,
            long_share,
            changes,
            calibration,
            calibration_error,
            brier,
            precision,
            features,
            entities,
        } = report;
        Self {
            answers,
            withdrawn,
            waiting,
            gate_open,
            evidence_nats,
            evidence_needed_nats,
            gate_steps: gate_steps.into_iter().map(Into::into).collect(),
            long_share,
            changes,
            calibration: calibration.into_iter().map(Into::into).collect(),
            calibration_error,
            brier,
            precision: precision.into_iter().map(Into::into).collect(),
            features: features.into_iter().map(Into::into).collect(),
            entities: entities.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<GateStep> for wire::GateStep {
    fn from(step: GateStep) -> Self {
        let GateStep { answers, open, evidence_nats, time_ns } = step;
        Self { answers, open, evidence_nats, time_ns }
    }
}

impl From<CalibrationBin> for wire::CalibrationBin {
    fn from(bin: CalibrationBin) -> Self {
        let CalibrationBin { answers, confidence, accepted } = bin;
        Self { answers, confidence, accepted }
    }
}

impl From<PrecisionSpan> for wire::PrecisionSpan {
    fn from(span: PrecisionSpan) -> Self {
        let PrecisionSpan { from_ns, answers, shown, by_static } = span;
        Self { from_ns, answers, shown, by_static }
    }
}

impl From<LearnedEffect> for wire::LearnedEffect {
    fn from(effect: LearnedEffect) -> Self {
        let LearnedEffect { name, log_odds, answers } = effect;
        Self { name, log_odds, answers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> FeedbackReport {
        FeedbackReport {
            answers: 120,
            withdrawn: 2,
            waiting: 3,
            gate_open: true,
            evidence_nats: 4.5,
            evidence_needed_nats: 4.0,
            gate_steps: vec![GateStep { answers: 90, open: true, evidence_nats: 4.1, time_ns: 5 }],
            long_share: 0.75,
            changes: vec![60],
            calibration: vec![CalibrationBin { answers: 24, confidence: 0.9, accepted: 0.875 }],
            calibration_error: Some(0.04),
            brier: Some(0.12),
            precision: vec![PrecisionSpan { from_ns: 1, answers: 20, shown: 0.8, by_static: 0.6 }],
            features: vec![LearnedEffect { name: "novelty".into(), log_odds: -0.4, answers: 120 }],
            entities: vec![LearnedEffect { name: "source web".into(), log_odds: 1.1, answers: 7 }],
        }
    }

    #[test]
    fn a_report_survives_the_wire() {
        assert_eq!(FeedbackReport::try_from(wire::FeedbackReport::from(report())).unwrap(), report());
        let nothing = FeedbackReport::default();
        assert_eq!(FeedbackReport::try_from(wire::FeedbackReport::default()).unwrap(), nothing);
    }

    #[test]
    fn what_is_no_number_no_share_or_too_long_is_named() {
        type Spoil = fn(&mut wire::FeedbackReport);
        let cases: [(Spoil, &str); 8] = [
            (|m| m.evidence_nats = f64::NAN, "evidence_nats: NaN is not a finite number"),
            (|m| m.long_share = 1.5, "long_share: 1.5 is not between 0 and 1"),
            (|m| m.brier = Some(-0.1), "brier: -0.1 is not between 0 and 1"),
            (|m| m.changes = vec![1; 65], "changes: 65 entries, at most 64 are possible"),
            (|m| m.gate_steps[0].time_ns = u64::MAX, "gate_steps[0].time_ns: "),
            (|m| m.calibration[0].accepted = 2.0, "calibration[0].accepted: 2 is not between 0 and 1"),
            (|m| m.features[0].log_odds = f64::INFINITY, "features[0].log_odds: inf is not a finite number"),
            (|m| m.entities[0].name = "x".repeat(257), "entities[0].name: 257 bytes, at most 256 are"),
        ];
        for (spoil, expected) in cases {
            let mut message = wire::FeedbackReport::from(report());
            spoil(&mut message);
            let shown = FeedbackReport::try_from(message).unwrap_err().to_string();
            assert!(shown.starts_with(expected), "{shown}");
        }
    }
}
