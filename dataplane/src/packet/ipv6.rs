//! The IPv6 header and its extension headers (RFC 8200).

use super::ipv4::{FRAGMENT_UNIT_BYTES, fragment};
use super::{Datagram, Fragment, Frame};
use crate::verdict::DropReason;
use etherparse::err::{ip_auth, ipv6};
use etherparse::{
    IpAuthHeaderSlice, IpNumber, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
};

/// Bytes of the fixed header.
pub(super) const HEADER_BYTES: usize = 40;
/// Option: one byte without meaning.
const OPTION_PAD_1: u8 = 0;
/// Option: routers are to look at the packet.
const OPTION_ROUTER_ALERT: u8 = 5;
/// Extension headers that are followed. RFC 8200 section 4.1 lists six, destination options twice; one to spare.
pub const EXTENSION_HEADERS_MAX: usize = 8;

/// Reads the headers of the frame's datagram.
pub(super) fn read<'a>(frame: &Frame<'a>) -> Result<Datagram<'a>, DropReason> {
    let l3 = frame.l3();
    let header = Ipv6HeaderSlice::from_slice(l3).map_err(|error| match error {
        ipv6::HeaderSliceError::Len(_) => DropReason::Truncated,
        ipv6::HeaderSliceError::Content(_) => DropReason::BadHeader,
    })?;
    let payload_bytes = usize::from(header.payload_length());
    let ip_bytes = HEADER_BYTES + payload_bytes;
    if payload_bytes == 0 && frame.is_oversize() {
        return Err(DropReason::OversizeFrame);
    }
    if ip_bytes > frame.l3_bytes() {
        return Err(DropReason::Truncated);
    }
    let payload = &l3[HEADER_BYTES..l3.len().min(ip_bytes)];
    let upper = upper(header.next_header(), payload, payload_bytes)?;
    Ok(Datagram {
        source_mac: frame.source_mac(),
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: upper.protocol,
        hop_limit: header.hop_limit(),
        fragment: upper.fragment,
        router_alert: upper.router_alert,
        ip_bytes,
        l4_offset: frame.l3_offset + HEADER_BYTES + upper.at,
        l4_bytes: payload_bytes - upper.at,
        l4: &payload[upper.at..],
    })
}

/// What the chain of extension headers leads to.
pub(super) struct Upper {
    /// Number of the protocol behind the chain. Of ESP and "no next header": their own number.
    pub(super) protocol: u8,
    /// Where its header begins behind the fixed header; at most the payload's length.
    pub(super) at: usize,
    /// Which part of its datagram the packet is.
    pub(super) fragment: Fragment,
    /// Whether the hop-by-hop options have a router alert.
    pub(super) router_alert: bool,
}

/// Follows the extension headers from `next` on.
///
/// A routing header is refused if it is of type 0 (RFC 5095) or has segments left: the packet would go on to another
/// destination than the one that was judged.
///
/// Behind the fragment header of a part there must be the upper layer: nothing sends more extension headers there, and
/// so all parts of a datagram carry the same protocol number, by which they find each other and their owner.
pub(super) fn upper(mut next: IpNumber, payload: &[u8], payload_bytes: usize) -> Result<Upper, DropReason> {
    let mut at = 0;
    let mut part = None;
    let mut router_alert = false;
    for _ in 0..=EXTENSION_HEADERS_MAX {
        let rest = &payload[at..];
        let length = match next {
            IpNumber::IPV6_HEADER_HOP_BY_HOP if at > 0 => return Err(DropReason::ExtensionHeaders),
            IpNumber::IPV6_HEADER_HOP_BY_HOP
            | IpNumber::IPV6_DESTINATION_OPTIONS
            | IpNumber::IPV6_ROUTE_HEADER => {
                let header = Ipv6RawExtHeaderSlice::from_slice(rest).map_err(|_| DropReason::Truncated)?;
                check_routing(next, header.payload())?;
                router_alert |=
                    next == IpNumber::IPV6_HEADER_HOP_BY_HOP && has_router_alert(header.payload());
                next = header.next_header();
                header.slice().len()
            }
            IpNumber::IPV6_FRAGMENTATION_HEADER if part.is_some() => {
                return Err(DropReason::ExtensionHeaders);
            }
            IpNumber::IPV6_FRAGMENTATION_HEADER => {
                let header = Ipv6FragmentHeaderSlice::from_slice(rest).map_err(|_| DropReason::Truncated)?;
                next = header.next_header();
                let fragment = fragment_of(&header, payload_bytes - at, at)?;
                if fragment != Fragment::Whole && is_followed(next) {
                    return Err(DropReason::ExtensionHeaders);
                }
                part = Some(fragment);
                header.slice().len()
            }
            IpNumber::AUTHENTICATION_HEADER => {
                let header = IpAuthHeaderSlice::from_slice(rest).map_err(|error| match error {
                    ip_auth::HeaderSliceError::Len(_) => DropReason::Truncated,
                    ip_auth::HeaderSliceError::Content(_) => DropReason::BadHeader,
                })?;
                next = header.next_header();
                header.slice().len()
            }
            _ => {
                let fragment = part.unwrap_or(Fragment::Whole);
                return Ok(Upper { protocol: next.0, at, fragment, router_alert });
            }
        };
        at += length;
        if let Some(fragment @ Fragment::Later { .. }) = part {
            return Ok(Upper { protocol: next.0, at, fragment, router_alert });
        }
    }
    Err(DropReason::ExtensionHeaders)
}

/// Returns the part that a fragment header describes; `before_bytes` are the extension headers before it.
fn fragment_of(
    header: &Ipv6FragmentHeaderSlice<'_>,
    rest_bytes: usize,
    before_bytes: usize,
) -> Result<Fragment, DropReason> {
    let offset_bytes = usize::from(header.fragment_offset().value()) * FRAGMENT_UNIT_BYTES;
    let part_bytes = rest_bytes - header.slice().len();
    fragment(header.identification(), (offset_bytes, part_bytes), header.more_fragments(), before_bytes)
}

/// Returns whether the number is that of an extension header that [`upper`] follows.
fn is_followed(number: IpNumber) -> bool {
    matches!(
        number,
        IpNumber::IPV6_HEADER_HOP_BY_HOP
            | IpNumber::IPV6_DESTINATION_OPTIONS
            | IpNumber::IPV6_ROUTE_HEADER
            | IpNumber::IPV6_FRAGMENTATION_HEADER
            | IpNumber::AUTHENTICATION_HEADER
    )
}

/// Returns whether hop-by-hop options have a router alert (RFC 2711), as far as they can be read.
fn has_router_alert(mut options: &[u8]) -> bool {
    while let [kind, rest @ ..] = options {
        options = match (*kind, rest) {
            (OPTION_PAD_1, rest) => rest,
            (OPTION_ROUTER_ALERT, [2, _, _, ..]) => return true,
            (_, [length, rest @ ..]) => rest.get(usize::from(*length)..).unwrap_or_default(),
            _ => return false,
        };
    }
    false
}

/// Refuses routing headers that lead elsewhere; `rest` begins behind the length byte.
fn check_routing(number: IpNumber, rest: &[u8]) -> Result<(), DropReason> {
    match rest {
        [kind, segments_left, ..]
            if number == IpNumber::IPV6_ROUTE_HEADER && (*kind == 0 || *segments_left > 0) =>
        {
            Err(DropReason::SourceRoute)
        }
        _ => Ok(()),
    }
}
