//! Parts of a datagram that was cut into fragments: what must stand in the first one, where a later one may lie.
//!
//! The first part is judged for all of them. So all that rules and state need must be in it (RFC 1858 section 3, RFC
//! 7112), and no later part may lie where such a header lies, or it would write over what was judged (RFC 3128).
//!
//! Nobody can verify the checksum of a message of which he sees a part. Messages that decide more than their own
//! passage are therefore refused in parts: what opens, ends or resets a TCP or SCTP connection, ICMP errors and
//! redirects, and, as [`DropReason::LinkFragment`], what governs the link: group membership, neighbour discovery (RFC
//! 6980), DHCP. An echo may come in parts, as large pings do: all
//! it can do is to open the way for its own answer, which a right checksum would do as well, and no echo ends anything.

use super::field::{u8_at, u16_at, u32_at};
use super::{Datagram, Fragment, IGMP, IpPacket, SctpFields, TcpFlags, dhcp, icmp, transport};
use crate::verdict::DropReason;
use meshgate_policy::{L4Key, Protocol};

/// Bytes of a TCP header without options.
const TCP_HEADER_BYTES: usize = 20;
/// Bytes of the SCTP common header and of the head of the first chunk, whose type decides (RFC 9260 section 3).
const SCTP_HEADER_BYTES: usize = 16;
/// Where the type of the first SCTP chunk stands.
const SCTP_CHUNK_TYPE: usize = 12;
/// SCTP chunks that carry data or acknowledge it: DATA, SACK, I-DATA (RFC 8260).
const SCTP_DATA_CHUNKS: [u8; 3] = [0, 3, 64];
/// Bytes of a UDP header, and of what is read of ICMP.
const SHORT_HEADER_BYTES: usize = 8;

/// Reads a part.
pub(super) fn read(datagram: &Datagram<'_>, packet: &mut IpPacket) -> Result<(), DropReason> {
    let header_bytes = header_bytes_min(Protocol(datagram.protocol));
    match datagram.fragment {
        Fragment::Whole => Ok(()),
        Fragment::Later { offset_bytes, .. } if usize::from(offset_bytes) < header_bytes => {
            Err(DropReason::FragmentTiny)
        }
        Fragment::Later { .. } => Ok(()),
        Fragment::First { .. } if datagram.l4.len() < header_bytes => Err(DropReason::FragmentTiny),
        Fragment::First { .. } => first(datagram, packet),
    }
}

/// Returns how many bytes of the L4 header rules and state need.
fn header_bytes_min(protocol: Protocol) -> usize {
    match protocol {
        Protocol::TCP => TCP_HEADER_BYTES,
        Protocol::SCTP => SCTP_HEADER_BYTES,
        Protocol::UDP | Protocol::ICMP | Protocol::ICMPV6 => SHORT_HEADER_BYTES,
        _ => 0,
    }
}

/// Reads the first part, in which the shortest possible L4 header lies.
fn first(datagram: &Datagram<'_>, packet: &mut IpPacket) -> Result<(), DropReason> {
    match Protocol(datagram.protocol) {
        Protocol::TCP => first_of_tcp(datagram, packet),
        Protocol::UDP => {
            packet.l4 = first_of_udp(datagram)?;
            Ok(())
        }
        Protocol::SCTP => first_of_sctp(datagram, packet),
        Protocol::ICMP | Protocol::ICMPV6 => icmp::read_first_part(datagram, packet),
        IGMP if datagram.source.is_ipv4() => Err(DropReason::LinkFragment),
        _ => Ok(()),
    }
}

/// The whole header with its options must be there: how the rest of the segment is numbered depends on its length.
fn first_of_tcp(datagram: &Datagram<'_>, packet: &mut IpPacket) -> Result<(), DropReason> {
    transport::tcp_header(datagram, packet).map_err(|reason| match reason {
        DropReason::Truncated => DropReason::FragmentTiny,
        reason => reason,
    })?;
    let decides = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST;
    match packet.tcp {
        Some(tcp) if !tcp.flags.intersects(decides) => Ok(()),
        _ => Err(DropReason::FragmentControl),
    }
}

/// The chunk is longer than what lies here of it; of those that carry data only the tag is looked at.
fn first_of_sctp(datagram: &Datagram<'_>, packet: &mut IpPacket) -> Result<(), DropReason> {
    let port = |at| u16_at(datagram.l4, at).ok_or(DropReason::FragmentTiny);
    packet.l4 = L4Key::ports(Protocol::SCTP, port(0)?, port(2)?);
    let tag = u32_at(datagram.l4, 4).ok_or(DropReason::FragmentTiny)?;
    let chunk = u8_at(datagram.l4, SCTP_CHUNK_TYPE).ok_or(DropReason::FragmentTiny)?;
    packet.sctp = Some(SctpFields { tag, chunk, is_tag_reflected: false, initiate_tag: 0 });
    if SCTP_DATA_CHUNKS.contains(&chunk) { Ok(()) } else { Err(DropReason::FragmentControl) }
}

fn first_of_udp(datagram: &Datagram<'_>) -> Result<L4Key, DropReason> {
    let field = |at| u16_at(datagram.l4, at).ok_or(DropReason::FragmentTiny);
    let (source_port, destination_port, udp_bytes) = (field(0)?, field(2)?, field(4)?);
    if usize::from(udp_bytes) < SHORT_HEADER_BYTES {
        return Err(DropReason::BadHeader);
    }
    if dhcp::is_port(datagram.source.is_ipv4(), destination_port) {
        return Err(DropReason::LinkFragment);
    }
    Ok(L4Key::ports(Protocol::UDP, source_port, destination_port))
}
