//! What is new of a flow. Records of a flow that goes on carry totals since its start; sums need what came since the
//! record before.

use hashbrown::HashMap;
use meshgate_policy::{FlowRecord, RecordKind};

/// Flows that are remembered. Beyond that the newest are summed at their end only.
const FLOWS_MAX: usize = 1 << 18;

/// What a record adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Increment {
    /// Flows begun, or refused attempts.
    pub flows: u64,
    /// Packets from the initiator.
    pub packets_forward: u64,
    /// Bytes from the initiator.
    pub bytes_forward: u64,
    /// Packets back.
    pub packets_reverse: u64,
    /// Bytes back.
    pub bytes_reverse: u64,
}

/// Tells one flow from every other of an exporter's run.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct FlowName {
    addresses: [[u8; 16]; 2],
    ports: [u16; 2],
    segment: u16,
    protocol: u8,
    first_ns: u64,
}

/// The totals seen last, by flow.
pub struct FlowTotals {
    seen: HashMap<FlowName, Increment>,
    /// When reading began. What an older flow did before is in the sums of an earlier run.
    since_ns: u64,
}

impl FlowTotals {
    /// Returns totals of no flow, as of a time in nanoseconds since 1970.
    pub fn new(since_ns: u64) -> Self {
        Self { seen: HashMap::new(), since_ns }
    }

    /// Forgets everything: the exporter was restarted, and with it every flow.
    pub fn clear(&mut self) {
        self.seen.clear();
    }

    /// Returns what the record adds to what was seen of its flow.
    pub fn increment(&mut self, record: &FlowRecord) -> Option<Increment> {
        let kind = record.record_kind()?;
        let total = Increment {
            flows: if kind == RecordKind::Denied { record.packets_forward } else { 1 },
            packets_forward: record.packets_forward,
            bytes_forward: record.bytes_forward,
            packets_reverse: record.packets_reverse,
            bytes_reverse: record.bytes_reverse,
        };
        if kind == RecordKind::Denied {
            return Some(total.times(record.sampling_rate));
        }
        let name = FlowName {
            addresses: [record.source, record.destination],
            ports: [record.source_port, record.destination_port],
            segment: record.segment,
            protocol: record.protocol,
            first_ns: record.first_ns,
        };
        let before = match kind {
            RecordKind::End => self.seen.remove(&name),
            _ if self.seen.contains_key(&name) || self.seen.len() < FLOWS_MAX => {
                self.seen.insert(name, total)
            }
            // No room to remember it: its end will say everything.
            _ => return None,
        };
        match before {
            Some(before) => Some(total.since(before)),
            // A start is told once, so nobody has counted it.
            None if kind != RecordKind::Start && record.first_ns < self.since_ns => None,
            None => Some(total),
        }
        .map(|new| new.times(record.sampling_rate))
    }
}

impl Increment {
    /// Returns the estimate for all flows where one in `rate` is recorded.
    fn times(self, rate: u16) -> Self {
        let rate = u64::from(rate.max(1));
        Self {
            flows: self.flows.saturating_mul(rate),
            packets_forward: self.packets_forward.saturating_mul(rate),
            bytes_forward: self.bytes_forward.saturating_mul(rate),
            packets_reverse: self.packets_reverse.saturating_mul(rate),
            bytes_reverse: self.bytes_reverse.saturating_mul(rate),
        }
    }

    /// Returns what came since `before`. Totals never shrink; a record that says so adds nothing.
    fn since(self, before: Self) -> Self {
        Self {
            flows: self.flows.saturating_sub(before.flows),
            packets_forward: self.packets_forward.saturating_sub(before.packets_forward),
            bytes_forward: self.bytes_forward.saturating_sub(before.bytes_forward),
            packets_reverse: self.packets_reverse.saturating_sub(before.packets_reverse),
            bytes_reverse: self.bytes_reverse.saturating_sub(before.bytes_reverse),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: RecordKind, packets: u64) -> FlowRecord {
        FlowRecord {
            kind: kind as u8,
            packets_forward: packets,
            bytes_forward: packets * 100,
            ..FlowRecord::default()
        }
    }

    #[test]
    fn a_flow_is_counted_once_and_its_packets_once() {
        let mut totals = FlowTotals::new(0);
        let kinds = [(RecordKind::Start, 1), (RecordKind::Active, 5), (RecordKind::End, 7)];
        let sums = kinds.map(|(kind, packets)| totals.increment(&record(kind, packets)).unwrap());
        assert_eq!(sums.map(|sum| sum.flows), [1, 0, 0]);
        assert_eq!(sums.map(|sum| sum.packets_forward), [1, 4, 2]);
        assert!(totals.seen.is_empty());
    }

    #[test]
    fn the_end_of_a_flow_whose_start_was_lost_counts_all_of_it() {
        let mut totals = FlowTotals::new(0);
        let sum = totals.increment(&record(RecordKind::End, 7)).unwrap();
        assert_eq!((sum.flows, sum.packets_forward), (1, 7));
    }

    #[test]
    fn what_a_flow_did_before_reading_began_is_not_counted_again() {
        let mut totals = FlowTotals::new(100);
        assert_eq!(totals.increment(&record(RecordKind::Active, 1_000)), None);
        let sum = totals.increment(&record(RecordKind::End, 1_003)).unwrap();
        assert_eq!((sum.flows, sum.packets_forward), (0, 3));
    }

    #[test]
    fn refused_attempts_are_counted_one_by_one_and_unknown_kinds_not_at_all() {
        let mut totals = FlowTotals::new(0);
        assert_eq!(totals.increment(&record(RecordKind::Denied, 9)).unwrap().flows, 9);
        assert_eq!(totals.increment(&FlowRecord { kind: 77, ..FlowRecord::default() }), None);
    }
}
