//! Stage 2: whether sender and receiver of a packet are who they say.
//!
//! [`Bindings`] is built from a policy and the devices of this host, off the packet path, and never changes; a new
//! policy brings a new one. [`Bindings::source`] asks on arrival, [`Bindings::destination`] once the switch has said
//! where a frame would go; [`Sender::passage`] says whether rules are asked at all.
//!
//! What a rule says of an address is worth what this stage guarantees: behind an endpoint device an address cannot
//! be borrowed, so that groups mean machines; on an uplink nothing can pass for an endpoint that is at home here.
//!
//! Group addresses are multicast and 255.255.255.255. The broadcast address of a subnet (10.0.0.255 of 10.0.0.0/24)
//! is not known as one, because no policy says where subnets end: frames to it are dropped at endpoint devices.

mod destination;
mod leasing;
mod neighbour;
mod owners;
mod plain;
mod source;
mod stations;
#[cfg(test)]
mod tests;

use crate::packet::{Content, Packet, Tags};
use crate::switch::{DEVICES_MAX, DeviceSet};
use meshgate_policy::{Endpoint, EndpointFlags, EndpointId, Mac, Name, Policy, Prefix, Segment, SegmentId};
use owners::Owners;
use stations::Stations;
use std::net::{IpAddr, Ipv6Addr};

/// What kind of neighbour is behind a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Endpoints of the policy, and nothing else.
    Endpoint,
    /// The rest of the network.
    Uplink,
    /// The host itself, by a veth; bound like an endpoint.
    Host,
}

/// A device of this host as the configuration describes it. Its number is its place in the list of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRole {
    /// Name, as in [`Endpoint::device`].
    pub name: String,
    /// What is behind it.
    pub role: Role,
    /// Segment of frames without a tag; None drops them.
    pub segment: Option<Name>,
    /// Segments of frames with tags.
    pub vlans: Vec<(Tags, Name)>,
    /// Ethertypes beside ARP, IPv4 and IPv6 that pass without rules; 0 stands for IEEE 802.3 length fields.
    pub ethertypes: Vec<u16>,
}

/// Who sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The segment the packet is in.
    pub segment: SegmentId,
    /// The endpoint whose device the packet came from; None of uplinks.
    pub endpoint: Option<EndpointId>,
    /// Whether rules are asked about the packet.
    pub passage: Passage,
}

/// Whether rules are asked about a packet that this stage lets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// This stage decides: the packet passes. ARP, neighbour discovery, IGMP, MLD, the exchange of a DHCP lease between
    /// a listed client and a listed server, and listed ethertypes.
    WithoutRules,
    /// The stages behind decide.
    ToRules,
}

/// Who is where: the endpoints of a policy and the devices of this host.
#[derive(Clone, Debug)]
pub struct Bindings {
    devices: Box<[Device]>,
    endpoints: Box<[Bound]>,
    /// The same by segment and MAC.
    by_mac: Stations,
    /// Place in `endpoints` by segment and address.
    by_address: Owners,
    /// Devices of each segment, sorted by its number.
    domains: Box<[Domain]>,
    unbound: Box<[EndpointId]>,
}

/// A device as packets meet it.
#[derive(Clone, Debug)]
struct Device {
    role: Role,
    untagged: Option<SegmentId>,
    /// Sorted by tags.
    vlans: Box<[(Tags, SegmentId)]>,
    ethertypes: Box<[u16]>,
}

/// An endpoint as packets meet it.
#[derive(Clone, Debug)]
struct Bound {
    /// Its first address as a number, IPv4 in mapped form; 0 without one.
    number: u128,
    id: EndpointId,
    mac: Mac,
    link_local: Ipv6Addr,
    addresses: Box<[IpAddr]>,
    /// Empty without the flag `router`.
    routes: Box<[Prefix]>,
    flags: EndpointFlags,
    /// Whether its home is this host.
    is_home: bool,
    /// The device it is behind, if its home is this host and the device is there and serves its segment.
    device: Option<u16>,
}

/// The devices over which one segment extends.
#[derive(Clone, Copy, Debug)]
struct Domain {
    segment: SegmentId,
    members: DeviceSet,
    uplinks: DeviceSet,
    /// The uplink, if there is exactly one.
    only_uplink: Option<u16>,
    /// Uplinks, and devices behind which is somebody who may answer as a DHCP server.
    servers: DeviceSet,
    /// Uplinks, and devices behind which is somebody who may lease addresses.
    clients: DeviceSet,
}

/// Segment and MAC in one number, which hashes in one step.
type MacKey = u64;
/// Segment and address; IPv4 in its mapped form, which stage 1 lets no IPv6 packet have.
type AddressKey = (u128, SegmentId);

impl Bindings {
    /// Returns the bindings of a policy at this host.
    ///
    /// Endpoints at home on this host whose device is not set, not in the list, or not in their segment, are not
    /// bound: nothing is accepted from them or delivered to them. Devices behind [`DEVICES_MAX`] are not served.
    pub fn build(policy: &Policy, host: &Name, devices: &[DeviceRole]) -> Self {
        let devices = &devices[..devices.len().min(DEVICES_MAX)];
        let served: Box<[Device]> = devices.iter().map(|device| Device::new(device, policy)).collect();
        let bind = |endpoint: &Endpoint| {
            let is_home = endpoint.host.as_ref() == Some(host);
            let named = |d: &DeviceRole| Some(&d.name) == endpoint.device.as_ref() && d.role != Role::Uplink;
            let place = devices.iter().position(named).filter(|_| is_home);
            let device = place.filter(|place| served[*place].tags(endpoint.segment).is_some());
            Bound::new(endpoint, is_home, device.and_then(|place| u16::try_from(place).ok()))
        };
        let endpoints: Box<[Bound]> = policy.endpoints.iter().map(bind).collect();
        let segments = policy.endpoints.iter().map(|endpoint| endpoint.segment);
        let by_mac = Stations::new(segments.zip(&endpoints));
        let owned = |(place, endpoint): (u32, &Endpoint)| -> Vec<(AddressKey, u32)> {
            let key = |address: &IpAddr| (address_key(endpoint.segment, *address), place);
            endpoint.addresses.iter().map(key).collect()
        };
        let by_address = Owners::new(&(0..).zip(&policy.endpoints).flat_map(owned).collect::<Vec<_>>());
        let unbound = endpoints.iter().filter(|e| e.is_home && e.device.is_none()).map(|e| e.id).collect();
        let domain = |segment: &Segment| Domain::new(segment.id, &served);
        let mut domains: Vec<Domain> = policy.segments.iter().map(domain).collect();
        domains.retain(|domain| !domain.members.is_empty());
        domains.sort_unstable_by_key(|domain| domain.segment);
        for (endpoint, bound) in policy.endpoints.iter().zip(&endpoints) {
            let place = domains.binary_search_by_key(&endpoint.segment, |domain| domain.segment);
            if let (Ok(place), Some(device)) = (place, bound.device) {
                domains[place].admit(device, bound.flags);
            }
        }
        Self { devices: served, endpoints, by_mac, by_address, domains: domains.into(), unbound }
    }

    /// Returns the endpoint that owns the address.
    pub fn endpoint_of(&self, segment: SegmentId, address: IpAddr) -> Option<EndpointId> {
        self.owner_of(segment, address).map(|endpoint| endpoint.id)
    }

    /// Returns the endpoint that owns the address of this number, IPv4 in mapped form.
    #[inline]
    pub fn endpoint_numbered(&self, segment: SegmentId, address: u128) -> Option<EndpointId> {
        self.by_address.get(&(address, segment)).map(|place| self.endpoints[place].id)
    }

    /// Returns the device that an endpoint with this MAC is behind, if it is bound at this host.
    pub fn device_of(&self, segment: SegmentId, mac: Mac) -> Option<u16> {
        self.endpoint_with(segment, mac)?.device
    }

    /// Returns the role of a device; None if there is no such device.
    pub fn role(&self, device: u16) -> Option<Role> {
        self.device(device).map(|device| device.role)
    }

    /// Returns the tags of the segment's frames at the device; None if it is not in the segment.
    ///
    /// Where this differs from what a frame came with, the one who transmits it must add, remove or replace them.
    pub fn tags(&self, device: u16, segment: SegmentId) -> Option<Tags> {
        self.device(device)?.tags(segment)
    }

    /// Returns the devices over which the segment extends.
    pub fn members(&self, segment: SegmentId) -> DeviceSet {
        self.domain(segment).map_or(DeviceSet::EMPTY, |domain| domain.members)
    }

    /// Returns the uplinks over which the segment extends.
    pub fn uplinks(&self, segment: SegmentId) -> DeviceSet {
        self.domain(segment).map_or(DeviceSet::EMPTY, |domain| domain.uplinks)
    }

    /// Returns the endpoints whose home is this host and that are behind none of its devices.
    pub fn unbound(&self) -> &[EndpointId] {
        &self.unbound
    }

    fn device(&self, device: u16) -> Option<&Device> {
        self.devices.get(usize::from(device))
    }

    fn domain(&self, segment: SegmentId) -> Option<&Domain> {
        let place = self.domains.binary_search_by_key(&segment, |domain| domain.segment).ok()?;
        Some(&self.domains[place])
    }

    fn endpoint_with(&self, segment: SegmentId, mac: Mac) -> Option<&Bound> {
        self.by_mac.get(mac_key(segment, mac)).map(|station| &self.endpoints[station.place()])
    }

    fn owner_of(&self, segment: SegmentId, address: IpAddr) -> Option<&Bound> {
        self.by_address.get(&address_key(segment, address)).map(|place| &self.endpoints[place])
    }

    /// Returns whether rules are asked about a packet of which nothing speaks against its sender.
    fn passage(&self, segment: SegmentId, packet: &Packet) -> Passage {
        let Content::Ip(ip) = &packet.content else { return Passage::WithoutRules };
        let governs_link = ip.neighbour.is_some() || ip.membership.is_some_and(|m| m.has_form);
        if governs_link || self.is_lease_exchange(segment, packet, ip) {
            Passage::WithoutRules
        } else {
            Passage::ToRules
        }
    }

    /// Returns the endpoint that owns the address or whose MAC the link-local address is formed from.
    fn claimant_of(&self, segment: SegmentId, address: IpAddr) -> Option<&Bound> {
        let formed = |mac: Mac| self.endpoint_with(segment, mac);
        self.owner_of(segment, address).or_else(|| mac_in(address).and_then(formed))
    }
}

impl Device {
    fn new(role: &DeviceRole, policy: &Policy) -> Self {
        let number_of = |name: &Name| policy.segments.iter().find(|s| s.name == *name).map(|s| s.id);
        let tagged = |(tags, name): &(Tags, Name)| Some((*tags, number_of(name)?));
        let mut vlans: Vec<(Tags, SegmentId)> = role.vlans.iter().filter_map(tagged).collect();
        vlans.sort_unstable();
        Self {
            role: role.role,
            untagged: role.segment.as_ref().and_then(number_of),
            vlans: vlans.into(),
            ethertypes: role.ethertypes.clone().into(),
        }
    }

    /// Returns the segment of a frame with these tags.
    fn segment_of(&self, tags: Tags) -> Option<SegmentId> {
        if tags == Tags::Untagged {
            return self.untagged;
        }
        self.vlans.binary_search_by_key(&tags, |(known, _)| *known).ok().map(|place| self.vlans[place].1)
    }

    fn tags(&self, segment: SegmentId) -> Option<Tags> {
        if self.untagged == Some(segment) {
            return Some(Tags::Untagged);
        }
        self.vlans.iter().find(|(_, known)| *known == segment).map(|(tags, _)| *tags)
    }

    fn is_bound(&self) -> bool {
        self.role != Role::Uplink
    }
}

impl Bound {
    fn new(endpoint: &Endpoint, is_home: bool, device: Option<u16>) -> Self {
        let routes: &[Prefix] = if endpoint.flags.router { &endpoint.routes } else { &[] };
        Self {
            number: endpoint.addresses.first().map_or(0, |address| number_of(*address)),
            id: endpoint.id,
            mac: endpoint.mac,
            link_local: endpoint.mac.link_local(),
            addresses: endpoint.addresses.clone().into(),
            routes: routes.into(),
            flags: endpoint.flags,
            is_home,
            device,
        }
    }

    /// Returns whether the address is the endpoint's, or lies behind it.
    fn answers_for(&self, address: IpAddr) -> bool {
        self.owns(address) || self.routes_to(address)
    }

    /// Returns whether the address is the endpoint's.
    fn owns(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address) || address == IpAddr::V6(self.link_local)
    }

    /// Returns whether the address lies behind the endpoint.
    fn routes_to(&self, address: IpAddr) -> bool {
        self.routes.iter().any(|route| route.contains(address))
    }
}

impl Domain {
    fn new(segment: SegmentId, devices: &[Device]) -> Self {
        let (mut members, mut uplinks) = (DeviceSet::EMPTY, DeviceSet::EMPTY);
        for (device, number) in devices.iter().zip(0..) {
            if device.tags(segment).is_some() {
                members.insert(number);
                if device.role == Role::Uplink {
                    uplinks.insert(number);
                }
            }
        }
        let only_uplink = uplinks.only();
        Self { segment, members, uplinks, only_uplink, servers: uplinks, clients: uplinks }
    }

    /// Notes what an endpoint behind a device may do about leases.
    fn admit(&mut self, device: u16, flags: EndpointFlags) {
        if flags.dhcp_server {
            self.servers.insert(device);
        }
        if flags.dhcp_client {
            self.clients.insert(device);
        }
    }
}

fn mac_key(segment: SegmentId, mac: Mac) -> MacKey {
    let [a, b, c, d, e, f] = mac.0;
    let [high, low] = segment.0.to_be_bytes();
    u64::from_be_bytes([high, low, a, b, c, d, e, f])
}

fn address_key(segment: SegmentId, address: IpAddr) -> AddressKey {
    (number_of(address), segment)
}

/// Returns an address as a number, IPv4 in mapped form.
fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Returns the MAC that a link-local address is formed from (RFC 4291 appendix A), if it is formed from one.
fn mac_in(address: IpAddr) -> Option<Mac> {
    let IpAddr::V6(v6) = address else { return None };
    let [.., a, b, c, _, _, d, e, f] = v6.octets();
    let mac = Mac([a ^ 2, b, c, d, e, f]);
    (mac.link_local() == v6).then_some(mac)
}
