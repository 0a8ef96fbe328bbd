//! Single packets: what a policy decides about each, asked of the worker and of nftables.

use crate::generator::{Boundaries, Random};
use crate::transit::{End, Transit};
use crate::wire::{MACS, Sent, Wire};
use crate::{generator, translate};
use meshgate_dataplane::packet::TcpFlags;
use meshgate_dataplane::packet::build::Frame;
use meshgate_dataplane::verdict::DropReason;
use meshgate_policy::{Mac, PolicyKey, Protocol};
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

/// Packets for one policy.
const PACKETS_PER_POLICY: usize = 500;
/// Draws in a row that may give nothing new, before a policy counts as exhausted.
const TRIES: usize = 200;
/// Numbers of IPv6 extension headers: what follows them is not what they are.
const EXTENSIONS: [u8; 8] = [0, 43, 44, 51, 59, 60, 135, 139];

/// A difference that is meant: the worker drops what nftables, which looks at rules only, lets pass.
struct Explained {
    reason: DropReason,
    applies: fn(&PolicyKey) -> bool,
    why: &'static str,
}

const EXPLAINED: &[Explained] = &[
    Explained {
        reason: DropReason::MartianAddress,
        applies: is_martian,
        why: "stage 1: addresses that cannot stand on a wire; a rule of nftables takes any bits for an address",
    },
    Explained {
        reason: DropReason::BadHeader,
        applies: is_icmp_of_the_other_family,
        why: "stage 1: ICMP in IPv6 and ICMPv6 in IPv4 are no messages; to nftables they are a protocol number",
    },
    Explained {
        reason: DropReason::UnrelatedError,
        applies: is_icmp_error,
        why: "stage 4: an ICMP error goes by the flow that it quotes, and these quote none",
    },
];

/// Compares so many packets; returns how often each difference that is meant was met.
pub fn compare(wire: &Wire<'_>, packets: usize) -> BTreeMap<&'static str, usize> {
    let mut explained = BTreeMap::new();
    let (mut compared, mut allowed) = (0, 0);
    for seed in 0.. {
        if compared >= packets {
            break;
        }
        let mut random = Random::new(seed);
        let policy = generator::policy(&mut random);
        let segment = policy.segments[0].id;
        wire.load(&translate::bridge_table(&policy, segment));
        let keys =
            draw(&Boundaries::of(&policy), segment, &mut random, PACKETS_PER_POLICY.min(packets - compared));
        let frames: Vec<Sent> =
            (1..).zip(&keys).map(|(number, key)| (0, frame(key, number, &mut random))).collect();
        let second = wire.send(&frames);
        let mut transit = Transit::new(&policy);
        for ((key, (_, bytes)), has_passed) in keys.iter().zip(&frames).zip(second) {
            let end = transit.send(0, bytes);
            compared += 1;
            allowed += usize::from(end == End::Passed);
            match end {
                End::Passed if has_passed => {}
                End::Dropped(_) if !has_passed => {}
                End::Dropped(reason) => {
                    let why = EXPLAINED.iter().find(|known| known.reason == reason && (known.applies)(key));
                    let why = why.unwrap_or_else(|| {
                        panic!("seed {seed}: nftables passes, {reason}: {key:?}\n{bytes:02x?}")
                    });
                    *explained.entry(why.why).or_default() += 1;
                }
                End::Passed => panic!(
                    "seed {seed}: the worker passes, nftables drops: {key:?}; decided: {:?}\n{bytes:02x?}",
                    policy.decide(key)
                ),
            }
        }
    }
    println!("{compared} packets, {allowed} allowed");
    assert!(allowed * 10 > compared && allowed * 10 < compared * 9, "one verdict hardly ever comes up");
    explained
}

/// Draws packets of different flows, so that none is the answer to another.
fn draw(
    boundaries: &Boundaries,
    segment: meshgate_policy::SegmentId,
    random: &mut Random,
    count: usize,
) -> Vec<PolicyKey> {
    let mut keys = Vec::new();
    let mut flows = HashSet::new();
    let mut tries = 0;
    while keys.len() < count && tries < TRIES {
        tries += 1;
        let key = boundaries.packet(random);
        let protocol = key.l4.protocol;
        let is_extension = key.source.is_ipv6() && EXTENSIONS.contains(&protocol.0);
        let pair = [key.source.min(key.destination), key.source.max(key.destination)];
        // Flows with ports or a number of their own are told apart by that.
        let is_apart = protocol.has_ports() || protocol.is_icmp();
        if key.segment == segment && !is_extension && (is_apart || flows.insert((pair, protocol))) {
            keys.push(key);
            tries = 0;
        }
    }
    keys
}

/// Returns a frame with the key of a packet, whose other numbers no other frame of the policy has.
fn frame(key: &PolicyKey, number: u16, random: &mut Random) -> Vec<u8> {
    let PolicyKey { source, destination, l4, .. } = *key;
    let frame = Frame::between(Mac(MACS[0]), mac_towards(destination)).ip(source, destination);
    let frame = match source {
        IpAddr::V4(_) if random.chance(10) => frame.ipv4_options(&[1, 1, 148, 4, 0, 0]),
        IpAddr::V6(_) if random.chance(10) => frame.extension(60, &[0, 1, 4, 0, 0, 0, 0]),
        _ => frame,
    };
    let [high, low] = number.to_be_bytes();
    let (source_port, destination_port) = (1_024 + number, l4.destination_port);
    let is_message = l4.protocol == if source.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 };
    let frame = match l4.protocol {
        Protocol::TCP => frame.tcp(source_port, destination_port, TcpFlags::SYN),
        Protocol::UDP => frame.udp(source_port, destination_port),
        Protocol::SCTP => frame.sctp(source_port, destination_port).sctp_init(0, 1, number.into()),
        _ if is_message => {
            let [kind, code] = [l4.source_port, l4.destination_port].map(|field| field.to_be_bytes()[1]);
            frame.icmp(kind, code, [high, low, 0, 0])
        }
        protocol => {
            let [kind, code] = [l4.source_port, l4.destination_port].map(|field| field.to_be_bytes()[1]);
            frame.protocol(protocol).payload(&[kind, code, 0, 0, high, low, 0, 0])
        }
    };
    frame.padded_to(60).bytes()
}

/// Returns the MAC that a frame to this address has: of the other machine, or of the group.
fn mac_towards(destination: IpAddr) -> Mac {
    match destination {
        IpAddr::V4(v4) if v4.is_broadcast() => Mac::BROADCAST,
        IpAddr::V4(v4) if v4.is_multicast() => {
            let [_, b, c, d] = v4.octets();
            Mac([1, 0, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(v6) if v6.is_multicast() => {
            let [.., a, b, c, d] = v6.octets();
            Mac([0x33, 0x33, a, b, c, d])
        }
        _ => Mac(MACS[1]),
    }
}

fn is_martian(key: &PolicyKey) -> bool {
    let is_one = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.to_ipv4_mapped().is_some(),
    };
    let is_no_source = match key.source {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    };
    // Multicast of scopes 0 and 1 leaves no machine (RFC 4291 section 2.7).
    let is_local = matches!(key.destination, IpAddr::V6(v6) if v6.is_multicast() && v6.octets()[1] & 15 <= 1);
    is_one(key.source) || is_one(key.destination) || is_no_source || is_local || key.source == key.destination
}

fn is_icmp_of_the_other_family(key: &PolicyKey) -> bool {
    key.l4.protocol == if key.source.is_ipv4() { Protocol::ICMPV6 } else { Protocol::ICMP }
}

fn is_icmp_error(key: &PolicyKey) -> bool {
    match key.l4.protocol {
        Protocol::ICMP => [3, 4, 11, 12].contains(&key.l4.source_port),
        Protocol::ICMPV6 => (1..=4).contains(&key.l4.source_port),
        _ => false,
    }
}
