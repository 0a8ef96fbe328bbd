//! What a suggestion proposes to write into the policy.

use crate::authored::{AuthoredGroup, AuthoredGroupRule, AuthoredRelationship};
use crate::ids::RuleId;
use crate::name::Name;
use crate::rule::{Action, Mode, Priority};
use serde::{Deserialize, Serialize};

/// A change of the policy that a learner drafts and a person accepts or refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Proposal {
    /// A rule between two groups that exist.
    Relationship(AuthoredRelationship),
    /// A rule between one group and addresses.
    Rule(AuthoredGroupRule),
    /// A rule between two groups of which some do not exist yet: accepting it makes them too.
    Grouped {
        /// The groups to be made, at most one for each side.
        groups: Vec<AuthoredGroup>,
        /// The rule.
        relationship: AuthoredRelationship,
    },
    /// An endpoint joins the listed members of a group, or leaves them.
    Membership {
        /// The endpoint.
        endpoint: Name,
        /// The group.
        group: Name,
        /// Whether it joins.
        join: bool,
    },
}

/// Another width of the same draft, with what it would be good for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// What would be written.
    pub proposal: Proposal,
    /// Share of the tuples (source address, destination address, service) that it permits and that were never seen, 0 to 1.
    pub over_permissiveness: f64,
    /// Share of the tuples that were seen and led to the draft that it covers, 0 to 1.
    pub coverage: f64,
}

impl Proposal {
    /// Returns the kind as it is written.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Relationship(_) => "relationship",
            Self::Rule(_) => "rule",
            Self::Grouped { .. } => "grouped",
            Self::Membership { .. } => "membership",
        }
    }

    /// Returns the rule between two groups that it is about, if it is about one.
    pub fn relationship(&self) -> Option<&AuthoredRelationship> {
        match self {
            Self::Relationship(relationship) | Self::Grouped { relationship, .. } => Some(relationship),
            Self::Rule(_) | Self::Membership { .. } => None,
        }
    }

    /// Returns the action of its rule; none for a membership.
    pub fn action(&self) -> Option<Action> {
        match self {
            Self::Relationship(relationship) | Self::Grouped { relationship, .. } => {
                Some(relationship.action)
            }
            Self::Rule(rule) => Some(rule.action),
            Self::Membership { .. } => None,
        }
    }

    /// Returns the priority of its rule; none for a membership.
    pub fn priority(&self) -> Option<Priority> {
        match self {
            Self::Relationship(relationship) | Self::Grouped { relationship, .. } => {
                Some(relationship.priority)
            }
            Self::Rule(rule) => Some(rule.priority),
            Self::Membership { .. } => None,
        }
    }

    /// Returns the number that control gave its rule, if it did.
    pub fn rule_id(&self) -> Option<RuleId> {
        match self {
            Self::Relationship(relationship) | Self::Grouped { relationship, .. } => relationship.id,
            Self::Rule(rule) => rule.id,
            Self::Membership { .. } => None,
        }
    }

    /// Returns the note of its rule; empty for a membership.
    pub fn note(&self) -> &str {
        match self {
            Self::Relationship(relationship) | Self::Grouped { relationship, .. } => &relationship.note,
            Self::Rule(rule) => &rule.note,
            Self::Membership { .. } => "",
        }
    }

    /// Returns the proposal with this number and note of its rule; a membership has neither.
    #[must_use]
    pub fn with(mut self, number: Option<RuleId>, words: &str) -> Self {
        let (id, note) = match &mut self {
            Self::Relationship(AuthoredRelationship { id, note, .. })
            | Self::Grouped { relationship: AuthoredRelationship { id, note, .. }, .. }
            | Self::Rule(AuthoredGroupRule { id, note, .. }) => (id, note),
            Self::Membership { .. } => return self,
        };
        *id = number;
        words.clone_into(note);
        self
    }

    /// Returns the proposal with its rule in this mode; a membership has none.
    #[must_use]
    pub fn in_mode(mut self, wanted: Mode) -> Self {
        match &mut self {
            Self::Relationship(AuthoredRelationship { mode, .. })
            | Self::Grouped { relationship: AuthoredRelationship { mode, .. }, .. }
            | Self::Rule(AuthoredGroupRule { mode, .. }) => *mode = wanted,
            Self::Membership { .. } => {}
        }
        self
    }
}

impl From<AuthoredRelationship> for Proposal {
    fn from(relationship: AuthoredRelationship) -> Self {
        Self::Relationship(relationship)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDES: &str = "source_group_name = 'a'\ndestination_group_name = 'b'\naction = 'deny'";

    #[test]
    fn each_kind_is_read_as_it_is_written() {
        let texts = [
            format!("kind = 'relationship'\n{SIDES}"),
            "kind = 'rule'\ngroup_name = 'a'\ndirection = 'egress'\npeer = ['10.0.0.0/8']\naction = 'allow'"
                .into(),
            format!("kind = 'grouped'\ngroups = [{{ name = 'a' }}]\n[relationship]\n{SIDES}"),
            "kind = 'membership'\nendpoint = 'e'\ngroup = 'g'\njoin = true".into(),
        ];
        for text in texts {
            let proposal: Proposal = toml::from_str(&text).unwrap();
            assert!(text.contains(proposal.kind()), "{text}");
            let again = toml::from_str(&toml::to_string(&proposal).unwrap());
            assert_eq!(again.ok(), Some(proposal));
        }
        assert!(toml::from_str::<Proposal>(&format!("kind = 'relationship'\n{SIDES}\nodd = 1")).is_err());
    }

    #[test]
    fn number_and_note_go_to_the_rule_that_there_is() {
        let text = format!("kind = 'grouped'\ngroups = [{{ name = 'a' }}]\n[relationship]\n{SIDES}");
        let grouped: Proposal = toml::from_str(&text).unwrap();
        let grouped = grouped.with(Some(RuleId(4)), "why");
        assert_eq!((grouped.rule_id(), grouped.note()), (Some(RuleId(4)), "why"));
        let (endpoint, group) = (Name::new("e").unwrap(), Name::new("g").unwrap());
        let leaves = Proposal::Membership { endpoint, group, join: false };
        assert_eq!(leaves.clone().with(Some(RuleId(4)), "why"), leaves);
    }
}
