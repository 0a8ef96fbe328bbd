//! Stages 1 to 3 and the switch under frames that nobody meant: random bytes, flipped bits, cut tails. Nothing
//! panics, and what is accepted keeps its promises. Every failure names its seed.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use meshgate_dataplane::binding::{Bindings, DeviceRole, Passage, Role};
use meshgate_dataplane::flow_table::KeyedHash;
use meshgate_dataplane::fragments::{Arrival, FragmentTable, Origin};
use meshgate_dataplane::packet::build::{Frame, dhcp, dhcp::DhcpMessage};
use meshgate_dataplane::packet::{Packet, ParseContext, PlainPacket, Tags, TcpFlags};
use meshgate_dataplane::switch::{Egress, Ingress, Switch};
use meshgate_dataplane::verdict::DropReason;
use meshgate_policy::{Action, Endpoint, EndpointFlags, EndpointId, Mac, Name, Policy, Protocol, SegmentId};
use std::net::IpAddr;

const SEED: u64 = 0x6d65_7368_6761_7465;
const NOISE_FRAMES: usize = 300_000;
const FLIPPED_FRAMES: usize = 200_000;
const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
const B: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, good enough for noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Everything that a worker asks of a frame before rules.
struct Path {
    /// Plain packets read, and devices by which one of them was found to have a way.
    plain: [usize; 2],
    bindings: Bindings,
    switch: Switch,
    fragments: FragmentTable<()>,
}

impl Path {
    fn new() -> Self {
        let device = |name: &str, role| DeviceRole {
            name: name.to_owned(),
            role,
            segment: Some(Name::default_name()),
            vlans: Vec::new(),
            ethertypes: vec![0],
        };
        let devices =
            [device("tap0", Role::Endpoint), device("tap1", Role::Endpoint), device("uplink0", Role::Uplink)];
        let mut policy = Policy::empty(Action::Deny);
        policy.endpoints = [(1, A, "tap0", "10.0.0.1", "fd00::1"), (2, B, "tap1", "10.0.0.2", "fd00::2")]
            .map(|(number, mac, device, v4, v6)| Endpoint {
                id: EndpointId(number),
                name: Name::new(device).unwrap(),
                segment: SegmentId::DEFAULT,
                mac,
                addresses: vec![v4.parse().unwrap(), v6.parse().unwrap()],
                routes: Vec::new(),
                flags: EndpointFlags::default(),
                host: Some(Name::default_name()),
                device: Some(device.to_owned()),
            })
            .to_vec();
        let bindings = Bindings::build(&policy, &Name::default_name(), &devices);
        let fragments = FragmentTable::new(64, KeyedHash::seeded(SEED));
        Self { plain: [0; 2], bindings, switch: Switch::new(std::sync::Arc::default()), fragments }
    }

    /// Takes a frame as far as it goes, and holds what was read against the frame.
    fn take(&mut self, head: &[u8], whole_bytes: usize, may_be_partial: bool) -> Result<(), DropReason> {
        if head.len() == whole_bytes {
            self.hold_plain(head, ParseContext { may_be_partial });
        }
        let packet = Packet::parse(head, whole_bytes, ParseContext { may_be_partial })?;
        assert!(usize::from(packet.l3_offset) <= head.len());
        if let Some(ip) = packet.ip() {
            let l4_end = usize::from(ip.l4_offset) + usize::from(ip.l4_bytes);
            assert!(l4_end <= whole_bytes && usize::from(ip.l4_offset) <= head.len());
            assert_eq!(packet.unpadded_bytes(), Some(l4_end));
            assert_eq!(ip.source.is_ipv4(), ip.destination.is_ipv4());
            let _ = ip.verify_across([head]);
        }
        if let Some(request) = packet.checksum_request() {
            assert!(usize::from(request.start) + usize::from(request.offset) + 2 <= head.len());
        }
        for device in 0..4 {
            let Ok(sender) = self.bindings.source(device, &packet) else { continue };
            let origin = Origin { segment: sender.segment, device, is_uplink: false };
            let arrival = packet.ip().and_then(|ip| Arrival::of(ip, origin, 1, (0, 1)));
            let _ = arrival.map(|arrival| self.fragments.admit(&arrival));
            let ingress = Ingress { device, segment: sender.segment };
            if let Ok(egress) = self.switch.route(&self.bindings, ingress, &packet, 1) {
                let _ = self.bindings.receivers(egress, sender.segment, &packet);
            }
            let _ = self.bindings.destination(1 - device.min(1), sender.segment, &packet);
        }
        Ok(())
    }
}

impl Path {
    /// Holds what is read of a plain frame, and where it is found to go, against what all others are judged by.
    fn hold_plain(&mut self, frame: &[u8], context: ParseContext) {
        let mut plain = PlainPacket::UNREAD;
        if plain.read(frame, context).is_none() {
            return;
        }
        let packet = Packet::parse(frame, frame.len(), context);
        assert_eq!(packet, Ok(plain.packet()));
        assert_eq!(packet.unwrap().checksum_request(), plain.checksum_request());
        assert_eq!(packet.unwrap().unpadded_bytes(), Some(plain.unpadded_bytes()));
        self.plain[0] += 1;
        for device in 0..4 {
            let Some((segment, egress)) = self.bindings.plain_way(device, &plain) else { continue };
            let packet = plain.packet();
            let sender = self.bindings.source(device, &packet).unwrap();
            assert_eq!((sender.segment, sender.passage), (segment, Passage::ToRules));
            let route = self.switch.route(&self.bindings, Ingress { device, segment }, &packet, 1).unwrap();
            let receivers = self.bindings.receivers(route, segment, &packet);
            assert_eq!(receivers, Ok(Egress::Device(egress)));
            assert_eq!(self.bindings.tags(egress, segment), Some(Tags::Untagged));
            self.plain[1] += 1;
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Frames of every kind that stage 1 reads in depth.
fn valid_frames() -> Vec<Vec<u8>> {
    let v4 = || Frame::between(A, B).ip(ip("10.0.0.1"), ip("10.0.0.2"));
    let v6 = || Frame::between(A, B).ip(ip("fd00::1"), ip("fd00::2"));
    let link = || Frame::between(A, B).ip(ip("fe80::ff:fe00:1"), ip("ff02::1:ff00:2"));
    let quoted = |frame: Frame| frame.tcp(80, 40_000, TcpFlags::ACK).payload(&[3; 12]).bytes();
    let (IpAddr::V6(target), IpAddr::V6(own)) = (ip("fd00::2"), ip("fd00::1")) else { unreachable!() };
    let dhcp = Frame::between(A, Mac::BROADCAST).ip(ip("0.0.0.0"), ip("255.255.255.255"));
    let frames = [
        v4().tcp(40_000, 80, TcpFlags::SYN).tcp_options(&[2, 4, 5, 180, 1, 3, 3, 7]),
        v4().vlan(5).tcp(40_000, 80, TcpFlags::ACK).payload(&[7; 100]),
        v4().tcp(40_000, 80, TcpFlags::SYN).partial_checksum(),
        v4().ipv4_options(&[148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0]).udp(53, 53).payload(&[1; 33]).padded_to(60),
        v4().echo_request(1, 2).payload(&[9; 56]),
        v4().icmp_error(3, 1, &quoted(v4())),
        v4().sctp(5, 6),
        v4().fragment(64, true).udp(1, 2).payload(&[0; 8]),
        dhcp.udp(68, 67).payload(&DhcpMessage::new(1, A, 7).option(61, &[1, 2, 0, 0, 0, 0, 1]).bytes()),
        v4().ipv4_options(&[148, 4])
            .hop_limit(1)
            .protocol(Protocol(2))
            .payload(&[0x22, 0, 0xdd, 0xff, 0, 0, 0, 0]),
        v4().tcp(40_000, 80, TcpFlags::ACK).payload(&[7; 11]),
        v4().tcp(40_000, 80, TcpFlags::ACK).padded_to(60).partial_checksum(),
        v4().udp(5, 6).payload(&[1; 3]).padded_to(64),
        v6().tcp(40_000, 80, TcpFlags::ACK).payload(&[7; 11]).partial_checksum(),
        v6().udp(5, 6).payload(&[1; 20]),
        Frame::between(A, Mac([2, 0, 0, 0, 0, 9])).ip(ip("10.0.0.1"), ip("192.0.2.9")).udp(5, 6),
        Frame::between(Mac([2, 0, 0, 0, 0, 9]), A).ip(ip("192.0.2.9"), ip("10.0.0.1")).udp(5, 6),
        v6().tcp(40_000, 80, TcpFlags::SYN),
        v6().extension(0, &[0; 7]).extension(60, &[1; 15]).fragment(0, false).udp(5, 6).payload(&[1; 20]),
        v6().extension(43, &[0, 4, 0, 0, 0, 0, 0]).extension(51, &[1; 11]).udp(5, 6),
        v6().echo_reply(1, 2),
        v6().icmp_error(1, 4, &quoted(v6())),
        link().neighbour_solicitation(target),
        v6().neighbour_advertisement(own, A),
        link().router_advertisement(),
        link().hop_limit(1).extension(0, &[0, 5, 2, 0, 0, 1, 0]).icmp(143, 0, [0, 0, 0, 1]).payload(&[4; 20]),
        v6().udp(547, 546).payload(&dhcp::v6_message(7, 9, &[(own, 60)])),
        Frame::between(A, Mac::BROADCAST).arp_request([10, 0, 0, 1].into(), [10, 0, 0, 2].into()),
    ];
    frames.iter().map(Frame::bytes).collect()
}

/// Makes the checksum of an IPv4 header right, so that noise gets beyond it.
fn mend_ipv4_header(frame: &mut [u8]) {
    let Some(first) = frame.get(14) else { return };
    let header_bytes = usize::from(first & 0x0f) * 4;
    let Some(header) = frame.get_mut(14..14 + header_bytes).filter(|header| header.len() >= 20) else {
        return;
    };
    header[10..12].fill(0);
    let sum: u32 = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

#[test]
fn random_bytes_never_panic() {
    let (mut noise, mut path) = (Noise(SEED), Path::new());
    let mut accepted = 0;
    for number in 0..NOISE_FRAMES {
        let seed = noise.0;
        let length = noise.below(200);
        let mut frame = noise.bytes(length);
        if length > 60 {
            let ethertype: u16 = noise.one_of(&[0x0800, 0x86dd, 0x0806, 0x8100]);
            frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
            let total = u8::try_from(20 + noise.below(length - 34)).unwrap();
            match ethertype {
                0x0800 => {
                    frame[14..18].copy_from_slice(&[0x45 + noise.one_of(&[0, 0, 1, 4]), 0, 0, total]);
                    frame[20..22].fill(0);
                    frame[23] = noise.one_of(&[1, 2, 6, 17, 132, 50]);
                    mend_ipv4_header(&mut frame);
                }
                0x86dd => {
                    frame[14] = 0x60;
                    frame[18..20].copy_from_slice(&[0, total.saturating_sub(20)]);
                    frame[20] = noise.one_of(&[0, 6, 17, 43, 44, 50, 51, 58, 59, 60, 132]);
                }
                0x0806 => frame[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]),
                _ => {}
            }
        }
        let whole_bytes = length + noise.below(3) * 100;
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            path.take(&frame, whole_bytes, number % 2 == 0)
        }));
        let result = result.unwrap_or_else(|_| panic!("seed {seed:#x}: {frame:02x?} of {whole_bytes}"));
        accepted += usize::from(result.is_ok());
    }
    assert!(
        accepted > NOISE_FRAMES / 50,
        "only {accepted} frames got beyond stage 1: the noise is too coarse"
    );
}

#[test]
fn flipped_bits_and_cut_tails_never_panic() {
    let (mut noise, mut path, frames) = (Noise(SEED), Path::new(), valid_frames());
    for frame in &frames {
        assert_eq!(path.take(frame, frame.len(), true), Ok(()), "{frame:02x?}");
    }
    for number in 0..FLIPPED_FRAMES {
        let seed = noise.0;
        let mut frame = frames[number % frames.len()].clone();
        for _ in 0..=noise.below(6) {
            let bit = noise.below(frame.len() * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        if frame[12..14] == [8, 0] {
            mend_ipv4_header(&mut frame);
        }
        let whole_bytes = frame.len();
        if noise.below(4) == 0 {
            frame.truncate(noise.below(whole_bytes + 1));
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            path.take(&frame, whole_bytes, number % 2 == 0)
        }));
        assert!(result.is_ok(), "seed {seed:#x}: {frame:02x?} of {whole_bytes}");
    }
    let [read, sent] = path.plain;
    assert!(read > FLIPPED_FRAMES / 50 && sent > FLIPPED_FRAMES / 100, "{read} plain, {sent} had a way");
}

#[test]
fn one_flipped_bit_behind_the_ethernet_header_of_a_syn_is_always_noticed() {
    let frame =
        Frame::between(A, B).ip(ip("10.0.0.1"), ip("10.0.0.2")).tcp(40_000, 80, TcpFlags::SYN).bytes();
    for bit in 14 * 8..frame.len() * 8 {
        let mut flipped = frame.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let result = Packet::parse(&flipped, flipped.len(), ParseContext::default());
        assert!(result.is_err(), "bit {bit}: {result:?}");
    }
}
