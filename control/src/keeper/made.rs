//! What an acceptance writes, whether that still stands, and the changes that take it out again. Pure.

use super::{KeeperFault, Kept};
use crate::policy_book::{BookFault, Change, PolicyBook};
use crate::words::{group_rule_in_words, relationship_in_words};
use meshgate_policy::suggestion::Proposal;
use meshgate_policy::{AuthoredGroup, AuthoredGroupRule, AuthoredRelationship, Name, RuleId};

/// What is not there any more as an acceptance wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Departed {
    /// What was written, by its name or number.
    pub(super) what: String,
    /// What is there in its place; none if nothing is.
    pub(super) found: Option<String>,
}

/// Returns the changes that write the proposal.
pub(super) fn changes(newest: &Kept, wanted: &Proposal) -> Result<Vec<Change>, KeeperFault> {
    Ok(match wanted {
        Proposal::Relationship(relationship) => vec![Change::PutRelationship(relationship.clone())],
        Proposal::Rule(rule) => vec![Change::PutRule(rule.clone())],
        Proposal::Grouped { groups, relationship } => {
            let groups = groups.iter().cloned().map(Change::CreateGroup);
            groups.chain([Change::PutRelationship(relationship.clone())]).collect()
        }
        Proposal::Membership { endpoint, group, join } => {
            vec![Change::UpdateGroup(with_member(newest, endpoint, group, *join)?)]
        }
    })
}

/// Returns the changes that take out what an acceptance wrote. Whoever else uses a group that it made keeps it: then the
/// policy refuses them.
pub(super) fn undoing(newest: &Kept, made: &Proposal) -> Result<Vec<Change>, KeeperFault> {
    let number = made.rule_id().unwrap_or_default();
    Ok(match made {
        Proposal::Relationship(_) => vec![Change::DeleteRelationship(number)],
        Proposal::Rule(_) => vec![Change::DeleteRule(number)],
        Proposal::Grouped { groups, relationship: _ } => {
            let groups = groups.iter().map(|group| Change::DeleteGroup(group.name.clone()));
            [Change::DeleteRelationship(number)].into_iter().chain(groups).collect()
        }
        Proposal::Membership { endpoint, group, join } => {
            vec![Change::UpdateGroup(with_member(newest, endpoint, group, !*join)?)]
        }
    })
}

/// Returns the proposal as the version after it has it: with its number, and its lists in their order.
pub(super) fn as_kept(book: &PolicyBook, wanted: Proposal, number: Option<RuleId>) -> Proposal {
    let note = wanted.note().to_owned();
    match wanted.with(number, &note) {
        Proposal::Relationship(made) => {
            Proposal::Relationship(relationship(book, &made).cloned().unwrap_or(made))
        }
        Proposal::Rule(made) => Proposal::Rule(rule(book, &made).cloned().unwrap_or(made)),
        Proposal::Grouped { groups, relationship: made } => Proposal::Grouped {
            groups: groups.into_iter().map(|made| group(book, &made.name).cloned().unwrap_or(made)).collect(),
            relationship: relationship(book, &made).cloned().unwrap_or(made),
        },
        membership @ Proposal::Membership { .. } => membership,
    }
}

/// Refuses what the newest version does not have as it was written.
pub(super) fn standing(made: &Proposal, newest: &Kept) -> Result<(), Departed> {
    let book = &newest.book;
    match made {
        Proposal::Relationship(made) => relationship_standing(book, made),
        Proposal::Rule(made) => match rule(book, made) {
            Some(found) if found == made => Ok(()),
            found => {
                let what = format!("rule {}", made.id.unwrap_or_default());
                Err(Departed { what, found: found.map(group_rule_in_words) })
            }
        },
        Proposal::Grouped { groups, relationship } => {
            relationship_standing(book, relationship)?;
            groups.iter().try_for_each(|made| group_standing(book, made))
        }
        Proposal::Membership { endpoint, group: name, join } => {
            let found = group(book, name);
            match found.map(|found| found.members.contains(endpoint)) {
                Some(is_listed) if is_listed == *join => Ok(()),
                is_listed => {
                    let listed = |is_listed| if is_listed { "listed" } else { "not listed" };
                    let what = made_in_words(made);
                    let found = is_listed.map(|is_listed| format!("{} there", listed(is_listed)));
                    Err(Departed { what, found })
                }
            }
        }
    }
}

/// Returns what was made by its number or name, as `relationship 3`.
pub(super) fn made_in_words(made: &Proposal) -> String {
    let number = made.rule_id().unwrap_or_default();
    match made {
        Proposal::Relationship(_) => format!("relationship {number}"),
        Proposal::Rule(_) => format!("rule {number}"),
        Proposal::Grouped { groups, .. } => {
            let names: Vec<String> = groups.iter().map(|group| group.name.to_string()).collect();
            format!("relationship {number} with new groups {}", names.join(", "))
        }
        Proposal::Membership { endpoint, group, join: true } => format!("member {endpoint} of group {group}"),
        Proposal::Membership { endpoint, group, join: false } => {
            format!("group {group} without {endpoint}")
        }
    }
}

fn relationship_standing(book: &PolicyBook, made: &AuthoredRelationship) -> Result<(), Departed> {
    match relationship(book, made) {
        Some(found) if found == made => Ok(()),
        found => {
            let what = format!("relationship {}", made.id.unwrap_or_default());
            Err(Departed { what, found: found.map(relationship_in_words) })
        }
    }
}

fn group_standing(book: &PolicyBook, made: &AuthoredGroup) -> Result<(), Departed> {
    match group(book, &made.name) {
        Some(found) if found == made => Ok(()),
        found => {
            let words = |found: &AuthoredGroup| {
                let (members, prefixes) = (found.members.len(), found.prefixes.len());
                format!("another group, of {members} members and {prefixes} prefixes")
            };
            Err(Departed { what: format!("group {}", made.name), found: found.map(words) })
        }
    }
}

fn relationship<'a>(book: &'a PolicyBook, made: &AuthoredRelationship) -> Option<&'a AuthoredRelationship> {
    book.authored().relationships.iter().find(|found| found.id == made.id)
}

fn rule<'a>(book: &'a PolicyBook, made: &AuthoredGroupRule) -> Option<&'a AuthoredGroupRule> {
    book.authored().rules.iter().find(|found| found.id == made.id)
}

fn group<'a>(book: &'a PolicyBook, name: &Name) -> Option<&'a AuthoredGroup> {
    book.authored().groups.iter().find(|found| found.name == *name)
}

/// Returns the group with the endpoint on its list, or without it.
fn with_member(
    newest: &Kept,
    endpoint: &Name,
    name: &Name,
    join: bool,
) -> Result<AuthoredGroup, KeeperFault> {
    let unknown = || BookFault::Unknown(0, format!("group {name}"));
    let mut changed = group(&newest.book, name).cloned().ok_or_else(unknown)?;
    changed.members.retain(|member| member != endpoint);
    if join {
        changed.members.push(endpoint.clone());
    }
    Ok(changed)
}
