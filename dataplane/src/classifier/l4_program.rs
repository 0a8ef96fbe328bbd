//! L4 programs: L4 class -> rank of the winning rule, as a tree of dense tables.
//!
//! A program has one entry a class: the rank of the first of its rules that holds the class. Up to 256 classes are one
//! **leaf**, which a cell names by where its ranks begin, so that one addition and one load give the rank. A policy that
//! tells more classes apart has leaves of 64, of which more are equal, and pages of 64 references above them. Equal leaves and pages are stored once, so equal
//! cells share their program and unequal ones share what they have in common; above all the leaf on which no rule wins.
//!
//! ```text
//! levels = 0:  program = leaf              ranks[program + class]
//! levels = 1:  program = page of leaves    ranks[pages[program + class / 64 % 64] + class % 64]
//! ```
//!
//! All programs of a classifier have the same number of levels, so that the loop over them is foreseen.

use super::address_trie::index_u32;
use super::compile::CompileError;
use std::collections::HashMap;
use std::hash::Hash;

/// The program in which no rule wins.
pub(super) const EMPTY_PROGRAM: u32 = 0;
/// Ranks of all leaves, and references of all pages, of one matrix: 2^28 ranks of two bytes are 512 MB.
pub(super) const PROGRAM_RANKS_MAX: usize = 1 << 28;
/// Most classes that are one leaf: the policies of most hosts tell fewer apart.
const SINGLE_LEAF_CLASSES: usize = 256;
/// Bits of a class that a leaf below pages looks at, and a page.
const PAGE_BITS: u32 = 6;
/// References of a page.
const PAGE_REFERENCES: usize = 1 << PAGE_BITS;

/// The programs of one matrix.
#[derive(Debug)]
pub(super) struct L4Programs {
    ranks: Vec<u16>,
    /// Where leaves begin, or other pages.
    pages: Vec<u32>,
    /// Pages above a leaf.
    levels: u32,
    /// The bits of a class that a leaf looks at.
    leaf_mask: u32,
}

impl L4Programs {
    /// Returns the rank that a program gives to a class.
    #[inline]
    pub(super) fn rank(&self, program: u32, class: u32) -> u16 {
        let mut place = program;
        for level in (0..self.levels).rev() {
            let reference = class >> ((level + 1) * PAGE_BITS);
            place = self.pages[place as usize + reference as usize % PAGE_REFERENCES];
        }
        self.ranks[(place + (class & self.leaf_mask)) as usize]
    }

    /// Returns the bytes that all programs take.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.ranks.as_slice()) + size_of_val(self.pages.as_slice())
    }
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
    levels: u32,
}

/// Rows, equal ones once.
struct Store<T> {
    list: Vec<T>,
    places: HashMap<Vec<T>, u32>,
}

impl<T: Copy + Eq + Hash> Store<T> {
    fn new() -> Self {
        Self { list: Vec::new(), places: HashMap::new() }
    }

    /// Returns where the rows of a table begin; the last one is filled up with `rest`.
    fn put(&mut self, table: &[T], width: usize, rest: T) -> Vec<u32> {
        let place = |row: &[T]| {
            let mut row = row.to_vec();
            row.resize(width, rest);
            *self.places.entry(row).or_insert_with_key(|row| {
                self.list.extend_from_slice(row);
                index_u32(self.list.len() - width)
            })
        };
        table.chunks(width).map(place).collect()
    }
}

impl Programs {
    /// Returns a store for programs over that many classes, of which there is at least one, holding the empty one; `no_rule`
    /// is its only rank.
    pub(super) fn new(classes: u32, no_rule: u16) -> Self {
        let classes = classes as usize;
        let mut levels = 0;
        if classes > SINGLE_LEAF_CLASSES {
            while classes > PAGE_REFERENCES << (levels * PAGE_BITS) {
                levels += 1;
            }
        }
        Self {
            leaves: Store::new(),
            pages: Store::new(),
            of_rules: HashMap::new(),
            programs: std::collections::HashSet::new(),
            no_rule,
            classes,
            levels,
        }
        .with_empty()
    }

    /// Adds the empty program, so that its place is known.
    fn with_empty(mut self) -> Self {
        let empty = self.program(&[], |_| &[]);
        debug_assert_eq!(empty, Ok(EMPTY_PROGRAM));
        self
    }

    /// Returns the program in which the first of the rules that holds a class wins it. The ranks ascend; `classes_of`
    /// tells which classes a rank holds.
    pub(super) fn program<'a>(
        &mut self,
        ranks: &[u32],
        classes_of: impl Fn(u32) -> &'a [u16],
    ) -> Result<u32, CompileError> {
        if let Some(program) = self.of_rules.get(ranks) {
            return Ok(*program);
        }
        let mut row = vec![self.no_rule; self.classes];
        // The last one written wins, so the first rule comes last.
        for rank in ranks.iter().rev() {
            let winner = u16::try_from(*rank).expect("ranks are limited below 2^16");
            classes_of(*rank).iter().for_each(|class| row[usize::from(*class)] = winner);
        }
        let mut places = self.leaves.put(&row, self.leaf_classes(), self.no_rule);
        for _ in 0..self.levels {
            places = self.pages.put(&places, PAGE_REFERENCES, 0);
        }
        if self.leaves.list.len().max(self.pages.list.len()) > PROGRAM_RANKS_MAX {
            return Err(CompileError::ProgramRanks);
        }
        self.of_rules.insert(ranks.to_vec(), places[0]);
        self.programs.insert(places[0]);
        Ok(places[0])
    }

    /// Returns the classes of a leaf.
    fn leaf_classes(&self) -> usize {
        if self.levels == 0 { self.classes } else { PAGE_REFERENCES }
    }

    /// Returns how many different programs there are.
    pub(super) fn count(&self) -> usize {
        self.programs.len()
    }

    /// Returns the stored programs, in the form that is looked up.
    pub(super) fn finish(self) -> L4Programs {
        let leaf_mask = if self.levels == 0 { u32::MAX } else { (1 << PAGE_BITS) - 1 };
        L4Programs { ranks: self.leaves.list, pages: self.pages.list, levels: self.levels, leaf_mask }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gives_each_class_its_rank_however_many_there_are() {
        for classes in [1u16, 256, 257, 16_384, 16_385, u16::MAX] {
            let held: Vec<Vec<u16>> =
                (0..5).map(|rank| (0..classes).filter(|class| class % 7 == rank).collect()).collect();
            let mut programs = Programs::new(classes.into(), 99);
            let all = programs.program(&[0, 1, 2, 3, 4], |rank| &held[rank as usize]).unwrap();
            let few = programs.program(&[2], |rank| &held[rank as usize]).unwrap();
            let programs = programs.finish();
            for class in 0..classes {
                let kind = class % 7;
                let expected = [if kind < 5 { kind } else { 99 }, if kind == 2 { 2 } else { 99 }, 99];
                let found = [all, few, EMPTY_PROGRAM].map(|program| programs.rank(program, class.into()));
                assert_eq!(found, expected, "class {class} of {classes}");
            }
        }
    }
}
