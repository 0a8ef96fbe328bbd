//! The packet generator's frames: read back from files that it writes instead of sending, and from a real device.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod ground;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use ground::Ground;
use meshgate_dataplane::device::pcap::{CaptureReader, PcapWriter};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

const PKTGEN: &str = env!("CARGO_BIN_EXE_meshgate-pktgen");
const RECEIVER: &str = "--destination-mac 02:00:00:00:00:02";

/// A file of a test, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("mgpktgen-{}-{name}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Returns whether it went well, and all that was said.
fn pktgen(line: &str) -> (bool, String) {
    let output = Command::new(PKTGEN).args(line.split_whitespace()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn frames_of(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = CaptureReader::open(path).unwrap();
    let (mut frames, mut bytes) = (Vec::new(), Vec::new());
    while reader.next_frame(&mut bytes).is_some() {
        frames.push(bytes.clone());
    }
    frames
}

/// Returns so many frames that would be sent.
fn written(name: &str, count: usize, line: &str) -> Vec<Vec<u8>> {
    let file = Scratch::new(name);
    let (is_well, said) = pktgen(&format!("--write {} --packets {count} {line}", file.0.display()));
    assert!(is_well, "{said}");
    let frames = frames_of(&file.0);
    assert_eq!(frames.len(), count);
    frames
}

/// Addresses, whether it is TCP, ports.
type Tuple = (IpAddr, IpAddr, bool, u16, u16);

/// Reads a frame with somebody else's eyes, checks both checksums and returns its flow and whether it is a SYN.
fn checked(frame: &[u8]) -> (Tuple, bool) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let (source, destination): (IpAddr, IpAddr) = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            (header.source_addr().into(), header.destination_addr().into())
        }
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        other => panic!("{other:?}"),
    };
    let expected = |header: etherparse::TransportHeader, payload: &[u8]| match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let (source, destination) = (source.octets(), destination.octets());
            match header {
                etherparse::TransportHeader::Tcp(tcp) => {
                    tcp.calc_checksum_ipv4_raw(source, destination, payload)
                }
                etherparse::TransportHeader::Udp(udp) => {
                    udp.calc_checksum_ipv4_raw(source, destination, payload)
                }
                other => panic!("{other:?}"),
            }
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let (source, destination) = (source.octets(), destination.octets());
            match header {
                etherparse::TransportHeader::Tcp(tcp) => {
                    tcp.calc_checksum_ipv6_raw(source, destination, payload)
                }
                etherparse::TransportHeader::Udp(udp) => {
                    udp.calc_checksum_ipv6_raw(source, destination, payload)
                }
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    };
    match packet.transport.as_ref().unwrap() {
        TransportSlice::Tcp(tcp) => {
            let sum = expected(etherparse::TransportHeader::Tcp(tcp.to_header()), tcp.payload()).unwrap();
            // Zero has two forms, and a receiver takes both for one.
            assert!(tcp.checksum() == sum || (tcp.checksum(), sum) == (0xffff, 0), "{frame:02x?}");
            ((source, destination, true, tcp.source_port(), tcp.destination_port()), tcp.syn())
        }
        TransportSlice::Udp(udp) => {
            let sum = expected(etherparse::TransportHeader::Udp(udp.to_header()), udp.payload()).unwrap();
            assert_eq!(udp.checksum(), sum);
            ((source, destination, false, udp.source_port(), udp.destination_port()), false)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn frames_of_both_families_are_right_and_of_as_many_flows_as_told() {
    let ranges =
        "--sources 10.0.0.1-10.0.0.9,fd00::1-fd00::9 --destinations 10.0.1.1-10.0.1.9,fd01::1-fd01::9";
    let line = format!("{RECEIVER} {ranges} --ports 80-99 --tcp 40 --flows 500 --size imix --seed 5");
    let frames = written("families", 4_000, &line);
    let mut times: HashMap<Tuple, u32> = HashMap::new();
    for frame in &frames {
        assert_eq!(frame[..6], [2, 0, 0, 0, 0, 2]);
        let (flow, is_syn) = checked(frame);
        assert!(!is_syn && (80..=99).contains(&flow.4), "{flow:?}");
        *times.entry(flow).or_default() += 1;
    }
    assert_eq!(times.len(), 500);
    assert!(times.values().all(|times| *times == 8), "each flow comes once in each round");
    let tcp = times.keys().filter(|flow| flow.2).count();
    assert!((150..=250).contains(&tcp), "{tcp} of 500 flows are TCP");
    assert!(times.keys().any(|flow| flow.0.is_ipv4()) && times.keys().any(|flow| flow.0.is_ipv6()));
    assert_eq!(frames, written("families-again", 4_000, &line));
}

#[test]
fn an_internet_mix_has_its_shares() {
    let frames = written("imix", 12_000, &format!("{RECEIVER} --size imix"));
    let count = |bytes: usize| frames.iter().filter(|frame| frame.len() == bytes).count();
    // Without the four bytes of the check sequence.
    assert_eq!([60, 566, 1_514].map(count), [7_000, 4_000, 1_000]);
}

#[test]
fn new_flows_have_their_share_and_none_comes_twice() {
    let line = format!("{RECEIVER} --flows 100 --new-flows 25 --tcp 50 --size 128");
    // More than a cycle, so that ports change.
    let frames = written("new", 200_000, &line);
    let (mut staying, mut new, mut syns) = (HashSet::new(), HashSet::new(), 0);
    for frame in &frames {
        let (flow, is_syn) = checked(frame);
        assert_eq!(frame.len(), 124);
        if flow.3 < 0x8000 {
            staying.insert(flow);
        } else {
            assert!(new.insert(flow), "{flow:?} comes twice");
            syns += usize::from(is_syn);
        }
    }
    assert_eq!((staying.len(), new.len()), (100, 50_000));
    assert!((24_000..26_000).contains(&syns), "{syns}: half of the new flows are TCP, and begin with a SYN");
}

/// Writes a capture of frames of which some are no packets at all, and returns them.
fn capture(path: &Path) -> Vec<Vec<u8>> {
    let frames: Vec<Vec<u8>> = (0..50usize)
        .map(|at| (0..14 + at * 67).map(|byte| u8::try_from((byte * 7 + at) % 256).unwrap()).collect())
        .collect();
    let writer = PcapWriter::create(path).unwrap();
    frames.iter().for_each(|frame| writer.write(0, frame));
    writer.flush().unwrap();
    frames
}

#[test]
fn a_capture_comes_out_byte_for_byte_and_with_other_macs_only_if_told() {
    let file = Scratch::new("capture-in");
    let frames = capture(&file.0);
    let line = format!("--capture {}", file.0.display());
    let twice = [frames.clone(), frames.clone()].concat();
    assert_eq!(written("capture-out", 100, &line), twice);
    let rewritten = written("capture-macs", 50, &format!("{line} {RECEIVER} --source-mac 02:00:00:00:00:01"));
    for (before, after) in frames.iter().zip(&rewritten) {
        assert_eq!(after[..12], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
        assert_eq!(after[12..], before[12..]);
    }
}

#[test]
fn frames_that_cannot_be_sent_are_counted() {
    let file = Scratch::new("capture-unfit");
    let writer = PcapWriter::create(&file.0).unwrap();
    [10, 60, 9_000].iter().for_each(|bytes| writer.write(0, &vec![1; *bytes]));
    writer.flush().unwrap();
    let out = Scratch::new("capture-unfit-out");
    let line = format!("--capture {} --write {} --packets 1", file.0.display(), out.0.display());
    let (is_well, said) = pktgen(&line);
    assert!(is_well && said.contains("2 too short or too long"), "{said}");
}

#[test]
fn wrong_arguments_are_named() {
    let refused = |line: &str, named: &str| {
        let (is_well, said) = pktgen(line);
        assert!(!is_well && said.contains(named), "{line}: {said}");
    };
    refused(RECEIVER, "DEVICE");
    refused("eth0", "--destination-mac");
    refused(&format!("eth0 {RECEIVER} --size 63"), "--size");
    refused(&format!("eth0 {RECEIVER} --sources 10.0.0.9-10.0.0.1"), "10.0.0.9-10.0.0.1");
    refused(&format!("eth0 {RECEIVER} --ports 9-x"), "--ports");
    refused(&format!("eth0 {RECEIVER} --rate 0"), "--rate");
    refused(&format!("no-such0 {RECEIVER}"), "no-such0");
    let out = Scratch::new("refused");
    let write = format!("--write {} --packets 1 {RECEIVER}", out.0.display());
    refused(&format!("{write} --sources 10.0.0.1 --destinations fd00::1"), "family");
    refused(&format!("{write} --sources 10.0.0.1 --destinations 10.0.0.2 --flows 20000"), "20000 flows");
    refused(&format!("{write} --ports 9-8"), "9-8");
    refused(&format!("{write} --flows 0"), "nothing to send");
    refused(&format!("{write} --capture /no/such/file"), "/no/such/file");
    refused(&format!("--write {} {RECEIVER}", out.0.display()), "--packets");
}

/// Joins two devices in one namespace.
fn pair(ground: &Ground) {
    ground.on("host", "ip link add here type veth peer name there");
    ["here", "there"].iter().for_each(|device| _ = ground.on("host", &format!("ip link set {device} up")));
}

#[test]
fn what_is_sent_arrives_as_written_at_a_rate() {
    let Some(ground) = Ground::new("pktgen", &["tcpdump", "ethtool"]) else { return };
    pair(&ground);
    ground.on("host", "ethtool -K there gro on");
    let file = ground.dir.join("arrived.pcap");
    // Without privileges given up: the folder is root's.
    let watching = format!("tcpdump -Z root -U -i there -Q in -c 3000 -w {}", file.display());
    let watcher = ground.start("host", "tcpdump", &watching);
    watcher.await_log("it listens", |log| log.contains("listening"));
    let line =
        format!("{RECEIVER} --source-mac 02:00:00:00:00:01 --flows 0 --new-flows 100 --tcp 50 --size imix");
    ground.on("host", &format!("{PKTGEN} here {line} --packets 3000 --rate 20000"));
    watcher.await_log("all arrived", |log| log.contains("3000 packets captured"));
    let cycle = written("sent", 3_000, &line);
    let arrived = frames_of(&file);
    assert_eq!(arrived.len(), 3_000);
    for (at, (arrived, sent)) in arrived.iter().zip(&cycle).enumerate() {
        assert!(arrived == sent, "frame {at}: {arrived:02x?} instead of {sent:02x?}");
    }
}

#[test]
fn what_arrives_is_counted_where_it_arrives() {
    let Some(ground) = Ground::new("pktgencount", &[]) else { return };
    pair(&ground);
    let said =
        ground.on("host", &format!("{PKTGEN} here {RECEIVER} --packets 5000 --rate 50000 --drop-at there"));
    assert!(
        said.contains("sent 5000 frames") && said.contains("arrived: 5000, counted and dropped"),
        "{said}"
    );
    // Nobody takes what goes to a device that is neither watched nor merges frames: nothing is said to have arrived.
    let said = ground.on("host", &format!("{PKTGEN} here {RECEIVER} --packets 5000 --rate 50000"));
    assert!(said.contains("sent 5000 frames") && said.contains("arrived: 0,"), "{said}");
}
