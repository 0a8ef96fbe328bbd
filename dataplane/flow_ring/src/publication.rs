//! How the producer tells the consumer, in one step, how far it is and what was lost on the way.
//!
//! Five numbers must be read together or they do not add up, and a producer can be killed between any two stores. A
//! sequence lock would stay locked then. So each publication writes the numbers into the next of a few banks, and only
//! afterwards stores the publication's number: the newest complete bank is always known, whatever happened to the
//! writer. A reader that was so slow that its bank may have been written again notices by the number, and reads anew.

use std::sync::atomic::{Ordering, fence};

use crate::error::HeaderFault;
use crate::layout::{BANK_WORDS, BANKS, BANKS_WORD, PUBLICATIONS_WORD};
use crate::memory::{ReadWords, WriteWords};

/// Attempts at a consistent header. One fails only when the reader is suspended for 14 publications within a few
/// loads; this many in a row fail only when somebody makes them fail.
const ATTEMPTS_MAX: u32 = 8;

/// The producer's books as of one publication. `produced = accepted + sampled_out + dropped`, always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// Records accepted into the ring since the epoch began; the position of the next one.
    pub accepted: u64,
    /// Records dropped because the ring was full.
    pub dropped: u64,
    /// Accepted records that were given up with a broken consumer.
    pub abandoned: u64,
    /// Records that the producer's sampling left out.
    pub sampled_out: u64,
    /// Everything that was produced.
    pub produced: u64,
}

impl Published {
    /// Returns all records lost, for either reason.
    pub fn lost(&self) -> u64 {
        self.dropped.saturating_add(self.abandoned)
    }

    /// Refuses numbers that cannot be together, or cannot come after `before`.
    fn check(&self, before: &Self) -> Result<(), HeaderFault> {
        let Self { accepted, dropped, abandoned, sampled_out, produced } = *self;
        if accepted < before.accepted {
            return Err(HeaderFault::HeadBackwards { head: accepted, least: before.accepted });
        }
        let counters = [
            ("dropped", before.dropped, dropped),
            ("abandoned", before.abandoned, abandoned),
            ("sampled_out", before.sampled_out, sampled_out),
        ];
        if let Some(&(counter, before, found)) = counters.iter().find(|(_, before, found)| found < before) {
            return Err(HeaderFault::CounterBackwards { counter, before, found });
        }
        let sum = accepted.checked_add(dropped).and_then(|sum| sum.checked_add(sampled_out));
        if sum != Some(produced) {
            return Err(HeaderFault::Sum { produced, sum });
        }
        if abandoned > accepted {
            return Err(HeaderFault::Abandoned { abandoned, head: accepted });
        }
        Ok(())
    }
}

/// Returns the first word of the bank that belongs to publication number `publication`.
#[inline]
fn bank_word(publication: u64) -> usize {
    let bank = usize::try_from(publication % BANKS as u64).expect("a bank's number is small");
    BANKS_WORD + bank * BANK_WORDS
}

/// Writes publication number `publication`; everything this thread stored before is visible to whoever reads it.
#[inline]
pub(crate) fn write(words: &WriteWords, publication: u64, published: &Published) {
    let Published { accepted, dropped, abandoned, sampled_out, produced } = *published;
    // Orders the number of the publication before, which the last call stored, before the stores to this bank: a
    // reader that sees any of them also sees that its own bank is 15 publications old.
    fence(Ordering::Release);
    let bank = &words.words()[bank_word(publication)..][..5];
    for (word, value) in bank.iter().zip([accepted, dropped, abandoned, sampled_out, produced]) {
        word.store(value, Ordering::Relaxed);
    }
    words.words()[PUBLICATIONS_WORD].store(publication, Ordering::Release);
}

/// Returns whether the bank of `publication` cannot have been written again while `newest` was the newest one: the writer
/// is at most at work on the one after.
fn is_whole(publication: u64, newest: u64) -> bool {
    newest.wrapping_sub(publication) <= BANKS as u64 - 2
}

/// Returns the newest publication, if it is one that can follow `before`.
pub(crate) fn read(words: &ReadWords, before: &Published) -> Result<Published, HeaderFault> {
    for _ in 0..ATTEMPTS_MAX {
        let publication = words.load_acquire(PUBLICATIONS_WORD);
        let bank = bank_word(publication);
        let published = Published {
            accepted: words.load(bank),
            dropped: words.load(bank + 1),
            abandoned: words.load(bank + 2),
            sampled_out: words.load(bank + 3),
            produced: words.load(bank + 4),
        };
        // Keeps the loads above from moving below the one that tells whether the bank was still whole.
        fence(Ordering::Acquire);
        let newest = words.load(PUBLICATIONS_WORD);
        if is_whole(publication, newest) {
            published.check(before)?;
            return Ok(published);
        }
    }
    Err(HeaderFault::Unsettled { attempts: ATTEMPTS_MAX })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;
    use crate::memory;

    fn words() -> (WriteWords, ReadWords) {
        let file = memory::create_file(c"flow_ring test", 4096).unwrap();
        (WriteWords::map(&file, 4096).unwrap(), ReadWords::map(&file, 4096).unwrap())
    }

    fn good() -> Published {
        Published { accepted: 100, dropped: 20, abandoned: 10, sampled_out: 5, produced: 125 }
    }

    #[test]
    fn fresh_memory_reads_as_nothing_produced() {
        assert_eq!(read(&words().1, &Published::default()), Ok(Published::default()));
    }

    #[test]
    fn the_newest_publication_is_read_in_every_bank() {
        let (writer, reader) = words();
        let mut before = Published::default();
        for publication in 1..=50 {
            let published =
                Published { accepted: publication, produced: publication, ..Published::default() };
            write(&writer, publication, &published);
            before = read(&reader, &before).unwrap();
            assert_eq!(before, published);
        }
    }

    #[test]
    fn a_writer_killed_amid_a_publication_leaves_the_one_before() {
        let (writer, reader) = words();
        write(&writer, 1, &good());
        writer.words()[bank_word(2)].store(u64::MAX, Ordering::Relaxed);
        assert_eq!(read(&reader, &Published::default()), Ok(good()));
    }

    #[test]
    fn a_bank_is_trusted_only_as_long_as_nobody_can_be_writing_it_again() {
        assert!(is_whole(5, 5));
        assert!(is_whole(5, 19), "20 may be under way, in bank 4");
        assert!(!is_whole(5, 20), "21 may be under way, in bank 5");
        assert!(!is_whole(5, 4), "a hostile writer");
        assert!(is_whole(u64::MAX, 3));
    }

    #[test]
    fn no_torn_publication_is_read_while_the_writer_works_as_fast_as_it_can() {
        let (writer, reader) = words();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for publication in 1.. {
                    let number = publication / 3 * 3;
                    let parts = Published { accepted: number, dropped: number, ..Published::default() };
                    write(&writer, publication, &Published { produced: 2 * number, ..parts });
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            let mut before = Published::default();
            let torn = (0..200_000).find_map(|_| match read(&reader, &before) {
                Ok(published) => {
                    before = published;
                    None
                }
                // No producer publishes this fast; a reader without a core of its own may see it.
                Err(HeaderFault::Unsettled { .. }) => None,
                Err(torn) => Some(torn),
            });
            over.store(true, Ordering::Relaxed);
            assert_eq!(torn, None);
        });
    }

    #[test]
    fn every_number_that_runs_backwards_is_named() {
        let before = good();
        let cases = [
            Published { accepted: 99, produced: 124, ..before },
            Published { dropped: 19, produced: 124, ..before },
            Published { abandoned: 9, ..before },
            Published { sampled_out: 4, produced: 124, ..before },
        ];
        let faults = cases.map(|case| case.check(&before).unwrap_err().to_string());
        assert_eq!(faults[0], "head ran backwards to 99, 100 was reached");
        assert_eq!(faults[1], "counter dropped ran backwards from 20 to 19");
        assert_eq!(faults[2], "counter abandoned ran backwards from 10 to 9");
        assert_eq!(faults[3], "counter sampled_out ran backwards from 5 to 4");
    }

    #[test]
    fn numbers_that_do_not_add_up_are_refused() {
        let zero = Published::default();
        let wrong = Published { produced: 126, ..good() };
        assert_eq!(wrong.check(&zero), Err(HeaderFault::Sum { produced: 126, sum: Some(125) }));
        let huge = Published { dropped: u64::MAX, ..good() };
        assert_eq!(huge.check(&zero), Err(HeaderFault::Sum { produced: 125, sum: None }));
        let given_up = Published { abandoned: 101, ..good() };
        assert_eq!(given_up.check(&zero), Err(HeaderFault::Abandoned { abandoned: 101, head: 100 }));
        assert_eq!(good().check(&zero), Ok(()));
    }
}
