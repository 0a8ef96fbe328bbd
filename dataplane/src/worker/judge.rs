//! The way of one frame through the stages.

use super::Worker;
use crate::binding::{Bindings, Passage, Role, Tagging, passage};
use crate::fragments;
use crate::packet::{Checksum, Content, Packet, ParseContext};
use crate::published::Published;
use crate::switch::{DeviceSet, Egress, Ingress};
use crate::tracker::Judged;
use crate::verdict::{DropReason, Grounds, Verdict};
use af_xdp::Frame;
use meshgate_policy::{SegmentId, Stage};

impl Worker {
    /// Returns the verdict on a frame, the frame, and where it goes if it may.
    pub(super) fn judge(
        &mut self,
        ingress: usize,
        mut frame: Frame,
        now_ns: u64,
        published: &Published,
    ) -> (Verdict, (Frame, Option<Egress>)) {
        match self.stages(ingress, &mut frame, now_ns, published) {
            Ok((verdict, egress)) => (verdict, (frame, Some(egress))),
            Err(reason) => {
                let grounds = Grounds { version: published.version, stage: reason.stage(), rule: None };
                (Verdict::Drop(reason, grounds), (frame, None))
            }
        }
    }

    fn stages(
        &mut self,
        ingress: usize,
        frame: &mut Frame,
        now_ns: u64,
        published: &Published,
    ) -> Result<(Verdict, Egress), DropReason> {
        let packet = self.parse(ingress, frame)?;
        let device = self.queues[ingress].number;
        let bindings = &published.bindings;
        let sender = bindings.source(device, &packet)?;
        let came_in = Ingress { device, segment: sender.segment };
        let egress = self.switch.route(bindings, came_in, &packet, now_ns)?;
        let egress = receivers(bindings, egress, sender.segment, &packet)?;
        let ip = match &packet.content {
            Content::Ip(ip) if passage(&packet) == Passage::ToRules => ip,
            _ => return Ok((passed_binding(published), egress)),
        };
        fragments::check(&packet)?;
        if let Checksum::Partial(request) = ip.checksum {
            // Whoever finishes the checksum sums up to the end of the frame: padding must not be there.
            if let Some(bytes) = packet.unpadded_bytes() {
                self.pool.truncate(frame, bytes);
            }
            frame.request_checksum(request.start, request.offset);
        }
        let judged = Judged { ip, segment: sender.segment, bindings, ingress: device, egress, now_ns };
        Ok((self.tracker.judge(&judged, published), egress))
    }

    /// Stage 1.
    fn parse(&self, ingress: usize, frame: &Frame) -> Result<Packet, DropReason> {
        let attached = &self.queues[ingress];
        if frame.len() > attached.frame_bytes_max {
            let counters = &self.counters.devices[usize::from(attached.number)];
            counters.oversize_packets.add(1);
            counters.oversize_bytes_max.set(counters.oversize_bytes_max.get().max(frame.len() as u64));
            return Err(DropReason::OversizeFrame);
        }
        // Kernels leave the checksum to a veth or tap; what comes over a wire is complete.
        let may_be_partial = attached.role != Role::Uplink;
        let packet = Packet::parse(self.pool.bytes(frame), frame.len(), ParseContext { may_be_partial })?;
        if let Content::Ip(ip) = &packet.content
            && ip.checksum == Checksum::Beyond
        {
            ip.verify_across(self.pool.chunks(frame))?;
        }
        Ok(packet)
    }
}

/// Returns where a packet goes of the places the switch found: to those it is for, and that expect it with the tag it
/// has. Of a flood, devices that expect another tag are left out.
fn receivers(
    bindings: &Bindings,
    egress: Egress,
    segment: SegmentId,
    packet: &Packet,
) -> Result<Egress, DropReason> {
    let tagging = packet.vlan.map_or(Tagging::Untagged, Tagging::Vlan);
    let has_tag = |device: u16| bindings.tagging(device, segment) == Some(tagging);
    match egress {
        Egress::Device(device) if has_tag(device) => {
            bindings.destination(device, segment, packet)?;
            Ok(egress)
        }
        Egress::Device(_) => Err(DropReason::UnknownVlan),
        Egress::Flood(devices) => {
            let kept = devices.iter().filter(|device| !has_tag(*device)).fold(devices, DeviceSet::without);
            kept.iter().try_for_each(|device| bindings.destination(device, segment, packet))?;
            if kept.is_empty() { Err(DropReason::UnknownVlan) } else { Ok(Egress::Flood(kept)) }
        }
    }
}

/// Returns the verdict on ARP, neighbour discovery and the like, which stage 2 alone decides.
fn passed_binding(published: &Published) -> Verdict {
    Verdict::Allow(Grounds { version: published.version, stage: Stage::Binding, rule: None })
}
