//! What is mutated: exchanges of frames among the machines of the laboratory, by the builder, and recorded ones that
//! were moved into it.

use super::mutate;
use crate::lab::{mac, v4, v6};
use meshgate_dataplane::device::pcap::CaptureReader;
use meshgate_dataplane::packet::TcpFlags;
use meshgate_dataplane::packet::build::dhcp::DhcpMessage;
use meshgate_dataplane::packet::build::{Frame, dhcp};
use meshgate_policy::{Mac, Protocol};
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::OnceLock;

/// Number of the uplink.
const UPLINK: usize = 3;
/// Number of the stranger behind it: MAC and last byte of its addresses.
const STRANGER: u8 = 9;
/// Frames of one recording that make one scene.
const SCENE_FRAMES_MAX: usize = 400;

/// A frame and where it comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shot {
    pub device: usize,
    pub bytes: Vec<u8>,
}

/// Frames in the order in which they were sent.
pub type Scene = Vec<Shot>;

/// Returns all scenes: those of the builder, and the recorded ones where there are any. They are read once.
pub fn all() -> &'static [Scene] {
    static SCENES: OnceLock<Vec<Scene>> = OnceLock::new();
    SCENES.get_or_init(|| built().into_iter().chain(recorded()).collect())
}

fn device_of(number: u8) -> usize {
    usize::from(number - 1).min(UPLINK)
}

fn shot(from: u8, frame: &Frame) -> Shot {
    Shot { device: device_of(from), bytes: frame.bytes() }
}

fn between(is_v6: bool, from: u8, to: u8) -> Frame {
    if is_v6 { v6(from, to) } else { v4(from, to) }
}

/// A connection from one to the other, with data both ways, to its end.
fn connection(is_v6: bool, (from, to): (u8, u8), port: u16) -> Scene {
    let there = |flags, sequence, acknowledgment, payload: &[u8]| {
        let frame = between(is_v6, from, to).tcp(40_000, port, flags);
        shot(from, &frame.numbers(sequence, acknowledgment, 8_000).payload(payload))
    };
    let back = |flags, sequence, acknowledgment, payload: &[u8]| {
        let frame = between(is_v6, to, from).tcp(port, 40_000, flags);
        shot(to, &frame.numbers(sequence, acknowledgment, 8_000).payload(payload))
    };
    let (syn, ack, fin) = (TcpFlags::SYN, TcpFlags::ACK, TcpFlags::FIN);
    vec![
        there(syn, 100, 0, &[]),
        back(syn | ack, 500, 101, &[]),
        there(ack, 101, 501, &[]),
        there(ack | TcpFlags::PSH, 101, 501, &[7; 100]),
        back(ack, 501, 201, &[9; 400]),
        there(ack, 201, 901, &[]),
        back(fin | ack, 901, 201, &[]),
        there(fin | ack, 201, 902, &[]),
        back(ack, 902, 202, &[]),
        there(TcpFlags::RST, 202, 0, &[]),
    ]
}

/// An INIT, its answer, the cookie, and an abort.
fn association(is_v6: bool, (from, to): (u8, u8), port: u16) -> Scene {
    let there = || between(is_v6, from, to).sctp(36_412, port);
    let back = || between(is_v6, to, from).sctp(port, 36_412);
    vec![
        shot(from, &there().sctp_init(0, 1, 77)),
        shot(to, &back().sctp_init(77, 2, 88)),
        shot(from, &there().chunk(88, (10, 0), &[1; 20])),
        shot(to, &back().chunk(77, (11, 0), &[])),
        shot(from, &there().chunk(88, (0, 3), &[0; 16])),
        shot(to, &back().chunk(77, (6, 0), &[])),
    ]
}

fn exchange(is_v6: bool, (from, to): (u8, u8)) -> Scene {
    let ask = between(is_v6, from, to).udp(5_353, 53).payload(&[1; 33]);
    let (unreachable, code) = if is_v6 { (1, 4) } else { (3, 3) };
    let big = if is_v6 { (2, 0) } else { (3, 4) };
    let error = |(kind, code), quoted: &Frame| {
        shot(to, &between(is_v6, to, from).icmp_error(kind, code, &quoted.bytes()))
    };
    let syn = between(is_v6, from, to).tcp(40_000, 80, TcpFlags::SYN).numbers(100, 0, 8_000);
    let first = between(is_v6, from, to).fragment(0, true).udp(5_353, 53).payload(&[3; 64]);
    let rest = between(is_v6, from, to).fragment(72, false).protocol(Protocol::UDP).payload(&[4; 30]);
    vec![
        shot(from, &ask),
        shot(to, &between(is_v6, to, from).udp(53, 5_353).payload(&[2; 200])),
        shot(from, &ask),
        error((unreachable, code), &ask),
        shot(from, &between(is_v6, from, to).echo_request(7, 1).payload(&[5; 56])),
        shot(to, &between(is_v6, to, from).echo_reply(7, 1).payload(&[5; 56])),
        shot(from, &syn),
        error(big, &syn),
        shot(from, &first),
        shot(from, &rest),
        shot(from, &between(is_v6, from, to).protocol(Protocol(47)).payload(&[0; 40])),
        shot(to, &between(is_v6, to, from).protocol(Protocol(47)).payload(&[0; 40])),
    ]
}

/// What governs the link.
fn link() -> Scene {
    let own = |n: u8| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into());
    let local = |n: u8| IpAddr::V6(mac(n).link_local());
    let all_nodes: IpAddr = "ff02::1".parse().unwrap();
    let group_mac = Mac([0x33, 0x33, 0, 0, 0, 1]);
    let to_all = |n: u8| Frame::between(mac(n), group_mac).ip(local(n), all_nodes);
    let dhcp_message = DhcpMessage::new(1, mac(1), 7).option(61, &[1, 2, 0, 0, 0, 0, 1]).bytes();
    let seeking = Frame::between(mac(1), Mac::BROADCAST);
    let seeking = seeking.ip("0.0.0.0".parse().unwrap(), "255.255.255.255".parse().unwrap());
    let mdns = Frame::between(mac(1), Mac([1, 0, 0x5e, 0, 0, 0xfb]));
    let mdns = mdns.ip("10.0.0.1".parse().unwrap(), "224.0.0.251".parse().unwrap());
    let igmp = |kind: u8| {
        mdns.clone()
            .ipv4_options(&[148, 4])
            .hop_limit(1)
            .protocol(Protocol(2))
            .payload(&[kind, 0, 0xdd, 0xff, 0, 0, 0, 0])
    };
    let ask = Frame::between(mac(1), Mac::BROADCAST).arp_request([10, 0, 0, 1].into(), [10, 0, 0, 3].into());
    let answer = Frame::between(mac(3), mac(1)).arp_reply([10, 0, 0, 3].into(), [10, 0, 0, 1].into());
    vec![
        shot(1, &ask),
        shot(3, &answer),
        shot(1, &v6(1, 3).neighbour_solicitation(own(3))),
        shot(3, &v6(3, 1).neighbour_advertisement(own(3), mac(3))),
        shot(1, &to_all(1).router_solicitation()),
        shot(STRANGER, &to_all(STRANGER).router_advertisement()),
        shot(1, &to_all(1).router_advertisement()),
        shot(
            1,
            &to_all(1)
                .hop_limit(1)
                .extension(0, &[0, 5, 2, 0, 0, 1, 0])
                .icmp(143, 0, [0, 0, 0, 1])
                .payload(&[4; 20]),
        ),
        shot(1, &seeking.udp(68, 67).payload(&dhcp_message)),
        shot(3, &v4(3, 1).udp(67, 68).payload(&dhcp_message)),
        shot(2, &v6(2, 3).udp(547, 546).payload(&dhcp::v6_message(7, 9, &[(own(2), 60)]))),
        shot(1, &mdns.clone().udp(5_353, 5_353).payload(&[1; 40])),
        shot(1, &igmp(0x22)),
        shot(1, &igmp(0x11)),
        shot(2, &Frame::between(mac(2), mac(3)).payload(&[1; 50])),
    ]
}

/// Returns the scenes of the builder.
pub fn built() -> Vec<Scene> {
    let mut scenes = vec![link()];
    for is_v6 in [false, true] {
        for ends in [(1, 3), (3, 1), (1, 2), (2, STRANGER), (STRANGER, 1), (STRANGER, 3)] {
            scenes.extend([22, 80, 5_432].map(|port| connection(is_v6, ends, port)));
            scenes.push(association(is_v6, ends, 36_412));
            scenes.push(exchange(is_v6, ends));
        }
    }
    scenes
}

/// Returns the recorded scenes, moved into the laboratory.
fn recorded() -> Vec<Scene> {
    let Some(root) = std::env::var_os("MESHGATE_DATA").map(PathBuf::from) else { return Vec::new() };
    let folders = std::fs::read_dir(root.join("pcap")).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
    let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
    paths.sort();
    let mut scenes = Vec::new();
    for path in paths {
        let Ok(mut reader) = CaptureReader::open(&path) else { continue };
        let (mut scene, mut bytes) = (Scene::new(), Vec::new());
        while scene.len() < SCENE_FRAMES_MAX && reader.next_frame(&mut bytes).is_some() {
            scene.push(move_in(bytes.clone()));
        }
        if !scene.is_empty() {
            scenes.push(scene);
        }
    }
    scenes
}

/// Gives a recorded frame senders and receivers of the laboratory: the same for the same addresses.
fn move_in(mut bytes: Vec<u8>) -> Shot {
    bytes.truncate(1_600);
    let (ethertype, at) = mutate::l3_of(&bytes).unwrap_or((0, 14));
    let (start, width) = match ethertype {
        0x0800 => (at + 12, 4),
        0x86dd => (at + 8, 16),
        0x0806 => (at + 14, 4),
        _ => (6, 6),
    };
    let field = |at: usize| bytes.get(at..at + width).unwrap_or_default().to_vec();
    let second_at = if ethertype == 0x0806 { start + 10 } else { start + width };
    let (first, second) = (field(start), field(second_at));
    let (from, to) = parties(&first, &second);
    let is_group = second.first().is_some_and(|byte| match ethertype {
        0x0800 => byte & 0xf0 == 0xe0 || *byte == 0xff,
        0x86dd => *byte == 0xff,
        _ => false,
    });
    let address = |number: u8| -> Vec<u8> {
        match width {
            4 => vec![10, 0, 0, number],
            _ => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).octets().to_vec(),
        }
    };
    let mut put = |at: usize, new: &[u8]| {
        if let Some(field) = bytes.get_mut(at..at + new.len()) {
            field.copy_from_slice(new);
        }
    };
    if matches!(ethertype, 0x0800 | 0x86dd | 0x0806) {
        put(start, &address(from));
        if !is_group {
            put(second_at, &address(to));
            put(0, &mac(to).0);
        }
    }
    if ethertype == 0x0806 {
        put(start - 6, &mac(from).0);
    }
    put(6, &mac(from).0);
    mutate::repair(&mut bytes);
    Shot { device: device_of(from), bytes }
}

/// Returns who plays two addresses: the same two in both directions.
fn parties(first: &[u8], second: &[u8]) -> (u8, u8) {
    let number = |bytes: &[u8]| bytes.iter().fold(7_u32, |sum, byte| sum.wrapping_mul(31) + u32::from(*byte));
    let players = [1, 2, 3, STRANGER];
    let place = |bytes: &[u8]| usize::try_from(number(bytes) % 4).unwrap();
    let (low, high) = if first <= second { (first, second) } else { (second, first) };
    let (a, mut b) = (place(low), place(high));
    if a == b {
        b = (b + 1) % 4;
    }
    if first <= second { (players[a], players[b]) } else { (players[b], players[a]) }
}
