//! The producer's view of its one consumer: the connection that tells whether it lives, and the page it writes.
//!
//! Every consumer gets a page of its own. One that was thought dead but still runs (a forked child, a closed
//! connection) then writes into a page nobody reads any more, and cannot spoil its successor's.

use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;

use zerocopy::IntoBytes;

use crate::error::SystemError;
use crate::greeting::Greeting;
use crate::layout::{PAGE_BYTES, PageHeader, WORD_BYTES, page};
use crate::memory::{self, ReadWords, SIZE_SEALS};
use crate::socket::{self, Peer};

/// What a consumer takes over from its predecessor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Handed {
    /// Position of the first record for it.
    pub tail: u64,
    /// Lost records that its predecessors have reported.
    pub lost_reported: u64,
    /// Sampled-out records that its predecessors have reported.
    pub sampled_out_reported: u64,
}

/// One consumer, from its hand-over to its end.
pub(crate) struct Seat {
    /// This end of the connection; closed with the seat.
    connection: UnixStream,
    /// The consumer's page.
    page: ReadWords,
    /// The process, as the kernel names it.
    peer: Peer,
    /// Value of the page's sleep word for which a wake-up was sent.
    woken: u64,
}

impl Seat {
    /// Makes a page, and sends it with `data` to whoever is at the other end of `connection`.
    pub fn hand_over(
        connection: UnixStream,
        peer: Peer,
        data: &File,
        handed: Handed,
        generation: u64,
    ) -> Result<Self, SystemError> {
        let file = Self::page_file(PageHeader::new(peer.pid, generation), handed)
            .map_err(SystemError::at("create the consumer's page"))?;
        let page = ReadWords::map(&file, PAGE_BYTES).map_err(SystemError::at("map the consumer's page"))?;
        let greeting = Greeting::handed_over();
        socket::send_with_fds(&connection, greeting.as_bytes(), &[data.as_raw_fd(), file.as_raw_fd()])
            .map_err(SystemError::at("send the ring to the consumer"))?;
        Ok(Self { connection, page, peer, woken: 0 })
    }

    fn page_file(header: PageHeader, handed: Handed) -> io::Result<File> {
        let Handed { tail, lost_reported, sampled_out_reported } = handed;
        let file = memory::create_file(c"flow_ring consumer", PAGE_BYTES)?;
        file.write_all_at(header.as_bytes(), 0)?;
        for (word, value) in [
            (page::TAIL_WORD, tail),
            (page::LOST_REPORTED_WORD, lost_reported),
            (page::SAMPLED_OUT_REPORTED_WORD, sampled_out_reported),
        ] {
            file.write_all_at(value.as_bytes(), (word * WORD_BYTES) as u64)?;
        }
        memory::seal(&file, SIZE_SEALS)?;
        Ok(file)
    }

    /// Returns the tail as the consumer wrote it: not to be believed yet. Slots before a tail that turns out to be
    /// good may be written again, for the consumer had copied them before it published the tail.
    #[inline]
    pub fn tail(&self) -> u64 {
        self.page.load_acquire(page::TAIL_WORD)
    }

    /// Returns what the successor takes over: `tail`, which was checked, and the reports where they are possible.
    pub fn successor(&self, tail: u64, before: Handed, lost: u64, sampled_out: u64) -> Handed {
        let possible = |word, least, most| {
            let found = self.page.load(word);
            if (least..=most).contains(&found) { found } else { least }
        };
        Handed {
            tail,
            lost_reported: possible(page::LOST_REPORTED_WORD, before.lost_reported, lost),
            sampled_out_reported: possible(
                page::SAMPLED_OUT_REPORTED_WORD,
                before.sampled_out_reported,
                sampled_out,
            ),
        }
    }

    /// Returns how often the consumer says it has looked for records.
    pub fn heartbeats(&self) -> u64 {
        self.page.load(page::HEARTBEATS_WORD)
    }

    /// Returns the process.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Returns whether the consumer has closed its end, be it by dying.
    pub fn has_ended(&self) -> bool {
        socket::hung_up(&self.connection)
    }

    /// Wakes the consumer if it says that it sleeps; once for each time that it says so. The caller has put a
    /// sequentially consistent fence between the store that the consumer waits for and this call.
    #[inline]
    pub fn wake_if_asleep(&mut self) {
        let sleeps = self.page.load(page::SLEEPS_WORD);
        if !sleeps.is_multiple_of(2) && sleeps != self.woken {
            self.woken = sleeps;
            socket::wake(&self.connection);
        }
    }
}

impl Drop for Seat {
    /// Says good-bye on the connection itself, of which a forked child may hold a copy.
    fn drop(&mut self) {
        let _ = self.connection.shutdown(Shutdown::Both);
    }
}
