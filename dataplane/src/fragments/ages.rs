//! Queues of numbers in order of age, from which any one may leave at any time.
//!
//! As all members of a queue live equally long, the oldest is the first that is due: expiry needs no wheel. Queues are
//! circular and linked through two arrays, with an entry for each queue behind those of the members.

/// Queues over the numbers from 0 to a fixed capacity. A number is in one queue at most.
pub(super) struct Ages {
    /// Next younger member of the same queue. A number outside points at itself.
    next: Vec<u32>,
    /// Next older one, likewise.
    previous: Vec<u32>,
    /// Queue of each number.
    queue: Vec<u32>,
    /// Members of each queue.
    counts: Vec<u32>,
    members_max: u32,
}

impl Ages {
    /// Returns so many empty queues for numbers below `members_max`.
    pub(super) fn new(queues: u32, members_max: u32) -> Self {
        let linked_to_self: Vec<u32> = (0..members_max + queues).collect();
        Self {
            next: linked_to_self.clone(),
            previous: linked_to_self,
            queue: vec![0; members_max as usize],
            counts: vec![0; queues as usize],
            members_max,
        }
    }

    /// Makes a number that is in no queue the youngest of one.
    pub(super) fn push(&mut self, queue: u32, member: u32) {
        debug_assert_eq!(self.next[member as usize], member, "a number is in one queue at most");
        let end = self.members_max + queue;
        let youngest = self.previous[end as usize];
        self.next[youngest as usize] = member;
        self.previous[member as usize] = youngest;
        self.next[member as usize] = end;
        self.previous[end as usize] = member;
        self.queue[member as usize] = queue;
        self.counts[queue as usize] += 1;
    }

    /// Takes a number out of its queue, if it is in one.
    pub(super) fn remove(&mut self, member: u32) {
        let (next, previous) = (self.next[member as usize], self.previous[member as usize]);
        if next == member {
            return;
        }
        self.next[previous as usize] = next;
        self.previous[next as usize] = previous;
        self.next[member as usize] = member;
        self.previous[member as usize] = member;
        self.counts[self.queue[member as usize] as usize] -= 1;
    }

    /// Returns the oldest member.
    pub(super) fn oldest(&self, queue: u32) -> Option<u32> {
        let end = self.members_max + queue;
        Some(self.next[end as usize]).filter(|member| *member != end)
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
