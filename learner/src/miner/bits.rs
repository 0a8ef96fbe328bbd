//! Sets of small numbers as bits: which of the known addresses belong to a side.

/// Bits of a word.
const WORD_BITS: usize = 64;

/// A set of numbers below a bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// Returns the empty set of numbers below `bound`.
    pub fn none(bound: usize) -> Self {
        Self { words: vec![0; bound.div_ceil(WORD_BITS)] }
    }

    /// Returns the numbers below `bound` for which `belongs` holds.
    pub fn where_true(bound: usize, belongs: impl Fn(usize) -> bool) -> Self {
        let mut bits = Self::none(bound);
        (0..bound).filter(|number| belongs(*number)).for_each(|number| bits.insert(number));
        bits
    }

    /// Takes a number in. One that is not below the bound is left out.
    pub fn insert(&mut self, number: usize) {
        if let Some(word) = self.words.get_mut(number / WORD_BITS) {
            *word |= 1 << (number % WORD_BITS);
        }
    }

    /// Takes a number out.
    pub fn remove(&mut self, number: usize) {
        if let Some(word) = self.words.get_mut(number / WORD_BITS) {
            *word &= !(1 << (number % WORD_BITS));
        }
    }

    /// Takes in all numbers of another set of the same bound.
    pub fn insert_all(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    /// Takes out all numbers of another set of the same bound.
    pub fn remove_all(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= !other);
    }

    /// Returns whether the number is in the set.
    pub fn contains(&self, number: usize) -> bool {
        self.words.get(number / WORD_BITS).is_some_and(|word| word >> (number % WORD_BITS) & 1 == 1)
    }

    /// Returns how many numbers are in the set.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| ones(*word)).sum()
    }

    /// Returns whether none is.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Returns the numbers that are in both sets.
    pub fn common(&self, other: &Self) -> Self {
        Self { words: self.words.iter().zip(&other.words).map(|(word, other)| word & other).collect() }
    }

    /// Returns how many numbers are in both sets.
    pub fn common_len(&self, other: &Self) -> usize {
        self.words.iter().zip(&other.words).map(|(word, other)| ones(word & other)).sum()
    }

    /// Returns the numbers in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = usize::try_from(left.trailing_zeros()).ok().filter(|bit| *bit < WORD_BITS)?;
                left &= left - 1;
                Some(at * WORD_BITS + bit)
            })
        })
    }
}

/// Returns how many bits of a word are set: at most 64, which any `usize` holds.
fn ones(word: u64) -> usize {
    usize::try_from(word.count_ones()).unwrap_or(WORD_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        let numbers = [0, 1, 63, 64, 65, 127, 128, 199];
        let mut bits = Bits::none(200);
        numbers.iter().for_each(|number| bits.insert(*number));
        bits.insert(100_000);
        assert_eq!(bits.iter().collect::<Vec<_>>(), numbers);
        assert_eq!((bits.len(), bits.contains(64), bits.contains(66)), (numbers.len(), true, false));
        assert!(!bits.contains(100_000) && Bits::none(0).is_empty());
    }

    #[test]
    fn common_numbers_are_those_in_both() {
        let (thirds, fifths) = (Bits::where_true(300, |n| n % 3 == 0), Bits::where_true(300, |n| n % 5 == 0));
        let common: Vec<usize> = (0..300).filter(|n| n % 15 == 0).collect();
        assert_eq!(thirds.common(&fifths).iter().collect::<Vec<_>>(), common);
        assert_eq!(thirds.common_len(&fifths), common.len());
        let mut both = thirds.clone();
        both.insert_all(&fifths);
        assert_eq!(both.len(), thirds.len() + fifths.len() - common.len());
    }
}
