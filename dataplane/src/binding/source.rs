//! The sender's side of stage 2.

use super::destination::is_group_in_both;
use super::{Bindings, Bound, Device, Sender};
use crate::packet::{Content, DhcpRole, IcmpKind, IpPacket, NeighbourKind, Packet};
use crate::verdict::DropReason;
use meshgate_policy::{EndpointId, Mac, Protocol, SegmentId, is_group_address};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Type of an ICMP router advertisement (RFC 1256), which hosts once took default routes from.
const ICMP_ROUTER_ADVERTISEMENT: u16 = 9;

impl Bindings {
    /// Returns who sent the packet that came from the device, or why it cannot be who it says.
    pub fn source(&self, device: u16, packet: &Packet) -> Result<Sender, DropReason> {
        let at = self.device(device).ok_or(DropReason::UnknownVlan)?;
        let segment = at.segment_of(packet.tags.tags).ok_or(DropReason::UnknownVlan)?;
        check_ethertype(at, packet)?;
        let endpoint = if at.is_bound() {
            Some(self.check_endpoint(device, segment, packet)?)
        } else {
            self.check_uplink(segment, packet)?;
            None
        };
        Ok(Sender { segment, endpoint, passage: self.passage(segment, packet) })
    }

    /// Returns the endpoint of the device that the packet is of, or why it cannot be its.
    fn check_endpoint(
        &self,
        device: u16,
        segment: SegmentId,
        packet: &Packet,
    ) -> Result<EndpointId, DropReason> {
        let is_here = |endpoint: &&Bound| endpoint.device == Some(device);
        let sender =
            self.endpoint_with(segment, packet.source_mac).filter(is_here).ok_or(DropReason::SourceMac)?;
        match &packet.content {
            Content::Arp(message) => self.check_arp(segment, sender, message)?,
            Content::Ip(ip) => {
                sender.check_ip(ip)?;
                if let Some(message) = ip.neighbour {
                    self.check_neighbour(segment, sender, ip, &message)?;
                }
            }
            Content::Other(_) => {}
        }
        check_layers(packet)?;
        Ok(sender.id)
    }

    /// Refuses what an uplink cannot know better: frames of endpoints that are at home here.
    fn check_uplink(&self, segment: SegmentId, packet: &Packet) -> Result<(), DropReason> {
        let mac = packet.source_mac;
        let is_home = self.endpoint_with(segment, mac).is_some_and(|endpoint| endpoint.is_home);
        if mac.is_group() || mac == Mac::default() || is_home {
            return Err(DropReason::SourceMac);
        }
        match &packet.content {
            Content::Arp(message) => self.check_arp_from_uplink(segment, message),
            Content::Ip(ip) => {
                if self.claimant_of(segment, ip.source).is_some_and(|endpoint| endpoint.is_home) {
                    return Err(DropReason::SourceAddress);
                }
                self.check_neighbour_from_uplink(segment, mac, ip)
            }
            Content::Other(_) => Ok(()),
        }
    }
}

fn check_ethertype(device: &Device, packet: &Packet) -> Result<(), DropReason> {
    match packet.content {
        Content::Other(ethertype) if !device.ethertypes.contains(&ethertype) => Err(DropReason::Ethertype),
        _ => Ok(()),
    }
}

/// Refuses a frame of an endpoint that is for a group in one layer only, wherever it goes: whoever receives it as a
/// group's would take it for what no rule was asked about (RFC 1122 section 3.3.6).
fn check_layers(packet: &Packet) -> Result<(), DropReason> {
    let is_to_group = match &packet.content {
        Content::Ip(ip) => is_group_address(ip.destination),
        Content::Arp(_) | Content::Other(_) => false,
    };
    let mac = packet.destination_mac;
    let agree = if mac.is_group() { is_group_in_both(mac, packet) } else { !is_to_group };
    if agree { Ok(()) } else { Err(DropReason::DestinationBinding) }
}

impl Bound {
    /// Checks an IP packet of this endpoint: its source address, and what only some endpoints may say.
    fn check_ip(&self, ip: &IpPacket) -> Result<(), DropReason> {
        if !self.may_send_from(ip) {
            return Err(DropReason::SourceAddress);
        }
        match ip.dhcp {
            Some(DhcpRole::Server) if !self.flags.dhcp_server => return Err(DropReason::RogueDhcpServer),
            // A relay is listed as a server, because to clients it is one.
            Some(DhcpRole::Client(client)) if !client.speaks_for_itself && !self.flags.dhcp_server => {
                return Err(DropReason::DhcpSpoof);
            }
            _ => {}
        }
        if ip.icmp == Some(IcmpKind::Redirect) && !self.flags.router {
            return Err(DropReason::Redirect);
        }
        if is_icmp_router_advertisement(ip) && !self.flags.router_advertiser {
            return Err(DropReason::RouterAdvertisement);
        }
        if ip.membership.is_some_and(|membership| membership.is_query) && !self.flags.router {
            return Err(DropReason::MulticastQuery);
        }
        match ip.neighbour.map(|message| message.kind) {
            Some(NeighbourKind::RouterAdvertisement) if !self.flags.router_advertiser => {
                Err(DropReason::RouterAdvertisement)
            }
            Some(NeighbourKind::Redirect) if !self.flags.router => Err(DropReason::Redirect),
            _ => Ok(()),
        }
    }

    /// Returns whether the source address is the endpoint's to use. Stage 1 has seen to `::` being the source of
    /// nothing but duplicate address detection, router solicitations and MLD.
    pub(super) fn may_send_from(&self, ip: &IpPacket) -> bool {
        match ip.source {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => {
                let seeks = matches!(ip.dhcp, Some(DhcpRole::Client(client)) if client.seeks_address);
                seeks && ip.destination == IpAddr::V4(Ipv4Addr::BROADCAST)
            }
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => true,
            source => self.answers_for(source),
        }
    }
}

fn is_icmp_router_advertisement(ip: &IpPacket) -> bool {
    ip.icmp.is_some() && ip.l4.protocol == Protocol::ICMP && ip.l4.source_port == ICMP_ROUTER_ADVERTISEMENT
}
