//! Endpoints by segment and address: of each flow that is recorded, both ends are asked for.
//!
//! The same table as that of MACs ([`super::stations`]), with a hash that takes in more than 64 bits.

use super::AddressKey;
use crate::flow_table::KeyedHash;

/// The place of no endpoint.
const NOBODY: u32 = u32::MAX;

/// An address and whose it is.
#[derive(Clone, Copy, Debug)]
struct Owned {
    key: AddressKey,
    /// The endpoint's place among all.
    place: u32,
}

/// The addresses of a policy's endpoints.
#[derive(Clone)]
pub(super) struct Owners {
    /// As many as a power of two.
    owned: Box<[Owned]>,
    hash: KeyedHash,
}

impl Owners {
    /// Returns addresses with the places of their endpoints. Of two endpoints with one address the later one counts.
    pub(super) fn new(owned: &[(AddressKey, u32)]) -> Self {
        let length = (2 * owned.len()).next_power_of_two().max(2);
        let free = Owned { key: AddressKey::default(), place: NOBODY };
        let mut owners = Self { owned: vec![free; length].into(), hash: KeyedHash::random() };
        for (key, place) in owned {
            let at = owners.place_of(key);
            owners.owned[at] = Owned { key: *key, place: *place };
        }
        owners
    }

    /// Returns the place of the endpoint that owns an address.
    #[inline]
    pub(super) fn get(&self, key: &AddressKey) -> Option<usize> {
        let owned = &self.owned[self.place_of(key)];
        (owned.place != NOBODY).then_some(owned.place as usize)
    }

    /// Returns where an address stands, or would.
    #[inline]
    fn place_of(&self, key: &AddressKey) -> usize {
        let mask = self.owned.len() - 1;
        let hash = self.hash.numbers(key.0, 0, key.1.0.into());
        let mut at = usize::try_from(hash & mask as u64).unwrap_or(0);
        while self.owned[at].place != NOBODY && self.owned[at].key != *key {
            at = (at + 1) & mask;
        }
        at
    }
}

impl std::fmt::Debug for Owners {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Owners").field(&self.owned.len()).finish()
    }
}
