//! A map of bounded size that forgets what was seen longest ago.
//!
//! A flood of keys that come once must not push out what comes in every window. So the map is told the window, touches what
//! it knows before it takes in what is new, and forgets only what this window did not touch; when everything was, the new
//! key finds no room and is counted.
//!
//! The order of its entries depends on nothing but what was done to it: equal histories give equal bits.

use crate::checkpoint::saved::{Reader, Saved, SavedError, Writer};
use hashbrown::HashMap;
use std::hash::Hash;

/// Entries of the largest map there is: what a checkpoint says is not believed beyond it.
const ENTRIES_MAX: usize = 1 << 18;
/// Share of the entries that is forgotten at once, so that looking for the oldest costs little per entry.
const FORGOTTEN_SHARE: usize = 8;

#[derive(Clone, Debug)]
struct Entry<K, V> {
    key: K,
    seen: u64,
    value: V,
}

/// The map.
#[derive(Clone, Debug)]
pub struct Recent<K, V> {
    places: HashMap<K, usize>,
    entries: Vec<Entry<K, V>>,
    entries_max: usize,
    /// Entries that were forgotten to make room.
    pub forgotten: u64,
    /// Entries that found no room.
    pub left_out: u64,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    /// Returns an empty map for so many entries.
    pub fn new(entries_max: usize) -> Self {
        let places = HashMap::new();
        Self { places, entries: Vec::new(), entries_max, forgotten: 0, left_out: 0 }
    }

    /// Returns how many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        Some(&self.entries[*self.places.get(key)?].value)
    }

    /// Returns the value of a key, which counts as seen.
    pub fn touch(&mut self, key: &K, window: u64) -> Option<&mut V> {
        let entry = &mut self.entries[*self.places.get(key)?];
        entry.seen = window;
        Some(&mut entry.value)
    }

    /// Returns the value of a key, which counts as seen, after making one where there is none; none when there is no room.
    pub fn entry(&mut self, key: K, window: u64, new: impl FnOnce() -> V) -> Option<&mut V> {
        if !self.places.contains_key(&key) {
            if self.entries.len() >= self.entries_max {
                self.forget(window);
            }
            if self.entries.len() >= self.entries_max {
                self.left_out += 1;
                return None;
            }
            self.places.insert(key, self.entries.len());
            self.entries.push(Entry { key, seen: window, value: new() });
        }
        self.touch(&key, window)
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.places.remove(key)?;
        let removed = self.entries.swap_remove(place);
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.key, place);
        }
        Some(removed.value)
    }

    /// Returns the value at a place below [`Recent::len`].
    pub fn at(&self, place: usize) -> Option<&V> {
        self.entries.get(place).map(|entry| &entry.value)
    }

    /// Returns all values.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|entry| &entry.value)
    }

    fn forget(&mut self, window: u64) {
        let mut ages: Vec<u64> =
            self.entries.iter().map(|entry| entry.seen).filter(|seen| *seen < window).collect();
        if ages.is_empty() {
            return;
        }
        let quota = self.entries_max.div_ceil(FORGOTTEN_SHARE).min(ages.len());
        let (older, threshold, _) = ages.select_nth_unstable(quota - 1);
        let threshold = *threshold;
        // As many of the threshold's own age go as the older ones leave of the quota.
        let mut at_threshold = quota - older.iter().filter(|seen| **seen < threshold).count();
        let before = self.entries.len();
        self.entries.retain(|entry| {
            if entry.seen != threshold || at_threshold == 0 {
                return entry.seen >= threshold;
            }
            at_threshold -= 1;
            false
        });
        self.forgotten += (before - self.entries.len()) as u64;
        self.places = self.entries.iter().enumerate().map(|(place, entry)| (entry.key, place)).collect();
    }
}

impl<K: Copy + Eq + Hash + Saved, V: Saved> Saved for Recent<K, V> {
    fn write(&self, out: &mut Writer) {
        let Self { places: _, entries, entries_max, forgotten, left_out } = self;
        (*entries_max as u64, *forgotten, *left_out).write(out);
        (entries.len() as u64).write(out);
        for Entry { key, seen, value } in entries {
            key.write(out);
            seen.write(out);
            value.write(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, SavedError> {
        let (entries_max, forgotten, left_out) = <(u64, u64, u64)>::read(from)?;
        let sizes = usize::try_from(entries_max).ok().filter(|size| *size <= ENTRIES_MAX);
        let entries_max = sizes.ok_or(SavedError::Malformed("size of a map"))?;
        let mut map = Self { forgotten, left_out, ..Self::new(entries_max) };
        let entries: Vec<(K, u64, V)> = Vec::read(from)?;
        if entries.len() > entries_max {
            return Err(SavedError::Malformed("entries of a map"));
        }
        for (key, seen, value) in entries {
            if map.places.insert(key, map.entries.len()).is_some() {
                return Err(SavedError::Malformed("a key twice"));
            }
            map.entries.push(Entry { key, seen, value });
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_every_window_survives_a_flood() {
        let mut map = Recent::new(64);
        for window in 0..100 {
            for steady in 0..10 {
                if map.touch(&steady, window).is_none() {
                    map.entry(steady, window, || window);
                }
            }
            (0..50).for_each(|once| {
                map.entry(1_000 + window * 50 + once, window, || window);
            });
            assert!(map.len() <= 64);
        }
        assert!((0..10).all(|steady| map.get(&steady) == Some(&0)));
        assert!(map.forgotten > 0);
    }

    #[test]
    fn a_new_key_finds_no_room_where_everything_was_seen() {
        let mut map = Recent::new(2);
        assert!(map.entry(1, 5, || ()).is_some() && map.entry(2, 5, || ()).is_some());
        assert!(map.entry(3, 5, || ()).is_none());
        assert_eq!((map.len(), map.left_out), (2, 1));
        assert!(map.entry(3, 6, || ()).is_some());
        assert_eq!(map.forgotten, 1);
    }

    #[test]
    fn a_removed_key_leaves_the_others_where_they_are_found() {
        let mut map = Recent::new(8);
        (0..5).for_each(|key| {
            map.entry(key, 0, || key * 10);
        });
        assert_eq!(map.remove(&1), Some(10));
        assert_eq!(map.remove(&1), None);
        assert!([0, 2, 3, 4].into_iter().all(|key| map.get(&key) == Some(&(key * 10))));
    }
}
