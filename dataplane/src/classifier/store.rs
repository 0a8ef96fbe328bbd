//! Rows of a fixed width in one list, equal ones stored once.

use super::address_trie::index_u32;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::{BuildHasher, Hash};

/// The rows met so far.
pub(super) struct Rows<T> {
    /// All rows, one behind the other.
    pub(super) list: Vec<T>,
    numbers: HashTable<u32>,
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
        let found = numbers.entry(
            hasher.hash_one(values),
            |number| row(list, *width, *number) == values,
            |number| hasher.hash_one(row(list, *width, *number)),
        );
        match found {
            hashbrown::hash_table::Entry::Occupied(entry) => *entry.get(),
            hashbrown::hash_table::Entry::Vacant(entry) => {
                let number = index_u32(list.len() / *width);
                entry.insert(number);
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
