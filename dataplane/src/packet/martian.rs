//! Addresses that cannot stand in a packet on a wire (RFC 1122 section 3.2.1.3, RFC 4291, RFC 6890).

use super::{DhcpRole, IpPacket, NeighbourKind};
use crate::verdict::DropReason;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Refuses a packet with an address that cannot be there.
pub(super) fn check(packet: &IpPacket) -> Result<(), DropReason> {
    let bad = match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            is_bad_v4_source(source, packet) || is_bad_v4_destination(destination)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            is_bad_v6_source(source, packet) || is_bad_v6_destination(destination)
        }
        _ => true,
    };
    let is_land = packet.source == packet.destination;
    if bad || is_land { Err(DropReason::MartianAddress) } else { Ok(()) }
}

/// 0.0.0.0 is the source of a DHCP client that has no address yet, and of IGMP from snooping switches (RFC 4541).
fn is_bad_v4_source(source: Ipv4Addr, packet: &IpPacket) -> bool {
    let is_client = matches!(packet.dhcp, Some(DhcpRole::Client(_)));
    let may_be_unspecified = is_client || is_membership(packet);
    match source {
        Ipv4Addr::UNSPECIFIED => !may_be_unspecified,
        _ => {
            is_this_network(source) || source.is_loopback() || source.is_multicast() || source.is_broadcast()
        }
    }
}

fn is_membership(packet: &IpPacket) -> bool {
    packet.membership.is_some_and(|membership| membership.has_form)
}

fn is_bad_v4_destination(destination: Ipv4Addr) -> bool {
    is_this_network(destination) || destination.is_loopback()
}

/// Returns whether the address lies in 0.0.0.0/8, "this network".
fn is_this_network(address: Ipv4Addr) -> bool {
    address.octets()[0] == 0
}

/// `::` is the source of duplicate address detection, of router solicitations and of MLD before there is an address.
fn is_bad_v6_source(source: Ipv6Addr, packet: &IpPacket) -> bool {
    let asks = packet.neighbour.is_some_and(|message| {
        matches!(message.kind, NeighbourKind::Solicitation | NeighbourKind::RouterSolicitation)
    });
    match source {
        Ipv6Addr::UNSPECIFIED => !(asks || is_membership(packet)),
        _ => source.is_loopback() || source.is_multicast() || source.to_ipv4_mapped().is_some(),
    }
}

/// Beside the unspecified, loopback and mapped ones: multicast of scope 0 or 1, which never leaves an interface.
fn is_bad_v6_destination(destination: Ipv6Addr) -> bool {
    let [first, second, ..] = destination.octets();
    let is_interface_local = first == 0xff && second & 0x0f <= 1;
    destination.is_unspecified()
        || destination.is_loopback()
        || destination.to_ipv4_mapped().is_some()
        || is_interface_local
}
