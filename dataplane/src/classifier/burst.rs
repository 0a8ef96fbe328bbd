//! The look-up over a burst: each step is taken for all packets before the next one begins.
//!
//! The steps of one packet wait for each other's loads; those of 64 packets do not. So the processor has up to 128
//! loads in flight instead of one, and a miss of one packet costs the others little.

use super::address_trie::{AddressTrie, Walk};
use super::l4_program::EMPTY_PROGRAM;
use super::{BURST_KEYS, Classifier, Judgement, KeyClasses, PAIRS_MAX};
use meshgate_policy::PolicyKey;

impl Classifier {
    /// Judges at most [`BURST_KEYS`] packets; those beyond the shorter of the two lists are left out.
    pub(super) fn judge_burst(&self, keys: &[PolicyKey], judgements: &mut [Judgement]) {
        debug_assert!(keys.len() <= BURST_KEYS, "the caller cuts longer lists");
        let mut classes = [KeyClasses::default(); BURST_KEYS];
        self.walk_burst(keys, &mut classes);
        for (key, classes) in keys.iter().zip(&mut classes) {
            classes.l4 = self.l4_classes.class_of(key.l4);
        }
        let mut programs = [EMPTY_PROGRAM; PAIRS_MAX];
        for ((_, classes), judgement) in keys.iter().zip(classes).zip(judgements) {
            *judgement = self.judge(classes, &mut programs);
        }
    }

    /// Finds the classes of all addresses, one step of all walks at a time. The number of rounds is that of the
    /// longest walk: at most five, or twenty-one where there is IPv6.
    fn walk_burst(&self, keys: &[PolicyKey], classes: &mut [KeyClasses; BURST_KEYS]) {
        let mut walks = [[Walk::default(); 2]; BURST_KEYS];
        for (walks, key) in walks.iter_mut().zip(keys) {
            *walks = [key.source, key.destination]
                .map(|address| AddressTrie::start(self.root(key.segment, address), address));
        }
        let walks = &mut walks.as_flattened_mut()[..2 * keys.len().min(BURST_KEYS)];
        loop {
            let mut has_moved = false;
            for walk in &mut *walks {
                has_moved |= self.trie.step(walk);
            }
            if !has_moved {
                break;
            }
        }
        for (classes, walks) in classes.iter_mut().zip(walks.chunks_exact(2)) {
            classes.source = self.trie.class_at(&walks[0]);
            classes.destination = self.trie.class_at(&walks[1]);
        }
    }
}
