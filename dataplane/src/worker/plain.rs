//! The short way of plain packets: of settled flows they pass here, from the frame to the queue by which it leaves.
//!
//! Each step is a question that is answered for the plain case alone. Whatever is not plain, at any step, goes on by the
//! long way from there, which knows all cases and comes to the same answer in the plain one.

use super::Worker;
use super::egress::{EGRESS_FRAMES_MAX, Leaving};
use super::ingress::Turn;
use super::judge::{Findings, Route};
use crate::capture::Sight;
use crate::packet::{ETHERNET_BYTES, ParseContext, PlainPacket, TagsInFrame};
use crate::switch::Egress;
use crate::tracker::FlowPlace;
use crate::verdict::Verdict;
use af_xdp::Frame;
use meshgate_policy::SegmentId;

/// What is known of a plain frame after stages 1 and 2.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    packet: PlainPacket,
    /// Where its flow is looked for.
    pub(super) place: FlowPlace,
    segment: SegmentId,
    /// By which device it leaves if it may.
    egress: u16,
}

impl Default for Plain {
    fn default() -> Self {
        Self {
            packet: PlainPacket::UNREAD,
            place: FlowPlace::default(),
            segment: SegmentId::DEFAULT,
            egress: 0,
        }
    }
}

impl Plain {
    /// Writes down what the long way would have found.
    pub(super) fn tell(&self, findings: &mut Findings) {
        findings.packet = self.packet.packet();
        findings.place = self.place;
        let egress = Egress::Device(self.egress);
        findings.route = Route { egress, segment: self.segment, tags: TagsInFrame::default() };
    }
}

impl Worker {
    /// Takes a plain frame through stages 1 and 2, writes down what it finds, and asks for the memory that stage 4 will
    /// read. Returns None where the frame is not plain, or another worker's.
    #[inline]
    pub(super) fn prepare_plain(
        &self,
        ingress: u16,
        frame: &Frame,
        turn: Turn<'_>,
        plain: &mut Plain,
    ) -> Option<()> {
        let traits = self.known.get(usize::from(ingress))?.as_ref()?.traits;
        if frame.chunks() != 1 || frame.len() > traits.frame_bytes_max {
            return None;
        }
        let context = ParseContext { may_be_partial: traits.may_be_partial };
        plain.packet.read(self.pool.bytes(frame), context)?;
        (plain.segment, plain.egress) = turn.published.bindings.plain_way(ingress, &plain.packet)?;
        self.tracker.locate_plain(plain.segment, &plain.packet, &mut plain.place);
        let owner = self.tracker.owner_of(&plain.place, self.crossings.workers());
        (owner == self.crossings.worker() || turn.is_handed).then_some(())
    }

    /// Sends a plain frame on its way if its flow is settled; gives it back if not.
    #[inline]
    pub(super) fn go_on(
        &mut self,
        ingress: u16,
        mut frame: Frame,
        plain: &Plain,
        turn: Turn<'_>,
    ) -> Result<(), Frame> {
        let Plain { packet, place, egress, segment } = plain;
        if let Some(request) = packet.checksum_request() {
            // Whoever finishes the checksum sums up to the end of the frame: padding must not be there.
            self.pool.truncate(&mut frame, packet.unpadded_bytes());
            frame.request_checksum(request.start, request.offset);
        }
        let moment = (*egress, turn.now_ns);
        let Some(grounds) = self.tracker.go_on(packet, place, moment, turn.published) else {
            return Err(frame);
        };
        self.counters.allowed.add(1);
        let verdict = Verdict::Allow(grounds);
        self.tap.show(
            &self.pool,
            &frame,
            &Sight { device: ingress, verdict: &verdict, time_ns: self.burst_ns },
        );
        let is_short = frame.len() <= self.ip_bytes_max(*egress).saturating_add(ETHERNET_BYTES);
        if let Some(Leaving::Queue(at)) = self.leaving.get(usize::from(*egress))
            && is_short
            && let Some(queue) = self.queues.get_mut(*at)
            && queue.egress.len() < EGRESS_FRAMES_MAX
        {
            queue.egress.push_back(frame);
            return Ok(());
        }
        let (segment, tags) = (*segment, TagsInFrame::default());
        let route = Route { egress: Egress::Device(*egress), segment, tags };
        self.leave((ingress, *egress), frame, &route, turn.published);
        Ok(())
    }
}
