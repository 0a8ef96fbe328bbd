//! Edits as the wire carries them.

use crate::edits::Edit;
use meshgate_proto::wire::{self, change::Change};

/// Returns the wire's form of an edit.
pub fn change(edit: &Edit) -> wire::Change {
    let change = match edit {
        Edit::PutSegment(segment) => Change::PutSegment(segment.into()),
        Edit::DeleteSegment(name) => Change::DeleteSegment(name.to_string()),
        Edit::CreateEndpoint(endpoint) => Change::CreateEndpoint(endpoint.into()),
        Edit::UpdateEndpoint(endpoint) => Change::UpdateEndpoint(endpoint.into()),
        Edit::DeleteEndpoint(name) => Change::DeleteEndpoint(name.to_string()),
        Edit::CreateGroup(group) => Change::CreateGroup(group.into()),
        Edit::UpdateGroup(group) => Change::UpdateGroup(group.into()),
        Edit::DeleteGroup(name) => Change::DeleteGroup(name.to_string()),
        Edit::PutRelationship(relationship) => Change::PutRelationship(relationship.into()),
        Edit::DeleteRelationship(id) => Change::DeleteRelationship(id.0),
        Edit::PutRule(rule) => Change::PutRule(rule.into()),
        Edit::DeleteRule(id) => Change::DeleteRule(id.0),
        Edit::SetDefaultAction(action) => Change::SetDefaultAction(action.to_string()),
        Edit::ReplaceAll(policy) => Change::ReplaceAll((&**policy).into()),
    };
    wire::Change { change: Some(change) }
}
