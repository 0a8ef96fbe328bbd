//! Reports of learners: what of them control takes.

use super::fault::{exhausted, invalid, refused};
use meshgate_policy::LearnerReport;
use meshgate_proto::{Problem, wire};
use tonic::Status;

/// Returns the report of a message, or which field cannot be used.
pub(super) fn learner_report(message: wire::LearnerReport) -> Result<LearnerReport, Status> {
    let report = LearnerReport::try_from(message).map_err(|fault| match fault.problem {
        Problem::TooMany(..) => exhausted(format!("report.{fault}")),
        _ => refused("report", &fault),
    })?;
    // The store counts in signed numbers.
    if i64::try_from(report.epoch).is_err() {
        return Err(invalid("report.epoch", format!("{} is above {}", report.epoch, i64::MAX)));
    }
    Ok(report)
}
