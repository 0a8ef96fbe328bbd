//! Answers to what a rule rejects: a frame of our own, back by the device that the refused packet came in on.

use super::Worker;
use super::ingress::Turn;
use super::judge::Route;
use crate::packet::{Packet, ParseContext};
use crate::reject::{self, Answer, Reset};
use crate::switch::Egress;
use crate::verdict::{DropReason, Verdict};
use af_xdp::Frame;

impl Worker {
    /// Answers a frame that was rejected, as far as the rate allows. Of a connection that a policy cut, the other side
    /// is told as well, in the refused packet's place.
    pub(super) fn reject(
        &mut self,
        ingress: u16,
        verdict: &Verdict,
        (frame, route): (&Frame, Option<&Route>),
        turn: Turn<'_>,
    ) {
        let Verdict::Drop(reason @ (DropReason::RuleReject | DropReason::CutReject), _) = verdict else {
            return;
        };
        if !self.reject_limit.take(ingress, turn.now_ns) {
            self.counters.rejects_limited.add(1);
            return;
        }
        let bytes = self.pool.bytes(frame);
        // Read a second time: rejecting is rare, and the lanes keep only what stage 4 needs. Whether the checksum is
        // finished does not matter here.
        let Ok(packet) = Packet::parse(bytes, frame.len(), ParseContext { may_be_partial: true }) else {
            return;
        };
        let back = reject::answer(&packet, bytes);
        let segment = packet.ip().and_then(|ip| ip.tcp).filter(|_| *reason == DropReason::CutReject);
        let onwards = segment.as_ref().and_then(Reset::in_place_of);
        let onwards = onwards.and_then(|reset_by| reject::reset_onwards(&packet, bytes, reset_by));
        let Some(route) = route else { return };
        if let Some(answer) = back {
            self.send_answer((ingress, ingress), &answer, route, turn);
        }
        if let (Some(answer), Egress::Device(device)) = (onwards, route.egress) {
            self.send_answer((ingress, device), &answer, route, turn);
        }
    }

    /// Sends an answer, which has the tags of the refused packet, by a device. Frames are allocated with headroom for the
    /// metadata that a device may want.
    fn send_answer(&mut self, devices: (u16, u16), answer: &Answer, route: &Route, turn: Turn<'_>) {
        let ingress = usize::from(devices.0);
        let Some(mut frame) = self.pool.allocate() else {
            self.counters.count_lost(ingress, DropReason::NoMemory);
            return;
        };
        if self.pool.write(&mut frame, answer).is_err() {
            self.pool.release(frame);
            self.counters.count_lost(ingress, DropReason::NoMemory);
            return;
        }
        self.counters.rejects_sent.add(1);
        self.leave(devices, frame, route, turn.published);
    }
}
