//! What the control plane answers about suggestions and learners, in this program's own types. Their JSON form is kept
//! stable like that of `answers`.

use crate::answers::{Committed, Digest};
use meshgate_policy::AuthoredRelationship;
use serde::Serialize;

/// A draft rule with its reasons.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suggestion {
    /// Number.
    pub id: u64,
    /// The learner that made it.
    pub learner: String,
    /// "open", "accepted", "edited", "rejected".
    pub state: String,
    /// "steady" or "anomaly".
    pub origin: String,
    /// The draft.
    pub draft: AuthoredRelationship,
    /// 0 to 1.
    pub confidence: f64,
    /// Share of the flows seen whose verdict or attribution would change, 0 to 1.
    pub relevance: f64,
    /// Place among the drafts of its time, 1 = first.
    pub rank: u32,
    /// Probability with which the ranking put it there.
    pub propensity: f64,
    /// One sentence.
    pub justification: String,
    /// The reasons; empty in a list.
    pub evidence: Vec<Evidence>,
    /// What the draft would have done to the flows that the learner remembers.
    pub effect: DraftEffect,
    /// Share of the permitted pairs of addresses and services that were never seen.
    pub over_permissiveness: f64,
    /// Broader rules of the other action that it is an exception from.
    pub narrows: Vec<u32>,
    /// Rules that would decide nothing any more.
    pub shadows: Vec<u32>,
    /// Whether it denies what only the default refuses already.
    pub makes_explicit: bool,
    /// What the ranking saw; empty in a list.
    pub features: Vec<Feature>,
    /// The version it was drafted against.
    pub base_version: u64,
    /// Version of the learner's model.
    pub model_version: String,
    /// End of the window that led to it, nanoseconds since 1970.
    pub window_end_ns: u64,
    /// When it came in, nanoseconds since 1970.
    pub submitted_ns: u64,
    /// What was decided; null while it is open.
    pub decision: Option<Decision>,
}

/// One reason, with the numbers behind it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// Place, from 1.
    pub number: u32,
    /// "volume", "answers" and so on.
    pub kind: String,
    /// In words.
    pub sentence: String,
    /// The numbers.
    pub measures: Vec<Measure>,
    /// Start of the span that was looked at, nanoseconds since 1970.
    pub from_ns: u64,
    /// Its end.
    pub until_ns: u64,
}

/// A number, and how sentences write it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measure {
    /// Name.
    pub name: String,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// How sentences write it.
    pub text: String,
}

/// What the ranking saw, or how many drafts were dropped.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Feature {
    /// Name.
    pub name: String,
    /// Value.
    pub value: f64,
}

/// What a draft does to flows that were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DraftEffect {
    /// All flows.
    pub flows_seen: u64,
    /// Flows that the draft matches.
    pub flows_matched: u64,
    /// Flows that were refused and would pass.
    pub flows_newly_allowed: u64,
    /// Flows that passed and would be refused.
    pub flows_newly_denied: u64,
    /// Flows that keep their verdict and would owe it to the draft.
    pub flows_attributed: u64,
}

/// What was decided about a suggestion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Place among all decisions.
    pub sequence: u64,
    /// "accepted", "edited", "rejected".
    pub verdict: String,
    /// Of a rejection: "wrong-anomaly", "wrong-rule", "too-broad", "later".
    pub reason: String,
    /// What the person said.
    pub comment: String,
    /// Who.
    pub actor: String,
    /// When, nanoseconds since 1970.
    pub time_ns: u64,
    /// The version it made; 0 for a rejection.
    pub version: u64,
    /// The relationship as it was committed; null for a rejection.
    pub relationship: Option<AuthoredRelationship>,
}

/// A suggestion of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed {
    /// The suggestion.
    #[serde(flatten)]
    pub suggestion: Suggestion,
    /// Why accepting it as it is would be refused; empty when it would do.
    pub obstacle: String,
}

/// A list.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Suggestions {
    /// The suggestions.
    pub suggestions: Vec<Listed>,
    /// Suggestions that the limit left out.
    pub left_out: u32,
}

/// A suggestion with everything that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// The suggestion.
    pub suggestion: Suggestion,
    /// Why accepting it as it is would be refused; empty when it would do.
    pub obstacle: String,
    /// The draft replayed against the control plane's roll-ups of the last seven days, where that makes sense.
    pub effect: Option<DraftEffect>,
    /// The version that obstacle and effect speak of.
    pub version: u64,
    /// The rules that it narrows or shadows, in words.
    pub rules: Vec<RuleWords>,
}

/// A rule in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleWords {
    /// Number.
    pub rule: u32,
    /// The rule in words.
    pub summary: String,
}

/// The result of an acceptance: a write, and the decision behind it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accepted {
    /// The write.
    #[serde(flatten)]
    pub committed: Committed,
    /// The decision.
    pub decision: Decision,
}

impl Accepted {
    /// Returns the result of an acceptance as a write that made one relationship.
    pub fn new(decision: Decision, digest: Digest, committed_ns: u64) -> Self {
        let made = decision.relationship.as_ref().and_then(|relationship| relationship.id);
        let created_ids = made.map(|id| id.0).into_iter().collect();
        let version = decision.version;
        Self { committed: Committed { version, digest, changed: true, created_ids, committed_ns }, decision }
    }
}

/// The result of a rejection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rejected {
    /// The decision.
    pub decision: Decision,
}

/// Every learner that has reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Learners {
    /// The learners by name.
    pub learners: Vec<Learner>,
}

/// One learner: its newest report.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Learner {
    /// Name.
    pub learner: String,
    /// When it reported, nanoseconds since 1970.
    pub reported_ns: u64,
    /// Its start.
    pub epoch: u64,
    /// Version of its model.
    pub model_version: String,
    /// Flow records read.
    pub records_read: u64,
    /// Flow records that never arrived.
    pub records_lost: u64,
    /// Width of a window in seconds.
    pub window_s: u32,
    /// Windows that were worked on.
    pub windows_closed: u64,
    /// Windows that came too fast.
    pub windows_left_out: u64,
    /// Series that are followed.
    pub series_live: u64,
    /// Series for which there was no room.
    pub series_left_out: u64,
    /// Steps of training.
    pub training_steps: u64,
    /// Mean loss of the last steps, in nats a series and window; null before the first.
    pub training_loss: Option<f64>,
    /// Scores that calibration rests on.
    pub calibration_scores: u64,
    /// Scores that it needs.
    pub calibration_scores_needed: u64,
    /// Drafts handed in.
    pub suggestions_submitted: u64,
    /// Drafts dropped, by reason.
    pub drafts_dropped: Vec<Feature>,
    /// The last decision that it has taken in.
    pub decision_sequence: u64,
    /// Since its start.
    pub uptime_ns: u64,
}
