//! A small seeded generator of random numbers: splitmix64 (Steele, Lea, Flood 2014). Never for anything secret.

/// A sequence of random numbers that its seed determines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng(u64);

impl Rng {
    /// Returns the sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the seed of the rest of the sequence.
    pub fn rest(&self) -> u64 {
        self.0
    }

    /// Returns the next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`, or 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product is uniform but for a bias of bound / 2^64, which no test notices.
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// Returns an index below `length`, or 0 if that is 0.
    pub fn index(&mut self, length: usize) -> usize {
        let bound = u64::try_from(length).unwrap_or(u64::MAX);
        usize::try_from(self.below(bound)).unwrap_or(0)
    }

    /// Returns true in so many of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns one of the values, if there are any.
    pub fn pick<'a, T>(&mut self, values: &'a [T]) -> Option<&'a T> {
        values.get(self.index(values.len()))
    }

    /// Returns one of the values, of which there is at least one.
    pub fn one_of<T: Copy, const N: usize>(&mut self, values: [T; N]) -> T {
        const { assert!(N > 0) };
        values[self.index(N)]
    }

    /// Returns a random byte.
    pub fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }

    /// Returns a random 16-bit number.
    pub fn u16(&mut self) -> u16 {
        u16::try_from(self.below(65_536)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_published_sequence() {
        let mut rng = Rng::new(1_234_567);
        let numbers = [rng.next_u64(), rng.next_u64(), rng.next_u64()];
        assert_eq!(
            numbers,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn the_rest_of_a_sequence_goes_on_where_it_stood() {
        let mut rng = Rng::new(7);
        rng.next_u64();
        assert_eq!(Rng::new(rng.rest()).next_u64(), rng.next_u64());
    }

    #[test]
    fn indices_stay_below_the_length_and_reach_its_ends() {
        let mut rng = Rng::new(7);
        let seen: std::collections::BTreeSet<usize> = (0..200).map(|_| rng.index(5)).collect();
        assert_eq!(seen, (0..5).collect());
        assert_eq!((rng.index(0), rng.pick::<u8>(&[])), (0, None));
    }
}
