//! Building the address trie from the runs of each segment and family.

mod window;

use super::super::classes::Run;
use super::*;
use arrayvec::ArrayVec;
use hashbrown::HashMap;
use window::Window;

/// Nodes that a row may have for each stretch where there are many, and where all fit into the second-level cache anyway.
const ROW_NODES_PER_STRETCH: [usize; 2] = [4, 32];
/// Runs of all tries up to which there are few.
const FEW_RUNS: usize = 1 << 12;

/// A stretch of a digit's values that have one reference; it ends where the next one begins.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Stretch<R = Reference> {
    first: u16,
    to: R,
}

/// A trie that grows.
#[derive(Default)]
pub(in super::super) struct TrieBuilder {
    trie: AddressTrie,
    /// Nodes that a row may have for each stretch.
    nodes_per_stretch: usize,
    /// The rows of each list of stretches met so far, behind a root table and below.
    root_rows: HashMap<Vec<Stretch>, RootReference>,
    rows: HashMap<Vec<Stretch>, Reference>,
    /// The page of each list of references; that of one reference stands for all of a page.
    pages: HashMap<Vec<RootReference>, u32>,
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
        let all = Within { first: 0, depth: 0 };
        let stretches =
            self.stretches(runs, all, |trie, runs, within| trie.root_row(runs, within, is_ipv6))?;
        let mut table = [0; PAGE];
        let mut rest = stretches.as_slice();
        for (page, first) in table.iter_mut().zip((0..=u16::MAX).step_by(PAGE)) {
            rest = &rest[rest.iter().skip(1).take_while(|next| next.first <= first).count()..];
            *page = self.page(rest, first);
        }
        if self.trie.pages.len() > TRIE_PAGES_MAX * PAGE {
            return Err(CompileError::TriePages);
        }
        let tables = &mut self.trie.tables;
        let number = *self.tables.entry(table).or_insert_with(|| {
            tables.push(table);
            index_u32(tables.len() - 1)
        });
        Ok(Root(number))
    }

    /// Returns the page of a root table whose first digit is given. The stretches are those from there on.
    fn page(&mut self, stretches: &[Stretch<RootReference>], first: u16) -> u32 {
        const { assert!(PAGE == 0x100) };
        let last = first | 0xff;
        let here = stretches.iter().take_while(|stretch| stretch.first <= last).count();
        // Nearly all pages of most tables are of one stretch, and there are four tables for each of thousands of segments.
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
            pages.extend((0..PAGE).map(|digit| references[digit % references.len()]));
            index_u32(pages.len() - PAGE)
        })
    }

    /// Returns the stretches of the digit behind the bits that keys have in common; the runs are those that meet them. What
    /// decides below a value of the digit is made by `below`.
    fn stretches<R: Copy + PartialEq>(
        &mut self,
        runs: &[Run],
        within: Within,
        mut below: impl FnMut(&mut Self, &[Run], Within) -> Result<R, CompileError>,
    ) -> Result<Vec<Stretch<R>>, CompileError> {
        let depth = within.depth + DIGIT_BITS;
        let mut stretches = Vec::new();
        let mut add = |first: u128, to: R| {
            let first = ((first >> (KEY_BITS - depth)) & 0xffff) as u16;
            // What was thought to begin here does not, if something else does.
            stretches.pop_if(|last: &mut Stretch<R>| last.first == first);
            if stretches.last().is_none_or(|last| last.to != to) {
                stretches.push(Stretch { first, to });
            }
        };
        add(within.first, below(self, &runs[..1], Within { depth, ..within })?);
        let mut at = 1;
        while at < runs.len() {
            let of_digit =
                Within { first: runs[at].first & !(u128::MAX.checked_shr(depth).unwrap_or(0)), depth };
            let last = of_digit.last();
            let end = at + runs[at..].iter().take_while(|run| run.first <= last).count();
            // The run that holds the digit's first key, and those that begin inside.
            let begins = if runs[at].first == of_digit.first { at } else { at - 1 };
            add(of_digit.first, below(self, &runs[begins..end], of_digit)?);
            if end > begins + 1 && last < within.last() {
                add(last + 1, below(self, &runs[end - 1..end], of_digit)?);
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
            let stretches =
                self.stretches(runs, within, |trie, runs, within| trie.reference(runs, within, may_skip))?;
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

    /// Returns the row of nodes that decides the keys with the same first digit.
    fn root_row(
        &mut self,
        runs: &[Run],
        within: Within,
        may_skip: bool,
    ) -> Result<RootReference, CompileError> {
        let stretches =
            self.stretches(runs, within, |trie, runs, within| trie.reference(runs, within, may_skip))?;
        if let Some(row) = self.root_rows.get(&stretches) {
            return Ok(*row);
        }
        let window = Window::choose(&stretches, self.nodes_per_stretch);
        let mut row = Vec::with_capacity(window.nodes() as usize);
        for number in 0..window.inside {
            let first = u32::from(window.first) + (number << window.shift);
            row.push(self.node(meeting(&stretches, first, first + (1 << window.shift)))?);
        }
        if window.has_outside() {
            row.push(self.node(&window.outside(&stretches))?);
        }
        let reference =
            RootReference::new(self.push_row(row)?, window.first, window.nodes() - 1, window.shift);
        self.root_rows.insert(stretches, reference);
        Ok(reference)
    }

    /// Returns the row of nodes for a whole digit.
    fn row(&mut self, stretches: &[Stretch]) -> Result<Reference, CompileError> {
        if let Some(row) = self.rows.get(stretches) {
            return Ok(*row);
        }
        let shift = DIGIT_BITS - row_bits(stretches, self.nodes_per_stretch);
        let mut row = Vec::with_capacity(1 << (DIGIT_BITS - shift));
        for first in (0..1 << DIGIT_BITS).step_by(1 << shift) {
            row.push(self.node(meeting(stretches, first, first + (1 << shift)))?);
        }
        let row = Reference(shift << SHIFT_AT | self.push_row(row)?);
        self.rows.insert(stretches.to_vec(), row);
        Ok(row)
    }

    /// Stores nodes side by side, and returns the place of the first.
    fn push_row(&mut self, row: Vec<Node>) -> Result<u32, CompileError> {
        let place = index_u32(self.trie.nodes.len());
        self.trie.nodes.extend(row);
        if self.trie.nodes.len() > TRIE_NODES_MAX { Err(CompileError::TrieNodes) } else { Ok(place) }
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
        let references: ArrayVec<Reference, { NODE_LASTS + 1 }> =
            stretches.iter().map(|one| one.to).collect();
        Ok(Node::new(&lasts, &references))
    }
}

/// Returns the stretches that meet values of the digit from `first` to before `end`.
fn meeting(stretches: &[Stretch], first: u32, end: u32) -> &[Stretch] {
    let begins = stretches.partition_point(|stretch| u32::from(stretch.first) <= first) - 1;
    let ends = stretches.partition_point(|stretch| u32::from(stretch.first) < end);
    &stretches[begins..ends]
}

/// Returns how many upper bits of the digit should choose a node: as few as leave no node too many places, as long as the row is
/// not many times longer than what it holds.
fn row_bits(stretches: &[Stretch], nodes_per_stretch: usize) -> u32 {
    let longest = (nodes_per_stretch * stretches.len()).ilog2().min(ROW_BITS_MAX);
    (0..longest).find(|bits| is_uncrowded(&stretches[1..], DIGIT_BITS - bits)).unwrap_or(longest)
}

/// Returns whether no node has too many places where each has so many values of the digit.
fn is_uncrowded(places: &[Stretch], shift: u32) -> bool {
    places
        .chunk_by(|a, b| u32::from(a.first) >> shift == u32::from(b.first) >> shift)
        .all(|one| one.len() <= NODE_LASTS)
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
