//! One capture: what it wants, what it holds, what it lost.

use super::filter::CaptureFilter;
use crate::verdict::Verdict;
use crossbeam::queue::ArrayQueue;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Slots of a capture that keeps little of each packet: what 1 Mpps bring in a millisecond, and some bursts.
const SLOTS_MAX: usize = 4_096;
/// Bytes of all slots together. A capture of whole jumbo frames has fewer slots.
const SLOT_BYTES_MAX: usize = 8 << 20;
/// Packets of one capture.
const PACKETS_MAX: u64 = 10_000_000;
/// Bytes of one capture.
const BYTES_MAX: u64 = 4 << 30;
/// Length of one capture.
const SPAN_MS_MAX: u32 = 3_600_000;
/// Bytes that are kept of one packet: the largest super-frame.
const SNAP_BYTES_MAX: u32 = 65_535;

/// Where a capture ends. Every limit is at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Packets.
    pub packets: u64,
    /// Bytes of what is kept.
    pub bytes: u64,
    /// Milliseconds.
    pub span_ms: u32,
    /// Bytes that are kept of each packet.
    pub snap_bytes: u32,
}

/// A limit out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limits.{0}: {1} is not within 1 to {2}")]
pub struct LimitFault(pub &'static str, pub u64, pub u64);

/// What a worker says of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// Number of the device by which it came in.
    pub device: u16,
    /// How it ended.
    pub verdict: &'a Verdict,
    /// Time of the burst, nanoseconds since 1970.
    pub time_ns: u64,
}

/// A packet that was copied.
#[derive(Clone, Debug)]
pub struct CapturedPacket {
    /// Time of its burst, nanoseconds since 1970.
    pub time_ns: u64,
    /// Number of the device by which it came in.
    pub device: u16,
    /// Bytes it had on the way.
    pub frame_bytes: usize,
    /// How it ended.
    pub verdict: Verdict,
    /// Its beginning.
    pub bytes: Vec<u8>,
}

/// What a capture counted of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureCounts {
    /// Packets that the filter wanted.
    pub matched: u64,
    /// Those of them that found no free slot.
    pub lost: u64,
}

/// One capture. Workers offer, one reader takes and gives back.
#[derive(Debug)]
pub struct Watch {
    filter: CaptureFilter,
    limits: Limits,
    free: ArrayQueue<Box<CapturedPacket>>,
    filled: ArrayQueue<Box<CapturedPacket>>,
    counts: Vec<SharedCounts>,
}

/// Counts that several workers add to.
#[derive(Debug, Default)]
struct SharedCounts {
    matched: AtomicU64,
    lost: AtomicU64,
}

impl Limits {
    /// Returns the limits, or names the first one that is out of range.
    pub fn new(packets: u64, bytes: u64, span_ms: u32, snap_bytes: u32) -> Result<Self, LimitFault> {
        let ranges = [
            ("packets", packets, PACKETS_MAX),
            ("bytes", bytes, BYTES_MAX),
            ("span_ms", span_ms.into(), SPAN_MS_MAX.into()),
            ("snap_bytes", snap_bytes.into(), SNAP_BYTES_MAX.into()),
        ];
        match ranges.into_iter().find(|(_, value, max)| !(1..=*max).contains(value)) {
            Some((field, value, max)) => Err(LimitFault(field, value, max)),
            None => Ok(Self { packets, bytes, span_ms, snap_bytes }),
        }
    }
}

impl Watch {
    /// Returns a capture with all of its memory.
    pub(super) fn new(filter: CaptureFilter, limits: Limits, devices: usize) -> Self {
        let snap_bytes = limits.snap_bytes as usize;
        let slots = (SLOT_BYTES_MAX / snap_bytes).clamp(1, SLOTS_MAX);
        let (free, filled) = (ArrayQueue::new(slots), ArrayQueue::new(slots));
        for _ in 0..slots {
            _ = free.push(Box::new(CapturedPacket::empty(snap_bytes)));
        }
        let counts = std::iter::repeat_with(SharedCounts::default).take(devices).collect();
        Self { filter, limits, free, filled, counts }
    }

    /// Copies a packet if it is wanted and there is room. Fit for the packet path.
    pub fn offer<'a>(&self, sight: &Sight<'_>, frame_bytes: usize, chunks: impl Iterator<Item = &'a [u8]>) {
        let mut chunks = chunks.peekable();
        let head = chunks.peek().copied().unwrap_or_default();
        if !self.filter.wants(sight, head) {
            return;
        }
        let Some(counts) = self.counts.get(usize::from(sight.device)) else { return };
        counts.matched.fetch_add(1, Relaxed);
        let Some(mut slot) = self.free.pop() else {
            counts.lost.fetch_add(1, Relaxed);
            return;
        };
        slot.time_ns = sight.time_ns;
        slot.device = sight.device;
        slot.frame_bytes = frame_bytes;
        slot.verdict = *sight.verdict;
        slot.bytes.clear();
        for chunk in chunks {
            // Never beyond the capacity, so that nothing is allocated.
            let room = self.limits.snap_bytes as usize - slot.bytes.len();
            slot.bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        // There are as many places as slots.
        _ = self.filled.push(slot);
    }

    /// Takes the oldest packet, to be given back by [`Self::give_back`].
    pub fn take(&self) -> Option<Box<CapturedPacket>> {
        self.filled.pop()
    }

    /// Makes a slot free again.
    pub fn give_back(&self, slot: Box<CapturedPacket>) {
        _ = self.free.push(slot);
    }

    /// Returns the limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns what was counted so far, by device.
    pub fn counts(&self) -> Vec<CaptureCounts> {
        let read = |counts: &SharedCounts| CaptureCounts {
            matched: counts.matched.load(Relaxed),
            lost: counts.lost.load(Relaxed),
        };
        self.counts.iter().map(read).collect()
    }
}

impl CapturedPacket {
    fn empty(snap_bytes: usize) -> Self {
        use crate::verdict::Grounds;
        use meshgate_policy::{PolicyVersion, Stage};
        let grounds = Grounds { version: PolicyVersion(0), stage: Stage::WellFormed, rule: None };
        let bytes = Vec::with_capacity(snap_bytes);
        Self { time_ns: 0, device: 0, frame_bytes: 0, verdict: Verdict::Allow(grounds), bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Grounds;
    use meshgate_policy::{PolicyVersion, Stage};

    fn verdict() -> Verdict {
        Verdict::Allow(Grounds { version: PolicyVersion(3), stage: Stage::Rules, rule: None })
    }

    fn watch(snap_bytes: u32) -> Watch {
        Watch::new(CaptureFilter::default(), Limits::new(100, 100_000, 1_000, snap_bytes).unwrap(), 2)
    }

    fn offer(watch: &Watch, device: u16, chunks: &[&[u8]]) {
        let sight = Sight { device, verdict: &verdict(), time_ns: 9 };
        watch.offer(&sight, chunks.iter().map(|chunk| chunk.len()).sum(), chunks.iter().copied());
    }

    #[test]
    fn a_packet_of_several_chunks_is_kept_up_to_the_snap_length() {
        let watch = watch(8);
        offer(&watch, 1, &[b"12345", b"67890"]);
        let packet = watch.take().unwrap();
        assert_eq!((packet.bytes.as_slice(), packet.frame_bytes, packet.device), (&b"12345678"[..], 10, 1));
    }

    #[test]
    fn a_slot_never_grows_however_often_it_goes_round() {
        let watch = watch(8);
        for _ in 0..2 * SLOTS_MAX {
            offer(&watch, 0, &[&[7; 200]]);
            let packet = watch.take().unwrap();
            assert_eq!(packet.bytes.capacity(), 8);
            watch.give_back(packet);
        }
    }

    #[test]
    fn what_finds_no_free_slot_is_lost_and_counted_by_device() {
        let watch = watch(65_535);
        let slots = SLOT_BYTES_MAX / 65_535;
        (0..slots + 3).for_each(|_| offer(&watch, 0, &[b"x"]));
        offer(&watch, 1, &[b"x"]);
        let counts = |matched, lost| CaptureCounts { matched, lost };
        assert_eq!(watch.counts(), [counts(slots as u64 + 3, 3), counts(1, 1)]);
        let taken = watch.take().unwrap();
        watch.give_back(taken);
        offer(&watch, 1, &[b"x"]);
        assert_eq!(watch.counts()[1], counts(2, 1));
    }

    #[test]
    fn a_packet_of_a_device_that_is_not_there_is_left_out() {
        let watch = watch(8);
        offer(&watch, 2, &[b"x"]);
        assert!(watch.take().is_none());
    }

    #[test]
    fn limits_out_of_range_are_refused_by_name() {
        let refusal = |p, b, s, n| Limits::new(p, b, s, n).unwrap_err().to_string();
        assert_eq!(refusal(0, 1, 1, 1), "limits.packets: 0 is not within 1 to 10000000");
        assert!(refusal(1, u64::MAX, 1, 1).starts_with("limits.bytes: "));
        assert!(refusal(1, 1, 0, 1).starts_with("limits.span_ms: "));
        assert!(refusal(1, 1, 1, 65_536).starts_with("limits.snap_bytes: 65536 is not"));
    }
}
