//! Stages 5 to 7 read straight from what people wrote: by name, label and selector. The oracle of `resolve`.
//!
//! It shares no code with `resolve` or [`crate::Policy::decide`] beyond the questions of one value ("does this prefix
//! hold that address"): a mistake in sorting, numbering or expanding selectors would otherwise be made twice. It is slow
//! on purpose and serves tests and explanations only.

use crate::address::is_group_address;
use crate::authored::{AuthoredEndpoint, AuthoredGroup, AuthoredPolicy, Direction};
use crate::decide::Stage;
use crate::ids::RuleId;
use crate::name::Name;
use crate::policy::IntraGroup;
use crate::ports::PortSet;
use crate::protocol::{L4Key, ProtocolMatch};
use crate::rule::{Action, Mode};
use std::net::IpAddr;

/// What stages 5 to 7 look at, with the segment by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthoredKey {
    /// Segment of both addresses.
    pub segment: Name,
    /// Source address.
    pub source: IpAddr,
    /// Destination address; of the same family.
    pub destination: IpAddr,
    /// Protocol, ports, ICMP type and code.
    pub l4: L4Key,
}

/// The verdict of stages 5 to 7, by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthoredDecision {
    /// [`Stage::Rules`], [`Stage::Membership`] or [`Stage::Default`].
    pub stage: Stage,
    /// What happens to the packet.
    pub action: Action,
    /// The number of the rule, at stage 5, if it has one yet.
    pub rule: Option<RuleId>,
    /// The note of the rule, at stage 5.
    pub note: String,
    /// The common groups with the action that decided, at stage 6, in order of writing. The resolved policy names the
    /// lowest numbered of them.
    pub groups: Vec<Name>,
}

/// What both kinds of rule are here.
struct Candidate<'a> {
    priority: u16,
    action: Action,
    is_relationship: bool,
    id: Option<RuleId>,
    note: &'a str,
}

impl AuthoredPolicy {
    /// Returns the verdict of stages 5 to 7 on a policy without faults.
    pub fn decide(&self, key: &AuthoredKey) -> AuthoredDecision {
        self.decide_in(key, &[Mode::Enforce])
    }

    /// Returns what would be decided with every shadow rule enforced, if the action differs because of one.
    pub fn decide_shadow(&self, key: &AuthoredKey) -> Option<AuthoredDecision> {
        let shadow = self.decide_in(key, &[Mode::Enforce, Mode::Shadow]);
        (shadow.action != self.decide(key).action).then_some(shadow)
    }

    fn decide_in(&self, key: &AuthoredKey, modes: &[Mode]) -> AuthoredDecision {
        let mut first: Option<Candidate<'_>> = None;
        for candidate in self.candidates(key, modes) {
            if first.as_ref().is_none_or(|first| goes_before(&candidate, first)) {
                first = Some(candidate);
            }
        }
        if let Some(Candidate { action, id, note, .. }) = first {
            let note = note.to_owned();
            return AuthoredDecision { stage: Stage::Rules, action, rule: id, note, groups: Vec::new() };
        }
        let common = self.groups.iter().filter(|group| {
            self.is_in(group, &key.segment, key.source) && self.is_in(group, &key.segment, key.destination)
        });
        let (denying, allowing): (Vec<_>, Vec<_>) =
            common.partition(|group| group.intra_group == IntraGroup::Deny);
        let (stage, action, groups) = match (denying.is_empty(), allowing.is_empty()) {
            (false, _) => (Stage::Membership, Action::Deny, denying),
            (true, false) => (Stage::Membership, Action::Allow, allowing),
            (true, true) => (Stage::Default, self.default_action, Vec::new()),
        };
        let groups = groups.into_iter().map(|group| group.name.clone()).collect();
        AuthoredDecision { stage, action, rule: None, note: String::new(), groups }
    }

    /// Returns the rules of these modes that match the packet, in order of writing.
    fn candidates<'a>(
        &'a self,
        key: &'a AuthoredKey,
        modes: &'a [Mode],
    ) -> impl Iterator<Item = Candidate<'a>> {
        let relationships = self.relationships.iter().filter(move |rule| {
            modes.contains(&rule.mode)
                && fits(key.l4, rule.protocol, &rule.port_range, (rule.icmp_type, rule.icmp_code))
                && self.holds(&rule.source_group_name, &key.segment, key.source)
                && self.holds(&rule.destination_group_name, &key.segment, key.destination)
        });
        let rules = self.rules.iter().filter(move |rule| {
            let (own, peer) = match rule.direction {
                Direction::Ingress => (key.destination, key.source),
                Direction::Egress => (key.source, key.destination),
            };
            modes.contains(&rule.mode)
                && fits(key.l4, rule.protocol, &rule.port_range, (rule.icmp_type, rule.icmp_code))
                && self.holds(&rule.group_name, &key.segment, own)
                && (rule.peer.is_empty() || rule.peer.iter().any(|prefix| prefix.contains(peer)))
        });
        let relationships = relationships.map(|rule| Candidate {
            priority: rule.priority.0,
            action: rule.action,
            is_relationship: true,
            id: rule.id,
            note: &rule.note,
        });
        relationships.chain(rules.map(|rule| Candidate {
            priority: rule.priority.0,
            action: rule.action,
            is_relationship: false,
            id: rule.id,
            note: &rule.note,
        }))
    }

    /// Returns whether the group of this name, built-in ones included, holds the address.
    fn holds(&self, group: &Name, segment: &Name, address: IpAddr) -> bool {
        match group.as_str() {
            "any" => true,
            "multicast" => is_group_address(address),
            "external" => {
                let in_prefix = |group: &AuthoredGroup| {
                    group.segment == *segment && group.prefixes.iter().any(|prefix| prefix.contains(address))
                };
                !is_group_address(address)
                    && self.owner(segment, address).is_none()
                    && !self.groups.iter().any(in_prefix)
            }
            _ => self.groups.iter().any(|known| known.name == *group && self.is_in(known, segment, address)),
        }
    }

    fn is_in(&self, group: &AuthoredGroup, segment: &Name, address: IpAddr) -> bool {
        if group.segment == *segment && group.prefixes.iter().any(|prefix| prefix.contains(address)) {
            return true;
        }
        let Some(owner) = self.owner(segment, address) else { return false };
        let is_selected = !group.selector.is_empty()
            && group.selector.iter().all(|(key, value)| owner.labels.get(key) == Some(value));
        is_selected || group.members.contains(&owner.name)
    }

    fn owner(&self, segment: &Name, address: IpAddr) -> Option<&AuthoredEndpoint> {
        let owns = |e: &AuthoredEndpoint| e.addresses.contains(&address) || e.leased.contains(&address);
        self.endpoints.iter().find(|e| e.segment == *segment && owns(e))
    }
}

/// Returns whether the layer-4 fields of a rule take the packet.
fn fits(
    key: L4Key,
    protocol: ProtocolMatch,
    ports: &PortSet,
    (icmp_type, icmp_code): (Option<u8>, Option<u8>),
) -> bool {
    let ProtocolMatch::Is(protocol) = protocol else { return true };
    if key.protocol != protocol {
        return false;
    }
    if protocol.has_ports() {
        return ports.contains(key.destination_port);
    }
    icmp_type.is_none_or(|wanted| key.source_port == u16::from(wanted))
        && icmp_code.is_none_or(|wanted| key.destination_port == u16::from(wanted))
}

/// Returns whether `a` is asked before `b`. A rule without a number goes behind those that have one, because the number
/// it will be given is larger; `b` was written first.
fn goes_before(a: &Candidate<'_>, b: &Candidate<'_>) -> bool {
    if a.priority != b.priority {
        return a.priority > b.priority;
    }
    let (a_allows, b_allows) = (a.action == Action::Allow, b.action == Action::Allow);
    if a_allows != b_allows {
        return b_allows;
    }
    if a.is_relationship != b.is_relationship {
        return a.is_relationship;
    }
    match (a.id, b.id) {
        (Some(a), Some(b)) => a.0 < b.0,
        (Some(_), None) => true,
        (None, _) => false,
    }
}
