//! Who may say which MAC an address has: ARP and IPv6 neighbour discovery.

use super::{Bindings, Bound};
use crate::packet::{ArpOperation, ArpPacket, IpPacket, NeighbourKind, NeighbourMessage};
use crate::verdict::DropReason;
use meshgate_policy::{Mac, SegmentId, is_group_address};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl Bindings {
    /// Checks an ARP message of an endpoint: it speaks for its own MAC and addresses. A probe (RFC 5227) claims its
    /// target, because others give the address up on hearing it.
    pub(super) fn check_arp(
        &self,
        segment: SegmentId,
        sender: &Bound,
        message: &ArpPacket,
    ) -> Result<(), DropReason> {
        let claimed = claimed_by(message);
        allowed(message.sender_mac == sender.mac && self.may_claim(segment, sender, claimed.into()))
    }

    /// Checks a neighbour message of an endpoint, whose source address is its own or `::`.
    pub(super) fn check_neighbour(
        &self,
        segment: SegmentId,
        sender: &Bound,
        ip: &IpPacket,
        message: &NeighbourMessage,
    ) -> Result<(), DropReason> {
        let is_detection = ip.source == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let claimed = match message.kind {
            NeighbourKind::Advertisement => message.target,
            NeighbourKind::Solicitation if is_detection => message.target,
            // Solicitations and router messages claim their source for the MAC in their option.
            NeighbourKind::Redirect => None,
            _ => match ip.source {
                IpAddr::V6(source) => Some(source).filter(|_| message.link_layer.is_some()),
                IpAddr::V4(_) => None,
            },
        };
        let names_own_mac = match message.kind {
            NeighbourKind::Redirect => true,
            _ => message.link_layer.is_none_or(|mac| mac == sender.mac),
        };
        let is_router = sender.flags.router || sender.flags.router_advertiser;
        let may_claim = |address: Ipv6Addr| self.may_claim(segment, sender, address.into());
        allowed(names_own_mac && claimed.is_none_or(may_claim) && (is_router || !message.is_router))
    }

    /// Returns whether an endpoint may say that it has an address: its own, or one behind it that nobody in the
    /// segment owns. So a router with a wide route cannot draw its neighbours' frames to itself.
    fn may_claim(&self, segment: SegmentId, sender: &Bound, address: IpAddr) -> bool {
        let is_one = !address.is_unspecified() && !is_group_address(address);
        sender.owns(address)
            || (is_one && sender.routes_to(address) && self.claimant_of(segment, address).is_none())
    }

    /// Checks an ARP message from an uplink against what the policy knows.
    pub(super) fn check_arp_from_uplink(
        &self,
        segment: SegmentId,
        message: &ArpPacket,
    ) -> Result<(), DropReason> {
        match claimed_by(message) {
            Ipv4Addr::UNSPECIFIED => Ok(()),
            claimed => self.check_claim(segment, claimed.into(), Some(message.sender_mac)),
        }
    }

    /// Checks a neighbour message from an uplink against what the policy knows: advertisements, redirects and
    /// detections are about their target, the others about their source.
    ///
    /// Where no option names a MAC, the claim is of the frame's; only a redirect speaks of another machine.
    pub(super) fn check_neighbour_from_uplink(
        &self,
        segment: SegmentId,
        source_mac: Mac,
        ip: &IpPacket,
    ) -> Result<(), DropReason> {
        let Some(message) = ip.neighbour else { return Ok(()) };
        let is_unspecified = ip.source == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let about = match message.kind {
            NeighbourKind::Advertisement | NeighbourKind::Redirect => message.target,
            NeighbourKind::Solicitation if is_unspecified => message.target,
            _ => None,
        };
        let about = about.map_or(ip.source, IpAddr::V6);
        let mac = match message.kind {
            NeighbourKind::Redirect => message.link_layer,
            _ => message.link_layer.or(Some(source_mac)),
        };
        if about.is_unspecified() { Ok(()) } else { self.check_claim(segment, about, mac) }
    }

    /// Checks the claim of an uplink that an address has a MAC. An endpoint's address has the policy's MAC and is
    /// not behind an uplink if the endpoint is at home here; an endpoint's MAC has the endpoint's addresses.
    fn check_claim(&self, segment: SegmentId, address: IpAddr, mac: Option<Mac>) -> Result<(), DropReason> {
        let owner = self.claimant_of(segment, address);
        let holder = mac.and_then(|mac| self.endpoint_with(segment, mac));
        let owner_agrees = owner.is_none_or(|owner| !owner.is_home && mac.is_none_or(|mac| mac == owner.mac));
        let holder_agrees = holder.is_none_or(|holder| !holder.is_home && holder.answers_for(address));
        allowed(owner_agrees && holder_agrees)
    }
}

/// Returns the address that an ARP message claims for its sender: in a probe the one that is asked for.
fn claimed_by(message: &ArpPacket) -> Ipv4Addr {
    let is_probe =
        message.operation == ArpOperation::Request && message.sender_address == Ipv4Addr::UNSPECIFIED;
    if is_probe { message.target_address } else { message.sender_address }
}

fn allowed(claim_holds: bool) -> Result<(), DropReason> {
    if claim_holds { Ok(()) } else { Err(DropReason::NeighbourSpoof) }
}
