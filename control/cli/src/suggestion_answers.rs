//! What the control plane answers about suggestions and learners. The JSON form of it is kept stable like that of
//! `answers`.

use crate::answers::{Committed, Digest};
use meshgate_policy::automatic::AutomaticRun;
use meshgate_policy::suggestion::{Decision, FiledSuggestion, Proposal, State, Suggestion, Verdict};
use meshgate_policy::{EffectCounts, FeedbackReport, LearnerLine, Name, Withdrawal};
use serde::{Serialize, Serializer};

/// A suggestion of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed {
    /// The suggestion.
    #[serde(flatten, serialize_with = "filed_form")]
    pub filed: FiledSuggestion,
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
    #[serde(rename = "suggestion", serialize_with = "filed_form")]
    pub filed: FiledSuggestion,
    /// Why accepting it as it is would be refused; empty when it would do.
    pub obstacle: String,
    /// The draft replayed against the control plane's roll-ups of the last seven days, where that makes sense.
    pub effect: Option<EffectCounts>,
    /// The version that obstacle and effect speak of.
    pub version: u64,
    /// The rules that it narrows or shadows, in words.
    pub rules: Vec<RuleWords>,
    /// Answers to it that were taken back, oldest first.
    pub withdrawals: Vec<Withdrawal>,
    /// Its automatic acceptance, if there was one.
    pub automatic: Option<AutomaticRun>,
    /// Why the control plane does not accept it by itself, where its kind is switched on; empty otherwise.
    pub left_to_people: String,
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
    #[serde(serialize_with = "decision_form")]
    pub decision: Decision,
}

impl Accepted {
    /// Returns the result of an acceptance as a write that made at most one rule.
    pub fn new(decision: Decision, digest: Digest, committed_ns: u64) -> Self {
        let (version, made) = match &decision.verdict {
            Verdict::Accepted { edited: _, version, made } => (version.0, made.rule_id()),
            Verdict::Rejected(_) | Verdict::Expired => (0, None),
        };
        let created_ids = made.map(|id| id.0).into_iter().collect();
        Self { committed: Committed { version, digest, changed: true, created_ids, committed_ns }, decision }
    }
}

/// The result of a rejection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rejected {
    /// The decision.
    #[serde(serialize_with = "decision_form")]
    pub decision: Decision,
}

/// An answer taken back.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Withdrawn {
    /// The withdrawal.
    pub withdrawal: Withdrawal,
    /// Digest of the version without the relationship; empty where the policy stays as it is.
    pub digest: Digest,
}

/// What one learner learned from answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Learned {
    /// The learner.
    pub learner: Name,
    /// When it reported, nanoseconds since 1970.
    pub reported_ns: u64,
    /// What it learned; none if it does not say.
    pub feedback: Option<FeedbackReport>,
}

/// What every learner learned from answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AllLearned {
    /// The learners by name.
    pub learners: Vec<Learned>,
}

/// Every learner that has reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Learners {
    /// The learners by name.
    pub learners: Vec<LearnerLine>,
}

/// Writes a suggestion, what was handed in and what control added side by side.
fn filed_form<S: Serializer>(filed: &FiledSuggestion, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Form<'a> {
        id: u64,
        learner: &'a Name,
        state: State,
        #[serde(flatten)]
        suggestion: &'a Suggestion,
        submitted_ns: u64,
        decision: Option<DecisionForm<'a>>,
    }
    let FiledSuggestion { id, learner, submitted_ns, suggestion, decision } = filed;
    let (state, decision) = (filed.state(), decision.as_ref().map(DecisionForm::of));
    Form { id: *id, learner, state, suggestion, submitted_ns: *submitted_ns, decision }.serialize(to)
}

fn decision_form<S: Serializer>(decision: &Decision, to: S) -> Result<S::Ok, S::Error> {
    DecisionForm::of(decision).serialize(to)
}

/// A decision with all fields side by side; those that a verdict does not have are empty.
#[derive(Serialize)]
struct DecisionForm<'a> {
    sequence: u64,
    verdict: State,
    reason: &'static str,
    comment: &'a str,
    actor: &'a str,
    time_ns: u64,
    version: u64,
    made: Option<&'a Proposal>,
    automatic: bool,
}

impl<'a> DecisionForm<'a> {
    fn of(decision: &'a Decision) -> Self {
        let Decision { sequence, suggestion: _, verdict, comment, actor, time_ns, automatic } = decision;
        let (reason, version, made) = match verdict {
            Verdict::Accepted { edited: _, version, made } => ("", version.0, Some(made)),
            Verdict::Rejected(reason) => (reason.word(), 0, None),
            Verdict::Expired => ("", 0, None),
        };
        let (sequence, verdict, time_ns, automatic) = (*sequence, verdict.state(), *time_ns, *automatic);
        Self { sequence, verdict, reason, comment, actor, time_ns, version, made, automatic }
    }
}
