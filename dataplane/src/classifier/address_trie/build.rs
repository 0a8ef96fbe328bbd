//! Building the address trie from the runs of each segment and family.

use super::super::classes::Run;
use super::*;
use arrayvec::ArrayVec;
use hashbrown::HashMap;

/// Nodes that a row may have for each stretch where there are many, and where all fit into the second-level cache anyway.
const ROW_NODES_PER_STRETCH: [usize; 2] = [4, 32];
/// Runs of all tries up to which there are few.
const FEW_RUNS: usize = 1 << 12;
/// Of so many stretches one may be in a node that cannot hold it.
const CROWDED_SHARE: usize = 32;

/// A stretch of a digit's values that have one reference; it ends where the next one begins.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Stretch {
    first: u16,
    to: Reference,
}

/// A trie that grows.
#[derive(Default)]
pub(in super::super) struct TrieBuilder {
    trie: AddressTrie,
    /// Nodes that a row may have for each stretch.
    nodes_per_stretch: usize,
    /// The nodes of each list of stretches met so far.
    nodes: HashMap<Vec<Stretch>, Reference>,
    /// The page of each list of references; that of one reference stands for all of a page.
    pages: HashMap<Vec<Reference>, u32>,
    tables: HashMap<RootTable, u32>,
}

impl TrieBuilder {
    /// Returns a builder of tries that will have about that many runs.
    pub(in super::super) fn new(runs: usize) -> Self {
        let nodes_per_stretch = ROW_NODES_PER_STRETCH[usize::from(runs <= FEW_RUNS)];
        Self { nodes_per_stretch, ..Self::default() }
    }

    /// Returns the tries.
    pub(in super::super) fn finish(self) -> AddressTrie {
        self.trie
    }

    /// Adds the trie of one side of one family of one segment and returns its root. The runs cover every key: the first begins
    /// at 0, each ends where the next begins. Skips are for IPv6.
    pub(in super::super) fn add(&mut self, runs: &[Run], is_ipv6: bool) -> Result<Root, CompileError> {
        let mut stretches = self.stretches(runs, Within { first: 0, depth: 0 }, is_ipv6)?;
        // A walk takes its first step without asking whether it is over.
        for stretch in &mut stretches {
            if stretch.to.is_leaf() {
                stretch.to = self.row(&[Stretch { first: 0, to: stretch.to }])?;
            }
        }
        let mut table = [0; PAGE];
        let mut rest = stretches.as_slice();
        for (page, first) in table.iter_mut().zip((0..=u16::MAX).step_by(PAGE)) {
            rest = &rest[rest.iter().skip(1).take_while(|next| next.first <= first).count()..];
            *page = self.page(rest, first);
        }
        let tables = &mut self.trie.tables;
        let number = *self.tables.entry(table).or_insert_with(|| {
            tables.push(table);
            index_u32(tables.len() - 1)
        });
        Ok(Root(number))
    }

    /// Returns the page of a root table whose first digit is given. The stretches are those from there on.
    fn page(&mut self, stretches: &[Stretch], first: u16) -> u32 {
        const { assert!(PAGE == 0x100) };
        let last = first | 0xff;
        let here = stretches.iter().take_while(|stretch| stretch.first <= last).count();
        // Nearly all pages of most tables are of one stretch, and there are two tables for each of thousands of segments.
        let key = if here == 1 {
            vec![stretches[0].to]
        } else {
            let mut at = 0;
            let of_digit = |digit: u16| {
                at += stretches[at + 1..here].iter().take_while(|next| next.first <= digit).count();
                stretches[at].to
            };
            (first..=last).map(of_digit).collect()
        };
        let pages = &mut self.trie.pages;
        *self.pages.entry(key).or_insert_with_key(|references| {
            pages.push(std::array::from_fn(|digit| references[digit % references.len()]));
            index_u32(pages.len() - 1)
        })
    }

    /// Returns the stretches of the digit behind the bits that keys have in common; the runs are those that meet them.
    fn stretches(
        &mut self,
        runs: &[Run],
        within: Within,
        may_skip: bool,
    ) -> Result<Vec<Stretch>, CompileError> {
        let depth = within.depth + DIGIT_BITS;
        let mut stretches = Vec::new();
        let mut add = |first: u128, to: Reference| {
            let first = ((first >> (KEY_BITS - depth)) & 0xffff) as u16;
            // What was thought to begin here does not, if something else does.
            stretches.pop_if(|last: &mut Stretch| last.first == first);
            if stretches.last().is_none_or(|last| last.to != to) {
                stretches.push(Stretch { first, to });
            }
        };
        add(within.first, leaf(runs[0].class));
        let mut at = 1;
        while at < runs.len() {
            let of_digit =
                Within { first: runs[at].first & !(u128::MAX.checked_shr(depth).unwrap_or(0)), depth };
            let last = of_digit.last();
            let end = at + runs[at..].iter().take_while(|run| run.first <= last).count();
            if end == at + 1 && runs[at].first == of_digit.first {
                add(of_digit.first, leaf(runs[at].class));
            } else {
                // The run that holds the digit's first key, and those that begin inside.
                let begins = if runs[at].first == of_digit.first { at } else { at - 1 };
                add(of_digit.first, self.reference(&runs[begins..end], of_digit, may_skip)?);
                if last < within.last() {
                    add(last + 1, leaf(runs[end - 1].class));
                }
            }
            at = end;
        }
        Ok(stretches)
    }

    /// Returns what decides the keys with the same first bits.
    fn reference(&mut self, runs: &[Run], within: Within, may_skip: bool) -> Result<Reference, CompileError> {
        let [around, inside @ ..] = runs else { unreachable!("runs cover every key") };
        let Some(last) = inside.last() else { return Ok(leaf(around.class)) };
        let bits = if may_skip && last.class == around.class { within.bits_before(inside) } else { 0 };
        if bits < SKIP_BITS_MIN {
            let stretches = self.stretches(runs, within, may_skip)?;
            return self.row(&stretches);
        }
        let depth = within.depth + bits;
        let to = Within { first: inside[0].first & !(u128::MAX >> depth), depth };
        let begins = usize::from(inside[0].first == to.first);
        let end = runs.partition_point(|run| run.first <= to.last());
        let skip = Skip {
            expected: inside[0].first << within.depth,
            bits,
            inside: self.reference(&runs[begins..end], to, may_skip)?,
            beside: leaf(around.class),
        };
        self.trie.skips.push(skip);
        Ok(Reference(SKIP | index_u32(self.trie.skips.len() - 1)))
    }

    /// Returns the row of nodes for a whole digit.
    fn row(&mut self, stretches: &[Stretch]) -> Result<Reference, CompileError> {
        if let Some(row) = self.nodes.get(stretches) {
            return Ok(*row);
        }
        let bits = row_bits(stretches, self.nodes_per_stretch);
        let shift = DIGIT_BITS - bits;
        // Children are stored before the row, whose nodes must stand side by side.
        let mut row = Vec::with_capacity(1 << bits);
        let mut rest = stretches;
        for number in 0..1u32 << bits {
            let (first, end) = (number << shift, (number + 1) << shift);
            rest = &rest[rest.iter().skip(1).take_while(|next| u32::from(next.first) <= first).count()..];
            let inside = rest.iter().take_while(|next| u32::from(next.first) < end).count();
            row.push(self.node(&rest[..inside])?);
        }
        let place = index_u32(self.trie.nodes.len());
        self.trie.nodes.extend(row);
        if self.trie.nodes.len() > TRIE_NODES_MAX {
            return Err(CompileError::TrieNodes);
        }
        let row = Reference(shift << SHIFT_AT | place);
        self.nodes.insert(stretches.to_vec(), row);
        Ok(row)
    }

    /// Returns a node that decides between stretches, of which the first one has begun already.
    fn node(&mut self, stretches: &[Stretch]) -> Result<Node, CompileError> {
        let mut children = Vec::new();
        let stretches = if stretches.len() <= NODE_LASTS + 1 {
            stretches
        } else {
            let parts = stretches.chunks(stretches.len().div_ceil(NODE_LASTS + 1));
            for part in parts {
                let child = self.node(part)?;
                self.trie.nodes.push(child);
                let place = index_u32(self.trie.nodes.len() - 1);
                children.push(Stretch {
                    first: part[0].first,
                    to: Reference(SAME_DIGIT | DIGIT_BITS << SHIFT_AT | place),
                });
            }
            &children
        };
        let lasts: ArrayVec<u16, NODE_LASTS> = stretches[1..].iter().map(|next| next.first - 1).collect();
        let references: ArrayVec<Reference, { NODE_LASTS + 1 }> = stretches.iter().map(|one| one.to).collect();
        Ok(Node::new(&lasts, &references))
    }
}

/// Returns how many upper bits of the digit should choose a node: as few as leave hardly any stretch in a node that cannot hold
/// it, as long as the row is not many times longer than what it holds.
fn row_bits(stretches: &[Stretch], nodes_per_stretch: usize) -> u32 {
    let longest = (nodes_per_stretch * stretches.len()).ilog2().min(DIGIT_BITS - 4);
    (0..longest).find(|bits| crowded(stretches, *bits) * CROWDED_SHARE <= stretches.len()).unwrap_or(longest)
}

/// Returns how many stretches begin in nodes that are too many for one, if so many upper bits of the digit choose it.
fn crowded(stretches: &[Stretch], bits: u32) -> usize {
    let shift = DIGIT_BITS - bits;
    let number = |stretch: &Stretch| stretch.first.checked_shr(shift).unwrap_or(0);
    let of_nodes = stretches[1..].chunk_by(|a, b| number(a) == number(b)).map(<[Stretch]>::len);
    of_nodes.filter(|count| *count > NODE_LASTS).sum()
}

fn leaf(class: u32) -> Reference {
    Reference(LEAF | class)
}

/// The keys that begin with the same bits.
#[derive(Clone, Copy)]
struct Within {
    /// The smallest of them.
    first: u128,
    /// How many bits: a multiple of a digit's, 0 to 128.
    depth: u32,
}

impl Within {
    /// Returns the largest key.
    fn last(&self) -> u128 {
        self.first | u128::MAX.checked_shr(self.depth).unwrap_or(0)
    }

    /// Returns how many bits of whole digits all keys from the first to behind the last of these runs' beginnings have in
    /// common, below the bits in common here; one digit is always left for where they lead to.
    fn bits_before(&self, inside: &[Run]) -> u32 {
        let (Some(first), Some(behind)) = (inside.first(), inside.last()) else { return 0 };
        let common = (first.first ^ (behind.first - 1)).leading_zeros().min(KEY_BITS - DIGIT_BITS);
        common.saturating_sub(self.depth) / DIGIT_BITS * DIGIT_BITS
    }
}
