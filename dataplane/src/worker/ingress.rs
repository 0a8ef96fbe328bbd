//! What arrives: one burst of a queue, taken through the stages.
//!
//! A packet's way is a chain of loads that wait for each other: its header, which another core has just written, the
//! beginning of its flow's list, the flow. Each may miss every cache. So a burst goes through the stages in lanes: each
//! step is taken for all lanes before the next one begins, and asks for the memory of the next step without waiting for
//! it. The misses of 16 packets then overlap, and what the lanes hold stays in the first-level cache.

use super::Worker;
use super::crossing::{Crossing, Errand};
use super::judge::{Standing, ended_early, passed_binding};
use crate::device::BURST_FRAMES;
use crate::published::Published;
use crate::verdict::DropReason;
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
    /// Whether other workers found that this one owns its flows.
    pub(super) is_handed: bool,
}

impl Worker {
    /// Takes one burst from a queue and judges each frame. Returns how many frames came.
    pub(super) fn receive(&mut self, at: usize, now_ns: u64, published: &Published) -> usize {
        let mut burst = std::mem::take(&mut self.burst);
        let queue = &mut self.queues[at];
        let number = queue.number;
        let received = queue.device.receive(&mut self.pool, &mut burst);
        let captured_ns = queue.device.burst_time_ns();
        let turn = Turn { now_ns: self.time_of_burst(captured_ns, now_ns), published, is_handed: false };
        let bytes: u64 = burst.iter().map(|frame| frame.len() as u64).sum();
        let mut rest = burst.drain(..);
        prefetch_headers(&self.pool, rest.as_slice().iter());
        while rest.len() > 0 {
            prefetch_headers(&self.pool, rest.as_slice().iter().skip(LANES));
            let lanes = rest.by_ref().take(LANES).map(|frame| (frame, number));
            self.pass(lanes, turn);
        }
        drop(rest);
        self.burst = burst;
        if received > 0 {
            let counters = &self.counters.devices[usize::from(number)];
            counters.received_packets.add(received as u64);
            counters.received_bytes.add(bytes);
        }
        received
    }

    /// Does what another worker asks: sends what it allowed, judges what belongs to flows of this one. Returns how many
    /// frames that were.
    pub(super) fn run_errands(&mut self, from: usize, now_ns: u64, published: &Published) -> usize {
        let mut handed = std::mem::take(&mut self.handed);
        self.crossings.take_errands(from, &mut handed);
        let errands = handed.len();
        let turn = Turn { now_ns: self.captured_ns.unwrap_or(now_ns), published, is_handed: true };
        prefetch_headers(&self.pool, handed.iter().map(|crossing| &crossing.frame));
        let mut rest = handed.drain(..);
        while rest.len() > 0 {
            prefetch_headers(&self.pool, rest.as_slice().iter().skip(LANES).map(|crossing| &crossing.frame));
            let mut to_judge: arrayvec::ArrayVec<(Frame, u16), LANES> = arrayvec::ArrayVec::new();
            for Crossing { frame, errand } in rest.by_ref().take(LANES) {
                match errand {
                    Errand::Judge { ingress } => to_judge.push((frame, ingress)),
                    Errand::Send { ingress, egress, cut_to } => {
                        self.send_for_other((ingress, egress), cut_to, frame);
                    }
                }
            }
            self.pass(to_judge.into_iter(), turn);
        }
        drop(rest);
        self.handed = handed;
        errands
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

    /// Takes at most [`LANES`] frames, each with the device it came in by, through all stages, step by step.
    fn pass(&mut self, frames: impl Iterator<Item = (Frame, u16)>, turn: Turn<'_>) {
        let mut lanes = std::mem::take(&mut self.lanes);
        frames.for_each(|(frame, ingress)| self.prepare(ingress, frame, turn, &mut lanes));
        for (standing, findings) in lanes.standings.iter().zip(&lanes.findings) {
            if let Ok(Standing::ToFlow) = standing {
                self.tracker.approach(&findings.place);
            }
        }
        self.tap.refresh();
        self.burst_ns = turn.now_ns;
        let known = lanes.standings.iter().zip(&lanes.findings);
        for ((frame, ingress), (standing, findings)) in lanes.frames.drain(..).zip(known) {
            let (verdict, route) = match standing {
                Err(reason) => (ended_early(*reason, turn.published), None),
                Ok(Standing::Passed) => (passed_binding(turn.published), Some(&findings.route)),
                Ok(Standing::ToFlow) => (self.judge_flow(ingress, findings, turn), Some(&findings.route)),
                Ok(Standing::ToFragments) => {
                    self.pass_part((ingress, frame), findings, turn);
                    continue;
                }
            };
            self.reject(ingress, &verdict, (&frame, route), turn);
            self.end(ingress, &verdict, (frame, route), turn.published);
        }
        lanes.clear();
        self.lanes = lanes;
    }

    /// Hands a frame to the worker that owns its flow.
    pub(super) fn hand_to_owner(&mut self, owner: usize, ingress: u16, frame: Frame) {
        let crossing = Crossing { frame, errand: Errand::Judge { ingress } };
        match self.crossings.hand_over(owner, crossing) {
            Ok(()) => self.counters.handed_over.add(1),
            Err(frame) => {
                self.pool.release(frame);
                self.counters.count_lost(usize::from(ingress), DropReason::HandOverFull);
            }
        }
    }
}

/// Asks for the headers of the next lanes.
fn prefetch_headers<'a>(pool: &FramePool, frames: impl Iterator<Item = &'a Frame>) {
    frames.take(LANES).for_each(|frame| prefetch(pool.bytes(frame)));
}
