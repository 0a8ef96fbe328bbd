//! No version is kept that a host could not enforce: it is compiled here first, by what hosts compile it with.

use crate::policy_book::{BookFault, NextState};
use meshgate_classifier::Compiler;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Compiles what is about to become a version. Only writers ask, one at a time, so that nobody waits for the lock.
#[derive(Clone, Default)]
pub(super) struct Trial(Arc<Mutex<Compiler>>);

impl Trial {
    /// Refuses a version beyond a limit of the classifier. Takes as long as a host takes: some milliseconds, a quarter of a
    /// second with 100,000 endpoints.
    pub(super) fn compile(&self, next: &NextState) -> Result<(), BookFault> {
        if next.changed {
            // What a panic left behind is at worst nothing kept, and then the next version is compiled from the beginning.
            let mut compiler = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            compiler.compile(next.book.policy())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trial")
    }
}
