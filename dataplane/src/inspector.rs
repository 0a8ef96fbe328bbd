//! Answers control's questions about this host: findings, captures, what it counts.
//!
//! It has a connection of its own, apart from the one that brings policies, and each capture one more: a reader that
//! stalls fills the window of its connection and no other. Everything it looks at is made to be looked at from beside
//! the workers.

mod client;

use crate::inside::Inside;

/// Answers questions about a running dataplane.
pub struct Inspector {
    inside: Inside,
}

impl Inspector {
    /// Returns an inspector that is not connected yet.
    pub fn new(inside: Inside) -> Self {
        Self { inside }
    }
}
