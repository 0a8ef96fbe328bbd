//! Sends UDP frames of 64 bytes (60 and the checksum of the wire) out of a device until it is ended, from inside the
//! kernel: `meshgate-pktgen DEVICE SOURCE_MAC SOURCE_IPV4 DESTINATION_MAC DESTINATION_IPV4 FLOWS`.
//!
//! `FLOWS` is a power of two up to 65,536: so many source ports are used in random order, which makes as many flows.
#![forbid(unsafe_code)]

use af_xdp::{Device, Generator, VariedField};
use meshgate_policy::Mac;
use std::error::Error;
use std::net::Ipv4Addr;

/// Bytes of a frame without the checksum that a wire would add.
const FRAME_BYTES: usize = 60;
/// Bytes of the Ethernet header.
const ETHERNET_BYTES: usize = 14;
/// Bytes of an IPv4 header without options.
const IPV4_BYTES: usize = 20;
/// Bytes of the IP packet.
const IP_BYTES: u8 = 46;
/// Bytes of the UDP datagram.
const UDP_BYTES: u8 = 26;
const _: () = assert!(ETHERNET_BYTES + IP_BYTES as usize == FRAME_BYTES);
const _: () = assert!(IPV4_BYTES + UDP_BYTES as usize == IP_BYTES as usize);
/// Where the source port of UDP stands.
const SOURCE_PORT_OFFSET: u16 = 34;
/// Destination port: discard (RFC 863).
const DESTINATION_PORT: u16 = 9;
/// Packets of one call into the kernel. Each call's set-up pauses some 20 ms, so they must be few.
const PACKETS_PER_CALL: u32 = 200_000_000;

const USAGE: &str =
    "usage: meshgate-pktgen DEVICE SOURCE_MAC SOURCE_IPV4 DESTINATION_MAC DESTINATION_IPV4 FLOWS";

/// One side of the traffic.
struct Side {
    /// Its MAC.
    mac: Mac,
    /// Its address.
    address: Ipv4Addr,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [device, source_mac, source, destination_mac, destination, flows] = arguments.as_slice() else {
        return Err(USAGE.into());
    };
    let source = Side { mac: source_mac.parse()?, address: source.parse()? };
    let destination = Side { mac: destination_mac.parse()?, address: destination.parse()? };
    let flows: u32 = flows.parse()?;
    if !flows.is_power_of_two() || flows > 1 << 16 {
        return Err(format!("FLOWS: {flows} is no power of two up to 65536").into());
    }
    let mask = u16::try_from(flows - 1)?;
    let varied = VariedField { offset: SOURCE_PORT_OFFSET, mask };
    let generator = Generator::new(Device::named(device)?.index, (flows > 1).then_some(varied))?;
    let frame = frame(&source, &destination);
    loop {
        generator.run(&frame, PACKETS_PER_CALL)?;
    }
}

/// Returns the frame; its UDP checksum is zero, which means none, so that ports can be varied.
fn frame(source: &Side, destination: &Side) -> [u8; FRAME_BYTES] {
    let mut frame = [0; FRAME_BYTES];
    frame[..6].copy_from_slice(&destination.mac.0);
    frame[6..12].copy_from_slice(&source.mac.0);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let ip = &mut frame[ETHERNET_BYTES..];
    // Version and header length, total length, "don't fragment", hops, UDP.
    (ip[0], ip[3], ip[6], ip[8], ip[9]) = (0x45, IP_BYTES, 0x40, 64, 17);
    ip[12..16].copy_from_slice(&source.address.octets());
    ip[16..20].copy_from_slice(&destination.address.octets());
    let checksum = header_checksum(&ip[..IPV4_BYTES]);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    ip[22..24].copy_from_slice(&DESTINATION_PORT.to_be_bytes());
    ip[25] = UDP_BYTES;
    frame
}

/// Returns the checksum of a header whose checksum field is zero (RFC 1071).
fn header_checksum(header: &[u8]) -> u16 {
    let sum = header.chunks_exact(2).fold(0_u16, |sum, word| {
        let (sum, carry) = sum.overflowing_add(u16::from_be_bytes([word[0], word[1]]));
        sum + u16::from(carry)
    });
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_dataplane::packet::{Content, Packet, ParseContext};

    #[test]
    fn the_frame_is_a_udp_packet_between_the_two_sides() {
        let side = |last| Side { mac: Mac([2, 0, 0, 0, 0, last]), address: Ipv4Addr::new(10, 9, 0, last) };
        let frame = frame(&side(1), &side(2));
        let packet = Packet::parse(&frame, frame.len(), ParseContext { may_be_partial: true }).unwrap();
        let Content::Ip(ip) = &packet.content else { panic!("not IP") };
        assert_eq!(ip.source, Ipv4Addr::new(10, 9, 0, 1));
        assert_eq!(ip.destination, Ipv4Addr::new(10, 9, 0, 2));
        assert_eq!(packet.destination_mac, side(2).mac);
    }
}
