//! Columns: which sets of atoms the compiler merges, and which of them each class consists of.
//!
//! A class is a set of atoms. The look-up does not see atoms but **columns**: sets of atoms whose rules were merged
//! beforehand. Any choice is correct as long as the columns of a class together are exactly its atoms, because then
//! the pairs of columns cover exactly the pairs of atoms. The choice trades memory for loads. Source and destination
//! choose apart, since a rule's atom often stands on one side only; an atom that no rule names on a side is left out
//! there, and addresses that only such atoms tell apart are of one class there.
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
use super::compile::CompileError;
use super::l4_program::PROGRAM_RANKS_MAX;
use super::matrix::{BLOCK_CELLS, RankedRule};
use hashbrown::HashMap;
use meshgate_policy::limits::GROUPS_PER_ENDPOINT_MAX;

/// Columns a class that a side may have, and as many as let each group and peer have a column of its own.
const FORMS: [usize; 6] = [1, 2, 3, 4, 8, GROUPS_PER_ENDPOINT_MAX];
/// Most columns a class. Built-in groups, groups and prefixes of rules that lie in each other are seldom as many.
const COLUMNS_MAX: usize = 64;

/// The column that holds nothing, with which the list of a class ends that has fewer columns than others; its row begins at
/// the same place, the first one.
pub(super) const FILLING: u32 = 0;
/// The set that holds nothing.
pub(super) const NOTHING: u32 = 0;

/// How much the compiler may spend on merging atoms into columns. A larger budget never changes an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnBudget {
    /// Cells of the matrix, empty ones included. 32 of them take at least two bytes.
    pub cells_max: u64,
    /// Steps that compiling takes: cells of rows of single atoms, and blocks of merged ones.
    pub steps_max: u64,
    /// Cells that may be merged, for each rule and each class: most of what compiling a form takes.
    pub merges_max: usize,
    /// Ranks of all programs, two bytes each. How many programs come out of merging shows only on the way, so that a form may
    /// be given up for the next one.
    pub ranks_max: usize,
    /// Blocks of 32 cells, 64 bytes each, up to which equal ones are not shared, so that a look-up has a load less a cell.
    pub plain_blocks_max: usize,
    /// Words of eight bytes of all sets of ranks, which are made where reading columns would cost more.
    pub set_words_max: usize,
}

impl ColumnBudget {
    /// Merges as little as there is to merge.
    pub const NONE: Self = Self {
        cells_max: 0,
        steps_max: 0,
        merges_max: 0,
        ranks_max: 0,
        plain_blocks_max: 0,
        set_words_max: 0,
    };
}

impl ColumnBudget {
    /// Returns what a pair of forms may take, of so many rules and classes.
    pub(super) fn limits(&self, size: usize) -> Limits {
        Limits {
            merges: self.merges_max.saturating_mul(size),
            ranks: self.ranks_max,
            plain_blocks: self.plain_blocks_max,
        }
    }
}

impl Default for ColumnBudget {
    /// Returns a budget of 2 MiB of blocks' numbers or 1 MiB of plain blocks, 8 MiB of programs, 16 MiB of
    /// sets and some hundred milliseconds.
    fn default() -> Self {
        Self {
            cells_max: 1 << 25,
            steps_max: 1 << 26,
            merges_max: 64,
            ranks_max: 1 << 22,
            plain_blocks_max: 1 << 14,
            set_words_max: 1 << 21,
        }
    }
}

/// Sets of atoms, each made of one that stands before it and one atom more, so that what is known of the former needs not be
/// found out again.
#[derive(Clone)]
pub(super) struct SetTree {
    /// What was added to which set, for each set but [`NOTHING`] from 1 on.
    links: Vec<(Atom, u32)>,
    numbers: HashMap<(Atom, u32), u32>,
}

impl SetTree {
    fn new() -> Self {
        Self { links: vec![(Atom::MAX, NOTHING)], numbers: HashMap::new() }
    }

    /// Returns the number of a set whose rarest atom comes first.
    fn number_of(&mut self, set: &[Atom]) -> u32 {
        set.iter().rev().fold(NOTHING, |smaller, atom| {
            *self.numbers.entry((*atom, smaller)).or_insert_with(|| {
                self.links.push((*atom, smaller));
                index_u32(self.links.len() - 1)
            })
        })
    }

    /// Returns how many sets there are, the empty one included.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// Returns each set but the empty one, smaller ones before those made of them: an atom, and the set that it was added to.
    pub(super) fn links(&self) -> impl Iterator<Item = (Atom, u32)> {
        self.links[1..].iter().copied()
    }
}

/// The columns of one side, and those of each class.
#[derive(Clone)]
pub(super) struct Columns {
    /// Columns of each class.
    pub(super) per_class: usize,
    /// The sets that columns are, and those that they were made of.
    pub(super) sets: SetTree,
    /// The set of each column. The first column has none.
    pub(super) set_of_column: Vec<u32>,
    /// The columns of each class, `per_class` of them.
    pub(super) of_class: Vec<u32>,
}

/// One side of the rules: the classes as far as that side names their atoms.
struct OneSide {
    /// The named atoms of each class, those first that fewest classes contain.
    sets: Vec<Vec<Atom>>,
    /// Which of the sets each class has.
    set_of_class: Vec<u32>,
    /// Most named atoms of a class.
    atoms_max: usize,
    /// How many atoms are named.
    atoms: usize,
}

impl OneSide {
    fn new(classes: &Classes, is_named: &[bool]) -> Self {
        let mut counts = vec![0u32; is_named.len()];
        let named = |atoms: &[Atom]| -> Vec<Atom> {
            atoms.iter().copied().filter(|atom| is_named[*atom as usize]).collect()
        };
        let mut numbers: HashMap<Vec<Atom>, u32> = HashMap::new();
        let mut sets = Vec::new();
        let number = |atoms: &Vec<Atom>| {
            *numbers.entry(named(atoms)).or_insert_with_key(|set| {
                set.iter().for_each(|atom| counts[*atom as usize] += 1);
                sets.push(set.clone());
                index_u32(sets.len() - 1)
            })
        };
        let set_of_class = classes.atoms.iter().map(number).collect();
        sets.iter_mut().for_each(|set| set.sort_unstable_by_key(|atom| (counts[*atom as usize], *atom)));
        let atoms_max = sets.iter().map(Vec::len).max().unwrap_or(0);
        let atoms = is_named.iter().filter(|is_named| **is_named).count();
        Self { sets, set_of_class, atoms_max, atoms }
    }

    /// Returns the columns of the form with that many a class, or nothing if they are made of more than so many sets.
    fn columns(&self, per_class: usize, sets_max: usize) -> Option<Columns> {
        let mut sets = SetTree::new();
        let mut columns = Numbers::new();
        let mut of_set = Vec::with_capacity(self.sets.len() * per_class);
        for set in &self.sets {
            let (alone, merged) = set.split_at(set.len().min(per_class - 1));
            for atom in alone {
                of_set.push(columns.of(sets.number_of(std::slice::from_ref(atom))));
            }
            of_set.push(columns.of(sets.number_of(merged)));
            if sets.len() > sets_max {
                return None;
            }
            of_set.extend(std::iter::repeat_n(FILLING, per_class - 1 - alone.len()));
        }
        let of = |set: &u32| of_set[*set as usize * per_class..][..per_class].iter().copied();
        let of_class = self.set_of_class.iter().flat_map(of).collect();
        Some(Columns { per_class, sets, set_of_column: columns.sets, of_class })
    }

    /// Returns all forms that differ and are not too large to be weighed; the one that merges least is always there, last.
    fn forms(&self) -> Vec<Columns> {
        let unmerged = self.atoms_max.clamp(1, COLUMNS_MAX);
        let merging = FORMS.into_iter().filter(|per_class| *per_class < unmerged);
        let merging = merging.map(|per_class| (per_class, SETS_MAX));
        merging
            .chain([(unmerged, usize::MAX)])
            .filter_map(|(per_class, max)| self.columns(per_class, max))
            .collect()
    }
}

/// The numbers of columns.
struct Numbers {
    sets: Vec<u32>,
    /// The column of each set that is one.
    columns: HashMap<u32, u32>,
}

impl Numbers {
    fn new() -> Self {
        Self { sets: vec![NOTHING], columns: HashMap::from([(NOTHING, FILLING)]) }
    }

    /// Returns the column of a set.
    fn of(&mut self, set: u32) -> u32 {
        *self.columns.entry(set).or_insert_with(|| {
            self.sets.push(set);
            index_u32(self.sets.len() - 1)
        })
    }
}

/// Sets that the columns of a form are made of: 2^20 take some 50 MB while forms are weighed.
const SETS_MAX: usize = 1 << 20;
/// L4 classes up to which programs are near.
const NEAR_L4_CLASSES: u32 = 1 << 11;

/// What a pair of forms takes.
#[derive(Clone, Copy)]
struct Cost {
    cells: u64,
    /// Steps of compiling.
    steps: u64,
    /// What a packet reads, weighed by how far away it is.
    reading: u64,
}

impl Cost {
    fn of(source: &Columns, destination: &Columns, source_atoms: usize, l4_classes: u32) -> Self {
        let blocks_a_row = destination.set_of_column.len().div_ceil(BLOCK_CELLS);
        let blocks = source.set_of_column.len() * blocks_a_row;
        let steps = source_atoms * destination.sets.len() + (source_atoms + source.sets.len()) * blocks_a_row;
        let reads = source.per_class * destination.per_class;
        let lists = usize::from(source.per_class > 1) + usize::from(destination.per_class > 1);
        // In steps of a nanosecond or so: a cell is three loads, of which the first is far away where there are many blocks.
        let distance = match blocks {
            0..0x1_0000 => 4,
            0x1_0000..0x8_0000 => 6,
            _ => 9,
        };
        // A rank is a second one where programs are long.
        let distance = distance + if l4_classes > NEAR_L4_CLASSES { 4 } else { 0 };
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Self {
            cells: count(blocks * BLOCK_CELLS),
            steps: count(steps),
            reading: count(reads * distance + 2 * lists),
        }
    }

    fn is_within(&self, budget: ColumnBudget) -> bool {
        self.cells <= budget.cells_max && self.steps <= budget.steps_max
    }
}

/// Which atoms stand on the source side of a rule, and which on the destination side.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Named([Vec<bool>; 2]);

impl Named {
    /// Returns that none of so many atoms do.
    pub(super) fn none(atoms: u32) -> Self {
        Self([vec![false; atoms as usize], vec![false; atoms as usize]])
    }

    /// Adds the sides of a rule.
    pub(super) fn name(&mut self, rule: &RankedRule) {
        self.0[0][rule.source as usize] = true;
        self.0[1][rule.destination as usize] = true;
    }

    /// Returns whether all that stand on a side of `other` do here.
    pub(super) fn contains(&self, other: &Self) -> bool {
        let mut sides = self.0.iter().zip(&other.0);
        sides.all(|(own, other)| own.iter().zip(other).all(|(own, other)| *own || !*other))
    }
}

/// Both sides in all their forms, which the compiler chooses from.
pub(super) struct Forms {
    sources: Vec<Columns>,
    destinations: Vec<Columns>,
    /// Places of pairs of forms, those to be tried first at the front.
    order: Vec<(usize, usize)>,
    /// The pair that is taken in the end, whatever it takes; none if there are sets of ranks instead.
    last: Option<(usize, usize)>,
}

/// What one pair of forms may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Cells merged.
    pub(super) merges: usize,
    /// Ranks of all programs.
    pub(super) ranks: usize,
    /// Blocks of a plain matrix.
    pub(super) plain_blocks: usize,
}

/// The columns that were chosen.
pub(super) struct Chosen {
    /// Those of sources and of destinations.
    pub(super) columns: [Columns; 2],
    /// What filling them may take.
    pub(super) limits: Limits,
}

impl Limits {
    /// What cannot be avoided.
    const NONE: Self = Self { merges: usize::MAX, ranks: PROGRAM_RANKS_MAX, plain_blocks: 0 };
}

impl Forms {
    /// Returns the forms of both sides, whose rules name these atoms: first those within the budget, the fastest
    /// first, then that which merges least; or, if sets of ranks cost so much to read, only those that cost less.
    pub(super) fn weigh(
        classes: &Classes,
        named: &Named,
        budget: ColumnBudget,
        l4_classes: u32,
        sets: Option<u64>,
    ) -> Self {
        let (has_sets, reading_max) = (sets.is_some(), sets.unwrap_or(u64::MAX));
        let Named([is_source, is_destination]) = named;
        let source = OneSide::new(classes, is_source);
        let sources = source.forms();
        // Where all groups stand on both sides, which is usual, both are the same.
        let destinations = if is_source == is_destination {
            sources.clone()
        } else {
            OneSide::new(classes, is_destination).forms()
        };
        let pairs = (0..sources.len()).flat_map(|s| (0..destinations.len()).map(move |d| (s, d)));
        let mut costs: Vec<(Cost, (usize, usize))> = pairs
            .map(|(s, d)| (Cost::of(&sources[s], &destinations[d], source.atoms, l4_classes), (s, d)))
            .collect();
        // Where nothing is merged, programs are no more than rules and memberships.
        let unmerged = (sources.len() - 1, destinations.len() - 1);
        costs.retain(|(cost, _)| cost.is_within(budget) && cost.reading < reading_max);
        costs.sort_by_key(|(cost, _)| (cost.reading, cost.cells));
        let order = costs.into_iter().map(|(_, pair)| pair).collect();
        let last = (!has_sets).then_some(unmerged);
        Self { sources, destinations, order, last }
    }

    /// Returns what `compile` makes of the first pair of forms that it does not refuse as too large, and that pair; the last one
    /// may be as large as it is. Nothing if there is no such pair and there are sets of ranks. Where it is known of a pair with
    /// so many columns a class that those before it are refused, they are not tried.
    pub(super) fn first_that_fits<T>(
        mut self,
        limits: Limits,
        first: Option<[usize; 2]>,
        mut compile: impl FnMut([&Columns; 2], Limits) -> Result<T, CompileError>,
    ) -> Result<Option<(T, Chosen)>, CompileError> {
        let per_class = |(s, d): (usize, usize)| [self.sources[s].per_class, self.destinations[d].per_class];
        let first = self.order.iter().position(|pair| Some(per_class(*pair)) == first).unwrap_or(0);
        let unlimited = Limits { plain_blocks: limits.plain_blocks, ..Limits::NONE };
        let others = self.order.iter().skip(first).map(|pair| (*pair, limits, false));
        for (pair, limits, is_last) in others.chain(self.last.map(|last| (last, unlimited, true))) {
            match compile([&self.sources[pair.0], &self.destinations[pair.1]], limits) {
                Err(error) if error.is_of_the_form() && !is_last => {}
                made => {
                    let columns = [self.sources.swap_remove(pair.0), self.destinations.swap_remove(pair.1)];
                    return Ok(Some((made?, Chosen { columns, limits })));
                }
            }
        }
        Ok(None)
    }
}
