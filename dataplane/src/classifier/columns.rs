//! Columns: which sets of atoms the compiler merges, and which of them each class consists of.
//!
//! A class is a set of atoms. The look-up does not see atoms but **columns**: sets of atoms whose rules were merged
//! beforehand. Any choice is correct as long as the columns of a class together are exactly its atoms, because then
//! the pairs of columns cover exactly the pairs of atoms. The choice trades memory for loads: one group a column is
//! small, one column a class is fast. Source and destination choose apart, since a rule's atom often stands on one
//! side only; an atom that no rule names on a side is left out there.
//!
//! A side has one of two forms:
//! - **factored**: one group a column, and what is not a group (`any`, `external`, `multicast`, peers of group rules)
//!   merged into one, because many peers may hold one address. Always fits.
//! - **crossed**: one column a class. A packet then reads as many cells as the *other* side has columns.
//!
//! Both sides crossed is one read a packet and a cell for every pair of classes; one side crossed is a handful of
//! reads and a cell for every class and group. The compiler takes the fastest that its budget allows.

use super::address_trie::index_u32;
use super::classes::{Atom, Classes};
use super::matrix::{BLOCK_CELLS, RankedRule};
use meshgate_policy::limits::GROUPS_PER_ENDPOINT_MAX;
use std::collections::HashMap;

/// Columns of one class on one side: its groups, the last of which shares its column with what is not a group.
pub(super) const COLUMNS_PER_CLASS_MAX: usize = GROUPS_PER_ENDPOINT_MAX;

/// How much the compiler may spend on merging atoms into columns. A larger budget never changes an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnBudget {
    /// Cells of the matrix, empty ones included. A cell takes up to four bytes.
    pub cells_max: u64,
    /// Rules written into cells: what compiling takes time for.
    pub cell_rules_max: u64,
}

impl ColumnBudget {
    /// Merges nothing: one group a column.
    pub const NONE: Self = Self { cells_max: 0, cell_rules_max: 0 };
}

impl Default for ColumnBudget {
    /// Returns a budget of 32 MiB of cells and some hundred milliseconds.
    fn default() -> Self {
        Self { cells_max: 1 << 23, cell_rules_max: 1 << 22 }
    }
}

/// The columns of one side, and those of each class.
#[derive(Default)]
pub(super) struct Columns {
    /// The atoms of each column, sorted.
    pub(super) atoms: Vec<Vec<Atom>>,
    /// The columns of each class.
    pub(super) of_class: Vec<Vec<u32>>,
    numbers: HashMap<Vec<Atom>, u32>,
}

impl Columns {
    /// Returns one column a group, of the atoms that `is_named` holds.
    fn factored(classes: &Classes, is_named: &[bool]) -> Self {
        let mut columns = Self::default();
        let groups = classes.group_atoms();
        for atoms in &classes.atoms {
            let named = atoms.iter().copied().filter(|atom| is_named[*atom as usize]);
            let (own, rest): (Vec<Atom>, Vec<Atom>) = named.partition(|atom| groups.contains(atom));
            let mut sets: Vec<Vec<Atom>> = own.into_iter().map(|group| vec![group]).collect();
            if sets.len() == COLUMNS_PER_CLASS_MAX {
                sets[COLUMNS_PER_CLASS_MAX - 1].extend(rest);
            } else if !rest.is_empty() {
                sets.push(rest);
            }
            let list = sets.into_iter().map(|set| columns.number(set)).collect();
            columns.of_class.push(list);
        }
        columns
    }

    /// Returns one column a class, of the atoms that `is_named` holds.
    fn crossed(classes: &Classes, is_named: &[bool]) -> Self {
        let mut columns = Self::default();
        for atoms in &classes.atoms {
            let named: Vec<Atom> = atoms.iter().copied().filter(|atom| is_named[*atom as usize]).collect();
            let list = if named.is_empty() { Vec::new() } else { vec![columns.number(named)] };
            columns.of_class.push(list);
        }
        columns
    }

    /// Returns the number of the column of these atoms.
    fn number(&mut self, mut set: Vec<Atom>) -> u32 {
        set.sort_unstable();
        let next = index_u32(self.atoms.len());
        *self.numbers.entry(set).or_insert_with_key(|set| {
            self.atoms.push(set.clone());
            next
        })
    }

    /// Returns how many columns hold each atom.
    fn columns_by_atom(&self, atoms: u32) -> Vec<u64> {
        let mut counts = vec![0; atoms as usize];
        self.atoms.iter().flatten().for_each(|atom| counts[*atom as usize] += 1);
        counts
    }
}

/// Returns the columns of the source and of the destination side: the fastest form within the budget.
pub(super) fn choose(
    classes: &Classes,
    atoms: u32,
    rules: &[RankedRule],
    budget: ColumnBudget,
) -> [Columns; 2] {
    let mut is_source = vec![false; atoms as usize];
    let mut is_destination = is_source.clone();
    for rule in rules {
        is_source[rule.source as usize] = true;
        is_destination[rule.destination as usize] = true;
    }
    let factored = || [Columns::factored(classes, &is_source), Columns::factored(classes, &is_destination)];
    let crossed = || [Columns::crossed(classes, &is_source), Columns::crossed(classes, &is_destination)];
    let fits = |sides: &[Columns; 2]| {
        let (cells, cell_rules) = cost(sides, atoms, rules);
        cells <= budget.cells_max && cell_rules <= budget.cell_rules_max
    };
    let both = crossed();
    if fits(&both) {
        return both;
    }
    let ([source, destination], [few_sources, few_destinations]) = (both, factored());
    let one_side = [[source, few_destinations], [few_sources, destination]];
    let cheapest = one_side.into_iter().min_by_key(|sides| cost(sides, atoms, rules));
    cheapest.filter(fits).unwrap_or_else(factored)
}

/// Returns how many cells a choice has, and how often a rule is written into one.
fn cost([source, destination]: &[Columns; 2], atoms: u32, rules: &[RankedRule]) -> (u64, u64) {
    let row_cells = destination.atoms.len().next_multiple_of(BLOCK_CELLS);
    let cells = u64::try_from(source.atoms.len() * row_cells).unwrap_or(u64::MAX);
    let (of_source, of_destination) = (source.columns_by_atom(atoms), destination.columns_by_atom(atoms));
    let writes =
        rules.iter().map(|rule| of_source[rule.source as usize] * of_destination[rule.destination as usize]);
    (cells, writes.sum())
}
