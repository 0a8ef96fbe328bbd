//! Rules as the dataplane judges by them: numbers, in one total order.

use crate::address::Prefix;
use crate::ids::{GroupId, RuleId};
use crate::protocol::L4Match;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

/// A text that is not one of the words of a field. Names the field, holds the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {text:?} is not one of {words}")]
pub struct UnknownWord {
    /// The field.
    pub field: &'static str,
    /// What was written.
    pub text: String,
    /// What may be written.
    pub words: &'static str,
}

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
                match text.to_ascii_lowercase().as_str() {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { field: $field, text: text.to_owned(), words: $words }),
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = UnknownWord;
            fn try_from(text: String) -> Result<Self, UnknownWord> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.to_string()
            }
        }
    };
}
pub(crate) use words;

/// What happens to a packet that a rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Action {
    /// The packet passes.
    Allow,
    /// The packet is dropped silently.
    Deny,
    /// The packet is dropped and its sender told: TCP reset, else ICMP prohibited.
    Reject,
}
words!(Action, "action", "allow, deny, reject", Allow = "allow", Deny = "deny", Reject = "reject");

impl Action {
    /// Returns whether the packet passes.
    pub fn is_allow(self) -> bool {
        self == Self::Allow
    }
}

/// Whether a rule decides, only reports, or sleeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Mode {
    /// The rule decides.
    #[default]
    Enforce,
    /// The rule only reports what it would have decided.
    Shadow,
    /// The rule is kept, and does nothing.
    Disabled,
}
words!(
    Mode,
    "mode",
    "enforce, shadow, disabled",
    Enforce = "enforce",
    Shadow = "shadow",
    Disabled = "disabled"
);

/// Priority of a rule: larger wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Priority(pub u16);

impl Default for Priority {
    fn default() -> Self {
        Self(1_000)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of the two kinds a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleKind {
    /// Between two groups. Goes before a group rule of equal priority and action.
    Relationship,
    /// Between a group and addresses.
    GroupRule,
}

/// One side of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Addresses that are in the group; [`GroupId::ANY`] for every address.
    Group(GroupId),
    /// Addresses that lie in one of the prefixes, in every segment. Never empty.
    Prefixes(Vec<Prefix>),
}

/// A rule whose mode is not `disabled`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Number, never reused.
    pub id: RuleId,
    /// Kind.
    pub kind: RuleKind,
    /// Priority, larger wins.
    pub priority: Priority,
    /// Action.
    pub action: Action,
    /// Whether the rule only reports. False: it decides.
    pub shadow: bool,
    /// Source side of the flow's first packet.
    pub source: Side,
    /// Destination side of the flow's first packet.
    pub destination: Side,
    /// Protocol, destination port, ICMP type and code.
    pub l4: L4Match,
}

/// The sort key of the one list of rules: smaller goes first and the first match decides.
pub type RuleOrder = (Reverse<Priority>, bool, RuleKind, RuleId);

impl Rule {
    /// Returns the place of the rule: larger priority first, then deny and reject before allow, then relationships
    /// before group rules, then the lower number.
    pub fn order(&self) -> RuleOrder {
        (Reverse(self.priority), self.action.is_allow(), self.kind, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_any_case_and_refused_by_field() {
        assert_eq!("ALLOW".parse::<Action>().unwrap(), Action::Allow);
        let error = "permit".parse::<Action>().unwrap_err().to_string();
        assert_eq!(error, "action: \"permit\" is not one of allow, deny, reject");
    }
}
