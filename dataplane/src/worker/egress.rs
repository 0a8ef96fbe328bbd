//! What becomes of a frame after its verdict.

use super::Worker;
use crate::switch::Egress;
use crate::verdict::{DropReason, Verdict};
use af_xdp::Frame;

/// Frames that may wait for one device. A device that is this far behind drops.
pub const EGRESS_FRAMES_MAX: usize = 256;

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

    fn enqueue(&mut self, ingress: usize, device: usize, frame: Frame) {
        let leaving = self.leaving.get(device).and_then(|at| self.egress.get_mut(*at));
        match leaving.filter(|queue| queue.len() < EGRESS_FRAMES_MAX) {
            Some(queue) => queue.push_back(frame),
            None => {
                self.pool.release(frame);
                self.counters.count_lost(ingress, DropReason::TransmitFull);
            }
        }
    }

    /// Gives a queue what waits for it and lets it do its own work. Returns how many frames it took.
    pub(super) fn transmit(&mut self, at: usize) -> usize {
        let attached = &mut self.queues[at];
        let queue = &mut self.egress[at];
        let mut sent = 0;
        if !queue.is_empty() {
            let before: usize = queue.iter().map(Frame::len).sum();
            sent = attached.device.send(&mut self.pool, queue);
            let after: usize = queue.iter().map(Frame::len).sum();
            let counters = &self.counters.devices[usize::from(attached.number)];
            counters.sent_packets.add(sent as u64);
            counters.sent_bytes.add((before - after) as u64);
        }
        attached.device.flush(&mut self.pool);
        sent
    }
}
