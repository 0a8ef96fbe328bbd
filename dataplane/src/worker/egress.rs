//! What becomes of a frame after its verdict.

use super::Worker;
use super::crossing::{Crossing, Errand};
use super::judge::Route;
use super::tagging::change_tags;
use crate::capture::Sight;
use crate::packet::ETHERNET_BYTES;
use crate::published::Published;
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
    /// Counts how a frame ended, and sends it where it may go or gives its memory back.
    pub(super) fn end(
        &mut self,
        ingress: u16,
        verdict: &Verdict,
        (frame, route): (Frame, Option<&Route>),
        published: &Published,
    ) {
        self.counters.count(usize::from(ingress), verdict);
        self.tap.show(&self.pool, &frame, &Sight { device: ingress, verdict, time_ns: self.burst_ns });
        let Some(route) = route.filter(|_| verdict.is_allow()) else {
            return self.pool.release(frame);
        };
        match route.egress {
            Egress::Device(device) => self.leave((ingress, device), frame, route, published),
            Egress::Flood(devices) => {
                for device in devices.iter() {
                    match self.pool.copy_of(&frame) {
                        Some(copy) => {
                            self.counters.flood_copies.add(1);
                            self.leave((ingress, device), copy, route, published);
                        }
                        None => self.counters.count_lost(usize::from(ingress), DropReason::NoMemory),
                    }
                }
                self.pool.release(frame);
            }
        }
    }

    /// Gives a frame the tags that its segment has at a device, and sends it there, in segments if it is too long.
    pub(super) fn leave(
        &mut self,
        (ingress, device): (u16, u16),
        mut frame: Frame,
        route: &Route,
        published: &Published,
    ) {
        let tagged = match published.bindings.tags(device, route.segment) {
            Some(tags) if change_tags(&mut self.pool, &mut frame, route.tags, tags) => Ok(tags),
            Some(_) => Err(DropReason::NoMemory),
            None => Err(DropReason::UnknownVlan),
        };
        match tagged {
            Ok(tags)
                if frame.len().saturating_sub(ETHERNET_BYTES + tags.bytes()) > self.ip_bytes_max(device) =>
            {
                self.leave_in_segments((ingress, device), frame, route);
            }
            Ok(_) => self.enqueue((ingress, device), None, frame),
            Err(reason) => self.lose(ingress, reason, frame),
        }
    }

    /// Counts an allowed frame that goes nowhere, and gives its memory back.
    pub(super) fn lose(&mut self, ingress: u16, reason: DropReason, frame: Frame) {
        self.pool.release(frame);
        self.counters.count_lost(usize::from(ingress), reason);
    }

    /// Puts an allowed frame on its way out: into a queue of its own, or to a worker that has one. A super-frame is cut
    /// by the worker that has the queue.
    pub(super) fn enqueue(&mut self, (ingress, egress): (u16, u16), cut_to: Option<u16>, frame: Frame) {
        let leaving = self.leaving.get(usize::from(egress)).copied().unwrap_or(Leaving::Nowhere);
        match leaving {
            Leaving::Queue(at) => self.queue_or_cut(at, ingress, cut_to, frame),
            Leaving::Worker(to) => {
                let errand = Errand::Send { ingress, egress, cut_to };
                if let Err(frame) = self.crossings.hand_over(to, Crossing { frame, errand }) {
                    self.lose(ingress, DropReason::HandOverFull, frame);
                }
            }
            Leaving::Nowhere => self.lose(ingress, DropReason::TransmitFull, frame),
        }
    }

    /// Puts a frame that another worker allowed into the queue it is for.
    pub(super) fn send_for_other(
        &mut self,
        (ingress, egress): (u16, u16),
        cut_to: Option<u16>,
        frame: Frame,
    ) {
        match self.leaving.get(usize::from(egress)) {
            Some(Leaving::Queue(at)) => self.queue_or_cut(*at, ingress, cut_to, frame),
            // The queue was taken away meanwhile; a frame crosses twice at most.
            _ => self.lose(ingress, DropReason::TransmitFull, frame),
        }
    }

    fn queue_or_cut(&mut self, at: usize, ingress: u16, cut_to: Option<u16>, frame: Frame) {
        if let Some(ip_bytes_max) = cut_to {
            self.queue_segments(at, ingress, usize::from(ip_bytes_max), frame);
        } else if let Err(frame) = self.queue_up(at, frame) {
            self.lose(ingress, DropReason::TransmitFull, frame);
        }
    }

    pub(super) fn queue_up(&mut self, at: usize, frame: Frame) -> Result<(), Frame> {
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
