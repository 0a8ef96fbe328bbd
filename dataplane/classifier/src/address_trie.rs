//! The address trie: address -> class, 16 bits a step, in one step behind the root for nearly every IPv4 address.
//!
//! The upper 16 bits are looked up in a root table, in two halves, so that a segment with few prefixes has few pages. From
//! there on a step decides the next 16 bits, a **digit**. Along the 65,536 values of a digit the reference changes at a few
//! places only; a **node** is one cache line that holds up to ten of these places and the references between them, and how
//! many of the places lie in front of the digit is the number of the reference. All ten are compared by one vector
//! instruction, and what it finds is counted, not branched on.
//!
//! ```text
//! reference of a root table, u64
//!                   shift(8) last(16) first(16) place(24): node at place + min((digit - first) >> shift, last)
//!
//! reference, u32    1 class                           a leaf
//!                   01 place in skips                 digits that are compared at once
//!                   001 shift(5) place(24) of nodes   the same digit once more
//!                   000 shift(5) place(24) of nodes   the next digit
//!
//! node at place + (digit >> shift), 64 bytes:
//!    0        20                                          64
//!    +--------+-------------------------------------------+
//!    | lasts  | references                                |     lasts: 10 i16, ascending
//!    +--------+-------------------------------------------+     references: 11 u32
//! reference of a digit = references[how many lasts are smaller]
//! ```
//!
//! Where more than ten places lie on a digit, the reference names a row of nodes, which the upper bits of the digit choose
//! from; behind a root table, the upper bits of its distance from where most places lie (`build/window`). A row is at most some
//! times as long as there are places; where they are so crowded that this does not separate them, a node leads to more nodes
//! for the same digit, as in a B-tree.
//!
//! (A node that covers eight bits by a bitmap and finds the reference by counting its bits, as Poptrie does (Asai and Ohara,
//! SIGCOMM 2015), takes two steps where this takes one, and each of them reads two cache lines where this reads one.)
//!
//! The first two digits of an IPv6 address are looked up as those of an IPv4 address are. Where all that differs below lies
//! behind the same digits, and everything else is of one class, a chain of nodes would follow, four of them in a prefix of a
//! few hosts. A **skip** stands for the chain and compares those
//! digits at once.
//!
//! What a leaf says is chosen by the caller: the source side and the destination side have roots of their own, since rules
//! tell other addresses apart on either side, and what both have in common is stored once.

mod build;

use super::compile::CompileError;
pub(super) use build::TrieBuilder;
use std::net::IpAddr;
use wide::{i8x32, i16x16};

/// Bits that one step decides.
pub(super) const DIGIT_BITS: u32 = 16;
/// Bits of a key.
pub(super) const KEY_BITS: u32 = 128;
/// References of one page of a root table, and pages of one root table.
const PAGE: usize = 256;
/// Places on a digit that one node holds.
const NODE_LASTS: usize = 10;
/// Words of a node: a cache line.
const NODE_WORDS: usize = 16;
/// Where the references begin in a node.
const NODE_REFERENCES: usize = NODE_LASTS / 2;
/// Of the bits that a comparison of a node's first 32 bytes gives, two each for the places.
const NODE_MASK: u32 = (1 << (2 * NODE_LASTS)) - 1;
/// Fewest bits that a skip is worth: with fewer, one step replaces one step.
const SKIP_BITS_MIN: u32 = 2 * DIGIT_BITS;
/// Nodes of all tries together. 2^22 nodes of 64 bytes are 268 MB, enough for 200,000 endpoints with five scattered IPv6
/// addresses each.
pub(super) const TRIE_NODES_MAX: usize = 1 << 22;
/// Pages of all root tables: 2^17 of two KiB are 268 MB.
pub(super) const TRIE_PAGES_MAX: usize = 1 << 17;
/// Bits that choose a node of a row at most.
const ROW_BITS_MAX: u32 = DIGIT_BITS - 3;
const _: () = assert!(NODE_REFERENCES + NODE_LASTS + 1 == NODE_WORDS);

/// Marks a reference to a class.
const LEAF: u32 = 1 << 31;
/// Marks a reference to a skip.
const SKIP: u32 = 1 << 30;
/// Marks a reference to nodes that decide the same digit.
const SAME_DIGIT: u32 = 1 << 29;
/// Where the shift stands.
const SHIFT_AT: u32 = 24;
/// The place.
const PLACE: u32 = (1 << SHIFT_AT) - 1;
/// How the order of `i16` differs from that of `u16`: vector units compare only the former.
const ORDER: u16 = 1 << 15;

const _: () = assert!(TRIE_NODES_MAX <= PLACE as usize);

/// A class, nodes or a skip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Reference(u32);

impl Reference {
    /// What is a leaf as long as it was taken together with leaves only.
    pub(super) const ALL_LEAVES: Self = Self(u32::MAX);
    /// The first node, whatever the digit.
    const FIRST_NODE: Self = Self(DIGIT_BITS << SHIFT_AT);

    /// Returns what is a leaf if both are.
    #[inline]
    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns whether the walk is over.
    #[inline]
    pub(super) fn is_leaf(self) -> bool {
        self.0 >= LEAF
    }

    /// Returns whether the same digit is looked at once more.
    #[inline]
    pub(super) fn is_same_digit(self) -> bool {
        self.0 & (LEAF | SKIP | SAME_DIGIT) == SAME_DIGIT
    }

    /// Returns what is left of a key whose second digit led here.
    #[inline]
    pub(super) fn rest_of(self, key: u128) -> u128 {
        key << if self.is_same_digit() { DIGIT_BITS } else { 2 * DIGIT_BITS }
    }

    /// Returns the class of a leaf.
    #[inline]
    pub(super) fn class(self) -> u32 {
        self.0 & !LEAF
    }
}

/// A digit as vector units compare it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ordered(i16);

impl Ordered {
    /// Returns a digit in this order.
    #[inline(always)]
    pub(super) fn new(digit: u16) -> Self {
        Self((digit ^ ORDER).cast_signed())
    }
}

/// A row of nodes that a root table leads to, and how its nodes are chosen: the place of the first node and a shift, the first
/// digit of the row's window and the number of its last node.
// Two words, so that those of a burst are taken apart by vector units, eight at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct RootReference([u32; 2]);

impl RootReference {
    /// Returns the reference to the row at that place, of which the node with the number `last` is the last one.
    fn new(place: u32, first: u16, last: u32, shift: u32) -> Self {
        Self([place | shift << SHIFT_AT, u32::from(first) << 16 | last])
    }

    /// Returns the place of a digit's node.
    #[inline(always)]
    pub(super) fn node(self, digit: u16) -> NodePlace {
        let Self([row, window]) = self;
        let number = (u32::from(digit).wrapping_sub(window >> 16) & 0xffff).wrapping_shr(row >> SHIFT_AT);
        NodePlace((row & PLACE) + number.min(window & 0xffff))
    }
}

/// Up to ten places on a digit at which the reference changes, and the references between them.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Node([u32; NODE_WORDS]);

impl Node {
    /// Returns the node of these stretches' last digits, but for the last stretch's, and of their references.
    fn new(lasts: &[u16], references: &[Reference]) -> Self {
        // What is filled up is smaller than no digit.
        let mut places = [i16::MAX; NODE_LASTS];
        for (place, last) in places.iter_mut().zip(lasts) {
            *place = Ordered::new(*last).0;
        }
        let mut words = [0; NODE_WORDS];
        words[..NODE_REFERENCES].copy_from_slice(bytemuck::cast_slice(&places));
        for (word, reference) in words[NODE_REFERENCES..].iter_mut().zip(references) {
            *word = reference.0;
        }
        Self(words)
    }

    /// Returns where a digit leads to.
    #[inline(always)]
    fn reference(&self, digit: Ordered) -> Reference {
        const { assert!(NODE_WORDS == 16) };
        let [head, _] = bytemuck::cast_ref::<[u32; NODE_WORDS], [[i16; 16]; 2]>(&self.0);
        let smaller = i16x16::splat(digit.0).simd_gt(i16x16::new(*head));
        // Two bits a place, of which the references at the end of the 32 bytes take part for nothing.
        let bits = bytemuck::cast::<i16x16, i8x32>(smaller).to_bitmask() & NODE_MASK;
        Reference(self.0[NODE_REFERENCES + bits.count_ones() as usize / 2])
    }
}

/// Digits that are compared at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Skip {
    /// What they are expected to be, from the top.
    expected: u128,
    /// How many bits: a multiple of a digit's, below 128.
    bits: u32,
    /// Where they lead to.
    inside: Reference,
    /// The leaf of everything else.
    beside: Reference,
}

/// The root table of one side of one family of one segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Root(u32);

/// The place of a node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NodePlace(u32);

/// Where the pages of a root table begin, one for each upper byte.
pub(super) type RootTable = [u32; PAGE];

/// The tries of all segments, families and sides.
#[derive(Debug, Default)]
pub(super) struct AddressTrie {
    tables: Vec<RootTable>,
    /// The pages of all root tables, one behind the other.
    pages: Vec<RootReference>,
    nodes: Vec<Node>,
    skips: Vec<Skip>,
}

/// Returns the address as a key: its first bit is the topmost one.
pub(super) fn key_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << (KEY_BITS - 32),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Returns the first two digits of a key.
#[inline(always)]
pub(super) fn digits_of(key: u128) -> [u16; 2] {
    [(key >> (KEY_BITS - DIGIT_BITS)) as u16, (key >> (KEY_BITS - 2 * DIGIT_BITS) & 0xffff) as u16]
}

impl AddressTrie {
    /// Returns a root's table.
    #[inline]
    pub(super) fn table(&self, root: Root) -> &RootTable {
        &self.tables[root.0 as usize]
    }

    /// Returns the row of nodes that the first digit of a key leads to.
    #[inline(always)]
    pub(super) fn start(&self, table: &RootTable, first: u16) -> RootReference {
        self.pages[(table[usize::from(first >> 8)] + u32::from(first & 0xff)) as usize]
    }

    /// Returns where the second digit leads to from its node.
    #[inline(always)]
    pub(super) fn first_step(&self, from: NodePlace, digit: Ordered) -> Reference {
        self.nodes[from.0 as usize].reference(digit)
    }

    /// Returns where a digit leads to from nodes.
    #[inline(always)]
    pub(super) fn step(&self, from: Reference, digit: u16) -> Reference {
        // Of the shift only five bits count, so that the mark above it does not matter.
        let place = (from.0 & PLACE) + u32::from(digit).wrapping_shr(from.0 >> SHIFT_AT);
        self.nodes[place as usize].reference(Ordered::new(digit))
    }

    /// Returns the same, and a leaf as it is; without a branch.
    #[inline(always)]
    pub(super) fn step_unless_leaf(&self, from: Reference, digit: u16) -> Reference {
        let to = self.step(if from.is_leaf() { Reference::FIRST_NODE } else { from }, digit);
        if from.is_leaf() { from } else { to }
    }

    /// Returns where the rest of a key leads to from what is not a leaf, and what is left of it then.
    #[inline]
    pub(super) fn step_or_skip(&self, from: Reference, rest: u128) -> (Reference, u128) {
        if from.0 & SKIP == 0 {
            let to = self.step(from, (rest >> (KEY_BITS - DIGIT_BITS)) as u16);
            return (to, if to.is_same_digit() { rest } else { rest << DIGIT_BITS });
        }
        let skip = &self.skips[(from.0 & !SKIP) as usize];
        if (rest ^ skip.expected) >> (KEY_BITS - skip.bits) == 0 {
            (skip.inside, rest << skip.bits)
        } else {
            (skip.beside, rest)
        }
    }

    /// Returns the class of an address.
    pub(super) fn class_of(&self, root: Root, address: IpAddr) -> u32 {
        let key = key_of(address);
        self.walk_on(self.second_digit(root, key), key)
    }

    /// Returns where the first two digits of a key lead to.
    fn second_digit(&self, root: Root, key: u128) -> Reference {
        let [first, second] = digits_of(key);
        self.first_step(self.start(self.table(root), first).node(second), Ordered::new(second))
    }

    /// Returns the class of a key whose second digit led here.
    fn walk_on(&self, mut at: Reference, key: u128) -> u32 {
        let mut rest = at.rest_of(key);
        while !at.is_leaf() {
            (at, rest) = self.step_or_skip(at, rest);
        }
        at.class()
    }

    /// Returns the bytes that all tables take.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.tables.as_slice())
            + size_of_val(self.pages.as_slice())
            + size_of_val(self.nodes.as_slice())
            + size_of_val(self.skips.as_slice())
    }
}

/// Returns a place as `u32`; every table is limited far below that.
pub(super) fn index_u32(place: usize) -> u32 {
    u32::try_from(place).expect("tables are limited to fewer than 2^32 places")
}

#[cfg(test)]
mod tests {
    use super::super::classes::Run;
    use super::*;
    use meshgate_policy::generate::Rng;

    fn trie(runs: &[(&str, u32)]) -> (AddressTrie, Root) {
        let key = |text: &str| key_of(text.parse().unwrap());
        let is_ipv6 = runs[0].0.contains(':');
        let runs: Vec<Run> =
            runs.iter().map(|(text, class)| Run { first: key(text), class: *class }).collect();
        let mut trie = TrieBuilder::new(100);
        trie.add(&[Run { first: 0, class: 99 }], false).unwrap();
        let root = trie.add(&runs, is_ipv6).unwrap();
        (trie.finish(), root)
    }

    fn steps(trie: &AddressTrie, root: Root, address: IpAddr) -> usize {
        let key = key_of(address);
        let mut at = trie.second_digit(root, key);
        let (mut rest, mut steps) = (key << (2 * DIGIT_BITS), 1);
        while !at.is_leaf() {
            (at, rest) = trie.step_or_skip(at, rest);
            steps += 1;
        }
        steps
    }

    #[test]
    fn each_address_has_the_class_of_the_run_it_lies_in() {
        let (trie, root) =
            trie(&[("0.0.0.0", 0), ("10.0.0.0", 1), ("10.0.0.7", 2), ("10.0.0.8", 1), ("11.0.0.0", 0)]);
        for (address, class) in
            [("9.255.255.255", 0), ("10.0.0.6", 1), ("10.0.0.7", 2), ("10.0.0.8", 1), ("255.255.255.255", 0)]
        {
            assert_eq!(trie.class_of(root, address.parse().unwrap()), class, "{address}");
        }
    }

    #[test]
    fn a_single_ipv6_address_is_told_from_both_its_neighbours() {
        let (trie, root) = trie(&[("::", 0), ("fd00::1:0", 1), ("fd00::1:1", 0)]);
        for (address, class) in [("fd00::ffff", 0), ("fd00::1:0", 1), ("fd00::1:1", 0), ("ffff::", 0)] {
            assert_eq!(trie.class_of(root, address.parse().unwrap()), class, "{address}");
        }
    }

    #[test]
    fn a_few_hosts_of_an_ipv6_prefix_are_three_steps_behind_the_root() {
        let (trie, root) = trie(&[("::", 0), ("fd00::1:0", 1), ("fd00::1:1", 2), ("fd00::1:2", 0)]);
        for (address, class, expected) in [
            ("fd00::ffff", 0, 2),
            ("fd00::1:0", 1, 3),
            ("fd00::1:1", 2, 3),
            ("fd00::1:2", 0, 3),
            ("fd00:1::1:0", 0, 1),
            ("fc01::1:0", 0, 1),
            ("fd00::2:0", 0, 2),
        ] {
            let address = address.parse().unwrap();
            let found = (trie.class_of(root, address), steps(&trie, root, address));
            assert_eq!(found, (class, expected), "{address}");
        }
    }

    fn number(i: u128) -> u32 {
        u32::try_from(i).unwrap()
    }

    #[test]
    fn hosts_crowded_in_a_prefix_are_each_told_apart() {
        let (one_v4, first) = (1u128 << 96, key_of("10.1.2.0".parse().unwrap()));
        // Two hundred neighbours, and pairs of neighbours far apart, and both over IPv6.
        for (is_ipv6, first, spread, count) in [
            (false, first, 2 * one_v4, 100u128),
            (false, first, 300 * one_v4, 90),
            (true, key_of("fd00::1:0".parse().unwrap()), 2, 200),
            (true, key_of("fd00::1:0".parse().unwrap()), 0x1_0000_0003, 90),
        ] {
            let width = if is_ipv6 { 1 } else { one_v4 };
            let runs: Vec<Run> = [Run { first: 0, class: 0 }]
                .into_iter()
                .chain((0..count).flat_map(|i| {
                    let own = first + i * spread;
                    [Run { first: own, class: 1 + number(i) }, Run { first: own + width, class: 0 }]
                }))
                .collect();
            let mut builder = TrieBuilder::new(100);
            let root = builder.add(&runs, is_ipv6).unwrap();
            let trie = builder.finish();
            let class_at = |key: u128| {
                let address =
                    if is_ipv6 { IpAddr::V6(key.into()) } else { IpAddr::V4(((key >> 96) as u32).into()) };
                trie.class_of(root, address)
            };
            for i in 0..count {
                let own = first + i * spread;
                let around = [class_at(own - width), class_at(own), class_at(own + width)];
                assert_eq!(around, [0, 1 + number(i), 0], "{is_ipv6} {spread:x} {i}");
            }
        }
    }

    #[test]
    fn the_class_of_random_runs_is_found_at_both_sides_of_each_beginning() {
        let mut rng = Rng::new(1);
        for _ in 0..300 {
            let is_ipv6 = rng.chance(50);
            let unit = if is_ipv6 { 1 } else { 1u128 << 96 };
            // Few values a digit, so that beginnings meet in every depth.
            let digits = [0u16, 0, 1, 2, 0x7fff, 0x8000, 0xffff];
            let key = |rng: &mut Rng| (0..8).fold(0, |key, _| key << 16 | u128::from(rng.one_of(digits)));
            let mut firsts: Vec<u128> = (0..2 + rng.index(60)).map(|_| key(&mut rng) / unit * unit).collect();
            firsts.push(0);
            firsts.sort_unstable();
            firsts.dedup();
            let mut runs: Vec<Run> = Vec::new();
            for (at, first) in firsts.iter().enumerate() {
                let class = if rng.chance(60) { 0 } else { index_u32(at) };
                if runs.last().is_none_or(|last| last.class != class) {
                    runs.push(Run { first: *first, class });
                }
            }
            let mut builder = TrieBuilder::new(100);
            let root = builder.add(&runs, is_ipv6).unwrap();
            let trie = builder.finish();
            for run in &runs {
                for key in [run.first.saturating_sub(unit), run.first, run.first.saturating_add(unit)] {
                    let expected = runs[runs.partition_point(|run| run.first <= key) - 1].class;
                    let address = if is_ipv6 {
                        IpAddr::V6(key.into())
                    } else {
                        IpAddr::V4(((key >> 96) as u32).into())
                    };
                    assert_eq!(trie.class_of(root, address), expected, "{address} of {runs:x?}");
                }
            }
        }
    }

    #[test]
    fn equal_rows_and_pages_are_stored_once() {
        let runs: Vec<Run> = (0..65_536u128)
            .flat_map(|i| [Run { first: i << 112, class: 0 }, Run { first: i << 112 | 7 << 104, class: 1 }])
            .collect();
        let mut builder = TrieBuilder::new(100);
        builder.add(&runs, false).unwrap();
        let trie = builder.finish();
        // The row of all digits, and those of either class alone, which were thought to be needed between them.
        assert_eq!((trie.nodes.len(), trie.pages.len(), trie.tables.len()), (3, PAGE, 1));
    }
}
