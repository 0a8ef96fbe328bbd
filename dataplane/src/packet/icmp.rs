//! ICMP (RFC 792) and ICMPv6 (RFC 4443): what a message is, and what an error quotes.

use super::field::{u8_at, u16_at, u32_at, v4_at, v6_at};
use super::{Datagram, Fragment, IcmpKind, IpPacket, Quoted, checksum, ipv6, membership, neighbour};
use crate::verdict::DropReason;
use etherparse::IpNumber;
use meshgate_policy::{L4Key, Protocol};
use std::net::IpAddr;

/// Bytes before the quoted packet of an error; ICMP, IGMP and every ICMPv6 message that is read here have as many.
const HEADER_BYTES: usize = 8;
/// Bytes that every ICMPv6 message has.
const V6_HEADER_BYTES_MIN: usize = 4;

mod kind {
    //! Types of ICMP messages.
    pub(super) const ECHO_REPLY: u8 = 0;
    pub(super) const UNREACHABLE: u8 = 3;
    pub(super) const SOURCE_QUENCH: u8 = 4;
    pub(super) const REDIRECT: u8 = 5;
    pub(super) const ECHO_REQUEST: u8 = 8;
    pub(super) const TIME_EXCEEDED: u8 = 11;
    pub(super) const PARAMETER_PROBLEM: u8 = 12;
}

mod v6_kind {
    //! Types of ICMPv6 messages.
    pub(super) const ERROR_FIRST: u8 = 1;
    pub(super) const ERROR_LAST: u8 = 4;
    pub(super) const ECHO_REQUEST: u8 = 128;
    pub(super) const ECHO_REPLY: u8 = 129;
    pub(super) const LISTENER_QUERY: u8 = 130;
    pub(super) const NEIGHBOUR_FIRST: u8 = 133;
    pub(super) const NEIGHBOUR_LAST: u8 = 137;
    pub(super) const LISTENER_REPORT_2: u8 = 143;
}

/// Reads an ICMP or ICMPv6 message that is not a fragment.
pub(super) fn read(datagram: &Datagram<'_>, packet: &mut IpPacket) -> Result<(), DropReason> {
    let bytes = datagram.l4;
    let is_ipv4 = datagram.source.is_ipv4();
    let bytes_min = if is_ipv4 { HEADER_BYTES } else { V6_HEADER_BYTES_MIN };
    let (Some(kind), Some(code)) = (u8_at(bytes, 0), u8_at(bytes, 1)) else {
        return Err(DropReason::Truncated);
    };
    if bytes.len() < bytes_min {
        return Err(DropReason::Truncated);
    }
    packet.checksum = checksum::verify_message(datagram)?;
    packet.l4 = L4Key::icmp(Protocol(datagram.protocol), kind, code);
    packet.icmp = Some(if is_ipv4 { v4_kind_of(kind, bytes)? } else { v6_kind_of(kind, bytes)? });
    if !is_ipv4 {
        packet.membership = membership::of_mld(datagram, kind);
        if (v6_kind::NEIGHBOUR_FIRST..=v6_kind::NEIGHBOUR_LAST).contains(&kind) {
            packet.neighbour = Some(neighbour::read(datagram, kind, code)?);
        }
    }
    Ok(())
}

/// Reads the first part of an echo; everything else must come whole.
pub(super) fn read_first_part(datagram: &Datagram<'_>, packet: &mut IpPacket) -> Result<(), DropReason> {
    let field = |at| u8_at(datagram.l4, at).ok_or(DropReason::FragmentTiny);
    let (kind, code) = (field(0)?, field(1)?);
    let id = u16_at(datagram.l4, 4).ok_or(DropReason::FragmentTiny)?;
    let [request, reply] = match datagram.source.is_ipv4() {
        true => [kind::ECHO_REQUEST, kind::ECHO_REPLY],
        false => [v6_kind::ECHO_REQUEST, v6_kind::ECHO_REPLY],
    };
    packet.icmp = Some(match kind {
        _ if kind == request => IcmpKind::EchoRequest { id },
        _ if kind == reply => IcmpKind::EchoReply { id },
        _ if !datagram.source.is_ipv4() && governs_link(kind) => return Err(DropReason::LinkFragment),
        _ => return Err(DropReason::FragmentControl),
    });
    packet.l4 = L4Key::icmp(Protocol(datagram.protocol), kind, code);
    Ok(())
}

/// Reads an IGMP message that is not a fragment.
pub(super) fn read_igmp(datagram: &Datagram<'_>, packet: &mut IpPacket) -> Result<(), DropReason> {
    if datagram.l4.len() < HEADER_BYTES {
        return Err(DropReason::Truncated);
    }
    packet.checksum = checksum::verify_message(datagram)?;
    packet.membership = membership::of_igmp(datagram);
    Ok(())
}

fn v4_kind_of(kind: u8, bytes: &[u8]) -> Result<IcmpKind, DropReason> {
    Ok(match kind {
        kind::ECHO_REQUEST => IcmpKind::EchoRequest { id: u16_at(bytes, 4).ok_or(DropReason::Truncated)? },
        kind::ECHO_REPLY => IcmpKind::EchoReply { id: u16_at(bytes, 4).ok_or(DropReason::Truncated)? },
        kind::UNREACHABLE | kind::SOURCE_QUENCH | kind::TIME_EXCEEDED | kind::PARAMETER_PROBLEM => {
            IcmpKind::Error(quoted_v4(&bytes[HEADER_BYTES..]))
        }
        kind::REDIRECT => IcmpKind::Redirect,
        _ => IcmpKind::Other,
    })
}

fn v6_kind_of(kind: u8, bytes: &[u8]) -> Result<IcmpKind, DropReason> {
    let is_error = (v6_kind::ERROR_FIRST..=v6_kind::ERROR_LAST).contains(&kind);
    Ok(match kind {
        v6_kind::ECHO_REQUEST => IcmpKind::EchoRequest { id: u16_at(bytes, 4).ok_or(DropReason::Truncated)? },
        v6_kind::ECHO_REPLY => IcmpKind::EchoReply { id: u16_at(bytes, 4).ok_or(DropReason::Truncated)? },
        _ if is_error => IcmpKind::Error(quoted_v6(bytes.get(HEADER_BYTES..).ok_or(DropReason::Truncated)?)),
        _ => IcmpKind::Other,
    })
}

/// Returns whether an ICMPv6 message of this type governs the link: MLD, neighbour discovery, and the like. Such a
/// message has no reason to come in fragments, and receivers must ignore one that does (RFC 6980 section 5).
pub(super) fn governs_link(kind: u8) -> bool {
    matches!(kind, v6_kind::LISTENER_QUERY..=v6_kind::NEIGHBOUR_LAST | v6_kind::LISTENER_REPORT_2)
}

/// Returns the packet that an ICMP error quotes; None if it cannot be read up to its ports.
fn quoted_v4(bytes: &[u8]) -> Option<Quoted> {
    let first = u8_at(bytes, 0)?;
    let header_bytes = usize::from(first & 0x0f) * 4;
    let fragment_offset = u16_at(bytes, 6)? & 0x1fff;
    if first >> 4 != 4 || header_bytes < 20 || fragment_offset != 0 {
        return None;
    }
    let addresses = (v4_at(bytes, 12)?.into(), v4_at(bytes, 16)?.into());
    quoted(addresses, Protocol(u8_at(bytes, 9)?), bytes.get(header_bytes..)?)
}

/// Returns the packet that an ICMPv6 error quotes; None if it cannot be read up to its ports.
fn quoted_v6(bytes: &[u8]) -> Option<Quoted> {
    if u8_at(bytes, 0)? >> 4 != 6 {
        return None;
    }
    let addresses = (v6_at(bytes, 8)?.into(), v6_at(bytes, 24)?.into());
    let payload = bytes.get(ipv6::HEADER_BYTES..)?;
    let upper = ipv6::upper(IpNumber(u8_at(bytes, 6)?), payload, payload.len()).ok()?;
    match upper.fragment {
        Fragment::Later { .. } => None,
        _ => quoted(addresses, Protocol(upper.protocol), payload.get(upper.at..)?),
    }
}

fn quoted((source, destination): (IpAddr, IpAddr), protocol: Protocol, l4: &[u8]) -> Option<Quoted> {
    let l4_key = L4Key::bare(protocol);
    let base = Quoted { source, destination, l4: l4_key, tcp_sequence: None, sctp_tag: None, echo_id: None };
    if protocol.has_ports() {
        let key = L4Key::ports(protocol, u16_at(l4, 0)?, u16_at(l4, 2)?);
        // Sequence number and verification tag stand in the same place.
        let number = if protocol == Protocol::UDP { None } else { Some(u32_at(l4, 4)?) };
        let of = |wanted| number.filter(|_| protocol == wanted);
        return Some(Quoted {
            l4: key,
            tcp_sequence: of(Protocol::TCP),
            sctp_tag: of(Protocol::SCTP),
            ..base
        });
    }
    if protocol.is_icmp() {
        let (kind, code) = (u8_at(l4, 0)?, u8_at(l4, 1)?);
        let echoes = match protocol {
            Protocol::ICMP => [kind::ECHO_REQUEST, kind::ECHO_REPLY],
            _ => [v6_kind::ECHO_REQUEST, v6_kind::ECHO_REPLY],
        };
        let echo_id = if echoes.contains(&kind) { Some(u16_at(l4, 4)?) } else { None };
        return Some(Quoted { l4: L4Key::icmp(protocol, kind, code), echo_id, ..base });
    }
    Some(base)
}
