//! Authored policies, both ways. Field texts are those of policy files.
//!
//! Only single fields are checked here; whether they go together, and whether the names they use exist, is said by
//! `resolve`, which finds every mistake and not only the first.

use crate::fault::{At, Problem, WireFault};
use crate::field::{check_text, entries, messages, name_or_default, optional_name};
use crate::wire;
use meshgate_policy::limits::{
    ADDRESSES_PER_ENDPOINT_MAX, DEVICE_NAME_BYTES_MAX, ENDPOINTS_MAX, GROUPS_MAX, LABEL_BYTES_MAX,
    LABELS_MAX, PREFIXES_PER_GROUP_MAX, ROUTES_PER_ENDPOINT_MAX, RULES_MAX, SEGMENTS_MAX,
};
use meshgate_policy::{
    Action, AuthoredEndpoint, AuthoredGroup, AuthoredGroupRule, AuthoredPolicy, AuthoredRelationship,
    AuthoredSegment, EndpointFlags, Home, IntraGroup, Mac, Name, Prefix,
};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

impl TryFrom<wire::AuthoredPolicy> for AuthoredPolicy {
    type Error = WireFault;
    fn try_from(message: wire::AuthoredPolicy) -> Result<Self, WireFault> {
        let wire::AuthoredPolicy { default_action, segments, endpoints, groups, relationships, rules } =
            message;
        Ok(Self {
            default_action: default_action_from_wire(&default_action).at("default_action")?,
            segments: messages(segments, "segments", SEGMENTS_MAX, AuthoredSegment::try_from)?,
            endpoints: messages(endpoints, "endpoints", ENDPOINTS_MAX, AuthoredEndpoint::try_from)?,
            groups: messages(groups, "groups", GROUPS_MAX, AuthoredGroup::try_from)?,
            relationships: messages(
                relationships,
                "relationships",
                RULES_MAX,
                AuthoredRelationship::try_from,
            )?,
            rules: messages(rules, "rules", RULES_MAX, AuthoredGroupRule::try_from)?,
        })
    }
}

impl From<&AuthoredPolicy> for wire::AuthoredPolicy {
    fn from(policy: &AuthoredPolicy) -> Self {
        let AuthoredPolicy { default_action, segments, endpoints, groups, relationships, rules } = policy;
        Self {
            default_action: default_action.to_string(),
            segments: segments.iter().map(Into::into).collect(),
            endpoints: endpoints.iter().map(Into::into).collect(),
            groups: groups.iter().map(Into::into).collect(),
            relationships: relationships.iter().map(Into::into).collect(),
            rules: rules.iter().map(Into::into).collect(),
        }
    }
}

/// Returns the default action that the text names: `allow` or `deny`; `deny` if it is empty.
pub fn default_action_from_wire(text: &str) -> Result<Action, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "" | "deny" => Ok(Action::Deny),
        "allow" => Ok(Action::Allow),
        _ => Err(Problem::Word(text.to_owned(), "allow, deny")),
    }
}

impl TryFrom<wire::AuthoredSegment> for AuthoredSegment {
    type Error = WireFault;
    fn try_from(message: wire::AuthoredSegment) -> Result<Self, WireFault> {
        let wire::AuthoredSegment { name, tenant } = message;
        Ok(Self { name: Name::new(&name).at("name")?, tenant: name_or_default(&tenant).at("tenant")? })
    }
}

impl From<&AuthoredSegment> for wire::AuthoredSegment {
    fn from(segment: &AuthoredSegment) -> Self {
        let AuthoredSegment { name, tenant } = segment;
        Self { name: name.to_string(), tenant: tenant.to_string() }
    }
}

impl TryFrom<wire::AuthoredEndpoint> for AuthoredEndpoint {
    type Error = WireFault;
    fn try_from(message: wire::AuthoredEndpoint) -> Result<Self, WireFault> {
        let wire::AuthoredEndpoint {
            name,
            tenant,
            segment,
            mac,
            addresses,
            labels,
            host,
            device,
            flags,
            routes,
            leased,
        } = message;
        Ok(Self {
            name: Name::new(&name).at("name")?,
            tenant: name_or_default(&tenant).at("tenant")?,
            segment: name_or_default(&segment).at("segment")?,
            mac: mac.parse::<Mac>().at("mac")?,
            addresses: addresses_from_wire(addresses, "addresses")?,
            labels: labels_from_wire(labels).at("labels")?,
            home: home(&host, device)?,
            flags: flags.map_or_else(EndpointFlags::default, Into::into),
            routes: prefixes(routes, "routes", ROUTES_PER_ENDPOINT_MAX)?,
            leased: addresses_from_wire(leased, "leased")?,
        })
    }
}

impl From<&AuthoredEndpoint> for wire::AuthoredEndpoint {
    fn from(endpoint: &AuthoredEndpoint) -> Self {
        let AuthoredEndpoint { name, tenant, segment, mac, addresses, labels, home, flags, routes, leased } =
            endpoint;
        let (host, device) = match home {
            Some(Home { host, device }) => (host.to_string(), device.clone()),
            None => (String::new(), String::new()),
        };
        Self {
            name: name.to_string(),
            tenant: tenant.to_string(),
            segment: segment.to_string(),
            mac: mac.to_string(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            labels: labels.clone().into_iter().collect(),
            host,
            device,
            flags: Some((*flags).into()),
            routes: routes.iter().map(ToString::to_string).collect(),
            leased: leased.iter().map(ToString::to_string).collect(),
        }
    }
}

fn addresses_from_wire(texts: Vec<String>, field: &'static str) -> Result<Vec<IpAddr>, WireFault> {
    entries(texts, field, ADDRESSES_PER_ENDPOINT_MAX, |text: String| {
        text.parse::<IpAddr>().map_err(|_| Problem::IpAddress(text))
    })
}

/// Host and device are both given or both absent.
fn home(host: &str, device: String) -> Result<Option<Home>, WireFault> {
    check_text(&device, DEVICE_NAME_BYTES_MAX).at("device")?;
    match (optional_name(host).at("host")?, device.is_empty()) {
        (None, true) => Ok(None),
        (Some(host), false) => Ok(Some(Home { host, device })),
        (Some(_), true) => Err(Problem::Needs("device")).at("host"),
        (None, false) => Err(Problem::Needs("host")).at("device"),
    }
}

impl From<wire::EndpointFlags> for EndpointFlags {
    fn from(message: wire::EndpointFlags) -> Self {
        let wire::EndpointFlags { router, dhcp_server, router_advertiser, dhcp_client } = message;
        Self { router, dhcp_server, router_advertiser, dhcp_client }
    }
}

impl From<EndpointFlags> for wire::EndpointFlags {
    fn from(flags: EndpointFlags) -> Self {
        let EndpointFlags { router, dhcp_server, router_advertiser, dhcp_client } = flags;
        Self { router, dhcp_server, router_advertiser, dhcp_client }
    }
}

impl TryFrom<wire::AuthoredGroup> for AuthoredGroup {
    type Error = WireFault;
    fn try_from(message: wire::AuthoredGroup) -> Result<Self, WireFault> {
        let wire::AuthoredGroup { name, tenant, segment, members, selector, prefixes: texts, intra_group } =
            message;
        Ok(Self {
            name: Name::new(&name).at("name")?,
            tenant: name_or_default(&tenant).at("tenant")?,
            segment: name_or_default(&segment).at("segment")?,
            members: entries(members, "members", ENDPOINTS_MAX, |text: String| Name::new(&text))?,
            selector: labels_from_wire(selector).at("selector")?,
            prefixes: prefixes(texts, "prefixes", PREFIXES_PER_GROUP_MAX)?,
            intra_group: match intra_group.as_str() {
                "" => IntraGroup::default(),
                word => word.parse().at("intra_group")?,
            },
        })
    }
}

impl From<&AuthoredGroup> for wire::AuthoredGroup {
    fn from(group: &AuthoredGroup) -> Self {
        let AuthoredGroup { name, tenant, segment, members, selector, prefixes, intra_group } = group;
        Self {
            name: name.to_string(),
            tenant: tenant.to_string(),
            segment: segment.to_string(),
            members: members.iter().map(ToString::to_string).collect(),
            selector: selector.clone().into_iter().collect(),
            prefixes: prefixes.iter().map(ToString::to_string).collect(),
            intra_group: intra_group.to_string(),
        }
    }
}

fn labels_from_wire(labels: HashMap<String, String>) -> Result<BTreeMap<String, String>, Problem> {
    if labels.len() > LABELS_MAX {
        return Err(Problem::TooMany(labels.len(), LABELS_MAX));
    }
    for (key, value) in &labels {
        check_text(key, LABEL_BYTES_MAX)?;
        check_text(value, LABEL_BYTES_MAX)?;
    }
    Ok(labels.into_iter().collect())
}

fn prefixes(texts: Vec<String>, field: &str, max: usize) -> Result<Vec<Prefix>, WireFault> {
    entries(texts, field, max, |text: String| text.parse::<Prefix>())
}
