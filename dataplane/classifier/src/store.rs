//! Rows of a fixed width in one list, equal ones stored once.

use super::address_trie::index_u32;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::{BuildHasher, Hash};

/// The rows met so far.
pub(super) struct Rows<T> {
    /// All rows, one behind the other.
    pub(super) list: Vec<T>,
    /// The number of each row with its hash, so that a table that grows needs not hash all rows again.
    numbers: HashTable<(u64, u32)>,
    hasher: DefaultHashBuilder,
    width: usize,
}

impl<T: Copy + Eq + Hash> Rows<T> {
    /// Returns a store for rows of that many values, at least one.
    pub(super) fn new(width: usize) -> Self {
        Self { list: Vec::new(), numbers: HashTable::new(), hasher: DefaultHashBuilder::default(), width }
    }

    /// Returns a row by its number.
    pub(super) fn row(&self, number: u32) -> &[T] {
        row(&self.list, self.width, number)
    }

    /// Returns the number of a row, which is new or not; rows are numbered from 0 on.
    pub(super) fn number_of(&mut self, values: &[T]) -> u32 {
        debug_assert_eq!(values.len(), self.width);
        let Self { list, numbers, hasher, width } = self;
        let hash = hasher.hash_one(values);
        let is_it = |(known, number): &(u64, u32)| *known == hash && row(list, *width, *number) == values;
        let found = numbers.entry(hash, is_it, |(known, _)| *known);
        match found {
            hashbrown::hash_table::Entry::Occupied(entry) => entry.get().1,
            hashbrown::hash_table::Entry::Vacant(entry) => {
                let number = index_u32(list.len() / *width);
                entry.insert((hash, number));
                list.extend_from_slice(values);
                number
            }
        }
    }
}

/// Returns a row by its number.
fn row<T>(list: &[T], width: usize, number: u32) -> &[T] {
    &list[number as usize * width..][..width]
}
