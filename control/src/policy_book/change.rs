//! The changes a transaction is made of.

use meshgate_policy::{
    Action, AuthoredEndpoint, AuthoredGroup, AuthoredGroupRule, AuthoredPolicy, AuthoredRelationship,
    AuthoredSegment, Name, RuleId,
};
use std::net::IpAddr;

/// One change. `Put` creates or replaces by name, or by number for rules (a rule without one is created); `Create`
/// refuses what exists; `Update` and `Delete` refuse what does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Creates or replaces a segment.
    PutSegment(AuthoredSegment),
    /// Deletes a segment.
    DeleteSegment(Name),
    /// Creates or replaces an endpoint.
    PutEndpoint(AuthoredEndpoint),
    /// Creates an endpoint.
    CreateEndpoint(AuthoredEndpoint),
    /// Replaces an endpoint.
    UpdateEndpoint(AuthoredEndpoint),
    /// Deletes an endpoint.
    DeleteEndpoint(Name),
    /// Sets the addresses that an endpoint leases by DHCP. Control's own: no message asks for it.
    SetLeased(Name, Vec<IpAddr>),
    /// Creates or replaces a group.
    PutGroup(AuthoredGroup),
    /// Creates a group.
    CreateGroup(AuthoredGroup),
    /// Replaces a group.
    UpdateGroup(AuthoredGroup),
    /// Deletes a group.
    DeleteGroup(Name),
    /// Creates a relationship, or replaces the one with its number.
    PutRelationship(AuthoredRelationship),
    /// Deletes a relationship.
    DeleteRelationship(RuleId),
    /// Creates a group rule, or replaces the one with its number.
    PutRule(AuthoredGroupRule),
    /// Deletes a group rule.
    DeleteRule(RuleId),
    /// Sets what happens where nothing else decides.
    SetDefaultAction(Action),
    /// Replaces everything. A relationship or rule without a number that equals an existing one keeps its number.
    ReplaceAll(Box<AuthoredPolicy>),
}
