//! A draft as the rule that it would be.

use super::obstacle::Obstacle;
use crate::policy_book::PolicyBook;
use meshgate_policy::suggestion::Proposal;
use meshgate_policy::{
    AuthoredEndpoint, AuthoredGroup, AuthoredGroupRule, AuthoredRelationship, Direction, GroupId, Mode, Name,
    Prefix, Rule, RuleId, RuleKind, Side,
};

/// Returns the draft as the rule it would be, with the number it would get, or which field does not resolve. None for a
/// draft that is no rule.
///
/// A side whose group is to be made is the addresses that would be in it.
pub fn drafted_rule(book: &PolicyBook, draft: &Proposal) -> Result<Option<Rule>, Obstacle> {
    match draft {
        Proposal::Relationship(relationship) => of_relationship(book, relationship, &[]).map(Some),
        Proposal::Rule(rule) => of_rule(book, rule).map(Some),
        Proposal::Grouped { groups, relationship } => {
            if let Some(group) = groups.iter().find(|group| book.numbering().group(&group.name).is_some()) {
                return Err(Obstacle::GroupExists(group.name.clone()));
            }
            of_relationship(book, relationship, groups).map(Some)
        }
        Proposal::Membership { .. } => Ok(None),
    }
}

fn of_relationship(
    book: &PolicyBook,
    draft: &AuthoredRelationship,
    made: &[AuthoredGroup],
) -> Result<Rule, Obstacle> {
    let AuthoredRelationship {
        id: _,
        tenant: _,
        source_group_name,
        destination_group_name,
        protocol: _,
        port_range: _,
        icmp_type: _,
        icmp_code: _,
        action,
        priority,
        mode,
        note: _,
    } = draft;
    let side = |field, name: &Name| match made.iter().find(|group| group.name == *name) {
        Some(group) => members(book, group),
        None => existing(book, field, name),
    };
    Ok(Rule {
        id: next_id(book),
        kind: RuleKind::Relationship,
        priority: *priority,
        action: *action,
        shadow: *mode == Mode::Shadow,
        source: side("source_group_name", source_group_name)?,
        destination: side("destination_group_name", destination_group_name)?,
        l4: draft.l4_match().map_err(Obstacle::L4)?,
    })
}

fn of_rule(book: &PolicyBook, draft: &AuthoredGroupRule) -> Result<Rule, Obstacle> {
    let AuthoredGroupRule {
        id: _,
        tenant: _,
        group_name,
        direction,
        peer,
        protocol: _,
        port_range: _,
        icmp_type: _,
        icmp_code: _,
        action,
        priority,
        mode,
        note: _,
    } = draft;
    let group = existing(book, "group_name", group_name)?;
    let peer = if peer.is_empty() { Side::Group(GroupId::ANY) } else { prefixes(peer.clone()) };
    let (source, destination) = match direction {
        Direction::Ingress => (peer, group),
        Direction::Egress => (group, peer),
    };
    Ok(Rule {
        id: next_id(book),
        kind: RuleKind::GroupRule,
        priority: *priority,
        action: *action,
        shadow: *mode == Mode::Shadow,
        source,
        destination,
        l4: draft.l4_match().map_err(Obstacle::L4)?,
    })
}

fn existing(book: &PolicyBook, field: &'static str, name: &Name) -> Result<Side, Obstacle> {
    let unknown = || Obstacle::Group { field, name: name.clone(), version: book.version() };
    book.numbering().group(name).map(Side::Group).ok_or_else(unknown)
}

/// Returns the addresses that would be in a group to be made.
fn members(book: &PolicyBook, group: &AuthoredGroup) -> Result<Side, Obstacle> {
    let mut list = group.prefixes.clone();
    for name in &group.members {
        let unknown = || Obstacle::Endpoint { field: "groups", name: name.clone(), version: book.version() };
        let known = |endpoint: &&AuthoredEndpoint| endpoint.name == *name;
        let endpoint = book.authored().endpoints.iter().find(known).ok_or_else(unknown)?;
        list.extend(endpoint.owned().into_iter().map(Prefix::host));
    }
    Ok(prefixes(list))
}

/// Returns a side of these prefixes; of none a side that nothing matches, which is refused as empty.
fn prefixes(mut list: Vec<Prefix>) -> Side {
    list.sort_unstable();
    list.dedup();
    Side::Prefixes(list)
}

fn next_id(book: &PolicyBook) -> RuleId {
    RuleId(book.numbering().last_rule().0.saturating_add(1))
}
