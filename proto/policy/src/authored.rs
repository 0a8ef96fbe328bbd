//! What people write: names, labels, selectors. The form of policy files, of the command line and of control's store.
//!
//! The seed's field names (`sourceGroupName`, `portRange`, ...) are accepted beside ours.

use crate::address::{Mac, Prefix};
use crate::name::Name;
use crate::policy::{EndpointFlags, IntraGroup};
use crate::ports::PortSet;
use crate::protocol::{L4Match, L4MatchError, ProtocolMatch};
use crate::rule::{Action, Mode, Priority, UnknownWord, words};
use crate::{RuleId, limits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A whole policy as people wrote it. Lists are in the order of writing, which never matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthoredPolicy {
    /// What happens to a packet that neither a rule nor membership decides: `deny`, or `allow` while watching.
    #[serde(alias = "defaultAction")]
    pub default_action: Action,
    /// Segments beside `default`, which always exists.
    pub segments: Vec<AuthoredSegment>,
    /// Endpoints.
    pub endpoints: Vec<AuthoredEndpoint>,
    /// Groups.
    pub groups: Vec<AuthoredGroup>,
    /// Rules between two groups.
    pub relationships: Vec<AuthoredRelationship>,
    /// Rules between a group and addresses.
    pub rules: Vec<AuthoredGroupRule>,
}

impl Default for AuthoredPolicy {
    fn default() -> Self {
        Self {
            default_action: Action::Deny,
            segments: Vec::new(),
            endpoints: Vec::new(),
            groups: Vec::new(),
            relationships: Vec::new(),
            rules: Vec::new(),
        }
    }
}

/// A segment: one broadcast domain with its own address space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthoredSegment {
    /// Name, unique.
    pub name: Name,
    /// Tenant; only `default` in this version.
    #[serde(default = "Name::default_name", skip_serializing_if = "is_default_name")]
    pub tenant: Name,
}

/// The host and device behind which an endpoint sits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Home {
    /// The host's name.
    pub host: Name,
    /// The device's name on that host, as the kernel knows it.
    pub device: String,
}

/// One network interface of one virtual machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthoredEndpoint {
    /// Name, unique.
    pub name: Name,
    /// Tenant; only `default` in this version.
    #[serde(default = "Name::default_name", skip_serializing_if = "is_default_name")]
    pub tenant: Name,
    /// Segment.
    #[serde(default = "Name::default_name", skip_serializing_if = "is_default_name")]
    pub segment: Name,
    /// MAC address.
    pub mac: Mac,
    /// IP addresses.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Labels that selectors look at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Home, if fixed by the author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Home>,
    /// What it may do beyond an ordinary endpoint.
    #[serde(default, skip_serializing_if = "is_ordinary")]
    pub flags: EndpointFlags,
    /// Prefixes behind it; only with the flag `router`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Prefix>,
    /// Addresses it leases by DHCP, sorted. Control alone writes them, as hosts report them; what people write here is
    /// shown, and counts for nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leased: Vec<IpAddr>,
}

/// A named set of endpoints and prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthoredGroup {
    /// Name, unique, not one of the built-in `any`, `external`, `multicast`.
    pub name: Name,
    /// Tenant; only `default` in this version.
    #[serde(default = "Name::default_name", skip_serializing_if = "is_default_name")]
    pub tenant: Name,
    /// Segment in which the prefixes hold.
    #[serde(default = "Name::default_name", skip_serializing_if = "is_default_name")]
    pub segment: Name,
    /// Endpoints listed by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Name>,
    /// Labels that an endpoint must all carry to be a member; none selects nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
    /// Prefixes whose addresses are members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<Prefix>,
    /// Whether members may talk to each other where no rule decides.
    #[serde(default, alias = "intraGroup", skip_serializing_if = "allows_intra_group")]
    pub intra_group: IntraGroup,
}

/// A rule between two groups: the seed's `GroupRelationship` with number, mode and note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthoredRelationship {
    /// Number given by control; absent in what has not been committed.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rule_number")]
    pub id: Option<RuleId>,
    /// Tenant; only `default` in this version.
    #[serde(default = "Name::default_name", skip_serializing_if = "is_default_name")]
    pub tenant: Name,
    /// Source group, or a built-in one.
    #[serde(alias = "sourceGroupName")]
    pub source_group_name: Name,
    /// Destination group, or a built-in one.
    #[serde(alias = "destinationGroupName")]
    pub destination_group_name: Name,
    /// Protocol.
    #[serde(default)]
    pub protocol: ProtocolMatch,
    /// Destination ports.
    #[serde(default, alias = "portRange", skip_serializing_if = "PortSet::is_all")]
    pub port_range: PortSet,
    /// ICMP type.
    #[serde(default, alias = "icmpType", skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// ICMP code.
    #[serde(default, alias = "icmpCode", skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// Action.
    pub action: Action,
    /// Priority.
    #[serde(default)]
    pub priority: Priority,
    /// Mode.
    #[serde(default)]
    pub mode: Mode,
    /// Free text, at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Which side of a group rule the group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Direction {
    /// From the peer to the group.
    Ingress,
    /// From the group to the peer.
    Egress,
}
words!(Direction, "direction", "ingress, egress", Ingress = "ingress", Egress = "egress");

/// A rule between one group and addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthoredGroupRule {
    /// Number given by control; absent in what has not been committed.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rule_number")]
    pub id: Option<RuleId>,
    /// Tenant; only `default` in this version.
    #[serde(default = "Name::default_name", skip_serializing_if = "is_default_name")]
    pub tenant: Name,
    /// The group, or a built-in one.
    #[serde(alias = "groupName")]
    pub group_name: Name,
    /// Whether the group is the destination (ingress) or the source (egress).
    pub direction: Direction,
    /// Prefixes of the other side; none means any address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer: Vec<Prefix>,
    /// Protocol.
    #[serde(default)]
    pub protocol: ProtocolMatch,
    /// Destination ports.
    #[serde(default, alias = "portRange", skip_serializing_if = "PortSet::is_all")]
    pub port_range: PortSet,
    /// ICMP type.
    #[serde(default, alias = "icmpType", skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// ICMP code.
    #[serde(default, alias = "icmpCode", skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// Action.
    pub action: Action,
    /// Priority.
    #[serde(default)]
    pub priority: Priority,
    /// Mode.
    #[serde(default)]
    pub mode: Mode,
    /// Free text, at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl AuthoredEndpoint {
    /// Returns every address it owns: those written and those leased, sorted.
    pub fn owned(&self) -> Vec<IpAddr> {
        let mut owned = [&self.addresses[..], &self.leased].concat();
        owned.sort_unstable();
        owned.dedup();
        owned
    }
}

impl AuthoredRelationship {
    /// Returns the layer-4 match, or which field does not fit.
    pub fn l4_match(&self) -> Result<L4Match, L4MatchError> {
        L4Match::new(self.protocol, &self.port_range, self.icmp_type, self.icmp_code)
    }
}

impl AuthoredGroupRule {
    /// Returns the layer-4 match, or which field does not fit.
    pub fn l4_match(&self) -> Result<L4Match, L4MatchError> {
        L4Match::new(self.protocol, &self.port_range, self.icmp_type, self.icmp_code)
    }
}

impl Priority {
    /// Returns whether no draft of the learner may outrank a rule of this priority.
    pub fn is_protected(self) -> bool {
        self.0 > limits::PROTECTED_ABOVE_PRIORITY
    }
}

fn is_default_name(name: &Name) -> bool {
    name.as_str() == "default"
}

fn is_ordinary(flags: &EndpointFlags) -> bool {
    *flags == EndpointFlags::default()
}

fn allows_intra_group(intra: &IntraGroup) -> bool {
    *intra == IntraGroup::Allow
}

/// Reads and writes an optional rule number as a plain integer.
mod rule_number {
    use crate::RuleId;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "the signature that serde calls")]
    pub fn serialize<S: Serializer>(id: &Option<RuleId>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(id.map_or(0, |id| id.0))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<RuleId>, D::Error> {
        Ok(Some(u32::deserialize(from)?).filter(|id| *id != 0).map(RuleId))
    }
}
