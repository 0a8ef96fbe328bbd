//! What speaks against a draft under one version of the policy.

use super::drafted::drafted_rule;
use crate::policy_book::PolicyBook;
use crate::words::rule_in_words;
use meshgate_policy::suggestion::Proposal;
use meshgate_policy::{
    AuthoredGroup, AuthoredGroupRule, AuthoredRelationship, ConflictKind, Extents, L4MatchError, Mode, Name,
    Numbering, Policy, PolicyVersion, Rule, RuleId,
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
    /// An endpoint that the version does not have.
    #[error("draft.{field}: no endpoint \"{name}\" in version {version}")]
    Endpoint {
        /// Where it is named.
        field: &'static str,
        /// Its name.
        name: Name,
        /// The version.
        version: PolicyVersion,
    },
    /// A group that is to be made and exists.
    #[error("draft.groups: there is a group \"{0}\" already")]
    GroupExists(Name),
    /// A group whose members are not listed by anybody.
    #[error("draft.group: \"{0}\" is built in, nobody lists its members")]
    BuiltIn(Name),
    /// An endpoint that is what it would become.
    #[error("draft.endpoint: \"{endpoint}\" is in group \"{group}\" already")]
    IsMember {
        /// The endpoint.
        endpoint: Name,
        /// The group.
        group: Name,
    },
    /// An endpoint that is no listed member, so that it cannot be taken off the list.
    #[error("draft.endpoint: \"{endpoint}\" is not listed in group \"{group}\"")]
    NotListed {
        /// The endpoint.
        endpoint: Name,
        /// The group.
        group: Name,
    },
    /// Layer-4 fields that do not go together.
    #[error("draft.{0}")]
    L4(L4MatchError),
    /// Nothing can match it.
    #[error("draft: no packet can match it in version {0}")]
    Empty(PolicyVersion),
    /// A rule of the same kind that says the same.
    #[error("draft: {0} {1} says the same already")]
    Repeats(&'static str, RuleId),
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
    pub fn obstacle(&self, draft: &Proposal) -> Option<Obstacle> {
        if let Proposal::Membership { endpoint, group, join } = draft {
            return self.membership_obstacle(endpoint, group, *join);
        }
        let rule = match drafted_rule(self.book, draft) {
            Ok(rule) => rule?,
            Err(obstacle) => return Some(obstacle),
        };
        if self.extents.is_empty(&rule) {
            return Some(Obstacle::Empty(self.book.version()));
        }
        match draft {
            Proposal::Relationship(draft) => self.repeated(draft),
            Proposal::Rule(draft) => self.repeated_rule(draft),
            Proposal::Grouped { .. } | Proposal::Membership { .. } => None,
        }
        .or_else(|| self.rule_obstacle(&rule))
    }

    /// Returns what keeps the rule from deciding, or what it contradicts.
    fn rule_obstacle(&self, rule: &Rule) -> Option<Obstacle> {
        match self.extents.shadowed_by(rule).as_slice() {
            [] => {}
            [one] => {
                return Some(Obstacle::Shadowed { before: format!("{} decides", self.name(*one)) });
            }
            [first, rest @ ..] => {
                let before = format!("{} and {} more rules decide", self.name(*first), rest.len());
                return Some(Obstacle::Shadowed { before });
            }
        }
        let conflicts = self.extents.conflicts_of(rule);
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

    /// Returns why the change of members would be refused or change nothing.
    fn membership_obstacle(&self, endpoint: &Name, group: &Name, join: bool) -> Option<Obstacle> {
        let version = self.book.version();
        let Some(number) = self.numbering().group(group) else {
            return Some(Obstacle::Group { field: "group", name: group.clone(), version });
        };
        let Some(id) = self.numbering().endpoint(endpoint) else {
            return Some(Obstacle::Endpoint { field: "endpoint", name: endpoint.clone(), version });
        };
        if number.is_built_in() {
            return Some(Obstacle::BuiltIn(group.clone()));
        }
        let (endpoint, group) = (endpoint.clone(), group.clone());
        if join {
            let is_member =
                self.book.policy().group(number).is_some_and(|group| group.endpoints.contains(&id));
            return is_member.then_some(Obstacle::IsMember { endpoint, group });
        }
        let lists = |authored: &AuthoredGroup| authored.name == group && authored.members.contains(&endpoint);
        let is_listed = self.book.authored().groups.iter().any(lists);
        (!is_listed).then_some(Obstacle::NotListed { endpoint, group })
    }

    /// Returns an enforced relationship that says the same, whatever its priority.
    fn repeated(&self, draft: &AuthoredRelationship) -> Option<Obstacle> {
        let same = |other: &&AuthoredRelationship| {
            other.mode == Mode::Enforce
                && other.action == draft.action
                && other.source_group_name == draft.source_group_name
                && other.destination_group_name == draft.destination_group_name
                && other.l4_match() == draft.l4_match()
        };
        let other = self.book.authored().relationships.iter().find(same)?;
        other.id.map(|id| Obstacle::Repeats("relationship", id))
    }

    /// Returns an enforced group rule that says the same, whatever its priority.
    fn repeated_rule(&self, draft: &AuthoredGroupRule) -> Option<Obstacle> {
        let mut peer = draft.peer.clone();
        peer.sort_unstable();
        peer.dedup();
        let same = |other: &&AuthoredGroupRule| {
            other.mode == Mode::Enforce
                && other.action == draft.action
                && other.group_name == draft.group_name
                && other.direction == draft.direction
                && other.peer == peer
                && other.l4_match() == draft.l4_match()
        };
        let other = self.book.authored().rules.iter().find(same)?;
        other.id.map(|id| Obstacle::Repeats("rule", id))
    }

    fn name(&self, id: RuleId) -> String {
        rule_name(self.book.policy(), id)
    }
}

fn rule_name(policy: &Policy, id: RuleId) -> String {
    match policy.rules.iter().find(|rule| rule.id == id) {
        Some(rule) => format!("rule {id} ({})", rule_in_words(policy, rule)),
        None => format!("rule {id}"),
    }
}
