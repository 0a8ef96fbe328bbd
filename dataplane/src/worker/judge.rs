//! The way of one frame through the stages.

use super::Worker;
use super::ingress::Turn;
use crate::binding::{Passage, Sender};
use crate::packet::{Checksum, Content, Fragment, IpPacket, Packet, ParseContext, TagsInFrame};
use crate::published::Published;
use crate::switch::{Egress, Ingress};
use crate::tracker::{FlowPlace, Judged};
use crate::verdict::{DropReason, Grounds, Verdict};
use af_xdp::Frame;
use meshgate_policy::{SegmentId, Stage};

/// Frames that go through the stages side by side. Packets have a list of their own, because they are large: each is
/// written once where it stays, and read there.
#[derive(Default)]
pub(super) struct Lanes {
    /// The frames, each with the device it came in by.
    pub(super) frames: Vec<(Frame, u16)>,
    /// Where each stands, or why it ended.
    pub(super) standings: Vec<Result<Standing, DropReason>>,
    /// What stage 4 needs to know of those that get there, in their order.
    pub(super) packets: Vec<IpPacket>,
}

/// Where a frame stands after stages 1 and 2.
pub(super) enum Standing {
    /// ARP, neighbour discovery and the like: stage 2 alone decides.
    Passed(Route),
    /// The rest is up to the flow and the rules.
    ToFlow(Placed),
    /// A part of a datagram: stage 3 comes first, in the order in which the frames came.
    ToFragments(Placed),
}

/// Where a frame goes if it may.
#[derive(Clone, Copy)]
pub(super) struct Route {
    /// By which devices.
    pub(super) egress: Egress,
    /// In which segment.
    pub(super) segment: SegmentId,
    /// The tags that it came with.
    pub(super) tags: TagsInFrame,
}

/// What the stages from the third one on need of a frame.
pub(super) struct Placed {
    /// Its place among the packets.
    pub(super) packet: usize,
    /// Where it goes if it may.
    pub(super) route: Route,
    /// Where its flow is looked for.
    pub(super) place: FlowPlace,
}

/// Where a frame goes on after stage 2.
enum Way {
    /// Here.
    On(Standing),
    /// At another worker, which owns its flow.
    ToOwner(usize),
}

impl Lanes {
    /// Returns room for so many frames, all memory taken now.
    pub(super) fn with_capacity(lanes: usize) -> Self {
        let frames = Vec::with_capacity(lanes);
        Self { frames, standings: Vec::with_capacity(lanes), packets: Vec::with_capacity(lanes) }
    }

    /// Forgets what is there.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.standings.clear();
        self.packets.clear();
    }
}

impl Worker {
    /// Takes a frame through stages 1 and 2 and asks for the memory that stage 4 will read.
    #[inline]
    pub(super) fn prepare(&mut self, ingress: u16, mut frame: Frame, turn: Turn<'_>, lanes: &mut Lanes) {
        let standing = match self.first_stages(ingress, &mut frame, turn, &mut lanes.packets) {
            Ok(Way::ToOwner(owner)) => return self.hand_to_owner(owner, ingress, frame),
            Ok(Way::On(standing)) => Ok(standing),
            Err(reason) => Err(reason),
        };
        lanes.standings.push(standing);
        lanes.frames.push((frame, ingress));
    }

    #[inline]
    fn first_stages(
        &mut self,
        device: u16,
        frame: &mut Frame,
        turn: Turn<'_>,
        packets: &mut Vec<IpPacket>,
    ) -> Result<Way, DropReason> {
        let packet = self.parse(device, frame)?;
        let bindings = &turn.published.bindings;
        let Sender { segment, passage, .. } = bindings.source(device, &packet)?;
        let judged = match &packet.content {
            Content::Ip(ip) if passage == Passage::ToRules => {
                let place = self.tracker.locate(segment, ip);
                let owner = self.tracker.owner_of(&place, self.crossings.workers());
                if owner != self.crossings.worker() && !turn.is_handed {
                    return Ok(Way::ToOwner(owner));
                }
                Some(place)
            }
            _ => None,
        };
        let egress = self.switch.route(bindings, Ingress { device, segment }, &packet, turn.now_ns)?;
        let egress = bindings.receivers(egress, segment, &packet)?;
        let route = Route { egress, segment, tags: packet.tags };
        let Content::Ip(ip) = &packet.content else { return Ok(Way::On(Standing::Passed(route))) };
        if let Checksum::Partial(request) = ip.checksum {
            // Whoever finishes the checksum sums up to the end of the frame: padding must not be there.
            if let Some(bytes) = packet.unpadded_bytes() {
                self.pool.truncate(frame, bytes);
            }
            frame.request_checksum(request.start, request.offset);
        }
        let Some(place) = judged else {
            self.overhear(bindings, segment, &packet, frame);
            return Ok(Way::On(Standing::Passed(route)));
        };
        packets.push(*ip);
        let placed = Placed { packet: packets.len() - 1, route, place };
        Ok(Way::On(match ip.fragment {
            Fragment::Whole => Standing::ToFlow(placed),
            Fragment::First { .. } | Fragment::Later { .. } => Standing::ToFragments(placed),
        }))
    }

    /// Returns the verdict of stages 4 to 7 on a packet.
    pub(super) fn judge_flow(
        &mut self,
        ingress: u16,
        placed: &Placed,
        ip: &IpPacket,
        turn: Turn<'_>,
    ) -> Verdict {
        let Turn { now_ns, published, .. } = turn;
        let Route { egress, segment, .. } = placed.route;
        let judged = Judged { ip, segment, bindings: &published.bindings, ingress, egress, now_ns };
        let verdict = self.tracker.judge(&judged, &placed.place, published);
        if verdict.is_allow() {
            self.tracker.note_segments(ip, &placed.place);
        }
        verdict
    }

    /// Stage 1. A frame that is longer than its device's MTU allows passes only if it is TCP data for several segments.
    #[inline]
    fn parse(&self, ingress: u16, frame: &Frame) -> Result<Packet, DropReason> {
        // A device that was taken away while its frame crossed.
        let known = self.known.get(usize::from(ingress)).copied().flatten();
        let traits = known.ok_or(DropReason::NoDevice)?.traits;
        let context = ParseContext { may_be_partial: traits.may_be_partial };
        let parsed = Packet::parse(self.pool.bytes(frame), frame.len(), context);
        if frame.len() > traits.frame_bytes_max && !parsed.is_ok_and(|packet| packet.may_be_cut()) {
            let counters = &self.counters.devices[usize::from(ingress)];
            counters.oversize_packets.add(1);
            counters.oversize_bytes_max.set(counters.oversize_bytes_max.get().max(frame.len() as u64));
            return Err(DropReason::OversizeFrame);
        }
        let packet = parsed?;
        if let Content::Ip(ip) = &packet.content
            && ip.checksum == Checksum::Beyond
        {
            ip.verify_across(self.pool.chunks(frame))?;
        }
        Ok(packet)
    }
}

/// Returns the verdict on a packet that ended in stage 1, 2 or 3.
pub(super) fn ended_early(reason: DropReason, published: &Published) -> Verdict {
    Verdict::Drop(reason, Grounds { version: published.version, stage: reason.stage(), rule: None })
}

/// Returns the verdict on ARP, neighbour discovery and the like, which stage 2 alone decides.
pub(super) fn passed_binding(published: &Published) -> Verdict {
    Verdict::Allow(Grounds { version: published.version, stage: Stage::Binding, rule: None })
}
