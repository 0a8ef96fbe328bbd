//! The address trie: address -> class, in at most five loads for IPv4 and twenty-one for IPv6.
//!
//! One root of 256 nodes for the first byte, then six bits a step: 8 + 4 x 6 = 32 and 8 + 20 x 6 = 128, so both
//! families end on a step. An IPv4 address stands in the upper 32 bits of the key, which lets one walk serve both.
//!
//! ```text
//! node, 24 bytes                                   slot = next six bits of the address
//! +-----------------+-----------------+-------------+------------+
//! | children: u64   | leaf_starts: u64| first_child | first_leaf |
//! | bit s: slot s   | bit s: slot s   | u32         | u32        |
//! | has a child     | begins a run of |             |            |
//! |                 | equal leaves    |             |            |
//! +-----------------+-----------------+-------------+------------+
//! child of slot s = nodes [first_child + ones(children    up to s) - 1]
//! leaf  of slot s = leaves[first_leaf  + ones(leaf_starts up to s) - 1]
//! ```
//!
//! (Poptrie, Asai and Ohara, SIGCOMM 2015.) A step at a slot without a child leaves the walk where it is, so that a
//! burst takes the same number of steps for every address, without a branch per address.
//!
//! Where all that differs below a node lies behind the same twelve or more bits, and everything else is of one class,
//! a chain of nodes with one child each would follow, sixteen of them in an IPv6 prefix of a few hosts. A **skip**
//! stands for the chain: a node with neither children nor leaves, which compares those bits at once.
//!
//! ```text
//! skip node: first_leaf -> skips { expected bits, how many }      nodes[first_child]     = where they lead
//!                                                                 nodes[first_child + 1] = the one class beside
//! ```

use super::classes::Run;
use super::compile::CompileError;
use std::net::IpAddr;

/// Bits of the address that choose a node of the root.
const ROOT_BITS: u32 = 8;
/// Nodes of one root.
const ROOT_NODES: u32 = 1 << ROOT_BITS;
/// Bits of the address that one node looks at: the popcount of one machine word covers them.
const STRIDE_BITS: u32 = 6;
/// Slots of one node.
const SLOTS: u32 = 1 << STRIDE_BITS;
/// Bits of a key.
const KEY_BITS: u32 = 128;
/// Fewest bits that a skip is worth: with fewer, one step replaces one step.
const SKIP_BITS_MIN: u32 = 2 * STRIDE_BITS;
/// Nodes of all tries together. 2^24 nodes of 24 bytes are 400 MB, enough for 200,000 endpoints with five scattered
/// IPv6 addresses each.
pub(super) const TRIE_NODES_MAX: usize = 1 << 24;

const _: () = assert!((32 - ROOT_BITS).is_multiple_of(STRIDE_BITS));
const _: () = assert!((KEY_BITS - ROOT_BITS).is_multiple_of(STRIDE_BITS));

/// 64 slots of the trie, compressed by popcount.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// Bit s: slot s has a child.
    children: u64,
    /// Bit s: slot s has no child and begins a run of equal leaves.
    leaf_starts: u64,
    /// Place of the first child in `nodes`.
    first_child: u32,
    /// Place of the first leaf in `leaves`.
    first_leaf: u32,
}

impl Node {
    /// Returns a node all of whose slots have the same leaf.
    fn of_one_leaf(first_leaf: u32) -> Self {
        Self { leaf_starts: 1, first_leaf, ..Self::default() }
    }

    /// Returns whether the node stands for a skip: every other one has a child or begins a leaf in its first slot.
    #[inline]
    fn is_skip(&self) -> bool {
        self.children | self.leaf_starts == 0
    }
}

/// The tries of all segments and both families.
#[derive(Debug, Default)]
pub(super) struct AddressTrie {
    nodes: Vec<Node>,
    leaves: Vec<u32>,
    skips: Vec<Skip>,
}

/// Bits that are compared at once.
#[derive(Clone, Copy, Debug)]
struct Skip {
    /// What they are expected to be, from the top.
    expected: u128,
    /// How many: a multiple of the stride, below 128.
    bits: u32,
}

/// Where one address stands on its way through the trie.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk {
    /// The bits not looked at yet, from the top.
    rest: u128,
    /// The node that looks at the next ones.
    node: u32,
}

/// Returns the address as a key: its first bit is the topmost one.
pub(super) fn key_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << (KEY_BITS - 32),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Returns the slot that a key leads to: its topmost bits.
fn slot_of(rest: u128) -> u32 {
    // The shift leaves `STRIDE_BITS` bits.
    (rest >> (KEY_BITS - STRIDE_BITS)) as u32
}

/// Returns how many bits of `word` are set from bit 0 up to and including `slot`.
fn ones_up_to(word: u64, slot: u32) -> u32 {
    (word & (u64::MAX >> (SLOTS - 1 - slot))).count_ones()
}

impl AddressTrie {
    /// Returns the start of the walk of an address under a root.
    pub(super) fn start(root: u32, address: IpAddr) -> Walk {
        let key = key_of(address);
        // The shift leaves `ROOT_BITS` bits.
        Walk { rest: key << ROOT_BITS, node: root + (key >> (KEY_BITS - ROOT_BITS)) as u32 }
    }

    /// Takes the walk one step on, if its slot has a child; returns whether it had.
    #[inline]
    pub(super) fn step(&self, walk: &mut Walk) -> bool {
        let node = &self.nodes[walk.node as usize];
        if node.is_skip() {
            let skip = &self.skips[node.first_leaf as usize];
            let matches = (walk.rest ^ skip.expected) >> (KEY_BITS - skip.bits) == 0;
            walk.node = node.first_child + u32::from(!matches);
            walk.rest = if matches { walk.rest << skip.bits } else { walk.rest };
            return true;
        }
        let slot = slot_of(walk.rest);
        let moves = (node.children >> slot) & 1 == 1;
        let child = node.first_child.wrapping_add(ones_up_to(node.children, slot)).wrapping_sub(1);
        walk.node = if moves { child } else { walk.node };
        walk.rest = if moves { walk.rest << STRIDE_BITS } else { walk.rest };
        moves
    }

    /// Returns the class at the end of a walk, that is, when no step moves it on.
    #[inline]
    pub(super) fn class_at(&self, walk: &Walk) -> u32 {
        let node = &self.nodes[walk.node as usize];
        let rank = ones_up_to(node.leaf_starts, slot_of(walk.rest));
        self.leaves[(node.first_leaf + rank - 1) as usize]
    }

    /// Returns the class of an address.
    pub(super) fn class_of(&self, root: u32, address: IpAddr) -> u32 {
        let mut walk = Self::start(root, address);
        while self.step(&mut walk) {}
        self.class_at(&walk)
    }

    /// Returns the bytes that nodes and leaves take.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.nodes.as_slice())
            + size_of_val(self.leaves.as_slice())
            + size_of_val(self.skips.as_slice())
    }

    /// Adds the trie of one family of one segment and returns its root. The runs cover every key: the first begins
    /// at 0, each ends where the next begins.
    pub(super) fn add(&mut self, runs: &[Run]) -> Result<u32, CompileError> {
        let root = self.allocate(ROOT_NODES)?;
        let mut work: Vec<Work> = (0..ROOT_NODES)
            .map(|i| Work {
                node: root + i,
                first: u128::from(i) << (KEY_BITS - ROOT_BITS),
                depth: ROOT_BITS,
            })
            .collect();
        while let Some(item) = work.pop() {
            self.fill(runs, item, &mut work)?;
        }
        Ok(root)
    }

    /// Fills one node from the runs that meet it and puts its children onto the list of work.
    fn fill(&mut self, runs: &[Run], item: Work, work: &mut Vec<Work>) -> Result<(), CompileError> {
        // The run that holds the first key of the node, and those that begin behind it inside the node.
        let around = runs.partition_point(|run| run.first <= item.first) - 1;
        let inside = &runs[around + 1..runs.partition_point(|run| run.first <= item.last())];
        let Some(last) = inside.last() else {
            self.nodes[item.node as usize] = Node::of_one_leaf(self.leaf(runs[around].class));
            return Ok(());
        };
        let bits = if last.class == runs[around].class { item.bits_before(inside) } else { 0 };
        if bits >= SKIP_BITS_MIN {
            let first_child = self.allocate(2)?;
            let first_leaf = index_u32(self.skips.len());
            self.skips.push(Skip { expected: inside[0].first << item.depth, bits });
            self.nodes[item.node as usize] = Node { first_child, first_leaf, ..Node::default() };
            self.nodes[first_child as usize + 1] = Node::of_one_leaf(self.leaf(last.class));
            let depth = item.depth + bits;
            let first = inside[0].first & !(u128::MAX >> depth);
            work.push(Work { node: first_child, first, depth });
            return Ok(());
        }
        self.fill_slots(&runs[around..=around + inside.len()], item, work)
    }

    /// Fills a node slot by slot. The first of the runs holds its first key, the others begin inside it.
    fn fill_slots(&mut self, runs: &[Run], item: Work, work: &mut Vec<Work>) -> Result<(), CompileError> {
        let slot_shift = KEY_BITS - item.depth - STRIDE_BITS;
        let slot_last = (1u128 << slot_shift) - 1;
        let mut node = Node { first_leaf: index_u32(self.leaves.len()), ..Node::default() };
        let mut last_leaf = None;
        let mut at = 0;
        for slot in 0..SLOTS {
            let first = item.first | (u128::from(slot) << slot_shift);
            while runs.get(at + 1).is_some_and(|next| next.first <= first) {
                at += 1;
            }
            if runs.get(at + 1).is_some_and(|next| next.first <= first | slot_last) {
                node.children |= 1 << slot;
            } else if last_leaf != Some(runs[at].class) {
                node.leaf_starts |= 1 << slot;
                self.leaf(runs[at].class);
                last_leaf = Some(runs[at].class);
            }
        }
        node.first_child = self.allocate(node.children.count_ones())?;
        let slots = (0..SLOTS).filter(|slot| (node.children >> slot) & 1 == 1);
        work.extend(slots.zip(node.first_child..).map(|(slot, child)| Work {
            node: child,
            first: item.first | (u128::from(slot) << slot_shift),
            depth: item.depth + STRIDE_BITS,
        }));
        self.nodes[item.node as usize] = node;
        Ok(())
    }

    /// Adds a leaf and returns its place.
    fn leaf(&mut self, class: u32) -> u32 {
        self.leaves.push(class);
        index_u32(self.leaves.len() - 1)
    }

    /// Returns the place of that many new nodes in a row.
    fn allocate(&mut self, count: u32) -> Result<u32, CompileError> {
        let first = self.nodes.len();
        self.nodes.resize(first + count as usize, Node::default());
        if self.nodes.len() > TRIE_NODES_MAX {
            return Err(CompileError::TrieNodes);
        }
        Ok(index_u32(first))
    }
}

/// A node whose place is fixed and whose content is not.
#[derive(Clone, Copy)]
struct Work {
    node: u32,
    /// The smallest key that leads to the node.
    first: u128,
    /// Bits that lead to the node.
    depth: u32,
}

impl Work {
    /// Returns the largest key that leads to the node. Its depth is below 128.
    fn last(&self) -> u128 {
        self.first | (u128::MAX >> self.depth)
    }

    /// Returns how many whole strides of bits all keys from the first to behind the last of these runs' beginnings
    /// have in common, below the node; one stride is always left for the node they lead to.
    fn bits_before(&self, inside: &[Run]) -> u32 {
        let (Some(first), Some(behind)) = (inside.first(), inside.last()) else { return 0 };
        let common = (first.first ^ (behind.first - 1)).leading_zeros().min(KEY_BITS - STRIDE_BITS);
        common.saturating_sub(self.depth) / STRIDE_BITS * STRIDE_BITS
    }
}

/// Returns a place as `u32`; every table is limited far below that.
pub(super) fn index_u32(place: usize) -> u32 {
    u32::try_from(place).expect("tables are limited to fewer than 2^32 places")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trie(runs: &[(&str, u32)]) -> (AddressTrie, u32) {
        let key = |text: &str| key_of(text.parse().unwrap());
        let runs: Vec<Run> =
            runs.iter().map(|(text, class)| Run { first: key(text), class: *class }).collect();
        let mut trie = AddressTrie::default();
        trie.add(&[Run { first: 0, class: 99 }]).unwrap();
        let root = trie.add(&runs).unwrap();
        (trie, root)
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
    fn a_few_hosts_of_an_ipv6_prefix_are_a_few_steps_away() {
        let (trie, root) = trie(&[("::", 0), ("fd00::1:0", 1), ("fd00::1:1", 2), ("fd00::1:2", 0)]);
        for (address, class) in [
            ("fd00::ffff", 0),
            ("fd00::1:0", 1),
            ("fd00::1:1", 2),
            ("fd00::1:2", 0),
            ("fd00:1::1:0", 0),
            ("fd01::1:0", 0),
            ("fd00::2:0", 0),
        ] {
            let address = address.parse().unwrap();
            let mut walk = AddressTrie::start(root, address);
            let steps = std::iter::from_fn(|| trie.step(&mut walk).then_some(())).count();
            assert_eq!((trie.class_of(root, address), steps), (class, 1), "{address}");
        }
    }

    #[test]
    fn an_ipv4_walk_takes_at_most_four_steps() {
        let (trie, root) = trie(&[("0.0.0.0", 0), ("10.0.0.7", 2), ("10.0.0.8", 1)]);
        let mut walk = AddressTrie::start(root, "10.0.0.7".parse().unwrap());
        let steps = std::iter::from_fn(|| trie.step(&mut walk).then_some(())).count();
        assert!(steps <= 4, "{steps}");
    }
}
