//! The half that takes records, and believes nothing it has not copied and checked.

use std::fs::File;
use std::marker::PhantomData;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::config::RingConfig;
use crate::error::{HeaderFault, OpenError, SystemError};
use crate::layout::{DataHeader, HEADER_WORDS, PAGE_BYTES, PageHeader, data_bytes, page, record_words};
use crate::memory::{self, DATA_SEALS, ReadWords, SIZE_SEALS, WriteWords};
use crate::publication::{self, Published};
use crate::socket;

/// What a producer hands over: not looked at yet.
#[derive(Debug)]
pub struct HandedRing {
    /// Header and slots.
    pub data: OwnedFd,
    /// The page for the consumer's own cursor.
    pub page: OwnedFd,
    /// The connection; its other end closes with the producer.
    pub connection: UnixStream,
}

/// What one call of [`Consumer::take`] brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Batch {
    /// Position of the first record: the number of records accepted before it in this epoch. Where it is not the one
    /// after the last batch's, what lies between was given up with a broken consumer and is counted as lost.
    pub first_position: u64,
    /// Records appended.
    pub count: usize,
    /// Published records that wait behind this batch.
    pub waiting: u64,
    /// Records lost since the last batch. A loss is told with the publication that followed it, so it may have happened
    /// after the records of this batch; the sum over all batches of one consumer is exact. One that must be exact
    /// across kills stores [`Published::lost`] with its results, as a kill amid a release can separate the two.
    pub lost_since_last: u64,
    /// Records left out by the producer's sampling since the last batch.
    pub sampled_out_since_last: u64,
}

/// Why [`Consumer::wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// There are records to take.
    Records,
    /// The time is over, a signal came, or the producer called for nothing.
    Nothing,
    /// The producer has ended or given this consumer up, and every record it published has been taken.
    ProducerGone,
}

/// The reading half of a ring of records `R`.
pub struct Consumer<R> {
    /// Header and slots.
    data: ReadWords,
    /// This consumer's page.
    page: WriteWords,
    /// Closed at the other end when the producer ends.
    connection: UnixStream,
    /// What the header said, after it was checked.
    ring: RingConfig,
    /// Number of this consumer among those of the ring.
    generation: u64,
    /// Position of the next record to take.
    position: u64,
    /// The newest publication seen.
    published: Published,
    /// Losses reported up to the last batch.
    lost_reported: u64,
    /// Sampled-out records reported up to the last batch.
    sampled_out_reported: u64,
    /// Calls of [`Consumer::take`].
    heartbeats: u64,
    /// Times this consumer fell asleep or woke up.
    sleeps: u64,
    /// A consumer gives records and holds none.
    _records: PhantomData<fn() -> R>,
}

impl<R> Consumer<R>
where
    R: FromBytes + IntoBytes + Immutable + KnownLayout + Copy,
{
    /// Words of one record.
    const RECORD_WORDS: usize = record_words::<R>();

    /// Checks everything about a handed ring, and only then maps it.
    pub fn open(handed: HandedRing, record_version: u32) -> Result<Self, OpenError> {
        let HandedRing { data, page, connection } = handed;
        let (data, page) = (File::from(data), File::from(page));
        check_seals("data", &data, DATA_SEALS)?;
        check_seals("consumer", &page, SIZE_SEALS)?;
        // Read, not mapped: a copy that cannot change between check and use, of a file whose size is not known yet.
        let mut header = DataHeader::new_zeroed();
        data.read_exact_at(header.as_mut_bytes(), 0).map_err(SystemError::at("read the ring's header"))?;
        let record_bytes = size_of::<R>() as u64;
        let ring = header.check(record_version, record_bytes)?;
        let bytes = data_bytes(ring.slots, record_bytes);
        check_size("data", &data, bytes)?;
        check_size("consumer", &page, PAGE_BYTES)?;
        let mut page_header = PageHeader::new_zeroed();
        page.read_exact_at(page_header.as_mut_bytes(), 0)
            .map_err(SystemError::at("read the consumer's page"))?;
        let generation = page_header.check()?;

        connection.set_nonblocking(true).map_err(SystemError::at("prepare the connection"))?;
        let data = ReadWords::map(&data, bytes).map_err(SystemError::at("map the data memory"))?;
        let page = WriteWords::map(&page, PAGE_BYTES).map_err(SystemError::at("map the consumer's page"))?;
        let own = |word: usize| page.words()[word].load(Ordering::Relaxed);
        let (lost_reported, sampled_out_reported) =
            (own(page::LOST_REPORTED_WORD), own(page::SAMPLED_OUT_REPORTED_WORD));
        let position = own(page::TAIL_WORD);
        let mut consumer = Self {
            data,
            page,
            connection,
            ring,
            generation,
            position,
            published: Published::default(),
            lost_reported,
            sampled_out_reported,
            heartbeats: 0,
            sleeps: 0,
            _records: PhantomData,
        };
        consumer.look()?;
        Ok(consumer)
    }

    /// Appends up to `records_max` records to `into`. By asking for more, the caller releases what the last call
    /// brought: the producer may overwrite it and counts it as delivered. A consumer that dies first leaves it to its
    /// successor, which sees the same positions again.
    pub fn take(&mut self, into: &mut Vec<R>, records_max: usize) -> Result<Batch, HeaderFault> {
        self.release();
        self.heartbeats += 1;
        self.store(page::HEARTBEATS_WORD, self.heartbeats);
        self.look()?;
        let available = usize::try_from(self.published.accepted - self.position).unwrap_or(usize::MAX);
        let count = available.min(records_max);
        // Allocates for at most the slots of a memory file whose size was checked, however large `records_max` is.
        self.copy(count, into);
        let first_position = self.position;
        self.position += count as u64;
        let (lost, sampled_out) = (self.published.lost(), self.published.sampled_out);
        let batch = Batch {
            first_position,
            count,
            waiting: self.published.accepted - self.position,
            lost_since_last: lost.saturating_sub(self.lost_reported),
            sampled_out_since_last: sampled_out.saturating_sub(self.sampled_out_reported),
        };
        (self.lost_reported, self.sampled_out_reported) = (lost, sampled_out);
        Ok(batch)
    }

    /// Copies the next `count` records, in at most two runs of slots.
    fn copy(&self, count: usize, into: &mut Vec<R>) {
        let first = self.position & (self.ring.slots - 1);
        let to_the_end = self.ring.slots - first;
        let index =
            |slot: u64| usize::try_from(slot).expect("SLOTS_MAX fits into any usize of a 64-bit target");
        let before_wrap = count.min(index(to_the_end));
        self.data.append_records(HEADER_WORDS + index(first) * Self::RECORD_WORDS, before_wrap, into);
        self.data.append_records(HEADER_WORDS, count - before_wrap, into);
    }
}

impl<R> Consumer<R> {
    /// Releases what the last [`Consumer::take`] brought, without asking for more. To be called before an end on
    /// purpose; a consumer that is dropped without it leaves its last batch to its successor.
    pub fn release(&mut self) {
        self.store(page::LOST_REPORTED_WORD, self.lost_reported);
        self.store(page::SAMPLED_OUT_REPORTED_WORD, self.sampled_out_reported);
        // Releasing: the loads of the slots before this tail are over before the producer sees it.
        self.page.words()[page::TAIL_WORD].store(self.position, Ordering::Release);
    }

    /// Returns what host, epoch and size the ring has.
    pub fn ring(&self) -> &RingConfig {
        &self.ring
    }

    /// Returns the number of this consumer among those of the ring, from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns the position of the next record to take.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the producer's books as of the last look at them.
    pub fn published(&self) -> Published {
        self.published
    }

    /// Returns whether the producer still holds its end of the connection.
    pub fn producer_alive(&self) -> bool {
        !socket::hung_up(&self.connection)
    }

    /// Waits, without spinning, until there are records, the producer ends, or `timeout` is over. Releases what the
    /// last [`Consumer::take`] brought: who waits is done with it.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Wake, crate::WaitError> {
        self.release();
        if self.fall_asleep()? {
            return Ok(Wake::Records);
        }
        let seen = socket::wait(&self.connection, timeout).map_err(SystemError::at("wait for the producer"));
        self.wake_up();
        // Seen before looked: what a producer published before its end is visible to the look.
        let hung_up = seen?.hung_up;
        self.look()?;
        match (self.has_records(), hung_up) {
            (true, _) => Ok(Wake::Records),
            (false, true) => Ok(Wake::ProducerGone),
            (false, false) => Ok(Wake::Nothing),
        }
    }

    /// Says that this consumer is about to wait until [`Consumer::as_fd`] is readable, for callers with an event loop
    /// of their own. Returns true, and does not say so, when there are records already.
    pub fn fall_asleep(&mut self) -> Result<bool, HeaderFault> {
        socket::drain(&self.connection);
        self.sleeps |= 1;
        self.store(page::SLEEPS_WORD, self.sleeps);
        // The other half of the fence in `Producer::publish`.
        fence(Ordering::SeqCst);
        let looked = self.look();
        if looked.is_err() || self.has_records() {
            self.wake_up();
        }
        looked.map(|()| self.has_records())
    }

    /// Takes back what [`Consumer::fall_asleep`] said, so that the producer saves the wake-up call.
    pub fn wake_up(&mut self) {
        self.sleeps = (self.sleeps | 1).wrapping_add(1);
        self.store(page::SLEEPS_WORD, self.sleeps);
    }

    fn has_records(&self) -> bool {
        self.published.accepted > self.position
    }

    fn store(&self, word: usize, value: u64) {
        self.page.words()[word].store(value, Ordering::Relaxed);
    }

    /// Reads the newest publication, and refuses a head that no honest producer can have there.
    fn look(&mut self) -> Result<(), HeaderFault> {
        let published = publication::read(&self.data, &self.published)?;
        let (head, tail, slots) = (published.accepted, self.position, self.ring.slots);
        let ahead = head.checked_sub(tail).ok_or(HeaderFault::HeadBackwards { head, least: tail })?;
        if ahead > slots {
            return Err(HeaderFault::HeadTooFar { head, tail, slots });
        }
        self.published = published;
        Ok(())
    }
}

impl<R> AsFd for Consumer<R> {
    /// Returns the connection: readable when the producer calls a sleeping consumer, hung up when it ends.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

impl<R> Drop for Consumer<R> {
    /// Says good-bye on the connection itself: a child that was forked meanwhile and holds a copy of the descriptor
    /// would keep it open, and the producer would believe this consumer alive.
    fn drop(&mut self) {
        let _ = self.connection.shutdown(Shutdown::Both);
    }
}

fn check_seals(memory: &'static str, file: &File, needed: i32) -> Result<(), OpenError> {
    let found = memory::seals(file);
    if found & needed == needed { Ok(()) } else { Err(OpenError::Seals { memory, found, needed }) }
}

fn check_size(memory: &'static str, file: &File, expected: u64) -> Result<(), OpenError> {
    let found = file.metadata().map_err(SystemError::at("ask for a memory's size"))?.len();
    if found == expected { Ok(()) } else { Err(OpenError::Size { memory, found, expected }) }
}
