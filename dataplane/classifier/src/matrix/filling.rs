//! Filling a matrix: programs of pairs of atoms, then rows of atoms, then rows of sets, merged block by block.

use super::{
    ATOM_CELLS_MAX, BLOCK_CELLS, EMPTY_BLOCK, FORESEEN_SHARE, FORESEEN_TIMES, L4Shape, RankedRule, Sides,
};
use crate::address_trie::index_u32;
use crate::columns::{Columns, NOTHING, SetTree};
use crate::compile::CompileError;
use crate::l4_program::{EMPTY_PROGRAM, Programs};
use crate::store::Rows;
use hashbrown::HashMap;

/// The cells of one matrix while they are filled.
pub(super) struct Filling<'a> {
    destination: &'a Columns,
    pub(super) programs: Programs,
    /// Blocks of cells, equal ones once; the first is empty.
    pub(super) blocks: Rows<u32>,
    blocks_a_row: usize,
    /// What merging two blocks gave.
    merged: HashMap<(u32, u32), u32>,
    /// Cells that may still be merged.
    merges_left: usize,
}

/// The rows of single atoms.
pub(super) struct AtomRows {
    /// Number of each atom's row; those without rules have the first one, which is empty.
    numbers: Vec<u32>,
    rows: Vec<u32>,
}

impl<'a> Filling<'a> {
    pub(super) fn new(sides: &Sides<'a>, l4: &L4Shape<'_>) -> Self {
        let destination = sides.destination;
        let mut blocks = Rows::new(BLOCK_CELLS);
        let empty = blocks.number_of(&[EMPTY_PROGRAM; BLOCK_CELLS]);
        debug_assert_eq!(empty, EMPTY_BLOCK);
        Self {
            destination,
            programs: Programs::new(l4.classes, l4.no_rule, sides.limits.ranks),
            blocks,
            blocks_a_row: destination.set_of_column.len().div_ceil(BLOCK_CELLS),
            merged: HashMap::new(),
            merges_left: sides.limits.merges,
        }
    }

    /// Returns the rows of the atoms that rules name as their source.
    pub(super) fn atom_rows(
        &mut self,
        rules: &[RankedRule],
        sides: &Sides<'_>,
        l4: &L4Shape<'_>,
    ) -> Result<AtomRows, CompileError> {
        let mut sorted = rules.to_vec();
        sorted.sort_unstable_by_key(|rule| (rule.source, rule.destination, rule.rank));
        let mut numbers = vec![0; sides.atoms as usize];
        let mut rows = vec![EMPTY_BLOCK; self.blocks_a_row];
        let mut budget = ATOM_CELLS_MAX;
        let mut cells = vec![EMPTY_PROGRAM; sides.atoms as usize];
        let sources = sorted.chunk_by(|a, b| a.source == b.source).count();
        let merges_before = self.merges_left;
        for (done, of_source) in (1..).zip(sorted.chunk_by(|a, b| a.source == b.source)) {
            self.foresee(merges_before, done, sources)?;
            budget = budget.checked_sub(self.destination.sets.len()).ok_or(CompileError::AtomCells)?;
            for of_pair in of_source.chunk_by(|a, b| a.destination == b.destination) {
                let held =
                    of_pair.iter().map(|rule| (rule.rank, l4.matches.classes[rule.l4 as usize].as_slice()));
                cells[of_pair[0].destination as usize] = self.programs.program(held)?;
            }
            self.push_atom_row(&cells, &mut rows)?;
            numbers[of_source[0].source as usize] = index_u32(done);
            of_source.iter().for_each(|rule| cells[rule.destination as usize] = EMPTY_PROGRAM);
        }
        Ok(AtomRows { numbers, rows })
    }

    /// Adds the row of an atom, whose programs are given for each atom of the destination side.
    fn push_atom_row(&mut self, cells: &[u32], rows: &mut Vec<u32>) -> Result<(), CompileError> {
        let mut of_set = Vec::with_capacity(self.destination.sets.len());
        of_set.push(EMPTY_PROGRAM);
        let mut merges = 0;
        for (atom, smaller) in self.destination.sets.links() {
            let (beside, own) = (of_set[smaller as usize], cells[atom as usize]);
            merges += usize::from(beside != EMPTY_PROGRAM && own != EMPTY_PROGRAM);
            of_set.push(self.programs.merge(beside, own)?);
        }
        self.merges_left = self.merges_left.checked_sub(merges).ok_or(CompileError::ProgramRanks)?;
        let mut block = [EMPTY_PROGRAM; BLOCK_CELLS];
        for sets in self.destination.set_of_column.chunks(BLOCK_CELLS) {
            block.fill(EMPTY_PROGRAM);
            for (cell, set) in block.iter_mut().zip(sets) {
                *cell = of_set[*set as usize];
            }
            rows.push(self.blocks.number_of(&block));
        }
        Ok(())
    }

    /// Returns the rows of all sets, put together from those of atoms.
    pub(super) fn set_rows(&mut self, sets: &SetTree, atoms: &AtomRows) -> Result<Vec<u32>, CompileError> {
        let width = self.blocks_a_row;
        let mut rows = Vec::with_capacity(sets.len() * width);
        rows.resize(width, EMPTY_BLOCK);
        let merges_before = self.merges_left;
        for (done, (atom, smaller)) in (1..).zip(sets.links()) {
            self.foresee(merges_before, done, sets.len())?;
            let own = atoms.numbers[atom as usize] as usize * width;
            let beside = smaller as usize * width;
            if own == 0 || smaller == NOTHING {
                rows.extend_from_slice(&atoms.rows[own..][..width]);
                if own == 0 {
                    rows.truncate(rows.len() - width);
                    rows.extend_from_within(beside..beside + width);
                }
                continue;
            }
            for at in 0..width {
                let merged = self.merge(atoms.rows[own + at], rows[beside + at])?;
                rows.push(merged);
            }
        }
        Ok(rows)
    }

    /// Refuses to go on where the merges of so many rows of all let expect that there will be far too many.
    fn foresee(&self, merges_before: usize, done: usize, rows: usize) -> Result<(), CompileError> {
        let merges = merges_before - self.merges_left;
        let is_foreseen = merges / done / FORESEEN_TIMES > merges_before / rows;
        if is_foreseen && done > rows / FORESEEN_SHARE { Err(CompileError::ProgramRanks) } else { Ok(()) }
    }

    /// Returns the block that says what two blocks say together.
    fn merge(&mut self, a: u32, b: u32) -> Result<u32, CompileError> {
        if a == b || b == EMPTY_BLOCK {
            return Ok(a);
        }
        if a == EMPTY_BLOCK {
            return Ok(b);
        }
        let pair = (a.min(b), a.max(b));
        if let Some(block) = self.merged.get(&pair) {
            return Ok(*block);
        }
        self.merges_left = self.merges_left.checked_sub(BLOCK_CELLS).ok_or(CompileError::ProgramRanks)?;
        let mut block = [EMPTY_PROGRAM; BLOCK_CELLS];
        for (at, cell) in block.iter_mut().enumerate() {
            let (a, b) = (self.blocks.row(a)[at], self.blocks.row(b)[at]);
            *cell = self.programs.merge(a, b)?;
        }
        let number = self.blocks.number_of(&block);
        self.merged.insert(pair, number);
        Ok(number)
    }
}
