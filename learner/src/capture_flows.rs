//! Puts the packets of a capture together into flows.
//!
//! A flow ends after [`IDLE_NS`] of silence, and a TCP connection that was closed or reset after ten seconds. One
//! that goes on is told in parts of [`PART_NS`]: otherwise the flows that began after it would have to wait for its
//! end, since flows come out in order of their first packets. Both tables are bounded: a full one ends what was silent
//! longest, or lets out what should have waited; nothing is lost, only told in more parts or out of order.

use crate::capture::{CaptureCounts, CapturePackets, CapturedPacket};
use crate::flow_totals::{TCP_ACK, TCP_RST, is_answered};
use crate::recorded_flow::{FlowFileError, RecordedFlow};
use hashbrown::HashMap;
use meshgate_policy::Protocol;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

/// Open flows: as many as a table of 2^16 places holds before it doubles.
pub const FLOWS_MAX: usize = (1 << 16) / 8 * 7;
/// Finished flows that wait for earlier ones to end, 40 MiB.
const FINISHED_MAX: usize = 1 << 18;
/// Silence that ends a flow: two minutes, longer than the keep-alives of ordinary services.
pub const IDLE_NS: u64 = 120 * NS_PER_S;
/// Silence that ends a closed connection: its last segments may still be repeated.
const LINGER_NS: u64 = 10 * NS_PER_S;
/// How long a flow goes on before a part of it is told.
pub const PART_NS: u64 = 300 * NS_PER_S;
const NS_PER_S: u64 = 1_000_000_000;

const TCP_FIN: u8 = 0x01;
const TCP_SYN: u8 = 0x02;
/// ICMP answers and the questions they answer (RFC 792, RFC 4443).
const ICMP_ANSWERS: [(Protocol, u16, u16); 3] =
    [(Protocol::ICMP, 0, 8), (Protocol::ICMP, 14, 13), (Protocol::ICMPV6, 129, 128)];

/// One side of a flow.
type Side = (IpAddr, u16);

/// Tells one flow from every other at a time: the lower side first.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct FlowKey {
    sides: [Side; 2],
    protocol: Protocol,
}

/// A flow that may go on. Arrays hold the initiator's value first.
#[derive(Clone, Copy)]
struct OpenFlow {
    sides: [Side; 2],
    /// First packet of this part; none of a part that has not begun.
    first_ns: Option<u64>,
    last_ns: u64,
    serial: u64,
    packets: [u64; 2],
    bytes: [u64; 2],
    tcp_flags: [u8; 2],
    is_continued: bool,
    was_answered: bool,
}

/// A flow that waits for its turn: by time, then in order of beginning.
struct Finished {
    serial: u64,
    flow: RecordedFlow,
}

/// The flows of one capture.
pub struct CaptureFlows {
    packets: CapturePackets,
    open: HashMap<FlowKey, OpenFlow>,
    /// Beginnings of the open flows.
    begun: BTreeSet<(u64, u64)>,
    finished: BinaryHeap<Reverse<Finished>>,
    serial: u64,
    swept_ns: u64,
    told_ns: u64,
    error: Option<FlowFileError>,
    is_over: bool,
}

impl CaptureFlows {
    /// Reads from anything; `path` only names it in errors.
    pub fn new(path: &Path, input: impl Read + Send + 'static) -> Result<Self, FlowFileError> {
        Ok(Self {
            packets: CapturePackets::new(path, input)?,
            open: HashMap::new(),
            begun: BTreeSet::new(),
            finished: BinaryHeap::new(),
            serial: 0,
            swept_ns: 0,
            told_ns: 0,
            error: None,
            is_over: false,
        })
    }

    fn add(&mut self, packet: &CapturedPacket) {
        if packet.time_ns >= self.swept_ns + NS_PER_S {
            self.sweep(packet.time_ns);
        }
        let (sides, is_answer) = sides_of(packet);
        let [low, high] = if sides[0] <= sides[1] { sides } else { [sides[1], sides[0]] };
        let key = FlowKey { sides: [low, high], protocol: packet.protocol };
        let is_syn = packet.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN;
        if is_syn && self.open.get(&key).is_some_and(OpenFlow::is_closed) {
            self.finish(&key);
        }
        if self.open.len() >= FLOWS_MAX && !self.open.contains_key(&key) {
            self.make_room();
        }
        self.serial += 1;
        let serial = self.serial;
        let initiator_first = if is_answer { [sides[1], sides[0]] } else { sides };
        let flow = self.open.entry(key).or_insert_with(|| OpenFlow::new(initiator_first));
        if flow.first_ns.is_none() {
            flow.first_ns = Some(packet.time_ns);
            flow.serial = serial;
            self.begun.insert((packet.time_ns, serial));
        }
        flow.count(packet, usize::from(flow.sides[0] != sides[0]));
    }

    /// Ends what has been silent, and tells of what goes on.
    fn sweep(&mut self, now_ns: u64) {
        self.swept_ns = now_ns;
        let is_due = |flow: &OpenFlow| {
            let silent_ns = now_ns - flow.last_ns.min(now_ns);
            silent_ns >= if flow.is_closed() { LINGER_NS } else { IDLE_NS }
        };
        let is_long = |flow: &OpenFlow| flow.first_ns.is_some_and(|first_ns| now_ns - first_ns >= PART_NS);
        let due: Vec<FlowKey> =
            self.open.iter().filter(|(_, flow)| is_due(flow) || is_long(flow)).map(|(key, _)| *key).collect();
        for key in due {
            let Some(flow) = self.finish(&key) else { continue };
            if !is_due(&flow) {
                self.open.insert(key, flow.next_part(key.protocol));
            }
        }
    }

    /// Ends the quarter of the flows that was silent longest.
    fn make_room(&mut self) {
        let mut silent: Vec<(u64, u64, FlowKey)> =
            self.open.iter().map(|(key, flow)| (flow.last_ns, flow.serial, *key)).collect();
        let many = silent.len() / 4;
        silent.select_nth_unstable_by_key(many, |(last_ns, serial, _)| (*last_ns, *serial));
        for (_, _, key) in &silent[..many] {
            self.finish(key);
        }
    }

    /// Ends a flow and returns it as it was.
    fn finish(&mut self, key: &FlowKey) -> Option<OpenFlow> {
        let flow = self.open.remove(key)?;
        if let Some(first_ns) = flow.first_ns {
            self.begun.remove(&(first_ns, flow.serial));
            let recorded = flow.recorded(first_ns, key.protocol);
            self.finished.push(Reverse(Finished { serial: flow.serial, flow: recorded }));
        }
        Some(flow)
    }

    /// Ends everything: the capture is over.
    fn finish_all(&mut self) {
        self.is_over = true;
        let CaptureCounts { packets, other_frames, fragments, is_cut } = self.packets.counts();
        tracing::info!(packets, other_frames, fragments, is_cut, "capture read");
        let keys: Vec<FlowKey> = self.open.keys().copied().collect();
        keys.iter().for_each(|key| _ = self.finish(key));
    }

    /// Returns the next flow in order of time, once no earlier one is open.
    fn release(&mut self) -> Option<RecordedFlow> {
        let next = self.finished.peek()?.0.flow.time_ns;
        let is_first = self.begun.first().is_none_or(|(first_ns, _)| next <= *first_ns);
        if !is_first && self.finished.len() < FINISHED_MAX {
            return None;
        }
        let mut flow = self.finished.pop()?.0.flow;
        self.told_ns = self.told_ns.max(flow.time_ns);
        flow.time_ns = self.told_ns;
        Some(flow)
    }
}

impl Iterator for CaptureFlows {
    type Item = Result<RecordedFlow, FlowFileError>;

    /// Returns the next flow. An error comes after all flows that could be read; nothing follows it.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(flow) = self.release() {
                return Some(Ok(flow));
            }
            if self.is_over {
                return self.error.take().map(Err);
            }
            match self.packets.next_packet() {
                Ok(Some(packet)) => self.add(&packet),
                Ok(None) => self.finish_all(),
                Err(error) => {
                    self.error = Some(error);
                    self.finish_all();
                }
            }
        }
    }
}

/// Returns the sides of a packet, its sender first, and whether it answers a question that was not seen. ICMP has no
/// ports: both sides carry type and code of the question.
fn sides_of(packet: &CapturedPacket) -> ([Side; 2], bool) {
    let [source_port, destination_port] = packet.ports;
    if packet.protocol.is_icmp() {
        let asked = ICMP_ANSWERS
            .iter()
            .find(|(protocol, answer, _)| *protocol == packet.protocol && *answer == source_port);
        let kind = asked.map_or(source_port, |(_, _, question)| *question);
        return ([(packet.source, kind), (packet.destination, kind)], asked.is_some());
    }
    let is_answer = packet.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN | TCP_ACK;
    ([(packet.source, source_port), (packet.destination, destination_port)], is_answer)
}

impl OpenFlow {
    fn new(sides: [Side; 2]) -> Self {
        Self {
            sides,
            first_ns: None,
            last_ns: 0,
            serial: 0,
            packets: [0; 2],
            bytes: [0; 2],
            tcp_flags: [0; 2],
            is_continued: false,
            was_answered: false,
        }
    }

    fn count(&mut self, packet: &CapturedPacket, side: usize) {
        self.last_ns = packet.time_ns;
        self.packets[side] += 1;
        self.bytes[side] = self.bytes[side].saturating_add(packet.ip_bytes);
        self.tcp_flags[side] |= packet.tcp_flags;
    }

    /// Returns whether a TCP connection was reset or closed by both sides.
    fn is_closed(&self) -> bool {
        let [forward, reverse] = self.tcp_flags;
        (forward | reverse) & TCP_RST != 0 || forward & reverse & TCP_FIN != 0
    }

    fn is_answered(&self, protocol: Protocol) -> bool {
        self.was_answered || is_answered(protocol, self.packets[1], self.tcp_flags[1])
    }

    /// Returns the part that follows this one.
    fn next_part(&self, protocol: Protocol) -> Self {
        Self {
            first_ns: None,
            packets: [0; 2],
            bytes: [0; 2],
            is_continued: true,
            was_answered: self.is_answered(protocol),
            ..*self
        }
    }

    fn recorded(&self, first_ns: u64, protocol: Protocol) -> RecordedFlow {
        let [(source, source_port), (destination, destination_port)] = self.sides;
        // Codes are not kept: a service is a type.
        let destination_port = if protocol.is_icmp() { 0 } else { destination_port };
        RecordedFlow {
            protocol: Some(protocol),
            source_port: Some(source_port),
            destination_port: Some(destination_port),
            bytes_forward: Some(self.bytes[0]),
            bytes_reverse: Some(self.bytes[1]),
            packets_forward: Some(self.packets[0]),
            packets_reverse: Some(self.packets[1]),
            duration_ns: Some(self.last_ns - first_ns.min(self.last_ns)),
            answered: Some(self.is_answered(protocol) && !self.was_answered),
            is_continued: self.is_continued,
            ..RecordedFlow::between(first_ns, source, destination)
        }
    }
}

impl Finished {
    fn order(&self) -> (u64, u64) {
        (self.flow.time_ns, self.serial)
    }
}

impl PartialEq for Finished {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Finished {}

impl PartialOrd for Finished {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Finished {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    const CLIENT: [u8; 4] = [10, 0, 0, 1];
    const SERVER: [u8; 4] = [10, 0, 0, 2];
    const SECOND: u64 = NS_PER_S;

    /// Writes captures: pcap, microseconds, Ethernet.
    struct Written(Vec<u8>);

    impl Written {
        fn new() -> Self {
            let mut bytes = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
            bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
            Self(bytes)
        }

        fn packet(&mut self, time_ns: u64, frame: &[u8]) {
            let word = |value: u64| u32::try_from(value).unwrap().to_le_bytes();
            let length = frame.len() as u64;
            let head = [word(time_ns / SECOND), word(time_ns % SECOND / 1_000), word(length), word(length)];
            self.0.extend(head.concat());
            self.0.extend(frame);
        }

        fn tcp(&mut self, time_ns: u64, from: [u8; 4], flags: u8) {
            let (to, ports) = if from == CLIENT { (SERVER, (4_000, 80)) } else { (CLIENT, (80, 4_000)) };
            let mut packet =
                PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from, to, 64).tcp(ports.0, ports.1, 1, 100);
            packet = if flags & TCP_SYN != 0 { packet.syn() } else { packet };
            packet = if flags & TCP_ACK != 0 { packet.ack(1) } else { packet };
            packet = if flags & TCP_FIN != 0 { packet.fin() } else { packet };
            packet = if flags & TCP_RST != 0 { packet.rst() } else { packet };
            let mut frame = Vec::new();
            packet.write(&mut frame, &[]).unwrap();
            self.packet(time_ns, &frame);
        }

        fn udp(&mut self, time_ns: u64, source_port: u16) {
            let mut frame = Vec::new();
            let packet =
                PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(CLIENT, SERVER, 64).udp(source_port, 53);
            packet.write(&mut frame, &[0; 12]).unwrap();
            self.packet(time_ns, &frame);
        }

        fn flows(&self) -> Vec<RecordedFlow> {
            read(self.0.clone()).collect::<Result<_, _>>().unwrap()
        }
    }

    fn read(bytes: Vec<u8>) -> CaptureFlows {
        CaptureFlows::new(Path::new("a.pcap"), std::io::Cursor::new(bytes)).unwrap()
    }

    #[test]
    fn a_connection_is_one_flow_with_both_directions() {
        let mut capture = Written::new();
        capture.tcp(5 * SECOND, CLIENT, TCP_SYN);
        capture.tcp(6 * SECOND, SERVER, TCP_SYN | TCP_ACK);
        capture.tcp(7 * SECOND, CLIENT, TCP_ACK | TCP_FIN);
        capture.tcp(8 * SECOND, SERVER, TCP_ACK | TCP_FIN);
        capture.tcp(9 * SECOND, CLIENT, TCP_ACK);
        let expected = RecordedFlow {
            protocol: Some(Protocol::TCP),
            source_port: Some(4_000),
            destination_port: Some(80),
            bytes_forward: Some(120),
            bytes_reverse: Some(80),
            packets_forward: Some(3),
            packets_reverse: Some(2),
            duration_ns: Some(4 * SECOND),
            answered: Some(true),
            ..RecordedFlow::between(5 * SECOND, CLIENT.into(), SERVER.into())
        };
        assert_eq!(capture.flows(), [expected]);
    }

    #[test]
    fn the_other_format_is_read_alike() {
        let block = |kind: u32, body: &[u8]| {
            let length = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
            [&kind.to_le_bytes()[..], &length, body, &length].concat()
        };
        let mut frame = Vec::new();
        let packet =
            PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([1; 16], [2; 16], 64).icmpv6_echo_reply(1, 1);
        packet.write(&mut frame, &[0; 2]).unwrap();
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        let ticks = [0_u32.to_le_bytes(), 3_000_000_u32.to_le_bytes()].concat();
        let capture = [
            block(0x0a0d_0d0a, &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]),
            block(1, &[1, 0, 0, 0, 0, 0, 4, 0]),
            block(6, &[&[0; 4][..], &ticks, &length, &length, &frame].concat()),
        ];
        assert!(crate::capture::is_capture(&capture[0]) && frame.len().is_multiple_of(4));
        let flow = read(capture.concat()).next().unwrap().unwrap();
        let asker: IpAddr = [2_u8; 16].into();
        assert_eq!((flow.time_ns, flow.source, flow.service_port()), (3 * SECOND, asker, 128));
    }

    #[test]
    fn a_reset_is_no_answer_and_a_new_attempt_a_new_flow() {
        let mut capture = Written::new();
        for turn in 0..3 {
            capture.tcp(turn * SECOND, CLIENT, TCP_SYN);
            capture.tcp(turn * SECOND, SERVER, TCP_RST | TCP_ACK);
        }
        let flows = capture.flows();
        assert_eq!(flows.iter().map(|flow| flow.time_ns / SECOND).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(flows.iter().all(|flow| flow.answered == Some(false) && flow.packets_reverse == Some(1)));
    }

    #[test]
    fn an_answer_whose_question_was_not_seen_names_the_asker_as_source() {
        let mut capture = Written::new();
        capture.tcp(0, SERVER, TCP_SYN | TCP_ACK);
        let flow = capture.flows().remove(0);
        assert_eq!((flow.source, flow.destination_port), (CLIENT.into(), Some(80)));
        assert_eq!((flow.packets_forward, flow.packets_reverse), (Some(0), Some(1)));
    }

    #[test]
    fn flows_come_in_order_of_their_first_packets_whatever_order_they_end_in() {
        let mut capture = Written::new();
        capture.udp(0, 1_000);
        (1..200).for_each(|at| capture.udp(at * SECOND, 2_000));
        capture.udp(200 * SECOND, 3_000);
        (200..900).for_each(|at| capture.udp(at * SECOND, 2_000));
        let flows = capture.flows();
        assert!(flows.is_sorted_by_key(|flow| flow.time_ns));
        let parts: Vec<_> = flows.iter().filter(|flow| flow.source_port == Some(2_000)).collect();
        assert_eq!(parts.iter().map(|part| part.is_continued).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(parts.iter().filter_map(|part| part.packets_forward).sum::<u64>(), 899);
        assert_eq!(flows.len(), 5);
    }

    #[test]
    fn silence_ends_a_flow() {
        let mut capture = Written::new();
        [0, 60, 60 + IDLE_NS / SECOND + 1].iter().for_each(|at| capture.udp(at * SECOND, 1_000));
        assert_eq!(
            capture.flows().iter().map(|flow| flow.packets_forward).collect::<Vec<_>>(),
            [Some(2), Some(1)]
        );
    }

    #[test]
    fn a_flood_of_flows_is_bounded_and_no_packet_of_it_lost() {
        let mut capture = Written::new();
        let count = FLOWS_MAX as u64 + 5_000;
        for at in 0..count {
            let mut frame = Vec::new();
            let source = u32::try_from(at).unwrap().to_be_bytes();
            let packet = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(source, SERVER, 64).udp(9, 53);
            packet.write(&mut frame, &[]).unwrap();
            capture.packet(SECOND, &frame);
        }
        let mut flows = read(capture.0);
        let mut packets = 0;
        while let Some(flow) = flows.next() {
            packets += flow.unwrap().packets_forward.unwrap();
            assert!(flows.open.len() <= FLOWS_MAX && flows.begun.len() <= FLOWS_MAX);
        }
        assert_eq!(packets, count);
    }

    #[test]
    fn nothing_that_a_file_can_hold_is_a_panic() {
        let mut capture = Written::new();
        capture.tcp(SECOND, CLIENT, TCP_SYN);
        capture.udp(2 * SECOND, 7);
        let whole = capture.0;
        for length in 0..whole.len() {
            let Ok(flows) =
                CaptureFlows::new(Path::new("cut"), std::io::Cursor::new(whole[..length].to_vec()))
            else {
                continue;
            };
            assert!(flows.count() <= 2);
        }
        let mut state = 1_u64;
        for at in (0..whole.len()).cycle().take(20_000) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut bytes = whole.clone();
            bytes[at] = state.to_be_bytes()[0];
            bytes[usize::from(state.to_be_bytes()[1]) % whole.len()] ^= 0x80;
            if let Ok(flows) = CaptureFlows::new(Path::new("odd"), std::io::Cursor::new(bytes)) {
                assert!(flows.take(100).count() <= 4);
            }
        }
    }

    #[test]
    fn a_file_that_is_no_capture_and_a_damaged_one_are_errors_that_name_it() {
        let error = |bytes: Vec<u8>| match CaptureFlows::new(Path::new("x.pcap"), std::io::Cursor::new(bytes))
        {
            Ok(mut flows) => flows.find_map(Result::err).unwrap().to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(error(b"ts,src,dst\n".to_vec()), "x.pcap: neither a pcap nor a pcapng file");
        let mut huge = Written::new();
        huge.udp(0, 1);
        huge.0.extend([0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f]);
        huge.0.extend(vec![0; 5 << 20]);
        assert!(error(huge.0).starts_with("x.pcap: after 1 packets: "));
    }
}
