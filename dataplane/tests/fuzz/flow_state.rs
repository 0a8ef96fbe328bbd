//! The tracker, with its flow table, its timing wheel and the compiled policy, against a list that is searched: each
//! packet ends alike, the same flows begin and end for the same reason with the same counts, and as many are in.
//!
//! An input is a byte that says how large the table is and whether connections are taken up, then what happens: packets
//! of few tuples, time, another policy.

use super::flow_model::{End, InForce, Model, Recorded};
use super::input::Input;
use crate::lab::{self, START, authored, relationship};
use meshgate_dataplane::binding::Bindings;
use meshgate_dataplane::classifier::Classifier;
use meshgate_dataplane::counters::WorkerCounters;
use meshgate_dataplane::flow_table::{FlowTable, KeyedHash, Standing, Timeouts};
use meshgate_dataplane::meter::{Meter, RecordQueue};
use meshgate_dataplane::packet::{Checksum, Fragment, IcmpKind, IpPacket, SctpFields, TcpFields, TcpFlags};
use meshgate_dataplane::published::Published;
use meshgate_dataplane::switch::Egress;
use meshgate_dataplane::tracker::{Judged, Pickup, Tracker, TrackerConfig};
use meshgate_dataplane::verdict::Verdict;
use meshgate_policy::{L4Key, Name, Numbering, Policy, Protocol, RecordKind, SegmentId};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

/// Things that happen to one tracker.
const EVENTS_MAX: usize = 400;
/// Records between two looks, at most: every flow of a table ends and another begins.
const RECORDS_MAX: usize = 1_024;
const PICKUP_WINDOW_NS: u64 = 120_000_000_000;
const ACTIVE_REPORT_NS: u64 = 60_000_000_000;
/// How far time goes in one step. The wheel's buckets are met in the order of their times within its horizon, 12.8 s.
const STEPS_NS: [u64; 8] =
    [0, 1, 99_999_999, 100_000_000, 700_000_001, 4_999_999_999, 9_000_000_000, 10_000_000_000];
/// First sequence number of the lower and of the higher address.
const FIRST_NUMBERS: [u32; 2] = [1_000, u32::MAX - 300];

/// A policy as it was written and as workers have it.
type Rules = (Policy, Published);

/// Returns the policies that may be in force: the web asks the database, the other way round, nobody is answered.
fn policies() -> &'static [Rules] {
    static POLICIES: OnceLock<Vec<Rules>> = OnceLock::new();
    let texts = || {
        let any = |from: &str, to: &str, action| relationship(from, to, "protocol = \"any\"", action);
        let tcp = |from: &str, to: &str| relationship(from, to, "protocol = \"TCP\"", "allow");
        [
            any("Web", "Db", "allow") + &any("external", "Db", "allow"),
            any("Db", "Web", "allow") + &tcp("Web", "Db") + &any("external", "Db", "reject"),
            any("Web", "Db", "reject") + &any("Db", "any", "allow"),
        ]
    };
    POLICIES.get_or_init(|| {
        let mut numbering = Numbering::default();
        let mut rules = |(text, version): (String, u64)| {
            let policy = authored(&text, &mut numbering, version);
            let classifier = Classifier::compile(&policy).unwrap();
            let devices: Vec<_> = lab::Lab::devices().into_iter().map(|(device, _)| device).collect();
            let bindings = Bindings::build(&policy, &Name::new("h").unwrap(), &devices);
            let mut published = Published::new(&policy, classifier, bindings, 1);
            published.generation = version;
            (policy, published)
        };
        texts().into_iter().zip(1..).map(&mut rules).collect()
    })
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut pair = Pair::new(input.byte());
    for _ in 0..EVENTS_MAX {
        if input.is_empty() {
            break;
        }
        match input.byte() {
            kind @ 0..=39 => pair.wait(STEPS_NS[usize::from(kind % 8)], usize::from(kind / 8)),
            kind @ 40..=45 => pair.policy = usize::from(kind) % policies().len(),
            kind => {
                let packet = packet(kind, &mut input);
                pair.judge(&packet);
            }
        }
    }
    pair.stop();
}

/// A tracker and its model.
struct Pair {
    tracker: Tracker,
    model: Model,
    counters: Arc<WorkerCounters>,
    queue: Arc<RecordQueue>,
    policy: usize,
    now_ns: u64,
}

impl Pair {
    fn new(control: u8) -> Self {
        let flows_max = [16, 17, 32, 64][usize::from(control & 3)];
        let counters = Arc::new(WorkerCounters::new(4));
        let queue = Arc::new(RecordQueue::new(RECORDS_MAX));
        let meter = Meter::new(Arc::clone(&queue), Arc::clone(&counters), 1, START);
        let table = FlowTable::new(flows_max, KeyedHash::seeded(control.into()), START);
        let pickup = match control & 4 {
            0 => Pickup::On { window_ns: PICKUP_WINDOW_NS },
            _ => Pickup::Off,
        };
        let config =
            TrackerConfig { timeouts: Timeouts::default(), active_report_ns: ACTIVE_REPORT_NS, pickup };
        let mut tracker = Tracker::new(table, config, meter, Arc::clone(&counters), 0);
        tracker.start(START);
        let mut model = Model::new(usize::try_from(flows_max).unwrap(), START);
        model.active_report_ns = ACTIVE_REPORT_NS;
        model.pickup_until_ns = (pickup != Pickup::Off).then_some(START + PICKUP_WINDOW_NS);
        Self { tracker, model, counters, queue, policy: 0, now_ns: START }
    }

    fn judge(&mut self, ip: &IpPacket) {
        let (policy, published) = &policies()[self.policy];
        let packet = Judged {
            ip,
            segment: SegmentId::DEFAULT,
            bindings: &published.bindings,
            ingress: 0,
            egress: Egress::Device(2),
            now_ns: self.now_ns,
        };
        let place = self.tracker.locate(SegmentId::DEFAULT, ip);
        let end = match self.tracker.judge(&packet, &place, published) {
            Verdict::Allow(grounds) => End::Allow(grounds.stage, grounds.rule),
            Verdict::Drop(reason, _) => End::Drop(reason),
        };
        let in_force = InForce { policy, generation: published.generation };
        let expected = self.model.judge(&packet, packet.is_stateless(), in_force);
        assert_eq!(end, expected, "{ip:?}");
        self.tracker.hand_on();
        self.compare_records();
    }

    /// Lets time pass, the same step so many times and once.
    fn wait(&mut self, step_ns: u64, more: usize) {
        let (policy, published) = &policies()[self.policy];
        for _ in 0..=more {
            self.now_ns += step_ns;
            while self.tracker.advance(self.now_ns, published) {}
            self.model.advance(self.now_ns, InForce { policy, generation: published.generation });
            self.compare_records();
            self.compare_counts();
        }
    }

    fn compare_counts(&self) {
        let counted =
            [&self.counters.flows_live, &self.counters.flows_refused, &self.counters.flows_unconfirmed];
        let expected =
            [self.model.live(), self.model.count(Standing::Refused), self.model.count(Standing::Unconfirmed)];
        assert_eq!(
            counted.map(|count| usize::try_from(count.get()).unwrap()),
            expected,
            "live, refused, unconfirmed"
        );
    }

    fn compare_records(&mut self) {
        let expected = std::mem::take(&mut self.model.records);
        assert_eq!(self.records(), expected, "records");
    }

    /// Takes the records of flows that were made, without those of refused attempts.
    fn records(&self) -> Vec<Recorded> {
        let made = std::iter::from_fn(|| self.queue.pop());
        made.filter(|record| record.kind != RecordKind::Denied as u8)
            .map(|record| Recorded {
                kind: record.kind,
                end_reason: record.end_reason,
                ports: (record.source_port, record.destination_port),
                rule: record.rule,
                forward: (record.packets_forward, record.bytes_forward),
                reverse: (record.packets_reverse, record.bytes_reverse),
                last_ns: record.last_ns,
            })
            .collect()
    }

    fn stop(mut self) {
        self.wait(0, 0);
        self.tracker.stop(self.now_ns, &policies()[self.policy].1);
        self.model.stop();
        let (mut records, mut expected) = (self.records(), std::mem::take(&mut self.model.records));
        records.sort();
        expected.sort();
        assert_eq!(records, expected, "what was in at the end");
        self.compare_counts();
        assert_eq!(self.counters.records_lost.get(), 0);
    }
}

/// Returns a packet of one of few tuples. Most numbers are near what the other side expects.
fn packet(kind: u8, input: &mut Input<'_>) -> IpPacket {
    let ends = [(1, 3), (3, 1), (2, 3), (3, 2), (1, 2), (9, 3), (3, 9)];
    let (from, to) = ends[usize::from(kind) % ends.len()];
    let address = |number: u8| IpAddr::from([10, 0, 0, number]);
    let ports = usize::from(input.byte());
    let service = [80, 53][ports % 2];
    let client = 40_000 + u16::try_from(ports / 2 % 24).unwrap();
    let (source, destination) = if to == 3 { (client, service) } else { (service, client) };
    let mut packet = IpPacket {
        source: address(from),
        destination: address(to),
        l4: L4Key::ports(Protocol::UDP, source, destination),
        ip_bytes: 100,
        hop_limit: 64,
        fragment: Fragment::Whole,
        l4_offset: 34,
        l4_bytes: 80,
        tcp: None,
        sctp: None,
        icmp: None,
        neighbour: None,
        dhcp: None,
        membership: None,
        checksum: Checksum::Unread,
    };
    match kind {
        46..=75 => {}
        76..=85 => {
            let is_request = ports % 3 > 0;
            let id = client;
            packet.icmp =
                Some(if is_request { IcmpKind::EchoRequest { id } } else { IcmpKind::EchoReply { id } });
            packet.l4 = L4Key::icmp(Protocol::ICMP, if is_request { 8 } else { 0 }, 0);
        }
        86..=89 => {
            packet.icmp = Some(IcmpKind::Other);
            packet.l4 = L4Key::icmp(Protocol::ICMP, 13, 0);
        }
        90..=119 => {
            packet.l4.protocol = Protocol::SCTP;
            packet.sctp = Some(sctp(from < to, input));
        }
        _ => {
            packet.l4.protocol = Protocol::TCP;
            packet.tcp = Some(tcp(from < to, input));
        }
    }
    packet
}

fn tcp(is_low: bool, input: &mut Input<'_>) -> TcpFields {
    let (syn, ack, fin, rst) = (TcpFlags::SYN, TcpFlags::ACK, TcpFlags::FIN, TcpFlags::RST);
    let flags =
        input.one_of(&[syn, ack, ack, ack | TcpFlags::PSH, syn | ack, fin | ack, fin | ack, rst, rst | ack]);
    let [own, other] = if is_low { FIRST_NUMBERS } else { [FIRST_NUMBERS[1], FIRST_NUMBERS[0]] };
    let number = |first: u32, input: &mut Input<'_>| match input.byte() {
        // Far away: behind every window.
        255 => first.wrapping_add(1 << 30),
        254 => first.wrapping_sub(1 << 29),
        253 => first.wrapping_add(70_000),
        near => first.wrapping_add(near.into()),
    };
    let (sequence, acknowledgment) = (number(own, input), number(other, input));
    let payload_bytes = match input.byte() {
        bytes @ 0..=31 => u32::from(bytes),
        _ => 0,
    };
    let (window_scale, segment_bytes_max) = if flags == syn { (Some(7), Some(1_460)) } else { (None, None) };
    TcpFields {
        flags,
        sequence,
        acknowledgment,
        window: 8_000,
        window_scale,
        segment_bytes_max,
        payload_bytes,
    }
}

fn sctp(is_low: bool, input: &mut Input<'_>) -> SctpFields {
    let chunk = input.one_of(&[0, 1, 1, 2, 3, 6, 7, 8, 10, 10, 11, 14]);
    let tags = if is_low { [0, 77, 88, 99] } else { [88, 77, 0, 99] };
    let tag = if chunk == 1 { 0 } else { input.one_of(&tags) };
    let initiate_tag = match chunk {
        1 | 2 if is_low => 77,
        1 | 2 => 88,
        _ => 0,
    };
    SctpFields {
        tag,
        chunk,
        is_tag_reflected: matches!(chunk, 6 | 14) && input.byte() & 1 == 1,
        initiate_tag,
    }
}
