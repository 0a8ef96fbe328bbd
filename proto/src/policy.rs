//! Resolved policies, both ways. What comes out of a message keeps every promise of [`Policy`]: sorted lists, numbers
//! that exist, one owner of an address.

use crate::fault::{At, Problem, WireFault, Within};
use crate::field::{
    action_from_wire, check_text, entries, given, ip_address, ip_bytes, mac, messages, narrow, optional_name,
};
use crate::wire;
use meshgate_policy::limits::{
    ADDRESSES_PER_ENDPOINT_MAX, DEVICE_NAME_BYTES_MAX, ENDPOINTS_MAX, GROUPS_MAX, PREFIXES_PER_GROUP_MAX,
    ROUTES_PER_ENDPOINT_MAX, RULES_MAX, SEGMENTS_MAX,
};
use meshgate_policy::{
    Action, Digest, Endpoint, EndpointFlags, EndpointId, Group, GroupId, IntraGroup, Name, Policy,
    PolicyVersion, Prefix, Rule, Segment, SegmentId, Side,
};
use std::collections::HashSet;

impl TryFrom<wire::Policy> for Policy {
    type Error = WireFault;
    fn try_from(message: wire::Policy) -> Result<Self, WireFault> {
        let wire::Policy { version, digest, segments, groups, endpoints, rules, default_action } = message;
        let policy = Self {
            version: PolicyVersion(version),
            segments: messages(segments, "segments", SEGMENTS_MAX + 1, Segment::try_from)?,
            groups: messages(groups, "groups", GROUPS_MAX, Group::try_from)?,
            endpoints: messages(endpoints, "endpoints", ENDPOINTS_MAX, Endpoint::try_from)?,
            rules: messages(rules, "rules", RULES_MAX, Rule::try_from)?,
            default_action: action_from_wire(default_action).at("default_action")?,
        };
        check_policy(&policy)?;
        check_digest(&policy, &digest)?;
        Ok(policy)
    }
}

impl From<&Policy> for wire::Policy {
    fn from(policy: &Policy) -> Self {
        let Policy { version, segments, groups, endpoints, rules, default_action } = policy;
        Self {
            version: version.0,
            digest: policy.digest().0.to_vec(),
            segments: segments.iter().map(Into::into).collect(),
            groups: groups.iter().map(Into::into).collect(),
            endpoints: endpoints.iter().map(Into::into).collect(),
            rules: rules.iter().map(Into::into).collect(),
            default_action: wire::Action::from(*default_action).into(),
        }
    }
}

/// Returns which promise of [`Policy`] this one breaks, if it breaks one: lists are sorted, numbers exist, an address has
/// one owner. A policy that came in a message keeps all; one that a delta led to has to be asked, because a delta is
/// right in itself and may yet take away what others name.
pub fn check_policy(policy: &Policy) -> Result<(), WireFault> {
    check_order(policy)?;
    check_references(policy)?;
    check_owners(policy)
}

/// Lists are sorted by number and rules by their order, without repeats: whoever receives them may search by halves.
fn check_order(policy: &Policy) -> Result<(), WireFault> {
    sorted_by(&policy.segments, "segments", |segment| segment.id)?;
    sorted_by(&policy.groups, "groups", |group| group.id)?;
    sorted_by(&policy.endpoints, "endpoints", |endpoint| endpoint.id)?;
    sorted_by(&policy.rules, "rules", Rule::order)?;
    for (i, group) in policy.groups.iter().enumerate() {
        sorted_by(&group.prefixes, "prefixes", |prefix| *prefix).within_entry("groups", i)?;
        sorted_by(&group.endpoints, "endpoints", |id| *id).within_entry("groups", i)?;
    }
    for (i, endpoint) in policy.endpoints.iter().enumerate() {
        sorted_by(&endpoint.addresses, "addresses", |address| *address).within_entry("endpoints", i)?;
        sorted_by(&endpoint.routes, "routes", |route| *route).within_entry("endpoints", i)?;
    }
    let mut seen = HashSet::with_capacity(policy.rules.len());
    for (i, rule) in policy.rules.iter().enumerate() {
        if !seen.insert(rule.id) {
            return Err(Problem::Twice(rule.id.to_string())).at_entry("rules", i);
        }
    }
    Ok(())
}

fn sorted_by<T, K: Ord>(list: &[T], field: &str, key: impl Fn(&T) -> K) -> Result<(), WireFault> {
    match list.windows(2).position(|pair| key(&pair[0]) >= key(&pair[1])) {
        Some(at) => Err(Problem::Order).at_entry(field, at + 1),
        None => Ok(()),
    }
}

fn check_references(policy: &Policy) -> Result<(), WireFault> {
    let segments: HashSet<SegmentId> = policy.segments.iter().map(|segment| segment.id).collect();
    let segment = |id: SegmentId| match segments.contains(&id) {
        true => Ok(()),
        false => Err(Problem::Unknown("segment", id.0.into())).at("segment"),
    };
    for (i, endpoint) in policy.endpoints.iter().enumerate() {
        segment(endpoint.segment).within_entry("endpoints", i)?;
    }
    let endpoints: HashSet<EndpointId> = policy.endpoints.iter().map(|endpoint| endpoint.id).collect();
    for (i, group) in policy.groups.iter().enumerate() {
        segment(group.segment).within_entry("groups", i)?;
        if let Some(at) = group.endpoints.iter().position(|id| !endpoints.contains(id)) {
            let unknown = Problem::Unknown("endpoint", group.endpoints[at].0);
            return Err(unknown).at_entry("endpoints", at).within_entry("groups", i);
        }
    }
    let is_known = |side: &Side| match side {
        Side::Group(id) if id.built_in_name().is_none() && policy.group(*id).is_none() => {
            Err(Problem::Unknown("group", id.0)).at("group")
        }
        Side::Group(_) | Side::Prefixes(_) => Ok(()),
    };
    for (i, rule) in policy.rules.iter().enumerate() {
        is_known(&rule.source).within("source").within_entry("rules", i)?;
        is_known(&rule.destination).within("destination").within_entry("rules", i)?;
    }
    Ok(())
}

/// A MAC address names one endpoint of a segment, and so does an IP address.
fn check_owners(policy: &Policy) -> Result<(), WireFault> {
    let (mut macs, mut addresses) = (HashSet::new(), HashSet::new());
    for (i, endpoint) in policy.endpoints.iter().enumerate() {
        if !macs.insert((endpoint.segment, endpoint.mac)) {
            return Err(Problem::Twice(endpoint.mac.to_string())).at("mac").within_entry("endpoints", i);
        }
        for address in &endpoint.addresses {
            if !addresses.insert((endpoint.segment, *address)) {
                return Err(Problem::Twice(address.to_string())).at("addresses").within_entry("endpoints", i);
            }
        }
    }
    Ok(())
}

/// The digest tells the receiver that the message holds what control resolved.
fn check_digest(policy: &Policy, digest: &[u8]) -> Result<(), WireFault> {
    let stated = Digest::try_from(digest).at("digest")?;
    if stated == policy.digest() { Ok(()) } else { Err(Problem::Digest).at("digest") }
}

impl TryFrom<wire::Segment> for Segment {
    type Error = WireFault;
    fn try_from(message: wire::Segment) -> Result<Self, WireFault> {
        let wire::Segment { id, name, tenant } = message;
        Ok(Self {
            id: segment_id(id).at("id")?,
            name: Name::new(&name).at("name")?,
            tenant: Name::new(&tenant).at("tenant")?,
        })
    }
}

impl From<&Segment> for wire::Segment {
    fn from(segment: &Segment) -> Self {
        let Segment { id, name, tenant } = segment;
        Self { id: id.0.into(), name: name.to_string(), tenant: tenant.to_string() }
    }
}

pub(crate) fn segment_id(number: u32) -> Result<SegmentId, Problem> {
    narrow(given(number)?, u16::MAX).map(SegmentId)
}

impl TryFrom<wire::Group> for Group {
    type Error = WireFault;
    fn try_from(message: wire::Group) -> Result<Self, WireFault> {
        let wire::Group { id, name, segment, prefixes, endpoints, intra_group } = message;
        Ok(Self {
            id: group_id(id).at("id")?,
            name: Name::new(&name).at("name")?,
            segment: segment_id(segment).at("segment")?,
            prefixes: messages(prefixes, "prefixes", PREFIXES_PER_GROUP_MAX, Prefix::try_from)?,
            endpoints: entries(endpoints, "endpoints", ENDPOINTS_MAX, |id| given(id).map(EndpointId))?,
            intra_group: intra_group_from_wire(intra_group).at("intra_group")?,
        })
    }
}

impl From<&Group> for wire::Group {
    fn from(group: &Group) -> Self {
        let Group { id, name, segment, prefixes, endpoints, intra_group } = group;
        let intra_group = match intra_group {
            IntraGroup::Allow => wire::Action::Allow,
            IntraGroup::Deny => wire::Action::Deny,
        };
        Self {
            id: id.0,
            name: name.to_string(),
            segment: segment.0.into(),
            prefixes: prefixes.iter().map(|prefix| (*prefix).into()).collect(),
            endpoints: endpoints.iter().map(|id| id.0).collect(),
            intra_group: intra_group.into(),
        }
    }
}

/// Returns the number of a group that is not built in.
pub(crate) fn group_id(number: u32) -> Result<GroupId, Problem> {
    let id = GroupId(given(number)?);
    if id.is_built_in() { Err(Problem::Unknown("group that is not built in", id.0)) } else { Ok(id) }
}

fn intra_group_from_wire(number: i32) -> Result<IntraGroup, Problem> {
    match action_from_wire(number)? {
        Action::Allow => Ok(IntraGroup::Allow),
        Action::Deny => Ok(IntraGroup::Deny),
        Action::Reject => Err(Problem::Enumeration(number, "1 (allow), 2 (deny)")),
    }
}

impl TryFrom<wire::Endpoint> for Endpoint {
    type Error = WireFault;
    fn try_from(message: wire::Endpoint) -> Result<Self, WireFault> {
        let wire::Endpoint { id, name, segment, mac: mac_bytes, addresses, routes, flags, host, device } =
            message;
        check_text(&device, DEVICE_NAME_BYTES_MAX).at("device")?;
        Ok(Self {
            id: EndpointId(given(id).at("id")?),
            name: Name::new(&name).at("name")?,
            segment: segment_id(segment).at("segment")?,
            mac: mac(&mac_bytes).at("mac")?,
            addresses: entries(addresses, "addresses", ADDRESSES_PER_ENDPOINT_MAX, |bytes: Vec<u8>| {
                ip_address(&bytes)
            })?,
            routes: messages(routes, "routes", ROUTES_PER_ENDPOINT_MAX, Prefix::try_from)?,
            flags: flags.map_or_else(EndpointFlags::default, Into::into),
            host: optional_name(&host).at("host")?,
            device: Some(device).filter(|device| !device.is_empty()),
        })
    }
}

impl From<&Endpoint> for wire::Endpoint {
    fn from(endpoint: &Endpoint) -> Self {
        let Endpoint { id, name, segment, mac, addresses, routes, flags, host, device } = endpoint;
        let EndpointFlags { router, dhcp_server, router_advertiser, dhcp_client } = *flags;
        Self {
            id: id.0,
            name: name.to_string(),
            segment: segment.0.into(),
            mac: mac.0.to_vec(),
            addresses: addresses.iter().map(|address| ip_bytes(*address)).collect(),
            routes: routes.iter().map(|route| (*route).into()).collect(),
            flags: Some(wire::endpoint::EndpointFlags {
                router,
                dhcp_server,
                router_advertiser,
                dhcp_client,
            }),
            host: host.as_ref().map(ToString::to_string).unwrap_or_default(),
            device: device.clone().unwrap_or_default(),
        }
    }
}

impl From<wire::endpoint::EndpointFlags> for EndpointFlags {
    fn from(message: wire::endpoint::EndpointFlags) -> Self {
        let wire::endpoint::EndpointFlags { router, dhcp_server, router_advertiser, dhcp_client } = message;
        Self { router, dhcp_server, router_advertiser, dhcp_client }
    }
}
