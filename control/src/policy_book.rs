//! The policy book: what is written, in one version after the other. Pure: values in, values out.
//!
//! A write is a transaction of [`Change`]s. [`PolicyBook::apply`] says what the next state would be, or everything that
//! speaks against it; the book itself is never changed, so that a plan and a commit are the same function and a failing
//! store leaves nothing half-done.

mod change;
mod diff;
mod draft;
mod warnings;

pub use change::Change;
pub use diff::{Difference, DifferenceKind, diff};
pub use warnings::warnings;

use draft::Draft;
use meshgate_classifier::CompileError;
use meshgate_policy::{
    AuthoredPolicy, Digest, Numbering, NumberingError, Policy, PolicyFault, PolicyVersion, RuleId, resolve,
};
use std::collections::HashMap;
use std::sync::Arc;

/// Changes of one transaction. A whole policy is one change; this bounds the work of one call.
pub const CHANGES_MAX: usize = 10_000;

/// Why a transaction is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BookFault {
    /// The changes were made against another version than the newest.
    #[error("expected_version: {expected} is not the newest version, which is {newest}")]
    Conflict {
        /// The version the changes were made against.
        expected: PolicyVersion,
        /// The newest version.
        newest: PolicyVersion,
    },
    /// More changes than one transaction may have.
    #[error("changes: {0} entries, at most {CHANGES_MAX} are possible")]
    TooManyChanges(usize),
    /// A change of something that does not exist.
    #[error("changes[{0}]: there is no {1}")]
    Unknown(usize, String),
    /// A change that creates something that exists.
    #[error("changes[{0}]: {1} exists already")]
    Exists(usize, String),
    /// A whole policy that has something twice.
    #[error("changes[{0}]: {1} occurs twice")]
    Twice(usize, String),
    /// Something deleted that something else still uses.
    #[error("{object} is still used by {referrer}")]
    Referenced {
        /// What was deleted.
        object: String,
        /// What uses it.
        referrer: String,
    },
    /// Numbers have been used up.
    #[error("{0}")]
    Numbering(#[from] NumberingError),
    /// The policy that would result has faults.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Policy(Vec<PolicyFault>),
    /// The policy that would result is beyond what hosts compile; names the limit.
    #[error("no host could compile the policy: {0}")]
    Compile(#[from] CompileError),
}

/// The newest version: what people wrote, its numbers, and what hosts get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyBook {
    authored: AuthoredPolicy,
    numbering: Numbering,
    policy: Arc<Policy>,
}

/// What a transaction would lead to.
#[derive(Clone, Debug)]
pub struct NextState {
    /// The book after the transaction. The same version as before if nothing changed.
    pub book: PolicyBook,
    /// Numbers of the relationships and rules that were created, in order of the changes.
    pub created_ids: Vec<RuleId>,
    /// Whether there is a new version.
    pub changed: bool,
}

impl Default for PolicyBook {
    /// Returns version 0: nothing written.
    fn default() -> Self {
        let authored = AuthoredPolicy::default();
        let policy = Arc::new(Policy::empty(authored.default_action));
        Self { authored, numbering: Numbering::default(), policy }
    }
}

impl PolicyBook {
    /// Returns the book of a version that was kept, or what is wrong with it.
    pub fn restore(
        authored: AuthoredPolicy,
        numbering: Numbering,
        version: PolicyVersion,
    ) -> Result<Self, Vec<PolicyFault>> {
        let policy = Arc::new(resolve(&authored, &numbering, version)?);
        Ok(Self { authored, numbering, policy })
    }

    /// Returns what people wrote.
    pub fn authored(&self) -> &AuthoredPolicy {
        &self.authored
    }

    /// Returns the numbers of all names.
    pub fn numbering(&self) -> &Numbering {
        &self.numbering
    }

    /// Returns what hosts get.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Returns the version.
    pub fn version(&self) -> PolicyVersion {
        self.policy.version
    }

    /// Returns the digest of what hosts get.
    pub fn digest(&self) -> Digest {
        self.policy.digest()
    }

    /// Returns the state after all changes, or why the transaction is refused as a whole.
    pub fn apply(
        &self,
        changes: Vec<Change>,
        expected_version: Option<PolicyVersion>,
    ) -> Result<NextState, BookFault> {
        let newest = self.version();
        if let Some(expected) = expected_version.filter(|expected| *expected != newest) {
            return Err(BookFault::Conflict { expected, newest });
        }
        if changes.len() > CHANGES_MAX {
            return Err(BookFault::TooManyChanges(changes.len()));
        }
        let mut draft = Draft::of(&self.authored, &self.numbering);
        for (index, change) in changes.into_iter().enumerate() {
            draft.change(index, change)?;
        }
        draft.check_deleted(&self.authored)?;
        let (mut authored, created) = draft.into_authored()?;
        if authored == self.authored {
            return Ok(NextState { book: self.clone(), created_ids: Vec::new(), changed: false });
        }
        let mut numbering = self.numbering.clone();
        let drafted: Vec<Option<RuleId>> = rule_ids(&authored).collect();
        numbering.assign(&mut authored)?;
        let numbered: HashMap<_, _> = drafted.into_iter().zip(rule_ids(&authored)).collect();
        let created_ids = created.iter().filter_map(|id| *numbered.get(&Some(*id))?).collect();
        authored.relationships.sort_by_key(|relationship| relationship.id);
        authored.rules.sort_by_key(|rule| rule.id);
        let version = PolicyVersion(newest.0 + 1);
        let policy = Arc::new(resolve(&authored, &numbering, version).map_err(BookFault::Policy)?);
        let book = Self { authored, numbering, policy };
        Ok(NextState { book, created_ids, changed: true })
    }
}

/// Returns the numbers of all rules: relationships, then group rules.
fn rule_ids(authored: &AuthoredPolicy) -> impl Iterator<Item = Option<RuleId>> {
    authored.relationships.iter().map(|r| r.id).chain(authored.rules.iter().map(|r| r.id))
}

#[cfg(test)]
mod tests;
