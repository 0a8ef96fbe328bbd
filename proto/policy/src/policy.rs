//! The resolved policy: what the wire carries, what a host keeps on disk, what the digest covers.

use crate::address::{Mac, Prefix};
use crate::ids::{EndpointId, GroupId, PolicyVersion, SegmentId};
use crate::name::Name;
use crate::rule::{Action, Rule, words};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::rule::UnknownWord;

/// Whether members of a group may talk to each other where no rule decides (stage 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum IntraGroup {
    /// They may.
    #[default]
    Allow,
    /// They may not, also where another common group would let them.
    Deny,
}
words!(IntraGroup, "intra_group", "allow, deny", Allow = "allow", Deny = "deny");

/// One L2 broadcast domain with its own address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Number.
    pub id: SegmentId,
    /// Name.
    pub name: Name,
    /// The tenant the segment belongs to.
    pub tenant: Name,
}

/// A named set of addresses: those of its endpoints and those in its prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Number, never reused; not a built-in one.
    pub id: GroupId,
    /// Name.
    pub name: Name,
    /// The segment in which the prefixes hold.
    pub segment: SegmentId,
    /// Prefixes, sorted, without repeats.
    pub prefixes: Vec<Prefix>,
    /// Endpoints, sorted, without repeats.
    pub endpoints: Vec<EndpointId>,
    /// What stage 6 does for two members.
    pub intra_group: IntraGroup,
}

/// What an endpoint may do beyond an ordinary one (stage 2). All false for an ordinary one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EndpointFlags {
    /// May send from and receive for `routes`.
    pub router: bool,
    /// May answer as a DHCP server.
    pub dhcp_server: bool,
    /// May send router advertisements.
    pub router_advertiser: bool,
    /// Gets addresses by DHCP: what an endpoint flagged `dhcp_server` leases to it becomes one of its addresses.
    pub dhcp_client: bool,
}

/// One network interface of one virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Number, never reused.
    pub id: EndpointId,
    /// Name.
    pub name: Name,
    /// The segment it is in.
    pub segment: SegmentId,
    /// Its MAC address, unique in the segment.
    pub mac: Mac,
    /// Its IP addresses, sorted, without repeats, each of at most one endpoint of the segment.
    pub addresses: Vec<IpAddr>,
    /// Prefixes behind it; used only with the flag `router`.
    pub routes: Vec<Prefix>,
    /// What it may do beyond an ordinary endpoint.
    pub flags: EndpointFlags,
    /// The host it is at, if known.
    pub host: Option<Name>,
    /// The device of that host it is behind, if known.
    pub device: Option<String>,
}

/// A resolved policy. All lists are sorted by number, rules by [`Rule::order`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Version.
    pub version: PolicyVersion,
    /// Segments.
    pub segments: Vec<Segment>,
    /// Groups, without the built-in ones.
    pub groups: Vec<Group>,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Rules in final order: the first match decides.
    pub rules: Vec<Rule>,
    /// What happens to a packet that neither a rule nor membership decides (stage 7).
    pub default_action: Action,
}

impl Policy {
    /// Returns the policy without any content, which lets pass or drops everything.
    pub fn empty(default_action: Action) -> Self {
        Self {
            version: PolicyVersion(0),
            segments: vec![Segment {
                id: SegmentId::DEFAULT,
                name: Name::default_name(),
                tenant: Name::default_name(),
            }],
            groups: Vec::new(),
            endpoints: Vec::new(),
            rules: Vec::new(),
            default_action,
        }
    }

    /// Returns the group with this number.
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.binary_search_by_key(&id, |group| group.id).ok().map(|at| &self.groups[at])
    }

    /// Returns the name of a group, built-in ones included, or its number as text.
    pub fn group_name(&self, id: GroupId) -> String {
        match (id.built_in_name(), self.group(id)) {
            (Some(name), _) => name.to_owned(),
            (None, Some(group)) => group.name.to_string(),
            (None, None) => id.to_string(),
        }
    }

    /// Returns the endpoint with this number.
    pub fn endpoint(&self, id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.binary_search_by_key(&id, |endpoint| endpoint.id).ok().map(|at| &self.endpoints[at])
    }
}
