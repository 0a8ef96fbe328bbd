//! What is new of a flow. Records of a flow that goes on carry totals since its start; sums need what came since the
//! record before.

use hashbrown::HashMap;
use meshgate_policy::{FlowRecord, Protocol, RecordKind};

/// Flows that are remembered: as many as a table of 2^18 places holds before it doubles. Beyond that the newest are
/// summed at their end only.
pub const FLOWS_MAX: usize = (1 << 18) / 8 * 7;
/// Silence after which a flow may be forgotten when there is no room: its end was lost. Ten reports of a flow that goes
/// on, as exporters make them unless told otherwise; one that reports less often than this has flows counted again
/// where the table is full.
const FORGET_S: u32 = 600;
/// Pause between two searches for such flows: each looks at all.
const FORGET_PAUSE_S: u32 = 10;

/// TCP flags, RFC 9293 section 3.1.
pub(crate) const TCP_RST: u8 = 0x04;
pub(crate) const TCP_ACK: u8 = 0x10;

/// What a record adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Increment {
    /// Flows begun, or refused attempts.
    pub flows: u64,
    /// Flows whose far side answered for the first time, with something else than a refusal.
    pub answered: u64,
    /// Attempts that the policy refused; they are among the flows.
    pub refused: u64,
    /// Packets from the initiator.
    pub packets_forward: u64,
    /// Bytes from the initiator.
    pub bytes_forward: u64,
    /// Packets back.
    pub packets_reverse: u64,
    /// Bytes back.
    pub bytes_reverse: u64,
}

/// Why a record adds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NothingNew {
    /// It is of no known kind.
    UnknownKind,
    /// Its flow is not remembered for want of room: its end will say everything.
    NoRoom,
    /// Its flow is older than the reading: what it did before is in the sums of an earlier run.
    BeforeReading,
}

/// Tells one flow from every other of an exporter's run.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct FlowName {
    addresses: [[u8; 16]; 2],
    first_ns: u64,
    ports: [u16; 2],
    segment: u16,
    protocol: u8,
}

/// The totals of a flow at its last record.
#[derive(Clone, Copy)]
struct FlowTotal {
    packets_forward: u64,
    bytes_forward: u64,
    packets_reverse: u64,
    bytes_reverse: u64,
    /// When it was told of, seconds since 1970; good until 2106.
    heard_s: u32,
    is_answered: bool,
}

/// The totals seen last, by flow.
pub struct FlowTotals {
    seen: HashMap<FlowName, FlowTotal>,
    /// When reading began. What an older flow did before is in the sums of an earlier run.
    since_ns: u64,
    /// When flows whose ends were lost were looked for.
    forgot_s: u32,
}

impl FlowTotals {
    /// Returns totals of no flow, as of a time in nanoseconds since 1970.
    pub fn new(since_ns: u64) -> Self {
        Self { seen: HashMap::new(), since_ns, forgot_s: 0 }
    }

    /// Forgets everything: the exporter was restarted, and with it every flow.
    pub fn clear(&mut self) {
        self.seen.clear();
    }

    /// Returns how many flows are remembered.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Returns whether no flow is remembered.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Returns what the record, read at `now_s` (seconds since 1970), adds to what was seen of its flow.
    pub fn increment(&mut self, record: &FlowRecord, now_s: u64) -> Result<Increment, NothingNew> {
        let kind = record.record_kind().ok_or(NothingNew::UnknownKind)?;
        if kind == RecordKind::Denied {
            return Ok(Increment::of_refusals(record).times(record.sampling_rate));
        }
        let name = FlowName {
            addresses: [record.source, record.destination],
            first_ns: record.first_ns,
            ports: [record.source_port, record.destination_port],
            segment: record.segment,
            protocol: record.protocol,
        };
        let now_s = u32::try_from(now_s).unwrap_or(u32::MAX);
        let total = FlowTotal::of(record, now_s);
        if self.seen.len() >= FLOWS_MAX {
            self.forget(now_s);
        }
        let before = match kind {
            RecordKind::End => self.seen.remove(&name),
            _ if self.seen.len() < FLOWS_MAX => self.seen.insert(name, total),
            _ => match self.seen.get_mut(&name) {
                Some(seen) => Some(std::mem::replace(seen, total)),
                None => return Err(NothingNew::NoRoom),
            },
        };
        match before {
            Some(before) => Ok(total.since(before)),
            // A start is told once, so nobody has counted it.
            None if kind != RecordKind::Start && record.first_ns < self.since_ns => {
                Err(NothingNew::BeforeReading)
            }
            None => Ok(total.whole()),
        }
        .map(|new| new.times(record.sampling_rate))
    }

    /// Forgets the flows of which nothing was heard for long.
    fn forget(&mut self, now_s: u32) {
        if now_s.abs_diff(self.forgot_s) >= FORGET_PAUSE_S {
            self.forgot_s = now_s;
            self.seen.retain(|_, total| now_s.saturating_sub(total.heard_s) < FORGET_S);
        }
    }
}

/// Returns whether the far side sent something that is not only a refusal: of TCP, whatever is no reset, or what a
/// reset alone does not carry. A reset of a connection attempt has ACK too (RFC 9293 section 3.10.7.1).
pub(crate) fn is_answered(protocol: Protocol, packets_reverse: u64, tcp_flags_reverse: u8) -> bool {
    let resets = tcp_flags_reverse & (TCP_RST | TCP_ACK);
    let is_more_than_reset = resets != tcp_flags_reverse || resets == TCP_ACK;
    packets_reverse > 0 && (protocol != Protocol::TCP || is_more_than_reset)
}

impl FlowTotal {
    fn of(record: &FlowRecord, heard_s: u32) -> Self {
        Self {
            packets_forward: record.packets_forward,
            bytes_forward: record.bytes_forward,
            packets_reverse: record.packets_reverse,
            bytes_reverse: record.bytes_reverse,
            heard_s,
            is_answered: is_answered(record.protocol(), record.packets_reverse, record.tcp_flags_reverse),
        }
    }

    /// Returns all of a flow that was not seen before.
    fn whole(self) -> Increment {
        Increment {
            flows: 1,
            answered: self.is_answered.into(),
            refused: 0,
            packets_forward: self.packets_forward,
            bytes_forward: self.bytes_forward,
            packets_reverse: self.packets_reverse,
            bytes_reverse: self.bytes_reverse,
        }
    }

    /// Returns what came since `before`. Totals never shrink; a record that says so adds nothing.
    fn since(self, before: Self) -> Increment {
        Increment {
            flows: 0,
            answered: (self.is_answered && !before.is_answered).into(),
            refused: 0,
            packets_forward: self.packets_forward.saturating_sub(before.packets_forward),
            bytes_forward: self.bytes_forward.saturating_sub(before.bytes_forward),
            packets_reverse: self.packets_reverse.saturating_sub(before.packets_reverse),
            bytes_reverse: self.bytes_reverse.saturating_sub(before.bytes_reverse),
        }
    }
}

impl Increment {
    /// Returns what a record of refusals adds: every refused packet is an attempt.
    fn of_refusals(record: &FlowRecord) -> Self {
        Self {
            flows: record.packets_forward,
            answered: 0,
            refused: record.packets_forward,
            packets_forward: record.packets_forward,
            bytes_forward: record.bytes_forward,
            packets_reverse: record.packets_reverse,
            bytes_reverse: record.bytes_reverse,
        }
    }

    /// Returns the estimate for all flows where one in `rate` is recorded.
    fn times(self, rate: u16) -> Self {
        if rate <= 1 {
            return self;
        }
        let rate = u64::from(rate);
        Self {
            flows: self.flows.saturating_mul(rate),
            answered: self.answered.saturating_mul(rate),
            refused: self.refused.saturating_mul(rate),
            packets_forward: self.packets_forward.saturating_mul(rate),
            bytes_forward: self.bytes_forward.saturating_mul(rate),
            packets_reverse: self.packets_reverse.saturating_mul(rate),
            bytes_reverse: self.bytes_reverse.saturating_mul(rate),
        }
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        let Self { flows, answered, refused, packets_forward, bytes_forward, packets_reverse, bytes_reverse } =
            other;
        self.flows = self.flows.saturating_add(*flows);
        self.answered = self.answered.saturating_add(*answered);
        self.refused = self.refused.saturating_add(*refused);
        self.packets_forward = self.packets_forward.saturating_add(*packets_forward);
        self.bytes_forward = self.bytes_forward.saturating_add(*bytes_forward);
        self.packets_reverse = self.packets_reverse.saturating_add(*packets_reverse);
        self.bytes_reverse = self.bytes_reverse.saturating_add(*bytes_reverse);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN_ACK: u8 = 0x12;
    const RST_ACK: u8 = TCP_RST | TCP_ACK;

    fn record(kind: RecordKind, packets: u64) -> FlowRecord {
        FlowRecord {
            kind: kind as u8,
            packets_forward: packets,
            bytes_forward: packets * 100,
            ..FlowRecord::default()
        }
    }

    fn with_reply(kind: RecordKind, packets_reverse: u64, tcp_flags_reverse: u8) -> FlowRecord {
        FlowRecord { protocol: 6, packets_reverse, tcp_flags_reverse, ..record(kind, 3) }
    }

    #[test]
    fn a_flow_is_counted_once_and_its_packets_once() {
        let mut totals = FlowTotals::new(0);
        let kinds = [(RecordKind::Start, 1), (RecordKind::Active, 5), (RecordKind::End, 7)];
        let sums = kinds.map(|(kind, packets)| totals.increment(&record(kind, packets), 0).unwrap());
        assert_eq!(sums.map(|sum| sum.flows), [1, 0, 0]);
        assert_eq!(sums.map(|sum| sum.packets_forward), [1, 4, 2]);
        assert!(totals.is_empty());
    }

    #[test]
    fn the_end_of_a_flow_whose_start_was_lost_counts_all_of_it() {
        let mut totals = FlowTotals::new(0);
        let sum = totals.increment(&record(RecordKind::End, 7), 0).unwrap();
        assert_eq!((sum.flows, sum.packets_forward), (1, 7));
    }

    #[test]
    fn what_a_flow_did_before_reading_began_is_not_counted_again() {
        let mut totals = FlowTotals::new(100);
        let first = totals.increment(&with_reply(RecordKind::Active, 1_000, SYN_ACK), 0);
        assert_eq!(first, Err(NothingNew::BeforeReading));
        let sum = totals.increment(&with_reply(RecordKind::End, 1_003, SYN_ACK), 0).unwrap();
        assert_eq!((sum.flows, sum.answered, sum.packets_reverse), (0, 0, 3));
    }

    #[test]
    fn refused_attempts_are_counted_one_by_one_and_unknown_kinds_not_at_all() {
        let mut totals = FlowTotals::new(0);
        let sum = totals.increment(&record(RecordKind::Denied, 9), 0).unwrap();
        assert_eq!((sum.flows, sum.refused, sum.answered), (9, 9, 0));
        let unknown = FlowRecord { kind: 77, ..FlowRecord::default() };
        assert_eq!(totals.increment(&unknown, 0), Err(NothingNew::UnknownKind));
    }

    #[test]
    fn a_flow_is_answered_once_by_the_first_record_that_shows_it() {
        let mut totals = FlowTotals::new(0);
        let records = [
            with_reply(RecordKind::Start, 0, 0),
            with_reply(RecordKind::Active, 1, SYN_ACK),
            with_reply(RecordKind::Active, 4, SYN_ACK | 0x08),
            with_reply(RecordKind::End, 5, SYN_ACK | RST_ACK),
        ];
        let answered = records.map(|record| totals.increment(&record, 0).unwrap().answered);
        assert_eq!(answered, [0, 1, 0, 0]);
    }

    #[test]
    fn a_reset_is_no_answer_and_any_packet_of_another_protocol_is_one() {
        let answered = |record: FlowRecord| FlowTotals::new(0).increment(&record, 0).unwrap().answered;
        assert_eq!(answered(with_reply(RecordKind::End, 1, TCP_RST)), 0);
        assert_eq!(answered(with_reply(RecordKind::End, 2, RST_ACK)), 0);
        assert_eq!(answered(with_reply(RecordKind::End, 2, TCP_ACK)), 1);
        let udp = |packets| FlowRecord { protocol: 17, ..with_reply(RecordKind::End, packets, 0) };
        assert_eq!((answered(udp(0)), answered(udp(1))), (0, 1));
    }

    #[test]
    fn a_full_table_forgets_no_flow_and_says_so_of_each_new_one() {
        let mut totals = FlowTotals::new(0);
        let start = |at: u64| FlowRecord { first_ns: at, ..record(RecordKind::Start, 1) };
        (0..FLOWS_MAX as u64).for_each(|at| assert!(totals.increment(&start(at), 0).is_ok()));
        let beyond = FLOWS_MAX as u64;
        assert_eq!(totals.increment(&start(beyond), 0), Err(NothingNew::NoRoom));
        let known = FlowRecord { first_ns: 7, ..record(RecordKind::Active, 4) };
        assert_eq!(totals.increment(&known, 0).unwrap().packets_forward, 3);
        let end = FlowRecord { first_ns: beyond, ..record(RecordKind::End, 5) };
        assert_eq!(totals.increment(&end, 0).unwrap().packets_forward, 5);
        assert_eq!(totals.len(), FLOWS_MAX);
    }

    #[test]
    fn flows_whose_ends_were_lost_make_room_in_time() {
        let mut totals = FlowTotals::new(0);
        let start = |at: u64| FlowRecord { first_ns: at, ..record(RecordKind::Start, 1) };
        (0..FLOWS_MAX as u64).for_each(|at| assert!(totals.increment(&start(at), 1_000).is_ok()));
        let known = FlowRecord { first_ns: 7, ..record(RecordKind::Active, 4) };
        assert!(totals.increment(&known, 1_500).is_ok());
        assert_eq!(totals.increment(&start(u64::MAX), 1_599), Err(NothingNew::NoRoom));
        assert!(totals.increment(&start(u64::MAX), 1_609).is_ok());
        assert_eq!(totals.len(), 2);
    }
}
