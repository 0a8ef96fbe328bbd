//! The way of one frame through the stages.

use super::Worker;
use super::ingress::Turn;
use super::plain::Plain;
use crate::binding::{Passage, Sender};
use crate::packet::{Checksum, Content, Fragment, IpPacket, Packet, ParseContext, TagsInFrame};
use crate::published::Published;
use crate::switch::{Egress, Ingress};
use crate::tracker::{FlowPlace, Judged};
use crate::verdict::{DropReason, Grounds, Verdict};
use af_xdp::Frame;
use meshgate_policy::{SegmentId, Stage};

/// What is found of frames that go through the stages side by side, in their order. It is large, so each part has a list of
/// its own, is written once where it stays, and read there.
#[derive(Default)]
pub(super) struct Lanes {
    /// Where each stands, or why it ended.
    pub(super) standings: Vec<Result<Standing, DropReason>>,
    /// Places for what is found of plain frames, for as many as there may be.
    pub(super) plains: Vec<Plain>,
    /// Places for what is found of others, which is more: for some, and one for a plain frame that does not go the short way
    /// to its end.
    pub(super) findings: Vec<Findings>,
    /// By lane: its place in `findings`, if its frame is not plain.
    pub(super) at: Vec<usize>,
    /// Places of `findings` that are taken.
    taken: usize,
    /// Lanes whose flow has not been found so far.
    seeking: Vec<usize>,
}

/// Frames side by side that are not plain. What is found of more would not stay in the first-level cache.
const FINDINGS: usize = 16;

/// Where a frame stands after stages 1 and 2.
#[derive(Clone, Copy)]
pub(super) enum Standing {
    /// It is plain, and perhaps its flow is settled.
    Plain,
    /// ARP, neighbour discovery and the like: stage 2 alone decides.
    Passed,
    /// The rest is up to the flow and the rules.
    ToFlow,
    /// A part of a datagram: stage 3 comes first, in the order in which the frames came.
    ToFragments,
    /// To another worker, which owns its flow.
    ToOwner(usize),
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

/// What stages 1 and 2 found of a frame, as far as it got.
#[derive(Clone)]
pub(super) struct Findings {
    /// What it is; without meaning if it ended in stage 1.
    pub(super) packet: Packet,
    /// Where it goes if it may; without meaning if it ended before.
    pub(super) route: Route,
    /// Where its flow is looked for; without meaning if no flow is asked about it.
    pub(super) place: FlowPlace,
}

impl Lanes {
    /// Returns room for so many frames, all memory taken now.
    pub(super) fn with_capacity(lanes: usize) -> Self {
        Self {
            standings: Vec::with_capacity(lanes),
            plains: vec![Plain::default(); lanes],
            findings: vec![Findings::default(); FINDINGS + 1],
            at: Vec::with_capacity(lanes),
            taken: 0,
            seeking: Vec::with_capacity(lanes),
        }
    }

    /// Returns whether there is a place for another frame, whatever it may be.
    pub(super) fn has_room(&self) -> bool {
        self.taken < FINDINGS && self.standings.len() < self.plains.len()
    }

    /// Does something with each place where a flow is looked for.
    #[inline]
    pub(super) fn for_each_place(&mut self, mut act: impl FnMut(&mut FlowPlace)) {
        for (lane, standing) in self.standings.iter().enumerate() {
            match standing {
                Ok(Standing::Plain) => act(&mut self.plains[lane].place),
                Ok(Standing::ToFlow) => act(&mut self.findings[self.at[lane]].place),
                _ => {}
            }
        }
    }

    /// Goes on with each search by `come_closer`, which says whether the flow is found; so many steps of those that need them.
    #[inline]
    pub(super) fn seek(&mut self, steps: usize, come_closer: impl Fn(&mut FlowPlace) -> bool) {
        let Self { standings, plains, findings, at, seeking, .. } = self;
        seeking.clear();
        for (lane, standing) in standings.iter().enumerate() {
            let is_found = match standing {
                Ok(Standing::Plain) => come_closer(&mut plains[lane].place),
                Ok(Standing::ToFlow) => come_closer(&mut findings[at[lane]].place),
                _ => true,
            };
            if !is_found {
                seeking.push(lane);
            }
        }
        for _ in 1..steps {
            seeking.retain(|lane| {
                let place = match standings[*lane] {
                    Ok(Standing::Plain) => &mut plains[*lane].place,
                    _ => &mut findings[at[*lane]].place,
                };
                !come_closer(place)
            });
        }
    }

    /// Writes what the long way would have found of a plain frame to the place that is kept for that, and returns it.
    pub(super) fn tell_plain(&mut self, lane: usize) -> &Findings {
        let findings = &mut self.findings[FINDINGS];
        self.plains[lane].tell(findings);
        findings
    }

    /// Forgets what is there.
    pub(super) fn clear(&mut self) {
        self.standings.clear();
        self.at.clear();
        self.taken = 0;
    }
}

impl Findings {
    /// Returns the packet of a frame that stands before stage 3 or 4.
    pub(super) fn ip(&self) -> &IpPacket {
        self.packet.ip().expect("what carries no IP ends or passes in stage 2")
    }
}

impl Default for Findings {
    fn default() -> Self {
        let (segment, tags) = (SegmentId::DEFAULT, TagsInFrame::default());
        let route = Route { egress: Egress::Device(0), segment, tags };
        Self { packet: Packet::UNREAD, route, place: FlowPlace::default() }
    }
}

impl Worker {
    /// Takes a frame through stages 1 and 2 and asks for the memory that stage 4 will read. What is found is written to
    /// the place of the next lane.
    #[inline]
    pub(super) fn prepare(&mut self, (ingress, frame): (u16, &mut Frame), turn: Turn<'_>, lanes: &mut Lanes) {
        let plain = &mut lanes.plains[lanes.standings.len()];
        let standing = match self.prepare_plain(ingress, frame, turn, plain) {
            Some(()) => Ok(Standing::Plain),
            None => self.first_stages(ingress, frame, turn, &mut lanes.findings[lanes.taken]),
        };
        lanes.at.push(lanes.taken);
        lanes.taken += usize::from(!matches!(standing, Ok(Standing::Plain)));
        lanes.standings.push(standing);
    }

    fn first_stages(
        &mut self,
        device: u16,
        frame: &mut Frame,
        turn: Turn<'_>,
        findings: &mut Findings,
    ) -> Result<Standing, DropReason> {
        let Findings { packet, route, place } = findings;
        self.parse(device, frame, packet)?;
        let bindings = &turn.published.bindings;
        let Sender { segment, passage, .. } = bindings.source(device, packet)?;
        if let (Content::Ip(ip), Passage::ToRules) = (&packet.content, passage) {
            *place = self.tracker.locate(segment, ip);
            let owner = self.tracker.owner_of(place, self.crossings.workers());
            if owner != self.crossings.worker() && !turn.is_handed {
                return Ok(Standing::ToOwner(owner));
            }
        }
        let egress = self.switch.route(bindings, Ingress { device, segment }, packet, turn.now_ns)?;
        let egress = bindings.receivers(egress, segment, packet)?;
        *route = Route { egress, segment, tags: packet.tags };
        let Content::Ip(ip) = &packet.content else { return Ok(Standing::Passed) };
        if let Checksum::Partial(request) = ip.checksum {
            // Whoever finishes the checksum sums up to the end of the frame: padding must not be there.
            if let Some(bytes) = packet.unpadded_bytes() {
                self.pool.truncate(frame, bytes);
            }
            frame.request_checksum(request.start, request.offset);
        }
        if passage != Passage::ToRules {
            self.overhear(bindings, segment, packet, frame);
            return Ok(Standing::Passed);
        }
        Ok(match ip.fragment {
            Fragment::Whole => Standing::ToFlow,
            Fragment::First { .. } | Fragment::Later { .. } => Standing::ToFragments,
        })
    }

    /// Returns the verdict of stages 4 to 7 on a packet.
    pub(super) fn judge_flow(&mut self, ingress: u16, findings: &Findings, turn: Turn<'_>) -> Verdict {
        let Turn { now_ns, published, .. } = turn;
        let Route { egress, segment, .. } = findings.route;
        let ip = findings.ip();
        let judged = Judged { ip, segment, bindings: &published.bindings, ingress, egress, now_ns };
        let verdict = self.tracker.judge(&judged, &findings.place, published);
        if verdict.is_allow() {
            self.tracker.note_segments(ip, &findings.place);
        }
        verdict
    }

    /// Stage 1. A frame that is longer than its device's MTU allows passes only if it is TCP data for several segments.
    #[inline]
    fn parse(&self, ingress: u16, frame: &Frame, packet: &mut Packet) -> Result<(), DropReason> {
        // A device that was taken away while its frame crossed.
        let known = self.known.get(usize::from(ingress)).and_then(Option::as_ref);
        let traits = known.ok_or(DropReason::NoDevice)?.traits;
        let context = ParseContext { may_be_partial: traits.may_be_partial };
        let read = packet.read(self.pool.bytes(frame), frame.len(), context);
        if frame.len() > traits.frame_bytes_max && !(read.is_ok() && packet.may_be_cut()) {
            let counters = &self.counters.devices[usize::from(ingress)];
            counters.oversize_packets.add(1);
            counters.oversize_bytes_max.set(counters.oversize_bytes_max.get().max(frame.len() as u64));
            return Err(DropReason::OversizeFrame);
        }
        read?;
        if let Content::Ip(ip) = &packet.content
            && ip.checksum == Checksum::Beyond
        {
            ip.verify_across(self.pool.chunks(frame))?;
        }
        Ok(())
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
