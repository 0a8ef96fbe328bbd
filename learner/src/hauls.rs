//! Which endpoints carried the bytes of an hour, so that control can say between which zones: labels never leave control,
//! so what a collector tells is numbers of endpoints.
//!
//! Pairs of endpoints are many where groups are few. Beyond [`HAULS_MAX`] of them, bytes are kept under their rule and
//! group sets only, without endpoints: what is told of endpoints is bounded, and no byte is lost from the total.

use crate::flow_totals::Increment;
use crate::policies::GroupSet;
use crate::rollup::FlowSumKey;
use hashbrown::HashMap;
use meshgate_policy::FlowRecord;

/// Pairs of endpoints of one hour: as many as a table of 2^14 places holds before it doubles, 1 MiB.
pub const HAULS_MAX: usize = (1 << 14) / 8 * 7;

/// What carried bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HaulKey {
    /// Groups of the initiator's address.
    pub source_groups: GroupSet,
    /// Groups of the other address.
    pub destination_groups: GroupSet,
    /// Rule that decided; 0 = none.
    pub rule: u32,
    /// Endpoint of the initiator; 0 = none, or not told apart.
    pub source_endpoint: u32,
    /// Endpoint of the other side, likewise.
    pub destination_endpoint: u32,
}

/// Bytes of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Haul {
    /// From the initiator.
    pub bytes_forward: u64,
    /// Back.
    pub bytes_reverse: u64,
}

/// What was carried in one span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hauls {
    carried: HashMap<HaulKey, Haul>,
}

impl Hauls {
    /// Adds what a record brought under a sum's key. Whoever calls has found room for the sum: keys without endpoints are
    /// no more than those.
    pub fn add(&mut self, key: &FlowSumKey, increment: &Increment, record: &FlowRecord) {
        if increment.bytes_forward == 0 && increment.bytes_reverse == 0 {
            return;
        }
        let mut key = HaulKey {
            source_groups: GroupSet::clone(&key.source_groups),
            destination_groups: GroupSet::clone(&key.destination_groups),
            rule: key.rule,
            source_endpoint: record.source_endpoint,
            destination_endpoint: record.destination_endpoint,
        };
        if self.carried.len() >= HAULS_MAX && !self.carried.contains_key(&key) {
            key = HaulKey { source_endpoint: 0, destination_endpoint: 0, ..key };
        }
        let haul = self.carried.entry(key).or_default();
        haul.bytes_forward = haul.bytes_forward.saturating_add(increment.bytes_forward);
        haul.bytes_reverse = haul.bytes_reverse.saturating_add(increment.bytes_reverse);
    }

    /// Returns how many keys there are.
    pub fn len(&self) -> usize {
        self.carried.len()
    }

    /// Returns whether nothing was carried.
    pub fn is_empty(&self) -> bool {
        self.carried.is_empty()
    }

    /// Returns everything, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&HaulKey, &Haul)> {
        self.carried.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carry(hauls: &mut Hauls, endpoints: [u32; 2], bytes: u64) {
        let [source_endpoint, destination_endpoint] = endpoints;
        let record = FlowRecord { rule: 7, source_endpoint, destination_endpoint, ..FlowRecord::default() };
        let key = FlowSumKey::of(&record, [16].into(), [17].into());
        hauls.add(
            &key,
            &Increment { bytes_forward: bytes, bytes_reverse: 2, ..Increment::default() },
            &record,
        );
    }

    #[test]
    fn bytes_of_the_same_endpoints_add_up() {
        let mut hauls = Hauls::default();
        carry(&mut hauls, [1, 2], 10);
        carry(&mut hauls, [1, 2], 30);
        carry(&mut hauls, [2, 1], 5);
        assert_eq!(hauls.len(), 2);
        let (_, haul) = hauls.iter().find(|(key, _)| key.source_endpoint == 1).unwrap();
        assert_eq!(*haul, Haul { bytes_forward: 40, bytes_reverse: 4 });
    }

    #[test]
    fn beyond_the_bound_endpoints_are_not_told_apart_and_no_byte_is_lost() {
        let mut hauls = Hauls::default();
        let pairs = u32::try_from(HAULS_MAX).unwrap() + 500;
        (1..=pairs).for_each(|endpoint| carry(&mut hauls, [endpoint, 1], 10));
        carry(&mut hauls, [1, 1], 10);
        assert_eq!(hauls.len(), HAULS_MAX + 1);
        let total: u64 = hauls.iter().map(|(_, haul)| haul.bytes_forward).sum();
        assert_eq!(total, 10 * (u64::from(pairs) + 1));
        let (_, rest) = hauls.iter().find(|(key, _)| key.source_endpoint == 0).unwrap();
        assert_eq!(rest.bytes_forward, 5_000);
    }
}
