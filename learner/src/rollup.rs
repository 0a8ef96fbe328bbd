//! Sums of flows in spans of ten seconds, a minute and an hour, under (group sets, protocol, service, verdict).
//!
//! An open bucket is handed out again and again while it grows, and a last time when it closes: control replaces what
//! it had under the same start, so that nothing is counted twice and nobody waits for the end of an hour.

use crate::flow_totals::Increment;
use crate::policies::GroupSet;
use hashbrown::HashMap;
use meshgate_policy::FlowRecord;
use std::collections::BTreeMap;

/// Widths of buckets, in seconds.
pub const WIDTHS_S: [u32; 3] = [10, 60, 3_600];
/// How long a bucket stays open after its end, for records that come late.
const GRACE_S: u64 = 5;
/// Sums of one bucket. Beyond that, records are counted as left out.
pub const SUMS_MAX: usize = 65_536;

/// What sums are kept under.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowSumKey {
    /// Segment.
    pub segment: u16,
    /// Groups of the initiator's address.
    pub source_groups: GroupSet,
    /// Groups of the other address.
    pub destination_groups: GroupSet,
    /// Protocol number.
    pub protocol: u8,
    /// Destination port, or ICMP type.
    pub service_port: u16,
    /// 1 = allowed, 2 = denied, 3 = rejected.
    pub action: u8,
    /// Stage that decided.
    pub stage: u8,
    /// Rule that decided; 0 = none.
    pub rule: u32,
    /// First shadow rule that would have decided otherwise; 0 = none.
    pub shadow_rule: u32,
}

/// A sum and the times between which it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowSum {
    /// Flows, packets and bytes.
    pub total: Increment,
    /// First packet, nanoseconds since 1970.
    pub first_ns: u64,
    /// Last packet.
    pub last_ns: u64,
}

/// Everything of one span.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    /// Width in seconds.
    pub width_s: u32,
    /// Start, seconds since 1970.
    pub start_s: u64,
    /// Sums.
    pub sums: HashMap<FlowSumKey, FlowSum>,
    /// Records that never came, as far as is known.
    pub records_lost: u64,
    /// Whether it grew since it was handed out.
    is_dirty: bool,
    /// When it was handed out last.
    handed_s: u64,
}

/// The open buckets.
#[derive(Default)]
pub struct Rollup {
    open: BTreeMap<(u32, u64), Bucket>,
    /// Records that found their bucket full.
    pub records_left_out: u64,
}

impl FlowSumKey {
    /// Returns the key of a record whose addresses are in these groups.
    pub fn of(record: &FlowRecord, source_groups: GroupSet, destination_groups: GroupSet) -> Self {
        let service_port =
            if record.protocol().is_icmp() { record.source_port } else { record.destination_port };
        Self {
            segment: record.segment,
            source_groups,
            destination_groups,
            protocol: record.protocol,
            service_port,
            action: record.action,
            stage: record.stage,
            rule: record.rule,
            shadow_rule: record.shadow_rule,
        }
    }
}

impl Rollup {
    /// Adds what a record brought at `now_s` (seconds since 1970). A record that is late or claims the future goes
    /// where the clock is: a bucket that was closed is not opened again.
    pub fn add(&mut self, key: &FlowSumKey, increment: &Increment, record: &FlowRecord, now_s: u64) {
        let seen_s = record.last_ns / 1_000_000_000;
        for width_s in WIDTHS_S {
            let is_open = seen_s <= now_s && end_s(start_of(seen_s, width_s), width_s) + GRACE_S > now_s;
            let bucket = self.bucket(width_s, if is_open { seen_s } else { now_s });
            bucket.is_dirty = true;
            if bucket.sums.len() >= SUMS_MAX && !bucket.sums.contains_key(key) {
                self.records_left_out += 1;
                continue;
            }
            let sum = bucket
                .sums
                .entry(key.clone())
                .or_insert(FlowSum { first_ns: u64::MAX, ..FlowSum::default() });
            sum.total.add(increment);
            sum.first_ns = sum.first_ns.min(record.first_ns);
            sum.last_ns = sum.last_ns.max(record.last_ns);
        }
    }

    /// Takes note of records that never came.
    pub fn add_lost(&mut self, records: u64, now_s: u64) {
        for width_s in WIDTHS_S {
            let bucket = self.bucket(width_s, now_s);
            bucket.records_lost += records;
            bucket.is_dirty = true;
        }
    }

    /// Returns the buckets that grew, and forgets those that are closed. An open one is handed out at most ten times
    /// in its life: an hour's sums are many, and copying them every second would be most of the work.
    pub fn take(&mut self, now_s: u64) -> Vec<Bucket> {
        let mut taken = Vec::new();
        self.open.retain(|_, bucket| {
            let is_open = end_s(bucket.start_s, bucket.width_s) + GRACE_S > now_s;
            let is_due = !is_open || now_s >= bucket.handed_s + u64::from(bucket.width_s / 10);
            if is_due && std::mem::take(&mut bucket.is_dirty) {
                bucket.handed_s = now_s;
                taken.push(if is_open { bucket.clone() } else { std::mem::take(bucket) });
            }
            is_open
        });
        taken
    }

    fn bucket(&mut self, width_s: u32, at_s: u64) -> &mut Bucket {
        let start_s = start_of(at_s, width_s);
        let new = || Bucket { width_s, start_s, ..Bucket::default() };
        self.open.entry((width_s, start_s)).or_insert_with(new)
    }
}

impl Increment {
    fn add(&mut self, other: &Self) {
        self.flows = self.flows.saturating_add(other.flows);
        self.packets_forward = self.packets_forward.saturating_add(other.packets_forward);
        self.bytes_forward = self.bytes_forward.saturating_add(other.bytes_forward);
        self.packets_reverse = self.packets_reverse.saturating_add(other.packets_reverse);
        self.bytes_reverse = self.bytes_reverse.saturating_add(other.bytes_reverse);
    }
}

fn start_of(at_s: u64, width_s: u32) -> u64 {
    at_s - at_s % u64::from(width_s)
}

fn end_s(start_s: u64, width_s: u32) -> u64 {
    start_s + u64::from(width_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn add(rollup: &mut Rollup, seen_s: u64, now_s: u64) {
        let record = FlowRecord { last_ns: seen_s * 1_000_000_000, ..FlowRecord::default() };
        let key = FlowSumKey::of(&record, [16].into(), [17].into());
        rollup.add(&key, &Increment { flows: 1, ..Increment::default() }, &record, now_s);
    }

    fn flows(bucket: &Bucket) -> u64 {
        bucket.sums.values().map(|sum| sum.total.flows).sum()
    }

    #[test]
    fn a_record_goes_into_one_bucket_of_each_width() {
        let mut rollup = Rollup::default();
        add(&mut rollup, NOW, NOW);
        let taken = rollup.take(NOW);
        assert_eq!(taken.iter().map(|bucket| bucket.width_s).collect::<Vec<_>>(), WIDTHS_S);
        assert!(taken.iter().all(|bucket| flows(bucket) == 1 && bucket.start_s <= NOW));
    }

    #[test]
    fn an_open_bucket_is_handed_out_whole_each_time_it_grew() {
        let mut rollup = Rollup::default();
        add(&mut rollup, NOW, NOW);
        assert_eq!(flows(&rollup.take(NOW)[0]), 1);
        assert!(rollup.take(NOW).is_empty());
        add(&mut rollup, NOW, NOW);
        let again = rollup.take(NOW + 1);
        assert_eq!((again.len(), flows(&again[0])), (1, 2));
        assert_eq!(rollup.take(NOW + 6)[0].width_s, 60);
    }

    #[test]
    fn a_late_record_goes_where_the_clock_is_once_its_bucket_closed() {
        let mut rollup = Rollup::default();
        add(&mut rollup, NOW, NOW);
        rollup.take(NOW + 60);
        add(&mut rollup, NOW, NOW + 60);
        let ten_seconds: Vec<_> = rollup.take(NOW + 60).into_iter().filter(|b| b.width_s == 10).collect();
        assert_eq!(ten_seconds[0].start_s, NOW + 60);
    }

    #[test]
    fn a_full_bucket_counts_what_it_leaves_out() {
        let mut rollup = Rollup::default();
        let increment = Increment { flows: 1, ..Increment::default() };
        for at in 0..=u32::try_from(SUMS_MAX).unwrap() {
            let record = FlowRecord { rule: at, last_ns: NOW * 1_000_000_000, ..FlowRecord::default() };
            rollup.add(&FlowSumKey::of(&record, [].into(), [].into()), &increment, &record, NOW);
        }
        assert_eq!(rollup.records_left_out, WIDTHS_S.len() as u64);
        assert_eq!(rollup.take(NOW)[0].sums.len(), SUMS_MAX);
    }
}
