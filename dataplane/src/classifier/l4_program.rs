//! L4 programs: L4 class -> rank of the winning rule, as rows of one dense table.
//!
//! A program has one entry a class: the rank of the first of its rules that holds the class. Equal programs are stored
//! once. A cell names a program by where its row begins, so that one addition and one load give the rank.
//!
//! ```text
//! ranks[program + class]: u16      program 0 is the one in which no rule wins
//! ```

use super::address_trie::index_u32;
use super::compile::CompileError;
use std::collections::HashMap;

/// The program in which no rule wins.
pub(super) const EMPTY_PROGRAM: u32 = 0;
/// Ranks of all programs of one matrix together: 2^28 of two bytes are 512 MB.
pub(super) const PROGRAM_RANKS_MAX: usize = 1 << 28;

/// The programs of one matrix.
#[derive(Debug)]
pub(super) struct L4Programs {
    ranks: Vec<u16>,
}

impl L4Programs {
    /// Returns the rank that a program gives to a class.
    #[inline]
    pub(super) fn rank(&self, program: u32, class: u32) -> u16 {
        self.ranks[(program + class) as usize]
    }

    /// Returns the bytes that all programs take.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.ranks.as_slice())
    }
}

/// Stores programs, equal ones once.
pub(super) struct Programs {
    ranks: Vec<u16>,
    /// The program of each list of rules met so far.
    of_rules: HashMap<Vec<u32>, u32>,
    /// The program of each row of ranks.
    of_ranks: HashMap<Vec<u16>, u32>,
    no_rule: u16,
    classes: usize,
}

impl Programs {
    /// Returns a store for programs over that many classes, holding the empty one; `no_rule` is its only rank.
    pub(super) fn new(classes: u32, no_rule: u16) -> Self {
        let empty = vec![no_rule; classes as usize];
        Self {
            ranks: empty.clone(),
            of_rules: HashMap::from([(Vec::new(), EMPTY_PROGRAM)]),
            of_ranks: HashMap::from([(empty, EMPTY_PROGRAM)]),
            no_rule,
            classes: classes as usize,
        }
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
        let next = self.ranks.len();
        let program = *self.of_ranks.entry(row).or_insert_with_key(|row| {
            self.ranks.extend_from_slice(row);
            index_u32(next)
        });
        if self.ranks.len() > PROGRAM_RANKS_MAX {
            return Err(CompileError::ProgramRanks);
        }
        self.of_rules.insert(ranks.to_vec(), program);
        Ok(program)
    }

    /// Returns how many different programs there are.
    pub(super) fn count(&self) -> usize {
        self.of_ranks.len()
    }

    /// Returns the stored programs, in the form that is looked up.
    pub(super) fn finish(self) -> L4Programs {
        L4Programs { ranks: self.ranks }
    }
}
