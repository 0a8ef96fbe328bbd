//! Copies of packets with their verdicts, for people who look: switched on and off beside the workers.
//!
//! A worker must not wait, allocate or free memory, so a capture is a [`Watch`] that is whole before a worker sees it:
//! a filter, and slots of fixed size that go round between a queue of free ones and a queue of filled ones. Once in a
//! while a worker asks whether there is a watch (one load where there is none); a packet that the filter wants is
//! copied into a free slot, and lost, and counted, where none is free. The [`CaptureSwitch`] keeps each watch until no
//! worker holds it, so that it is never a worker that frees one.

mod drain;
mod filter;
mod sketch;
mod watch;

pub use drain::{Drain, Reached};
pub use filter::{AddressRanges, CaptureFilter, UnknownVerdict, WantedVerdict};
pub use sketch::Sketch;
pub use watch::{CaptureCounts, CapturedPacket, LimitFault, Limits, Sight, Watch};

use af_xdp::{Frame, FramePool};
use arc_swap::{ArcSwapOption, Cache};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A capture runs already; one at a time is enough for people and keeps its memory bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another capture is running here; wait until it ends")]
pub struct Busy;

/// Where captures are switched on.
#[derive(Debug, Default)]
pub struct CaptureSwitch {
    current: Arc<ArcSwapOption<Watch>>,
    /// Watches that are over and that a worker may still hold: at most one a worker after each clearing.
    retired: Mutex<Vec<Arc<Watch>>>,
}

/// A capture under way; ends when dropped.
#[derive(Debug)]
pub struct Capture {
    switch: Arc<CaptureSwitch>,
    watch: Arc<Watch>,
}

/// One worker's view.
pub struct Tap {
    cache: Cache<Arc<ArcSwapOption<Watch>>, Option<Arc<Watch>>>,
    is_on: bool,
}

impl CaptureSwitch {
    /// Returns the view of one worker.
    pub fn tap(&self) -> Tap {
        Tap { cache: Cache::new(Arc::clone(&self.current)), is_on: false }
    }

    /// Begins a capture on this many devices.
    pub fn start(
        self: &Arc<Self>,
        filter: CaptureFilter,
        limits: Limits,
        devices: usize,
    ) -> Result<Capture, Busy> {
        let mut retired = self.retired();
        if self.current.load().is_some() {
            return Err(Busy);
        }
        retired.retain(|watch| Arc::strong_count(watch) > 1);
        let watch = Arc::new(Watch::new(filter, limits, devices));
        self.current.store(Some(Arc::clone(&watch)));
        Ok(Capture { switch: Arc::clone(self), watch })
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Arc<Watch>>> {
        // Nothing panics while it holds the lock.
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Capture {
    /// Returns where packets come out.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let mut retired = self.switch.retired();
        self.switch.current.store(None);
        retired.retain(|watch| Arc::strong_count(watch) > 1);
        retired.push(Arc::clone(&self.watch));
    }
}

impl Tap {
    /// Looks whether a capture runs. To be called now and then: between two calls the answer stays.
    #[inline]
    pub fn refresh(&mut self) {
        self.is_on = self.cache.load().is_some();
    }

    /// Shows a packet to the capture, if one runs.
    #[inline]
    pub fn show(&mut self, pool: &FramePool, frame: &Frame, sight: &Sight<'_>) {
        if self.is_on {
            self.offer(pool, frame, sight);
        }
    }

    #[cold]
    fn offer(&mut self, pool: &FramePool, frame: &Frame, sight: &Sight<'_>) {
        if let Some(watch) = self.cache.load() {
            watch.offer(sight, frame.len(), pool.chunks(frame));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Grounds, Verdict};
    use af_xdp::{Umem, UmemConfig};
    use meshgate_policy::{PolicyVersion, Stage};

    fn limits() -> Limits {
        Limits::new(10, 10_000, 1_000, 64).unwrap()
    }

    fn show(tap: &mut Tap, bytes: &[u8]) {
        let (_umem, mut pools) = Umem::new(&UmemConfig { frames_total: 8, ..UmemConfig::default() }).unwrap();
        let mut frame = pools[0].allocate().unwrap();
        pools[0].write(&mut frame, bytes).unwrap();
        let grounds = Grounds { version: PolicyVersion(1), stage: Stage::Default, rule: None };
        let verdict = Verdict::Allow(grounds);
        tap.show(&pools[0], &frame, &Sight { device: 0, verdict: &verdict, time_ns: 5 });
        pools[0].release(frame);
    }

    #[test]
    fn a_worker_shows_packets_only_while_a_capture_runs() {
        let switch = Arc::new(CaptureSwitch::default());
        let mut tap = switch.tap();
        tap.refresh();
        show(&mut tap, b"before");
        let capture = switch.start(CaptureFilter::default(), limits(), 1).unwrap();
        tap.refresh();
        show(&mut tap, b"during");
        let packet = capture.watch().take().unwrap();
        assert_eq!((packet.bytes.as_slice(), packet.frame_bytes), (&b"during"[..], 6));
        assert!(capture.watch().take().is_none());
        drop(capture);
        tap.refresh();
        show(&mut tap, b"after");
    }

    #[test]
    fn a_second_capture_is_refused_until_the_first_has_ended() {
        let switch = Arc::new(CaptureSwitch::default());
        let first = switch.start(CaptureFilter::default(), limits(), 1).unwrap();
        assert_eq!(switch.start(CaptureFilter::default(), limits(), 1).unwrap_err(), Busy);
        drop(first);
        assert!(switch.start(CaptureFilter::default(), limits(), 1).is_ok());
    }

    #[test]
    fn what_a_sleeping_worker_holds_is_freed_by_the_switch() {
        let switch = Arc::new(CaptureSwitch::default());
        let mut tap = switch.tap();
        let capture = switch.start(CaptureFilter::default(), limits(), 1).unwrap();
        tap.refresh();
        let watch = Arc::downgrade(&capture.watch);
        drop(capture);
        drop(switch.start(CaptureFilter::default(), limits(), 1).unwrap());
        assert!(watch.upgrade().is_some(), "the worker holds it");
        tap.refresh();
        assert!(watch.upgrade().is_some(), "the worker let go of it and did not free it");
        drop(switch.start(CaptureFilter::default(), limits(), 1).unwrap());
        assert!(watch.upgrade().is_none());
    }
}
