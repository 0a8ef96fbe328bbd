//! The bytes of a frame: headers from the outside in, lengths and checksums computed plainly.

use super::{ChecksumKnob, Frame, Network, Sctp, Tcp, Transport, two};
use crate::packet::{ArpOperation, ArpPacket, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use meshgate_policy::Protocol;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

impl Frame {
    /// Appends the bytes of the frame.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend(self.destination_mac.0);
        out.extend(self.source_mac.0);
        for (ethertype, number) in &self.tags {
            out.extend(two(*ethertype, *number));
        }
        match self.network {
            Network::Other(ethertype) => {
                out.extend(ethertype.to_be_bytes());
                out.extend(&self.payload);
            }
            Network::Arp(message) => {
                out.extend(ETHERTYPE_ARP.to_be_bytes());
                write_arp(message, out);
            }
            Network::V4(source, destination) => {
                out.extend(ETHERTYPE_IPV4.to_be_bytes());
                self.write_ipv4(source, destination, out);
            }
            Network::V6(source, destination) => {
                out.extend(ETHERTYPE_IPV6.to_be_bytes());
                self.write_ipv6(source, destination, out);
            }
        }
        let bytes = (out.len() - start).max(self.bytes_min);
        out.resize(start + bytes, 0xee);
    }

    /// Returns how many bytes there are behind the IP headers.
    pub fn l4_bytes(&self) -> usize {
        self.l4(&self.address_bytes()).len()
    }

    /// Returns the frame of one part of the datagram: these of the bytes behind its IP headers, beginning at a multiple
    /// of 8, with this more-fragments flag. All other parts must be asked of the same frame.
    pub fn part(&self, bytes: Range<usize>, more: bool) -> Self {
        let offset_bytes = low_u16(bytes.start);
        let payload = self.l4(&self.address_bytes())[bytes].to_vec();
        let transport = Transport::Raw(self.protocol_number());
        Self { transport, payload, fragment: Some((offset_bytes, more)), ..self.clone() }
    }

    /// Returns the parts of the datagram when it is cut at these places, in order.
    pub fn cut(&self, places: &[usize]) -> Vec<Self> {
        let l4_bytes = self.l4_bytes();
        let starts = std::iter::once(0).chain(places.iter().copied());
        let ends = places.iter().copied().chain([l4_bytes]);
        starts.zip(ends).map(|(start, end)| self.part(start..end, end < l4_bytes)).collect()
    }

    fn address_bytes(&self) -> Vec<u8> {
        match self.network {
            Network::V4(source, destination) => [source.octets(), destination.octets()].concat(),
            Network::V6(source, destination) => [source.octets(), destination.octets()].concat(),
            Network::Other(_) | Network::Arp(_) => Vec::new(),
        }
    }

    fn write_ipv4(&self, source: Ipv4Addr, destination: Ipv4Addr, out: &mut Vec<u8>) {
        let l4 = self.l4(&self.address_bytes());
        let header_bytes = 20 + self.ipv4_options.len();
        let (offset_bytes, more) = self.fragment.unwrap_or((0, false));
        let flags = (offset_bytes / 8) | if more { 0x2000 } else { 0 };
        let start = out.len();
        out.extend([0x40 | low_byte(header_bytes / 4), 0]);
        out.extend(low_u16(header_bytes + l4.len()).to_be_bytes());
        out.extend(two(self.identification, flags));
        out.extend([self.hop_limit, self.protocol_number(), 0, 0]);
        out.extend(source.octets());
        out.extend(destination.octets());
        out.extend(&self.ipv4_options);
        let checksum = !sum(&out[start..]);
        out[start + 10..start + 12].copy_from_slice(&checksum.to_be_bytes());
        out.extend(l4);
    }

    fn write_ipv6(&self, source: Ipv6Addr, destination: Ipv6Addr, out: &mut Vec<u8>) {
        let l4 = self.l4(&self.address_bytes());
        let mut chain = self.extensions.clone();
        if let Some((offset_bytes, more)) = self.fragment {
            let [high, low] = (offset_bytes & !7 | u16::from(more)).to_be_bytes();
            let [id_high, id_low] = self.identification.to_be_bytes();
            chain.push((44, vec![0, high, low, 0, 0, id_high, id_low]));
        }
        let numbers: Vec<u8> =
            chain.iter().map(|(number, _)| *number).chain([self.protocol_number()]).collect();
        let mut headers = Vec::new();
        for ((_, rest), next) in chain.iter().zip(&numbers[1..]) {
            headers.push(*next);
            headers.extend(rest);
        }
        out.extend([0x60, 0, 0, 0]);
        out.extend(low_u16(headers.len() + l4.len()).to_be_bytes());
        out.extend([numbers[0], self.hop_limit]);
        out.extend(source.octets());
        out.extend(destination.octets());
        out.extend(headers);
        out.extend(l4);
    }

    fn protocol_number(&self) -> u8 {
        let is_v6 = matches!(self.network, Network::V6(..));
        match self.transport {
            Transport::Raw(number) => number,
            Transport::Tcp(_) => Protocol::TCP.0,
            Transport::Udp(..) => Protocol::UDP.0,
            Transport::Sctp(..) => Protocol::SCTP.0,
            Transport::Icmp(..) if is_v6 => Protocol::ICMPV6.0,
            Transport::Icmp(..) => Protocol::ICMP.0,
        }
    }

    /// Returns the L4 header with its checksum, and the payload.
    fn l4(&self, addresses: &[u8]) -> Vec<u8> {
        let (mut l4, field) = match &self.transport {
            Transport::Raw(_) => (Vec::new(), None),
            Transport::Tcp(tcp) => (tcp.header(), Some(16)),
            Transport::Udp(source, destination) => {
                let udp_bytes = low_u16(8 + self.payload.len());
                ([two(*source, *destination), two(udp_bytes, 0)].concat(), Some(6))
            }
            Transport::Sctp(sctp) => (sctp.head(), None),
            Transport::Icmp(kind, code, rest) => ([[*kind, *code, 0, 0], *rest].concat(), Some(2)),
        };
        l4.extend(&self.payload);
        if let Some(field) = field {
            let checksum = self.checksum_of(addresses, &l4);
            l4[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        l4
    }

    fn checksum_of(&self, addresses: &[u8], l4: &[u8]) -> u16 {
        let has_pseudo_header = self.protocol_number() != Protocol::ICMP.0;
        let length = u32::try_from(l4.len()).unwrap_or(u32::MAX).to_be_bytes();
        let pseudo = [addresses, &length, &[0, self.protocol_number()]].concat();
        let covered = if has_pseudo_header { [&pseudo, l4].concat() } else { l4.to_vec() };
        let right = match !sum(&covered) {
            0 if matches!(self.transport, Transport::Udp(..)) => u16::MAX,
            right => right,
        };
        match self.checksum {
            ChecksumKnob::Right => right,
            ChecksumKnob::Wrong => right ^ 0x5555,
            ChecksumKnob::Partial => sum(&pseudo),
            ChecksumKnob::Zero => 0,
        }
    }
}

impl Tcp {
    fn header(&self) -> Vec<u8> {
        let words = low_byte(5 + self.options.len() / 4);
        let mut header = two(self.source, self.destination).to_vec();
        header.extend(self.sequence.to_be_bytes());
        header.extend(self.acknowledgment.to_be_bytes());
        header.extend([words << 4, self.flags.0]);
        header.extend(two(self.window, 0));
        header.extend([0, 0]);
        header.extend(&self.options);
        header
    }
}

impl Sctp {
    /// Returns the common header and the first chunk.
    fn head(&self) -> Vec<u8> {
        let [high, low] = low_u16(4 + self.content.len()).to_be_bytes();
        let ports = two(self.source, self.destination);
        let chunk = [self.chunk, self.chunk_flags, high, low];
        [&ports[..], &self.tag.to_be_bytes(), &[0; 4], &chunk, &self.content].concat()
    }
}

fn write_arp(message: ArpPacket, out: &mut Vec<u8>) {
    let operation = match message.operation {
        ArpOperation::Request => 1,
        ArpOperation::Reply => 2,
    };
    out.extend([0, 1, 0x08, 0x00, 6, 4, 0, operation]);
    out.extend(message.sender_mac.0);
    out.extend(message.sender_address.octets());
    out.extend(message.target_mac.0);
    out.extend(message.target_address.octets());
}

/// Returns the one's complement sum of the 16-bit words, folded (RFC 1071 section 4.1).
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| match *word {
        [high, low] => u16::from_be_bytes([high, low]),
        [high] => u16::from_be_bytes([high, 0]),
        _ => 0,
    });
    words.fold(0, |sum: u16, word| {
        let (sum, carries) = sum.overflowing_add(word);
        sum + u16::from(carries)
    })
}

/// Returns a length as a header field holds it: what does not fit is cut to the largest value.
pub(super) fn low_u16(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

pub(super) fn low_byte(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}
