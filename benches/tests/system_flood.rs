//! A flood of SYNs from a million forged addresses, while connections carry data: none of them notices.
//!
//! `MESHGATE_FLOOD_SECONDS` sets how long it lasts (5 unless set).
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod ground;

use ground::connection::{self, Connection, LINE};
use ground::usage::Usage;
use ground::{DB, Ground, WEB, allow_tcp, relationship, rest, wait_until};
use meshgate_dataplane::packet::TcpFlags;
use meshgate_dataplane::packet::build::Frame;
use meshgate_policy::Mac;
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where the flood comes from, and the device that leads there.
const OUTSIDE: (&str, &str) = ("outside", "up-0");
/// An address there.
const OUTSIDE_ADDRESS: &str = "10.78.0.200";
/// First of the forged sources: 172.16.0.0/12 holds a million.
const SOURCES: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 0);
/// How many sources there are.
const SOURCE_COUNT: u32 = 1 << 20;
/// An odd number, whose multiples visit every source before any again, in no order that a hash could like.
const STRIDE: u32 = 0x9e37_79b1;
/// The port that everybody may reach.
const OPEN: u16 = 80;
/// The port of the connections.
const SERVED: u16 = 5_432;
/// The port of connections that begin during the flood.
const NEW: u16 = 5_433;
/// Connections that carry data.
const CONNECTIONS: usize = 100;
/// Flows that are tracked at most: a flood of a second fills the table.
const FLOWS_MAX: u64 = 65_536;
/// Time between two lines of a connection.
const ROUND: Duration = Duration::from_millis(50);
/// Longest time that a line may take there and back: some repetitions of a segment that found a ring full.
const STALL_MAX: Duration = Duration::from_secs(5);
/// Memory by which the dataplane may grow: a reply to control, not flows.
const GROWTH_KIB_MAX: u64 = 4_096;
/// Where the IPv4 header begins in a frame, where its source stands in it, and where TCP's sequence number stands.
const IP_OFFSET: usize = 14;
const SOURCE_AT: usize = 12;
const SEQUENCE_AT: usize = 24;

/// Sends SYNs until told to stop and returns how many. The sequence number is the complement of the source, so that
/// their sum, and with it the checksum, is always the same; the kernel computes that of the IP header.
fn flood(ground: &Ground, stopping: &AtomicBool) -> u64 {
    let destination: IpAddr = DB.v4().parse().unwrap();
    let frame = Frame::between(Mac([0; 6]), Mac([0; 6]))
        .ip(Ipv4Addr::UNSPECIFIED.into(), destination)
        .tcp(1_024, OPEN, TcpFlags::SYN)
        .numbers(u32::MAX, 0, 1_024)
        .bytes();
    let mut packet = frame[IP_OFFSET..].to_vec();
    ground.inside(OUTSIDE.0, || {
        let socket = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW)).unwrap();
        let mut sent = 0;
        for number in 0_u32.. {
            if stopping.load(Ordering::Acquire) {
                break;
            }
            let source = u32::from(SOURCES) + number.wrapping_mul(STRIDE) % SOURCE_COUNT;
            packet[SOURCE_AT..SOURCE_AT + 4].copy_from_slice(&source.to_be_bytes());
            packet[SEQUENCE_AT..SEQUENCE_AT + 4].copy_from_slice(&(!source).to_be_bytes());
            let address = SocketAddr::new(destination, 0);
            // A full queue loses the packet, as a wire would.
            sent += u64::from(sendto(&socket, &packet, SendFlags::empty(), &address).is_ok());
        }
        sent
    })
}

/// Has every connection carry a line there and back, all at once, and returns how long the slowest took.
fn carry_lines(connections: &mut [Connection]) -> Duration {
    let began = Instant::now();
    let mut heard = [0; LINE.len()];
    for Connection { client, .. } in &mut *connections {
        client.write_all(LINE).unwrap();
    }
    for Connection { server, .. } in &mut *connections {
        server.read_exact(&mut heard).unwrap();
        server.write_all(&heard).unwrap();
    }
    for Connection { client, .. } in connections {
        client.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, LINE);
    }
    began.elapsed()
}

/// What the connections saw of the flood.
struct Seen {
    rounds: u32,
    slowest: Duration,
    /// New connections that were tried, and that opened.
    tried: u32,
    opened: u32,
}

fn carry_until(ground: &Ground, connections: &mut [Connection], end: Instant) -> Seen {
    let mut seen = Seen { rounds: 0, slowest: Duration::ZERO, tried: 0, opened: 0 };
    while Instant::now() < end {
        let next = Instant::now() + ROUND;
        seen.slowest = seen.slowest.max(carry_lines(connections));
        seen.rounds += 1;
        if seen.rounds.is_multiple_of(10) {
            seen.tried += 1;
            seen.opened += u32::from(ground.can_connect(WEB.name, &DB.v4(), NEW));
        }
        rest(next.saturating_duration_since(Instant::now()));
    }
    seen
}

#[test]
fn a_flood_of_syns_from_a_million_sources_costs_no_connection_its_state() {
    let Some(ground) = Ground::with_endpoints("flood", &[]) else { return };
    let (place, device) = OUTSIDE;
    ground.add_stranger(place, device, &format!("{OUTSIDE_ADDRESS}/24"));
    ground.on(place, &format!("ip neighbour add {} lladdr {} dev eth0 nud permanent", DB.v4(), DB.mac()));
    let _control = ground.start_control();
    let uplink = format!("[[device]]\nname = \"{device}\"\nrole = \"uplink\"\npartial_checksums = true\n");
    let dataplane =
        ground.start_configured(&(ground.config(&format!("flows_max = {FLOWS_MAX}\nworkers = 2")) + &uplink));
    let open =
        relationship("external", "Db", &format!("protocol = \"TCP\"\nport_range = \"{OPEN}\""), "allow");
    ground.apply(&[allow_tcp("Web", "Db", SERVED), allow_tcp("Web", "Db", NEW), open].concat());
    let mut connections = connection::open(&ground, SERVED, CONNECTIONS);
    let _listener = ground.inside(DB.name, || TcpListener::bind((DB.v4(), NEW)).unwrap());
    let before = Usage::of(&dataplane).unwrap();
    let seconds = std::env::var("MESHGATE_FLOOD_SECONDS")
        .map_or(5, |text| text.parse().expect("MESHGATE_FLOOD_SECONDS: a number"));
    let stopping = AtomicBool::new(false);
    let (seen, sent) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&ground, &stopping));
        let end = Instant::now() + Duration::from_secs(seconds);
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            carry_until(&ground, &mut connections, end)
        }));
        stopping.store(true, Ordering::Release);
        let sent = flood.join().unwrap();
        (seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), sent)
    });
    let after = Usage::of(&dataplane).unwrap();
    let uptime_ns = || ground.host_status()["report"]["uptime_ns"].as_u64();
    for _ in 0..2 {
        let before = uptime_ns();
        wait_until("the next report has come", || uptime_ns() != before);
    }
    assert!(ground.counter("flows.evicted-unconfirmed") > 0, "the flood fills its share");
    let counters = [
        "flows.created",
        "flows.live",
        "flows.unconfirmed",
        "flows.evicted-unconfirmed",
        "drop.flow-table-full",
    ];
    let counted: Vec<_> = counters.map(|name| format!("{name} {}", ground.counter(name))).into();
    let Seen { rounds, slowest, tried, opened } = seen;
    println!("{sent} SYNs in {seconds} s; {}", counted.join(", "));
    println!("{CONNECTIONS} connections, {rounds} rounds, the slowest {} ms", slowest.as_millis());
    println!(
        "{opened} of {tried} new connections opened; memory {} -> {} KiB",
        before.memory_kib, after.memory_kib
    );
    assert!(slowest < STALL_MAX, "a connection stood still for {slowest:?}");
    assert!(opened > 0, "no new connection opened");
    assert!(after.memory_kib < before.memory_kib + GROWTH_KIB_MAX);
    assert!(ground.counter("flows.live") <= FLOWS_MAX);
    carry_lines(&mut connections);
    let (status, log) = dataplane.terminate();
    assert!(status.success() && log.contains("missing=0"), "{log}");
}
