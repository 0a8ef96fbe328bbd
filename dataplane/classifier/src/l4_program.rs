//! L4 programs: L4 class -> rank of the winning rule, as a tree of dense tables.
//!
//! A program has one entry a class: the rank of the first of its rules that holds the class. Up to 256 classes are one
//! **leaf**, so that one addition and one load give the rank. A policy that tells more classes apart has leaves of 64, of
//! which more are equal, and pages of 64 references above them. Equal leaves and pages are stored once, so equal
//! cells share their program and unequal ones share what they have in common; above all the leaf on which no rule wins.
//!
//! ```text
//! levels = 0:  program = leaf              ranks[program * classes + class]
//! levels = 1:  program = page of leaves    ranks[pages[program * 64 + class / 64 % 64] + class % 64]
//! ```
//!
//! All programs of a classifier have the same number of levels, so that the loop over them is foreseen.

use super::address_trie::index_u32;
use super::compile::CompileError;
use super::store::Rows;
use hashbrown::HashMap;

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
    /// Ranks or references of a program.
    width: u32,
    /// The bits of a class that a leaf looks at.
    leaf_mask: u32,
}

impl L4Programs {
    /// Returns where the rank stands that a program gives to a class.
    #[inline(always)]
    pub(super) fn place(&self, program: u16, class: u32) -> u32 {
        let mut place = u32::from(program) * self.width;
        for level in (0..self.levels).rev() {
            let reference = class >> ((level + 1) * PAGE_BITS);
            place = self.pages[place as usize + reference as usize % PAGE_REFERENCES];
        }
        place + (class & self.leaf_mask)
    }

    /// Writes the places of the programs of packets, whose classes are given.
    #[inline(always)]
    pub(super) fn places<const ROWS: usize, const COLUMNS: usize>(
        &self,
        programs: &[[[u16; COLUMNS]; ROWS]],
        classes: &[u32],
        places: &mut [[[u32; COLUMNS]; ROWS]],
    ) {
        let each = places.iter_mut().zip(programs).zip(classes);
        if self.levels > 0 {
            for ((places, programs), class) in each {
                for (place, program) in places.as_flattened_mut().iter_mut().zip(programs.as_flattened()) {
                    *place = self.place(*program, *class);
                }
            }
        } else {
            for ((places, programs), class) in each {
                for (place, program) in places.as_flattened_mut().iter_mut().zip(programs.as_flattened()) {
                    *place = u32::from(*program) * self.width + class;
                }
            }
        }
    }

    /// Returns the rank at a place.
    #[inline(always)]
    pub(super) fn rank_at(&self, place: u32) -> u16 {
        self.ranks[place as usize]
    }

    /// Returns the rank that a program gives to a class.
    pub(super) fn rank(&self, program: u16, class: u32) -> u16 {
        self.rank_at(self.place(program, class))
    }

    /// Returns the bytes that all programs take.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.ranks.as_slice()) + size_of_val(self.pages.as_slice())
    }
}

/// Stores programs, equal ones once.
pub(super) struct Programs {
    leaves: Rows<u16>,
    pages: Rows<u32>,
    /// What merging two programs, or pages or leaves of them, gave; with the level at which they stand.
    merged: HashMap<(u32, u32, u32), u32>,
    no_rule: u16,
    /// Most ranks, and most references.
    ranks_max: usize,
    /// Classes of a leaf.
    leaf_classes: usize,
    levels: u32,
    /// The ranks of the program that is being written.
    ranks: Vec<u16>,
}

impl Programs {
    /// Returns a store for programs over that many classes, of which there is at least one, holding the empty one; `no_rule`
    /// is its only rank, and above all others. More than `ranks_max` ranks, or references, are refused.
    pub(super) fn new(classes: u32, no_rule: u16, ranks_max: usize) -> Self {
        let classes = classes as usize;
        let mut levels = 0;
        if classes > SINGLE_LEAF_CLASSES {
            while classes > PAGE_REFERENCES << (levels * PAGE_BITS) {
                levels += 1;
            }
        }
        let leaf_classes = if levels == 0 { classes } else { PAGE_REFERENCES };
        let mut programs = Self {
            leaves: Rows::new(leaf_classes),
            pages: Rows::new(PAGE_REFERENCES),
            merged: HashMap::new(),
            no_rule,
            ranks_max: ranks_max.min(PROGRAM_RANKS_MAX),
            leaf_classes,
            levels,
            ranks: vec![no_rule; classes.next_multiple_of(leaf_classes)],
        };
        // Whatever the limit, this one is there.
        let empty = programs.program(std::iter::empty());
        debug_assert!(empty.is_ok_and(|empty| empty == EMPTY_PROGRAM) || ranks_max == 0);
        programs
    }

    /// Returns the program of rules, each with its rank and the classes that it holds, in which the first rule that holds a
    /// class wins it. The ranks ascend.
    pub(super) fn program<'a>(
        &mut self,
        rules: impl DoubleEndedIterator<Item = (u32, &'a [u16])>,
    ) -> Result<u32, CompileError> {
        let mut ranks = std::mem::take(&mut self.ranks);
        ranks.fill(self.no_rule);
        // The last one written wins, so the first rule comes last.
        for (rank, classes) in rules.rev() {
            let winner = u16::try_from(rank).expect("ranks are limited below 2^16");
            classes.iter().for_each(|class| ranks[usize::from(*class)] = winner);
        }
        let leaf = |ranks: &[u16]| self.leaves.number_of(ranks) * index_u32(self.leaf_classes);
        let mut places: Vec<u32> = ranks.chunks(self.leaf_classes).map(leaf).collect();
        for _ in 0..self.levels {
            let mut page = [0; PAGE_REFERENCES];
            let references = places.chunks(PAGE_REFERENCES).map(|part| {
                page.fill(0);
                page[..part.len()].copy_from_slice(part);
                self.pages.number_of(&page) * index_u32(PAGE_REFERENCES)
            });
            places = references.collect();
        }
        self.ranks = ranks;
        self.keep(places[0])
    }

    /// Returns the program that gives each class the smaller of the ranks that two programs give it.
    #[inline]
    pub(super) fn merge(&mut self, a: u32, b: u32) -> Result<u32, CompileError> {
        if a == b || b == EMPTY_PROGRAM {
            Ok(a)
        } else if a == EMPTY_PROGRAM {
            Ok(b)
        } else {
            let merged = self.merge_at(self.levels, a, b);
            self.keep(merged)
        }
    }

    /// Merges two leaves, or pages of that level.
    fn merge_at(&mut self, level: u32, a: u32, b: u32) -> u32 {
        // What is at place 0 is empty at every level.
        if a == b || b == EMPTY_PROGRAM {
            return a;
        }
        if a == EMPTY_PROGRAM {
            return b;
        }
        let pair = (level, a.min(b), a.max(b));
        if let Some(merged) = self.merged.get(&pair) {
            return *merged;
        }
        let (a, b) = (a as usize, b as usize);
        let merged = if level == 0 {
            let width = self.leaf_classes;
            let ranks = self.leaves.list[a..a + width].iter().zip(&self.leaves.list[b..b + width]);
            let merged: Vec<u16> = ranks.map(|(a, b)| *a.min(b)).collect();
            self.leaves.number_of(&merged) * index_u32(width)
        } else {
            let mut page = [0; PAGE_REFERENCES];
            for (at, reference) in page.iter_mut().enumerate() {
                let (a, b) = (self.pages.list[a + at], self.pages.list[b + at]);
                *reference = self.merge_at(level - 1, a, b);
            }
            self.pages.number_of(&page) * index_u32(PAGE_REFERENCES)
        };
        self.merged.insert(pair, merged);
        merged
    }

    /// Refuses a program where all of them are too large.
    fn keep(&self, program: u32) -> Result<u32, CompileError> {
        if self.leaves.list.len().max(self.pages.list.len()) > self.ranks_max {
            return Err(CompileError::ProgramRanks);
        }
        Ok(program)
    }

    /// Returns the programs that cells name, in the form that is looked up, and how many there are; writes into the cells which
    /// of them they name.
    pub(super) fn finish<'a>(self, cells: impl Iterator<Item = &'a mut u32>) -> (L4Programs, usize) {
        let leaf_mask = if self.levels == 0 { u32::MAX } else { (1 << PAGE_BITS) - 1 };
        let width = index_u32(if self.levels == 0 { self.leaf_classes } else { PAGE_REFERENCES });
        let mut kept = Kept::nothing_of(&self);
        let empty = kept.place_of(&self, self.levels, EMPTY_PROGRAM);
        debug_assert_eq!(empty, EMPTY_PROGRAM);
        for cell in cells {
            *cell = kept.place_of(&self, self.levels, *cell) / width;
        }
        let top = if self.levels == 0 { kept.leaves.len() } else { kept.pages[1].len() };
        let programs = top / width as usize;
        // Programs are numbered by themselves, so the pages that are programs stand in front of those below them.
        let [below, mut pages] = kept.pages;
        if self.levels > 1 {
            let shift = index_u32(pages.len());
            pages.iter_mut().for_each(|reference| *reference += shift);
        }
        pages.extend(below);
        (L4Programs { ranks: kept.leaves, pages, levels: self.levels, width, leaf_mask }, programs)
    }
}

/// What of all programs that were made is looked up. Leaves and pages that differ before differ here too, so that none needs
/// be searched for.
struct Kept {
    leaves: Vec<u16>,
    /// Pages below others, and pages that are programs.
    pages: [Vec<u32>; 2],
    /// The new place of each leaf and each page, by level; [`NOT_KEPT`] of those that no cell needs.
    places: Vec<Vec<u32>>,
}

/// The place of what is not kept.
const NOT_KEPT: u32 = u32::MAX;

impl Kept {
    fn nothing_of(from: &Programs) -> Self {
        let leaves = from.leaves.list.len() / from.leaf_classes;
        let pages = from.pages.list.len() / PAGE_REFERENCES;
        let of_pages = std::iter::repeat_n(pages, from.levels as usize);
        let places = std::iter::once(leaves).chain(of_pages).map(|count| vec![NOT_KEPT; count]).collect();
        Self { leaves: Vec::new(), pages: [Vec::new(), Vec::new()], places }
    }

    /// Returns the place of a leaf, or of a page of that level.
    fn place_of(&mut self, from: &Programs, level: u32, place: u32) -> u32 {
        let begins = place as usize;
        let width = if level == 0 { from.leaf_classes } else { PAGE_REFERENCES };
        let known = self.places[level as usize][begins / width];
        if known != NOT_KEPT {
            return known;
        }
        let kept = if level == 0 {
            let kept = self.leaves.len();
            self.leaves.extend_from_slice(&from.leaves.list[begins..][..width]);
            kept
        } else {
            let below = &from.pages.list[begins..][..width];
            let page: Vec<u32> = below.iter().map(|place| self.place_of(from, level - 1, *place)).collect();
            let pages = &mut self.pages[usize::from(level == from.levels)];
            pages.extend_from_slice(&page);
            pages.len() - width
        };
        self.places[level as usize][begins / width] = index_u32(kept);
        index_u32(kept)
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
            let mut programs = Programs::new(classes.into(), 99, PROGRAM_RANKS_MAX);
            let of = |rank: u32| (rank, held[rank as usize].as_slice());
            let all = programs.program((0..5).map(of)).unwrap();
            let few = programs.program([of(2)].into_iter()).unwrap();
            let parts =
                [programs.program((2..5).map(of)).unwrap(), programs.program((0..3).map(of)).unwrap()];
            assert_eq!(programs.merge(parts[0], parts[1]), Ok(all), "{classes} classes");
            let mut cells = [all, few, EMPTY_PROGRAM];
            let (programs, count) = programs.finish(cells.iter_mut());
            // A single class is not held by the third rule.
            assert_eq!(count, if classes == 1 { 2 } else { 3 });
            for class in 0..classes {
                let kind = class % 7;
                let expected = [if kind < 5 { kind } else { 99 }, if kind == 2 { 2 } else { 99 }, 99];
                let found = cells.map(|program| programs.rank(u16::try_from(program).unwrap(), class.into()));
                assert_eq!(found, expected, "class {class} of {classes}");
            }
        }
    }
}
