//! Names that people give to groups, endpoints, segments, hosts and tenants.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes of the longest name.
const NAME_BYTES_MAX: usize = 63;

/// A name: 1 to 63 of the characters `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Box<str>);

/// Why a text is not a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a name must not be empty")]
    Empty,
    /// The text is longer than 63 bytes; holds its length.
    #[error("a name has at most {NAME_BYTES_MAX} characters, this one has {0}")]
    TooLong(usize),
    /// The text has a character outside the allowed set; holds the text, shortened, and the character.
    #[error("name {0:?}: character {1:?} is not one of A-Z a-z 0-9 . _ -")]
    BadCharacter(String, char),
}

impl Name {
    /// Returns the name, or why the text is not one.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong(text.chars().count()));
        }
        match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
            Some(bad) => Err(NameError::BadCharacter(text.to_owned(), bad)),
            None => Ok(Self(text.into())),
        }
    }

    /// Returns the name `default`, which the first segment and the first tenant carry.
    pub fn default_name() -> Self {
        Self("default".into())
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_63_allowed_characters_is_accepted() {
        let text = "aZ09._-".repeat(9);
        assert_eq!(Name::new(&text).unwrap().as_str(), text);
    }

    #[test]
    fn an_empty_a_long_and_a_spaced_name_are_refused_by_reason() {
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert_eq!(Name::new(&"x".repeat(64)), Err(NameError::TooLong(64)));
        assert_eq!(Name::new("a b"), Err(NameError::BadCharacter("a b".into(), ' ')));
    }
}
