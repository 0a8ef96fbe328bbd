//! Looking for flows side by side, and asking for memory before it is touched.

use super::standing::NONE;
use super::{FlowIndex, FlowKey, FlowTable, Standing};
use af_xdp::{prefetch, prefetch_whole};

/// How far the search for a flow has come.
#[derive(Clone, Copy, Debug)]
pub struct Trail {
    /// The number of the flow that is looked at next, or was found.
    at: u32,
    is_found: bool,
}

impl Default for Trail {
    fn default() -> Self {
        Self { at: NONE, is_found: false }
    }
}

impl Trail {
    /// Returns whether the whole list was looked at and the flow was not in it.
    #[inline]
    pub fn has_ended(&self) -> bool {
        !self.is_found && self.at == NONE
    }
}

impl FlowTable {
    /// Asks for the memory in which the list of this hash begins, without waiting for it.
    #[inline]
    pub fn prefetch_list(&self, hash: u64) {
        prefetch(&self.heads[self.head_of(hash)]);
    }

    /// Begins to look for a flow: asks for the memory of the first one of this hash's list, without waiting for it. Cheap
    /// when the beginning of the list has been asked for before.
    #[inline]
    pub fn first_step(&self, hash: u64) -> Trail {
        let at = self.heads[self.head_of(hash)];
        if let Some(flow) = self.slab.get(at as usize) {
            prefetch(flow);
        }
        Trail { at, is_found: false }
    }

    /// Goes on looking for a flow, once the memory that was asked for last is there: takes note that it is found, or asks for
    /// that of the next one of the list. Returns whether the search is over, with or without success.
    #[inline]
    pub fn next_step(&self, key: &FlowKey, trail: &mut Trail) -> bool {
        let Some(flow) = self.slab.get(trail.at as usize) else { return true };
        trail.is_found = flow.is_named(key);
        if trail.is_found {
            // The other line is only asked for where it is read.
            prefetch(&flow.state);
            return true;
        }
        trail.at = flow.next;
        match self.slab.get(trail.at as usize) {
            Some(flow) => prefetch(flow),
            None => return true,
        }
        false
    }

    /// Returns the flow that a trail has led to, if it is still there; the table may have changed since.
    #[inline]
    pub fn at_end_of(&self, trail: Trail, key: &FlowKey) -> Option<FlowIndex> {
        let flow = self.slab.get(trail.at as usize).filter(|_| trail.is_found)?;
        (flow.is_named(key) && !flow.is_free()).then_some(FlowIndex(trail.at))
    }

    /// Asks for the memory that will be touched when the oldest flow of this standing goes, and for that of the two behind it.
    /// Who takes out one flow for a new one calls it then: the next ones are nowhere near the processor, and are known. What
    /// must be there to say what comes next was asked for the call before.
    pub fn prefetch_oldest(&self, standing: Standing) {
        let oldest = self.ranks[standing.index()].oldest;
        let Some(first) = self.slab.get(oldest as usize) else { return };
        if let Some(head) = self.slab.get(self.heads[self.head_of(self.hash_of(&first.key()))] as usize) {
            prefetch(head);
        }
        self.wheel.prefetch_beside(oldest);
        let Some(second) = self.slab.get(first.newer as usize) else { return };
        self.prefetch_list(self.hash_of(&second.key()));
        self.wheel.prefetch(first.newer);
        prefetch(&self.seldom[first.newer as usize]);
        if let Some(third) = self.slab.get(second.newer as usize) {
            prefetch_whole(third);
        }
    }
}
