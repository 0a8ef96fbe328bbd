//! What a ring is made of, checked once: the host's name, the number of slots, and the limits on both.

use crate::error::CreateError;

/// Longest name of an observer host, in bytes; the same limit as every name of the policy.
pub const HOST_NAME_BYTES_MAX: usize = 63;

/// Fewest slots of a ring: two publications' worth, so that a consumer can work on one while the other fills.
pub const SLOTS_MIN: u64 = 2 * PUBLISH_EVERY_OFFERS as u64;

/// Most slots of a ring; at the product's 128-byte records this is 2 GiB.
pub const SLOTS_MAX: u64 = 1 << 24;

/// Most bytes that all slots together may occupy. A consumer maps this much on a stranger's word, but never more.
pub const SLOT_BYTES_MAX: u64 = 4 << 30;

/// Largest record; the page size, so that a record is never worth a ring of its own.
pub const RECORD_BYTES_MAX: usize = 4096;

/// Offers after which the head is published without being asked. The cache line that both halves share then moves
/// once per 32 records instead of once per record.
pub const PUBLISH_EVERY_OFFERS: u32 = 32;

/// The name of the host on which the producer runs: 1 to 63 characters of `[A-Za-z0-9._-]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostName(String);

impl HostName {
    /// Accepts `name`, or refuses it by name.
    pub fn new(name: &str) -> Result<Self, CreateError> {
        Self::from_bytes(name.as_bytes())
            .ok_or_else(|| CreateError::HostName { name: name.to_owned(), max: HOST_NAME_BYTES_MAX })
    }

    /// Accepts bytes from shared memory; returns nothing when they are not a name.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let permitted = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        let length_fits = (1..=HOST_NAME_BYTES_MAX).contains(&bytes.len());
        if !length_fits || !bytes.iter().all(permitted) {
            return None;
        }
        String::from_utf8(bytes.to_vec()).ok().map(Self)
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the producer decides about a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingConfig {
    /// Number of slots, a power of two from [`SLOTS_MIN`] to [`SLOTS_MAX`].
    pub slots: u64,
    /// The observer host, which stands once in the header instead of in every record.
    pub host: HostName,
    /// Distinguishes this run of the producer from every other run on this host; the start time in nanoseconds will do.
    pub epoch: u64,
    /// Version of the record's layout, which belongs to the caller.
    pub record_version: u32,
}

/// Returns whether `slots` records of `record_bytes` make a ring.
pub(crate) fn slots_fit(slots: u64, record_bytes: u64) -> bool {
    slots.is_power_of_two()
        && (SLOTS_MIN..=SLOTS_MAX).contains(&slots)
        && slots.checked_mul(record_bytes).is_some_and(|bytes| bytes <= SLOT_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_one_to_sixty_three_plain_characters() {
        assert!(HostName::new("host-1.example_x").is_ok());
        assert!(HostName::new(&"a".repeat(63)).is_ok());
        for bad in ["", "a b", "näme", "a/b", &"a".repeat(64)] {
            assert!(HostName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn slots_are_a_power_of_two_within_limits() {
        assert!(slots_fit(SLOTS_MIN, 128));
        assert!(slots_fit(SLOTS_MAX, 128));
        for bad in [0, 1, SLOTS_MIN / 2, SLOTS_MIN + 1, SLOTS_MAX * 2, u64::MAX, 1 << 63] {
            assert!(!slots_fit(bad, 128), "{bad}");
        }
        assert!(!slots_fit(SLOTS_MAX, 4096), "64 GiB of slots");
        assert!(!slots_fit(SLOTS_MAX, u64::MAX));
    }
}
