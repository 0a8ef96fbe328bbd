//! What a command asks the control plane to change.

use meshgate_policy::{
    Action, AuthoredEndpoint, AuthoredGroup, AuthoredGroupRule, AuthoredPolicy, AuthoredRelationship,
    AuthoredSegment, Name, RuleId,
};

/// One change of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Creates a segment, or replaces the one of that name.
    PutSegment(AuthoredSegment),
    /// Deletes a segment.
    DeleteSegment(Name),
    /// Creates an endpoint; refused if the name exists.
    CreateEndpoint(AuthoredEndpoint),
    /// Replaces an endpoint; refused if the name does not exist.
    UpdateEndpoint(AuthoredEndpoint),
    /// Deletes an endpoint.
    DeleteEndpoint(Name),
    /// Creates a group; refused if the name exists.
    CreateGroup(AuthoredGroup),
    /// Replaces a group; refused if the name does not exist.
    UpdateGroup(AuthoredGroup),
    /// Deletes a group.
    DeleteGroup(Name),
    /// Creates a relationship without a number, replaces one with a number.
    PutRelationship(AuthoredRelationship),
    /// Deletes a relationship.
    DeleteRelationship(RuleId),
    /// Creates a rule without a number, replaces one with a number.
    PutRule(AuthoredGroupRule),
    /// Deletes a rule.
    DeleteRule(RuleId),
    /// Sets what happens where nothing else decides.
    SetDefaultAction(Action),
    /// Replaces the whole policy.
    ReplaceAll(Box<AuthoredPolicy>),
}

/// A transaction: all of its edits or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The version the edits were made against; absent where they hold against any.
    pub expected_version: Option<u64>,
    /// The edits.
    pub edits: Vec<Edit>,
    /// Kept in history and audit trail.
    pub comment: String,
}
