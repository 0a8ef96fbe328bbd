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
/// Where the L4 header begins in the frame.
const V4_L4_OFFSET: u16 = 34;
const V6_L4_OFFSET: u16 = 54;
/// [`ETHERNET_BYTES`] as a field holds it.
const ETHERNET_BYTES_U16: u16 = 14;
/// [`V6_BYTES`] as a field holds it.
const V6_BYTES_U16: u16 = 40;
const _: () = assert!(V4_L4_OFFSET as usize == ETHERNET_BYTES + V4_BYTES);
const _: () =
    assert!(V6_L4_OFFSET as usize == ETHERNET_BYTES + V6_BYTES && V6_BYTES_U16 as usize == V6_BYTES);
const _: () = assert!(ETHERNET_BYTES_U16 as usize == ETHERNET_BYTES);
/// The bit of a MAC that says that it is of a group.
const GROUP_MAC: u64 = 1 << 40;
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
///
/// Everything is a number of its own, written once where the packet stays: what is put together on the stack and copied
/// from there as a whole has its reader wait until all parts have arrived.
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
    /// Of TCP: number of the first payload byte.
    sequence: u32,
    /// Of TCP: number of the next byte that the sender expects.
    acknowledgment: u32,
    /// Of TCP: bytes behind the header.
    payload_bytes: u32,
    /// Of TCP: window as in the header.
    window: u16,
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
    /// TCP or UDP.
    pub protocol: Protocol,
    /// TCP flags, ACK among them; 0 of UDP.
    pub tcp_flags: u8,
    /// Whether the L4 checksum is left to whoever transmits the frame.
    is_partial: bool,
}

impl PlainPacket {
    /// The place of a packet that has not been read.
    pub const UNREAD: Self = Self {
        source: 0,
        destination: 0,
        source_mac: 0,
        destination_mac: 0,
        sequence: 0,
        acknowledgment: 0,
        payload_bytes: 0,
        window: 0,
        source_port: 0,
        destination_port: 0,
        ip_bytes: 0,
        l4_offset: 0,
        hop_limit: 0,
        protocol: Protocol::UDP,
        tcp_flags: 0,
        is_partial: false,
    };

    /// Reads a frame that lies in one buffer. Returns None where it is not plain, whatever else it may be; then what stands
    /// here means nothing.
    #[inline]
    pub fn read(&mut self, frame: &[u8], context: ParseContext) -> Option<()> {
        let head: &[u8; FRAME_BYTES_MIN] = frame.first_chunk()?;
        let addresses_sum = match u16_of(head, 12) {
            ETHERTYPE_IPV4 => self.read_v4(head)?,
            ETHERTYPE_IPV6 => self.read_v6(frame.first_chunk()?)?,
            _ => return None,
        };
        (self.destination_mac, self.source_mac) = (u64_of(head, 0) >> 16, u64_of(head, 6) >> 16);
        let l4 = frame.get(usize::from(self.l4_offset)..self.unpadded_bytes())?;
        let checksum = if self.protocol == Protocol::TCP { self.read_tcp(l4)? } else { self.read_udp(l4)? };
        let l4_bytes = u64::try_from(l4.len()).ok()?;
        let pseudo_sum = folded(addresses_sum + l4_bytes + u64::from(self.protocol.0));
        // Only a UDP datagram without a checksum has zero there, and no sum is zero.
        self.is_partial = context.may_be_partial && checksum == pseudo_sum;
        (self.destination_mac & GROUP_MAC == 0 && self.source != self.destination).then_some(())
    }

    /// Reads an IPv4 header that is right, has no options and says that the datagram is whole. Returns the sum of the words
    /// of both addresses, not folded.
    #[inline]
    fn read_v4(&mut self, head: &[u8; FRAME_BYTES_MIN]) -> Option<u64> {
        let word = |at: usize| u32_of(head, ETHERNET_BYTES + at);
        let (source, destination) = (word(12), word(16));
        let addresses_sum = u64::from(source) + u64::from(destination);
        let sum = addresses_sum + u64::from(word(0)) + u64::from(word(4)) + u64::from(word(8));
        let protocol = head[ETHERNET_BYTES + 9];
        self.source = V4_MAPPED | u128::from(source);
        self.destination = V4_MAPPED | u128::from(destination);
        self.ip_bytes = u16_of(head, ETHERNET_BYTES + 2);
        self.l4_offset = V4_L4_OFFSET;
        self.hop_limit = head[ETHERNET_BYTES + 8];
        self.protocol = Protocol(protocol);
        let is_plain = head[ETHERNET_BYTES] == V4_FIRST_BYTE
            && u16_of(head, ETHERNET_BYTES + 6) & V4_FRAGMENT_BITS == 0
            && (protocol == TCP || protocol == UDP)
            && folded(sum) == u16::MAX
            && is_single_v4(source)
            && is_single_v4(destination);
        is_plain.then_some(addresses_sum)
    }

    /// Reads an IPv6 header behind which TCP or UDP follows at once. Returns the same as of IPv4.
    #[inline]
    fn read_v6(&mut self, head: &[u8; ETHERNET_BYTES + V6_BYTES]) -> Option<u64> {
        let (source, destination) = (u128_of(head, ETHERNET_BYTES + 8), u128_of(head, ETHERNET_BYTES + 24));
        let protocol = head[ETHERNET_BYTES + 6];
        (self.source, self.destination) = (source, destination);
        self.ip_bytes = u16_of(head, ETHERNET_BYTES + 4).checked_add(V6_BYTES_U16)?;
        self.l4_offset = V6_L4_OFFSET;
        self.hop_limit = head[ETHERNET_BYTES + 7];
        self.protocol = Protocol(protocol);
        let is_plain = head[ETHERNET_BYTES] >> 4 == 6
            && (protocol == TCP || protocol == UDP)
            && is_single_v6(source)
            && is_single_v6(destination);
        let word = |at: usize| u64::from(u32_of(head, ETHERNET_BYTES + at));
        is_plain.then(|| (8..V6_BYTES).step_by(4).map(word).sum())
    }

    /// Reads the header of a segment that goes on in a connection. Returns its checksum.
    #[inline]
    fn read_tcp(&mut self, l4: &[u8]) -> Option<u16> {
        let header: &[u8; TCP_BYTES] = l4.first_chunk()?;
        let (header_bytes, flags) = (usize::from(header[12] >> 4) * 4, header[13]);
        let deciding = TcpFlags::SYN.0 | TcpFlags::FIN.0 | TcpFlags::RST.0 | TcpFlags::ACK.0;
        if header_bytes < TCP_BYTES || flags & deciding != TcpFlags::ACK.0 {
            return None;
        }
        (self.source_port, self.destination_port) = (u16_of(header, 0), u16_of(header, 2));
        (self.sequence, self.acknowledgment) = (u32_of(header, 4), u32_of(header, 8));
        self.window = u16_of(header, 14);
        self.payload_bytes = u32::try_from(l4.len().checked_sub(header_bytes)?).ok()?;
        self.tcp_flags = flags;
        Some(u16_of(header, 16))
    }

    /// Reads the header of a UDP datagram that is not DHCP and fills what is behind the IP header. Returns its checksum.
    #[inline]
    fn read_udp(&mut self, l4: &[u8]) -> Option<u16> {
        let header: &[u8; UDP_BYTES] = l4.first_chunk()?;
        let (port, bytes) = (u16_of(header, 2), usize::from(u16_of(header, 4)));
        (self.source_port, self.destination_port) = (u16_of(header, 0), port);
        self.tcp_flags = 0;
        let is_plain = bytes == l4.len() && !dhcp::is_port(true, port) && !dhcp::is_port(false, port);
        is_plain.then_some(u16_of(header, 6))
    }

    /// Returns the fields of a TCP segment.
    #[inline]
    pub fn tcp(&self) -> Option<TcpFields> {
        let fields = TcpFields {
            flags: TcpFlags(self.tcp_flags),
            sequence: self.sequence,
            acknowledgment: self.acknowledgment,
            window: self.window,
            window_scale: None,
            segment_bytes_max: None,
            payload_bytes: self.payload_bytes,
        };
        (self.protocol == Protocol::TCP).then_some(fields)
    }

    /// Returns what the transmitter must finish.
    #[inline]
    pub fn checksum_request(&self) -> Option<ChecksumRequest> {
        let offset = if self.protocol == Protocol::TCP { TCP_CHECKSUM_AT } else { UDP_CHECKSUM_AT };
        self.is_partial.then_some(ChecksumRequest { start: self.l4_offset, offset })
    }

    /// Returns the bytes of the frame without the padding behind the datagram.
    #[inline]
    pub fn unpadded_bytes(&self) -> usize {
        ETHERNET_BYTES + usize::from(self.ip_bytes)
    }

    /// Returns what [`Packet::parse`] reads of the frame.
    #[inline]
    pub fn packet(&self) -> Packet {
        let mac = |number: u64| {
            let [_, _, mac @ ..] = number.to_be_bytes();
            Mac(mac)
        };
        Packet {
            source_mac: mac(self.source_mac),
            destination_mac: mac(self.destination_mac),
            tags: TagsInFrame::default(),
            l3_offset: ETHERNET_BYTES_U16,
            content: Content::Ip(self.ip()),
        }
    }

    #[inline]
    fn ip(&self) -> IpPacket {
        let address = |number: u128| IpAddr::V6(Ipv6Addr::from_bits(number)).to_canonical();
        IpPacket {
            source: address(self.source),
            destination: address(self.destination),
            l4: L4Key::ports(self.protocol, self.source_port, self.destination_port),
            ip_bytes: self.ip_bytes.into(),
            hop_limit: self.hop_limit,
            fragment: Fragment::Whole,
            l4_offset: self.l4_offset,
            l4_bytes: self.ip_bytes - (self.l4_offset - ETHERNET_BYTES_U16),
            tcp: self.tcp(),
            sctp: None,
            icmp: None,
            neighbour: None,
            dhcp: None,
            membership: None,
            checksum: self.checksum_request().map_or(Checksum::Unread, Checksum::Partial),
        }
    }
}

/// Returns whether an IPv4 address is one that a single host may have: neither of "this network", nor loopback, nor
/// multicast or above.
#[inline]
fn is_single_v4(address: u32) -> bool {
    let first = address >> 24;
    (1..224).contains(&first) && first != 127
}

/// Likewise of IPv6. What begins with a byte of zero is unspecified, loopback, mapped or assigned to nobody.
#[inline]
fn is_single_v6(address: u128) -> bool {
    let first = address >> 120;
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
