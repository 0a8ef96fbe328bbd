//! The matrix: (source column, destination column) -> L4 program.
//!
//! Most cells are empty: of 215 x 215 pairs of groups 2,000 rules name at most 2,000, and the diagonal holds
//! membership. A row is cut into **blocks** of 32 cells, one cache line; equal blocks are stored once, and nearly
//! all reads of an empty cell hit the same line. Rows that are equal block by block are stored once too.
//!
//! ```text
//! rows[row + destination column / 32] -> blocks [destination column % 32] -> program
//! ```
//!
//! A matrix of no more than a megabyte is **plain**: its blocks stand in the order of the rows, and what a row would say needs
//! not be read. It is larger then, and was faster by a tenth up to there.
//!
//! # How it is filled
//! Writing each rule into all cells that it meets would take as long as there are such cells: a rule from everywhere to a
//! prefix meets every row, and thousands of them billions of cells. Instead the programs of pairs of *atoms* are written,
//! which are as many as rules, and what a larger set says is put together from what its parts say:
//!
//! ```text
//! row of an atom:   [set + atom] = merge([set], [atom])          along the sets of destination columns
//! row of a set:     row of set + atom = merge(row of set, row of atom)   block by block
//! ```
//!
//! Merging is the smaller rank, L4 class by L4 class; every pair of programs and of blocks that is met is merged once, and
//! merging with what is empty costs nothing.

mod filling;

use super::address_trie::index_u32;
use super::columns::{Columns, Limits};
use super::compile::CompileError;
use super::l4_class::L4Matches;
use super::l4_program::{EMPTY_PROGRAM, L4Programs, Programs};
use super::store::Rows;
use filling::Filling;
use hashbrown::HashMap;

/// Cells of one block: program numbers of two bytes, one cache line.
pub(super) const BLOCK_CELLS: usize = 32;
/// Blocks that differ, and programs: their numbers have two bytes. Where no two groups share a column, which is what is tried
/// last, each rule and each membership is at most one program in one cell.
pub(super) const NUMBERS_MAX: usize = 1 << 16;
/// Block numbers of all rows together: 2^26 of two bytes are 128 MB. 10,000 x 10,000 single-group columns take a
/// twentieth of it.
pub(super) const BLOCKS_MAX: usize = 1 << 26;
/// Cells of the rows of all single atoms while compiling. 2^30 take a few seconds; a policy beyond that would keep a host
/// busy for minutes.
pub(super) const ATOM_CELLS_MAX: usize = 1 << 30;
/// A form is given up early if merging goes on to take so many times what it may, judged by one of so many sets.
const FORESEEN_TIMES: usize = 3;
const FORESEEN_SHARE: usize = 32;
/// The block that is empty.
const EMPTY_BLOCK: u32 = 0;

/// The cells of one kind of rules, enforced or shadow.
#[derive(Debug)]
pub(super) struct Matrix {
    /// The block of each 32 columns, row by row; empty if blocks stand in that order themselves.
    rows: Vec<u16>,
    /// The programs of all blocks.
    cells: Vec<u16>,
    /// The programs that cells name.
    pub(super) programs: L4Programs,
    programs_count: usize,
    cells_count: usize,
}

/// A rule, or the membership of a group, as the matrix takes it in.
#[derive(Clone, Copy, Debug)]
pub(super) struct RankedRule {
    /// Its place in the order of all: the smallest that matches wins.
    pub(super) rank: u32,
    /// Source side.
    pub(super) source: u32,
    /// Destination side.
    pub(super) destination: u32,
    /// Number of its L4 match.
    pub(super) l4: u32,
}

/// The columns of both sides.
pub(super) struct Sides<'a> {
    /// Source columns.
    pub(super) source: &'a Columns,
    /// Destination columns.
    pub(super) destination: &'a Columns,
    /// How many atoms there are.
    pub(super) atoms: u32,
    /// What it may take to merge them.
    pub(super) limits: Limits,
}

/// What every matrix of a policy shares.
pub(super) struct L4Shape<'a> {
    /// The classes of each L4 match.
    pub(super) matches: &'a L4Matches,
    /// How many L4 classes there are.
    pub(super) classes: u32,
    /// The rank that stands for "no rule".
    pub(super) no_rule: u16,
}

impl Matrix {
    /// Returns which block of the row that begins there a destination column is in.
    #[inline(always)]
    pub(super) fn block_of(row: u32, destination: u32) -> u32 {
        row + (destination >> BLOCK_CELLS.ilog2())
    }

    /// Returns where a destination column is in its block.
    #[inline(always)]
    pub(super) fn within_block(destination: u32) -> u32 {
        destination % (1 << BLOCK_CELLS.ilog2())
    }

    /// Returns the place of a cell, which is so far within that block.
    #[inline(always)]
    pub(super) fn cell_of(&self, block: u32, within: u32) -> u32 {
        let block = if self.is_plain() { block } else { self.rows[block as usize].into() };
        block << BLOCK_CELLS.ilog2() | within
    }

    /// Makes places of cells of blocks of rows, and of where the columns of each packet are within them.
    #[inline(always)]
    pub(super) fn find_cells<const ROWS: usize, const COLUMNS: usize>(
        &self,
        blocks: &mut [[[u32; COLUMNS]; ROWS]],
        within: &[[u32; COLUMNS]],
    ) {
        for (blocks, within) in blocks.iter_mut().zip(within) {
            for blocks in blocks {
                for (block, within) in blocks.iter_mut().zip(within) {
                    *block = self.cell_of(*block, *within);
                }
            }
        }
    }

    /// Returns whether blocks stand in the order of rows.
    #[inline(always)]
    pub(super) fn is_plain(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the place of the cell in the row that begins there and in this destination column.
    #[inline(always)]
    fn cell(&self, row: u32, destination: u32) -> u32 {
        self.cell_of(Self::block_of(row, destination), Self::within_block(destination))
    }

    /// Returns the program of a cell.
    #[inline(always)]
    pub(super) fn program(&self, cell: u32) -> u16 {
        self.cells[cell as usize]
    }

    /// Returns the best rank that any pair of these rows and destination columns has for an L4 class. Empty rows, and what lists
    /// are filled up with, are left out: where there are many columns a class, most have few.
    #[inline]
    pub(super) fn best_rank(&self, rows: &[u32], columns: &[u32], l4: u32) -> u16 {
        let mut best = self.programs.rank(0, l4);
        for row in rows.iter().filter(|row| **row != FIRST_ROW) {
            for column in columns.iter().take_while(|column| **column != super::columns::FILLING) {
                best = best.min(self.programs.rank(self.program(self.cell(*row, *column)), l4));
            }
        }
        best
    }

    /// Returns how many cells have a program that is not empty, and how many different programs there are.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.cells_count, self.programs_count)
    }

    /// Returns the bytes that cells and programs take.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.rows.as_slice()) + size_of_val(self.cells.as_slice()) + self.programs.bytes()
    }
}

/// Where the row of the column begins that holds nothing.
const FIRST_ROW: u32 = 0;

/// A matrix that has the row of every source column, equal ones not yet found.
pub(super) struct WholeMatrix {
    /// The rows of the sets of source columns, in the order of the columns.
    rows: Vec<u32>,
    blocks: Rows<u32>,
    programs: Programs,
    blocks_a_row: usize,
}

impl WholeMatrix {
    /// Returns the matrix of these rules, whose ranks ascend.
    pub(super) fn compile(
        rules: &[RankedRule],
        sides: &Sides<'_>,
        l4: &L4Shape<'_>,
    ) -> Result<Self, CompileError> {
        let blocks_a_row = sides.destination.set_of_column.len().div_ceil(BLOCK_CELLS);
        if sides.source.sets.len() * blocks_a_row > BLOCKS_MAX {
            return Err(CompileError::Blocks);
        }
        let mut filling = Filling::new(sides, l4);
        let atom_rows = filling.atom_rows(rules, sides, l4)?;
        let rows = filling.set_rows(&sides.source.sets, &atom_rows)?;
        let row = |set: &u32| &rows[*set as usize * blocks_a_row..][..blocks_a_row];
        let rows = sides.source.set_of_column.iter().flat_map(row).copied().collect();
        Ok(Self { rows, blocks: filling.blocks, programs: filling.programs, blocks_a_row })
    }

    /// Returns the matrices with every row that is the same in all of them once, and where the row of each source column
    /// begins.
    pub(super) fn finish<const N: usize>(
        matrices: [Self; N],
        plain_blocks_max: usize,
    ) -> Result<([Matrix; N], Vec<u32>), CompileError> {
        let blocks_a_row = matrices.iter().map(|matrix| matrix.blocks_a_row).max().unwrap_or(1);
        let columns = matrices.first().map_or(0, |matrix| matrix.rows.len() / blocks_a_row);
        let mut distinct = Rows::new(N * blocks_a_row);
        let mut kept = Vec::new();
        let mut row = Vec::with_capacity(N * blocks_a_row);
        let mut begins = Vec::with_capacity(columns);
        for column in 0..columns {
            row.clear();
            for matrix in &matrices {
                row.extend_from_slice(&matrix.rows[column * blocks_a_row..][..blocks_a_row]);
            }
            let number = distinct.number_of(&row) as usize;
            if number == kept.len() {
                kept.push(column);
            }
            begins.push(index_u32(number * blocks_a_row));
        }
        let matrices = matrices
            .map(|matrix| matrix.keep(&kept, plain_blocks_max))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        Ok((matrices.try_into().unwrap_or_else(|_| unreachable!("as many came out")), begins))
    }

    /// Returns the matrix with these rows, and of blocks and programs what they need.
    fn keep(self, kept: &[usize], plain_blocks_max: usize) -> Result<Matrix, CompileError> {
        let is_plain = kept.len() * self.blocks_a_row <= plain_blocks_max;
        let mut blocks: Vec<[u32; BLOCK_CELLS]> = Vec::new();
        let mut numbers = HashMap::new();
        let mut rows = Vec::with_capacity(kept.len() * self.blocks_a_row);
        let mut cells_count = 0;
        for column in kept {
            for block in &self.rows[column * self.blocks_a_row..][..self.blocks_a_row] {
                let cells = self.blocks.row(*block);
                let mut push = || {
                    blocks.push(std::array::from_fn(|at| cells[at]));
                    u16::try_from(blocks.len() - 1)
                };
                let number = if is_plain { push() } else { *numbers.entry(*block).or_insert_with(push) };
                rows.push(number.map_err(|_| CompileError::Numbers)?);
                cells_count += cells.iter().filter(|program| **program != EMPTY_PROGRAM).count();
            }
        }
        if is_plain {
            rows.clear();
        }
        let mut cells = blocks.into_flattened();
        let (programs, programs_count) = self.programs.finish(cells.iter_mut());
        let cells: Result<Vec<u16>, _> = cells.into_iter().map(u16::try_from).collect();
        let cells = cells.map_err(|_| CompileError::Numbers)?;
        Ok(Matrix { rows, cells, programs, programs_count, cells_count })
    }
}
