//! The producer's accounting as pure numbers: what was offered, and where each offer ended.
//!
//! Every offer is accepted (it gets the position `head`), dropped because the ring was full, or was sampled out before
//! it came. Every accepted record is waiting, delivered, or abandoned with a broken consumer. The counters are derived
//! from these parts, so that `produced = delivered + waiting + sampled_out + lost` holds by construction.

use crate::error::ConsumerFault;

/// Where everything that was produced has gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records offered, plus those sampled out before they were offered.
    pub produced: u64,
    /// Records that a consumer has released.
    pub delivered: u64,
    /// Records in the ring that no consumer has released yet.
    pub waiting: u64,
    /// Records left out on purpose by the caller's sampling.
    pub sampled_out: u64,
    /// Records dropped because the ring was full, and those given up with a broken consumer.
    pub lost: u64,
}

impl Counters {
    /// Returns whether nothing is missing and nothing is counted twice.
    pub fn balance(&self) -> bool {
        let parts = [self.delivered, self.waiting, self.sampled_out, self.lost];
        parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(*part)) == Some(self.produced)
    }
}

/// The parts from which [`Counters`] follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// Records accepted; the position of the next one.
    pub head: u64,
    /// Position up to which records were delivered or abandoned.
    pub tail: u64,
    /// Records refused because the ring was full.
    pub dropped: u64,
    /// Records that were waiting when a consumer turned out broken.
    pub abandoned: u64,
    /// Records that the caller's sampling left out.
    pub sampled_out: u64,
}

impl Ledger {
    /// Returns how many records wait.
    #[inline]
    pub fn waiting(&self) -> u64 {
        self.head - self.tail
    }

    /// Takes over the tail a consumer published, if it is one an honest consumer can have published.
    #[inline]
    pub fn accept_tail(&mut self, tail: u64, published_head: u64) -> Result<(), ConsumerFault> {
        if tail < self.tail {
            return Err(ConsumerFault::TailBackwards { tail, least: self.tail });
        }
        if tail > published_head {
            return Err(ConsumerFault::TailAhead { tail, head: published_head });
        }
        self.tail = tail;
        Ok(())
    }

    /// Gives up what waits. A broken consumer's tail does not tell which records it has acted on; handing them to its
    /// successor could count them twice, so they are lost, and the books say so.
    pub fn abandon_waiting(&mut self) {
        self.abandoned += self.waiting();
        self.tail = self.head;
    }

    /// Returns all records lost, for either reason.
    #[inline]
    pub fn lost(&self) -> u64 {
        self.dropped + self.abandoned
    }

    /// Returns everything produced.
    #[inline]
    pub fn produced(&self) -> u64 {
        self.head + self.dropped + self.sampled_out
    }

    /// Returns where everything went.
    pub fn counters(&self) -> Counters {
        Counters {
            produced: self.produced(),
            delivered: self.tail - self.abandoned,
            waiting: self.waiting(),
            sampled_out: self.sampled_out,
            lost: self.lost(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn a_tail_outside_of_what_is_waiting_is_refused_and_changes_nothing() {
        let ledger = Ledger { head: 100, tail: 40, ..Ledger::default() };
        let mut books = ledger;
        assert_eq!(books.accept_tail(39, 96), Err(ConsumerFault::TailBackwards { tail: 39, least: 40 }));
        assert_eq!(books.accept_tail(97, 96), Err(ConsumerFault::TailAhead { tail: 97, head: 96 }));
        assert_eq!(
            books.accept_tail(u64::MAX, 96),
            Err(ConsumerFault::TailAhead { tail: u64::MAX, head: 96 })
        );
        assert_eq!(books, ledger);
        assert_eq!(books.accept_tail(40, 96), Ok(()));
        assert_eq!(books.accept_tail(96, 96), Ok(()));
        assert_eq!(books.counters().delivered, 96);
    }

    #[test]
    fn what_waited_is_lost_exactly_once_however_often_it_is_abandoned() {
        let mut books = Ledger { head: 100, tail: 40, ..Ledger::default() };
        books.abandon_waiting();
        books.abandon_waiting();
        let expected = Counters { produced: 100, delivered: 40, waiting: 0, sampled_out: 0, lost: 60 };
        assert_eq!(books.counters(), expected);
    }

    #[test]
    fn the_books_agree_with_naive_counting_on_random_histories() {
        let seed = 0x5eed_0001;
        let mut chance = Chance::new(seed);
        let mut books = Ledger::default();
        let mut naive = Counters::default();
        for step in 0..200_000 {
            match chance.below(10) {
                0 => (books.sampled_out, naive.sampled_out) = (books.sampled_out + 3, naive.sampled_out + 3),
                1 => {
                    books.abandon_waiting();
                    naive.lost += std::mem::take(&mut naive.waiting);
                }
                2 => {
                    let taken = chance.below(naive.waiting + 1);
                    books.accept_tail(books.tail + taken, books.head).unwrap();
                    (naive.delivered, naive.waiting) = (naive.delivered + taken, naive.waiting - taken);
                }
                _ if naive.waiting == 64 => (books.dropped, naive.lost) = (books.dropped + 1, naive.lost + 1),
                _ => (books.head, naive.waiting) = (books.head + 1, naive.waiting + 1),
            }
            naive.produced = naive.delivered + naive.waiting + naive.sampled_out + naive.lost;
            assert_eq!(books.counters(), naive, "seed {seed:#x}, step {step}");
        }
        assert!(books.counters().balance());
    }
}
