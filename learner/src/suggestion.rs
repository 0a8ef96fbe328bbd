//! A suggestion: a draft rule with its confidence, its reasons and what it would do. The words that adviser,
//! justification, feedback and the reports share.

use meshgate_policy::{AuthoredRelationship, EffectCounts, PolicyVersion, RuleId};
use serde::{Deserialize, Serialize};

/// What led to a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A pattern that holds: an allow.
    Steady,
    /// Something unusual: a deny.
    Anomaly,
}

/// A number, and how sentences write it.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// What it is, such as `flows` or `p-value`.
    pub name: &'static str,
    /// The number.
    pub value: f64,
    /// Its unit, such as `flows`, `bytes`, `windows`; empty for a plain number.
    pub unit: &'static str,
    /// How sentences write it, such as `1,204` or `p < 0.001`.
    pub text: String,
}

/// Which question a piece of evidence answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// One reason, with the numbers behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// Place within the suggestion, from 1.
    pub number: u32,
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

/// What the ranking saw of a draft.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankFeature {
    /// Name.
    pub name: String,
    /// Value.
    pub value: f64,
}

/// A draft with everything that a person needs to say yes or no.
#[derive(Clone, Debug, PartialEq)]
pub struct Suggestion {
    /// What led to it.
    pub origin: Origin,
    /// The draft; without number.
    pub draft: AuthoredRelationship,
    /// 0 to 1.
    pub confidence: f64,
    /// Share of the flows seen whose verdict or attribution changes, 0 to 1.
    pub relevance: f64,
    /// Place among the drafts of its time, 1 = first.
    pub rank: u32,
    /// Probability with which the ranking put it there; 1 for a ranking without chance.
    pub propensity: f64,
    /// One sentence. Every number in it is the text of a measure of the evidence.
    pub justification: String,
    /// The reasons, numbered from 1.
    pub evidence: Vec<Evidence>,
    /// What the draft would have done to the flows that are remembered.
    pub effect: EffectCounts,
    /// Share of the permitted pairs of addresses and services that were never seen; 0 for a deny.
    pub over_permissiveness: f64,
    /// Broader rules of the other action that it is an exception from.
    pub narrows: Vec<RuleId>,
    /// Rules that would decide nothing any more.
    pub shadows: Vec<RuleId>,
    /// Whether it denies only what the default refuses already.
    pub makes_explicit: bool,
    /// What the ranking saw.
    pub features: Vec<RankFeature>,
    /// The version it was drafted against.
    pub base_version: PolicyVersion,
    /// Version of the network that judged; empty before there was one.
    pub model_version: String,
    /// End of the window that led to it, nanoseconds since 1970.
    pub window_end_ns: u64,
}

/// What a draft says, without priority, mode and note: drafts with the same key are the same draft.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DraftKey {
    /// Source group.
    pub source: String,
    /// Destination group.
    pub destination: String,
    /// Protocol, ports, ICMP type and code, as policy files write them.
    pub service: String,
    /// Action.
    pub action: String,
}

impl DraftKey {
    /// Returns the key of a draft.
    pub fn of(draft: &AuthoredRelationship) -> Self {
        let number = |number: Option<u8>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        Self {
            source: draft.source_group_name.to_string(),
            destination: draft.destination_group_name.to_string(),
            service: format!(
                "{} {} {} {}",
                draft.protocol,
                draft.port_range,
                number(draft.icmp_type),
                number(draft.icmp_code)
            ),
            action: draft.action.to_string(),
        }
    }
}
