//! An answer to a suggestion that was taken back.

use crate::ids::PolicyVersion;
use serde::Serialize;

/// What a person, or control for its own acceptances, took back. The suggestion is open again since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Withdrawal {
    /// Its place among the decisions of the tenant: one sequence counts both.
    pub sequence: u64,
    /// Number of the suggestion.
    pub suggestion: u64,
    /// The sequence of the decision that it takes back.
    pub decision: u64,
    /// What was said.
    pub comment: String,
    /// Who took it back.
    pub actor: String,
    /// When, nanoseconds since 1970.
    pub time_ns: u64,
    /// The version without the relationship that the acceptance had made; none where a rejection was taken back.
    pub version: Option<PolicyVersion>,
}
