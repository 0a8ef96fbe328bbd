//! Queues of datagrams in order of age, with the length of each.
//!
//! As all members of a queue live equally long, the oldest is the first that is due: expiry needs no wheel.

use crate::queues::Queues;

/// Queues over the numbers from 0 to a fixed capacity. A number is in one queue at most.
pub(super) struct Ages {
    queues: Queues,
    /// Queue of each number.
    queue: Vec<u32>,
    /// Members of each queue.
    counts: Vec<u32>,
}

impl Ages {
    /// Returns so many empty queues for numbers below `members_max`.
    pub(super) fn new(queues: u32, members_max: u32) -> Self {
        Self {
            queues: Queues::new(queues, members_max),
            queue: vec![0; members_max as usize],
            counts: vec![0; queues as usize],
        }
    }

    /// Makes a number that is in no queue the youngest of one.
    pub(super) fn push(&mut self, queue: u32, member: u32) {
        self.queues.push(queue, member);
        self.queue[member as usize] = queue;
        self.counts[queue as usize] += 1;
    }

    /// Takes a number out of its queue, if it is in one.
    pub(super) fn remove(&mut self, member: u32) {
        if self.queues.remove(member) {
            self.counts[self.queue[member as usize] as usize] -= 1;
        }
    }

    /// Returns the oldest member.
    pub(super) fn oldest(&self, queue: u32) -> Option<u32> {
        self.queues.oldest(queue)
    }

    /// Returns how many members a queue has.
    pub(super) fn count(&self, queue: u32) -> u32 {
        self.counts[queue as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn random_moves_agree_with_queues_of_the_library() {
        let mut rng = meshgate_policy::generate::Rng::new(3);
        let mut ages = Ages::new(3, 20);
        let mut queues: [VecDeque<u32>; 3] = std::array::from_fn(|_| VecDeque::new());
        for _ in 0..20_000 {
            let member = u32::try_from(rng.below(20)).unwrap();
            let queue = u32::try_from(rng.below(3)).unwrap();
            let holder = queues.iter_mut().find(|queue| queue.contains(&member));
            match holder {
                Some(holder) => {
                    ages.remove(member);
                    holder.retain(|other| *other != member);
                    ages.remove(member);
                }
                None => {
                    ages.push(queue, member);
                    queues[queue as usize].push_back(member);
                }
            }
            for (number, queue) in (0..).zip(&queues) {
                assert_eq!(ages.oldest(number), queue.front().copied());
                assert_eq!(ages.count(number) as usize, queue.len());
            }
        }
    }
}
