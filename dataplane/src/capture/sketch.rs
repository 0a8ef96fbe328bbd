//! What can be read of a frame without trust: addresses, protocol and ports, as far as they are there.
//!
//! A filter of a capture must also fit frames that stage 1 refused, and those are wrong somewhere. So nothing is checked
//! here but that bytes exist; a frame of which something cannot be read merely does not fit a filter that asks for it.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Tags that are skipped: a service tag and a customer tag.
const TAGS_MAX: usize = 2;
/// IPv6 extension headers that are skipped.
const EXTENSIONS_MAX: usize = 8;

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Source and destination, IPv4 in its mapped form. Of ARP: sender and target.
    pub addresses: Option<(u128, u128)>,
    /// Protocol number.
    pub protocol: Option<u8>,
    /// Source and destination port of TCP, UDP and SCTP.
    pub ports: Option<(u16, u16)>,
}

impl Sketch {
    /// Reads the beginning of a frame.
    pub fn of(frame: &[u8]) -> Self {
        let (mut at, mut ethertype) = (14, u16_at(frame, 12));
        for _ in 0..TAGS_MAX {
            if matches!(ethertype, Some(0x8100 | 0x88a8)) {
                (at, ethertype) = (at + 4, u16_at(frame, at + 2));
            }
        }
        let packet = frame.get(at..).unwrap_or_default();
        match ethertype {
            Some(0x0800) => Self::of_ipv4(packet),
            Some(0x86dd) => Self::of_ipv6(packet),
            Some(0x0806) => Self { addresses: v4_pair(packet, 14, 24), ..Self::default() },
            _ => Self::default(),
        }
    }

    fn of_ipv4(packet: &[u8]) -> Self {
        let Some(addresses) = v4_pair(packet, 12, 16) else { return Self::default() };
        let (protocol, header_bytes) = (packet[9], usize::from(packet[0] & 0xf) * 4);
        let is_first = u16_at(packet, 6).is_some_and(|field| field & 0x1fff == 0);
        let ports = if is_first { ports(protocol, packet.get(header_bytes..)) } else { None };
        Self { addresses: Some(addresses), protocol: Some(protocol), ports }
    }

    fn of_ipv6(packet: &[u8]) -> Self {
        let address =
            |at| packet.get(at..at + 16)?.first_chunk().map(|octets| Ipv6Addr::from(*octets).to_bits());
        let (Some(source), Some(destination)) = (address(8), address(24)) else { return Self::default() };
        let (mut next, mut at) = (packet[6], 40);
        let mut is_first = true;
        for _ in 0..EXTENSIONS_MAX {
            let Some(header) = packet.get(at..at + 8) else { break };
            at += match next {
                // Hop-by-hop, routing, destination options, mobility; RFC 8200 section 4.
                0 | 43 | 60 | 135 => usize::from(header[1]) * 8 + 8,
                44 => {
                    is_first = u16_at(header, 2).is_some_and(|field| field & 0xfff8 == 0);
                    8
                }
                _ => break,
            };
            next = header[0];
        }
        let ports = if is_first { ports(next, packet.get(at..)) } else { None };
        Self { addresses: Some((source, destination)), protocol: Some(next), ports }
    }
}

fn ports(protocol: u8, segment: Option<&[u8]>) -> Option<(u16, u16)> {
    let segment = segment.filter(|_| matches!(protocol, 6 | 17 | 132))?;
    Some((u16_at(segment, 0)?, u16_at(segment, 2)?))
}

fn v4_pair(packet: &[u8], first: usize, second: usize) -> Option<(u128, u128)> {
    let address = |at| {
        let octets: [u8; 4] = *packet.get(at..)?.first_chunk()?;
        Some(Ipv4Addr::from(octets).to_ipv6_mapped().to_bits())
    };
    Some((address(first)?, address(second)?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::build::Frame;
    use meshgate_policy::Mac;
    use std::net::IpAddr;

    fn mapped(text: &str) -> u128 {
        match text.parse().unwrap() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        }
    }

    fn frame(source: &str, destination: &str) -> Frame {
        let (from, to) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        Frame::between(from, to).ip(source.parse().unwrap(), destination.parse().unwrap())
    }

    #[test]
    fn both_families_are_read_also_behind_a_tag() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let plain = frame(source, destination).udp(1_000, 53).bytes();
            let mut tagged = plain.clone();
            tagged.splice(12..12, [0x88, 0xa8, 0, 5, 0x81, 0, 0, 7]);
            for bytes in [plain, tagged] {
                let sketch = Sketch::of(&bytes);
                assert_eq!(sketch.addresses, Some((mapped(source), mapped(destination))));
                assert_eq!((sketch.protocol, sketch.ports), (Some(17), Some((1_000, 53))));
            }
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_read_as_far_as_it_goes() {
        for source in ["10.0.0.1", "fd00::1"] {
            let bytes = frame(source, source).udp(1, 2).bytes();
            (0..bytes.len()).for_each(|length| _ = Sketch::of(&bytes[..length]));
            assert_eq!(Sketch::of(&bytes[..20]), Sketch::default());
            let headers = if source.contains(':') { 54 } else { 34 };
            let cut = Sketch::of(&bytes[..headers]);
            assert_eq!((cut.protocol, cut.ports), (Some(17), None));
        }
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let mut bytes = frame("10.0.0.1", "10.0.0.2").udp(1_000, 53).bytes();
        bytes[20..22].copy_from_slice(&[0x00, 0x10]);
        assert_eq!(Sketch::of(&bytes).ports, None);
    }
}
