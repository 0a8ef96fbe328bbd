//! Reports of learners, both ways.

use crate::fault::{At, Problem, WireFault, Within};
use crate::field::{check_finite, check_text, messages};
use crate::wire;
use meshgate_policy::limits::{DROPPED_KINDS_MAX, WORD_BYTES_MAX};
use meshgate_policy::suggestion::Feature;
use meshgate_policy::{FeedbackReport, LearnerLine, LearnerReport, Name};

impl TryFrom<wire::LearnerReport> for LearnerReport {
    type Error = WireFault;
    fn try_from(message: wire::LearnerReport) -> Result<Self, WireFault> {
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
            feedback,
        } = message;
        check_text(&model_version, WORD_BYTES_MAX).at("model_version")?;
        check_finite(training_loss.unwrap_or(0.0)).at("training_loss")?;
        Ok(Self {
            learner: Name::new(&learner).at("learner")?,
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
            drafts_dropped: messages(drafts_dropped, "drafts_dropped", DROPPED_KINDS_MAX, dropped)?,
            decision_sequence,
            uptime_ns,
            feedback: feedback
                .map(|report| FeedbackReport::try_from(report).within("feedback"))
                .transpose()?,
        })
    }
}

fn dropped(message: wire::Feature) -> Result<Feature, WireFault> {
    check_text(&message.name, WORD_BYTES_MAX).at("name")?;
    check_finite(message.value).at("value")?;
    Ok(message.into())
}

impl From<LearnerReport> for wire::LearnerReport {
    fn from(report: LearnerReport) -> Self {
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
            feedback,
        } = report;
        Self {
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
            drafts_dropped: drafts_dropped.into_iter().map(Into::into).collect(),
            decision_sequence,
            uptime_ns,
            feedback: feedback.map(Into::into),
        }
    }
}

impl TryFrom<wire::LearnerEntry> for LearnerLine {
    type Error = WireFault;
    fn try_from(message: wire::LearnerEntry) -> Result<Self, WireFault> {
        let wire::LearnerEntry { report, reported_ns } = message;
        let report = report.ok_or(Problem::Missing).at("report")?;
        Ok(Self { report: LearnerReport::try_from(report).within("report")?, reported_ns })
    }
}

impl From<LearnerLine> for wire::LearnerEntry {
    fn from(line: LearnerLine) -> Self {
        let LearnerLine { report, reported_ns } = line;
        Self { report: Some(report.into()), reported_ns }
    }
}
