//! What speaks against a draft under one version of the policy.

use crate::policy_book::PolicyBook;
use crate::words::rule_in_words;
use meshgate_policy::{
    AuthoredRelationship, ConflictKind, Extents, GroupId, L4MatchError, Mode, Name, Numbering, Policy,
    PolicyVersion, Rule, RuleId, RuleKind, Side,
};

/// Why a draft would be refused or without effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// A group that the version does not have.
    #[error("draft.{field}: no group \"{name}\" in version {version}")]
    Group {
        /// Which side.
        field: &'static str,
        /// Its name.
        name: Name,
        /// The version.
        version: PolicyVersion,
    },
    /// Layer-4 fields that do not go together.
    #[error("draft.{0}")]
    L4(L4MatchError),
    /// Nothing can match it.
    #[error("draft: no packet can match it in version {0}")]
    Empty(PolicyVersion),
    /// A relationship that says the same.
    #[error("draft: relationship {0} says the same already")]
    Repeats(RuleId),
    /// Rules that decide all its packets before.
    #[error("draft: would never decide, because {before} all its packets before")]
    Shadowed {
        /// The rules, with their verb.
        before: String,
    },
    /// A rule that it contradicts.
    #[error("draft: {0}")]
    Conflict(String),
}

/// Judges drafts by one version.
pub struct Judge<'a> {
    book: &'a PolicyBook,
    extents: Extents<'a>,
}

impl<'a> Judge<'a> {
    /// Returns the judge of a version.
    pub fn new(book: &'a PolicyBook) -> Self {
        Self { book, extents: book.policy().extents() }
    }

    /// Returns the version.
    pub fn book(&self) -> &'a PolicyBook {
        self.book
    }

    /// Returns the address sets of the version.
    pub fn extents(&self) -> &Extents<'a> {
        &self.extents
    }

    /// Returns the numbers of the version's names.
    pub fn numbering(&self) -> &'a Numbering {
        self.book.numbering()
    }

    /// Returns what speaks against accepting the draft as it is; none if it would do something and contradicts nothing.
    pub fn obstacle(&self, draft: &AuthoredRelationship) -> Option<Obstacle> {
        let rule = match drafted_rule(self.book, draft) {
            Ok(rule) => rule,
            Err(obstacle) => return Some(obstacle),
        };
        if self.extents.is_empty(&rule) {
            return Some(Obstacle::Empty(self.book.version()));
        }
        if let Some(id) = self.repeated(draft) {
            return Some(Obstacle::Repeats(id));
        }
        match self.extents.shadowed_by(&rule).as_slice() {
            [] => {}
            [one] => {
                return Some(Obstacle::Shadowed { before: format!("{} decides", self.name(*one)) });
            }
            [first, rest @ ..] => {
                let before = format!("{} and {} more rules decide", self.name(*first), rest.len());
                return Some(Obstacle::Shadowed { before });
            }
        }
        let conflicts = self.extents.conflicts_of(&rule);
        let first = conflicts.first()?;
        let other = self.name(first.rule);
        let mut words = match first.kind {
            ConflictKind::Crosses => format!("overlaps {other}, which has the opposite action"),
            ConflictKind::Equal => {
                format!("matches the same packets as {other}, which has the opposite action")
            }
            ConflictKind::Outranks => format!("would decide before {other}, which is protected"),
        };
        if conflicts.len() > 1 {
            words.push_str(&format!("; {} more rules contradict it", conflicts.len() - 1));
        }
        Some(Obstacle::Conflict(words))
    }

    /// Returns an enforced relationship that says the same, whatever its priority.
    fn repeated(&self, draft: &AuthoredRelationship) -> Option<RuleId> {
        let same = |other: &&AuthoredRelationship| {
            other.mode == Mode::Enforce
                && other.action == draft.action
                && other.source_group_name == draft.source_group_name
                && other.destination_group_name == draft.destination_group_name
                && other.l4_match() == draft.l4_match()
        };
        self.book.authored().relationships.iter().find(same)?.id
    }

    fn name(&self, id: RuleId) -> String {
        rule_name(self.book.policy(), id)
    }
}

/// Returns the draft as the rule it would be, with the number it would get, or which field does not resolve.
pub fn drafted_rule(book: &PolicyBook, draft: &AuthoredRelationship) -> Result<Rule, Obstacle> {
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
    let group = |field, name: &Name| -> Result<GroupId, Obstacle> {
        let unknown = || Obstacle::Group { field, name: name.clone(), version: book.version() };
        book.numbering().group(name).ok_or_else(unknown)
    };
    Ok(Rule {
        id: RuleId(book.numbering().last_rule().0.saturating_add(1)),
        kind: RuleKind::Relationship,
        priority: *priority,
        action: *action,
        shadow: *mode == Mode::Shadow,
        source: Side::Group(group("source_group_name", source_group_name)?),
        destination: Side::Group(group("destination_group_name", destination_group_name)?),
        l4: draft.l4_match().map_err(Obstacle::L4)?,
    })
}

fn rule_name(policy: &Policy, id: RuleId) -> String {
    match policy.rules.iter().find(|rule| rule.id == id) {
        Some(rule) => format!("rule {id} ({})", rule_in_words(policy, rule)),
        None => format!("rule {id}"),
    }
}
