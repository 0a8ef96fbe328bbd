//! A worker allocates nothing per packet: ten million packets, flows coming and going, and not one call of the allocator.
//!
//! Frames run in circles between two devices, so that the devices allocate nothing either. Simulated time runs fast
//! enough for timeouts, reports of long flows and gathered refusals to take place; the policy changes on the way.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod lab;
#[path = "lab/watched.rs"]
mod watched;

use lab::{START, authored, mac, relationship, v4, v6};
use meshgate_dataplane::assembly::{Assembly, FlowSettings};
use meshgate_dataplane::binding::{DeviceRole, Role};
use meshgate_dataplane::capture::{CaptureFilter, Drain, Limits};
use meshgate_dataplane::classifier::Compiler;
use meshgate_dataplane::config::Config;
use meshgate_dataplane::device::{BURST_FRAMES, Device, looped};
use meshgate_dataplane::packet::TcpFlags;
use meshgate_dataplane::packet::build::Frame;
use meshgate_dataplane::subscriber::Host;
use meshgate_dataplane::verdict::DropReason;
use meshgate_dataplane::worker::{Attached, DeviceTraits};
use meshgate_policy::{Name, Numbering};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use watched::calls_of;

/// Packets judged under observation.
const PACKETS: u64 = 10_000_000;
/// Packets before, until every list and table has the size that it keeps.
const WARM_UP_PACKETS: u64 = 400_000;
/// Bursts of each device until its frames begin anew: 1,024 frames circulate without being copied.
const ROUNDS: usize = 16;
/// Bursts in the life of a connection.
const LIFE_ROUNDS: usize = 8;
/// Simulated time from turn to turn.
const TURN_NS: u64 = 20_000_000;
/// Payload of a segment of data.
const PAYLOAD_BYTES: usize = 100;
/// Turns from one policy to the next.
const POLICY_TURNS: u64 = 20_000;

/// What a lane of a burst is used for.
#[derive(Clone, Copy)]
enum Lane {
    /// A connection that ends by FIN, over IPv4 or IPv6.
    Closing { is_v6: bool },
    /// A connection that is reset.
    Reset,
    /// Datagrams both ways; the flow ends by timeout, or goes on.
    Datagrams,
    /// Pings.
    Echo,
    /// Attempts that no rule allows.
    Denied,
}

fn lane(number: usize) -> Lane {
    match number {
        0..24 => Lane::Closing { is_v6: number.is_multiple_of(2) },
        24..36 => Lane::Reset,
        36..50 => Lane::Datagrams,
        50..54 => Lane::Echo,
        _ => Lane::Denied,
    }
}

/// Returns the frame of one side (0 the client's) in a round.
fn frame(side: usize, round: usize, number: usize) -> Frame {
    let ends = if side == 0 { (1, 3) } else { (3, 1) };
    let (generation, step) = (round / LIFE_ROUNDS, round % LIFE_ROUNDS);
    let client = u16::try_from(10_000 + generation * BURST_FRAMES + number).unwrap();
    let numbered = u16::try_from(step).unwrap();
    // By the sequence number a frame that came round is told from the others of its connection.
    let (sequence, acknowledgment) = numbers(side, step);
    let ports = |service| if side == 0 { (client, service) } else { (service, client) };
    let tcp = |frame: Frame, flags| {
        let (source, destination) = ports(5432);
        let frame = frame.tcp(source, destination, flags).numbers(sequence, acknowledgment, u16::MAX);
        frame.payload(&[0x55; PAYLOAD_BYTES][..if (1..4).contains(&step) { PAYLOAD_BYTES } else { 0 }])
    };
    let plain = v4(ends.0, ends.1);
    let flags = [TcpFlags::SYN, TcpFlags::ACK, TcpFlags::ACK, TcpFlags::ACK, TcpFlags::FIN | TcpFlags::ACK];
    let flags = match step {
        0 if side == 1 => TcpFlags::SYN | TcpFlags::ACK,
        _ => flags.get(step).copied().unwrap_or(TcpFlags::ACK),
    };
    match lane(number) {
        Lane::Closing { is_v6: true } => tcp(v6(ends.0, ends.1), flags),
        Lane::Closing { is_v6: false } => tcp(plain, flags),
        Lane::Reset if step == 4 => tcp(plain, TcpFlags::RST),
        Lane::Reset => tcp(plain, flags),
        Lane::Datagrams => {
            let (source, destination) = ports(53);
            plain.udp(source, destination).payload(&[u8::from(step < LIFE_ROUNDS / 2); 64])
        }
        Lane::Echo if side == 0 => plain.echo_request(client, numbered),
        Lane::Echo => plain.echo_reply(client, numbered),
        Lane::Denied => plain.tcp(client + numbered, 23, TcpFlags::SYN),
    }
}

/// Returns sequence and acknowledgment number of a side's segment in a step of its connection: SYN, three of data, FIN,
/// acknowledgments of that. Both sides send at once, the client's frame goes first.
fn numbers(side: usize, step: usize) -> (u32, u32) {
    let data_bytes = u32::try_from(PAYLOAD_BYTES).unwrap();
    let sent_before = |step: usize| match step {
        0 => 0,
        1..=4 => 1 + data_bytes * u32::try_from(step - 1).unwrap(),
        _ => 2 + 3 * data_bytes,
    };
    let came_before = if side == 0 { sent_before(step) } else { sent_before(step + 1) };
    (sent_before(step), came_before)
}

/// Returns all frames of one side.
fn frames(side: usize) -> Vec<Vec<u8>> {
    let of_round = |round| (0..BURST_FRAMES).map(move |number| frame(side, round, number).bytes());
    (0..ROUNDS).flat_map(of_round).collect()
}

fn rules(note: &str) -> String {
    let note = format!("note = \"{note}\"");
    [
        relationship("Web", "Db", &format!("{note}\nprotocol = \"TCP\"\nport_range = \"5432\""), "allow"),
        relationship("Web", "Db", "protocol = \"UDP\"\nport_range = \"53\"", "allow"),
        relationship("Web", "Db", "protocol = \"ICMP\"\nicmp_type = 8", "allow"),
    ]
    .concat()
}

/// A worker between two devices, its policies, and the time.
struct Circle {
    assembly: Assembly,
    host: Host,
    compiler: Compiler,
    numbering: Numbering,
    version: u64,
    now: u64,
    /// Records taken out of the worker's ring.
    records: u64,
}

impl Circle {
    fn new() -> Self {
        let names = ["web0", "db0"];
        let device_role = |name: &str| DeviceRole {
            name: name.to_owned(),
            role: Role::Endpoint,
            segment: Some(Name::default_name()),
            vlans: Vec::new(),
            ethertypes: Vec::new(),
        };
        let host = Host { name: Name::new("h").unwrap(), devices: names.map(device_role).into(), workers: 1 };
        let mut numbering = Numbering::default();
        let policy = authored(&rules("first"), &mut numbering, 1);
        let memory = af_xdp::UmemConfig { frames_total: 8_192, ..af_xdp::UmemConfig::default() };
        let (_umem, pools) = af_xdp::Umem::new(&memory).unwrap();
        let (one, other) = looped::pair(frames(0), frames(1)).unwrap();
        let attached = |(device, number): (looped::LoopDevice, u16)| Attached {
            device: Box::new(device) as Box<dyn Device>,
            number,
            traits: DeviceTraits { may_be_partial: true, frame_bytes_max: 1_522 },
        };
        let queues = [(one, 0), (other, 1)].map(attached).into();
        let text = "host = \"h\"\n[[device]]\nname = \"web0\"\nrole = \"endpoint\"\n";
        let mut settings = FlowSettings::of(&Config::parse(text, Path::new("circle")).unwrap());
        settings.flows_max = 1_024;
        // Frames that come round begin the same connections with the same numbers, which a connection that is just over
        // does not accept: it must have been forgotten.
        settings.tracker.timeouts.tcp_closed_ns = TURN_NS;
        settings.tracker.timeouts.tcp_last_ack_ns = TURN_NS;
        settings.tracker.timeouts.tcp_reset_ns = TURN_NS;
        let first = host.compile(&policy).unwrap();
        let assembly = Assembly::with_queues(pools, vec![queues], first, &settings, START).unwrap();
        Self { assembly, host, compiler: Compiler::default(), numbering, version: 1, now: START, records: 0 }
    }

    /// Brings the same rules into force anew, so that every flow is judged again. The worker's part is watched.
    fn publish(&mut self) -> u64 {
        self.version += 1;
        let policy = authored(&rules(&self.version.to_string()), &mut self.numbering, self.version);
        let next = self.host.compile_next(&mut self.compiler, &Arc::new(policy)).unwrap();
        let swap = self.assembly.publisher.store(next);
        let calls = self.turn();
        assert!(self.assembly.publisher.has_passed(&swap));
        self.assembly.publisher.finish(swap);
        calls
    }

    /// Lets the worker do a turn, takes its records, and returns how often it called the allocator.
    fn turn(&mut self) -> u64 {
        self.now += TURN_NS;
        let (worker, now) = (&mut self.assembly.workers[0], self.now);
        let calls = calls_of(|| _ = worker.turn(now));
        while self.assembly.queues[0].pop().is_some() {
            self.records += 1;
        }
        calls
    }

    fn received(&self) -> u64 {
        self.assembly.counters[0].devices.iter().map(|device| device.received_packets.get()).sum()
    }

    /// Works on until so many packets more were received, and returns how often the worker called the allocator.
    fn run(&mut self, packets: u64) -> u64 {
        let end = self.received() + packets;
        let (mut calls, mut turns) = (0, 0);
        while self.received() < end {
            turns += 1;
            calls += if turns % POLICY_TURNS == 1_000 { self.publish() } else { self.turn() };
            assert!(turns < packets, "the devices deliver nothing");
        }
        calls
    }
}

#[test]
fn the_allocator_is_watched() {
    assert_eq!(calls_of(|| drop(std::hint::black_box(Box::new(7)))), 2);
}

#[test]
fn ten_million_packets_allocate_nothing() {
    assert_ne!(mac(1), mac(3));
    let mut circle = Circle::new();
    circle.run(WARM_UP_PACKETS);
    let calls = circle.run(PACKETS);
    let counters = &circle.assembly.counters[0];
    // Everything that is claimed to cost no allocation did take place.
    assert!(counters.allowed.get() > PACKETS / 2, "{} allowed", counters.allowed.get());
    assert!(counters.flows_created.get() > PACKETS / 50, "{} flows", counters.flows_created.get());
    assert!(counters.dropped(DropReason::DefaultDeny) > PACKETS / 20);
    assert!(counters.flows_rejudged.get() > 100, "{} judged again", counters.flows_rejudged.get());
    assert!(circle.records > PACKETS / 100, "{} records", circle.records);
    assert_eq!(circle.records, counters.records_produced.get());
    assert_eq!(calls, 0, "calls of the allocator by the worker");
}

#[test]
fn a_capture_of_every_packet_allocates_nothing_in_the_worker() {
    let mut circle = Circle::new();
    circle.run(WARM_UP_PACKETS);
    let (mut calls, mut taken) = (0, 0);
    for _ in 0..20 {
        let limits = Limits::new(u64::from(u32::MAX) / 1_000, 1 << 30, 1_000, 128).unwrap();
        let capture = circle.assembly.captures.start(CaptureFilter::default(), limits, 2).unwrap();
        let mut drain = Drain::new(capture, Instant::now());
        for turn in 0..100 {
            calls += circle.turn();
            // For a while nobody takes anything, so that slots run out.
            if turn > 50 {
                taken += drain.batch(|packet| assert!(!packet.bytes.is_empty()));
            }
        }
        assert!(drain.counts().iter().any(|counts| counts.lost > 0));
    }
    assert!(taken > 10_000, "{taken} packets");
    assert_eq!(calls, 0, "calls of the allocator by the worker");
}
