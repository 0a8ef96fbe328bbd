//! Columns: which sets of atoms the compiler merges, and which of them each class consists of.
//!
//! A class is a set of atoms. The look-up does not see atoms but **columns**: sets of atoms whose rules were merged
//! beforehand. Any choice is correct as long as the columns of a class together are exactly its atoms, because then
//! the pairs of columns cover exactly the pairs of atoms. The choice trades memory for loads. Source and destination
//! choose apart, since a rule's atom often stands on one side only; an atom that no rule names on a side is left out
//! there.
//!
//! A side has a **form** of k columns a class: each of the k - 1 atoms that fewest classes contain has a column of its own,
//! and what is left is merged into the last one. What many classes contain (a group of half the endpoints, a prefix of
//! half the addresses) is of few kinds, so few columns come out of merging it; what few contain is left alone:
//!
//! ```text
//! class {any, Linux, Frontend, shop-17}     k = 1:  {any, Linux, Frontend, shop-17}
//!                                           k = 2:  {shop-17} {any, Linux, Frontend}
//!                                           k = 4:  {shop-17} {Frontend} {Linux} {any}
//! ```
//!
//! All classes of a side are filled up to k columns with one that holds nothing, so that the look-up runs the same loop for
//! every packet. One column on both sides is a single cell a packet, and a cell for every pair of classes; many columns are
//! many cells a packet, of a matrix that stays in the cache. The compiler weighs all pairs of forms by what their cells cost
//! to read, and takes the cheapest that its budget allows.

use super::address_trie::index_u32;
use super::classes::{Atom, Classes};
use super::matrix::{BLOCK_CELLS, RankedRule};
use meshgate_policy::limits::GROUPS_PER_ENDPOINT_MAX;
use std::collections::HashMap;

/// Columns a class that a side may have. With the last one a class has a column for each of its groups.
const FORMS: [usize; 6] = [1, 2, 3, 4, 8, GROUPS_PER_ENDPOINT_MAX];

/// The column that holds nothing, with which the list of a class ends that has fewer columns than others; its row begins at
/// the same place, the first one.
pub(super) const FILLING: u32 = 0;

/// How much the compiler may spend on merging atoms into columns. A larger budget never changes an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnBudget {
    /// Cells of the matrix, empty ones included. A cell takes up to four bytes.
    pub cells_max: u64,
    /// Rules written into cells: what compiling takes time for.
    pub cell_rules_max: u64,
}

impl ColumnBudget {
    /// Merges as little as there is to merge.
    pub const NONE: Self = Self { cells_max: 0, cell_rules_max: 0 };
}

impl Default for ColumnBudget {
    /// Returns a budget of 32 MiB of cells and some hundred milliseconds.
    fn default() -> Self {
        Self { cells_max: 1 << 23, cell_rules_max: 1 << 22 }
    }
}

/// The columns of one side, and those of each class.
pub(super) struct Columns {
    /// Columns of each class.
    pub(super) per_class: usize,
    /// The atoms of each column, sorted. The first column has none.
    pub(super) atoms: Vec<Vec<Atom>>,
    /// The columns of each class, `per_class` of them.
    pub(super) of_class: Vec<u32>,
    numbers: HashMap<Vec<Atom>, u32>,
}

/// One side of the rules: the classes as far as that side names their atoms.
struct OneSide {
    /// The named atoms of each class, those first that fewest classes contain.
    classes: Vec<Vec<Atom>>,
    /// Most named atoms of a class.
    atoms_max: usize,
}

impl OneSide {
    fn new(classes: &Classes, is_named: &[bool]) -> Self {
        let mut named: Vec<Vec<Atom>> = classes
            .atoms
            .iter()
            .map(|atoms| atoms.iter().copied().filter(|atom| is_named[*atom as usize]).collect())
            .collect();
        let mut counts = vec![0u32; is_named.len()];
        named.iter().flatten().for_each(|atom| counts[*atom as usize] += 1);
        named.iter_mut().for_each(|atoms| atoms.sort_unstable_by_key(|atom| (counts[*atom as usize], *atom)));
        let atoms_max = named.iter().map(Vec::len).max().unwrap_or(0);
        Self { classes: named, atoms_max }
    }

    /// Returns the columns of the form with that many a class.
    fn columns(&self, per_class: usize) -> Columns {
        let mut columns = Columns {
            per_class,
            atoms: vec![Vec::new()],
            of_class: Vec::with_capacity(self.classes.len() * per_class),
            numbers: HashMap::from([(Vec::new(), FILLING)]),
        };
        for atoms in &self.classes {
            let (alone, merged) = atoms.split_at(atoms.len().min(per_class - 1));
            for atom in alone {
                columns.push(&[*atom]);
            }
            columns.push(merged);
            columns.of_class.extend(std::iter::repeat_n(FILLING, per_class - 1 - alone.len()));
        }
        columns
    }

    /// Returns all forms that differ.
    fn forms(&self) -> Vec<Columns> {
        let last = FORMS.iter().position(|form| *form >= self.atoms_max).unwrap_or(FORMS.len() - 1);
        FORMS[..=last].iter().map(|per_class| self.columns(*per_class)).collect()
    }
}

impl Columns {
    /// Adds a column to the class that is being written.
    fn push(&mut self, set: &[Atom]) {
        let next = index_u32(self.atoms.len());
        let number = match self.numbers.get(set) {
            Some(number) => *number,
            None => {
                self.numbers.insert(set.to_vec(), next);
                let mut sorted = set.to_vec();
                sorted.sort_unstable();
                self.atoms.push(sorted);
                next
            }
        };
        self.of_class.push(number);
    }

    /// Returns how many columns hold each atom.
    fn columns_by_atom(&self, atoms: u32) -> Vec<u64> {
        let mut counts = vec![0; atoms as usize];
        self.atoms.iter().flatten().for_each(|atom| counts[*atom as usize] += 1);
        counts
    }
}

/// What a pair of forms takes.
#[derive(Clone, Copy)]
struct Cost {
    cells: u64,
    /// Rules written into cells.
    cell_rules: u64,
    /// Cells that a packet reads, weighed by how far away they are.
    reading: u64,
}

impl Cost {
    fn of(source: &Columns, destination: &Columns, atoms: u32, rules: &[RankedRule]) -> Self {
        let row_cells = destination.atoms.len().next_multiple_of(BLOCK_CELLS);
        let cells = u64::try_from(source.atoms.len() * row_cells).unwrap_or(u64::MAX);
        let (of_source, of_destination) = (source.columns_by_atom(atoms), destination.columns_by_atom(atoms));
        let writes = rules
            .iter()
            .map(|rule| of_source[rule.source as usize] * of_destination[rule.destination as usize]);
        let cell_rules = writes.sum();
        let reads = u64::try_from(source.per_class * destination.per_class).unwrap_or(u64::MAX);
        // A read that misses the second-level cache takes some four times as long, one that misses the third ten times.
        let distance = match cells {
            0..0x4_0000 => 1,
            0x4_0000..0x100_0000 => 4,
            _ => 10,
        };
        Self { cells, cell_rules, reading: reads.saturating_mul(distance) }
    }

    fn is_within(&self, budget: ColumnBudget) -> bool {
        self.cells <= budget.cells_max && self.cell_rules <= budget.cell_rules_max
    }
}

/// Returns the columns of the source and of the destination side: the fastest forms within the budget, or the smallest if
/// none is.
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
    let mut sources = OneSide::new(classes, &is_source).forms();
    let mut destinations = OneSide::new(classes, &is_destination).forms();
    let pairs = (0..sources.len()).flat_map(|s| (0..destinations.len()).map(move |d| (s, d)));
    let costs = pairs.map(|(s, d)| (Cost::of(&sources[s], &destinations[d], atoms, rules), s, d));
    let best = costs.min_by_key(|(cost, ..)| {
        let fits = cost.is_within(budget);
        (!fits, if fits { cost.reading } else { cost.cells.max(cost.cell_rules) }, cost.cells)
    });
    let (_, source, destination) = best.expect("every side has a form");
    [sources.swap_remove(source), destinations.swap_remove(destination)]
}
