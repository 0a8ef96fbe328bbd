//! Sums of flows in spans of ten seconds, a minute and an hour, under (group sets, protocol, service, verdict).
//!
//! An open bucket is handed out again and again while it grows, and a last time when it closes: control replaces what
//! it had under the same start, so that nothing is counted twice and nobody waits for the end of an hour.

use crate::flow_totals::Increment;
use crate::hauls::Hauls;
use crate::policies::GroupSet;
use hashbrown::HashMap;
use meshgate_policy::FlowRecord;
use std::collections::BTreeMap;

/// Widths of buckets, in seconds.
pub const WIDTHS_S: [u32; 3] = [10, 60, 3_600];
/// The width of the buckets that say which endpoints carried the bytes: where costs are asked for, an hour is fine enough.
pub const HAULS_WIDTH_S: u32 = 3_600;
/// Number by which records say that the flow was let pass.
const ALLOWED: u8 = 1;
/// How long a bucket stays open after its end, for records that come late.
const GRACE_S: u64 = 5;
/// Sums of one bucket: as many as a table of 2^16 places holds before it doubles, 8 MiB. Beyond that, records are
/// counted as left out.
pub const SUMS_MAX: usize = (1 << 16) / 8 * 7;
/// Sums of all open buckets: two full ones of each width, as two are open while records may still come late.
pub const SUMS_OPEN_MAX: usize = 2 * WIDTHS_S.len() * SUMS_MAX;
/// Open buckets, and closed ones that nobody has taken: ten minutes of the narrowest. Then the oldest are left out.
const BUCKETS_MAX: usize = 64;
/// Sums that are handed out at once; the bucket that goes beyond is the last one. More wait a turn.
const TAKE_SUMS: usize = SUMS_MAX;

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
    /// Which endpoints carried what was let pass; of an hour only.
    pub hauls: Hauls,
    /// Records that went into it since it was handed out.
    records: u64,
    /// Whether it grew since it was handed out.
    is_dirty: bool,
    /// When it was handed out last.
    handed_s: u64,
}

/// The open buckets.
#[derive(Default)]
pub struct Rollup {
    open: BTreeMap<(u32, u64), Bucket>,
    /// Sums in all of them.
    sums_open: usize,
    /// Records that found no room, or whose bucket nobody took; one for each width.
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
            self.add_to(width_s, if is_open { seen_s } else { now_s }, key, (increment, record));
        }
    }

    fn add_to(&mut self, width_s: u32, at_s: u64, key: &FlowSumKey, new: (&Increment, &FlowRecord)) {
        let is_full = self.sums_open >= SUMS_OPEN_MAX;
        let name = self.make(width_s, at_s);
        let bucket = self.open.entry(name).or_default();
        // Found by reference: nearly every record belongs to a sum that is there, and a key is costly to copy.
        if let Some(sum) = bucket.sums.get_mut(key) {
            sum.add(new);
        } else if is_full || bucket.sums.len() >= SUMS_MAX {
            self.records_left_out += 1;
            return;
        } else {
            let mut sum = FlowSum { first_ns: u64::MAX, ..FlowSum::default() };
            sum.add(new);
            bucket.sums.insert(key.clone(), sum);
            self.sums_open += 1;
        }
        if width_s == HAULS_WIDTH_S && key.action == ALLOWED {
            bucket.hauls.add(key, new.0, new.1);
        }
        bucket.is_dirty = true;
        bucket.records += 1;
    }

    /// Takes note of records that never came.
    pub fn add_lost(&mut self, records: u64, now_s: u64) {
        for width_s in WIDTHS_S {
            let name = self.make(width_s, now_s);
            let bucket = self.open.entry(name).or_default();
            bucket.records_lost += records;
            bucket.is_dirty = true;
        }
    }

    /// Returns the buckets that grew, and forgets those that are closed. An open one is handed out at most ten times
    /// in its life: an hour's sums are many, and copying them every second would be most of the work.
    pub fn take(&mut self, now_s: u64) -> Vec<Bucket> {
        let mut taken = Vec::new();
        let mut sums = 0;
        self.open.retain(|_, bucket| {
            let is_open = end_s(bucket.start_s, bucket.width_s) + GRACE_S > now_s;
            let is_due = !is_open || now_s >= bucket.handed_s + u64::from(bucket.width_s / 10);
            if !is_due || !bucket.is_dirty {
                return is_open;
            }
            if sums >= TAKE_SUMS {
                return true;
            }
            sums += bucket.sums.len();
            bucket.is_dirty = false;
            bucket.records = 0;
            bucket.handed_s = now_s;
            taken.push(if is_open { bucket.clone() } else { std::mem::take(bucket) });
            is_open
        });
        self.sums_open = self.open.values().map(|bucket| bucket.sums.len()).sum();
        taken
    }

    /// Makes the bucket of this width and time if there is none, and returns its name.
    fn make(&mut self, width_s: u32, at_s: u64) -> (u32, u64) {
        let name = (width_s, start_of(at_s, width_s));
        if self.open.contains_key(&name) {
            return name;
        }
        if self.open.len() >= BUCKETS_MAX
            && let Some((_, bucket)) = self.open.pop_first()
        {
            self.records_left_out += bucket.records;
            self.sums_open -= bucket.sums.len();
        }
        self.open.insert(name, Bucket { width_s, start_s: name.1, ..Bucket::default() });
        name
    }
}

impl Bucket {
    /// Returns how many entries it takes to tell of it.
    pub fn entries(&self) -> usize {
        self.sums.len() + self.hauls.len()
    }
}

impl FlowSum {
    fn add(&mut self, (increment, record): (&Increment, &FlowRecord)) {
        self.total.add(increment);
        self.first_ns = self.first_ns.min(record.first_ns);
        self.last_ns = self.last_ns.max(record.last_ns);
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
    fn an_hour_says_which_endpoints_carried_what_was_let_pass() {
        let mut rollup = Rollup::default();
        for (action, bytes_forward) in [(1, 100), (2, 7), (1, 20)] {
            let seen_ns = NOW * 1_000_000_000;
            let record = FlowRecord { action, source_endpoint: 3, last_ns: seen_ns, ..FlowRecord::default() };
            let key = FlowSumKey::of(&record, [16].into(), [17].into());
            rollup.add(&key, &Increment { bytes_forward, ..Increment::default() }, &record, NOW);
        }
        for bucket in rollup.take(NOW) {
            let hauls: Vec<_> =
                bucket.hauls.iter().map(|(key, haul)| (key.source_endpoint, haul.bytes_forward)).collect();
            assert_eq!(hauls, if bucket.width_s == HAULS_WIDTH_S { vec![(3, 120)] } else { vec![] });
        }
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

    #[test]
    fn what_nobody_takes_is_bounded_and_counted() {
        let mut rollup = Rollup::default();
        let turns = 200;
        (0..turns).for_each(|turn| add(&mut rollup, NOW + turn * 10, NOW + turn * 10));
        assert_eq!(rollup.open.len(), BUCKETS_MAX);
        let mut kept = 0;
        for _ in 0..BUCKETS_MAX {
            kept += rollup.take(NOW + 1_000_000).iter().map(flows).sum::<u64>();
        }
        assert_eq!(kept + rollup.records_left_out, turns * WIDTHS_S.len() as u64);
        assert_eq!(rollup.sums_open, 0);
    }

    #[test]
    fn full_buckets_are_handed_out_in_turns() {
        let mut rollup = Rollup::default();
        let increment = Increment { flows: 1, ..Increment::default() };
        for at in 0..u32::try_from(SUMS_MAX).unwrap() {
            let record = FlowRecord { rule: at, last_ns: NOW * 1_000_000_000, ..FlowRecord::default() };
            rollup.add(&FlowSumKey::of(&record, [].into(), [].into()), &increment, &record, NOW);
        }
        let turns: Vec<_> = std::iter::repeat_with(|| rollup.take(NOW + 10_000).len()).take(4).collect();
        assert_eq!(turns, [1, 1, 1, 0]);
    }
}
