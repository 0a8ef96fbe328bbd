//! How often something may happen: a token bucket in one number.
//!
//! The number is the time at which the bucket was empty, or would have been; it holds what has flowed in since, at most
//! a stated burst. Taking reads no clock and allocates nothing.

const SECOND_NS: u64 = 1_000_000_000;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    cost_ns: u64,
    burst_ns: u64,
}

impl Rate {
    /// Returns a rate of so many a second, and at most `burst` of them at once after a silence. `per_s` is not 0.
    pub const fn new(per_s: u64, burst: u64) -> Self {
        let cost_ns = SECOND_NS / per_s;
        Self { cost_ns, burst_ns: burst * cost_ns }
    }
}

/// A bucket; a new one is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenBucket {
    empty_ns: u64,
}

impl TokenBucket {
    /// Takes one out; returns false if there is none. A bucket is asked with the same rate all its life.
    pub fn take(&mut self, rate: Rate, now_ns: u64) -> bool {
        let empty_ns = self.empty_ns.max(now_ns.saturating_sub(rate.burst_ns));
        let is_left = now_ns.saturating_sub(empty_ns) >= rate.cost_ns;
        if is_left {
            // Not beyond the present, as has just been seen.
            self.empty_ns = empty_ns + rate.cost_ns;
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::new(1_000, 64);
    const START_NS: u64 = 1_700_000_000 * SECOND_NS;

    fn taken(bucket: &mut TokenBucket, now_ns: u64) -> usize {
        (0..10_000).filter(|_| bucket.take(RATE, now_ns)).count()
    }

    #[test]
    fn a_burst_is_there_after_a_silence_and_no_more() {
        let mut bucket = TokenBucket::default();
        assert_eq!(taken(&mut bucket, START_NS), 64);
        assert_eq!(taken(&mut bucket, START_NS), 0);
        assert_eq!(taken(&mut bucket, START_NS + 100 * SECOND_NS), 64);
    }

    #[test]
    fn what_flows_in_is_the_rate() {
        let mut bucket = TokenBucket::default();
        taken(&mut bucket, START_NS);
        let in_a_second: usize =
            (1..=1_000).map(|turn| taken(&mut bucket, START_NS + turn * SECOND_NS / 1_000)).sum();
        assert_eq!(in_a_second, 1_000);
    }

    #[test]
    fn a_clock_at_its_beginning_or_end_gives_no_more() {
        let mut bucket = TokenBucket::default();
        assert_eq!(taken(&mut bucket, 0), 0);
        assert_eq!(taken(&mut bucket, u64::MAX), 64);
        assert_eq!(taken(&mut bucket, 0), 0);
    }
}
