//! Who may say which MAC an address has: ARP and IPv6 neighbour discovery.

use super::{Bindings, Bound};
use crate::packet::{ArpOperation, ArpPacket, IpPacket, NeighbourKind, NeighbourMessage};
use crate::verdict::DropReason;
use meshgate_policy::{Mac, SegmentId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl Bound {
    /// Checks an ARP message of this endpoint: it speaks for its own MAC and addresses. A probe (RFC 5227) claims
    /// its target, because others give the address up on hearing it.
    pub(super) fn check_arp(&self, message: &ArpPacket) -> Result<(), DropReason> {
        let is_probe =
            message.operation == ArpOperation::Request && message.sender_address == Ipv4Addr::UNSPECIFIED;
        let claimed = if is_probe { message.target_address } else { message.sender_address };
        allowed(message.sender_mac == self.mac && self.answers_for(claimed.into()))
    }

    /// Checks a neighbour message of this endpoint, whose source address is its own or `::`.
    pub(super) fn check_neighbour(
        &self,
        ip: &IpPacket,
        message: &NeighbourMessage,
    ) -> Result<(), DropReason> {
        let is_detection = ip.source == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let claimed = match message.kind {
            NeighbourKind::Advertisement => message.target,
            NeighbourKind::Solicitation if is_detection => message.target,
            _ => None,
        };
        let names_own_mac = match message.kind {
            NeighbourKind::Redirect => true,
            _ => message.link_layer.is_none_or(|mac| mac == self.mac),
        };
        allowed(names_own_mac && claimed.is_none_or(|address| self.answers_for(address.into())))
    }
}

impl Bindings {
    /// Checks an ARP message from an uplink against what the policy knows.
    pub(super) fn check_arp_from_uplink(
        &self,
        segment: SegmentId,
        message: &ArpPacket,
    ) -> Result<(), DropReason> {
        if message.sender_address == Ipv4Addr::UNSPECIFIED {
            return Ok(());
        }
        self.check_claim(segment, message.sender_address.into(), Some(message.sender_mac))
    }

    /// Checks a neighbour message from an uplink against what the policy knows: advertisements and redirects are
    /// about their target, the others about their source.
    pub(super) fn check_neighbour_from_uplink(
        &self,
        segment: SegmentId,
        ip: &IpPacket,
    ) -> Result<(), DropReason> {
        let Some(message) = ip.neighbour else { return Ok(()) };
        let about = match (message.kind, message.target) {
            (NeighbourKind::Advertisement | NeighbourKind::Redirect, Some(target)) => IpAddr::V6(target),
            _ => ip.source,
        };
        let is_detection = about == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        if is_detection { Ok(()) } else { self.check_claim(segment, about, message.link_layer) }
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

fn allowed(claim_holds: bool) -> Result<(), DropReason> {
    if claim_holds { Ok(()) } else { Err(DropReason::NeighbourSpoof) }
}
