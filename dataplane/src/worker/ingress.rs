//! What arrives: one burst of a queue, taken through the stages.
//!
//! A packet's way is a chain of loads that wait for each other: its header, which another core has just written, the
//! beginning of its flow's list, the flow. Each may miss every cache. So a burst goes through the stages in lanes: each
//! step is taken for all lanes before the next one begins, and asks for the memory of the next step without waiting for
//! it. The misses of all packets then overlap.

use super::Worker;
use super::crossing::{Crossing, Errand};
use super::judge::{Findings, Standing, ended_early, passed_binding};
use crate::device::BURST_FRAMES;
use crate::published::Published;
use crate::verdict::DropReason;
use af_xdp::{Frame, prefetch};

/// Packets side by side, as long as most of them are plain: a whole burst. A core waits for some twenty loads at once; the first packets of a step have theirs
/// by the time the last ones have asked.
pub(super) const LANES: usize = BURST_FRAMES;
/// Flows of a list that are looked at side by side. In a full table nine flows in ten are among the first two, and one
/// in fifty is behind the third; it is looked for alone.
const STEPS: usize = 3;
/// How many frames before its turn a header is asked for.
const HEADERS_AHEAD: usize = 8;

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
        self.pass(&mut burst, |_| number, turn);
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
        let mut burst = std::mem::take(&mut self.burst);
        let mut from_devices = std::mem::take(&mut self.handed_from);
        for Crossing { frame, errand } in handed.drain(..) {
            match errand {
                Errand::Judge { ingress } => {
                    burst.push(frame);
                    from_devices.push(ingress);
                }
                Errand::Send { ingress, egress, cut_to } => {
                    self.send_for_other((ingress, egress), cut_to, frame);
                }
            }
        }
        self.pass(&mut burst, |lane| from_devices[lane], turn);
        from_devices.clear();
        (self.burst, self.handed_from, self.handed) = (burst, from_devices, handed);
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

    /// Takes frames through all stages and leaves none. `from` says by which device each came in.
    fn pass(&mut self, frames: &mut Vec<Frame>, from: impl Fn(usize) -> u16, turn: Turn<'_>) {
        let mut passed = 0;
        while !frames.is_empty() {
            passed += self.pass_lanes(frames, |lane| from(passed + lane), turn);
        }
    }

    /// Takes as many frames as there are lanes for through all stages, step by step. Returns how many that were.
    fn pass_lanes(&mut self, frames: &mut Vec<Frame>, from: impl Fn(usize) -> u16, turn: Turn<'_>) -> usize {
        let mut lanes = std::mem::take(&mut self.lanes);
        frames.iter().take(HEADERS_AHEAD).for_each(|frame| prefetch(self.pool.bytes(frame)));
        let mut count = 0;
        while count < frames.len() && lanes.has_room() {
            if let Some(ahead) = frames.get(count + HEADERS_AHEAD) {
                prefetch(self.pool.bytes(ahead));
            }
            self.prepare((from(count), &mut frames[count]), turn, &mut lanes);
            count += 1;
        }
        lanes.for_each_place(|place| self.tracker.approach(place));
        lanes.seek(STEPS, |place| self.tracker.come_closer(place));
        self.tap.refresh();
        self.burst_ns = turn.now_ns;
        for (lane, frame) in frames.drain(..count).enumerate() {
            let (standing, ingress) = (lanes.standings[lane], from(lane));
            if let Ok(Standing::Plain) = standing {
                if let Err(frame) = self.go_on(ingress, frame, &lanes.plains[lane], turn) {
                    self.judge((ingress, frame), Ok(Standing::ToFlow), lanes.tell_plain(lane), turn);
                }
            } else {
                self.judge((ingress, frame), standing, &lanes.findings[lanes.at[lane]], turn);
            }
        }
        lanes.clear();
        self.lanes = lanes;
        count
    }

    /// Judges a frame that has not gone the short way to its end, and ends it.
    fn judge(
        &mut self,
        (ingress, frame): (u16, Frame),
        standing: Result<Standing, DropReason>,
        findings: &Findings,
        turn: Turn<'_>,
    ) {
        let (verdict, route) = match standing {
            Err(reason) => (ended_early(reason, turn.published), None),
            Ok(Standing::Passed) => (passed_binding(turn.published), Some(&findings.route)),
            Ok(Standing::Plain | Standing::ToFlow) => {
                (self.judge_flow(ingress, findings, turn), Some(&findings.route))
            }
            Ok(Standing::ToFragments) => return self.pass_part((ingress, frame), findings, turn),
            Ok(Standing::ToOwner(owner)) => return self.hand_to_owner(owner, ingress, frame),
        };
        self.reject(ingress, &verdict, (&frame, route), turn);
        self.end(ingress, &verdict, (frame, route), turn.published);
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
