//! How wide one side of a rule is: from one endpoint to anybody.
//!
//! A width is a recipe, not a list. The same words ("who serves this, and all of their /16 networks") are read against
//! what was seen up to some time and give the addresses that would have belonged then; that is how a rehearsal tells
//! which widths hold for what comes later. Read against everything that was seen they give the group to be made.

use super::bits::Bits;
use super::seen::Addresses;
use crate::networks::{is_internal, masked};
use hashbrown::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;

/// Lengths of the networks that are weighed, narrow to wide, IPv4 and beside it IPv6.
pub const NETWORK_LENGTHS: [(u8, u8); 4] = [(24, 64), (16, 48), (12, 32), (8, 16)];
/// Parts of a role that are its busy ones: the half with most partners, the quarter, and so on. Parts and not numbers of
/// partners, since those grow for as long as one looks and would mean another set of endpoints in each rehearsal.
const BUSY_PARTS: [usize; 4] = [2, 4, 8, 16];

/// Which side of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleSide {
    /// Who begins.
    Source,
    /// Who serves.
    Destination,
}

/// Where an address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// In a private network.
    Internal,
    /// Anywhere else.
    External,
}

/// Part of those who have a role in a service, by how many partners they have in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Busy {
    /// All.
    Any,
    /// One in so many, those with most partners; who has as many as the last of them belongs to them.
    Most(usize),
    /// The others.
    Rest(usize),
}

/// How wide a side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Width {
    /// One address.
    Endpoint(IpAddr),
    /// Those who exchange the service with this address: a group by behaviour.
    PartnersOf(IpAddr),
    /// Those who use (source) or serve (destination) it.
    Role(Option<Area>, Busy),
    /// Those of them within one network: its first address, its place in [`NETWORK_LENGTHS`].
    RoleWithin(IpAddr, usize),
    /// The host of one number in each /24 of one /16: networks made from one pattern have the same machine at the same
    /// place. Holds the first address of the /16 and the number.
    SameHost(IpAddr, u8),
    /// One network.
    Network(IpAddr, usize),
    /// All networks of a length in which one of the role lies.
    NetworksOfRole(Area, Busy, usize),
    /// All private networks but one /16: what comes from elsewhere in the house. Holds the first address of the /16.
    InternalOutside(IpAddr),
    /// All private networks, or everything outside of them.
    Area(Area),
    /// Anybody.
    Anybody,
}

impl Area {
    /// Returns where an address lies.
    pub fn of(address: IpAddr) -> Self {
        if is_internal(address) { Self::Internal } else { Self::External }
    }
}

impl Busy {
    /// Returns those of a role who belong to the part. Expects the numbers of partners of all of them, largest first.
    fn fits(self, partners: usize, largest_first: &[usize]) -> bool {
        let from = |part: usize| {
            let last = largest_first.len().div_ceil(part).saturating_sub(1);
            largest_first.get(last).copied().unwrap_or(0)
        };
        match self {
            Self::Any => true,
            Self::Most(part) => partners >= from(part),
            Self::Rest(part) => partners < from(part),
        }
    }
}

/// Widths with who belongs to each.
pub type Members = HashMap<Width, Bits>;

/// Those who have one role in a service.
struct Role<'a> {
    addresses: &'a Addresses,
    /// Each with its partners.
    partners: Vec<(IpAddr, HashSet<usize>)>,
}

/// Returns every width of a side that the pairs of a service speak for.
pub fn members(addresses: &Addresses, pairs: &[(usize, usize)], side: RuleSide) -> Members {
    let role = Role::new(addresses, pairs, side);
    let mut members = Members::new();
    role.narrow(&mut members);
    role.partners_of(pairs, side, &mut members);
    for area in [Area::Internal, Area::External] {
        role.by_area(area, &mut members);
    }
    let all: Vec<IpAddr> = role.partners.iter().map(|(address, _)| *address).collect();
    members.insert(Width::Role(None, Busy::Any), listed(addresses, &all));
    role.outside(pairs, side, &mut members);
    members.insert(Width::Anybody, addresses.bits(|_| true));
    members.retain(|_, bits| !bits.is_empty());
    members
}

impl<'a> Role<'a> {
    fn new(addresses: &'a Addresses, pairs: &[(usize, usize)], side: RuleSide) -> Self {
        let mut partners: HashMap<usize, HashSet<usize>> = HashMap::new();
        for (source, destination) in pairs {
            let (own, other) = match side {
                RuleSide::Source => (source, destination),
                RuleSide::Destination => (destination, source),
            };
            partners.entry(*own).or_default().insert(*other);
        }
        let addressed = |(number, partners)| Some((addresses.address(number)?, partners));
        let mut partners: Vec<_> = partners.into_iter().filter_map(addressed).collect();
        partners.sort_unstable_by_key(|(address, _)| *address);
        Self { addresses, partners }
    }

    /// Adds endpoints, their networks, and hosts of one number.
    fn narrow(&self, members: &mut Members) {
        for (address, _) in &self.partners {
            members.insert(Width::Endpoint(*address), listed(self.addresses, &[*address]));
        }
        for length in 0..NETWORK_LENGTHS.len() {
            let mut within: HashMap<IpAddr, Vec<IpAddr>> = HashMap::new();
            for (address, _) in &self.partners {
                within.entry(network(*address, length)).or_default().push(*address);
            }
            for (first, own) in within {
                let all = self.addresses.bits(|address| network(address, length) == first);
                members.insert(Width::Network(first, length), all);
                members.insert(Width::RoleWithin(first, length), listed(self.addresses, &own));
            }
        }
        let mut hosts: HashMap<(IpAddr, u8), usize> = HashMap::new();
        for (address, _) in &self.partners {
            if let Some(host) = pattern_host(*address) {
                *hosts.entry(host).or_default() += 1;
            }
        }
        for ((site, number), _) in hosts.into_iter().filter(|(_, endpoints)| *endpoints > 1) {
            let same = self.addresses.bits(|address| pattern_host(address) == Some((site, number)));
            members.insert(Width::SameHost(site, number), same);
        }
    }

    /// Adds those who share a partner.
    fn partners_of(&self, pairs: &[(usize, usize)], side: RuleSide, members: &mut Members) {
        let mut sharing: HashMap<usize, Bits> = HashMap::new();
        for (source, destination) in pairs {
            let (own, other) = match side {
                RuleSide::Source => (*source, *destination),
                RuleSide::Destination => (*destination, *source),
            };
            sharing.entry(other).or_insert_with(|| Bits::none(self.addresses.len())).insert(own);
        }
        for (other, bits) in sharing.into_iter().filter(|(_, bits)| bits.len() > 1) {
            if let Some(other) = self.addresses.address(other) {
                members.insert(Width::PartnersOf(other), bits);
            }
        }
    }

    /// Adds the private networks outside of each /16 of the other side, where one of the role lies there.
    fn outside(&self, pairs: &[(usize, usize)], side: RuleSide, members: &mut Members) {
        let other = |(source, destination): &(usize, usize)| match side {
            RuleSide::Source => *destination,
            RuleSide::Destination => *source,
        };
        let sites: HashSet<IpAddr> = pairs
            .iter()
            .filter_map(|pair| self.addresses.address(other(pair)))
            .filter(|address| address.is_ipv4() && is_internal(*address))
            .map(|address| masked(address, 16))
            .collect();
        for site in sites {
            let is_outside =
                |address: IpAddr| address.is_ipv4() && is_internal(address) && masked(address, 16) != site;
            if self.partners.iter().any(|(address, _)| is_outside(*address)) {
                members.insert(Width::InternalOutside(site), self.addresses.bits(is_outside));
            }
        }
    }

    /// Adds the part of the role in an area, busy or not, with its networks, and the area.
    fn by_area(&self, area: Area, members: &mut Members) {
        let within: Vec<_> = self.partners.iter().filter(|(address, _)| Area::of(*address) == area).collect();
        let mut largest_first: Vec<usize> = within.iter().map(|(_, partners)| partners.len()).collect();
        largest_first.sort_unstable_by(|a, b| b.cmp(a));
        let mut parts = vec![Busy::Any];
        parts.extend(BUSY_PARTS.iter().flat_map(|part| [Busy::Most(*part), Busy::Rest(*part)]));
        for busy in parts {
            let fits = |(_, partners): &&&(IpAddr, HashSet<usize>)| busy.fits(partners.len(), &largest_first);
            let own: Vec<IpAddr> = within.iter().filter(fits).map(|(address, _)| *address).collect();
            if own.is_empty() {
                continue;
            }
            members.insert(Width::Role(Some(area), busy), listed(self.addresses, &own));
            for length in 0..NETWORK_LENGTHS.len() {
                let networks: HashSet<IpAddr> = own.iter().map(|address| network(*address, length)).collect();
                let within =
                    |address| Area::of(address) == area && networks.contains(&network(address, length));
                let bits = self.addresses.bits(within);
                members.insert(Width::NetworksOfRole(area, busy, length), bits);
            }
            members.insert(Width::Area(area), self.addresses.bits(|address| Area::of(address) == area));
        }
    }
}

fn listed(addresses: &Addresses, own: &[IpAddr]) -> Bits {
    let mut bits = Bits::none(addresses.len());
    own.iter().filter_map(|address| addresses.number(*address)).for_each(|number| bits.insert(number));
    bits
}

/// Returns the first address of the network of an address, by the place of its length.
fn network(address: IpAddr, length: usize) -> IpAddr {
    let (v4, v6) = NETWORK_LENGTHS.get(length).copied().unwrap_or_default();
    masked(address, if address.is_ipv4() { v4 } else { v6 })
}

/// Returns the /16 and the last byte of a private IPv4 address.
fn pattern_host(address: IpAddr) -> Option<(IpAddr, u8)> {
    match address {
        IpAddr::V4(v4) if is_internal(address) => Some((masked(address, 16), v4.octets()[3])),
        _ => None,
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Internal => "internal",
            Self::External => "external",
        })
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::Most(part) => write!(f, ", the busiest 1 in {part}"),
            Self::Rest(part) => write!(f, ", without the busiest 1 in {part}"),
        }
    }
}

/// Writes a width as people would say it. What it is a part of (the service) is said beside it.
impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = |first: &IpAddr, length: &usize| {
            let (v4, v6) = NETWORK_LENGTHS.get(*length).copied().unwrap_or_default();
            format!("{first}/{}", if first.is_ipv4() { v4 } else { v6 })
        };
        match self {
            Self::Endpoint(address) => write!(f, "{address}"),
            Self::PartnersOf(address) => write!(f, "partners of {address}"),
            Self::Role(None, busy) => write!(f, "all in the role{busy}"),
            Self::Role(Some(area), busy) => write!(f, "{area} ones in the role{busy}"),
            Self::RoleWithin(first, length) => write!(f, "those in the role in {}", prefix(first, length)),
            Self::SameHost(site, number) => write!(f, "host {number} of each network of {site}/16"),
            Self::Network(first, length) => f.write_str(&prefix(first, length)),
            Self::NetworksOfRole(area, busy, length) => {
                let (v4, _) = NETWORK_LENGTHS.get(*length).copied().unwrap_or_default();
                write!(f, "/{v4} networks of {area} ones in the role{busy}")
            }
            Self::InternalOutside(site) => write!(f, "any internal address outside of {site}/16"),
            Self::Area(area) => write!(f, "any {area} address"),
            Self::Anybody => f.write_str("anybody"),
        }
    }
}
