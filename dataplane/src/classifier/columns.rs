//! Columns: which sets of atoms the compiler merges, and which of them each class consists of.
//!
//! A class is a set of atoms. The look-up does not see atoms but **columns**: sets of atoms whose rules were merged
//! beforehand. Any choice is correct as long as the columns of a class together are exactly its atoms, because then
//! the pairs of columns cover exactly the pairs of atoms. The choice trades memory for loads: one group a column is
//! small, one column a class is fast. Source and destination choose apart, since a rule's atom often stands on one
//! side only; an atom that no rule names on a side is left out there.
//!
//! This file makes the factored choice: one group a column, and what is not a group (`any`, `external`,
//! `multicast`, peers of group rules) merged into one column, because many peers may hold one address.

use super::address_trie::index_u32;
use super::classes::{Atom, Classes};
use meshgate_policy::limits::GROUPS_PER_ENDPOINT_MAX;
use std::collections::HashMap;

/// Columns of one class on one side: its groups, the last of which shares its column with what is not a group.
pub(super) const COLUMNS_PER_CLASS_MAX: usize = GROUPS_PER_ENDPOINT_MAX;

/// The columns of one side, and those of each class.
#[derive(Default)]
pub(super) struct Columns {
    /// The atoms of each column, sorted.
    pub(super) atoms: Vec<Vec<Atom>>,
    /// The columns of each class, sorted.
    pub(super) of_class: Vec<Vec<u32>>,
    numbers: HashMap<Vec<Atom>, u32>,
}

impl Columns {
    /// Returns the columns of a side on which rules name the atoms that `is_named` holds.
    pub(super) fn choose(classes: &Classes, is_named: &[bool]) -> Self {
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

    /// Returns the number of the column of these atoms.
    fn number(&mut self, mut set: Vec<Atom>) -> u32 {
        set.sort_unstable();
        let next = index_u32(self.atoms.len());
        *self.numbers.entry(set).or_insert_with_key(|set| {
            self.atoms.push(set.clone());
            next
        })
    }
}
