//! Suggestions: what a learner proposes, and what a person decides about it. Plain values; the inbox judges them, the
//! store keeps them.

use meshgate_policy::{AuthoredRelationship, EffectCounts, Name, PolicyVersion, RuleId, UnknownWord};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! words {
    ($name:ident, $field:literal, $words:literal, $($variant:ident = $word:literal),+) => {
        impl $name {
            /// Returns the word for it.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }
        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { field: $field, text: text.to_owned(), words: $words }),
                }
            }
        }
    };
}

/// Where a suggestion stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has decided yet.
    Open,
    /// The draft became a relationship as it was.
    Accepted,
    /// The draft became a relationship in another form.
    Edited,
    /// It was refused.
    Rejected,
}
words!(
    State,
    "state",
    "open, accepted, edited, rejected",
    Open = "open",
    Accepted = "accepted",
    Edited = "edited",
    Rejected = "rejected"
);

/// What led to a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A pattern that holds.
    Steady,
    /// Something unusual.
    Anomaly,
}
words!(Origin, "origin", "steady, anomaly", Steady = "steady", Anomaly = "anomaly");

/// Why a draft is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What was seen is nothing unusual.
    WrongAnomaly,
    /// What was seen is unusual, and the rule is not the answer to it.
    WrongRule,
    /// The rule covers more than what was seen.
    TooBroad,
    /// Not today; it may be proposed again after [`crate::inbox::LATER_RESTS_S`].
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

/// Which question a piece of evidence answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
    /// What it is.
    pub name: String,
    /// The number.
    #[serde(with = "exact")]
    pub value: f64,
    /// Its unit; empty for a plain number.
    pub unit: String,
    /// How sentences write it.
    pub text: String,
}

/// One reason of a proposal, with the numbers behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Kind.
    pub kind: EvidenceKind,
    /// In words.
    pub sentence: String,
    /// The numbers.
    pub measures: Vec<Measure>,
    /// Start of the span that was looked at, nanoseconds since 1970.
    pub from_ns: u64,
    /// Its end.
    pub until_ns: u64,
}

/// What the ranking saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// Name.
    pub name: String,
    /// Value.
    #[serde(with = "exact")]
    pub value: f64,
}

/// What a learner hands in: a draft rule with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// What led to it.
    pub origin: Origin,
    /// The draft; without number.
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
    /// The reasons; the first one is number 1.
    pub evidence: Vec<Evidence>,
    /// What the draft would have done to the flows that the learner remembers.
    pub effect: EffectCounts,
    /// Share of the permitted pairs of addresses and services that were never seen, 0 to 1.
    pub over_permissiveness: f64,
    /// Broader rules of the other action that the draft is an exception from.
    pub narrows: Vec<RuleId>,
    /// Rules that would decide nothing any more.
    pub shadows: Vec<RuleId>,
    /// Whether the draft denies what only the default refuses already.
    pub makes_explicit: bool,
    /// What the ranking saw.
    pub features: Vec<Feature>,
    /// The version it was drafted against.
    pub base_version: PolicyVersion,
    /// Version of the learner's model.
    pub model_version: String,
    /// End of the window that led to it, nanoseconds since 1970.
    pub window_end_ns: u64,
}

/// A proposal that was taken in.
#[derive(Clone, Debug, PartialEq)]
pub struct Suggestion {
    /// Number, from 1.
    pub id: u64,
    /// The learner.
    pub learner: Name,
    /// When it was taken in, nanoseconds since 1970.
    pub submitted_ns: u64,
    /// What was handed in.
    pub proposal: Proposal,
    /// What was decided; none while it is open.
    pub decision: Option<Decision>,
}

/// What a person decided about a suggestion.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Counts decisions, from 1 without gaps.
    pub sequence: u64,
    /// The suggestion.
    pub suggestion: u64,
    /// What was decided.
    pub verdict: Verdict,
    /// What the person said.
    pub comment: String,
    /// Who decided.
    pub actor: String,
    /// When, nanoseconds since 1970.
    pub time_ns: u64,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The draft became a relationship.
    Accepted {
        /// Whether it differs from the draft in more than the note.
        edited: bool,
        /// The version it became part of.
        version: PolicyVersion,
        /// The relationship as it was committed.
        relationship: AuthoredRelationship,
    },
    /// It was refused.
    Rejected(Reason),
}

impl Verdict {
    /// Returns where the verdict leaves a suggestion.
    pub fn state(&self) -> State {
        match self {
            Self::Accepted { edited: false, .. } => State::Accepted,
            Self::Accepted { edited: true, .. } => State::Edited,
            Self::Rejected(_) => State::Rejected,
        }
    }
}

impl Suggestion {
    /// Returns where it stands.
    pub fn state(&self) -> State {
        self.decision.as_ref().map_or(State::Open, |decision| decision.verdict.state())
    }
}

/// What a draft says, without priority, mode and note: drafts with the same key are the same draft.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DraftKey(String);

impl DraftKey {
    /// Returns the key of a draft.
    pub fn of(draft: &AuthoredRelationship) -> Self {
        let AuthoredRelationship { source_group_name, destination_group_name, protocol, .. } = draft;
        let number = |number: Option<u8>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let ports = if draft.port_range.is_all() { "*".to_owned() } else { draft.port_range.to_string() };
        Self(format!(
            "{} {source_group_name} {destination_group_name} {protocol} {ports} {} {}",
            draft.action,
            number(draft.icmp_type),
            number(draft.icmp_code)
        ))
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Writes a fraction as text: JSON's own numbers may read back to a neighbour of what was written.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(text: &str) -> AuthoredRelationship {
        let sides = "source_group_name = 'a'\ndestination_group_name = 'b'\naction = 'allow'";
        toml::from_str(&format!("{sides}\n{text}")).unwrap()
    }

    #[test]
    fn priority_and_note_do_not_make_another_draft() {
        let one = draft("protocol = 'TCP'\nport_range = '80,443'");
        let same = draft("protocol = '6'\nport_range = '443,80'\npriority = 7\nnote = 'n'");
        assert_eq!(DraftKey::of(&one), DraftKey::of(&same));
        for other in
            ["protocol = 'TCP'\nport_range = '80'", "protocol = 'TCP'", "protocol = 'ICMP'\nicmp_type = 8"]
        {
            assert_ne!(DraftKey::of(&one), DraftKey::of(&draft(other)), "{other}");
        }
    }

    #[test]
    fn fractions_read_back_to_the_last_bit() {
        for value in [0.1 + 0.2, f64::MIN_POSITIVE, 1e300, -0.0, 2.0_f64.sqrt()] {
            let written = serde_json::to_string(&Feature { name: "x".into(), value }).unwrap();
            let read: Feature = serde_json::from_str(&written).unwrap();
            assert_eq!(read.value.to_bits(), value.to_bits(), "{written}");
        }
    }

    #[test]
    fn every_word_is_read_as_it_is_written() {
        for state in [State::Open, State::Accepted, State::Edited, State::Rejected] {
            assert_eq!(state.word().parse(), Ok(state));
        }
        let refusal = "never".parse::<Reason>().unwrap_err().to_string();
        assert_eq!(refusal, "reason: \"never\" is not one of wrong-anomaly, wrong-rule, too-broad, later");
    }
}
