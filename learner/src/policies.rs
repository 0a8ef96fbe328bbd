//! The policies that flow records refer to.

use meshgate_policy::{Policy, PolicyVersion};
use std::collections::VecDeque;
use std::sync::Arc;

/// Policies that are kept: records of a long flow may name an old version.
pub const VERSIONS_MAX: usize = 16;

/// A set of groups: numbers in order, `any` left out.
pub type GroupSet = Arc<[u32]>;

/// The newest policies, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    versions: VecDeque<Arc<Policy>>,
    revision: u64,
}

impl Policies {
    /// Takes a policy in; the oldest leaves.
    pub fn insert(&mut self, policy: Arc<Policy>) {
        self.versions.retain(|kept| kept.version < policy.version);
        if self.versions.len() == VERSIONS_MAX {
            self.versions.pop_front();
        }
        self.versions.push_back(policy);
        self.revision += 1;
    }

    /// Returns the newest policy.
    pub fn newest(&self) -> Option<&Arc<Policy>> {
        self.versions.back()
    }

    /// Returns the policy of a version; the nearest older one, or else the oldest kept, where that version is not
    /// known. None before any policy is known.
    pub fn at(&self, version: PolicyVersion) -> Option<&Arc<Policy>> {
        let at_most = self.versions.iter().rev().find(|policy| policy.version <= version);
        at_most.or_else(|| self.versions.front())
    }

    /// Returns how often a policy was taken in: who copies the policies copies again when it has changed.
    pub fn revision(&self) -> u64 {
        self.revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::Action;

    fn policy(version: u64) -> Arc<Policy> {
        Arc::new(Policy { version: PolicyVersion(version), ..Policy::empty(Action::Deny) })
    }

    #[test]
    fn a_version_that_is_not_kept_is_answered_by_the_nearest_older_one() {
        let mut policies = Policies::default();
        assert!(policies.at(PolicyVersion(1)).is_none());
        policies.insert(policy(3));
        policies.insert(policy(5));
        let found = [1, 3, 4, 9].map(|version| policies.at(PolicyVersion(version)).unwrap().version.0);
        assert_eq!(found, [3, 3, 3, 5]);
    }

    #[test]
    fn sixteen_versions_are_kept() {
        let mut policies = Policies::default();
        (1..=40).for_each(|version| policies.insert(policy(version)));
        assert_eq!(policies.versions.len(), VERSIONS_MAX);
        assert_eq!(policies.versions[0].version, PolicyVersion(25));
        assert_eq!(policies.revision(), 40);
    }
}
