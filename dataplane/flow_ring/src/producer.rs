//! The half that offers records and never waits.

use std::fs::File;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{Ordering, fence};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::config::{PUBLISH_EVERY_OFFERS, RingConfig, SLOT_BYTES_MAX, SLOTS_MAX, SLOTS_MIN, slots_fit};
use crate::error::{ConsumerFault, CreateError, SystemError};
use crate::layout::{DataHeader, HEADER_WORDS, data_bytes, record_words};
use crate::ledger::{Counters, Ledger};
use crate::memory::{self, DATA_SEALS, WriteWords};
use crate::publication::{self, Published};
use crate::seat::{Handed, Seat};
use crate::socket::{self, Peer};

/// What the producer knows of its consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerState {
    /// The process, as the kernel names it; 0 if it is in a pid namespace that is not visible from here.
    pub pid: u32,
    /// The user it runs as, as the kernel names it.
    pub uid: u32,
    /// Counts the consumers of this ring, from 1.
    pub generation: u64,
    /// How often the consumer says it has looked for records. Its own word: good for "it hangs", not for decisions.
    pub heartbeats: u64,
}

/// The writing half of a ring of records `R`.
pub struct Producer<R> {
    /// Header and slots.
    words: WriteWords,
    /// The data memory, kept to hand it over again.
    data: File,
    /// Number of slots, a power of two.
    slots: u64,
    /// The accounting.
    ledger: Ledger,
    /// Offers since the last publication.
    unpublished_offers: u32,
    /// What was published last.
    published: Published,
    /// Number of publications.
    publications: u64,
    /// The consumer, while there is one.
    seat: Option<Seat>,
    /// Consumers so far.
    generation: u64,
    /// What the next consumer takes over, as of the end of the last one.
    handed: Handed,
    /// Why the last broken consumer was given up.
    fault: Option<ConsumerFault>,
    /// A producer takes records and holds none.
    _records: PhantomData<fn(R)>,
}

impl<R> Producer<R>
where
    R: FromBytes + IntoBytes + Immutable + KnownLayout + Copy,
{
    /// Words of one record.
    const RECORD_WORDS: usize = record_words::<R>();

    /// Creates an empty ring that nobody reads yet.
    pub fn create(config: &RingConfig) -> Result<Self, CreateError> {
        let slots = config.slots;
        let record_bytes = size_of::<R>() as u64;
        if !slots.is_power_of_two() || !(SLOTS_MIN..=SLOTS_MAX).contains(&slots) {
            return Err(CreateError::Slots { slots, min: SLOTS_MIN, max: SLOTS_MAX });
        }
        if !slots_fit(slots, record_bytes) {
            return Err(CreateError::Bytes { slots, record_bytes, max_bytes: SLOT_BYTES_MAX });
        }
        let bytes = data_bytes(slots, record_bytes);
        let header_record_bytes = u32::try_from(record_bytes).expect("RECORD_BYTES_MAX fits into 32 bits");
        let header = DataHeader::new(config, header_record_bytes);
        let data = memory::create_file(c"flow_ring data", bytes)
            .map_err(SystemError::at("create the data memory"))?;
        data.write_all_at(header.as_bytes(), 0).map_err(SystemError::at("write the ring's header"))?;
        let words = WriteWords::map(&data, bytes).map_err(SystemError::at("map the data memory"))?;
        memory::seal(&data, DATA_SEALS).map_err(SystemError::at("seal the data memory"))?;
        Ok(Self {
            words,
            data,
            slots,
            ledger: Ledger::default(),
            unpublished_offers: 0,
            published: Published::default(),
            publications: 0,
            seat: None,
            generation: 0,
            handed: Handed::default(),
            fault: None,
            _records: PhantomData,
        })
    }

    /// Puts `record` into the ring, or counts it as lost when the ring is full. Returns whether it is in.
    #[inline]
    pub fn offer(&mut self, record: &R) -> bool {
        let accepted = self.has_room();
        if accepted {
            let slot = self.ledger.head & (self.slots - 1);
            let slot = usize::try_from(slot).expect("SLOTS_MAX fits into any usize of a 64-bit target");
            self.words.store_record(HEADER_WORDS + slot * Self::RECORD_WORDS, record);
            self.ledger.head += 1;
        } else {
            self.ledger.dropped += 1;
        }
        self.unpublished_offers += 1;
        if self.unpublished_offers == PUBLISH_EVERY_OFFERS {
            self.publish();
        }
        accepted
    }
}

impl<R> Producer<R> {
    /// Counts `records` that the caller's sampling left out.
    #[inline]
    pub fn count_sampled_out(&mut self, records: u64) {
        self.ledger.sampled_out += records;
    }

    /// Lets the consumer see everything up to here, and wakes it if it sleeps. To be called at the end of a turn:
    /// what was offered since the last multiple of [`PUBLISH_EVERY_OFFERS`] is invisible before.
    // Not inlined, so that `offer`, which calls it every 32nd time, can be.
    #[inline(never)]
    pub fn publish(&mut self) {
        self.unpublished_offers = 0;
        let Ledger { head, tail: _, dropped, abandoned, sampled_out } = self.ledger;
        let produced = self.ledger.produced();
        let published = Published { accepted: head, dropped, abandoned, sampled_out, produced };
        if published == self.published {
            return;
        }
        let has_news = head != self.published.accepted;
        self.publications += 1;
        publication::write(&self.words, self.publications, &published);
        self.published = published;
        if let Some(seat) = self.seat.as_mut().filter(|_| has_news) {
            // The consumer stores "I sleep" and then looks at the publications; this half stores a publication and
            // then looks whether it sleeps. Without a full fence on both sides each could miss the other's store.
            fence(Ordering::SeqCst);
            seat.wake_if_asleep();
        }
    }

    /// Returns where everything went that was produced, as of now.
    pub fn counters(&mut self) -> Counters {
        self.refresh_tail();
        self.ledger.counters()
    }

    /// Returns whether a consumer holds the ring and its process lives. The end of one is noticed here.
    pub fn consumer_alive(&mut self) -> bool {
        let has_ended = self.seat.as_ref().is_some_and(Seat::has_ended);
        // After the end, never before it: what a dying consumer released last still counts as delivered.
        self.refresh_tail();
        if has_ended {
            self.retire();
        }
        self.seat.is_some()
    }

    /// Returns the consumer, if one holds the ring.
    pub fn consumer(&self) -> Option<ConsumerState> {
        let seat = self.seat.as_ref()?;
        let Peer { pid, uid } = seat.peer();
        Some(ConsumerState { pid, uid, generation: self.generation, heartbeats: seat.heartbeats() })
    }

    /// Returns, once, why a consumer was given up as broken since the last call.
    pub fn take_fault(&mut self) -> Option<ConsumerFault> {
        self.fault.take()
    }

    /// Hands the ring over to whoever is at the other end of `connection`, whose right to it the caller has checked
    /// ([`crate::Listener`] does). A consumer that holds the ring is retired first.
    pub fn hand_over(&mut self, connection: UnixStream) -> Result<(), SystemError> {
        let peer = socket::peer(&connection).map_err(SystemError::at("ask who the consumer is"))?;
        self.refresh_tail();
        self.retire();
        // The tail is at the head where a consumer was given up, and no tail may be ahead of what is published.
        self.publish();
        let handed = Handed { tail: self.ledger.tail, ..self.handed };
        let generation = self.generation + 1;
        self.seat = Some(Seat::hand_over(connection, peer, &self.data, handed, generation)?);
        self.generation = generation;
        Ok(())
    }

    #[inline]
    fn has_room(&mut self) -> bool {
        if self.ledger.waiting() < self.slots {
            return true;
        }
        self.refresh_tail();
        self.ledger.waiting() < self.slots
    }

    /// Takes over the consumer's tail, or gives the consumer up if its tail is impossible.
    #[inline]
    fn refresh_tail(&mut self) {
        let Some(seat) = &self.seat else { return };
        if let Err(fault) = self.ledger.accept_tail(seat.tail(), self.published.accepted) {
            self.give_up(fault);
        }
    }

    /// Closes the connection to a consumer that is broken, and counts as lost what was waiting for it.
    #[cold]
    fn give_up(&mut self, fault: ConsumerFault) {
        self.retire();
        self.ledger.abandon_waiting();
        self.fault = Some(fault);
    }

    /// Ends the consumer's time; what waits keeps waiting for the next one.
    fn retire(&mut self) {
        if let Some(seat) = self.seat.take() {
            let Published { sampled_out, .. } = self.published;
            self.handed = seat.successor(self.ledger.tail, self.handed, self.published.lost(), sampled_out);
        }
    }
}

impl<R> Drop for Producer<R> {
    /// Leaves everything visible that was offered: the consumer keeps its mapping and may read to the end.
    fn drop(&mut self) {
        self.publish();
    }
}
