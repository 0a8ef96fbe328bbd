//! What is good and bad at a host: what `doctor` says, whoever looked.

use crate::rule::{UnknownWord, words};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It could be better.
    Hint,
    /// Something does not work, or loses packets.
    Problem,
}
words!(Severity, "severity", "ok, hint, problem", Ok = "ok", Hint = "hint", Problem = "problem");

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of thing: `kernel`, `processor`, `device` and so on.
    pub topic: String,
    /// Which one: a device, a processor, a counter; empty = the host.
    pub subject: String,
    /// What was found, in one line.
    pub text: String,
    /// What to do; empty if there is nothing to do.
    pub cure: String,
}

impl Finding {
    /// Returns a finding about the host.
    pub fn new(
        severity: Severity,
        topic: impl Into<String>,
        text: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        let (topic, text, cure) = (topic.into(), text.into(), cure.into());
        Self { severity, topic, subject: String::new(), text, cure }
    }

    /// Returns the finding that something is as it should be.
    pub fn ok(topic: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Severity::Ok, topic, text, "")
    }

    /// Returns the finding that something could be better.
    pub fn hint(topic: impl Into<String>, text: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::new(Severity::Hint, topic, text, cure)
    }

    /// Returns the finding that something does not work.
    pub fn problem(topic: impl Into<String>, text: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::new(Severity::Problem, topic, text, cure)
    }

    /// Returns the finding as one about one thing of the host.
    #[must_use]
    pub fn of(self, subject: &str) -> Self {
        Self { subject: subject.to_owned(), ..self }
    }
}
