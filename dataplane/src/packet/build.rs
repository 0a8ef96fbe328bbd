//! Writing frames, for tests, benches and the packet generator: the other direction of [`Packet::parse`].
//!
//! ```
//! use meshgate_dataplane::packet::{Packet, ParseContext, TcpFlags, build::Frame};
//! use meshgate_policy::Mac;
//! let bytes = Frame::between(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]))
//!     .ip("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap())
//!     .tcp(40_000, 80, TcpFlags::SYN)
//!     .bytes();
//! assert!(Packet::parse(&bytes, bytes.len(), ParseContext::default()).is_ok());
//! ```
//!
//! A frame begins right: lengths and checksums agree. The knobs make it wrong, one thing at a time; what no knob
//! makes wrong, a test patches in the bytes. The writing is plain and shares no code with the reading, so that one
//! can be held against the other. Nothing here is called on the packet path.
//!
//! [`Packet::parse`]: super::Packet::parse

pub mod dhcp;
mod write;

use super::{ArpOperation, ArpPacket, ETHERTYPE_VLAN, TcpFlags};
use meshgate_policy::{Mac, Protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Shortest frame on an Ethernet, without its check sequence.
pub const FRAME_BYTES_MIN: usize = 60;

/// A frame to be written.
#[derive(Clone, Debug)]
pub struct Frame {
    source_mac: Mac,
    destination_mac: Mac,
    tags: Vec<(u16, u16)>,
    network: Network,
    hop_limit: u8,
    identification: u16,
    ipv4_options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    fragment: Option<(u16, bool)>,
    transport: Transport,
    payload: Vec<u8>,
    checksum: ChecksumKnob,
    bytes_min: usize,
}

#[derive(Clone, Debug)]
enum Network {
    Other(u16),
    Arp(ArpPacket),
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

#[derive(Clone, Debug)]
enum Transport {
    Raw(u8),
    Tcp(Tcp),
    Udp(u16, u16),
    Sctp(Sctp),
    Icmp(u8, u8, [u8; 4]),
}

#[derive(Clone, Debug)]
struct Tcp {
    source: u16,
    destination: u16,
    flags: TcpFlags,
    sequence: u32,
    acknowledgment: u32,
    window: u16,
    options: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Sctp {
    source: u16,
    destination: u16,
    tag: u32,
    chunk: u8,
    chunk_flags: u8,
    content: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChecksumKnob {
    Right,
    Wrong,
    Partial,
    Zero,
}

impl Frame {
    /// Returns a frame without content: ethertype 0x88b5 (local experimental), no payload.
    pub fn between(source_mac: Mac, destination_mac: Mac) -> Self {
        Self {
            source_mac,
            destination_mac,
            tags: Vec::new(),
            network: Network::Other(0x88b5),
            hop_limit: 64,
            identification: 1,
            ipv4_options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            transport: Transport::Raw(253),
            payload: Vec::new(),
            checksum: ChecksumKnob::Right,
            bytes_min: 0,
        }
    }

    /// Adds an 802.1Q tag with this VLAN number (and priority bits), within those before.
    pub fn vlan(self, number: u16) -> Self {
        self.tagged(ETHERTYPE_VLAN, number)
    }

    /// Adds a tag with this ethertype and this VLAN number (and priority bits), within those before.
    pub fn tagged(mut self, ethertype: u16, number: u16) -> Self {
        self.tags.push((ethertype, number));
        self
    }

    /// Sets an ethertype whose content is the payload alone.
    pub fn ethertype(mut self, ethertype: u16) -> Self {
        self.network = Network::Other(ethertype);
        self
    }

    /// Sets an ARP message as content.
    pub fn arp(mut self, message: ArpPacket) -> Self {
        self.network = Network::Arp(message);
        self
    }

    /// Sets an ARP request of this sender for this target as content.
    pub fn arp_request(self, sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        let sender_mac = self.source_mac;
        self.arp(ArpPacket {
            operation: ArpOperation::Request,
            sender_mac,
            sender_address: sender,
            target_mac: Mac::default(),
            target_address: target,
        })
    }

    /// Sets an ARP reply of this sender to this target as content.
    pub fn arp_reply(self, sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        let (sender_mac, target_mac) = (self.source_mac, self.destination_mac);
        self.arp(ArpPacket {
            operation: ArpOperation::Reply,
            sender_mac,
            sender_address: sender,
            target_mac,
            target_address: target,
        })
    }

    /// Sets the IP addresses.
    ///
    /// # Panics
    /// If they are of different families.
    pub fn ip(mut self, source: IpAddr, destination: IpAddr) -> Self {
        self.network = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Network::V4(source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Network::V6(source, destination),
            _ => panic!("{source} and {destination} are of different families"),
        };
        self
    }

    /// Sets the TTL or hop limit; 64 otherwise.
    pub fn hop_limit(mut self, hop_limit: u8) -> Self {
        self.hop_limit = hop_limit;
        self
    }

    /// Sets the identification of the IPv4 header; 1 otherwise.
    pub fn identification(mut self, identification: u16) -> Self {
        self.identification = identification;
        self
    }

    /// Sets the IPv4 options, filled up with zeros to a multiple of 4 bytes; at most 40.
    pub fn ipv4_options(mut self, options: &[u8]) -> Self {
        self.ipv4_options = padded(options, 4);
        self
    }

    /// Adds an IPv6 extension header of this number. `rest` is what follows the next-header byte; the caller sees to
    /// its length being right.
    pub fn extension(mut self, number: u8, rest: &[u8]) -> Self {
        self.extensions.push((number, rest.to_vec()));
        self
    }

    /// Makes the packet a fragment at this offset (a multiple of 8), with this more-fragments flag. In IPv6 it adds
    /// a fragment header, which is atomic for offset 0 and no more fragments.
    pub fn fragment(mut self, offset_bytes: u16, more: bool) -> Self {
        self.fragment = Some((offset_bytes, more));
        self
    }

    /// Sets a protocol whose bytes are the payload alone.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.transport = Transport::Raw(protocol.0);
        self
    }

    /// Sets TCP, with sequence and acknowledgment 0 and window 65535.
    pub fn tcp(mut self, source: u16, destination: u16, flags: TcpFlags) -> Self {
        self.transport = Transport::Tcp(Tcp {
            source,
            destination,
            flags,
            sequence: 0,
            acknowledgment: 0,
            window: u16::MAX,
            options: Vec::new(),
        });
        self
    }

    /// Sets sequence, acknowledgment and window, if the frame is TCP.
    pub fn numbers(mut self, sequence: u32, acknowledgment: u32, window: u16) -> Self {
        if let Transport::Tcp(tcp) = &mut self.transport {
            (tcp.sequence, tcp.acknowledgment, tcp.window) = (sequence, acknowledgment, window);
        }
        self
    }

    /// Sets the TCP options, filled up with zeros to a multiple of 4 bytes, if the frame is TCP; at most 40.
    pub fn tcp_options(mut self, options: &[u8]) -> Self {
        if let Transport::Tcp(tcp) = &mut self.transport {
            tcp.options = padded(options, 4);
        }
        self
    }

    /// Sets UDP.
    pub fn udp(mut self, source: u16, destination: u16) -> Self {
        self.transport = Transport::Udp(source, destination);
        self
    }

    /// Sets SCTP with an empty COOKIE ACK of tag 0, and a checksum of zero. The payload stands behind the first chunk.
    pub fn sctp(mut self, source: u16, destination: u16) -> Self {
        let (tag, chunk, chunk_flags, content) = (0, 11, 0, Vec::new());
        self.transport = Transport::Sctp(Sctp { source, destination, tag, chunk, chunk_flags, content });
        self
    }

    /// Sets verification tag and first chunk (type, flags, content), if the frame is SCTP.
    pub fn chunk(mut self, tag: u32, (chunk, chunk_flags): (u8, u8), content: &[u8]) -> Self {
        if let Transport::Sctp(sctp) = &mut self.transport {
            (sctp.tag, sctp.chunk, sctp.chunk_flags) = (tag, chunk, chunk_flags);
            sctp.content = content.to_vec();
        }
        self
    }

    /// Sets an INIT (type 1) or INIT ACK (type 2) as first chunk, if the frame is SCTP.
    pub fn sctp_init(self, tag: u32, chunk: u8, initiate_tag: u32) -> Self {
        let rest = [0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0];
        self.chunk(tag, (chunk, 0), &[&initiate_tag.to_be_bytes()[..], &rest].concat())
    }

    /// Sets ICMP, or ICMPv6 with IPv6 addresses: type, code and the four bytes behind the checksum.
    pub fn icmp(mut self, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        self.transport = Transport::Icmp(kind, code, rest);
        self
    }

    /// Sets an echo request of the family of the addresses, which must have been set.
    pub fn echo_request(self, id: u16, sequence: u16) -> Self {
        let kind = if matches!(self.network, Network::V6(..)) { 128 } else { 8 };
        self.icmp(kind, 0, two(id, sequence))
    }

    /// Sets an echo reply of the family of the addresses, which must have been set.
    pub fn echo_reply(self, id: u16, sequence: u16) -> Self {
        let kind = if matches!(self.network, Network::V6(..)) { 129 } else { 0 };
        self.icmp(kind, 0, two(id, sequence))
    }

    /// Sets an ICMP error of this type and code that quotes a frame's IP packet: for IPv4 its header and 8 bytes
    /// more (RFC 792), for IPv6 all of it.
    pub fn icmp_error(self, kind: u8, code: u8, quoted: &[u8]) -> Self {
        let is_v6 = matches!(self.network, Network::V6(..));
        let packet = quoted.get(super::ETHERNET_BYTES..).unwrap_or_default();
        let v4_bytes = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4 + 8);
        let bytes = if is_v6 { packet.len() } else { v4_bytes.min(packet.len()) };
        self.icmp(kind, code, [0; 4]).payload(&packet[..bytes])
    }

    /// Sets a neighbour solicitation for the target, with the source MAC as option unless the source is `::`.
    pub fn neighbour_solicitation(self, target: Ipv6Addr) -> Self {
        let names_sender = !matches!(self.network, Network::V6(Ipv6Addr::UNSPECIFIED, _));
        let option = link_layer_option(1, self.source_mac);
        let options = if names_sender { &option[..] } else { &[] };
        self.neighbour(135, [0; 4], &[&target.octets(), options])
    }

    /// Sets a solicited neighbour advertisement of the target, with this MAC as option.
    pub fn neighbour_advertisement(self, target: Ipv6Addr, mac: Mac) -> Self {
        self.neighbour(136, [0x60, 0, 0, 0], &[&target.octets(), &link_layer_option(2, mac)])
    }

    /// Sets a router solicitation without options.
    pub fn router_solicitation(self) -> Self {
        self.neighbour(133, [0; 4], &[])
    }

    /// Sets a router advertisement with the source MAC as option.
    pub fn router_advertisement(self) -> Self {
        let option = link_layer_option(1, self.source_mac);
        self.neighbour(134, [64, 0, 7, 8], &[&[0; 8], &option])
    }

    /// Sets an ICMPv6 redirect for the destination to the target.
    pub fn neighbour_redirect(self, target: Ipv6Addr, destination: Ipv6Addr) -> Self {
        self.neighbour(137, [0; 4], &[&target.octets(), &destination.octets()])
    }

    fn neighbour(self, kind: u8, rest: [u8; 4], parts: &[&[u8]]) -> Self {
        self.hop_limit(255).icmp(kind, 0, rest).payload(&parts.concat())
    }

    /// Sets the bytes behind the innermost header.
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// Makes the L4 checksum wrong.
    pub fn wrong_checksum(mut self) -> Self {
        self.checksum = ChecksumKnob::Wrong;
        self
    }

    /// Leaves the L4 checksum of TCP or UDP unfinished: the pseudo-header sum alone, as kernels leave it to devices.
    pub fn partial_checksum(mut self) -> Self {
        self.checksum = ChecksumKnob::Partial;
        self
    }

    /// Sets the L4 checksum to zero: none, for UDP.
    pub fn no_checksum(mut self) -> Self {
        self.checksum = ChecksumKnob::Zero;
        self
    }

    /// Fills the frame up with 0xee bytes to a length, often [`FRAME_BYTES_MIN`]. Not zeros, so that what reads the
    /// padding shows.
    pub fn padded_to(mut self, bytes_min: usize) -> Self {
        self.bytes_min = bytes_min;
        self
    }

    /// Returns the bytes of the frame.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_to(&mut out);
        out
    }
}

fn link_layer_option(kind: u8, mac: Mac) -> [u8; 8] {
    let [a, b, c, d, e, f] = mac.0;
    [kind, 1, a, b, c, d, e, f]
}

fn two(first: u16, second: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (first.to_be_bytes(), second.to_be_bytes());
    [a, b, c, d]
}

fn padded(bytes: &[u8], unit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(unit), 0);
    bytes
}
