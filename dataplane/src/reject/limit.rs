//! How many answers there may be.

use crate::config::DEVICES_MAX;

/// Answers a second to each device. Linux sends as many ICMP messages a second to all (`icmp_msgs_per_sec`): enough for
/// people and port scans to hear at once, and a few thousandths of what a device can send.
pub const REJECTS_PER_S: u64 = 1_000;
/// Answers at once after a silence: a browser that opens all its connections.
pub const REJECTS_BURST: u64 = 64;

const SECOND_NS: u64 = 1_000_000_000;
/// Nanoseconds that one answer costs.
const COST_NS: u64 = SECOND_NS / REJECTS_PER_S;

/// A token bucket for each device by which packets come in, so that one endpoint cannot use up the answers of another.
///
/// A bucket is one number: the time at which it was empty, or would have been. It holds what has flowed in since.
#[derive(Clone, Debug)]
pub struct RejectLimit {
    empty_ns: [u64; DEVICES_MAX],
}

impl Default for RejectLimit {
    fn default() -> Self {
        Self { empty_ns: [0; DEVICES_MAX] }
    }
}

impl RejectLimit {
    /// Takes one answer to the device out of its bucket, if there is one.
    pub fn take(&mut self, device: u16, now_ns: u64) -> bool {
        let Some(empty_ns) = self.empty_ns.get_mut(usize::from(device)) else { return false };
        let full_ns = now_ns.saturating_sub(REJECTS_BURST * COST_NS);
        let after_ns = (*empty_ns).max(full_ns).saturating_add(COST_NS);
        let is_there = after_ns <= now_ns;
        if is_there {
            *empty_ns = after_ns;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
