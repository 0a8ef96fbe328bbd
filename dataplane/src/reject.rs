//! What a refused packet is answered with: a TCP reset, else ICMP "administratively prohibited".
//!
//! An answer is made of the refused packet alone, and looks as if the refused destination had sent it: addresses and
//! MACs change places, the tag stays. Nobody is answered who might be a group, and nothing that is an answer itself, so
//! that two hosts cannot keep each other busy (RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e), RFC 1812 section 4.3.2.7).
//!
//! Pure: bytes in, bytes out. How many answers a second there may be is the [`RejectLimit`]'s to say.

mod limit;
#[cfg(test)]
mod tests;

pub use limit::RejectLimit;

use crate::packet::{
    Fragment, IcmpKind, InternetSum, IpPacket, NeighbourKind, Packet, TcpFields, TcpFlags, VLAN_TAG_BYTES,
};
use arrayvec::ArrayVec;
use meshgate_policy::{Protocol, is_group_address};
use std::net::IpAddr;

/// Bytes of the longest answer: an Ethernet header with two tags, and an ICMPv6 error.
pub const ANSWER_BYTES_MAX: usize =
    crate::packet::ETHERNET_BYTES + 2 * VLAN_TAG_BYTES + ICMPV6_ERROR_BYTES_MAX;
/// Bytes of the longest ICMP error, IP header included: what every host can put together (RFC 1812 section 4.3.2.3).
const ICMP_ERROR_BYTES_MAX: usize = 576;
/// Bytes of the longest ICMPv6 error, IP header included: the smallest MTU (RFC 4443 section 2.4 (c)).
const ICMPV6_ERROR_BYTES_MAX: usize = 1_280;
/// TTL and hop limit of answers (RFC 1700).
const HOP_LIMIT: u8 = 64;
/// Bytes of a TCP header without options.
const TCP_BYTES: usize = 20;
/// Bytes of an ICMP header before what it quotes.
const ICMP_BYTES: usize = 8;
/// Bytes of an IPv4 header without options.
const IPV4_BYTES: usize = 20;
/// Bytes of an IPv6 header.
const IPV6_BYTES: usize = 40;
/// Type and code of "communication administratively prohibited" (RFC 1812 section 5.2.7.1).
const PROHIBITED: [u8; 2] = [3, 13];
/// The same of ICMPv6 (RFC 4443 section 3.1).
const PROHIBITED_6: [u8; 2] = [1, 1];
/// ICMP types that are errors or as good as (RFC 1122 section 3.2.2): unreachable, source quench, redirect, time
/// exceeded, parameter problem.
const ICMP_ERRORS: [u16; 5] = [3, 4, 5, 11, 12];
/// The first ICMPv6 type that is no error.
const ICMPV6_INFORMATIONAL: u16 = 128;

/// The bytes of an answer.
pub type Answer = ArrayVec<u8, ANSWER_BYTES_MAX>;

/// The numbers of a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Its sequence number: the one that the receiver expects next, or it challenges the reset (RFC 5961 section 3).
    pub sequence: u32,
    /// Its acknowledgment number; None leaves the flag ACK away.
    pub acknowledgment: Option<u32>,
}

impl Reset {
    /// Returns the reset that answers a segment (RFC 9293 section 3.10.7.1); None for a reset, which is never answered.
    pub fn answering(segment: &TcpFields) -> Option<Self> {
        if segment.flags.contains(TcpFlags::RST) {
            return None;
        }
        Some(if segment.flags.contains(TcpFlags::ACK) {
            Self { sequence: segment.acknowledgment, acknowledgment: None }
        } else {
            Self { sequence: 0, acknowledgment: Some(end_of(segment)) }
        })
    }

    /// Returns the reset that goes on in a segment's place, to whom it was for. The segment at hand is what that side
    /// expects next, unless some before it are still on their way. None of a reset and of a segment without ACK, which
    /// is not of a connection that both sides know.
    pub fn in_place_of(segment: &TcpFields) -> Option<Self> {
        let is_of_connection =
            segment.flags.contains(TcpFlags::ACK) && !segment.flags.contains(TcpFlags::RST);
        is_of_connection
            .then_some(Self { sequence: segment.sequence, acknowledgment: Some(segment.acknowledgment) })
    }
}

/// Returns the sequence number behind a segment.
fn end_of(segment: &TcpFields) -> u32 {
    let counted =
        u32::from(segment.flags.contains(TcpFlags::SYN)) + u32::from(segment.flags.contains(TcpFlags::FIN));
    segment.sequence.wrapping_add(segment.payload_bytes).wrapping_add(counted)
}

/// Writes the answer to a refused packet, whose frame begins with these bytes. Returns None where there must be none.
pub fn answer(packet: &Packet, frame: &[u8]) -> Option<Answer> {
    let ip = packet.ip().filter(|ip| may_be_answered(packet, ip))?;
    match &ip.tcp {
        Some(segment) => reset(packet, frame, Side::Source, Reset::answering(segment)?),
        None => prohibited(packet, ip, frame),
    }
}

/// Writes the reset that goes on in the place of a segment of a connection that was cut; see [`Reset::in_place_of`].
pub fn reset_onwards(packet: &Packet, frame: &[u8], reset_by: Reset) -> Option<Answer> {
    packet.ip().filter(|ip| may_be_answered(packet, ip))?;
    reset(packet, frame, Side::Destination, reset_by)
}

/// Returns whether the packet is one to which there may be an answer at all.
fn may_be_answered(packet: &Packet, ip: &IpPacket) -> bool {
    let is_to_group = packet.destination_mac.is_group() || is_group_address(ip.destination);
    let is_from_one = !ip.source.is_unspecified() && !is_group_address(ip.source);
    let is_later = matches!(ip.fragment, Fragment::Later { .. });
    !is_to_group && is_from_one && !is_later && !is_error(ip)
}

/// Returns whether the packet is an ICMP error, or might be one.
fn is_error(ip: &IpPacket) -> bool {
    if ip.icmp.is_none() {
        // A fragment of ICMP: its type was not read.
        return ip.l4.protocol.is_icmp();
    }
    match ip.l4.protocol {
        Protocol::ICMP => {
            matches!(ip.icmp, Some(IcmpKind::Error(_) | IcmpKind::Redirect))
                || ICMP_ERRORS.contains(&ip.l4.source_port)
        }
        _ => {
            ip.l4.source_port < ICMPV6_INFORMATIONAL
                || ip.neighbour.is_some_and(|message| message.kind == NeighbourKind::Redirect)
        }
    }
}

/// To which side of the refused packet something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

fn reset(packet: &Packet, frame: &[u8], to: Side, numbers: Reset) -> Option<Answer> {
    let ip = packet.ip()?;
    let mut answer = Answer::new();
    write_ethernet(&mut answer, packet, frame, to)?;
    let (source, destination) = addresses(ip, to);
    write_ip(&mut answer, (source, destination), Protocol::TCP.0, TCP_BYTES)?;
    let l4_at = answer.len();
    let (own, other) = match to {
        Side::Source => (ip.l4.destination_port, ip.l4.source_port),
        Side::Destination => (ip.l4.source_port, ip.l4.destination_port),
    };
    let Reset { sequence, acknowledgment } = numbers;
    let flags = acknowledgment.map_or(TcpFlags::RST, |_| TcpFlags::RST | TcpFlags::ACK);
    put(&mut answer, &own.to_be_bytes())?;
    put(&mut answer, &other.to_be_bytes())?;
    put(&mut answer, &sequence.to_be_bytes())?;
    put(&mut answer, &acknowledgment.unwrap_or(0).to_be_bytes())?;
    // Header length in words, flags, window 0, checksum to come, no urgent data.
    put(&mut answer, &[5 << 4, flags.0, 0, 0, 0, 0, 0, 0])?;
    let sum = InternetSum::of_pseudo_header(source, destination, Protocol::TCP.0, TCP_BYTES);
    write_checksum(&mut answer, sum, l4_at, 16);
    Some(answer)
}

/// Writes an ICMP error that quotes as much of the refused packet as an error may hold and the first buffer has.
fn prohibited(packet: &Packet, ip: &IpPacket, frame: &[u8]) -> Option<Answer> {
    let (header_bytes, bytes_max, protocol, kind) = match ip.source {
        IpAddr::V4(_) => (IPV4_BYTES, ICMP_ERROR_BYTES_MAX, Protocol::ICMP, PROHIBITED),
        IpAddr::V6(_) => (IPV6_BYTES, ICMPV6_ERROR_BYTES_MAX, Protocol::ICMPV6, PROHIBITED_6),
    };
    let refused = frame.get(usize::from(packet.l3_offset)..)?;
    let refused = refused.get(..usize::try_from(ip.ip_bytes).ok()?).unwrap_or(refused);
    let quote = &refused[..refused.len().min(bytes_max - header_bytes - ICMP_BYTES)];
    let mut answer = Answer::new();
    write_ethernet(&mut answer, packet, frame, Side::Source)?;
    let (source, destination) = addresses(ip, Side::Source);
    let l4_bytes = ICMP_BYTES + quote.len();
    write_ip(&mut answer, (source, destination), protocol.0, l4_bytes)?;
    let l4_at = answer.len();
    put(&mut answer, &kind)?;
    put(&mut answer, &[0; ICMP_BYTES - 2])?;
    put(&mut answer, quote)?;
    let sum = match source {
        IpAddr::V4(_) => InternetSum::default(),
        IpAddr::V6(_) => InternetSum::of_pseudo_header(source, destination, protocol.0, l4_bytes),
    };
    write_checksum(&mut answer, sum, l4_at, 2);
    Some(answer)
}

/// Returns source and destination address of what is sent to a side.
fn addresses(ip: &IpPacket, to: Side) -> (IpAddr, IpAddr) {
    match to {
        Side::Source => (ip.destination, ip.source),
        Side::Destination => (ip.source, ip.destination),
    }
}

/// Writes MACs, tags and ethertype: those of the refused frame.
fn write_ethernet(answer: &mut Answer, packet: &Packet, frame: &[u8], to: Side) -> Option<()> {
    let (own, other) = match to {
        Side::Source => (packet.destination_mac, packet.source_mac),
        Side::Destination => (packet.source_mac, packet.destination_mac),
    };
    put(answer, &other.0)?;
    put(answer, &own.0)?;
    put(answer, frame.get(own.0.len() + other.0.len()..usize::from(packet.l3_offset))?)
}

fn write_ip(
    answer: &mut Answer,
    (source, destination): (IpAddr, IpAddr),
    protocol: u8,
    l4_bytes: usize,
) -> Option<()> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let at = answer.len();
            let ip_bytes = u16::try_from(IPV4_BYTES + l4_bytes).ok()?;
            // Version 4, five words; don't fragment, so that the identification need not be unique (RFC 6864).
            put(answer, &[0x45, 0])?;
            put(answer, &ip_bytes.to_be_bytes())?;
            put(answer, &[0, 0, 0x40, 0, HOP_LIMIT, protocol, 0, 0])?;
            put(answer, &source.octets())?;
            put(answer, &destination.octets())?;
            write_checksum(answer, InternetSum::default(), at, 10);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            put(answer, &[0x60, 0, 0, 0])?;
            put(answer, &u16::try_from(l4_bytes).ok()?.to_be_bytes())?;
            put(answer, &[protocol, HOP_LIMIT])?;
            put(answer, &source.octets())?;
            put(answer, &destination.octets())?;
        }
        _ => return None,
    }
    Some(())
}

/// Stores the checksum over the bytes from `at` on, whose field lies `field` bytes behind that and is zero.
fn write_checksum(answer: &mut Answer, sum: InternetSum, at: usize, field: usize) {
    let checksum = !sum.add(&answer[at..]).folded();
    answer[at + field..at + field + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Appends; None if there is no room, which the constants above rule out.
fn put(answer: &mut Answer, bytes: &[u8]) -> Option<()> {
    answer.try_extend_from_slice(bytes).ok()
}
