//! The IPv4 header (RFC 791): version, lengths, checksum, options, fragment fields.

use super::checksum::Sum;
use super::{Datagram, Fragment, Frame};
use crate::verdict::DropReason;
use etherparse::Ipv4HeaderSlice;
use etherparse::err::ipv4::HeaderSliceError;

/// Fragment offsets and all parts but the last come in units of this many bytes.
pub(super) const FRAGMENT_UNIT_BYTES: usize = 8;
/// The first bit of the flags field, which must be zero.
const RESERVED_FLAG: u8 = 0x80;
/// Option: end of the list.
const OPTION_END: u8 = 0;
/// Option: one byte without meaning.
const OPTION_NOP: u8 = 1;
/// Option: loose source and record route.
const OPTION_LOOSE_ROUTE: u8 = 131;
/// Option: routers are to look at the packet (RFC 2113).
const OPTION_ROUTER_ALERT: u8 = 148;
/// Option: strict source and record route.
const OPTION_STRICT_ROUTE: u8 = 137;

/// Reads the header of the frame's datagram.
#[inline]
pub(super) fn read<'a>(frame: &Frame<'a>) -> Result<Datagram<'a>, DropReason> {
    let l3 = frame.l3();
    let header = Ipv4HeaderSlice::from_slice(l3).map_err(|error| match error {
        HeaderSliceError::Len(_) => DropReason::Truncated,
        HeaderSliceError::Content(_) => DropReason::BadHeader,
    })?;
    let (header_bytes, ip_bytes) = (header.slice().len(), usize::from(header.total_len()));
    if ip_bytes == 0 && frame.is_oversize() {
        return Err(DropReason::OversizeFrame);
    }
    if ip_bytes < header_bytes {
        return Err(DropReason::BadHeader);
    }
    if ip_bytes > frame.l3_bytes() {
        return Err(DropReason::Truncated);
    }
    if !Sum::default().add(header.slice()).is_valid() {
        return Err(DropReason::BadIpChecksum);
    }
    let router_alert = check_options(header.options())?;
    let l4_bytes = ip_bytes - header_bytes;
    Ok(Datagram {
        source_mac: frame.source_mac(),
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: header.protocol().0,
        hop_limit: header.ttl(),
        fragment: fragment_of(&header, header_bytes, l4_bytes)?,
        router_alert,
        ip_bytes,
        l4_offset: frame.l3_offset + header_bytes,
        l4_bytes,
        l4: &l3[header_bytes..l3.len().min(ip_bytes)],
    })
}

/// Returns which part of its datagram the packet is.
fn fragment_of(
    header: &Ipv4HeaderSlice<'_>,
    header_bytes: usize,
    l4_bytes: usize,
) -> Result<Fragment, DropReason> {
    if header.slice()[6] & RESERVED_FLAG != 0 {
        return Err(DropReason::BadHeader);
    }
    let offset_bytes = usize::from(header.fragments_offset().value()) * FRAGMENT_UNIT_BYTES;
    let more = header.more_fragments();
    fragment(header.identification().into(), (offset_bytes, l4_bytes), more, header_bytes)
}

/// Returns the part that these fields describe, or that no datagram can be put together of it. `part` is where it
/// begins and how long it is; `before_bytes` is what stands before the payload in the length field of the datagram
/// that is put together, which must not be beyond 65,535 (the "ping of death"; RFC 8200 section 4.5).
pub(super) fn fragment(
    id: u32,
    part: (usize, usize),
    more: bool,
    before_bytes: usize,
) -> Result<Fragment, DropReason> {
    let (offset_bytes, part_bytes) = part;
    let ends_within = before_bytes + offset_bytes + part_bytes <= usize::from(u16::MAX);
    let fits_unit = part_bytes > 0 && (!more || part_bytes.is_multiple_of(FRAGMENT_UNIT_BYTES));
    match (u16::try_from(offset_bytes), more) {
        (Ok(0), false) => Ok(Fragment::Whole),
        _ if !ends_within || !fits_unit => Err(DropReason::BadHeader),
        (Ok(0), true) => Ok(Fragment::First { id }),
        (Ok(offset_bytes), more) => Ok(Fragment::Later { id, offset_bytes, more }),
        (Err(_), _) => Err(DropReason::BadHeader),
    }
}

/// Walks the options: source routes are refused, and so is a list that cannot be walked. Returns whether there is a
/// router alert.
fn check_options(mut options: &[u8]) -> Result<bool, DropReason> {
    let mut router_alert = false;
    while let [kind, rest @ ..] = options {
        router_alert |= *kind == OPTION_ROUTER_ALERT;
        options = match (*kind, rest) {
            (OPTION_END, _) => return Ok(router_alert),
            (OPTION_NOP, rest) => rest,
            (OPTION_LOOSE_ROUTE | OPTION_STRICT_ROUTE, _) => return Err(DropReason::SourceRoute),
            (_, [length, ..]) if *length >= 2 => {
                options.get(usize::from(*length)..).ok_or(DropReason::BadHeader)?
            }
            _ => return Err(DropReason::BadHeader),
        };
    }
    Ok(router_alert)
}
