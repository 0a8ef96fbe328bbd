//! The table of MACs that were seen on uplinks, shared by all workers.
//!
//! Fixed in size, so that a flood of invented MACs costs no memory: it can only push out others, whose frames then go
//! to all uplinks of their segment, as they did before they were learned. The hash is keyed, so that nobody outside
//! can aim at one bucket. A bucket is scanned whole; there is nothing to rehash.
//!
//! A frame may be received by one worker and its answer judged by another, so all must know what each has seen. An
//! entry is therefore one atomic word: it cannot be read half old and half new, and two workers that write the same
//! place at once leave the word of one of them, which is as true as the other. Nothing else depends on it, so all
//! accesses are relaxed.

use crate::config::DEVICES_MAX;
use meshgate_policy::{Mac, SegmentId};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Entries of one bucket: half a cache line, scanned in a row.
const WAYS: usize = 4;
/// Buckets of the table: 16,384 MACs behind the uplinks of one host, 128 KiB.
const BUCKETS: usize = 4_096;
/// Seconds after which a MAC that sent nothing is forgotten (the default of IEEE 802.1Q section 8.8.3).
pub(super) const AGE_S: u64 = 300;
/// Seconds in which the age of an entry is counted: fewer would let the count come round too soon, more would forget
/// late.
const AGE_UNIT_S: u64 = 4;
/// Bits of the count of age: it comes round after 68 minutes.
const AGE_BITS: u32 = 10;
/// Bits of the number of a device.
const DEVICE_BITS: u32 = 6;
/// Buckets of which old entries are taken out in one sweep: all of them in 32 sweeps, long before the count of age comes
/// round and an old entry would look like a new one.
const SWEEP_BUCKETS: usize = 128;

const _: () = assert!(BUCKETS.is_power_of_two() && BUCKETS.is_multiple_of(SWEEP_BUCKETS));
const _: () = assert!(DEVICES_MAX <= 1 << DEVICE_BITS);
const _: () = assert!(48 + AGE_BITS + DEVICE_BITS == 64);

/// What an entry says, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// The MAC, mixed with its segment: 48 bits. Mixing is keyed; two that look alike only share a device of the
    /// segment at hand, which is checked by who asks.
    station: u64,
    device: u16,
    /// When it was seen, in units of age, as far as the count goes.
    age: u64,
}

impl Entry {
    /// Returns an entry of a word; none of an empty one.
    fn of(word: u64) -> Option<Self> {
        let device = u16::try_from((word >> AGE_BITS) & ((1 << DEVICE_BITS) - 1)).unwrap_or(0);
        let age = word & ((1 << AGE_BITS) - 1);
        (word != 0).then_some(Self { station: word >> (AGE_BITS + DEVICE_BITS), device, age })
    }

    fn word(self) -> u64 {
        (self.station << (AGE_BITS + DEVICE_BITS)) | (u64::from(self.device) << AGE_BITS) | self.age
    }

    /// Returns how long ago it was seen, in units of age.
    fn age_at(self, now: u64) -> u64 {
        now.wrapping_sub(self.age) & ((1 << AGE_BITS) - 1)
    }

    fn is_old(self, now: u64) -> bool {
        self.age_at(now) >= AGE_S / AGE_UNIT_S
    }
}

/// Where MACs were seen last.
#[derive(Debug)]
pub struct Learned {
    buckets: Box<[[AtomicU64; WAYS]]>,
    hash: RandomState,
}

impl Default for Learned {
    fn default() -> Self {
        Self::new()
    }
}

impl Learned {
    /// Returns an empty table of the full size.
    pub fn new() -> Self {
        let buckets = std::iter::repeat_with(<[AtomicU64; WAYS]>::default).take(BUCKETS).collect();
        Self { buckets, hash: RandomState::new() }
    }

    /// Notes that the MAC was seen at the device. If its bucket is full, the entry not seen for longest gives way.
    pub(super) fn note(&self, segment: SegmentId, mac: Mac, device: u16, now_ns: u64) {
        let (bucket, station) = self.place_of(segment, mac);
        let now = units(now_ns);
        let seen = Entry { station, device, age: now };
        let entries = bucket.each_ref().map(|word| Entry::of(word.load(Relaxed)));
        let known = entries.iter().position(|entry| entry.is_some_and(|entry| entry.station == station));
        if known.is_some_and(|way| entries[way] == Some(seen)) {
            // Written only when it says something new: the line stays in the caches of all workers.
            return;
        }
        let age_of = |way: &usize| entries[*way].map_or(u64::MAX, |entry| entry.age_at(now));
        let way = known.or_else(|| (0..WAYS).max_by_key(age_of)).unwrap_or(0);
        bucket[way].store(seen.word(), Relaxed);
    }

    /// Returns the device at which the MAC was seen last, unless that was too long ago.
    pub(super) fn device_of(&self, segment: SegmentId, mac: Mac, now_ns: u64) -> Option<u16> {
        let (bucket, station) = self.place_of(segment, mac);
        let found = bucket.iter().filter_map(|word| Entry::of(word.load(Relaxed)));
        let entry = { found }.find(|entry| entry.station == station)?;
        (!entry.is_old(units(now_ns))).then_some(entry.device)
    }

    /// Takes old entries out of some buckets; `sweep` counts the calls.
    pub(super) fn sweep(&self, sweep: usize, now_ns: u64) {
        let first = sweep % (BUCKETS / SWEEP_BUCKETS) * SWEEP_BUCKETS;
        for word in self.buckets[first..first + SWEEP_BUCKETS].as_flattened() {
            let read = word.load(Relaxed);
            if Entry::of(read).is_some_and(|entry| entry.is_old(units(now_ns))) {
                // Only if nobody has written there meanwhile.
                _ = word.compare_exchange(read, 0, Relaxed, Relaxed);
            }
        }
    }

    /// Returns the bucket of a MAC and what stands for it there.
    fn place_of(&self, segment: SegmentId, mac: Mac) -> (&[AtomicU64; WAYS], u64) {
        let [a, b, c, d, e, f] = mac.0;
        let number = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let station = number ^ (self.hash.hash_one(segment.0) >> (AGE_BITS + DEVICE_BITS));
        let bucket = usize::try_from(self.hash.hash_one(station) % (BUCKETS as u64)).unwrap_or(0);
        (&self.buckets[bucket], station)
    }
}

/// Returns a time in units of age, as far as the count goes.
fn units(now_ns: u64) -> u64 {
    now_ns / 1_000_000_000 / AGE_UNIT_S % (1 << AGE_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: SegmentId = SegmentId::DEFAULT;
    const SECOND_NS: u64 = 1_000_000_000;

    fn mac(number: u32) -> Mac {
        let [a, b, c, d] = number.to_be_bytes();
        Mac([2, 1, a, b, c, d])
    }

    #[test]
    fn a_mac_is_known_until_it_ages_and_follows_its_station() {
        let table = Learned::new();
        table.note(SEGMENT, mac(1), 3, 0);
        assert_eq!(table.device_of(SEGMENT, mac(1), (AGE_S - 1) * SECOND_NS), Some(3));
        assert_eq!(table.device_of(SEGMENT, mac(1), AGE_S * SECOND_NS), None);
        assert_eq!(table.device_of(SegmentId(2), mac(1), 0), None);
        table.note(SEGMENT, mac(1), 63, SECOND_NS);
        assert_eq!(table.device_of(SEGMENT, mac(1), SECOND_NS), Some(63));
    }

    #[test]
    fn an_entry_that_was_swept_does_not_come_back_when_the_count_of_age_comes_round() {
        let round_ns = AGE_UNIT_S * (1 << AGE_BITS) * SECOND_NS;
        for is_swept in [false, true] {
            let table = Learned::new();
            table.note(SEGMENT, mac(1), 3, 0);
            if is_swept {
                (0..BUCKETS / SWEEP_BUCKETS).for_each(|sweep| table.sweep(sweep, round_ns / 2));
            }
            let known = table.device_of(SEGMENT, mac(1), round_ns);
            assert_eq!(known, (!is_swept).then_some(3), "swept: {is_swept}");
        }
    }

    #[test]
    fn a_sweep_leaves_what_is_young() {
        let table = Learned::new();
        (1..=1_000).for_each(|number| table.note(SEGMENT, mac(number), 1, 100 * SECOND_NS));
        let known =
            || (1..=1_000).filter(|n| table.device_of(SEGMENT, mac(*n), 101 * SECOND_NS).is_some()).count();
        let before = known();
        (0..BUCKETS / SWEEP_BUCKETS).for_each(|sweep| table.sweep(sweep, 101 * SECOND_NS));
        assert_eq!(known(), before);
    }

    #[test]
    fn a_flood_of_macs_costs_no_memory_and_what_was_seen_last_stays() {
        let table = Learned::new();
        let flood = u32::try_from(BUCKETS * WAYS * 4).unwrap();
        let time = |number: u32| u64::from(number) * 20 * SECOND_NS / 4_096;
        for number in 1..=flood {
            table.note(SEGMENT, mac(number), 1, time(number));
        }
        assert_eq!(table.device_of(SEGMENT, mac(flood), time(flood)), Some(1));
        let known = (1..=flood).filter(|n| table.device_of(SEGMENT, mac(*n), time(flood)).is_some()).count();
        assert!(known <= BUCKETS * WAYS && known > BUCKETS * WAYS / 2, "{known}");
    }

    #[test]
    fn what_one_worker_has_seen_all_of_them_know() {
        let table = Learned::new();
        std::thread::scope(|scope| {
            for worker in 0..4_u32 {
                let table = &table;
                scope.spawn(move || {
                    (0..500).for_each(|n| table.note(SEGMENT, mac(worker * 500 + n), 5, SECOND_NS));
                });
            }
        });
        let known = (0..2_000).filter(|n| table.device_of(SEGMENT, mac(*n), SECOND_NS) == Some(5)).count();
        assert!(known > 1_950, "{known}");
    }
}
