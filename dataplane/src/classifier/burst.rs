//! The look-up over a burst: each step is taken for all packets before the next one begins.
//!
//! The steps of one packet wait for each other's loads; those of 64 packets do not. So the processor has up to 128
//! loads in flight instead of one, and a miss of one packet costs the others little. No step has a branch that depends on a
//! packet: a walk that is over drops out of the list of those that go on because its place in that list is written over.

use super::address_trie::{AddressTrie, Reference};
use super::{BURST_KEYS, Classifier, Judgement, KeyClasses, Rank};
use meshgate_policy::PolicyKey;
use std::net::IpAddr;

/// Addresses of a burst.
const WALKS: usize = 2 * BURST_KEYS;

/// The walks of a burst's addresses, source and destination of each packet one behind the other.
struct Walks {
    /// Where each has come to.
    at: [Reference; WALKS],
    /// The lower digit of each IPv4 address.
    digits: [u16; WALKS],
    /// Which are of IPv6 addresses.
    is_ipv6: u128,
}

impl Walks {
    /// Returns the walks of a burst, each at what its root table says.
    #[inline]
    fn begin(classifier: &Classifier, keys: &[PolicyKey]) -> Self {
        let mut walks = Self { at: [Reference::default(); WALKS], digits: [0; WALKS], is_ipv6: 0 };
        let Some(first) = keys.first() else { return walks };
        let (mut segment, mut roots) = (first.segment, classifier.roots(first.segment));
        for ((key, at), digits) in keys.iter().zip(walks.at.as_chunks_mut::<2>().0).zip(walks.digits.as_chunks_mut::<2>().0) {
            if key.segment != segment {
                (segment, roots) = (key.segment, classifier.roots(key.segment));
            }
            let addresses = [key.source, key.destination];
            for ((address, at), digit) in addresses.into_iter().zip(at).zip(digits) {
                match address {
                    IpAddr::V4(address) => {
                        let address = address.to_bits();
                        *at = classifier.trie.start(roots.ipv4, (address >> 16) as u16);
                        *digit = address as u16;
                    }
                    IpAddr::V6(address) => {
                        *at = classifier.trie.start(roots.ipv6, (address.to_bits() >> 112) as u16);
                        walks.is_ipv6 = 1;
                    }
                }
            }
        }
        walks
    }

    /// Takes all walks to their leaves.
    #[inline]
    fn finish(&mut self, keys: &[PolicyKey], trie: &AddressTrie) {
        if self.is_ipv6 != 0 {
            return self.finish_mixed(keys, trie);
        }
        let mut leaves = true;
        for (at, digit) in self.at.iter_mut().zip(&self.digits).take(2 * keys.len()) {
            *at = trie.step(*at, *digit);
            leaves &= at.is_leaf();
        }
        if !leaves {
            self.finish_crowded(trie);
        }
    }

    fn finish_crowded(&mut self, trie: &AddressTrie) {
        for (at, digit) in self.at.iter_mut().zip(&self.digits) {
            while !at.is_leaf() {
                *at = trie.step(*at, *digit);
            }
        }
    }

    fn finish_mixed(&mut self, keys: &[PolicyKey], trie: &AddressTrie) {
        for (at, key) in self.at.as_chunks_mut::<2>().0.iter_mut().zip(keys) {
            for (at, address) in at.iter_mut().zip([key.source, key.destination]) {
                let mut rest = super::address_trie::key_of(address) << 16;
                while !at.is_leaf() {
                    (*at, rest) = trie.step_or_skip(*at, rest);
                }
            }
        }
    }
}

impl Classifier {
    /// Writes what decides each of at most [`BURST_KEYS`] packets; those beyond the shorter of the two lists are left out.
    pub(super) fn rank_burst(&self, keys: &[PolicyKey], ranks: &mut [Rank]) {
        let classes = self.classes_of(keys);
        let [rows, columns] = &self.columns;
        for ((_, classes), rank) in keys.iter().zip(&classes).zip(ranks) {
            *rank = Rank(self.enforced.best_rank(rows.of(classes.source), columns.of(classes.destination), classes.l4));
        }
    }

    /// Judges at most [`BURST_KEYS`] packets; those beyond the shorter of the two lists are left out.
    pub(super) fn judge_burst(&self, keys: &[PolicyKey], judgements: &mut [Judgement]) {
        let classes = self.classes_of(keys);
        for ((_, classes), judgement) in keys.iter().zip(classes).zip(judgements) {
            *judgement = self.judge(classes);
        }
    }

    /// Returns the classes of all packets.
    #[inline]
    fn classes_of(&self, keys: &[PolicyKey]) -> [KeyClasses; BURST_KEYS] {
        debug_assert!(keys.len() <= BURST_KEYS, "the caller cuts longer lists");
        let mut walks = Walks::begin(self, keys);
        let mut classes = [KeyClasses::default(); BURST_KEYS];
        for (key, classes) in keys.iter().zip(&mut classes) {
            classes.l4 = self.l4_classes.class_of(key.l4);
        }
        walks.finish(keys, &self.trie);
        for (classes, at) in classes.iter_mut().zip(walks.at.as_chunks().0).take(keys.len()) {
            let [source, destination] = at.map(Reference::class);
            (classes.source, classes.destination) = (source, destination);
        }
        classes
    }
}
