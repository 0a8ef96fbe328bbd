//! Proposals and alternatives, both ways.

use crate::fault::{At, Problem, WireFault, Within};
use crate::field::messages;
use crate::wire;
use crate::wire::proposal::Kind;
use meshgate_policy::limits::PROPOSED_GROUPS_MAX;
use meshgate_policy::suggestion::{Alternative, Proposal};
use meshgate_policy::{AuthoredGroup, AuthoredGroupRule, AuthoredRelationship, Name};

impl TryFrom<wire::Proposal> for Proposal {
    type Error = WireFault;
    fn try_from(message: wire::Proposal) -> Result<Self, WireFault> {
        let wire::Proposal { kind } = message;
        match kind.ok_or(Problem::Missing).at("kind")? {
            Kind::Relationship(message) => {
                AuthoredRelationship::try_from(message).within("relationship").map(Self::Relationship)
            }
            Kind::Rule(message) => AuthoredGroupRule::try_from(message).within("rule").map(Self::Rule),
            Kind::Grouped(message) => grouped(message).within("grouped"),
            Kind::Membership(message) => membership(&message).within("membership"),
        }
    }
}

fn grouped(message: wire::GroupedRelationship) -> Result<Proposal, WireFault> {
    let wire::GroupedRelationship { groups, relationship } = message;
    let relationship = relationship.ok_or(Problem::Missing).at("relationship")?;
    Ok(Proposal::Grouped {
        groups: messages(groups, "groups", PROPOSED_GROUPS_MAX, AuthoredGroup::try_from)?,
        relationship: AuthoredRelationship::try_from(relationship).within("relationship")?,
    })
}

fn membership(message: &wire::MembershipChange) -> Result<Proposal, WireFault> {
    let wire::MembershipChange { endpoint, group, join } = message;
    let (endpoint, group) = (Name::new(endpoint).at("endpoint")?, Name::new(group).at("group")?);
    Ok(Proposal::Membership { endpoint, group, join: *join })
}

impl From<&Proposal> for wire::Proposal {
    fn from(proposal: &Proposal) -> Self {
        let kind = match proposal {
            Proposal::Relationship(relationship) => Kind::Relationship(relationship.into()),
            Proposal::Rule(rule) => Kind::Rule(rule.into()),
            Proposal::Grouped { groups, relationship } => Kind::Grouped(wire::GroupedRelationship {
                groups: groups.iter().map(Into::into).collect(),
                relationship: Some(relationship.into()),
            }),
            Proposal::Membership { endpoint, group, join } => Kind::Membership(wire::MembershipChange {
                endpoint: endpoint.to_string(),
                group: group.to_string(),
                join: *join,
            }),
        };
        Self { kind: Some(kind) }
    }
}

impl From<wire::GroupRelationship> for wire::Proposal {
    fn from(relationship: wire::GroupRelationship) -> Self {
        Self { kind: Some(Kind::Relationship(relationship)) }
    }
}

impl TryFrom<wire::Alternative> for Alternative {
    type Error = WireFault;
    fn try_from(message: wire::Alternative) -> Result<Self, WireFault> {
        let wire::Alternative { proposal, over_permissiveness, coverage } = message;
        let proposal = proposal.ok_or(Problem::Missing).at("proposal")?;
        let proposal = Proposal::try_from(proposal).within("proposal")?;
        Ok(Self { proposal, over_permissiveness, coverage })
    }
}

impl From<&Alternative> for wire::Alternative {
    fn from(alternative: &Alternative) -> Self {
        let Alternative { proposal, over_permissiveness, coverage } = alternative;
        Self {
            proposal: Some(proposal.into()),
            over_permissiveness: *over_permissiveness,
            coverage: *coverage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(message: wire::Proposal) -> String {
        Proposal::try_from(message).unwrap_err().to_string()
    }

    #[test]
    fn each_kind_survives_the_wire() {
        let sides = "source_group_name = 'a'\ndestination_group_name = 'b'\naction = 'deny'";
        let texts = [
            format!("kind = 'relationship'\n{sides}"),
            "kind = 'rule'\ngroup_name = 'a'\ndirection = 'egress'\npeer = ['10.0.0.0/8']\naction = 'allow'"
                .into(),
            format!(
                "kind = 'grouped'\ngroups = [{{ name = 'a', prefixes = ['10.0.0.1/32'] }}]\n[relationship]\n{sides}"
            ),
            "kind = 'membership'\nendpoint = 'e'\ngroup = 'g'\njoin = false".into(),
        ];
        for text in texts {
            let proposal: Proposal = toml::from_str(&text).unwrap();
            assert_eq!(Proposal::try_from(wire::Proposal::from(&proposal)), Ok(proposal));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert_eq!(refusal(wire::Proposal { kind: None }), "kind: is missing");
        let membership = |endpoint: &str, group: &str| wire::Proposal {
            kind: Some(Kind::Membership(wire::MembershipChange {
                endpoint: endpoint.into(),
                group: group.into(),
                join: true,
            })),
        };
        assert!(refusal(membership("", "g")).starts_with("membership.endpoint: "));
        assert!(refusal(membership("e", "a b")).starts_with("membership.group: "));
        let grouped = |groups: usize| wire::Proposal {
            kind: Some(Kind::Grouped(wire::GroupedRelationship {
                groups: vec![wire::AuthoredGroup { name: "g".into(), ..Default::default() }; groups],
                relationship: None,
            })),
        };
        assert_eq!(refusal(grouped(1)), "grouped.relationship: is missing");
        let message = wire::Alternative::default();
        assert_eq!(Alternative::try_from(message).unwrap_err().to_string(), "proposal: is missing");
    }
}
