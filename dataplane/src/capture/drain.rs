//! Takes packets out of a capture until one of its limits is reached.

use super::watch::{CaptureCounts, CapturedPacket};
use super::{Capture, Limits};
use std::time::{Duration, Instant};

/// Bytes of packets that are taken at once: a message of moderate size, sent in some milliseconds.
const BATCH_BYTES: usize = 256 * 1024;
/// Packets that are taken at once.
const BATCH_PACKETS: usize = 1_024;

/// Which limit a capture reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Packets.
    Packets,
    /// Bytes.
    Bytes,
    /// Time.
    Span,
}

/// A capture being read.
#[derive(Debug)]
pub struct Drain {
    capture: Capture,
    packets_left: u64,
    bytes_left: u64,
    ends: Instant,
}

impl Reached {
    /// Returns the limit as it is shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Packets => "packets",
            Self::Bytes => "bytes",
            Self::Span => "span",
        }
    }
}

impl Drain {
    /// Returns the reader of a capture that began at this moment.
    pub fn new(capture: Capture, began: Instant) -> Self {
        let Limits { packets, bytes, span_ms, snap_bytes: _ } = capture.watch().limits();
        let ends = began + Duration::from_millis(span_ms.into());
        Self { capture, packets_left: packets, bytes_left: bytes, ends }
    }

    /// Hands what there is to `take`, a bounded number, and returns how many packets that were.
    pub fn batch(&mut self, mut take: impl FnMut(&CapturedPacket)) -> usize {
        let (mut taken, mut taken_bytes) = (0, 0);
        let watch = self.capture.watch();
        while taken < BATCH_PACKETS
            && taken_bytes < BATCH_BYTES
            && self.packets_left > 0
            && self.bytes_left > 0
        {
            let Some(packet) = watch.take() else { break };
            take(&packet);
            taken += 1;
            taken_bytes += packet.bytes.len();
            self.packets_left -= 1;
            self.bytes_left = self.bytes_left.saturating_sub(packet.bytes.len() as u64);
            watch.give_back(packet);
        }
        taken
    }

    /// Returns which limit is reached, if one is. What was copied before the time was over is taken first.
    pub fn reached(&self, now: Instant, last_batch: usize) -> Option<Reached> {
        match () {
            () if self.packets_left == 0 => Some(Reached::Packets),
            () if self.bytes_left == 0 => Some(Reached::Bytes),
            () if now >= self.ends && last_batch == 0 => Some(Reached::Span),
            () => None,
        }
    }

    /// Returns what was counted so far, by device.
    pub fn counts(&self) -> Vec<CaptureCounts> {
        self.capture.watch().counts()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CaptureFilter, CaptureSwitch, Sight};
    use super::*;
    use crate::verdict::{Grounds, Verdict};
    use meshgate_policy::{PolicyVersion, Stage};
    use std::sync::Arc;

    fn drain(packets: u64, bytes: u64, began: Instant) -> Drain {
        let limits = Limits::new(packets, bytes, 1_000, 64).unwrap();
        let capture = Arc::new(CaptureSwitch::default()).start(CaptureFilter::default(), limits, 1).unwrap();
        Drain::new(capture, began)
    }

    fn offer(drain: &Drain, count: usize) {
        let verdict = Verdict::Allow(Grounds { version: PolicyVersion(1), stage: Stage::Rules, rule: None });
        for _ in 0..count {
            let sight = Sight { device: 0, verdict: &verdict, time_ns: 1 };
            drain.capture.watch().offer(&sight, 10, [&[0; 10][..]].into_iter());
        }
    }

    #[test]
    fn a_capture_ends_at_the_packet_that_was_asked_for() {
        let now = Instant::now();
        let mut drain = drain(3, 1_000, now);
        offer(&drain, 2);
        assert_eq!((drain.batch(|_| ()), drain.reached(now, 2)), (2, None));
        offer(&drain, 5);
        assert_eq!((drain.batch(|_| ()), drain.reached(now, 1)), (1, Some(Reached::Packets)));
        assert_eq!(drain.counts()[0].matched, 7);
    }

    #[test]
    fn a_capture_ends_with_the_packet_that_fills_its_bytes() {
        let now = Instant::now();
        let mut drain = drain(100, 25, now);
        offer(&drain, 5);
        assert_eq!((drain.batch(|_| ()), drain.reached(now, 3)), (3, Some(Reached::Bytes)));
    }

    #[test]
    fn a_capture_ends_with_its_time_after_what_came_before() {
        let began = Instant::now();
        let mut drain = drain(100, 1_000, began);
        offer(&drain, 1);
        let over = began + Duration::from_secs(1);
        assert_eq!(drain.batch(|_| ()), 1);
        assert_eq!(drain.reached(over, 1), None);
        assert_eq!(drain.batch(|_| ()), 0);
        assert_eq!(drain.reached(over, 0), Some(Reached::Span));
    }
}
