//! What the tests of this crate share: a record that shows damage, rings, and seeded chance.
#![expect(clippy::unwrap_used, reason = "this is test code, outside of a test function")]

use std::os::unix::net::UnixStream;

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
