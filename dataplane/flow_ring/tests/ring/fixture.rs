//! What the tests of this crate share: a record that shows damage, rings, and seeded chance.
#![expect(clippy::unwrap_used, reason = "this is test code, outside of a test function")]

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use flow_ring::{Consumer, HandedRing, HostName, Producer, RingConfig, receive};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The version of [`Record`].
pub const RECORD_VERSION: u32 = 7;

/// A record of the product's size, every word of which follows from its number.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Record {
    /// The number.
    pub number: u64,
    /// Words that follow from it.
    pub rest: [u64; 15],
}

/// Returns record `number`.
pub fn record(number: u64) -> Record {
    Record { number, rest: std::array::from_fn(|index| number.wrapping_mul(0x9e37_79b9 + index as u64)) }
}

/// Returns a configuration with `slots` slots.
pub fn config(slots: u64) -> RingConfig {
    RingConfig { slots, host: HostName::new("host-1").unwrap(), epoch: 1000, record_version: RECORD_VERSION }
}

/// Returns both halves of a ring.
pub fn pair(slots: u64) -> (Producer<Record>, Consumer<Record>) {
    let mut producer = Producer::create(&config(slots)).unwrap();
    let consumer = seat(&mut producer);
    (producer, consumer)
}

/// Hands the ring over to this process, unopened.
pub fn handed(producer: &mut Producer<Record>) -> HandedRing {
    let (near, far) = UnixStream::pair().unwrap();
    producer.hand_over(near).unwrap();
    receive(far).unwrap()
}

/// Hands the ring over to this process.
pub fn seat(producer: &mut Producer<Record>) -> Consumer<Record> {
    Consumer::open(handed(producer), RECORD_VERSION).unwrap()
}

/// Steele's `SplitMix64`.
pub struct Chance(u64);

impl Chance {
    /// Starts a sequence that depends on `seed` only.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// A directory of this test's own, removed at its end.
pub struct Directory(PathBuf);

impl Directory {
    /// Makes the directory; `name` is unique among the tests.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("flow_ring-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Returns the path of a socket within it.
    pub fn socket(&self) -> PathBuf {
        self.0.join("ring.sock")
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
