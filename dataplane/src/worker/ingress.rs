//! What arrives: one burst of a queue, taken through the stages.
//!
//! A packet's way is a chain of loads that wait for each other: its header, which another core has just written, the
//! beginning of its flow's list, the flow. Each may miss every cache. So a burst goes through the stages in lanes: each
//! step is taken for all lanes before the next one begins, and asks for the memory of the next step without waiting for
//! it. The misses of 16 packets then overlap, and what the lanes hold stays in the first-level cache.

use super::Worker;
use super::judge::Standing;
use crate::device::BURST_FRAMES;
use crate::published::Published;
use af_xdp::{Frame, FramePool, prefetch};

/// Packets side by side. A core can wait for some ten to twenty loads at once; more lanes only fill the cache.
pub(super) const LANES: usize = 16;

const _: () = assert!(BURST_FRAMES.is_multiple_of(LANES));

/// What all packets of a burst share.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    /// Time of the burst.
    pub(super) now_ns: u64,
    /// The policy by which it is judged.
    pub(super) published: &'a Published,
}

impl Worker {
    /// Takes one burst from a queue and judges each frame. Returns how many frames came.
    pub(super) fn receive(&mut self, at: usize, now_ns: u64, published: &Published) -> usize {
        let mut burst = std::mem::take(&mut self.burst);
        let attached = &mut self.queues[at];
        let device = usize::from(attached.number);
        let received = attached.device.receive(&mut self.pool, &mut burst);
        let captured_ns = attached.device.burst_time_ns();
        let turn = Turn { now_ns: self.time_of_burst(captured_ns, now_ns), published };
        let bytes: u64 = burst.iter().map(|frame| frame.len() as u64).sum();
        let mut rest = burst.drain(..);
        prefetch_headers(&self.pool, rest.as_slice());
        while rest.len() > 0 {
            prefetch_headers(&self.pool, rest.as_slice().get(LANES..).unwrap_or_default());
            let lanes = rest.by_ref().take(LANES);
            self.pass(at, lanes, turn);
        }
        drop(rest);
        self.burst = burst;
        if received > 0 {
            let counters = &self.counters.devices[device];
            counters.received_packets.add(received as u64);
            counters.received_bytes.add(bytes);
        }
        received
    }

    /// Returns the time of a burst: a capture being replayed has times of its own, which begin when it does.
    fn time_of_burst(&mut self, captured_ns: Option<u64>, now_ns: u64) -> u64 {
        let Some(captured_ns) = captured_ns else { return now_ns };
        if self.captured_ns.is_none() {
            self.tracker.start(captured_ns);
        }
        self.captured_ns = Some(captured_ns);
        captured_ns
    }

    /// Takes at most [`LANES`] frames through all stages, step by step.
    fn pass(&mut self, at: usize, frames: impl Iterator<Item = Frame>, turn: Turn<'_>) {
        let mut lanes = std::mem::take(&mut self.lanes);
        frames.for_each(|frame| self.prepare(at, frame, turn, &mut lanes));
        for standing in &lanes.standings {
            if let Ok(Standing::ToFlow { place, .. }) = standing {
                self.tracker.approach(place);
            }
        }
        let number = self.queues[at].number;
        for (frame, standing) in lanes.frames.drain(..).zip(&lanes.standings) {
            let (verdict, egress) = self.judge(number, standing, turn, &lanes.packets);
            self.counters.count(usize::from(number), &verdict);
            self.conclude(usize::from(number), &verdict, (frame, egress));
        }
        lanes.clear();
        self.lanes = lanes;
    }
}

/// Asks for the headers of the next lanes.
fn prefetch_headers(pool: &FramePool, frames: &[Frame]) {
    frames.iter().take(LANES).for_each(|frame| prefetch(pool.bytes(frame)));
}
