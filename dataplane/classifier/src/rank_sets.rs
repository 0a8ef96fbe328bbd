//! Rank sets: the smallest rank by what source, destination and L4 class each leave possible.
//!
//! Columns pay for every pair of groups that the two addresses of a packet are in. Where groups overlap without order, so
//! that no few of them can be merged, that is 256 pairs of 16 groups each. A set of ranks does not care: for each class of
//! sources, of destinations and of L4 keys it says with a bit a rank which rules and memberships hold it, and what all
//! three sets hold matches the packet; the first such bit wins (T. V. Lakshman and D. Stiliadis, *High-speed policy-based
//! packet forwarding using efficient multi-dimensional range matching*, SIGCOMM 1998).
//!
//! ```text
//! source set       0 1 1 0 1 ... 1
//! destination set  1 0 1 0 1 ... 1     and: rank 2 wins
//! L4 set           1 1 1 0 0 ... 1
//! ```
//!
//! It takes time with the number of rules, in steps of 256, and memory with the product of rules and classes: policies of
//! some hundred rules are judged so where columns would be many, larger ones never are.

use super::Rank;
use super::address_trie::index_u32;
use super::classes::Classes;
use super::l4_class::L4Matches;
use super::matrix::RankedRule;
use super::store::Rows;
use wide::i64x4;

/// Bits of a word.
const WORD_BITS: usize = 64;
/// Words that are compared at once.
const STEP_WORDS: usize = 4;
/// Most ranks: sixteen steps.
const RANKS_MAX: usize = 16 * STEP_WORDS * WORD_BITS;

/// Bytes of sets that near caches hold.
const NEAR_BYTES: usize = 1 << 18;

/// Words that are compared at once.
type Step = [u64; STEP_WORDS];

/// What each class holds.
#[derive(Debug)]
pub(super) struct RankSets {
    /// Sets of sources, of destinations and of L4 classes, `steps` of each.
    sets: [Vec<Step>; 3],
    /// Ranks that are enforced, the last one included, which every set holds.
    enforced: Vec<Step>,
    /// Ranks of shadow rules and the last one, if there are shadow rules.
    shadow: Option<Vec<Step>>,
    /// Whether the sets of L4 classes are too many for near caches.
    is_l4_far: bool,
}

/// Rules by their sides, enforced or shadow.
pub(super) struct SetRules<'a> {
    pub(super) enforced: &'a [RankedRule],
    pub(super) shadow: &'a [RankedRule],
    /// The rank that stands for "no rule", above all others.
    pub(super) no_rule: u16,
    pub(super) l4: &'a L4Matches,
    pub(super) l4_classes: u32,
}

/// Returns how many steps sets of so many ranks have.
fn steps_of(ranks: usize) -> usize {
    ranks.div_ceil(STEP_WORDS * WORD_BITS)
}

/// Returns what a look-up costs where there are so many ranks, and so many classes of addresses and of L4 keys, in the unit in
/// which forms of columns are weighed; nothing where sets are not made.
pub(super) fn reading(ranks: usize, classes: usize, l4_classes: usize, words_max: usize) -> Option<u64> {
    let words = |classes: usize| classes.checked_mul(steps_of(ranks) * STEP_WORDS);
    let far = if words(l4_classes)? * size_of::<u64>() > NEAR_BYTES { READING_FAR } else { 0 };
    (ranks <= RANKS_MAX && words(2 * classes + l4_classes)? <= words_max)
        .then_some(READING + READING_A_STEP * steps_of(ranks) as u64 + far)
}

/// What a look-up costs with sets of one step more, in the unit of forms of columns.
const READING_A_STEP: u64 = 4;
/// What it costs beside, and more where the sets of L4 classes are far.
const READING: u64 = 12;
const READING_FAR: u64 = 8;

impl RankSets {
    /// Returns the sets of a policy's rules, and the set of each class of addresses as a source and as a destination.
    pub(super) fn of(rules: &SetRules<'_>, classes: &Classes, atoms: u32) -> (Self, [Vec<u32>; 2]) {
        let last = usize::from(rules.no_rule);
        debug_assert!(last < RANKS_MAX, "`reading` refuses more");
        let steps = steps_of(last + 1);
        let words = steps * STEP_WORDS;
        let all = || rules.enforced.iter().chain(rules.shadow);
        let side = |atom_of: fn(&RankedRule) -> u32| {
            let mut of_atom = vec![Vec::new(); atoms as usize];
            all().for_each(|rule| of_atom[atom_of(rule) as usize].push(rule.rank as usize));
            let mut sets = Rows::new(words);
            let mut set = vec![0u64; words];
            let number = |atoms: &Vec<u32>| {
                set.fill(0);
                insert(&mut set, last);
                atoms
                    .iter()
                    .flat_map(|atom| &of_atom[*atom as usize])
                    .for_each(|rank| insert(&mut set, *rank));
                sets.number_of(&set)
            };
            let of_class = classes.atoms.iter().map(number).collect();
            (sets.list.as_chunks().0.to_vec(), of_class)
        };
        let (sources, source_of) = side(|rule| rule.source);
        let (destinations, destination_of) = side(|rule| rule.destination);
        let mut l4 = vec![0u64; rules.l4_classes as usize * words];
        l4.chunks_exact_mut(words).for_each(|set| insert(set, last));
        for rule in all() {
            for class in &rules.l4.classes[rule.l4 as usize] {
                insert(&mut l4[usize::from(*class) * words..][..words], rule.rank as usize);
            }
        }
        let mask = |list: &[RankedRule]| {
            let mut set = vec![0u64; words];
            list.iter().map(|rule| rule.rank as usize).chain([last]).for_each(|rank| insert(&mut set, rank));
            set.as_chunks().0.to_vec()
        };
        let shadow = (!rules.shadow.is_empty()).then(|| mask(rules.shadow));
        let is_l4_far = size_of_val(l4.as_slice()) > NEAR_BYTES;
        let sets = [sources, destinations, l4.as_chunks().0.to_vec()];
        (Self { sets, enforced: mask(rules.enforced), shadow, is_l4_far }, [source_of, destination_of])
    }

    /// Writes the smallest enforced rank of each packet: the first that all three of its sets hold.
    pub(super) fn ranks(&self, walks: &[[u32; 2]], l4: &[u32], ranks: &mut [Rank]) {
        // Few steps are all taken: which of them has the first common rank could not be foreseen.
        match self.enforced.len() {
            1 => self.ranks_in::<1>(walks, l4, ranks),
            2 => self.ranks_in::<2>(walks, l4, ranks),
            3 => self.ranks_in::<3>(walks, l4, ranks),
            4 => self.ranks_in::<4>(walks, l4, ranks),
            _ => {
                for ((walk, l4), rank) in walks.iter().zip(l4).zip(ranks) {
                    *rank = Rank(self.enforced(walk[0], walk[1], *l4));
                }
            }
        }
    }

    /// Does the same for sets of so many steps.
    #[inline(never)]
    fn ranks_in<const STEPS: usize>(&self, walks: &[[u32; 2]], l4: &[u32], ranks: &mut [Rank]) {
        let Some(mask) = self.enforced.first_chunk::<STEPS>() else { return };
        let [sources, destinations, l4_sets] = self.sets.each_ref().map(|sets| sets.as_chunks::<STEPS>().0);
        if self.is_l4_far {
            // Sets that are far away are asked for all at once, by their first and their last word.
            let touched = l4[..ranks.len()].iter().map(|l4| &l4_sets[*l4 as usize]);
            std::hint::black_box(
                touched.fold(0, |sum, set| sum ^ set[0][0] ^ set[STEPS - 1][STEP_WORDS - 1]),
            );
        }
        for ((walk, l4), rank) in walks.iter().zip(l4).zip(ranks) {
            let sets = [&sources[walk[0] as usize], &destinations[walk[1] as usize], &l4_sets[*l4 as usize]];
            let mut both = [[0; STEP_WORDS]; STEPS];
            let mut empty = 0;
            for (at, both) in both.iter_mut().enumerate() {
                let common = common(&mask[at], sets.map(|set| &set[at]));
                *both = common;
                empty |= i64x4::from(common.map(u64::cast_signed)).simd_eq(i64x4::ZERO).to_bitmask()
                    << (at * STEP_WORDS);
            }
            let word = empty.trailing_ones();
            *rank = rank_of(word, both.as_flattened()[word as usize % (STEPS * STEP_WORDS)]);
        }
    }

    /// Returns the smallest enforced rank that all three sets hold.
    pub(super) fn enforced(&self, source: u32, destination: u32, l4: u32) -> u16 {
        self.first(&self.enforced, [source, destination, l4])
    }

    /// Returns the smallest rank of a shadow rule that all three sets hold, or the last one; nothing without shadow rules.
    pub(super) fn shadow(&self, source: u32, destination: u32, l4: u32) -> Option<u16> {
        self.shadow.as_ref().map(|mask| self.first(mask, [source, destination, l4]))
    }

    fn first(&self, mask: &[Step], numbers: [u32; 3]) -> u16 {
        let steps = mask.len();
        let sets: [&[Step]; 3] =
            std::array::from_fn(|side| &self.sets[side][numbers[side] as usize * steps..][..steps]);
        for (at, mask) in mask.iter().enumerate() {
            let both = common(mask, sets.map(|set| &set[at]));
            if let Some(word) = both.iter().position(|word| *word != 0) {
                return rank_of(index_u32(at * STEP_WORDS + word), both[word]).0;
            }
        }
        unreachable!("every set holds the last rank")
    }

    /// Returns the bytes of all sets.
    pub(super) fn bytes(&self) -> usize {
        let masks = self.enforced.len() + self.shadow.as_ref().map_or(0, Vec::len);
        size_of::<Step>() * (masks + self.sets.iter().map(Vec::len).sum::<usize>())
    }

    /// Returns how many sets there are of sources and of destinations.
    pub(super) fn counts(&self) -> [usize; 2] {
        [0, 1].map(|side| self.sets[side].len() / self.enforced.len())
    }
}

/// Returns what a mask and three sets have in common.
#[inline(always)]
fn common(mask: &Step, [a, b, c]: [&Step; 3]) -> Step {
    let mut common = *mask;
    for (word, common) in common.iter_mut().enumerate() {
        *common &= a[word] & b[word] & c[word];
    }
    common
}

/// Returns the first rank in the word of that number.
#[inline(always)]
fn rank_of(word: u32, bits: u64) -> Rank {
    const { assert!(RANKS_MAX <= 1 << 12) };
    Rank(((word & 0x3f) as u16) << WORD_BITS.ilog2() | (bits.trailing_zeros() & 0x3f) as u16)
}

/// Adds a rank to a set.
fn insert(set: &mut [u64], rank: usize) {
    set[rank / WORD_BITS] |= 1 << (rank % WORD_BITS);
}
