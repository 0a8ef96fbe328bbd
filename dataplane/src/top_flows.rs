//! The flows that carried most, from the records that leave anyway: a worker cannot be stopped to look into its table.
//!
//! A record holds a flow's totals since its start. So keeping the flows with the largest totals needs no estimate: a
//! flow that had no place comes with all it carried when it is reported again. What is said is as old as the flow's
//! last report, and how fast it is follows from its last two. A full list is cut to its larger half, which costs two
//! steps a record, however many come; the larger half is exact. Flows that were not heard of for two reports are
//! forgotten, so that a large one that fell silent does not keep its place.
//!
//! Written by the exporter's thread, read by those that answer people; neither is a worker.

use meshgate_policy::{FlowRecord, RecordKind};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Flows that are kept; half of them for certain, which is more than anybody is shown.
const FLOWS_KEPT_MAX: usize = 2_048;
/// Nanoseconds beyond two reports after which a flow is forgotten.
const SLACK_NS: u64 = 5_000_000_000;
/// How long a flow that has ended is still shown.
const ENDED_SHOWN_NS: u64 = 10_000_000_000;

/// A flow as it was reported last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopFlow {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol number.
    pub protocol: u8,
    /// Source port or ICMP type.
    pub source_port: u16,
    /// Destination port or ICMP code.
    pub destination_port: u16,
    /// Packets since its start, both ways.
    pub packets: u64,
    /// Bytes since its start, both ways.
    pub bytes: u64,
    /// Bits a second between its last two reports.
    pub rate_bps: u64,
    /// The rule that decided; 0 = none.
    pub rule: u32,
    /// Whether it has ended.
    pub ended: bool,
    /// Time of its last packet, nanoseconds since 1970.
    pub last_ns: u64,
}

/// What tells flows apart: segment, addresses, protocol, ports, and the start, for the same may begin again.
type Key = (u16, [u8; 16], [u8; 16], u8, (u16, u16), u64);

/// The flows that carried most.
#[derive(Debug)]
pub struct TopFlows {
    flows: Mutex<HashMap<Key, TopFlow>>,
    /// How long a flow may be silent.
    silence_max_ns: u64,
}

impl TopFlows {
    /// Returns an empty list. `active_report_s` is how often a flow that goes on is reported.
    pub fn new(active_report_s: u32) -> Self {
        let silence_max_ns = u64::from(active_report_s) * 2_000_000_000 + SLACK_NS;
        Self { flows: Mutex::new(HashMap::with_capacity(FLOWS_KEPT_MAX)), silence_max_ns }
    }

    /// Takes note of records, in their order.
    pub fn note(&self, records: &[FlowRecord]) {
        let mut flows = self.lock();
        for record in records {
            if RecordKind::from_number(record.kind).is_some_and(|kind| kind != RecordKind::Denied) {
                note(&mut flows, record, self.silence_max_ns);
            }
        }
    }

    /// Returns the fastest flows, then those that carried most. `now_ns` is nanoseconds since 1970.
    pub fn largest(&self, count: usize, now_ns: u64) -> Vec<TopFlow> {
        let mut flows = self.lock();
        flows.retain(|_, flow| {
            let shown_ns = if flow.ended { ENDED_SHOWN_NS } else { self.silence_max_ns };
            now_ns.saturating_sub(flow.last_ns) <= shown_ns
        });
        let mut largest: Vec<TopFlow> = flows.values().copied().collect();
        drop(flows);
        largest.sort_unstable_by_key(|flow| {
            std::cmp::Reverse((flow.rate_bps, flow.bytes, flow.last_ns, flow.source_port))
        });
        largest.truncate(count);
        largest
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, TopFlow>> {
        // Nothing panics while it holds the lock.
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(flows: &mut HashMap<Key, TopFlow>, record: &FlowRecord, silence_max_ns: u64) {
    let ports = (record.source_port, record.destination_port);
    let key = (record.segment, record.source, record.destination, record.protocol, ports, record.first_ns);
    let mut flow = flow(record);
    if let Some(known) = flows.get_mut(&key) {
        flow.rate_bps = rate_bps(known, &flow).unwrap_or(known.rate_bps);
        *known = flow;
        return;
    }
    if flows.len() >= FLOWS_KEPT_MAX {
        // What is over or silent gives way first.
        let is_over =
            |flow: &TopFlow| flow.ended || record.last_ns.saturating_sub(flow.last_ns) > silence_max_ns;
        let worth = |flow: &TopFlow| if is_over(flow) { 0 } else { flow.bytes };
        let mut worths: Vec<(u64, Key)> = flows.iter().map(|(key, flow)| (worth(flow), *key)).collect();
        worths.select_nth_unstable(FLOWS_KEPT_MAX / 2);
        worths[..FLOWS_KEPT_MAX / 2].iter().for_each(|(_, key)| _ = flows.remove(key));
    }
    flows.insert(key, flow);
}

/// Returns the speed between two reports; none if no time lies between them.
fn rate_bps(before: &TopFlow, after: &TopFlow) -> Option<u64> {
    let span_ns = after.last_ns.checked_sub(before.last_ns).filter(|span| *span > 0)?;
    let bits = u128::from(after.bytes.saturating_sub(before.bytes)) * 8;
    u64::try_from(bits * 1_000_000_000 / u128::from(span_ns)).ok()
}

fn flow(record: &FlowRecord) -> TopFlow {
    let (source, destination) = record.addresses();
    let bytes = record.bytes_forward.saturating_add(record.bytes_reverse);
    let mut flow = TopFlow {
        source,
        destination,
        protocol: record.protocol,
        source_port: record.source_port,
        destination_port: record.destination_port,
        packets: record.packets_forward.saturating_add(record.packets_reverse),
        bytes,
        rate_bps: 0,
        rule: record.rule,
        ended: RecordKind::from_number(record.kind) == Some(RecordKind::End),
        last_ns: record.last_ns,
    };
    let start = TopFlow { bytes: 0, last_ns: record.first_ns, ..flow };
    flow.rate_bps = rate_bps(&start, &flow).unwrap_or(0);
    flow
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::address_bytes;

    const SECOND: u64 = 1_000_000_000;

    fn record(port: u16, kind: RecordKind, bytes: u64, last_s: u64) -> FlowRecord {
        FlowRecord {
            kind: kind as u8,
            source: address_bytes("10.0.0.1".parse().unwrap()),
            destination: address_bytes("10.0.0.2".parse().unwrap()),
            protocol: 6,
            source_port: port,
            destination_port: 80,
            bytes_forward: bytes,
            packets_forward: bytes / 100,
            first_ns: SECOND,
            last_ns: last_s * SECOND,
            ..FlowRecord::default()
        }
    }

    #[test]
    fn a_flow_is_as_fast_as_between_its_last_two_reports() {
        let top = TopFlows::new(60);
        top.note(&[record(1, RecordKind::Start, 100, 1), record(1, RecordKind::Active, 1_000_100, 11)]);
        assert_eq!(top.largest(10, 11 * SECOND)[0].rate_bps, 800_000);
        top.note(&[record(1, RecordKind::Active, 1_000_100, 11)]);
        assert_eq!(top.largest(10, 11 * SECOND)[0].rate_bps, 800_000, "a repeat says nothing new");
        top.note(&[record(1, RecordKind::Active, 1_000_200, 21)]);
        let flow = top.largest(10, 21 * SECOND)[0];
        assert_eq!((flow.rate_bps, flow.bytes, flow.packets), (80, 1_000_200, 10_002));
    }

    #[test]
    fn the_largest_are_kept_exactly_however_many_come() {
        let top = TopFlows::new(60);
        let flows = 5 * u16::try_from(FLOWS_KEPT_MAX).unwrap();
        // Small and large ones mixed: 7,919 is prime.
        let bytes = |port: u16| (u64::from(port) * 7_919) % u64::from(flows) + 1;
        for port in 0..flows {
            top.note(&[record(port, RecordKind::Active, bytes(port), 11)]);
        }
        let kept: Vec<u64> = top.largest(FLOWS_KEPT_MAX / 2, 11 * SECOND).iter().map(|f| f.bytes).collect();
        assert_eq!(kept.len(), FLOWS_KEPT_MAX / 2);
        let mut all: Vec<u64> = (0..flows).map(bytes).collect();
        all.sort_unstable_by_key(|bytes| std::cmp::Reverse(*bytes));
        assert_eq!(kept, all[..kept.len()]);
    }

    #[test]
    fn a_flow_that_ended_or_fell_silent_gives_way() {
        let top = TopFlows::new(60);
        top.note(&[record(1, RecordKind::End, 1 << 40, 10), record(2, RecordKind::Active, 100, 10)]);
        assert_eq!(top.largest(10, 15 * SECOND).len(), 2);
        assert_eq!(top.largest(10, 30 * SECOND).iter().map(|f| f.source_port).collect::<Vec<_>>(), [2]);
        assert_eq!(top.largest(10, 200 * SECOND), []);
    }

    #[test]
    fn refused_attempts_are_no_flows() {
        let top = TopFlows::new(60);
        top.note(&[
            record(1, RecordKind::Denied, 100, 1),
            FlowRecord { kind: 99, ..record(2, RecordKind::Start, 1, 1) },
        ]);
        assert_eq!(top.largest(10, SECOND), []);
    }
}
