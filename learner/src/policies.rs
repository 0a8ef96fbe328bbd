//! The policies that flow records refer to, and the groups of an address under each.

use hashbrown::HashMap;
use meshgate_policy::{GroupId, Policy, PolicyVersion, SegmentId};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// Policies that are kept: records of a long flow may name an old version.
const VERSIONS_MAX: usize = 16;
/// Addresses whose groups are remembered, over all versions.
const MEMBERSHIPS_MAX: usize = 65_536;

/// A set of groups: numbers in order, `any` left out.
pub type GroupSet = Arc<[u32]>;

/// The newest policies, oldest first.
#[derive(Default)]
pub struct Policies {
    versions: VecDeque<Arc<Policy>>,
    memberships: HashMap<(PolicyVersion, SegmentId, IpAddr), GroupSet>,
}

impl Policies {
    /// Takes a policy in; the oldest leaves.
    pub fn insert(&mut self, policy: Arc<Policy>) {
        self.versions.retain(|kept| kept.version < policy.version);
        if self.versions.len() == VERSIONS_MAX {
            self.versions.pop_front();
        }
        self.versions.push_back(policy);
        let oldest = self.versions.front().map_or(PolicyVersion(0), |policy| policy.version);
        self.memberships.retain(|(version, ..), _| *version >= oldest);
    }

    /// Returns the newest policy.
    pub fn newest(&self) -> Option<&Arc<Policy>> {
        self.versions.back()
    }

    /// Returns the groups of an address under a version; under the nearest older one, or else the oldest kept, where
    /// that version is not known. None before any policy is known.
    pub fn group_set(
        &mut self,
        version: PolicyVersion,
        segment: SegmentId,
        address: IpAddr,
    ) -> Option<GroupSet> {
        let at_most = self.versions.iter().rev().find(|policy| policy.version <= version);
        let policy = at_most.or_else(|| self.versions.front())?;
        let key = (policy.version, segment, address);
        if let Some(set) = self.memberships.get(&key) {
            return Some(Arc::clone(set));
        }
        let groups = policy.groups_of(segment, address);
        let set: GroupSet =
            groups.into_iter().filter(|group| *group != GroupId::ANY).map(|group| group.0).collect();
        if self.memberships.len() == MEMBERSHIPS_MAX {
            // A flood of addresses: begin again rather than choose among strangers.
            self.memberships.clear();
        }
        self.memberships.insert(key, Arc::clone(&set));
        Some(set)
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
    fn an_address_of_nobody_is_external() {
        let mut policies = Policies::default();
        let address = [192, 0, 2, 1].into();
        assert_eq!(policies.group_set(PolicyVersion(1), SegmentId(1), address), None);
        policies.insert(policy(1));
        let set = policies.group_set(PolicyVersion(9), SegmentId(1), address).unwrap();
        assert_eq!(*set, [GroupId::EXTERNAL.0]);
    }

    #[test]
    fn sixteen_versions_are_kept() {
        let mut policies = Policies::default();
        (1..=40).for_each(|version| policies.insert(policy(version)));
        assert_eq!(policies.versions.len(), VERSIONS_MAX);
        assert_eq!(policies.versions[0].version, PolicyVersion(25));
    }
}
