//! The receiver's side of stage 2.

use super::{Bindings, Bound};
use crate::packet::{Content, Packet};
use crate::switch::Egress;
use crate::verdict::DropReason;
use meshgate_policy::{Mac, SegmentId};
use std::net::{IpAddr, Ipv4Addr};

impl Bindings {
    /// Returns where a packet goes of the places the switch found: to those it is for. Of DHCP, devices that it does not
    /// concern are left out of a flood.
    pub fn receivers(
        &self,
        egress: Egress,
        segment: SegmentId,
        packet: &Packet,
    ) -> Result<Egress, DropReason> {
        let egress = self.without_bystanders(egress, segment, packet)?;
        match egress {
            Egress::Device(device) => self.destination(device, segment, packet)?,
            Egress::Flood(devices) => {
                devices.iter().try_for_each(|device| self.destination(device, segment, packet))?;
            }
        }
        Ok(egress)
    }

    /// Checks that a packet which would be delivered to the device is for somebody there: for an endpoint in both
    /// layers, or for a group in both. Uplinks take everything.
    pub fn destination(
        &self,
        delivered_to: u16,
        segment: SegmentId,
        packet: &Packet,
    ) -> Result<(), DropReason> {
        let device = self.device(delivered_to).ok_or(DropReason::NoDevice)?;
        if !device.is_bound() {
            return Ok(());
        }
        let mac = packet.destination_mac;
        let fits = if mac.is_group() {
            is_group_in_both(mac, packet)
        } else {
            let here = |receiver: &&Bound| receiver.device == Some(delivered_to);
            self.endpoint_with(segment, mac).filter(here).is_some_and(|receiver| {
                // A lease is offered to the address that it will give, before that is the endpoint's.
                receiver.is_for(packet) || self.is_lease_answer(segment, packet)
            })
        };
        if fits { Ok(()) } else { Err(DropReason::DestinationBinding) }
    }
}

impl Bound {
    /// Returns whether a frame with this endpoint's MAC is for it in the layer above, too.
    fn is_for(&self, packet: &Packet) -> bool {
        match &packet.content {
            Content::Ip(ip) => self.answers_for(ip.destination),
            // A reply to a probe has no target address (RFC 5227 section 2.1.1).
            Content::Arp(message) => {
                message.target_address == Ipv4Addr::UNSPECIFIED
                    || self.answers_for(message.target_address.into())
            }
            Content::Other(_) => true,
        }
    }
}

/// Returns whether a frame to a group's MAC is for that group in the layer above, too.
pub(super) fn is_group_in_both(mac: Mac, packet: &Packet) -> bool {
    match &packet.content {
        Content::Ip(ip) => group_mac_of(ip.destination) == Some(mac),
        Content::Arp(_) => mac == Mac::BROADCAST,
        Content::Other(_) => true,
    }
}

/// Returns the MAC to which packets to a group address go (RFC 1112 section 6.4, RFC 2464 section 7); None of other
/// addresses.
fn group_mac_of(address: IpAddr) -> Option<Mac> {
    match address {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some(Mac::BROADCAST),
        IpAddr::V4(v4) if v4.is_multicast() => {
            let [_, b, c, d] = v4.octets();
            Some(Mac([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
        }
        IpAddr::V6(v6) if v6.is_multicast() => {
            let [.., a, b, c, d] = v6.octets();
            Some(Mac([0x33, 0x33, a, b, c, d]))
        }
        _ => None,
    }
}
