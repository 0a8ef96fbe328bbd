//! A single-producer single-consumer ring of fixed-size records in sealed shared memory, between two processes.
//!
//! # The problem
//!
//! One process produces records (flow records, at up to millions a second) and must never wait for anybody. Another
//! process reads them, may be slow, may be stopped, may be killed and started again, and may be compromised. Whatever
//! happens to either, every record is accounted for:
//!
//! ```text
//! produced = delivered + waiting + sampled_out + lost
//! ```
//!
//! The simple answer is a socket. It costs a system call and two copies for each message, and when it is full nobody
//! knows how much was lost. A ring in shared memory costs neither, but now each process can write into what the other
//! one is about to read. So the memory is cut in two: what only the producer can write, and what only the consumer
//! writes, enforced by the kernel; and each side treats the other's part as hostile input.
//!
//! # Layout
//!
//! ```text
//! data memory, written by the producer, mapped read-only by the consumer
//! byte    0  magic | layout, record version | record, header bytes | slots | epoch | host     never changes
//!       128  publications: number of the newest bank, stored last                             releasing store
//!       256  bank 0: accepted (= head) | dropped | abandoned | sampled out | produced
//!       320  bank 1: ...                                                    publication n is in bank n mod 16
//!            ...
//!      4096  slot 0 | slot 1 | ... | slot (slots - 1)           record at position p is in slot p mod slots
//!
//! consumer's page, mapped read-only by the producer, one for each consumer
//! byte    0  magic | layout version, pid | generation                                         never changes
//!       128  tail (released up to here) | losses reported | sampled out reported | heartbeats
//!       256  sleeps: odd while the consumer sleeps
//! ```
//!
//! A *position* is the number of records accepted before, in this epoch; it never wraps in practice (64 bits).
//!
//! # Publishing
//!
//! The producer publishes on its own every [`PUBLISH_EVERY_OFFERS`] offers, and when [`Producer::publish`] is called,
//! which belongs at the end of each turn. Between publications the two processes share no cache line that changes.
//!
//! Five numbers are published at once. Were they plain words, a producer killed between two stores would leave books
//! that never balance; under a sequence lock it would leave the lock taken. So each publication goes into the next of
//! 16 banks, and its number is stored afterwards: the newest complete bank is there whatever happens.
//!
//! # Memory ordering
//!
//! | what must be seen in order | writer | reader |
//! |---|---|---|
//! | record before head | relaxed stores of the slot, then the publication number with release | number, acquire fence, then the slots |
//! | slot read before it is written again | relaxed loads of the slot, then the tail with release | tail, acquire fence, then stores to the slot |
//! | bank whole while it is read | number n + 15 stored, release fence, then bank n mod 16 written again | bank, acquire fence, number again: at most n + 14 |
//! | no wake-up missed | number stored, full fence, sleep word read | sleep word stored, full fence, number read |
//!
//! Every access to shared memory is an atomic load or store of one 8-byte word, also the copies of records. A process
//! that writes where it should not thereby damages records, never this process: there is no data race in the language's
//! sense, every bit pattern is a record (`FromBytes`), and a record is looked at only after it was copied. The consumer
//! loads with `Relaxed` and adds fences, because these are the loads guaranteed to work on read-only pages.
//!
//! # What may run at once
//!
//! One thread calls the [`Producer`] (`&mut self`), one thread of another process the [`Consumer`]. The [`Listener`] is
//! polled by the producer's thread. Nobody waits for anybody, except a consumer that asks to in [`Consumer::wait`].
//!
//! # Whom each side trusts
//!
//! - **The kernel**: seals, credentials, end of a connection.
//! - **The producer trusts the consumer with nothing.** The data memory is sealed against writing by anybody but the
//!   existing mapping, against shrinking (reading beyond would be `SIGBUS`), growing and further seals. From the
//!   consumer's page it reads one number that matters, the tail, which must lie between the last tail and the published
//!   head. Otherwise the consumer is broken: its connection is closed, what waited counts as lost once, and
//!   [`Producer::take_fault`] says why. The next consumer gets a fresh page, so an old one cannot spoil it. A consumer
//!   can refuse to read (the ring fills, drops are counted) or lie within bounds (only it misses records).
//! - **The consumer does not trust the producer either**: seals, sizes, magic, versions, record size and slots are
//!   checked on a copy of the header before anything is mapped; each publication must follow from the last, add up, and
//!   fit into the ring. What fails is a [`HeaderFault`] that names it. The records' content is the caller's to check.
//! - **Strangers** do not get that far: the socket has mode 0600, and the kernel's word on the peer's user is checked by
//!   both sides. Processes of one user are not protected from each other: they could use a debugger as well.
//!
//! # Wake-ups
//!
//! A consumer that wants to sleep says so in its page and polls the connection. The producer, after a publication, looks
//! at that word and sends one byte if it is odd and has not been answered: no system call while the consumer is awake. A
//! consumer that sleeps whenever the ring is empty can cost a call for each publication; one that is in no hurry should
//! come back by a timer of its own instead.
//! The connection serves because it tells of the producer's end as well, and because an eventfd would not be safe: its
//! `O_NONBLOCK` belongs to the open file both processes share, so a hostile consumer could clear it, fill the counter,
//! and make the producer wait. A socket has two ends with flags of their own.
//!
//! # Restarts
//!
//! A record is identified by *(host, epoch, position)*; host and epoch stand in the header, the position in [`Batch`].
//!
//! - **The consumer restarts**: the producer sees the connection close and keeps the ring. The next consumer continues at
//!   the tail the last one released. [`Consumer::take`] releases what the call *before* brought, so records that a killed
//!   consumer held in its hands come again, at the same positions: a consumer that stores the position it has processed
//!   along with its results skips those below it. A gap in positions was given up with a broken consumer and is in
//!   `lost`. A killed consumer's forked children that have not called `exec` keep its connection open, and it counts as alive
//!   until they end.
//! - **The producer restarts**: the consumer sees the connection close ([`Wake::ProducerGone`]), after it has taken all
//!   that was published; its mapping outlives the producer. It connects anew and finds another epoch, where positions
//!   begin at 0. What the dead producer had accepted but not published (fewer than 32 records) is gone; its books, as of
//!   its last publication, balance. The same host and epoch mean the same run of the producer.
//!
//! # Example
//!
//! ```
//! use flow_ring::{Consumer, HostName, Producer, RingConfig, receive};
//! use std::os::unix::net::UnixStream;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = RingConfig { slots: 1024, host: HostName::new("gw-1")?, epoch: 1, record_version: 1 };
//! let mut producer = Producer::<[u64; 16]>::create(&config)?;
//!
//! // Between processes, `Listener::poll` and `connect` do this.
//! let (near, far) = UnixStream::pair()?;
//! producer.hand_over(near)?;
//! let mut consumer = Consumer::<[u64; 16]>::open(receive(far)?, 1)?;
//!
//! producer.offer(&[7; 16]);
//! producer.publish();
//! let mut records = Vec::new();
//! let batch = consumer.take(&mut records, 256)?;
//! assert_eq!((batch.first_position, records[0][0]), (0, 7));
//! consumer.release();
//! assert!(producer.counters().balance());
//! # Ok(())
//! # }
//! ```

mod config;
mod consumer;
mod error;
mod greeting;
mod layout;
mod ledger;
mod listener;
mod memory;
mod producer;
mod publication;
mod seat;
mod socket;

#[cfg(test)]
mod chance;

pub use config::{
    HOST_NAME_BYTES_MAX, HostName, PUBLISH_EVERY_OFFERS, RECORD_BYTES_MAX, RingConfig, SLOT_BYTES_MAX,
    SLOTS_MAX, SLOTS_MIN,
};
pub use consumer::{Batch, Consumer, HandedRing, Wake};
pub use error::{ConsumerFault, CreateError, HandOverError, HeaderFault, OpenError, SystemError, WaitError};
pub use ledger::Counters;
pub use listener::{Accepted, AllowedUids, Listener, connect, receive};
pub use producer::{ConsumerState, Producer};
pub use publication::Published;
