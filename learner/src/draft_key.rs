//! What makes two drafts the same one.

use meshgate_policy::suggestion::Proposal;
use meshgate_policy::{
    AuthoredGroup, AuthoredGroupRule, AuthoredRelationship, Direction, Name, PortSet, Prefix, ProtocolMatch,
};
use serde::{Deserialize, Serialize};

/// What a draft says, without priority, mode and note: drafts with the same key are the same draft.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DraftKey {
    /// Source: a group by its name, or a list: prefixes, and endpoints with an `@` before their names.
    pub source: String,
    /// Destination, likewise.
    pub destination: String,
    /// Protocol, ports, ICMP type and code, as policy files write them.
    pub service: String,
    /// Action.
    pub action: String,
}

impl DraftKey {
    /// Returns the key of a draft.
    pub fn of(draft: &Proposal) -> Self {
        match draft {
            Proposal::Relationship(relationship) => Self::of_relationship(relationship, &[]),
            Proposal::Grouped { groups, relationship } => Self::of_relationship(relationship, groups),
            Proposal::Rule(rule) => Self::of_rule(rule),
            Proposal::Membership { endpoint, group, join } => Self {
                source: listed(std::slice::from_ref(endpoint), &[]),
                destination: group.to_string(),
                service: "membership".to_owned(),
                action: if *join { "join" } else { "leave" }.to_owned(),
            },
        }
    }

    /// Returns the key of a rule between groups. A group that is to be made counts by who is in it, not by its name.
    fn of_relationship(draft: &AuthoredRelationship, made: &[AuthoredGroup]) -> Self {
        let side = |name: &Name| match made.iter().find(|group| group.name == *name) {
            Some(group) => listed(&group.members, &group.prefixes),
            None => name.to_string(),
        };
        Self {
            source: side(&draft.source_group_name),
            destination: side(&draft.destination_group_name),
            service: service(draft.protocol, &draft.port_range, [draft.icmp_type, draft.icmp_code]),
            action: draft.action.to_string(),
        }
    }

    fn of_rule(draft: &AuthoredGroupRule) -> Self {
        let group = draft.group_name.to_string();
        let peer = if draft.peer.is_empty() { "any".to_owned() } else { listed(&[], &draft.peer) };
        let (source, destination) = match draft.direction {
            Direction::Ingress => (peer, group),
            Direction::Egress => (group, peer),
        };
        Self {
            source,
            destination,
            service: service(draft.protocol, &draft.port_range, [draft.icmp_type, draft.icmp_code]),
            action: draft.action.to_string(),
        }
    }

    /// Returns whether this draft says all that another does, and maybe more ports.
    pub fn covers(&self, other: &Self) -> bool {
        let parts = |key: &Self| {
            let mut words = key.service.splitn(3, ' ').map(str::to_owned);
            Some((words.next()?, words.next()?.parse::<PortSet>().ok()?, words.next()?))
        };
        let (Some((protocol, ports, icmp)), Some((other_protocol, other_ports, other_icmp))) =
            (parts(self), parts(other))
        else {
            return self == other;
        };
        let contains = |range: &meshgate_policy::PortRange| {
            ports.ranges().iter().any(|own| own.first() <= range.first() && range.last() <= own.last())
        };
        (&self.source, &self.destination, &self.action) == (&other.source, &other.destination, &other.action)
            && (protocol, icmp) == (other_protocol, other_icmp)
            && (ports.is_all() || (!other_ports.is_all() && other_ports.ranges().iter().all(contains)))
    }
}

/// Returns endpoints and prefixes as one text, in order.
fn listed(members: &[Name], prefixes: &[Prefix]) -> String {
    let members = members.iter().map(|name| format!("@{name}"));
    let mut all: Vec<String> = members.chain(prefixes.iter().map(ToString::to_string)).collect();
    all.sort_unstable();
    all.join(",")
}

fn service(protocol: ProtocolMatch, ports: &PortSet, [icmp_type, icmp_code]: [Option<u8>; 2]) -> String {
    let number = |number: Option<u8>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    format!("{protocol} {ports} {} {}", number(icmp_type), number(icmp_code))
}
