//! The table of MACs that were seen on uplinks.
//!
//! Fixed in size, so that a flood of invented MACs costs no memory: it can only push out others, whose frames then go
//! to all uplinks of their segment, as they did before they were learned. The hash is keyed, so that nobody outside
//! can aim at one bucket. A bucket is scanned whole; there is nothing to rehash.

use meshgate_policy::{Mac, SegmentId};
use std::hash::{BuildHasher, RandomState};

/// Entries of one bucket: scanned in a row, 96 bytes.
const WAYS: usize = 4;
/// Buckets of the table: 16,384 MACs behind the uplinks of one host, 1.5 MiB a worker.
const BUCKETS: usize = 4_096;
/// Seconds after which a MAC that sent nothing is forgotten (the default of IEEE 802.1Q section 8.8.3).
pub(super) const AGE_S: u64 = 300;
/// Nanoseconds of the same time.
const AGE_NS: u64 = AGE_S * 1_000_000_000;

const _: () = assert!(BUCKETS.is_power_of_two());

/// One MAC, or none if `mac` is all zero, which no frame comes from.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    mac: Mac,
    segment: SegmentId,
    device: u16,
    seen_ns: u64,
}

/// Where MACs were seen last.
#[derive(Debug)]
pub(super) struct Learned {
    buckets: Box<[[Entry; WAYS]]>,
    hash: RandomState,
}

impl Learned {
    /// Returns an empty table of the full size.
    pub(super) fn new() -> Self {
        Self { buckets: vec![[Entry::default(); WAYS]; BUCKETS].into(), hash: RandomState::new() }
    }

    /// Notes that the MAC was seen at the device. If its bucket is full, the entry not seen for longest gives way.
    pub(super) fn note(&mut self, segment: SegmentId, mac: Mac, device: u16, now_ns: u64) {
        let bucket = self.bucket_of(segment, mac);
        let entries = &mut self.buckets[bucket];
        let known = entries.iter().position(|entry| entry.mac == mac && entry.segment == segment);
        let oldest = || (0..WAYS).min_by_key(|way| entries[*way].seen_ns).unwrap_or(0);
        let way = known.unwrap_or_else(oldest);
        entries[way] = Entry { mac, segment, device, seen_ns: now_ns };
    }

    /// Returns the device at which the MAC was seen last, unless that was too long ago.
    pub(super) fn device_of(&self, segment: SegmentId, mac: Mac, now_ns: u64) -> Option<u16> {
        let entries = &self.buckets[self.bucket_of(segment, mac)];
        let entry = entries.iter().find(|entry| entry.mac == mac && entry.segment == segment)?;
        (now_ns.saturating_sub(entry.seen_ns) < AGE_NS).then_some(entry.device)
    }

    fn bucket_of(&self, segment: SegmentId, mac: Mac) -> usize {
        let hash = self.hash.hash_one((segment.0, mac.0));
        usize::try_from(hash % (BUCKETS as u64)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: SegmentId = SegmentId::DEFAULT;

    fn mac(number: u32) -> Mac {
        let [a, b, c, d] = number.to_be_bytes();
        Mac([2, 1, a, b, c, d])
    }

    #[test]
    fn a_mac_is_known_until_it_ages_and_follows_its_station() {
        let mut table = Learned::new();
        table.note(SEGMENT, mac(1), 3, 10);
        assert_eq!(table.device_of(SEGMENT, mac(1), 10 + AGE_NS - 1), Some(3));
        assert_eq!(table.device_of(SEGMENT, mac(1), 10 + AGE_NS), None);
        assert_eq!(table.device_of(SegmentId(2), mac(1), 10), None);
        table.note(SEGMENT, mac(1), 4, 11);
        assert_eq!(table.device_of(SEGMENT, mac(1), 12), Some(4));
    }

    #[test]
    fn a_flood_of_macs_costs_no_memory_and_what_was_seen_last_stays() {
        let mut table = Learned::new();
        let flood = u32::try_from(BUCKETS * WAYS * 4).unwrap();
        for number in 1..=flood {
            table.note(SEGMENT, mac(number), 1, number.into());
        }
        assert_eq!(table.buckets.len(), BUCKETS);
        assert_eq!(table.device_of(SEGMENT, mac(flood), flood.into()), Some(1));
        let known = (1..=flood).filter(|n| table.device_of(SEGMENT, mac(*n), flood.into()).is_some()).count();
        assert!(known <= BUCKETS * WAYS && known > BUCKETS * WAYS / 2, "{known}");
    }
}
