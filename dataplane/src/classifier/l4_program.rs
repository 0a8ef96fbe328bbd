//! L4 programs: L4 class -> rank of the winning rule, as a tree of small dense tables.
//!
//! A program has one entry a class. It is stored as pages of 64: leaves of `u16` ranks (128 bytes), above them, if
//! there are more than 64 classes, pages of `u32` page numbers. Equal pages are stored once, so equal cells share
//! their program and unequal ones share what they have in common; above all the page on which no rule wins.
//!
//! ```text
//! levels = 1:  program = leaf page                                         leaf[class % 64]
//! levels = 2:  program = page -> leaf page      page[class / 64 % 64] -> leaf[class % 64]
//! ```
//!
//! All programs of a classifier have the same number of levels, so that the loop over them is foreseen.

use super::address_trie::index_u32;
use std::collections::HashMap;
use std::hash::Hash;

/// Entries of one page: 64 ranks of two bytes are two cache lines, of which a look-up touches one.
const PAGE_ENTRIES: usize = 64;
/// Bits of a class that one page looks at.
const PAGE_BITS: u32 = PAGE_ENTRIES.ilog2();

/// The program in which no rule wins.
pub(super) const EMPTY_PROGRAM: u32 = 0;

/// The programs of one matrix.
#[derive(Debug)]
pub(super) struct L4Programs {
    leaves: Vec<[u16; PAGE_ENTRIES]>,
    /// Page numbers: of `leaves` in the lowest level, of `pages` above.
    pages: Vec<[u32; PAGE_ENTRIES]>,
    /// Bits that the pages above the leaves look at.
    page_bits: u32,
}

impl L4Programs {
    /// Returns the rank that a program gives to a class.
    #[inline]
    pub(super) fn rank(&self, program: u32, class: u32) -> u16 {
        let mut page = program;
        let mut shift = self.page_bits;
        while shift > 0 {
            page = self.pages[page as usize][entry(class >> shift)];
            shift -= PAGE_BITS;
        }
        self.leaves[page as usize][entry(class)]
    }

    /// Returns the bytes that all pages take.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.leaves.as_slice()) + size_of_val(self.pages.as_slice())
    }
}

/// Returns the place on a page that the lowest bits of a class choose.
fn entry(class: u32) -> usize {
    class as usize % PAGE_ENTRIES
}

/// Stores programs, equal ones once.
pub(super) struct Programs {
    leaves: Store<u16>,
    pages: Store<u32>,
    /// The program of each list of rules met so far.
    of_rules: HashMap<Vec<u32>, u32>,
    programs: std::collections::HashSet<u32>,
    no_rule: u16,
    classes: usize,
}

/// Pages, equal ones once.
struct Store<T> {
    list: Vec<[T; PAGE_ENTRIES]>,
    numbers: HashMap<[T; PAGE_ENTRIES], u32>,
}

impl<T: Copy + Eq + Hash> Store<T> {
    fn new() -> Self {
        Self { list: Vec::new(), numbers: HashMap::new() }
    }

    /// Returns the numbers of the pages that a table fills; the last one is filled up with `rest`.
    fn put(&mut self, table: &[T], rest: T) -> Vec<u32> {
        let number = |chunk: &[T]| {
            let mut page = [rest; PAGE_ENTRIES];
            page[..chunk.len()].copy_from_slice(chunk);
            *self.numbers.entry(page).or_insert_with(|| {
                self.list.push(page);
                index_u32(self.list.len() - 1)
            })
        };
        table.chunks(PAGE_ENTRIES).map(number).collect()
    }
}

impl Programs {
    /// Returns a store for programs over that many classes, holding the empty one; `no_rule` is its only rank.
    pub(super) fn new(classes: u32, no_rule: u16) -> Self {
        let mut programs = Self {
            leaves: Store::new(),
            pages: Store::new(),
            of_rules: HashMap::new(),
            programs: std::collections::HashSet::new(),
            no_rule,
            classes: classes as usize,
        };
        let empty = programs.program(&[], |_| &[]);
        debug_assert_eq!(empty, EMPTY_PROGRAM);
        programs
    }

    /// Returns the program in which the first of the rules that holds a class wins it. The ranks ascend; `classes_of`
    /// tells which classes a rank holds.
    pub(super) fn program<'a>(&mut self, ranks: &[u32], classes_of: impl Fn(u32) -> &'a [u16]) -> u32 {
        if let Some(program) = self.of_rules.get(ranks) {
            return *program;
        }
        let mut table = vec![self.no_rule; self.classes];
        for rank in ranks {
            let winner = u16::try_from(*rank).expect("ranks are limited below 2^16");
            for class in classes_of(*rank) {
                let entry = &mut table[usize::from(*class)];
                *entry = winner.min(*entry);
            }
        }
        let mut numbers = self.leaves.put(&table, self.no_rule);
        while numbers.len() > 1 {
            numbers = self.pages.put(&numbers, 0);
        }
        self.of_rules.insert(ranks.to_vec(), numbers[0]);
        self.programs.insert(numbers[0]);
        numbers[0]
    }

    /// Returns how many different programs there are.
    pub(super) fn count(&self) -> usize {
        self.programs.len()
    }

    /// Returns the stored programs, in the form that is looked up.
    pub(super) fn finish(self) -> L4Programs {
        let mut page_bits = 0;
        while (PAGE_ENTRIES << page_bits) < self.classes {
            page_bits += PAGE_BITS;
        }
        L4Programs { leaves: self.leaves.list, pages: self.pages.list, page_bits }
    }
}
