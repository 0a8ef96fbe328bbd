//! What a suggestion proposes: in words, and with the fields changed that a person gave.

use crate::failure::UsageError;
use crate::flags::{RuleFlags, put, put_list};
use crate::relationships::{self, RelationshipFields};
use crate::rules::{self, SideFlags};
use crate::table::list;
use clap::Args;
use meshgate_policy::suggestion::Proposal;
use meshgate_policy::{AuthoredGroup, Name};

/// Flags of what may be changed of a proposal.
#[derive(Args, Clone, Debug)]
pub struct ProposalFlags {
    #[command(flatten)]
    groups: RelationshipFields,
    #[command(flatten)]
    sides: SideFlags,
    /// The endpoint, of a change of members
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<Name>,
    #[command(flatten)]
    rule: RuleFlags,
}

impl ProposalFlags {
    /// Returns the proposal with the fields that were given, or which flag does not belong to a proposal of its kind.
    pub fn edited(&self, draft: Proposal) -> Result<Proposal, UsageError> {
        let Self { groups, sides, endpoint, rule } = self;
        let kind = draft.kind();
        let between_groups = groups.source.is_some() || groups.destination.is_some();
        let to_addresses = sides.direction.is_some() || !sides.peer.is_empty();
        let is_rule = !matches!(draft, Proposal::Membership { .. });
        let has_one_group = matches!(draft, Proposal::Rule(_) | Proposal::Membership { .. });
        let strays = [
            (between_groups && has_one_group, "--source and --destination"),
            (to_addresses && !matches!(draft, Proposal::Rule(_)), "--direction and --peer"),
            (sides.group.is_some() && !has_one_group, "--group"),
            (endpoint.is_some() && is_rule, "--endpoint"),
            (!rule.is_empty() && !is_rule, "the flags of rules"),
        ];
        if let Some((_, flag)) = strays.into_iter().find(|(is_stray, _)| *is_stray) {
            return Err(UsageError::Stray { flag, kind });
        }
        self.given()?.set(draft)
    }

    /// Refuses flags of which none was given; what is proposed need not be known for that.
    pub fn given(&self) -> Result<&Self, UsageError> {
        let Self { groups: RelationshipFields { source, destination }, sides, endpoint, rule } = self;
        let SideFlags { group, direction, peer } = sides;
        let between_groups = source.is_some() || destination.is_some();
        let to_addresses = direction.is_some() || !peer.is_empty();
        if between_groups || to_addresses || group.is_some() || endpoint.is_some() || !rule.is_empty() {
            Ok(self)
        } else {
            Err(UsageError::NothingToChange)
        }
    }

    fn set(&self, mut draft: Proposal) -> Result<Proposal, UsageError> {
        let Self { groups: RelationshipFields { source, destination }, sides, endpoint, rule: flags } =
            self.clone();
        match &mut draft {
            Proposal::Relationship(relationship) | Proposal::Grouped { relationship, .. } => {
                put(&mut relationship.source_group_name, source);
                put(&mut relationship.destination_group_name, destination);
                flags.set(relationships::fields(relationship))?;
            }
            Proposal::Rule(rule) => {
                let SideFlags { group, direction, peer } = sides;
                put(&mut rule.group_name, group);
                put(&mut rule.direction, direction);
                put_list(&mut rule.peer, &peer);
                flags.set(rules::fields(rule))?;
            }
            Proposal::Membership { endpoint: named, group, join: _ } => {
                put(named, endpoint);
                put(group, sides.group);
            }
        }
        Ok(without_needless_groups(draft))
    }
}

/// Returns the proposal without groups to be made that its rule does not name any more.
fn without_needless_groups(draft: Proposal) -> Proposal {
    let Proposal::Grouped { mut groups, relationship } = draft else { return draft };
    let sides = [&relationship.source_group_name, &relationship.destination_group_name];
    groups.retain(|group| sides.contains(&&group.name));
    if groups.is_empty() { relationship.into() } else { Proposal::Grouped { groups, relationship } }
}

/// Returns the proposal in one line: `allow WebServers -> DatabaseServers TCP 5432`.
pub fn summary(proposal: &Proposal) -> String {
    match proposal {
        Proposal::Relationship(relationship) => relationships::summary(relationship),
        Proposal::Rule(rule) => rules::summary(rule),
        Proposal::Grouped { groups, relationship } => {
            let names: Vec<&Name> = groups.iter().map(|group| &group.name).collect();
            format!("{}, making {}", relationships::summary(relationship), list(&names))
        }
        Proposal::Membership { endpoint, group, join: true } => format!("{endpoint} joins {group}"),
        Proposal::Membership { endpoint, group, join: false } => format!("{endpoint} leaves {group}"),
    }
}

/// Returns who would be in each group that the proposal makes, one line each.
pub fn group_lines(proposal: &Proposal) -> Vec<String> {
    let Proposal::Grouped { groups, .. } = proposal else { return Vec::new() };
    let line = |AuthoredGroup { name, members, prefixes, .. }: &AuthoredGroup| {
        let members = members.iter().map(ToString::to_string);
        let all: Vec<String> = members.chain(prefixes.iter().map(ToString::to_string)).collect();
        format!("makes group {name} of {}", list(&all))
    };
    groups.iter().map(line).collect()
}

/// Returns what was made, by its number where it has one: `relationship 41: allow a -> b TCP 80`.
pub fn made_words(made: &Proposal) -> String {
    match made.rule_id() {
        Some(id) => {
            let kind = if matches!(made, Proposal::Rule(_)) { "rule" } else { "relationship" };
            format!("{kind} {id}: {}", summary(made))
        }
        None => summary(made),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::object;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: ProposalFlags,
    }

    fn edited(draft: &str, line: &str) -> Result<Proposal, String> {
        let words = ["edit"].into_iter().chain(line.split_whitespace());
        let Line { flags } = Line::try_parse_from(words).unwrap();
        flags.edited(object(draft).unwrap()).map_err(|error| error.to_string())
    }

    const RULE: &str = r#"{"kind":"rule","group_name":"Web","direction":"egress","peer":["10.0.0.1/32"],
        "protocol":"TCP","port_range":"80","action":"allow"}"#;
    const GROUPED: &str = r#"{"kind":"grouped","groups":[{"name":"new","members":["e1"],"prefixes":["10.0.0.9/32"]}],
        "relationship":{"source_group_name":"new","destination_group_name":"Db","action":"allow"}}"#;
    const MEMBERSHIP: &str = r#"{"kind":"membership","endpoint":"e1","group":"Web","join":true}"#;

    #[test]
    fn each_kind_takes_its_own_flags() {
        let rule = edited(RULE, "--peer 10.0.0.0/24,10.0.1.0/24 --port-range 80,443").unwrap();
        assert_eq!(summary(&rule), "allow Web -> 10.0.0.0/24, 10.0.1.0/24 TCP 80,443");
        let joined = edited(MEMBERSHIP, "--group Db").unwrap();
        assert_eq!(summary(&joined), "e1 joins Db");
        let grouped = edited(GROUPED, "--action deny").unwrap();
        assert_eq!(summary(&grouped), "deny new -> Db any, making new");
        assert_eq!(group_lines(&grouped), ["makes group new of e1, 10.0.0.9/32"]);
        let named = edited(GROUPED, "--source Web").unwrap();
        assert_eq!((named.kind(), group_lines(&named).len()), ("relationship", 0));
    }

    #[test]
    fn a_flag_of_another_kind_is_named() {
        for (draft, line, expected) in [
            (RULE, "--source Web", "--source and --destination: not for a rule"),
            (GROUPED, "--peer 10.0.0.0/8", "--direction and --peer: not for a grouped"),
            (MEMBERSHIP, "--action deny", "the flags of rules: not for a membership"),
            (RULE, "--endpoint e2", "--endpoint: not for a rule"),
            (RULE, "", "nothing to change"),
        ] {
            let shown = edited(draft, line).unwrap_err();
            assert!(shown.starts_with(expected), "{shown}");
        }
    }
}
