//! Stage 2 and the switch for plain packets, which need neither to be searched for special rights nor flooded.

use super::stations::Station;
use super::{Bindings, Bound, Device};
use crate::packet::PlainPacket;
use meshgate_policy::SegmentId;
use std::net::{IpAddr, Ipv6Addr};

/// Bits of a MAC, above which its segment stands in a key.
const MAC_BITS: u32 = 48;
/// The bit of a MAC that says that it is of a group.
const GROUP_MAC: u64 = 1 << 40;

impl Bindings {
    /// Returns the segment of a plain packet that came from the device, and the one device it goes to, where it stands
    /// without tags as well. None wherever there is more to say: [`Self::source`], [`crate::switch::Switch::route`] and
    /// [`Self::receivers`] must then be asked, which may well let it pass.
    ///
    /// Each side's endpoint is looked up once, for all that the three ask of it.
    #[inline]
    pub fn plain_way(&self, ingress: u16, packet: &PlainPacket) -> Option<(SegmentId, u16)> {
        let from = self.device(ingress)?;
        let segment = from.untagged?;
        if from.is_bound() {
            let sender = self.station(segment, packet.source_mac)?;
            if sender.device() != Some(ingress) || !self.answers_for(sender, packet.source) {
                return None;
            }
        } else if !self.may_come_from_uplink(segment, packet) {
            return None;
        }
        let egress = self.plain_receiver(from, segment, packet)?;
        let is_untagged = self.device(egress)?.untagged == Some(segment);
        (egress != ingress && is_untagged).then_some((segment, egress))
    }

    /// Returns the device that a plain packet goes to: that of its endpoint if both layers name it. What is for nobody
    /// here leaves by the uplink, if there is no choice of them.
    #[inline]
    fn plain_receiver(&self, from: &Device, segment: SegmentId, packet: &PlainPacket) -> Option<u16> {
        let receiver = self.station(segment, packet.destination_mac);
        if let Some((receiver, device)) = receiver.and_then(|receiver| Some((receiver, receiver.device()?))) {
            return self.answers_for(receiver, packet.destination).then_some(device);
        }
        if from.is_bound() { self.domain(segment)?.only_uplink } else { None }
    }

    /// Returns whether nothing speaks against a plain packet from an uplink. Where there are several the switch learns
    /// from each.
    fn may_come_from_uplink(&self, segment: SegmentId, packet: &PlainPacket) -> bool {
        let mac = packet.source_mac;
        let is_home = |endpoint: &Bound| endpoint.is_home;
        let has_choice = self.domain(segment).is_none_or(|domain| domain.only_uplink.is_none());
        let is_station = mac & GROUP_MAC == 0 && mac != 0;
        is_station
            && !has_choice
            && self.station(segment, mac).is_none_or(|station| !station.is_home)
            && !self.claimant_of(segment, address_of(packet.source)).is_some_and(is_home)
    }

    /// Returns the endpoint with this MAC, a number of 48 bits.
    #[inline]
    fn station(&self, segment: SegmentId, mac: u64) -> Option<&Station> {
        self.by_mac.get((u64::from(segment.0) << MAC_BITS) | mac)
    }

    /// Returns whether the address, as a number, is the endpoint's, or lies behind it.
    #[inline]
    fn answers_for(&self, station: &Station, address: u128) -> bool {
        station.number == address || self.endpoints[station.place()].answers_for(address_of(address))
    }
}

fn address_of(number: u128) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(number)).to_canonical()
}
