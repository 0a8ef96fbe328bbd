//! What can be wrong with a message: the path of the field at fault and the reason, in one line.

use meshgate_policy::automatic::SettingsFault;
use meshgate_policy::{
    AddressError, DigestError, L4MatchError, NameError, PortError, ProtocolError, UnknownWord,
};

/// One mistake of a message. Displays as `rules[3].l4.ports[0].first: 70000 is above 65535`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct WireFault {
    /// The field, from the message that was converted down to the value.
    pub path: String,
    /// What is wrong with its value.
    pub problem: Problem,
}

/// What is wrong with the value of a field.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    /// A field that must be present is absent.
    #[error("is missing")]
    Missing,
    /// A number above its limit.
    #[error("{0} is above {1}")]
    Above(u64, u64),
    /// More entries than the limit.
    #[error("{0} entries, at most {1} are possible")]
    TooMany(usize, usize),
    /// A text longer than the limit.
    #[error("{0} bytes, at most {1} are possible")]
    TooLong(usize, usize),
    /// Bytes of a length that the field cannot have; holds the length and what was wanted.
    #[error("{0} bytes where {1} are wanted")]
    Length(usize, &'static str),
    /// A number that names no value of an enumeration, or none that is possible here.
    #[error("{0} is not one of {1}")]
    Enumeration(i32, &'static str),
    /// A number that must not be 0.
    #[error("0 is not a number that control gives")]
    Zero,
    /// A field that control fills in, filled in by somebody else.
    #[error("control gives it, what is submitted has none")]
    Given,
    /// A tenant that does not exist.
    #[error("this version has only \"default\"")]
    Tenant,
    /// A number that is not that of its place in the list; holds both.
    #[error("{0} where {1} is wanted")]
    Place(u32, usize),
    /// Not a finite number; holds it as text.
    #[error("{0} is not a finite number")]
    NotFinite(String),
    /// A number below 0 or above 1 where a share is wanted; holds it as text.
    #[error("{0} is not between 0 and 1")]
    NoShare(String),
    /// A setting out of its range.
    #[error("{} is not between {} and {}", .0.value, .0.least, .0.most)]
    Setting(SettingsFault),
    /// A text that does not go together with another field; holds the text and the field.
    #[error("{0:?} does not go together with {1}")]
    Contradicts(String, &'static str),
    /// An entry that should stand after its predecessor and does not.
    #[error("stands out of order or twice")]
    Order,
    /// A number that another entry has too.
    #[error("{0} occurs twice")]
    Twice(String),
    /// A number of something that is not in the message.
    #[error("no {0} has the number {1}")]
    Unknown(&'static str, u32),
    /// One of two fields that belong together.
    #[error("needs {0} beside it")]
    Needs(&'static str),
    /// Not an IP address; holds the text.
    #[error("{0:?} is not an IP address")]
    IpAddress(String),
    /// A text that is not one of the words of the field; holds the text and the words.
    #[error("{0:?} is not one of {1}")]
    Word(String, &'static str),
    /// A name with a character or length that no name has.
    #[error("{0}")]
    Name(NameError),
    /// A MAC address or prefix that is none.
    #[error("{0}")]
    Address(AddressError),
    /// Ports that are none.
    #[error("{0}")]
    Port(PortError),
    /// A protocol that is none.
    #[error("{0}")]
    Protocol(ProtocolError),
    /// Layer-4 fields that do not go together.
    #[error("{0}")]
    L4(L4MatchError),
    /// Not a digest.
    #[error("{0}")]
    NoDigest(DigestError),
    /// The digest that came with a policy is not the digest of that policy.
    #[error("is not the digest of this policy")]
    Digest,
}

macro_rules! from_error {
    ($($error:ident => $variant:ident),+) => {
        $(impl From<$error> for Problem {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })+
    };
}
from_error!(
    NameError => Name,
    AddressError => Address,
    PortError => Port,
    ProtocolError => Protocol,
    L4MatchError => L4,
    DigestError => NoDigest
);

impl From<UnknownWord> for Problem {
    fn from(UnknownWord { field: _, text, words }: UnknownWord) -> Self {
        Self::Word(text, words)
    }
}

/// Says where a problem or fault is, from the inside outwards.
pub(crate) trait At<T> {
    /// Returns the result with the fault placed in the field.
    fn at(self, field: &str) -> Result<T, WireFault>;
    /// Returns the result with the fault placed in one entry of the list.
    fn at_entry(self, list: &str, index: usize) -> Result<T, WireFault>;
}

impl<T, E: Into<Problem>> At<T> for Result<T, E> {
    fn at(self, field: &str) -> Result<T, WireFault> {
        self.map_err(|problem| WireFault { path: field.to_owned(), problem: problem.into() })
    }

    fn at_entry(self, list: &str, index: usize) -> Result<T, WireFault> {
        self.map_err(|problem| WireFault { path: format!("{list}[{index}]"), problem: problem.into() })
    }
}

/// Says in which field the message of a fault is, from the inside outwards.
pub(crate) trait Within<T> {
    /// Returns the result with the path prefixed by the field.
    fn within(self, field: &str) -> Result<T, WireFault>;
    /// Returns the result with the path prefixed by one entry of the list.
    fn within_entry(self, list: &str, index: usize) -> Result<T, WireFault>;
}

impl<T> Within<T> for Result<T, WireFault> {
    fn within(self, field: &str) -> Result<T, WireFault> {
        self.map_err(|fault| WireFault { path: format!("{field}.{}", fault.path), ..fault })
    }

    fn within_entry(self, list: &str, index: usize) -> Result<T, WireFault> {
        self.map_err(|fault| WireFault { path: format!("{list}[{index}].{}", fault.path), ..fault })
    }
}
