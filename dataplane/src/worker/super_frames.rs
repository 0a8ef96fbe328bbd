//! Frames that are longer than the device takes by which they leave: TCP data that was left to be cut is cut, anything
//! else is dropped by name.

use super::Worker;
use super::egress::EGRESS_FRAMES_MAX;
use super::judge::Route;
use crate::device::offload::OVERHEAD_BYTES;
use crate::packet::{Packet, ParseContext, Segment, Segmentation};
use crate::verdict::DropReason;
use af_xdp::Frame;

impl Worker {
    /// Returns how long an IP packet may be that leaves by a device, or comes from it.
    pub(super) fn ip_bytes_max(&self, device: u16) -> usize {
        let known = self.known.get(usize::from(device)).copied().flatten();
        known.map_or(usize::MAX, |known| known.traits.frame_bytes_max.saturating_sub(OVERHEAD_BYTES))
    }

    /// Sends a frame that is too long for its device in segments. How long they may be is known here, where the flow is;
    /// they are made where the queue is, so that one handle crosses and not fifty.
    pub(super) fn leave_in_segments(&mut self, (ingress, device): (u16, u16), frame: Frame, route: &Route) {
        match self.segment_ip_bytes((ingress, device), &frame, route) {
            None => self.lose(ingress, DropReason::OversizeFrame, frame),
            Some(ip_bytes_max) => self.enqueue((ingress, device), Some(ip_bytes_max), frame),
        }
    }

    /// Returns how long the IP packets may be into which a frame is cut; None if it cannot be cut.
    fn segment_ip_bytes(&self, (ingress, device): (u16, u16), frame: &Frame, route: &Route) -> Option<u16> {
        let packet = self.packet_to_cut(frame)?;
        let ip = packet.ip()?;
        let place = self.tracker.locate(route.segment, ip);
        let said = self.tracker.ip_bytes_max(ip, &place).unwrap_or(usize::MAX);
        let ip_bytes_max = said.min(self.ip_bytes_max(device)).min(self.ip_bytes_max(ingress));
        let ip_bytes_max = u16::try_from(ip_bytes_max).unwrap_or(u16::MAX);
        Segmentation::of(&packet, self.pool.bytes(frame), usize::from(ip_bytes_max)).map(|_| ip_bytes_max)
    }

    fn packet_to_cut(&self, frame: &Frame) -> Option<Packet> {
        let context = ParseContext { may_be_partial: true };
        let packet = Packet::parse(self.pool.bytes(frame), frame.len(), context).ok()?;
        Some(packet).filter(|_| frame.checksum_request().is_some())
    }

    /// Cuts a super-frame and puts the segments into a queue of this worker.
    pub(super) fn queue_segments(&mut self, at: usize, ingress: u16, ip_bytes_max: usize, frame: Frame) {
        let packet = self.packet_to_cut(&frame);
        let segmentation =
            packet.and_then(|packet| Segmentation::of(&packet, self.pool.bytes(&frame), ip_bytes_max));
        let queued = match segmentation {
            None => Err(DropReason::OversizeFrame),
            Some(segmentation) => self.queue_each(at, &frame, segmentation),
        };
        if let Err(reason) = queued {
            self.counters.count_lost(usize::from(ingress), reason);
        }
        self.pool.release(frame);
    }

    /// Nothing is queued unless there is packet memory for all of it. When the queue is full, what waits there is sent at
    /// once: a burst of super-frames is many times what a queue holds.
    fn queue_each(
        &mut self,
        at: usize,
        frame: &Frame,
        mut segmentation: Segmentation,
    ) -> Result<(), DropReason> {
        let chunks = segmentation.frame_bytes_max().div_ceil(self.pool.umem().room_bytes());
        let segments = segmentation.segments();
        if segments * chunks > self.pool.free_frames() {
            return Err(DropReason::NoMemory);
        }
        for number in 0..segments {
            if self.queues[at].egress.len() >= EGRESS_FRAMES_MAX {
                self.transmit(at);
            }
            let segment =
                self.segment_frame(frame, &segmentation.segment(number)).ok_or(DropReason::NoMemory)?;
            if let Err(segment) = self.queue_up(at, segment) {
                self.pool.release(segment);
                return Err(DropReason::TransmitFull);
            }
        }
        self.counters.super_frames_cut.add(1);
        self.counters.super_frame_segments.add(segments as u64);
        Ok(())
    }

    /// Returns a segment in a frame of its own.
    fn segment_frame(&mut self, whole: &Frame, segment: &Segment<'_>) -> Option<Frame> {
        let mut frame = self.pool.allocate()?;
        let written = self
            .pool
            .write(&mut frame, segment.head)
            .and_then(|()| self.pool.append_from(&mut frame, whole, segment.payload.clone()));
        if written.is_err() {
            self.pool.release(frame);
            return None;
        }
        frame.request_checksum(segment.checksum.start, segment.checksum.offset);
        Some(frame)
    }
}
