//! Queues of numbers in order of age, from which any one may leave at any time.
//!
//! They are circular and linked through two arrays, with an entry for each queue behind those of the members, so that a
//! member leaves its queue without knowing which one it is in.

use af_xdp::{collect_in_huge_pages, prefetch};

/// Queues over the numbers from 0 to a fixed capacity. A number is in one queue at most.
pub(crate) struct Queues {
    /// Next younger member of the same queue. A number outside points at itself.
    next: Vec<u32>,
    /// Next older one, likewise.
    previous: Vec<u32>,
    members_max: u32,
}

impl Queues {
    /// Returns so many empty queues for numbers below `members_max`.
    pub(crate) fn new(queues: u32, members_max: u32) -> Self {
        let linked_to_self = || collect_in_huge_pages(0..members_max + queues);
        Self { next: linked_to_self(), previous: linked_to_self(), members_max }
    }

    /// Returns how many bytes of memory the queues take.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.next.as_slice()) + size_of_val(self.previous.as_slice())
    }

    /// Asks for the memory of a member's links, without waiting for it.
    pub(crate) fn prefetch(&self, member: u32) {
        prefetch(&self.next[member as usize]);
        prefetch(&self.previous[member as usize]);
    }

    /// Asks for the memory of the links of a member's neighbours, once that of its own is there.
    pub(crate) fn prefetch_beside(&self, member: u32) {
        let (next, previous) = (self.next[member as usize], self.previous[member as usize]);
        prefetch(&self.previous[next as usize]);
        prefetch(&self.next[previous as usize]);
    }

    /// Makes a number that is in no queue the youngest of one.
    pub(crate) fn push(&mut self, queue: u32, member: u32) {
        debug_assert_eq!(self.next[member as usize], member, "a number is in one queue at most");
        let end = self.members_max + queue;
        let youngest = self.previous[end as usize];
        self.next[youngest as usize] = member;
        self.previous[member as usize] = youngest;
        self.next[member as usize] = end;
        self.previous[end as usize] = member;
    }

    /// Takes a number out of its queue. Returns whether it was in one.
    pub(crate) fn remove(&mut self, member: u32) -> bool {
        let (next, previous) = (self.next[member as usize], self.previous[member as usize]);
        self.next[previous as usize] = next;
        self.previous[next as usize] = previous;
        self.next[member as usize] = member;
        self.previous[member as usize] = member;
        next != member
    }

    /// Returns the oldest member.
    pub(crate) fn oldest(&self, queue: u32) -> Option<u32> {
        let end = self.members_max + queue;
        Some(self.next[end as usize]).filter(|member| *member != end)
    }
}
