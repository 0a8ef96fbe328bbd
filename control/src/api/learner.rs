//! Reports of learners, both ways, with their limits.

use super::fault::{exhausted, invalid};
use super::proposal::feature;
use super::suggestion_message::feature_message;
use crate::inbox::WORD_BYTES_MAX;
use crate::learner::{DROPPED_KINDS_MAX, LearnerLine, LearnerReport};
use meshgate_policy::Name;
use meshgate_proto::wire;
use tonic::Status;

/// Returns the report of a message, or which field cannot be used.
pub(super) fn learner_report(message: wire::LearnerReport) -> Result<LearnerReport, Status> {
    let wire::LearnerReport {
        learner,
        epoch,
        model_version,
        records_read,
        records_lost,
        window_s,
        windows_closed,
        windows_left_out,
        series_live,
        series_left_out,
        training_steps,
        training_loss,
        calibration_scores,
        calibration_scores_needed,
        suggestions_submitted,
        drafts_dropped,
        decision_sequence,
        uptime_ns,
    } = message;
    check_word("report.model_version", &model_version)?;
    if drafts_dropped.len() > DROPPED_KINDS_MAX {
        let (field, count) = ("report.drafts_dropped", drafts_dropped.len());
        return Err(exhausted(format!("{field}: {count} entries, at most {DROPPED_KINDS_MAX} are possible")));
    }
    for (at, dropped) in drafts_dropped.iter().enumerate() {
        check_word(&format!("report.drafts_dropped[{at}].name"), &dropped.name)?;
        check_finite(&format!("report.drafts_dropped[{at}].value"), dropped.value)?;
    }
    check_finite("report.training_loss", training_loss.unwrap_or(0.0))?;
    if i64::try_from(epoch).is_err() {
        return Err(invalid("report.epoch", format!("{epoch} is above {}", i64::MAX)));
    }
    Ok(LearnerReport {
        learner: Name::new(&learner).map_err(|error| invalid("report.learner", error))?,
        epoch,
        model_version,
        records_read,
        records_lost,
        window_s,
        windows_closed,
        windows_left_out,
        series_live,
        series_left_out,
        training_steps,
        training_loss,
        calibration_scores,
        calibration_scores_needed,
        suggestions_submitted,
        drafts_dropped: drafts_dropped.into_iter().map(feature).collect(),
        decision_sequence,
        uptime_ns,
    })
}

/// Returns the message of a learner as it is remembered.
pub(super) fn learner_entry(line: LearnerLine) -> wire::LearnerEntry {
    let LearnerLine { report, reported_ns } = line;
    let LearnerReport {
        learner,
        epoch,
        model_version,
        records_read,
        records_lost,
        window_s,
        windows_closed,
        windows_left_out,
        series_live,
        series_left_out,
        training_steps,
        training_loss,
        calibration_scores,
        calibration_scores_needed,
        suggestions_submitted,
        drafts_dropped,
        decision_sequence,
        uptime_ns,
    } = report;
    let report = wire::LearnerReport {
        learner: learner.to_string(),
        epoch,
        model_version,
        records_read,
        records_lost,
        window_s,
        windows_closed,
        windows_left_out,
        series_live,
        series_left_out,
        training_steps,
        training_loss,
        calibration_scores,
        calibration_scores_needed,
        suggestions_submitted,
        drafts_dropped: drafts_dropped.into_iter().map(feature_message).collect(),
        decision_sequence,
        uptime_ns,
    };
    wire::LearnerEntry { report: Some(report), reported_ns }
}

fn check_word(field: &str, text: &str) -> Result<(), Status> {
    match text.len() {
        bytes if bytes > WORD_BYTES_MAX => {
            Err(invalid(field, format!("{bytes} bytes, at most {WORD_BYTES_MAX} are possible")))
        }
        _ => Ok(()),
    }
}

fn check_finite(field: &str, value: f64) -> Result<(), Status> {
    if value.is_finite() { Ok(()) } else { Err(invalid(field, format!("{value} is not a finite number"))) }
}
