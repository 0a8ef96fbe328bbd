//! What flows were judged by, each judgement kept once: thousands of flows rest on the same few rules.
//!
//! A flow has the number of its grounds, and the store counts who has them, so that they go with the last one. Full means
//! that a flow gets [`GroundsStore::UNKEPT`]: grounds of a policy that is never the current one, so that each packet of such a
//! flow is judged anew. That is slow, and right.

use super::FlowGrounds;
use super::standing::NONE;
use meshgate_policy::{Action, PolicyVersion, Stage};

/// Most judgements that are kept apart in a table of up to so many flows.
const SMALL: u32 = 4_096;
/// In larger tables: one for so many flows.
const FLOWS_PER_GROUNDS: u32 = 128;

/// Grounds by number.
pub(super) struct GroundsStore {
    entries: Vec<Entry>,
    /// First entry of each list; as many as a power of two.
    heads: Vec<u32>,
    /// First free entry.
    free: u32,
}

struct Entry {
    grounds: FlowGrounds,
    /// Flows that have them; 0 when free.
    flows: u32,
    /// Next entry with the same list head, or next free one.
    next: u32,
}

impl GroundsStore {
    /// The number of the grounds of flows for whose own there was no room.
    pub(super) const UNKEPT: u32 = 0;

    /// Returns an empty store for a table of so many flows, all memory taken now.
    pub(super) fn new(flows_max: u32) -> Self {
        let kept_max = flows_max.min(SMALL).max(flows_max / FLOWS_PER_GROUNDS);
        let unkept = FlowGrounds {
            version: PolicyVersion(0),
            generation: u64::MAX,
            rule: 0,
            rule_index: u32::MAX,
            shadow_rule: 0,
            stage: Stage::Default,
            action: Action::Allow,
        };
        let entry = |at: u32| Entry {
            grounds: unkept,
            flows: 0,
            next: if at == 0 || at == kept_max { NONE } else { at + 1 },
        };
        Self {
            entries: (0..=kept_max).map(entry).collect(),
            heads: vec![NONE; kept_max.next_power_of_two() as usize],
            free: 1,
        }
    }

    /// Returns how many bytes of memory the store takes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.entries.as_slice()) + size_of_val(self.heads.as_slice())
    }

    /// Returns grounds by their number.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &FlowGrounds {
        &self.entries[number as usize].grounds
    }

    /// Keeps grounds for one more flow and returns their number.
    pub(super) fn keep(&mut self, grounds: &FlowGrounds) -> u32 {
        let head = self.head_of(grounds);
        let mut at = self.heads[head];
        while at != NONE {
            let entry = &mut self.entries[at as usize];
            if entry.grounds == *grounds {
                entry.flows += 1;
                return at;
            }
            at = entry.next;
        }
        let at = self.free;
        let Some(entry) = self.entries.get_mut(at as usize) else { return Self::UNKEPT };
        self.free = entry.next;
        *entry = Entry { grounds: *grounds, flows: 1, next: self.heads[head] };
        self.heads[head] = at;
        at
    }

    /// Takes note that a flow has these no more.
    pub(super) fn let_go(&mut self, number: u32) {
        if number == Self::UNKEPT {
            return;
        }
        let entry = &mut self.entries[number as usize];
        entry.flows -= 1;
        if entry.flows > 0 {
            return;
        }
        let after = entry.next;
        let head = self.head_of(&self.entries[number as usize].grounds);
        let mut before = NONE;
        let mut here = self.heads[head];
        while here != number {
            before = here;
            here = self.entries[here as usize].next;
        }
        match before {
            NONE => self.heads[head] = after,
            _ => self.entries[before as usize].next = after,
        }
        self.entries[number as usize].next = self.free;
        self.free = number;
    }

    /// Rules are no secret, and who may write them may slow this host down by other means: the hash needs no key.
    fn head_of(&self, grounds: &FlowGrounds) -> usize {
        let rules = (u64::from(grounds.rule) << 32) | u64::from(grounds.shadow_rule);
        let mixed = (rules ^ grounds.generation.rotate_left(20)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from(mixed >> 32).unwrap_or(0) & (self.heads.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grounds(number: u32) -> FlowGrounds {
        FlowGrounds {
            version: PolicyVersion(1),
            generation: u64::from(number % 3),
            rule: number,
            rule_index: number,
            shadow_rule: number % 5,
            stage: Stage::Rules,
            action: Action::Allow,
        }
    }

    #[test]
    fn what_is_kept_is_kept_once_and_goes_with_the_last_flow() {
        let mut store = GroundsStore::new(16);
        let numbers: Vec<u32> = (0..16).map(|number| store.keep(&grounds(number))).collect();
        for (number, kept) in (0..).zip(&numbers) {
            assert_eq!((*store.get(*kept), store.keep(&grounds(number))), (grounds(number), *kept));
        }
        assert_eq!(store.keep(&grounds(16)), GroundsStore::UNKEPT);
        store.let_go(numbers[3]);
        assert_eq!(store.keep(&grounds(16)), GroundsStore::UNKEPT, "another flow has them");
        store.let_go(numbers[3]);
        assert_eq!(store.keep(&grounds(16)), numbers[3]);
        store.let_go(GroundsStore::UNKEPT);
        assert_eq!(store.get(GroundsStore::UNKEPT).generation, u64::MAX);
    }
}
