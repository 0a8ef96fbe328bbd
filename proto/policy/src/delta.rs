//! What changes from one version of a policy to the next, so that a host that has the one can be given the other.
//!
//! Things are told apart by their numbers, which are never reused: what has a number in the newer version and differs is
//! sent whole, what has none any more is named. The digest of the result goes along; a host that does not arrive at it
//! keeps its version and asks for a snapshot.

use crate::digest::Digest;
use crate::ids::{EndpointId, GroupId, PolicyVersion, RuleId, SegmentId};
use crate::policy::{Endpoint, Group, Policy, Segment};
use crate::rule::{Action, Rule};
use std::collections::{BTreeMap, BTreeSet};

/// The change from one version of a policy to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The version it applies to.
    pub from: PolicyVersion,
    /// The version it leads to.
    pub to: PolicyVersion,
    /// The digest of the policy it leads to.
    pub digest: Digest,
    /// The default action of the policy it leads to.
    pub default_action: Action,
    /// Segments that are new or differ.
    pub segments: Vec<Segment>,
    /// Groups that are new or differ.
    pub groups: Vec<Group>,
    /// Endpoints that are new or differ.
    pub endpoints: Vec<Endpoint>,
    /// Rules that are new or differ.
    pub rules: Vec<Rule>,
    /// Segments that are gone.
    pub removed_segments: Vec<SegmentId>,
    /// Groups that are gone.
    pub removed_groups: Vec<GroupId>,
    /// Endpoints that are gone.
    pub removed_endpoints: Vec<EndpointId>,
    /// Rules that are gone.
    pub removed_rules: Vec<RuleId>,
}

/// Why a delta was not applied. The policy it was given for is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// It applies to another version.
    #[error("the delta applies to version {delta}, this policy is version {policy}")]
    WrongBase {
        /// The version it applies to.
        delta: PolicyVersion,
        /// The version of the policy.
        policy: PolicyVersion,
    },
    /// It leads to a version that is not newer.
    #[error("the delta leads from version {from} to {to}, which is not newer")]
    Backwards {
        /// The version it applies to.
        from: PolicyVersion,
        /// The version it leads to.
        to: PolicyVersion,
    },
    /// It removes something that the policy does not have.
    #[error("the delta removes {kind} {number}, which the policy does not have")]
    NothingToRemove {
        /// What it removes.
        kind: &'static str,
        /// Its number.
        number: u32,
    },
    /// The result is not the policy that the sender meant.
    #[error("the digest of version {version} is {found}, the delta says {wanted}")]
    WrongDigest {
        /// The version it leads to.
        version: PolicyVersion,
        /// The digest of the result.
        found: Digest,
        /// The digest that the delta carries.
        wanted: Digest,
    },
}

/// What a policy holds lists of.
trait Numbered: Clone + PartialEq {
    /// What it is told apart by.
    type Id: Ord + Copy + Into<u32>;
    /// How errors call it.
    const KIND: &'static str;

    fn id(&self) -> Self::Id;
}

macro_rules! numbered {
    ($($thing:ty, $id:ty, $kind:literal);+) => {
        $(
            impl Numbered for $thing {
                type Id = $id;
                const KIND: &'static str = $kind;

                fn id(&self) -> $id {
                    self.id
                }
            }
            impl From<$id> for u32 {
                fn from(id: $id) -> Self {
                    id.0.into()
                }
            }
        )+
    };
}
numbered!(
    Segment, SegmentId, "segment";
    Group, GroupId, "group";
    Endpoint, EndpointId, "endpoint";
    Rule, RuleId, "rule"
);

impl Delta {
    /// Returns how many things it brings or removes.
    pub fn changes(&self) -> usize {
        let brought = self.segments.len() + self.groups.len() + self.endpoints.len() + self.rules.len();
        let removed = self.removed_segments.len() + self.removed_groups.len();
        brought + removed + self.removed_endpoints.len() + self.removed_rules.len()
    }
}

impl Policy {
    /// Returns the change from this policy to a newer one.
    pub fn delta_to(&self, newer: &Policy) -> Delta {
        let Self { version, segments, groups, endpoints, rules, default_action: _ } = self;
        Delta {
            from: *version,
            to: newer.version,
            digest: newer.digest(),
            default_action: newer.default_action,
            segments: brought(segments, &newer.segments),
            groups: brought(groups, &newer.groups),
            endpoints: brought(endpoints, &newer.endpoints),
            rules: brought(rules, &newer.rules),
            removed_segments: removed(segments, &newer.segments),
            removed_groups: removed(groups, &newer.groups),
            removed_endpoints: removed(endpoints, &newer.endpoints),
            removed_rules: removed(rules, &newer.rules),
        }
    }

    /// Returns the policy that the delta leads to, or why it does not fit this one.
    pub fn apply(&self, delta: &Delta) -> Result<Policy, DeltaError> {
        let Delta {
            from,
            to,
            digest,
            default_action,
            segments,
            groups,
            endpoints,
            rules,
            removed_segments,
            removed_groups,
            removed_endpoints,
            removed_rules,
        } = delta;
        if *from != self.version {
            return Err(DeltaError::WrongBase { delta: *from, policy: self.version });
        }
        if to <= from {
            return Err(DeltaError::Backwards { from: *from, to: *to });
        }
        let mut rules = changed(&self.rules, rules, removed_rules)?;
        rules.sort_by_key(Rule::order);
        let policy = Self {
            version: *to,
            segments: changed(&self.segments, segments, removed_segments)?,
            groups: changed(&self.groups, groups, removed_groups)?,
            endpoints: changed(&self.endpoints, endpoints, removed_endpoints)?,
            rules,
            default_action: *default_action,
        };
        let found = policy.digest();
        if found == *digest {
            Ok(policy)
        } else {
            Err(DeltaError::WrongDigest { version: *to, found, wanted: *digest })
        }
    }
}

/// Returns what of `newer` is new or differs.
fn brought<T: Numbered>(older: &[T], newer: &[T]) -> Vec<T> {
    let older: BTreeMap<T::Id, &T> = older.iter().map(|thing| (thing.id(), thing)).collect();
    newer.iter().filter(|thing| older.get(&thing.id()) != Some(thing)).cloned().collect()
}

/// Returns the numbers of what `newer` does not have, sorted.
fn removed<T: Numbered>(older: &[T], newer: &[T]) -> Vec<T::Id> {
    let newer: BTreeSet<T::Id> = newer.iter().map(Numbered::id).collect();
    let gone: BTreeSet<T::Id> = older.iter().map(Numbered::id).filter(|id| !newer.contains(id)).collect();
    gone.into_iter().collect()
}

/// Returns the list with the change made, sorted by number.
fn changed<T: Numbered>(older: &[T], brought: &[T], removed: &[T::Id]) -> Result<Vec<T>, DeltaError> {
    let mut things: BTreeMap<T::Id, &T> = older.iter().map(|thing| (thing.id(), thing)).collect();
    for id in removed {
        if things.remove(id).is_none() {
            return Err(DeltaError::NothingToRemove { kind: T::KIND, number: (*id).into() });
        }
    }
    things.extend(brought.iter().map(|thing| (thing.id(), thing)));
    Ok(things.into_values().cloned().collect())
}
