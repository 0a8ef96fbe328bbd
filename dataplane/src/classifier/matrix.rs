//! The matrix: (source column, destination column) -> L4 program.
//!
//! Most cells are empty: of 215 x 215 pairs of groups 2,000 rules name at most 2,000, and the diagonal holds
//! membership. A row is cut into blocks of sixteen cells, one cache line; equal blocks are stored once, and nearly
//! all reads of an empty cell hit the same line.
//!
//! ```text
//! rows[source column * blocks a row + destination column / 16] + destination column % 16 -> cells -> program
//! ```

use super::address_trie::index_u32;
use super::classes::Atom;
use super::columns::FILLING;
use super::compile::CompileError;
use super::l4_class::L4Matches;
use super::l4_program::{EMPTY_PROGRAM, L4Programs, Programs};
use std::collections::HashMap;

/// Cells of one block: program numbers of four bytes, one cache line.
pub(super) const BLOCK_CELLS: usize = 16;
/// Block numbers of all rows together: 2^26 of four bytes are 256 MB. 10,000 x 10,000 single-group columns take a
/// tenth of it.
pub(super) const BLOCKS_MAX: usize = 1 << 26;
/// Rules written into cells while compiling. 2^28 take a few seconds; a policy beyond that would keep a host busy
/// for minutes.
pub(super) const CELL_RULES_MAX: usize = 1 << 28;

/// The cells of one kind of rules, enforced or shadow.
#[derive(Debug)]
pub(super) struct Matrix {
    /// Where the block of each sixteen columns begins in `cells`.
    rows: Vec<u32>,
    cells: Vec<u32>,
    /// The programs that cells name.
    pub(super) programs: L4Programs,
    blocks_a_row: usize,
    programs_count: usize,
    cells_count: usize,
}

/// A rule, or the membership of a group, as the matrix takes it in.
#[derive(Clone, Copy, Debug)]
pub(super) struct RankedRule {
    /// Its place in the order of all: the smallest that matches wins.
    pub(super) rank: u32,
    /// Source side.
    pub(super) source: Atom,
    /// Destination side.
    pub(super) destination: Atom,
    /// Number of its L4 match.
    pub(super) l4: u32,
}

/// The atoms of each source column and of each destination column.
pub(super) struct ColumnAtoms<'a> {
    /// Source columns.
    pub(super) source: &'a [Vec<Atom>],
    /// Destination columns.
    pub(super) destination: &'a [Vec<Atom>],
    /// How many atoms there are.
    pub(super) atoms: u32,
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
    /// Returns the number of the block row of a source column's cells; to be given to [`Self::program`].
    pub(super) fn row(&self, source: u32) -> u32 {
        index_u32(source as usize * self.blocks_a_row)
    }

    /// Returns the program of the cell in this row and this destination column.
    #[inline]
    pub(super) fn program(&self, row: u32, destination: u32) -> u32 {
        let column = destination as usize;
        let block = self.rows[row as usize + column / BLOCK_CELLS] as usize;
        self.cells[block + column % BLOCK_CELLS]
    }

    /// Returns the best rank that any pair of these rows and destination columns has for an L4 class. What lists are filled up
    /// with is left out: where there are many columns a class, most have few.
    #[inline]
    pub(super) fn best_rank(&self, rows: &[u32], columns: &[u32], l4: u32) -> u16 {
        let mut best = self.programs.rank(EMPTY_PROGRAM, l4);
        for row in rows.iter().take_while(|row| **row != FILLING) {
            for column in columns.iter().take_while(|column| **column != FILLING) {
                best = best.min(self.programs.rank(self.program(*row, *column), l4));
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

    /// Returns the matrix of these rules, whose ranks ascend.
    pub(super) fn compile(
        rules: &[RankedRule],
        columns: &ColumnAtoms<'_>,
        l4: &L4Shape<'_>,
    ) -> Result<Self, CompileError> {
        let blocks_a_row = columns.destination.len().div_ceil(BLOCK_CELLS);
        if columns.source.len() * blocks_a_row > BLOCKS_MAX {
            return Err(CompileError::Blocks);
        }
        let by_source = by_key(columns.atoms, (0..).zip(rules).map(|(at, rule)| (rule.source, at)));
        let columns_of = by_key(
            columns.atoms,
            (0..).zip(columns.destination).flat_map(|(at, atoms)| atoms.iter().map(move |atom| (*atom, at))),
        );
        let mut programs = Programs::new(l4.classes, l4.no_rule);
        let mut blocks = Blocks::new();
        let mut row = Row::new(columns.destination.len());
        let (mut rows, mut budget, mut cells_count) = (Vec::new(), CELL_RULES_MAX, 0);
        for atoms in columns.source {
            let mut own: Vec<u32> =
                atoms.iter().flat_map(|atom| &by_source[*atom as usize]).copied().collect();
            own.sort_unstable();
            for rule in own.iter().map(|at| &rules[*at as usize]) {
                let targets = &columns_of[rule.destination as usize];
                budget = budget.checked_sub(targets.len()).ok_or(CompileError::CellRules)?;
                targets.iter().for_each(|column| row.add(*column, rule));
            }
            let mut cells = vec![0; blocks_a_row * BLOCK_CELLS];
            for (column, ranks) in row.take() {
                let classes_of =
                    |rank: u32| l4.matches.classes[l4.matches.of_rank[rank as usize] as usize].as_slice();
                cells[column as usize] = programs.program(&ranks, classes_of)?;
                cells_count += 1;
            }
            rows.extend(cells.chunks_exact(BLOCK_CELLS).map(|cells| blocks.place(cells)));
        }
        let programs_count = programs.count();
        let (cells, programs) = (blocks.cells, programs.finish());
        Ok(Self { rows, cells, programs, blocks_a_row, programs_count, cells_count })
    }
}

/// Returns the values of each key below `keys`, in the order given.
fn by_key(keys: u32, pairs: impl Iterator<Item = (u32, u32)>) -> Vec<Vec<u32>> {
    let mut lists = vec![Vec::new(); keys as usize];
    for (key, value) in pairs {
        lists[key as usize].push(value);
    }
    lists
}

/// One row while it is being written: the ranks of the rules in each of its cells.
struct Row {
    ranks: Vec<Vec<u32>>,
    /// Cells that have any.
    touched: Vec<u32>,
    /// Cells in which a rule already holds every L4 class: what comes behind it can never win.
    closed: Vec<bool>,
}

impl Row {
    fn new(columns: usize) -> Self {
        Self { ranks: vec![Vec::new(); columns], touched: Vec::new(), closed: vec![false; columns] }
    }

    /// Writes a rule into a cell; ranks must ascend.
    fn add(&mut self, column: u32, rule: &RankedRule) {
        let at = column as usize;
        if self.closed[at] {
            return;
        }
        if self.ranks[at].is_empty() {
            self.touched.push(column);
        }
        self.ranks[at].push(rule.rank);
        self.closed[at] = rule.l4 == L4Matches::ANY;
    }

    /// Returns the cells written, and empties the row.
    fn take(&mut self) -> Vec<(u32, Vec<u32>)> {
        let touched = std::mem::take(&mut self.touched);
        let cell = |column: u32| {
            self.closed[column as usize] = false;
            (column, std::mem::take(&mut self.ranks[column as usize]))
        };
        touched.into_iter().map(cell).collect()
    }
}

/// Blocks of cells, equal ones once.
struct Blocks {
    cells: Vec<u32>,
    places: HashMap<[u32; BLOCK_CELLS], u32>,
}

impl Blocks {
    fn new() -> Self {
        Self { cells: Vec::new(), places: HashMap::new() }
    }

    /// Returns where a block begins.
    fn place(&mut self, cells: &[u32]) -> u32 {
        let mut block = [0; BLOCK_CELLS];
        block.copy_from_slice(cells);
        *self.places.entry(block).or_insert_with(|| {
            self.cells.extend(block);
            index_u32(self.cells.len() - BLOCK_CELLS)
        })
    }
}
