//! What a simulated administrator lives in: days with suggestions, and for each whether it is right.

use crate::feedback::level::Seen;

/// A suggestion of a day, and the truth about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What the ranking sees.
    pub seen: Seen,
    /// Whether a person who is right says yes.
    pub is_right: bool,
    /// Whether a no means that nothing is unusual there, rather than that the rule is the wrong one.
    pub is_of_situation: bool,
}

/// Days in order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// Name, as reports write it.
    pub name: &'static str,
    /// Days before the first answer: nobody knows what is right there.
    pub before: Vec<Vec<Seen>>,
    /// Days with answers.
    pub days: Vec<Vec<Case>>,
}
