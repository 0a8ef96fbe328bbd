//! How many answers there may be.

use crate::config::DEVICES_MAX;
use crate::token_bucket::{Rate, TokenBucket};

/// Answers a second to each device. Linux sends as many ICMP messages a second to all (`icmp_msgs_per_sec`): enough for
/// people and port scans to hear at once, and a few thousandths of what a device can send.
pub const REJECTS_PER_S: u64 = 1_000;
/// Answers at once after a silence: a browser that opens all its connections.
pub const REJECTS_BURST: u64 = 64;

const RATE: Rate = Rate::new(REJECTS_PER_S, REJECTS_BURST);

/// A bucket for each device by which packets come in, so that one endpoint cannot use up the answers of another.
#[derive(Clone, Debug)]
pub struct RejectLimit([TokenBucket; DEVICES_MAX]);

impl Default for RejectLimit {
    fn default() -> Self {
        Self([TokenBucket::default(); DEVICES_MAX])
    }
}

impl RejectLimit {
    /// Takes one answer to the device out of its bucket, if there is one.
    pub fn take(&mut self, device: u16, now_ns: u64) -> bool {
        self.0.get_mut(usize::from(device)).is_some_and(|bucket| bucket.take(RATE, now_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;
    const COST_NS: u64 = SECOND_NS / REJECTS_PER_S;
    const START: u64 = 1_700_000_000 * SECOND_NS;

    fn taken(limit: &mut RejectLimit, device: u16, now_ns: u64) -> u64 {
        (0..10_000).filter(|_| limit.take(device, now_ns)).count() as u64
    }

    #[test]
    fn after_a_silence_there_is_a_burst_and_then_the_rate() {
        let mut limit = RejectLimit::default();
        assert_eq!(taken(&mut limit, 0, START), REJECTS_BURST);
        assert_eq!(taken(&mut limit, 0, START + COST_NS - 1), 0);
        assert_eq!(taken(&mut limit, 0, START + COST_NS), 1);
        assert_eq!(taken(&mut limit, 0, START + 10 * COST_NS), 9);
        assert_eq!(taken(&mut limit, 0, START + 100 * SECOND_NS), REJECTS_BURST, "no more is saved up");
    }

    #[test]
    fn devices_have_buckets_of_their_own_and_one_out_of_the_list_has_none() {
        let mut limit = RejectLimit::default();
        assert_eq!(taken(&mut limit, 0, START), REJECTS_BURST);
        assert_eq!(taken(&mut limit, 1, START), REJECTS_BURST);
        assert_eq!(taken(&mut limit, u16::MAX, START), 0);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_away() {
        let mut limit = RejectLimit::default();
        assert_eq!(taken(&mut limit, 0, START), REJECTS_BURST);
        assert_eq!(taken(&mut limit, 0, START - SECOND_NS), 0);
    }
}
