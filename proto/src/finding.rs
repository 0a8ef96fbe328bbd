//! Findings, both ways.

use crate::wire;
use meshgate_policy::{Finding, Severity};
use wire::finding::Severity as WireSeverity;

impl From<Finding> for wire::Finding {
    fn from(finding: Finding) -> Self {
        let Finding { severity, topic, subject, text, cure } = finding;
        let severity = match severity {
            Severity::Ok => WireSeverity::Ok,
            Severity::Hint => WireSeverity::Hint,
            Severity::Problem => WireSeverity::Problem,
        };
        Self { severity: severity.into(), topic, subject, text, cure }
    }
}

/// Cannot fail: what one host says wrongly must not hide what the others say. A severity that this program does not know
/// is a hint, so that a person looks at it.
impl From<wire::Finding> for Finding {
    fn from(message: wire::Finding) -> Self {
        let wire::Finding { severity, topic, subject, text, cure } = message;
        let severity = match WireSeverity::try_from(severity) {
            Ok(WireSeverity::Ok) => Severity::Ok,
            Ok(WireSeverity::Problem) => Severity::Problem,
            Ok(WireSeverity::Hint | WireSeverity::Unspecified) | Err(_) => Severity::Hint,
        };
        Self { severity, topic, subject, text, cure }
    }
}
