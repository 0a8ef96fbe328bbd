//! The plain frame, which nearly all traffic is made of, read with as few loads as there are fields.
//!
//! Plain is a frame without tags that carries a whole TCP or UDP datagram in one buffer, IPv4 without options or IPv6 without
//! extension headers, between two addresses of single hosts; TCP that neither opens nor ends anything, UDP that is not
//! DHCP. Nothing in it has to be refused, searched for or verified but the checksum of the IPv4 header.
//!
//! [`PlainPacket::read`] answers for these and for nothing else: where it says None, [`Packet::parse`] is asked,
//! which may well let the frame pass. What it does read is to the last field what that would have read
//! ([`PlainPacket::packet`]; tests hold both against each other on noise), so that there is one stage 1 and not two.

use super::field::{u16_of, u32_of, u64_of, u128_of};
use super::{
    Checksum, ChecksumRequest, Content, ETHERNET_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Fragment, IpPacket,
    Packet, ParseContext, TagsInFrame, TcpFields, TcpFlags, dhcp,
};
use meshgate_policy::{L4Key, Mac, Protocol};
use std::net::{IpAddr, Ipv6Addr};

/// Bytes of the shortest plain frame: UDP without payload over IPv4.
const FRAME_BYTES_MIN: usize = ETHERNET_BYTES + V4_BYTES + UDP_BYTES;
/// Bytes of an IPv4 header without options.
const V4_BYTES: usize = 20;
/// Bytes of the IPv6 header.
const V6_BYTES: usize = 40;
/// Bytes of a UDP header.
const UDP_BYTES: usize = 8;
/// Bytes of a TCP header without options.
const TCP_BYTES: usize = 20;
/// Where the checksum stands in a TCP header.
const TCP_CHECKSUM_AT: u16 = 16;
/// Where the checksum stands in a UDP header.
const UDP_CHECKSUM_AT: u16 = 6;
/// Version 4 and a header of five words.
const V4_FIRST_BYTE: u8 = 0x45;
/// Of the field of an IPv4 header that tells of fragments: all but "don't fragment", which says nothing here.
const V4_FRAGMENT_BITS: u16 = 0xbfff;
/// Numbers of protocols in IP headers.
const TCP: u8 = Protocol::TCP.0;
const UDP: u8 = Protocol::UDP.0;
/// The bits before an IPv4 address in mapped form (RFC 4291 section 2.5.5.2).
const V4_MAPPED: u128 = 0xffff << 32;

/// A plain packet. Addresses are numbers of 128 bits, IPv4 in mapped form; MACs are numbers of 48 bits.
#[derive(Clone, Copy, Debug)]
pub struct PlainPacket {
    /// Source address.
    pub source: u128,
    /// Destination address, of the same family.
    pub destination: u128,
    /// MAC of the sender.
    pub source_mac: u64,
    /// MAC of the receiver; of a single station.
    pub destination_mac: u64,
    /// Fields of a TCP segment with ACK and without SYN, FIN and RST; None of UDP.
    pub tcp: Option<TcpFields>,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Bytes of the datagram, IP header included, padding of the frame excluded.
    pub ip_bytes: u16,
    /// Where the L4 header begins in the frame.
    l4_offset: u16,
    /// TTL or hop limit.
    hop_limit: u8,
    /// Whether the L4 checksum is left to whoever transmits the frame.
    is_partial: bool,
}

/// What the IP header tells.
struct Header {
    source: u128,
    destination: u128,
    /// Sum of the 16-bit words of both addresses, not folded.
    addresses_sum: u64,
    protocol: u8,
    hop_limit: u8,
    ip_bytes: u16,
    l4_offset: u16,
}

impl PlainPacket {
    /// The place of a packet that has not been read.
    pub const UNREAD: Self = Self {
        source: 0,
        destination: 0,
        source_mac: 0,
        destination_mac: 0,
        tcp: None,
        source_port: 0,
        destination_port: 0,
        ip_bytes: 0,
        l4_offset: 0,
        hop_limit: 0,
        is_partial: false,
    };

    /// Reads a frame that lies in one buffer; None where it is not plain, whatever else it may be.
    #[inline]
    pub fn read(frame: &[u8], context: ParseContext) -> Option<Self> {
        let head: &[u8; FRAME_BYTES_MIN] = frame.first_chunk()?;
        let header = match u16_of(head, 12) {
            ETHERTYPE_IPV4 => v4_header(head)?,
            ETHERTYPE_IPV6 => v6_header(frame.first_chunk()?)?,
            _ => return None,
        };
        let destination_mac = u64_of(head, 0) >> 16;
        let l4 = frame.get(usize::from(header.l4_offset)..ETHERNET_BYTES + usize::from(header.ip_bytes))?;
        let ports: &[u8; UDP_BYTES] = l4.first_chunk()?;
        if destination_mac & (1 << 40) != 0 || header.source == header.destination {
            return None;
        }
        let (tcp, checksum) = if header.protocol == TCP { tcp(l4)? } else { (None, udp(l4)?) };
        let is_partial = context.may_be_partial && checksum.is_some_and(|field| field == header.pseudo_sum());
        Some(Self {
            source: header.source,
            destination: header.destination,
            source_mac: u64_of(head, 6) >> 16,
            destination_mac,
            tcp,
            source_port: u16_of(ports, 0),
            destination_port: u16_of(ports, 2),
            ip_bytes: header.ip_bytes,
            l4_offset: header.l4_offset,
            hop_limit: header.hop_limit,
            is_partial,
        })
    }

    /// Returns the protocol: TCP or UDP.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        if self.tcp.is_some() { Protocol::TCP } else { Protocol::UDP }
    }

    /// Returns what the transmitter must finish.
    #[inline]
    pub fn checksum_request(&self) -> Option<ChecksumRequest> {
        let offset = if self.tcp.is_some() { TCP_CHECKSUM_AT } else { UDP_CHECKSUM_AT };
        self.is_partial.then_some(ChecksumRequest { start: self.l4_offset, offset })
    }

    /// Returns the bytes of the frame without the padding behind the datagram.
    #[inline]
    pub fn unpadded_bytes(&self) -> usize {
        ETHERNET_BYTES + usize::from(self.ip_bytes)
    }

    /// Returns what [`Packet::parse`] reads of the frame.
    pub fn packet(&self) -> Packet {
        let mac = |number: u64| {
            let [_, _, mac @ ..] = number.to_be_bytes();
            Mac(mac)
        };
        Packet {
            source_mac: mac(self.source_mac),
            destination_mac: mac(self.destination_mac),
            tags: TagsInFrame::default(),
            l3_offset: low_u16(ETHERNET_BYTES),
            content: Content::Ip(self.ip()),
        }
    }

    fn ip(&self) -> IpPacket {
        let address = |number: u128| IpAddr::V6(Ipv6Addr::from_bits(number)).to_canonical();
        IpPacket {
            source: address(self.source),
            destination: address(self.destination),
            l4: L4Key::ports(self.protocol(), self.source_port, self.destination_port),
            ip_bytes: self.ip_bytes.into(),
            hop_limit: self.hop_limit,
            fragment: Fragment::Whole,
            l4_offset: self.l4_offset,
            l4_bytes: self.ip_bytes + low_u16(ETHERNET_BYTES) - self.l4_offset,
            tcp: self.tcp,
            sctp: None,
            icmp: None,
            neighbour: None,
            dhcp: None,
            membership: None,
            checksum: self.checksum_request().map_or(Checksum::Unread, Checksum::Partial),
        }
    }
}

impl Header {
    /// Returns the sum of the pseudo-header, folded to 16 bits.
    #[inline]
    fn pseudo_sum(&self) -> u16 {
        let l4_bytes = u64::from(self.ip_bytes) + ETHERNET_BYTES as u64 - u64::from(self.l4_offset);
        folded(self.addresses_sum + l4_bytes + u64::from(self.protocol))
    }
}

/// Reads an IPv4 header that is right, has no options and says that the datagram is whole.
#[inline]
fn v4_header(head: &[u8; FRAME_BYTES_MIN]) -> Option<Header> {
    let word = |at: usize| u32_of(head, ETHERNET_BYTES + at);
    let (source, destination) = (word(12), word(16));
    let addresses_sum = u64::from(source) + u64::from(destination);
    let sum = addresses_sum + u64::from(word(0)) + u64::from(word(4)) + u64::from(word(8));
    let [first, _, ..] = word(0).to_be_bytes();
    let [hop_limit, protocol, ..] = word(8).to_be_bytes();
    let is_whole = low_half(word(4)) & V4_FRAGMENT_BITS == 0;
    let is_plain = first == V4_FIRST_BYTE
        && is_whole
        && (protocol == TCP || protocol == UDP)
        && folded(sum) == u16::MAX
        && is_single_v4(source)
        && is_single_v4(destination);
    is_plain.then_some(Header {
        source: V4_MAPPED | u128::from(source),
        destination: V4_MAPPED | u128::from(destination),
        addresses_sum,
        protocol,
        hop_limit,
        ip_bytes: low_half(word(0)),
        l4_offset: low_u16(ETHERNET_BYTES + V4_BYTES),
    })
}

/// Reads an IPv6 header behind which TCP or UDP follows at once.
#[inline]
fn v6_header(head: &[u8; ETHERNET_BYTES + V6_BYTES]) -> Option<Header> {
    let [first, ..] = u32_of(head, ETHERNET_BYTES).to_be_bytes();
    let [bytes_high, bytes_low, protocol, hop_limit] = u32_of(head, ETHERNET_BYTES + 4).to_be_bytes();
    let ip_bytes = u16::from_be_bytes([bytes_high, bytes_low]).checked_add(low_u16(V6_BYTES))?;
    let (source, destination) = (u128_of(head, ETHERNET_BYTES + 8), u128_of(head, ETHERNET_BYTES + 24));
    let is_plain = first >> 4 == 6
        && (protocol == TCP || protocol == UDP)
        && is_single_v6(source)
        && is_single_v6(destination);
    let sum = |at: usize| u64::from(u32_of(head, ETHERNET_BYTES + at));
    is_plain.then_some(Header {
        source,
        destination,
        addresses_sum: (8..V6_BYTES).step_by(4).map(sum).sum(),
        protocol,
        hop_limit,
        ip_bytes,
        l4_offset: low_u16(ETHERNET_BYTES + V6_BYTES),
    })
}

/// Returns the fields of a segment that goes on in a connection, and of its checksum.
#[inline]
fn tcp(l4: &[u8]) -> Option<(Option<TcpFields>, Option<u16>)> {
    let header: &[u8; TCP_BYTES] = l4.first_chunk()?;
    let [offset, flags] = u16_of(header, 12).to_be_bytes();
    let header_bytes = usize::from(offset >> 4) * 4;
    let deciding = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST | TcpFlags::ACK;
    if header_bytes < TCP_BYTES || flags & deciding.0 != TcpFlags::ACK.0 {
        return None;
    }
    let fields = TcpFields {
        flags: TcpFlags(flags),
        sequence: u32_of(header, 4),
        acknowledgment: u32_of(header, 8),
        window: u16_of(header, 14),
        window_scale: None,
        segment_bytes_max: None,
        payload_bytes: u32::try_from(l4.len().checked_sub(header_bytes)?).ok()?,
    };
    Some((Some(fields), Some(u16_of(header, 16))))
}

/// Returns the checksum, if there is one, of a UDP datagram that is not DHCP and fills what is behind the IP header.
#[inline]
fn udp(l4: &[u8]) -> Option<Option<u16>> {
    let header: &[u8; UDP_BYTES] = l4.first_chunk()?;
    let (port, checksum) = (u16_of(header, 2), u16_of(header, 6));
    let is_plain = usize::from(u16_of(header, 4)) == l4.len()
        && !dhcp::is_port(true, port)
        && !dhcp::is_port(false, port);
    is_plain.then_some(Some(checksum).filter(|checksum| *checksum != 0))
}

/// Returns whether an IPv4 address is one that a single host may have: neither of "this network", nor loopback, nor
/// multicast or above.
#[inline]
fn is_single_v4(address: u32) -> bool {
    let [first, ..] = address.to_be_bytes();
    (1..224).contains(&first) && first != 127
}

/// Likewise of IPv6. What begins with a byte of zero is unspecified, loopback, mapped or assigned to nobody.
#[inline]
fn is_single_v6(address: u128) -> bool {
    let [first, ..] = address.to_be_bytes();
    first != 0 && first != 0xff
}

/// Folds a sum of words of 32 bits to the one's complement sum of 16 bits (RFC 1071). Carries stay within the 64 bits.
#[inline]
fn folded(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Returns the lower half of a word.
#[inline]
fn low_half(word: u32) -> u16 {
    let [_, _, high, low] = word.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// Returns a small number of bytes as a field holds it.
#[inline]
fn low_u16(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}
