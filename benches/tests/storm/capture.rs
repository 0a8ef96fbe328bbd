//! What arrives at an endpoint, as tcpdump there saw it, held against the policies that could be in force.

use super::ledger::Ledger;
use crate::ground::program::Program;
use crate::ground::{Endpoint, Ground};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use meshgate_policy::{L4Key, PolicyKey, Protocol, SegmentId};
use std::net::IpAddr;
use std::path::PathBuf;

/// Bytes of a frame that are kept: all headers.
const KEPT_BYTES: usize = 128;
/// Bytes of the capture file's header and of each frame's, and of tcpdump's header for frames of any device (SLL2).
const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
const COOKED_HEADER_BYTES: usize = 20;
/// The capture file's magic number with times in nanoseconds.
const MAGIC_NS: u32 = 0xa1b2_3c4d;
/// What SLL2 says of a frame whose MAC is another machine's (PACKET_OTHERHOST).
const FOR_ANOTHER: u8 = 3;
/// Ports above this one are clients'.
const SERVICE_PORT_MAX: u16 = 20_000;

/// A running capture of all that comes in at an endpoint. Of bulk transfers it takes the first segments only.
pub struct Capture {
    endpoint: Endpoint,
    program: Program,
    file: PathBuf,
}

/// What was found in captures.
#[derive(Debug, Default)]
pub struct Found {
    /// Packets that were held against policies.
    pub judged: usize,
    /// Of those, first packets of flows.
    pub first: usize,
    /// Packets that no policy could have allowed.
    pub wrong: Vec<String>,
}

impl Capture {
    /// Starts the capture, at any device the endpoint will have, and returns when it runs.
    pub fn start(ground: &Ground, endpoint: Endpoint, bulk_port: u16) -> Self {
        let file = ground.dir.join(format!("{}.pcap", endpoint.name));
        let line = format!(
            "tcpdump -i any -y LINUX_SLL2 -Q in -Z root -n -U -s {KEPT_BYTES} -B 16384 \
             --time-stamp-precision=nano -w {} not (tcp port {bulk_port} and tcp[13] & 2 == 0)",
            file.display()
        );
        let program = ground.start(endpoint.name, &format!("tcpdump-{}", endpoint.name), &line);
        program.await_log("the capture runs", |log| log.contains("listening on"));
        Self { endpoint, program, file }
    }

    /// Ends the capture and adds what it holds.
    pub fn judge(self, ledger: &Ledger, found: &mut Found) {
        let Self { endpoint, program, file } = self;
        let (_, log) = program.terminate();
        assert!(log.contains("\n0 packets dropped by kernel"), "the capture has gaps: {log}");
        let bytes = std::fs::read(file).unwrap();
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(number(0), MAGIC_NS, "a capture with times in nanoseconds");
        let mut at = FILE_HEADER_BYTES;
        while at + RECORD_HEADER_BYTES <= bytes.len() {
            let at_ns = u64::from(number(at)) * 1_000_000_000 + u64::from(number(at + 4));
            let kept = usize::try_from(number(at + 8)).unwrap();
            at += RECORD_HEADER_BYTES;
            let frame = &bytes[at..at + kept];
            at += kept;
            let is_for_another = frame[10] == FOR_ANOTHER;
            found.judge(&frame[COOKED_HEADER_BYTES..], (endpoint, is_for_another, at_ns), ledger);
        }
    }
}

impl Found {
    /// Holds a packet that an endpoint received at a time against the policies.
    fn judge(
        &mut self,
        packet: &[u8],
        (endpoint, is_for_another, at_ns): (Endpoint, bool, u64),
        ledger: &Ledger,
    ) {
        // ARP has no IP header.
        let Ok(sliced) = LaxSlicedPacket::from_ip(packet) else { return };
        let Some(heard) = Heard::of(&sliced) else { return };
        self.judged += 1;
        self.first += usize::from(heard.is_first);
        let (key, name) = (heard.key, endpoint.name);
        let own = [endpoint.v4(), endpoint.v6()].map(|text| text.parse::<IpAddr>().unwrap());
        if is_for_another || !own.contains(&heard.destination) {
            self.wrong.push(format!("{name}: a packet for {}: {key:?}", heard.destination));
        } else if !ledger.may_allow(&key, at_ns) {
            self.wrong.push(format!("{name}: at {at_ns}: {key:?}, first packet: {}", heard.is_first));
        }
    }
}

/// A packet that a policy must allow.
struct Heard {
    destination: IpAddr,
    /// In the direction in which its flow was judged.
    key: PolicyKey,
    is_first: bool,
}

impl Heard {
    /// Returns what is to be judged of a packet; none of resets, which carry nothing, and of what belongs to the link.
    fn of(sliced: &LaxSlicedPacket<'_>) -> Option<Self> {
        let (source, destination): (IpAddr, IpAddr) = match sliced.net.as_ref()? {
            LaxNetSlice::Ipv4(ip) => {
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            LaxNetSlice::Ipv6(ip) => {
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            _ => return None,
        };
        let key =
            |source, destination, l4| PolicyKey { segment: SegmentId::DEFAULT, source, destination, l4 };
        let (protocol, from, to, is_first) = match sliced.transport.as_ref()? {
            TransportSlice::Tcp(tcp) if tcp.rst() => return None,
            TransportSlice::Tcp(tcp) => {
                (Protocol::TCP, tcp.source_port(), tcp.destination_port(), tcp.syn() && !tcp.ack())
            }
            TransportSlice::Udp(udp) => (Protocol::UDP, udp.source_port(), udp.destination_port(), true),
            // Neighbours find each other by types from 128 on; errors follow what was allowed.
            TransportSlice::Icmpv4(icmp) if icmp.type_u8() != 3 => {
                let l4 = L4Key::icmp(Protocol::ICMP, icmp.type_u8(), icmp.code_u8());
                return Some(Self { destination, key: key(source, destination, l4), is_first: true });
            }
            _ => return None,
        };
        let is_reply = !is_first && from <= SERVICE_PORT_MAX;
        let key = if is_reply {
            key(destination, source, L4Key::ports(protocol, to, from))
        } else {
            key(source, destination, L4Key::ports(protocol, from, to))
        };
        Some(Self { destination, key, is_first })
    }
}
