//! Changes of a transaction, from messages.

use super::fault::{exhausted, invalid, refused};
use crate::policy_book::{BookFault, CHANGES_MAX, Change};
use meshgate_policy::{Name, RuleId};
use meshgate_proto::{WireFault, default_action_from_wire, wire};
use tonic::Status;
use wire::change::Change as Wire;

/// Returns the changes of a transaction, or the path of the first field at fault.
pub(super) fn changes(messages: Vec<wire::Change>) -> Result<Vec<Change>, Status> {
    if messages.len() > CHANGES_MAX {
        return Err(exhausted(BookFault::TooManyChanges(messages.len())));
    }
    messages.into_iter().enumerate().map(|(index, message)| change(index, message)).collect()
}

fn change(index: usize, message: wire::Change) -> Result<Change, Status> {
    let wire::Change { change } = message;
    let at = |field: &str| format!("changes[{index}].{field}");
    let change = change.ok_or_else(|| invalid(&at("change"), "is missing"))?;
    match change {
        Wire::PutSegment(m) => object(&at("put_segment"), m, Change::PutSegment),
        Wire::DeleteSegment(text) => name(&at("delete_segment"), &text).map(Change::DeleteSegment),
        Wire::PutEndpoint(m) => object(&at("put_endpoint"), m, Change::PutEndpoint),
        Wire::CreateEndpoint(m) => object(&at("create_endpoint"), m, Change::CreateEndpoint),
        Wire::UpdateEndpoint(m) => object(&at("update_endpoint"), m, Change::UpdateEndpoint),
        Wire::DeleteEndpoint(text) => name(&at("delete_endpoint"), &text).map(Change::DeleteEndpoint),
        Wire::PutGroup(m) => object(&at("put_group"), m, Change::PutGroup),
        Wire::CreateGroup(m) => object(&at("create_group"), m, Change::CreateGroup),
        Wire::UpdateGroup(m) => object(&at("update_group"), m, Change::UpdateGroup),
        Wire::DeleteGroup(text) => name(&at("delete_group"), &text).map(Change::DeleteGroup),
        Wire::PutRelationship(m) => object(&at("put_relationship"), m, Change::PutRelationship),
        Wire::DeleteRelationship(id) => {
            number(&at("delete_relationship"), id).map(Change::DeleteRelationship)
        }
        Wire::PutRule(m) => object(&at("put_rule"), m, Change::PutRule),
        Wire::DeleteRule(id) => number(&at("delete_rule"), id).map(Change::DeleteRule),
        Wire::SetDefaultAction(word) => {
            let action = default_action_from_wire(&word);
            action
                .map(Change::SetDefaultAction)
                .map_err(|problem| invalid(&at("set_default_action"), problem))
        }
        Wire::ReplaceAll(m) => object(&at("replace_all"), m, |policy| Change::ReplaceAll(Box::new(policy))),
    }
}

fn object<M, T: TryFrom<M, Error = WireFault>>(
    field: &str,
    message: M,
    change: impl FnOnce(T) -> Change,
) -> Result<Change, Status> {
    T::try_from(message).map(change).map_err(|fault| refused(field, &fault))
}

fn name(field: &str, text: &str) -> Result<Name, Status> {
    Name::new(text).map_err(|problem| invalid(field, problem))
}

fn number(field: &str, id: u32) -> Result<RuleId, Status> {
    if id == 0 { Err(invalid(field, "0 is not a number that control gives")) } else { Ok(RuleId(id)) }
}
