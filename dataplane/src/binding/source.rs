//! The sender's side of stage 2.

use super::{Bindings, Bound, Device, Sender};
use crate::packet::{Content, DhcpRole, IcmpKind, IpPacket, NeighbourKind, Packet};
use crate::verdict::DropReason;
use meshgate_policy::{Mac, SegmentId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl Bindings {
    /// Returns who sent the packet that came from the device, or why it cannot be who it says.
    pub fn source(&self, device: u16, packet: &Packet) -> Result<Sender, DropReason> {
        let at = self.device(device).ok_or(DropReason::UnknownVlan)?;
        let segment = at.segment_of(packet.vlan).ok_or(DropReason::UnknownVlan)?;
        check_ethertype(at, packet)?;
        if !at.is_bound() {
            self.check_uplink(segment, packet)?;
            return Ok(Sender { segment, endpoint: None });
        }
        let is_here = |endpoint: &&Bound| endpoint.device == Some(device);
        let sender =
            self.endpoint_with(segment, packet.source_mac).filter(is_here).ok_or(DropReason::SourceMac)?;
        match &packet.content {
            Content::Arp(message) => sender.check_arp(message)?,
            Content::Ip(ip) => sender.check_ip(ip)?,
            Content::Other(_) => {}
        }
        Ok(Sender { segment, endpoint: Some(sender.id) })
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
                self.check_neighbour_from_uplink(segment, ip)
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

impl Bound {
    /// Checks an IP packet of this endpoint: its source address, and what only some endpoints may say.
    fn check_ip(&self, ip: &IpPacket) -> Result<(), DropReason> {
        if !self.may_send_from(ip) {
            return Err(DropReason::SourceAddress);
        }
        if ip.dhcp == Some(DhcpRole::Server) && !self.flags.dhcp_server {
            return Err(DropReason::RogueDhcpServer);
        }
        if ip.icmp == Some(IcmpKind::Redirect) && !self.flags.router {
            return Err(DropReason::Redirect);
        }
        let Some(message) = ip.neighbour else { return Ok(()) };
        match message.kind {
            NeighbourKind::RouterAdvertisement if !self.flags.router_advertiser => {
                Err(DropReason::RouterAdvertisement)
            }
            NeighbourKind::Redirect if !self.flags.router => Err(DropReason::Redirect),
            _ => self.check_neighbour(ip, &message),
        }
    }

    /// Returns whether the source address is the endpoint's to use. Stage 1 has seen to `::` being the source of
    /// nothing but duplicate address detection, router solicitations and MLD.
    fn may_send_from(&self, ip: &IpPacket) -> bool {
        match ip.source {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => {
                ip.dhcp == Some(DhcpRole::Client) && ip.destination == IpAddr::V4(Ipv4Addr::BROADCAST)
            }
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => true,
            source => self.answers_for(source),
        }
    }
}
