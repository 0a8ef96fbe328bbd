//! What becomes of a frame after its verdict.

use super::Worker;
use super::crossing::{Crossing, Errand};
use crate::switch::Egress;
use crate::verdict::{DropReason, Verdict};
use af_xdp::Frame;

/// Frames that may wait for one device. A device that is this far behind drops.
pub const EGRESS_FRAMES_MAX: usize = 256;

/// How frames leave by a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// By this worker's queue at this place.
    Queue(usize),
    /// By a queue of this worker.
    Worker(usize),
    /// There is no such device.
    Nowhere,
}

impl Worker {
    /// Sends the frame where it may go, or gives its memory back.
    pub(super) fn conclude(&mut self, ingress: usize, verdict: &Verdict, passage: (Frame, Option<Egress>)) {
        match (verdict, passage) {
            (Verdict::Allow(_), (frame, Some(Egress::Device(device)))) => {
                self.enqueue(ingress, usize::from(device), frame);
            }
            (Verdict::Allow(_), (frame, Some(Egress::Flood(devices)))) => {
                for device in devices.iter() {
                    match self.pool.copy_of(&frame) {
                        Some(copy) => {
                            self.counters.flood_copies.add(1);
                            self.enqueue(ingress, usize::from(device), copy);
                        }
                        None => self.counters.count_lost(ingress, DropReason::NoMemory),
                    }
                }
                self.pool.release(frame);
            }
            (_, (frame, _)) => self.pool.release(frame),
        }
    }

    /// Puts an allowed frame on its way out: into a queue of its own, or to a worker that has one.
    pub(super) fn enqueue(&mut self, ingress: usize, device: usize, frame: Frame) {
        let leaving = self.leaving.get(device).copied().unwrap_or(Leaving::Nowhere);
        let refused = match leaving {
            Leaving::Queue(at) => self.queue_up(at, frame).map_err(|frame| (frame, DropReason::TransmitFull)),
            Leaving::Worker(to) => {
                let number = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
                let errand = Errand::Send { ingress: number(ingress), egress: number(device) };
                let handed = self.crossings.hand_over(to, Crossing { frame, errand });
                handed.map_err(|frame| (frame, DropReason::HandOverFull))
            }
            Leaving::Nowhere => Err((frame, DropReason::TransmitFull)),
        };
        if let Err((frame, reason)) = refused {
            self.pool.release(frame);
            self.counters.count_lost(ingress, reason);
        }
    }

    /// Puts a frame that another worker allowed into the queue it is for.
    pub(super) fn send_for_other(&mut self, ingress: u16, egress: u16, frame: Frame) {
        let refused = match self.leaving.get(usize::from(egress)) {
            Some(Leaving::Queue(at)) => self.queue_up(*at, frame),
            // The queue was taken away meanwhile; a frame crosses twice at most.
            _ => Err(frame),
        };
        if let Err(frame) = refused {
            self.pool.release(frame);
            self.counters.count_lost(usize::from(ingress), DropReason::TransmitFull);
        }
    }

    fn queue_up(&mut self, at: usize, frame: Frame) -> Result<(), Frame> {
        match self.queues.get_mut(at).filter(|queue| queue.egress.len() < EGRESS_FRAMES_MAX) {
            Some(queue) => {
                queue.egress.push_back(frame);
                Ok(())
            }
            None => Err(frame),
        }
    }

    /// Gives a queue what waits for it and lets it do its own work. Returns how many frames it took.
    pub(super) fn transmit(&mut self, at: usize) -> usize {
        let queue = &mut self.queues[at];
        let mut sent = 0;
        if !queue.egress.is_empty() {
            let before: usize = queue.egress.iter().map(Frame::len).sum();
            sent = queue.device.send(&mut self.pool, &mut queue.egress);
            let after: usize = queue.egress.iter().map(Frame::len).sum();
            let counters = &self.counters.devices[usize::from(queue.number)];
            counters.sent_packets.add(sent as u64);
            counters.sent_bytes.add((before - after) as u64);
        }
        queue.device.flush(&mut self.pool);
        sent
    }
}
