//! IPv6 neighbour discovery (RFC 4861): the checks that a receiver makes, and the fields that binding needs.
//!
//! A message that a receiver must discard is dropped here. An option that appears twice is refused, because hosts
//! differ in which copy they believe.

use super::field::{mac_at, u8_at, v6_at};
use super::{Datagram, NeighbourKind, NeighbourMessage};
use crate::verdict::DropReason;
use meshgate_policy::Mac;
use std::net::{IpAddr, Ipv6Addr};

/// Hop limit of every message; shows that no router forwarded it.
const HOP_LIMIT: u8 = 255;
/// Options come in units of this many bytes.
const OPTION_UNIT_BYTES: usize = 8;
/// Option: MAC of the sender.
const SOURCE_LINK_LAYER: u8 = 1;
/// Option: MAC of the target.
const TARGET_LINK_LAYER: u8 = 2;
/// Flag of an advertisement whose sender is a router.
const ROUTER_FLAG: u8 = 0x80;
/// Flag of an advertisement that answers a solicitation, in the byte behind the checksum.
const SOLICITED_FLAG: u8 = 0x40;

/// Reads the message, whose ICMPv6 checksum holds.
pub(super) fn read(datagram: &Datagram<'_>, number: u8, code: u8) -> Result<NeighbourMessage, DropReason> {
    let bytes = datagram.l4;
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (datagram.source, datagram.destination) else {
        return Err(DropReason::BadHeader);
    };
    let (kind, fixed_bytes, wanted) = match number {
        133 => (NeighbourKind::RouterSolicitation, 8, SOURCE_LINK_LAYER),
        134 => (NeighbourKind::RouterAdvertisement, 16, SOURCE_LINK_LAYER),
        135 => (NeighbourKind::Solicitation, 24, SOURCE_LINK_LAYER),
        136 => (NeighbourKind::Advertisement, 24, TARGET_LINK_LAYER),
        _ => (NeighbourKind::Redirect, 40, TARGET_LINK_LAYER),
    };
    if bytes.len() < datagram.l4_bytes || bytes.len() < fixed_bytes {
        return Err(DropReason::Truncated);
    }
    let target = match kind {
        NeighbourKind::RouterSolicitation | NeighbourKind::RouterAdvertisement => None,
        _ => v6_at(bytes, 8),
    };
    let link_layer = link_layer_of(&bytes[fixed_bytes..], wanted)?;
    let flags = u8_at(bytes, 4).filter(|_| kind == NeighbourKind::Advertisement).unwrap_or(0);
    let message = NeighbourMessage { kind, target, link_layer, is_router: flags & ROUTER_FLAG != 0 };
    let is_solicited = flags & SOLICITED_FLAG != 0;
    let is_answer_to_group = destination.is_multicast() && is_solicited;
    let has_form = match kind {
        NeighbourKind::RouterSolicitation => !source.is_unspecified() || link_layer.is_none(),
        NeighbourKind::RouterAdvertisement => source.is_unicast_link_local(),
        NeighbourKind::Redirect => {
            source.is_unicast_link_local() && leads_to_neighbour(target, v6_at(bytes, 24))
        }
        NeighbourKind::Solicitation => {
            !source.is_unspecified() || (link_layer.is_none() && is_solicited_node(destination))
        }
        NeighbourKind::Advertisement => !is_answer_to_group,
    };
    let is_one =
        |target: Ipv6Addr| !target.is_multicast() && !target.is_unspecified() && !target.is_loopback();
    let has_target = target.is_none_or(is_one);
    if datagram.hop_limit != HOP_LIMIT || code != 0 || !has_form || !has_target {
        return Err(DropReason::BadHeader);
    }
    Ok(message)
}

/// Returns whether a redirect names a router by its link-local address, or the destination itself, which is no group
/// (RFC 4861 section 8.1).
fn leads_to_neighbour(target: Option<Ipv6Addr>, destination: Option<Ipv6Addr>) -> bool {
    let is_router = target.is_some_and(|target| target.is_unicast_link_local());
    destination.is_some_and(|destination| !destination.is_multicast()) && (is_router || target == destination)
}

/// Returns whether the address is a solicited-node multicast address (RFC 4291 section 2.7.1).
fn is_solicited_node(address: Ipv6Addr) -> bool {
    let [first @ .., group, _] = address.segments();
    first == [0xff02, 0, 0, 0, 0, 1] && group >> 8 == 0xff
}

/// Walks the options and returns the MAC in the one that is wanted.
fn link_layer_of(mut options: &[u8], wanted: u8) -> Result<Option<Mac>, DropReason> {
    let mut found = None;
    while let [kind, units, ..] = options {
        let bytes = usize::from(*units) * OPTION_UNIT_BYTES;
        if bytes == 0 {
            return Err(DropReason::BadHeader);
        }
        let option = options.get(..bytes).ok_or(DropReason::Truncated)?;
        if *kind == wanted {
            let mac = mac_at(option, 2).filter(|_| bytes == OPTION_UNIT_BYTES && found.is_none());
            found = Some(mac.ok_or(DropReason::BadHeader)?);
        }
        options = &options[bytes..];
    }
    if options.is_empty() { Ok(found) } else { Err(DropReason::Truncated) }
}
