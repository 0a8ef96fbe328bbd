//! `resolve`: from names, labels and selectors to numbers, in final order. Pure; finds every mistake, not only the first.
//!
//! It is what stands between people and hosts: a policy that passes can be compiled by every host, so every limit is
//! checked here and nowhere behind.

use crate::authored::{AuthoredEndpoint, AuthoredGroup, AuthoredPolicy, AuthoredSegment};
use crate::fault::{Faults, PolicyFault, Problem};
use crate::ids::{EndpointId, GroupId, PolicyVersion, SegmentId};
use crate::limits::{self, GROUP_PREFIXES_MAX, RULE_PREFIXES_MAX};
use crate::name::Name;
use crate::nesting;
use crate::numbering::Numbering;
use crate::policy::{Endpoint, Group, Policy, Segment};
use crate::resolve_rules::resolve_rules;
use crate::{address::AddressError, is_group_address};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;

/// Returns the policy in numbers, or everything that is wrong with it.
///
/// The numbering must have been through [`Numbering::assign`] with this policy. Rules of mode `disabled` are checked
/// like the others and left out.
pub fn resolve(
    authored: &AuthoredPolicy,
    numbering: &Numbering,
    version: PolicyVersion,
) -> Result<Policy, Vec<PolicyFault>> {
    let mut counts = Faults::default();
    check_counts(authored, &mut counts);
    counts.into_result()?; // Nothing below works through lists that are too long.

    let mut resolving = Resolving { numbering, faults: Faults::default() };
    let segments = resolving.segments(&authored.segments);
    let known_segments: HashSet<&Name> = authored.segments.iter().map(|segment| &segment.name).collect();
    let endpoints = resolving.endpoints(&authored.endpoints, &known_segments);
    let groups = resolving.groups(authored, &known_segments);
    let mut faults = resolving.faults;
    let rules = resolve_rules(authored, numbering, &mut faults);
    if let (Some(endpoints), Some(groups)) = (&endpoints, &groups) {
        nesting::check_memberships(endpoints, groups, &mut faults);
    }
    faults.into_result()?;
    let (endpoints, groups) = (endpoints.unwrap_or_default(), groups.unwrap_or_default());
    Ok(Policy { version, segments, groups, endpoints, rules, default_action: authored.default_action })
}

/// How faults name an object of the policy.
pub(crate) struct Named<'a>(pub(crate) &'static str, pub(crate) &'a Name);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}

fn check_counts(authored: &AuthoredPolicy, faults: &mut Faults) {
    let AuthoredPolicy { default_action: _, segments, endpoints, groups, relationships, rules } = authored;
    let rule_count = relationships.len() + rules.len();
    let group_prefixes = groups.iter().map(|group| group.prefixes.len()).sum();
    let rule_prefixes = rules.iter().map(|rule| rule.peer.len()).sum();
    let members = groups.iter().map(|group| group.members.len()).sum();
    faults.limit(&"policy", "segments", (segments.len(), "segments", limits::SEGMENTS_MAX));
    faults.limit(&"policy", "endpoints", (endpoints.len(), "endpoints", limits::ENDPOINTS_MAX));
    faults.limit(&"policy", "groups", (groups.len(), "groups", limits::GROUPS_MAX));
    faults.limit(&"policy", "rules", (rule_count, "rules and relationships", limits::RULES_MAX));
    faults.limit(&"policy", "groups", (group_prefixes, "prefixes of all groups", GROUP_PREFIXES_MAX));
    faults.limit(&"policy", "rules", (rule_prefixes, "prefixes of all rules", RULE_PREFIXES_MAX));
    faults.limit(&"policy", "groups", (members, "listed members", limits::MEMBERSHIPS_MAX));
}

/// Notes a tenant other than `default`.
pub(crate) fn check_tenant(tenant: &Name, object: &dyn fmt::Display, faults: &mut Faults) {
    if *tenant != Name::default_name() {
        faults.push(object, "tenant", Problem::Tenant(tenant.clone()));
    }
}

/// The numbers, and the faults found on the way.
struct Resolving<'a> {
    numbering: &'a Numbering,
    faults: Faults,
}

/// Which endpoint of a segment has which MAC address and owns which IP address.
#[derive(Default)]
struct Owners<'a> {
    macs: HashMap<(SegmentId, crate::Mac), &'a Name>,
    addresses: HashMap<(SegmentId, IpAddr), &'a Name>,
}

impl Resolving<'_> {
    fn segments(&mut self, authored: &[AuthoredSegment]) -> Vec<Segment> {
        let default = Name::default_name();
        let mut segments =
            vec![Segment { id: SegmentId::DEFAULT, name: default.clone(), tenant: default.clone() }];
        let mut seen = HashSet::new();
        for AuthoredSegment { name, tenant } in authored {
            let object = Named("segment", name);
            check_tenant(tenant, &object, &mut self.faults);
            self.check_once(&mut seen, name, &object);
            match self.numbering.segment(name) {
                Some(SegmentId::DEFAULT) => {} // Naming the one that always exists does no harm.
                Some(id) => segments.push(Segment { id, name: name.clone(), tenant: tenant.clone() }),
                None => self.faults.push(&object, "name", Problem::Unnumbered),
            }
        }
        segments.sort_by_key(|segment| segment.id);
        segments
    }

    /// Returns the endpoints by number; none if one of them is in a segment or has a number that is not known.
    fn endpoints(&mut self, authored: &[AuthoredEndpoint], known: &HashSet<&Name>) -> Option<Vec<Endpoint>> {
        let (mut seen, mut owners) = (HashSet::new(), Owners::default());
        let mut endpoints = Vec::with_capacity(authored.len());
        for endpoint in authored {
            let object = Named("endpoint", &endpoint.name);
            self.check_once(&mut seen, &endpoint.name, &object);
            self.check_endpoint(endpoint);
            let segment = self.segment(&endpoint.segment, known, &object);
            let id = self.numbering.endpoint(&endpoint.name);
            if id.is_none() {
                self.faults.push(&object, "name", Problem::Unnumbered);
            }
            if let (Some(segment), Some(id)) = (segment, id) {
                self.check_owners(endpoint, segment, &mut owners);
                endpoints.push(numbered_endpoint(endpoint, id, segment));
            }
        }
        endpoints.sort_by_key(|endpoint| endpoint.id);
        (endpoints.len() == authored.len()).then_some(endpoints)
    }

    fn check_endpoint(&mut self, endpoint: &AuthoredEndpoint) {
        let AuthoredEndpoint { name, tenant, segment: _, mac, labels, home, flags, routes, .. } = endpoint;
        let addresses = endpoint.owned();
        let object = Named("endpoint", name);
        check_tenant(tenant, &object, &mut self.faults);
        if mac.is_group() || *mac == crate::Mac::default() {
            let error = AddressError::NotUnicastMac(mac.to_string());
            self.faults.push(&object, "mac", Problem::Mac(error));
        }
        let count = (addresses.len(), "addresses", limits::ADDRESSES_PER_ENDPOINT_MAX);
        self.faults.limit(&object, "addresses", count);
        for address in addresses {
            if let Some(reason) = not_unicast(address) {
                self.faults.push(&object, "addresses", Problem::NotUnicast(address, reason));
            }
        }
        self.check_labels(labels, &object, "labels");
        if let Some(home) = home.as_ref().filter(|home| !is_device_name(&home.device)) {
            self.faults.push(&object, "home.device", Problem::Device(home.device.clone()));
        }
        self.faults.limit(&object, "routes", (routes.len(), "routes", limits::ROUTES_PER_ENDPOINT_MAX));
        if !routes.is_empty() && !flags.router {
            self.faults.push(&object, "routes", Problem::RoutesWithoutRouter);
        }
    }

    fn check_owners<'a>(
        &mut self,
        endpoint: &'a AuthoredEndpoint,
        segment: SegmentId,
        owners: &mut Owners<'a>,
    ) {
        let object = Named("endpoint", &endpoint.name);
        if let Some(other) = owners.macs.insert((segment, endpoint.mac), &endpoint.name) {
            self.faults.push(&object, "mac", Problem::MacTaken(other.clone()));
        }
        for address in endpoint.owned() {
            if let Some(other) = owners.addresses.insert((segment, address), &endpoint.name) {
                let problem = Problem::AddressTaken { address, other: other.clone() };
                self.faults.push(&object, "addresses", problem);
            }
        }
    }

    fn check_labels(
        &mut self,
        labels: &BTreeMap<String, String>,
        object: &dyn fmt::Display,
        field: &'static str,
    ) {
        self.faults.limit(object, field, (labels.len(), "labels", limits::LABELS_MAX));
        for (key, value) in labels {
            if key.is_empty() {
                self.faults.push(object, field, Problem::EmptyLabel);
            }
            let (bytes, max) = (key.len().max(value.len()), limits::LABEL_BYTES_MAX);
            if bytes > max {
                self.faults.push(object, field, Problem::TooLong { bytes, max });
            }
        }
    }

    /// Returns the groups by number; none if one of them has a segment, member or number that is not known.
    fn groups(&mut self, authored: &AuthoredPolicy, known: &HashSet<&Name>) -> Option<Vec<Group>> {
        let members = Members::new(authored, self.numbering);
        let mut seen = HashSet::new();
        let mut groups = Vec::with_capacity(authored.groups.len());
        let mut memberships: usize = 0;
        for group in &authored.groups {
            let object = Named("group", &group.name);
            self.check_once(&mut seen, &group.name, &object);
            self.check_group(group, &members);
            if memberships > limits::MEMBERSHIPS_MAX {
                continue; // Reported below; selectors must not fill the memory.
            }
            let segment = self.segment(&group.segment, known, &object);
            match (segment, self.numbering.group(&group.name)) {
                (Some(segment), Some(id)) if !id.is_built_in() => {
                    groups.push(numbered_group(group, id, segment, &members));
                    memberships += groups.last().map_or(0, |group: &Group| group.endpoints.len());
                }
                (_, None) => self.faults.push(&object, "name", Problem::Unnumbered),
                _ => {}
            }
        }
        let count = (memberships, "memberships of endpoints", limits::MEMBERSHIPS_MAX);
        self.faults.limit(&"policy", "groups", count);
        groups.sort_by_key(|group| group.id);
        (groups.len() == authored.groups.len()).then_some(groups)
    }

    fn check_group(&mut self, group: &AuthoredGroup, endpoints: &Members<'_>) {
        let AuthoredGroup { name, tenant, segment: _, members, selector, prefixes, intra_group: _ } = group;
        let object = Named("group", name);
        if GroupId::built_in(name.as_str()).is_some() {
            self.faults.push(&object, "name", Problem::BuiltIn(name.clone()));
        }
        check_tenant(tenant, &object, &mut self.faults);
        for member in members.iter().filter(|member| !endpoints.by_name.contains_key(member)) {
            let problem = Problem::Unknown { kind: "endpoint", name: member.clone() };
            self.faults.push(&object, "members", problem);
        }
        self.check_labels(selector, &object, "selector");
        self.faults.limit(&object, "prefixes", (prefixes.len(), "prefixes", limits::PREFIXES_PER_GROUP_MAX));
    }

    fn segment(
        &mut self,
        name: &Name,
        known: &HashSet<&Name>,
        object: &dyn fmt::Display,
    ) -> Option<SegmentId> {
        if *name != Name::default_name() && !known.contains(name) {
            let problem = Problem::Unknown { kind: "segment", name: name.clone() };
            self.faults.push(object, "segment", problem);
            return None;
        }
        self.numbering.segment(name)
    }

    fn check_once<'a>(&mut self, seen: &mut HashSet<&'a Name>, name: &'a Name, object: &dyn fmt::Display) {
        if !seen.insert(name) {
            self.faults.push(object, "name", Problem::Duplicate(name.clone()));
        }
    }
}

/// The endpoints by name and by label, for listed members and selectors.
struct Members<'a> {
    by_name: HashMap<&'a Name, EndpointId>,
    by_label: HashMap<(&'a str, &'a str), Vec<EndpointId>>,
    labels: HashMap<EndpointId, &'a BTreeMap<String, String>>,
}

impl<'a> Members<'a> {
    fn new(authored: &'a AuthoredPolicy, numbering: &Numbering) -> Self {
        let mut members = Self { by_name: HashMap::new(), by_label: HashMap::new(), labels: HashMap::new() };
        for endpoint in &authored.endpoints {
            let Some(id) = numbering.endpoint(&endpoint.name) else { continue };
            members.by_name.insert(&endpoint.name, id);
            members.labels.insert(id, &endpoint.labels);
            for (key, value) in &endpoint.labels {
                members.by_label.entry((key, value)).or_default().push(id);
            }
        }
        members
    }

    /// Returns the endpoints that carry the label.
    fn carriers<'s>(&'s self, (key, value): (&'s String, &'s String)) -> &'s [EndpointId] {
        self.by_label.get(&(key.as_str(), value.as_str())).map_or(&[], Vec::as_slice)
    }

    /// Returns the endpoints that carry every label of the selector; none if the selector is empty.
    fn selected(&self, selector: &BTreeMap<String, String>) -> Vec<EndpointId> {
        let rarest = selector
            .iter()
            .map(|label| self.carriers(label))
            .min_by_key(|carriers| carriers.len())
            .unwrap_or(&[]);
        let carries_all = |id: &&EndpointId| {
            let labels = self.labels.get(id);
            labels.is_some_and(|labels| selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
        };
        rarest.iter().filter(carries_all).copied().collect()
    }
}

fn numbered_endpoint(endpoint: &AuthoredEndpoint, id: EndpointId, segment: SegmentId) -> Endpoint {
    let home = endpoint.home.as_ref();
    Endpoint {
        id,
        name: endpoint.name.clone(),
        segment,
        mac: endpoint.mac,
        addresses: endpoint.owned(),
        routes: sorted(&endpoint.routes),
        flags: endpoint.flags,
        host: home.map(|home| home.host.clone()),
        device: home.map(|home| home.device.clone()),
    }
}

fn numbered_group(group: &AuthoredGroup, id: GroupId, segment: SegmentId, members: &Members<'_>) -> Group {
    let listed = group.members.iter().filter_map(|name| members.by_name.get(name).copied());
    let endpoints: Vec<EndpointId> = listed.chain(members.selected(&group.selector)).collect();
    Group {
        id,
        name: group.name.clone(),
        segment,
        prefixes: sorted(&group.prefixes),
        endpoints: sorted(&endpoints),
        intra_group: group.intra_group,
    }
}

/// Returns the values sorted, without repeats.
pub(crate) fn sorted<T: Ord + Clone>(values: &[T]) -> Vec<T> {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.dedup();
    values
}

/// Returns why no interface can own the address, if none can.
fn not_unicast(address: IpAddr) -> Option<&'static str> {
    let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    match address {
        _ if is_group_address(address) => Some("a multicast or broadcast address"),
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_loopback() => Some("a loopback address"),
        _ if mapped => Some("an IPv4 address in IPv6 form"),
        _ => None,
    }
}

/// Returns whether the kernel would take the text as a device name (`dev_valid_name` in net/core/dev.c).
fn is_device_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=limits::DEVICE_NAME_BYTES_MAX).contains(&bytes.len())
        && text != "."
        && text != ".."
        && !text.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
}
