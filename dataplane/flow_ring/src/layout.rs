//! Where each word of the two shared memories is. The picture is in the crate's head; these are its numbers.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::config::{HOST_NAME_BYTES_MAX, HostName, RECORD_BYTES_MAX, RingConfig, slots_fit};
use crate::error::OpenError;

/// First word of the data memory, "mgflowrg" in a dump.
pub(crate) const DATA_MAGIC: u64 = u64::from_le_bytes(*b"mgflowrg");

/// First word of the consumer's page, "mgflowcp" in a dump.
pub(crate) const PAGE_MAGIC: u64 = u64::from_le_bytes(*b"mgflowcp");

/// Version of everything in this file. Any change to it is a new version.
pub(crate) const LAYOUT_VERSION: u32 = 1;

/// Bytes of the data memory before the first slot: one page, so that slots are page-aligned.
pub(crate) const HEADER_BYTES: u32 = 4096;

/// Bytes of the consumer's memory: one page, the least a mapping can have.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// Bytes of a word, the unit in which shared memory is read and written.
pub(crate) const WORD_BYTES: usize = 8;

/// Words before the first slot.
pub(crate) const HEADER_WORDS: usize = HEADER_BYTES as usize / WORD_BYTES;

/// Word of the data memory that counts publications; the word whose store publishes everything before it.
pub(crate) const PUBLICATIONS_WORD: usize = 16;

/// First word of the banks.
pub(crate) const BANKS_WORD: usize = 32;

/// Words of a bank: one cache line, so that two publications never share one.
pub(crate) const BANK_WORDS: usize = 8;

/// Number of banks. A reader has time for 14 further publications (448 records) before its bank is written again.
pub(crate) const BANKS: usize = 16;

/// Words of the consumer's page, each group in a cache line pair of its own.
pub(crate) mod page {
    /// Position up to which the consumer has released records.
    pub(crate) const TAIL_WORD: usize = 16;
    /// Lost records that have been reported with what was released.
    pub(crate) const LOST_REPORTED_WORD: usize = 17;
    /// Sampled-out records that have been reported with what was released.
    pub(crate) const SAMPLED_OUT_REPORTED_WORD: usize = 18;
    /// Number of calls that looked for records.
    pub(crate) const HEARTBEATS_WORD: usize = 19;
    /// Number of times the consumer fell asleep or woke up; odd while it sleeps.
    pub(crate) const SLEEPS_WORD: usize = 32;
}

const _: () = assert!(BANKS_WORD + BANKS * BANK_WORDS <= HEADER_WORDS);
const _: () = assert!(size_of::<DataHeader>() == PUBLICATIONS_WORD * WORD_BYTES);
const _: () = assert!(size_of::<PageHeader>() <= page::TAIL_WORD * WORD_BYTES);
const _: () = assert!(HOST_NAME_BYTES_MAX < 64);

/// The part of the data memory that is written before the seals and never changes.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct DataHeader {
    /// [`DATA_MAGIC`].
    pub magic: u64,
    /// [`LAYOUT_VERSION`].
    pub layout_version: u32,
    /// The caller's record version.
    pub record_version: u32,
    /// Size of a record in bytes.
    pub record_bytes: u32,
    /// [`HEADER_BYTES`].
    pub header_bytes: u32,
    /// Number of slots.
    pub slots: u64,
    /// The producer's epoch.
    pub epoch: u64,
    /// Length of the host's name.
    pub host_bytes: u64,
    /// The host's name, filled up with zeros.
    pub host: [u8; 64],
    /// Zeros.
    pub reserved: [u8; 16],
}

impl DataHeader {
    /// Returns the header of a ring for records of `record_bytes`.
    pub fn new(config: &RingConfig, record_bytes: u32) -> Self {
        let name = config.host.as_str().as_bytes();
        let mut host = [0; 64];
        host[..name.len()].copy_from_slice(name);
        Self {
            magic: DATA_MAGIC,
            layout_version: LAYOUT_VERSION,
            record_version: config.record_version,
            record_bytes,
            header_bytes: HEADER_BYTES,
            slots: config.slots,
            epoch: config.epoch,
            host_bytes: name.len() as u64,
            host,
            reserved: [0; 16],
        }
    }

    /// Believes the header after comparing everything in it with what the consumer expects.
    pub fn check(&self, record_version: u32, record_bytes: u64) -> Result<RingConfig, OpenError> {
        let Self { magic, layout_version, header_bytes, slots, epoch, host_bytes, host, reserved: _, .. } =
            *self;
        let memory = "data";
        if magic != DATA_MAGIC {
            return Err(OpenError::Magic { memory, found: magic, expected: DATA_MAGIC });
        }
        if layout_version != LAYOUT_VERSION {
            return Err(OpenError::LayoutVersion { memory, found: layout_version, expected: LAYOUT_VERSION });
        }
        if header_bytes != HEADER_BYTES {
            return Err(OpenError::HeaderBytes { found: header_bytes, expected: HEADER_BYTES });
        }
        if self.record_version != record_version {
            return Err(OpenError::RecordVersion { found: self.record_version, expected: record_version });
        }
        if u64::from(self.record_bytes) != record_bytes {
            return Err(OpenError::RecordBytes {
                found: u64::from(self.record_bytes),
                expected: record_bytes,
            });
        }
        if !slots_fit(slots, record_bytes) {
            return Err(OpenError::Slots { found: slots, record_bytes });
        }
        let host = usize::try_from(host_bytes)
            .ok()
            .and_then(|length| host.get(..length))
            .and_then(HostName::from_bytes)
            .ok_or(OpenError::HostName { max: HOST_NAME_BYTES_MAX })?;
        Ok(RingConfig { slots, host, epoch, record_version })
    }
}

/// The part of the consumer's page that the producer writes before handing it over.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct PageHeader {
    /// [`PAGE_MAGIC`].
    pub magic: u64,
    /// [`LAYOUT_VERSION`].
    pub layout_version: u32,
    /// The consumer's pid as the kernel told it, for whoever looks at a dump.
    pub pid: u32,
    /// Counts the consumers of this ring.
    pub generation: u64,
}

impl PageHeader {
    /// Returns the head of the page for consumer number `generation`.
    pub fn new(pid: u32, generation: u64) -> Self {
        Self { magic: PAGE_MAGIC, layout_version: LAYOUT_VERSION, pid, generation }
    }

    /// Returns the generation after comparing everything else with what is expected.
    pub fn check(&self) -> Result<u64, OpenError> {
        let Self { magic, layout_version, pid: _, generation } = *self;
        let memory = "consumer";
        if magic != PAGE_MAGIC {
            return Err(OpenError::Magic { memory, found: magic, expected: PAGE_MAGIC });
        }
        if layout_version != LAYOUT_VERSION {
            return Err(OpenError::LayoutVersion { memory, found: layout_version, expected: LAYOUT_VERSION });
        }
        Ok(generation)
    }
}

/// Returns the size of the data memory.
pub(crate) fn data_bytes(slots: u64, record_bytes: u64) -> u64 {
    u64::from(HEADER_BYTES) + slots * record_bytes
}

/// Returns the words of one record of type `R`; does not compile for a record that is not made of whole words.
pub(crate) const fn record_words<R>() -> usize {
    const {
        assert!(
            size_of::<R>() > 0 && size_of::<R>().is_multiple_of(WORD_BYTES),
            "a record is whole 8-byte words"
        );
        assert!(size_of::<R>() <= RECORD_BYTES_MAX, "a record is at most RECORD_BYTES_MAX bytes");
        size_of::<R>() / WORD_BYTES
    }
}
