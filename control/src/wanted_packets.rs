//! Which packets a capture is to show: names that people write become the addresses that a host compares.

use meshgate_policy::{EndpointId, GroupId, Name, NameError, Policy, Prefix};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Prefixes of one side of a capture: some 200 KB on the wire, and a search of 15 steps for each packet.
pub const PREFIXES_MAX: usize = 20_000;

/// Which packets are wanted, as people write it. An empty text means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedPackets {
    /// A group of which one side is a member.
    pub group: String,
    /// An endpoint that is one side.
    pub endpoint: String,
    /// Address, prefix or endpoint of one side.
    pub source: String,
    /// Address, prefix or endpoint of the other.
    pub destination: String,
}

/// The same as addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedAddresses {
    /// One side of a packet must be in each.
    pub either: Vec<Vec<Prefix>>,
    /// One side; none means any.
    pub source: Option<Vec<Prefix>>,
    /// The other.
    pub destination: Option<Vec<Prefix>>,
}

/// Why a capture cannot be made of what people wrote; begins with the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WantedFault {
    /// Neither address nor name.
    #[error("{0}: {1:?} is neither an address, a prefix nor the name of an endpoint: {2}")]
    Text(&'static str, String, NameError),
    /// Not a name.
    #[error("{0}: {1}")]
    Name(&'static str, NameError),
    /// No such endpoint.
    #[error("{0}: there is no endpoint {1}")]
    NoEndpoint(&'static str, Name),
    /// No such group.
    #[error("group_name: there is no group {0}")]
    NoGroup(Name),
    /// A built-in group that is no list of addresses.
    #[error(
        "group_name: {0} is every address that nobody claims, which is no list; name addresses or prefixes"
    )]
    NoList(Name),
    /// Nobody has an address of it, so no packet can fit.
    #[error("{0}: {1} has no addresses")]
    NoAddress(&'static str, Name),
    /// More addresses than a host compares.
    #[error("{0}: {1} has {2} addresses and prefixes, a capture takes at most {PREFIXES_MAX}")]
    TooMany(&'static str, Name, usize),
}

impl WantedPackets {
    /// Returns the addresses that the names stand for in a policy. A name that several segments have means all of them.
    pub fn resolve(&self, policy: &Policy) -> Result<WantedAddresses, WantedFault> {
        let Self { group, endpoint, source, destination } = self;
        let mut either = Vec::new();
        if !group.is_empty() {
            either.extend(group_prefixes(policy, group)?);
        }
        if !endpoint.is_empty() {
            let field = "endpoint_name";
            let name = Name::new(endpoint).map_err(|error| WantedFault::Name(field, error))?;
            either.push(endpoint_prefixes(policy, field, name)?);
        }
        let side = |field: &'static str, text: &str| match text {
            "" => Ok(None),
            text => side_prefixes(policy, field, text).map(Some),
        };
        Ok(WantedAddresses {
            either,
            source: side("source", source)?,
            destination: side("destination", destination)?,
        })
    }
}

/// Returns the prefixes of a group; none for the group of all addresses.
fn group_prefixes(policy: &Policy, text: &str) -> Result<Option<Vec<Prefix>>, WantedFault> {
    let name = Name::new(text).map_err(|error| WantedFault::Name("group_name", error))?;
    match GroupId::built_in(text) {
        Some(GroupId::ANY) => return Ok(None),
        Some(GroupId::MULTICAST) => return Ok(Some(multicast())),
        Some(_) => return Err(WantedFault::NoList(name)),
        None => {}
    }
    let mut prefixes = Vec::new();
    let mut is_known = false;
    for group in policy.groups.iter().filter(|group| group.name == name) {
        is_known = true;
        prefixes.extend(&group.prefixes);
        let members = group.endpoints.iter().filter_map(|id: &EndpointId| policy.endpoint(*id));
        prefixes
            .extend(members.flat_map(|endpoint| &endpoint.addresses).map(|address| Prefix::host(*address)));
    }
    if !is_known {
        return Err(WantedFault::NoGroup(name));
    }
    bounded("group_name", name, prefixes).map(Some)
}

fn side_prefixes(policy: &Policy, field: &'static str, text: &str) -> Result<Vec<Prefix>, WantedFault> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(vec![Prefix::host(address)]);
    }
    if let Ok(prefix) = text.parse::<Prefix>() {
        return Ok(vec![prefix]);
    }
    let shown = text.chars().take(64).collect();
    let name = Name::new(text).map_err(|error| WantedFault::Text(field, shown, error))?;
    endpoint_prefixes(policy, field, name)
}

fn endpoint_prefixes(policy: &Policy, field: &'static str, name: Name) -> Result<Vec<Prefix>, WantedFault> {
    let mut named = policy.endpoints.iter().filter(|endpoint| endpoint.name == name).peekable();
    if named.peek().is_none() {
        return Err(WantedFault::NoEndpoint(field, name));
    }
    let prefixes = named.flat_map(|endpoint| {
        // What it says by its link-local address is also said by it.
        let own = endpoint.addresses.iter().copied().chain([IpAddr::V6(endpoint.mac.link_local())]);
        own.map(Prefix::host).chain(endpoint.routes.iter().copied())
    });
    let prefixes = prefixes.collect();
    bounded(field, name, prefixes)
}

fn bounded(field: &'static str, name: Name, prefixes: Vec<Prefix>) -> Result<Vec<Prefix>, WantedFault> {
    match prefixes.len() {
        0 => Err(WantedFault::NoAddress(field, name)),
        count if count > PREFIXES_MAX => Err(WantedFault::TooMany(field, name, count)),
        _ => Ok(prefixes),
    }
}

/// Returns what is a group address: multicast and the limited broadcast address.
fn multicast() -> Vec<Prefix> {
    let prefix = |address: IpAddr, length| Prefix::new(address, length).expect("no bits behind the length");
    vec![
        prefix(Ipv4Addr::new(224, 0, 0, 0).into(), 4),
        Prefix::host(Ipv4Addr::BROADCAST.into()),
        prefix(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), 8),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::{AuthoredPolicy, Numbering, PolicyVersion, resolve};

    fn policy() -> Policy {
        let text = "
            [[endpoints]]
            name = 'web-1'
            mac = '02:00:00:00:00:01'
            addresses = ['10.0.0.1', 'fd00::1']
            [[endpoints]]
            name = 'silent'
            mac = '02:00:00:00:00:02'
            [[groups]]
            name = 'Web'
            members = ['web-1']
            prefixes = ['10.1.0.0/16']
            [[groups]]
            name = 'Nobody'
            members = ['silent']
        ";
        let mut authored: AuthoredPolicy = toml::from_str(text).unwrap();
        let mut numbering = Numbering::default();
        numbering.assign(&mut authored).unwrap();
        resolve(&authored, &numbering, PolicyVersion(1)).unwrap()
    }

    fn wanted(change: impl FnOnce(&mut WantedPackets)) -> Result<WantedAddresses, String> {
        let mut wanted = WantedPackets::default();
        change(&mut wanted);
        wanted.resolve(&policy()).map_err(|fault| fault.to_string())
    }

    fn shown(prefixes: &[Prefix]) -> Vec<String> {
        prefixes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_named_means_every_packet() {
        assert_eq!(wanted(|_| ()).unwrap(), WantedAddresses::default());
        assert_eq!(wanted(|w| w.group = "any".into()).unwrap(), WantedAddresses::default());
    }

    #[test]
    fn a_group_is_its_prefixes_and_the_addresses_of_its_members() {
        let found = wanted(|w| w.group = "Web".into()).unwrap();
        assert_eq!(shown(&found.either[0]), ["10.1.0.0/16", "10.0.0.1/32", "fd00::1/128"]);
    }

    #[test]
    fn a_side_is_an_address_a_prefix_or_an_endpoint() {
        let found = wanted(|w| (w.source, w.destination) = ("web-1".into(), "10.2.0.0/16".into())).unwrap();
        assert_eq!(shown(&found.source.unwrap()), ["10.0.0.1/32", "fd00::1/128", "fe80::ff:fe00:1/128"]);
        assert_eq!(shown(&found.destination.unwrap()), ["10.2.0.0/16"]);
        assert_eq!(shown(&wanted(|w| w.source = "::1".into()).unwrap().source.unwrap()), ["::1/128"]);
    }

    #[test]
    fn what_nobody_has_is_refused_by_field_and_name() {
        let refusal = |change: fn(&mut WantedPackets)| wanted(change).unwrap_err();
        assert_eq!(refusal(|w| w.group = "Lab".into()), "group_name: there is no group Lab");
        assert_eq!(refusal(|w| w.group = "Nobody".into()), "group_name: Nobody has no addresses");
        assert!(
            refusal(|w| w.group = "external".into()).starts_with("group_name: external is every address")
        );
        assert_eq!(refusal(|w| w.endpoint = "web-9".into()), "endpoint_name: there is no endpoint web-9");
        assert_eq!(refusal(|w| w.source = "web-9".into()), "source: there is no endpoint web-9");
        assert!(
            refusal(|w| w.source = "10.0.0.0/99".into()).starts_with("source: \"10.0.0.0/99\" is neither")
        );
    }
}
