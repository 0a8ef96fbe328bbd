//! The L4 header behind valid IP headers: TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260); ICMP has its own module.

use super::checksum::{self, Question};
use super::field::{u8_at, u16_at, u32_at};
use super::{
    Checksum, Content, Datagram, Fragment, IGMP, IpPacket, ParseContext, SctpFields, TcpFields, TcpFlags,
    dhcp, icmp, martian, part,
};
use crate::verdict::DropReason;
use etherparse::{TcpHeaderSlice, TcpOptionElement, UdpHeaderSlice, err::tcp::HeaderSliceError};
use meshgate_policy::{L4Key, Protocol};

/// Bytes of the SCTP common header.
const SCTP_HEADER_BYTES: usize = 12;
/// Bytes of a chunk without content.
const SCTP_CHUNK_BYTES_MIN: usize = 4;
/// Bytes of an INIT or INIT ACK without parameters.
const SCTP_INIT_BYTES_MIN: usize = 20;
/// Types of chunks that are read further (RFC 9260 section 3.2).
const SCTP_INIT: u8 = 1;
const SCTP_INIT_ACK: u8 = 2;
const SCTP_ABORT: u8 = 6;
const SCTP_SHUTDOWN_COMPLETE: u8 = 14;
/// Bytes of the UDP header.
const UDP_HEADER_BYTES: usize = 8;
/// Where the checksum stands in a TCP header.
const TCP_CHECKSUM_OFFSET: u16 = 16;
/// Where the checksum stands in a UDP header.
const UDP_CHECKSUM_OFFSET: u16 = 6;
/// Largest shift count of the window scale option (RFC 7323 section 2.3).
const WINDOW_SCALE_MAX: u8 = 14;

/// Reads what is behind the IP headers, and writes the packet to where it stays.
#[inline]
pub(super) fn read(
    datagram: &Datagram<'_>,
    context: ParseContext,
    content: &mut Content,
) -> Result<(), DropReason> {
    let packet = content.put(bare(datagram)?);
    let is_ipv4 = datagram.source.is_ipv4();
    match (Protocol(datagram.protocol), is_ipv4) {
        (Protocol::ICMP, false) | (Protocol::ICMPV6, true) => return Err(DropReason::BadHeader),
        _ if datagram.fragment != Fragment::Whole => part::read(datagram, packet)?,
        (Protocol::TCP, _) => tcp(datagram, packet, context)?,
        (Protocol::UDP, _) => udp(datagram, packet, context)?,
        (Protocol::SCTP, _) => sctp(datagram, packet)?,
        (Protocol::ICMP | Protocol::ICMPV6, _) => icmp::read(datagram, packet)?,
        (IGMP, true) => icmp::read_igmp(datagram, packet)?,
        _ => {}
    }
    martian::check(packet)
}

/// Returns the packet as far as its IP headers tell.
#[inline]
fn bare(datagram: &Datagram<'_>) -> Result<IpPacket, DropReason> {
    Ok(IpPacket {
        source: datagram.source,
        destination: datagram.destination,
        l4: L4Key::bare(Protocol(datagram.protocol)),
        ip_bytes: u32::try_from(datagram.ip_bytes).map_err(|_| DropReason::OversizeFrame)?,
        hop_limit: datagram.hop_limit,
        fragment: datagram.fragment,
        l4_offset: u16::try_from(datagram.l4_offset).map_err(|_| DropReason::OversizeFrame)?,
        l4_bytes: u16::try_from(datagram.l4_bytes).map_err(|_| DropReason::OversizeFrame)?,
        tcp: None,
        sctp: None,
        icmp: None,
        neighbour: None,
        dhcp: None,
        membership: None,
        checksum: Checksum::Unread,
    })
}

fn tcp(datagram: &Datagram<'_>, packet: &mut IpPacket, context: ParseContext) -> Result<(), DropReason> {
    let header = tcp_header(datagram, packet)?;
    let flags = TcpFlags(u8_at(header.slice(), 13).ok_or(DropReason::Truncated)?);
    let question = Question {
        field_offset: TCP_CHECKSUM_OFFSET,
        field: header.checksum(),
        covered_bytes: datagram.l4_bytes,
        must_hold: flags.intersects(TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST),
    };
    packet.checksum = checksum::check(datagram, &question, context)?;
    Ok(())
}

/// Reads the TCP header and returns it. Of a first part the payload is what lies in it.
pub(super) fn tcp_header<'a>(
    datagram: &Datagram<'a>,
    packet: &mut IpPacket,
) -> Result<TcpHeaderSlice<'a>, DropReason> {
    let header = TcpHeaderSlice::from_slice(datagram.l4).map_err(|error| match error {
        HeaderSliceError::Len(_) => DropReason::Truncated,
        HeaderSliceError::Content(_) => DropReason::BadHeader,
    })?;
    let flags = TcpFlags(u8_at(header.slice(), 13).ok_or(DropReason::Truncated)?);
    if !are_sane(flags) {
        return Err(DropReason::BadTcpFlags);
    }
    let payload_bytes = datagram.l4_bytes - header.slice().len();
    packet.l4 = L4Key::ports(Protocol::TCP, header.source_port(), header.destination_port());
    let is_syn = flags.contains(TcpFlags::SYN);
    let (window_scale, segment_bytes_max) = if is_syn { options_of_syn(&header) } else { (None, None) };
    packet.tcp = Some(TcpFields {
        flags,
        sequence: header.sequence_number(),
        acknowledgment: header.acknowledgment_number(),
        window: header.window_size(),
        window_scale,
        segment_bytes_max,
        payload_bytes: u32::try_from(payload_bytes).map_err(|_| DropReason::OversizeFrame)?,
    });
    Ok(header)
}

/// Returns whether some stack sends these flags. PSH and the congestion bits go with anything; of the rest, SYN goes
/// alone or with ACK or URG, RST alone or with ACK, and everything else carries ACK.
fn are_sane(flags: TcpFlags) -> bool {
    const SYN: u8 = TcpFlags::SYN.0;
    const FIN: u8 = TcpFlags::FIN.0;
    const RST: u8 = TcpFlags::RST.0;
    const ACK: u8 = TcpFlags::ACK.0;
    const URG: u8 = TcpFlags::URG.0;
    match flags.0 & (SYN | FIN | RST | ACK | URG) {
        SYN => true,
        kind if kind & SYN != 0 => kind == SYN | ACK || kind == SYN | URG,
        kind if kind & RST != 0 => kind & !(RST | ACK) == 0,
        kind => kind & ACK != 0,
    }
}

/// Returns the shift count of the window scale option and the value of that for the longest segment; None where options
/// cannot be read up to it.
fn options_of_syn(header: &TcpHeaderSlice<'_>) -> (Option<u8>, Option<u16>) {
    let (mut window_scale, mut segment_bytes_max) = (None, None);
    for option in header.options_iterator().map_while(Result::ok) {
        match option {
            TcpOptionElement::WindowScale(shift) if window_scale.is_none() => {
                window_scale = Some(shift.min(WINDOW_SCALE_MAX));
            }
            TcpOptionElement::MaximumSegmentSize(bytes) if segment_bytes_max.is_none() => {
                segment_bytes_max = Some(bytes);
            }
            _ => {}
        }
    }
    (window_scale, segment_bytes_max)
}

fn udp(datagram: &Datagram<'_>, packet: &mut IpPacket, context: ParseContext) -> Result<(), DropReason> {
    let header = UdpHeaderSlice::from_slice(datagram.l4).map_err(|_| DropReason::Truncated)?;
    let udp_bytes = usize::from(header.length());
    if udp_bytes < UDP_HEADER_BYTES {
        return Err(DropReason::BadHeader);
    }
    if udp_bytes > datagram.l4_bytes {
        return Err(DropReason::Truncated);
    }
    packet.l4 = L4Key::ports(Protocol::UDP, header.source_port(), header.destination_port());
    let payload = &datagram.l4[UDP_HEADER_BYTES..datagram.l4.len().min(udp_bytes)];
    packet.dhcp = dhcp::role(datagram, (header.source_port(), header.destination_port()), payload);
    // What a lease is learned from must be what the other end reads: nothing behind it, and the checksum over all of it.
    if packet.dhcp.is_some() && udp_bytes < datagram.l4_bytes {
        return Err(DropReason::BadHeader);
    }
    // Who speaks, and for whom, stands anywhere in the message. No honest one fills a whole buffer.
    if dhcp::is_port(datagram.source.is_ipv4(), header.destination_port()) && datagram.l4.len() < udp_bytes {
        return Err(DropReason::Truncated);
    }
    if header.checksum() != 0 {
        let question = Question {
            field_offset: UDP_CHECKSUM_OFFSET,
            field: header.checksum(),
            covered_bytes: udp_bytes,
            // Leases are learned from it.
            must_hold: packet.dhcp.is_some(),
        };
        packet.checksum = checksum::check(datagram, &question, context)?;
    }
    Ok(())
}

fn sctp(datagram: &Datagram<'_>, packet: &mut IpPacket) -> Result<(), DropReason> {
    let word = |at| u32_at(datagram.l4, at).ok_or(DropReason::Truncated);
    let port = |at| u16_at(datagram.l4, at).ok_or(DropReason::Truncated);
    packet.l4 = L4Key::ports(Protocol::SCTP, port(0)?, port(2)?);
    let [chunk, flags, ..] = word(SCTP_HEADER_BYTES)?.to_be_bytes();
    let chunk_bytes = usize::from(port(SCTP_HEADER_BYTES + 2)?);
    let tells_tag = matches!(chunk, SCTP_INIT | SCTP_INIT_ACK);
    let bytes_min = if tells_tag { SCTP_INIT_BYTES_MIN } else { SCTP_CHUNK_BYTES_MIN };
    if chunk_bytes < bytes_min {
        return Err(DropReason::BadHeader);
    }
    if SCTP_HEADER_BYTES + chunk_bytes > datagram.l4_bytes {
        return Err(DropReason::Truncated);
    }
    let (tag, initiate_tag) = (word(4)?, if tells_tag { word(SCTP_HEADER_BYTES + 4)? } else { 0 });
    // An INIT has no tag yet, and nobody can be addressed by none (RFC 9260 sections 8.5.1 and 3.3.2).
    if tells_tag && (initiate_tag == 0 || (chunk == SCTP_INIT) != (tag == 0)) {
        return Err(DropReason::BadHeader);
    }
    let is_tag_reflected = matches!(chunk, SCTP_ABORT | SCTP_SHUTDOWN_COMPLETE) && flags & 1 != 0;
    packet.sctp = Some(SctpFields { tag, chunk, is_tag_reflected, initiate_tag });
    Ok(())
}
