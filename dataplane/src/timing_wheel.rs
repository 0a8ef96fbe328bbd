//! Timeouts of many flows at constant cost (Varghese and Lauck 1987, scheme 4: one wheel, bounded interval).
//!
//! Each timer is a slot number of the owner's table. A timer that lies beyond the wheel's horizon is due at the
//! horizon and its owner schedules it again: owners look at every flow that often anyway (`rejudge_max_s`), so a
//! second level would buy nothing.

use crate::queues::Queues;

/// Width of one bucket.
pub const TICK_NS: u64 = 100_000_000;
/// Buckets of the wheel; a power of two above `REVISIT_MAX_NS / TICK_NS`.
const BUCKETS: u32 = 128;
/// Longest time until an owner is asked again: `rejudge_max_s` of ten seconds.
pub const REVISIT_MAX_NS: u64 = 10_000_000_000;

const _: () = assert!(BUCKETS.is_power_of_two() && REVISIT_MAX_NS / TICK_NS < BUCKETS as u64);

/// A wheel of timers numbered from 0 to a fixed capacity.
pub struct TimingWheel {
    /// The timers that run, a queue for each bucket.
    buckets: Queues,
    /// The tick that has been handed out up to.
    tick: u64,
}

impl TimingWheel {
    /// Returns a wheel for timers 0 to `timers_max` - 1 that starts at `now_ns`.
    pub fn new(timers_max: u32, now_ns: u64) -> Self {
        Self { buckets: Queues::new(BUCKETS, timers_max), tick: now_ns / TICK_NS }
    }

    /// Returns how many bytes of memory the wheel takes.
    pub fn bytes(&self) -> usize {
        self.buckets.bytes()
    }

    /// Asks for the memory that stopping the timer touches first.
    pub fn prefetch(&self, timer: u32) {
        self.buckets.prefetch(timer);
    }

    /// Asks for the memory that stopping the timer touches beside that.
    pub fn prefetch_beside(&self, timer: u32) {
        self.buckets.prefetch_beside(timer);
    }

    /// Makes the timer due at `at_ns` or, if that is further away, after [`REVISIT_MAX_NS`]. It may be running.
    pub fn schedule(&mut self, timer: u32, at_ns: u64) {
        self.cancel(timer);
        // Rounded up, and never the bucket being handed out: a timer is late by up to one tick, never early.
        let at_tick = at_ns.div_ceil(TICK_NS).clamp(self.tick + 1, self.tick + REVISIT_MAX_NS / TICK_NS);
        self.buckets.push(bucket_of(at_tick), timer);
    }

    /// Stops the timer, running or not.
    pub fn cancel(&mut self, timer: u32) {
        self.buckets.remove(timer);
    }

    /// Stops and returns one timer that is due at `now_ns`; none if all have been returned.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<u32> {
        let now_tick = now_ns / TICK_NS;
        // Past one whole turn the buckets repeat: after a long pause each is looked at once.
        self.tick = self.tick.max(now_tick.saturating_sub(u64::from(BUCKETS)));
        loop {
            if let Some(first) = self.buckets.oldest(bucket_of(self.tick)) {
                self.cancel(first);
                return Some(first);
            }
            if self.tick >= now_tick {
                return None;
            }
            self.tick += 1;
        }
    }
}

/// Returns the bucket that holds the tick.
fn bucket_of(tick: u64) -> u32 {
    u32::try_from(tick % u64::from(BUCKETS)).expect("a remainder of 128 fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn due(wheel: &mut TimingWheel, now_ns: u64) -> Vec<u32> {
        std::iter::from_fn(|| wheel.pop_due(now_ns)).collect()
    }

    #[test]
    fn a_timer_is_due_within_one_tick_of_its_time_and_never_early() {
        let mut wheel = TimingWheel::new(4, 5 * SECOND);
        wheel.schedule(2, 6 * SECOND + 1);
        assert_eq!(due(&mut wheel, 6 * SECOND), []);
        assert_eq!(due(&mut wheel, 6 * SECOND + TICK_NS), [2]);
        assert_eq!(due(&mut wheel, 60 * SECOND), []);
    }

    #[test]
    fn a_far_timer_is_due_at_the_horizon() {
        let mut wheel = TimingWheel::new(1, 0);
        wheel.schedule(0, 3_600 * SECOND);
        assert_eq!(due(&mut wheel, REVISIT_MAX_NS - TICK_NS), []);
        assert_eq!(due(&mut wheel, REVISIT_MAX_NS), [0]);
    }

    #[test]
    fn a_cancelled_and_a_rescheduled_timer_are_not_due_at_their_old_time() {
        let mut wheel = TimingWheel::new(3, 0);
        (0..3).for_each(|timer| wheel.schedule(timer, SECOND));
        wheel.cancel(1);
        wheel.schedule(0, 2 * SECOND);
        assert_eq!(due(&mut wheel, SECOND), [2]);
        assert_eq!(due(&mut wheel, 2 * SECOND), [0]);
    }

    #[test]
    fn after_a_long_pause_every_timer_is_due_once() {
        let mut wheel = TimingWheel::new(100, 0);
        (0..100).for_each(|timer| wheel.schedule(timer, u64::from(timer) * TICK_NS));
        let mut all = due(&mut wheel, 10_000 * SECOND);
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn random_timers_agree_with_a_sorted_list() {
        let mut state = 1u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let mut wheel = TimingWheel::new(64, 0);
        let mut expected = [None; 64];
        let mut now = 0;
        for _ in 0..20_000 {
            let timer = u32::try_from(random() % 64).unwrap();
            let at = now + random() % REVISIT_MAX_NS;
            wheel.schedule(timer, at);
            expected[timer as usize] = Some(at.div_ceil(TICK_NS).max(now / TICK_NS + 1));
            now += random() % (2 * TICK_NS);
            for timer in due(&mut wheel, now) {
                let at = expected[timer as usize].take().expect("it was running");
                assert!(at <= now / TICK_NS, "timer {timer} came early");
            }
            assert!(expected.iter().flatten().all(|at| *at > now / TICK_NS), "a timer is late");
        }
    }
}
