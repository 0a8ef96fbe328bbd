//! Suggestions: what a learner drafts and why, and what a person decides about it.

mod proposal;

pub use proposal::{Alternative, Proposal};

use crate::effect::EffectCounts;
use crate::ids::{PolicyVersion, RuleId};
use crate::name::Name;
use crate::rule::{UnknownWord, words};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// What led to a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Origin {
    /// A pattern that holds: an allow.
    Steady,
    /// Something unusual: a deny.
    Anomaly,
}
words!(Origin, "origin", "steady, anomaly", Steady = "steady", Anomaly = "anomaly");

/// Which question a piece of evidence answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EvidenceKind {
    /// How much?
    Volume,
    /// Did the other side answer?
    Answers,
    /// How much was refused?
    Refusals,
    /// What had never been seen before?
    Novelty,
    /// What did the model expect?
    Surprise,
    /// For how long?
    Span,
}
words!(
    EvidenceKind,
    "kind",
    "volume, answers, refusals, novelty, surprise, span",
    Volume = "volume",
    Answers = "answers",
    Refusals = "refusals",
    Novelty = "novelty",
    Surprise = "surprise",
    Span = "span"
);

/// A number, and how sentences write it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// What it is, such as `flows` or `p-value`.
    pub name: String,
    /// The number.
    pub value: f64,
    /// Its unit, such as `flows`, `bytes`, `windows`; empty for a plain number.
    pub unit: String,
    /// How sentences write it, such as `1,204` or `p < 0.001`.
    pub text: String,
}

/// One reason, with the numbers behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Kind.
    pub kind: EvidenceKind,
    /// In words. Every number in it is the text of a measure.
    pub sentence: String,
    /// The numbers.
    pub measures: Vec<Measure>,
    /// Start of the span that was looked at, nanoseconds since 1970.
    pub from_ns: u64,
    /// Its end.
    pub until_ns: u64,
}

/// A number by its name: what the ranking saw of a draft, or how many drafts were dropped for a reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// Name.
    pub name: String,
    /// Value.
    pub value: f64,
}

/// A draft with everything that a person needs to say yes or no.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suggestion {
    /// What led to it.
    pub origin: Origin,
    /// The draft; without number.
    pub draft: Proposal,
    /// Other widths of it, narrow to wide.
    pub alternatives: Vec<Alternative>,
    /// 0 to 1.
    pub confidence: f64,
    /// Share of the flows seen whose verdict or attribution would change, 0 to 1.
    pub relevance: f64,
    /// Place among the drafts of its time, 1 = first.
    pub rank: u32,
    /// Probability with which the ranking put it there; 1 for a ranking without chance.
    pub propensity: f64,
    /// One sentence. Every number in it is the text of a measure of the evidence.
    pub justification: String,
    /// The reasons; the first one is number 1.
    #[serde(serialize_with = "numbered")]
    pub evidence: Vec<Evidence>,
    /// What the draft would have done to the flows that the learner remembers.
    pub effect: EffectCounts,
    /// Share of the permitted pairs of addresses and services that were never seen, 0 to 1; 0 for a deny.
    pub over_permissiveness: f64,
    /// Broader rules of the other action that the draft is an exception from.
    pub narrows: Vec<RuleId>,
    /// Rules that would decide nothing any more.
    pub shadows: Vec<RuleId>,
    /// Whether the draft denies only what the default refuses already.
    pub makes_explicit: bool,
    /// What the ranking saw.
    pub features: Vec<Feature>,
    /// The version it was drafted against.
    pub base_version: PolicyVersion,
    /// Version of the network that judged; empty before there was one.
    pub model_version: String,
    /// End of the window that led to it, nanoseconds since 1970.
    pub window_end_ns: u64,
    /// When it expires unless somebody answers, nanoseconds since 1970; 0 = never.
    pub expires_ns: u64,
}

impl Suggestion {
    /// Returns whether its time is up.
    pub fn is_overdue(&self, now_ns: u64) -> bool {
        self.expires_ns != 0 && self.expires_ns <= now_ns
    }
}

/// Writes each reason with its number.
fn numbered<S: Serializer>(evidence: &[Evidence], to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Numbered<'a> {
        number: u32,
        #[serde(flatten)]
        evidence: &'a Evidence,
    }
    to.collect_seq((1..).zip(evidence).map(|(number, evidence)| Numbered { number, evidence }))
}

/// A suggestion that control took in.
#[derive(Clone, Debug, PartialEq)]
pub struct FiledSuggestion {
    /// Number, from 1.
    pub id: u64,
    /// The learner.
    pub learner: Name,
    /// When it was taken in, nanoseconds since 1970.
    pub submitted_ns: u64,
    /// What was handed in; of a list it is without evidence and features.
    pub suggestion: Suggestion,
    /// What was decided; none while it is open.
    pub decision: Option<Decision>,
}

impl FiledSuggestion {
    /// Returns where it stands.
    pub fn state(&self) -> State {
        self.decision.as_ref().map_or(State::Open, |decision| decision.verdict.state())
    }
}

/// Where a suggestion stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum State {
    /// Nobody has decided yet.
    Open,
    /// The draft became part of the policy as it was.
    Accepted,
    /// The draft became part of the policy in another form.
    Edited,
    /// It was refused.
    Rejected,
    /// Its time was up before anybody answered.
    Expired,
}
words!(
    State,
    "state",
    "open, accepted, edited, rejected, expired",
    Open = "open",
    Accepted = "accepted",
    Edited = "edited",
    Rejected = "rejected",
    Expired = "expired"
);

/// Why a draft is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Reason {
    /// What was seen is nothing unusual.
    WrongAnomaly,
    /// What was seen is unusual, and the rule is not the answer to it.
    WrongRule,
    /// The rule covers more than what was seen.
    TooBroad,
    /// Not today; it may be suggested again after a rest.
    Later,
}
words!(
    Reason,
    "reason",
    "wrong-anomaly, wrong-rule, too-broad, later",
    WrongAnomaly = "wrong-anomaly",
    WrongRule = "wrong-rule",
    TooBroad = "too-broad",
    Later = "later"
);

/// How a suggestion was closed: by what a person decided, or because its time was up.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Counts decisions, from 1 without gaps.
    pub sequence: u64,
    /// Number of the suggestion.
    pub suggestion: u64,
    /// What was decided.
    pub verdict: Verdict,
    /// What the person said.
    pub comment: String,
    /// Who decided.
    pub actor: String,
    /// When, nanoseconds since 1970.
    pub time_ns: u64,
    /// Whether control accepted it under its own role. Nobody learns from such a decision.
    pub automatic: bool,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The draft became part of the policy.
    Accepted {
        /// Whether it differs from the draft in more than the note.
        edited: bool,
        /// The version it became part of.
        version: PolicyVersion,
        /// What was committed.
        made: Proposal,
    },
    /// It was refused.
    Rejected(Reason),
    /// Nobody answered in time. That is no answer: the same may be suggested again.
    Expired,
}

impl Verdict {
    /// Returns where the verdict leaves a suggestion.
    pub fn state(&self) -> State {
        match self {
            Self::Accepted { edited: false, .. } => State::Accepted,
            Self::Accepted { edited: true, .. } => State::Edited,
            Self::Rejected(_) => State::Rejected,
            Self::Expired => State::Expired,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_as_it_is_written() {
        for state in [State::Open, State::Accepted, State::Edited, State::Rejected, State::Expired] {
            assert_eq!(state.word().parse(), Ok(state));
        }
        let refusal = "never".parse::<Reason>().unwrap_err().to_string();
        assert_eq!(refusal, "reason: \"never\" is not one of wrong-anomaly, wrong-rule, too-broad, later");
    }
}
