//! The way of a part of a datagram through stages 3 and 4: judged, following its first part, or waiting for it.

use super::Worker;
use super::ingress::Turn;
use super::judge::{Findings, Route, ended_early};
use crate::binding::Role;
use crate::fragments::{Admission, Allowance, Arrival, Fate, Origin, Returned};
use crate::published::Published;
use crate::tracker::{FollowingPart, number_at_header};
use crate::verdict::{DropReason, Verdict};
use af_xdp::Frame;

/// Frames (chunks) of packet memory that may be with waiting parts: one in this many of the worker's slice. Held,
/// captured and flooded frames together have at most a quarter of it.
const WAITING_SHARE: usize = 16;
/// Most of them, however large the slice: ten of the largest datagrams for each of two senders that have their share.
const WAITING_FRAMES_MAX: usize = 1_024;

/// A part that waits for its first one.
pub(super) struct WaitingPart {
    frame: Frame,
    /// Where it came in.
    ingress: u16,
    /// Where it goes when its first part was allowed.
    route: Route,
    /// What its flow takes note of.
    part: FollowingPart,
}

/// Returns how many frames (chunks) of a slice may be with waiting parts.
pub(super) fn waiting_frames_max(slice_frames: usize) -> u32 {
    u32::try_from((slice_frames / WAITING_SHARE).min(WAITING_FRAMES_MAX)).unwrap_or(0)
}

impl Worker {
    /// Takes a part that passed stages 1 and 2 to its end, or keeps it until its first part comes.
    pub(super) fn pass_part(&mut self, (ingress, frame): (u16, Frame), findings: &Findings, turn: Turn<'_>) {
        let Turn { now_ns, published, .. } = turn;
        let (ip, route) = (findings.ip(), &findings.route);
        let is_uplink = published.bindings.role(ingress) == Some(Role::Uplink);
        let origin = Origin { segment: route.segment, device: ingress, is_uplink };
        let moment = (published.generation, now_ns);
        let Some(arrival) = Arrival::of(ip, origin, frame.chunks(), moment) else {
            debug_assert!(false, "only parts come here");
            return self.pool.release(frame);
        };
        let part = FollowingPart { ip_bytes: ip.ip_bytes, end: arrival.part.end };
        let admission = self.fragments.admit(&arrival);
        // A part that poisons its datagram, or finds it timed out, ends what waits there.
        self.end_returned(None, now_ns, published);
        match admission {
            Err(reason) => self.end(ingress, &ended_early(reason, published), (frame, None), published),
            Ok(Admission::Refuse(grounds)) => {
                let verdict = Verdict::Drop(DropReason::FragmentRefused, grounds);
                self.end(ingress, &verdict, (frame, None), published);
            }
            Ok(Admission::Follow(allowance)) => {
                let verdict = self.tracker.follow(&allowance, part, now_ns, published);
                self.end(ingress, &verdict, (frame, Some(route)), published);
            }
            Ok(Admission::Wait(index)) => {
                let part = WaitingPart { frame, ingress, route: *route, part };
                self.fragments.wait(index, part, arrival.frames);
            }
            Ok(Admission::Judge(index)) => {
                let verdict = self.judge_flow(ingress, findings, turn);
                let allowance = Allowance {
                    grounds: verdict.grounds(),
                    generation: published.generation,
                    place: findings.place,
                    number_at_header: number_at_header(ip),
                };
                let fate = match verdict {
                    Verdict::Allow(_) => Fate::Allowed(allowance),
                    Verdict::Drop(_, grounds) => Fate::Refused(grounds),
                };
                self.reject(ingress, &verdict, (&frame, Some(route)), turn);
                self.end(ingress, &verdict, (frame, Some(route)), published);
                self.fragments.decide(index, fate);
                self.end_returned(Some(&allowance), now_ns, published);
            }
        }
    }

    /// Gives up parts and datagrams that are too old. Returns whether more is due already.
    pub(super) fn expire_parts(&mut self, now_ns: u64, published: &Published) -> bool {
        self.burst_ns = now_ns;
        let is_more_due = self.fragments.expire(now_ns);
        self.end_returned(None, now_ns, published);
        self.counters.datagrams_live.set(u64::from(self.fragments.live()));
        self.counters.datagrams_evicted.set(self.fragments.evicted());
        is_more_due
    }

    /// Gives the memory of all waiting parts back, for the end of the worker.
    pub(super) fn release_parts(&mut self) {
        self.fragments.clear();
        while let Some(Returned { part, .. }) = self.fragments.take_returned() {
            self.counters.count_lost(usize::from(part.ingress), DropReason::FragmentTimeout);
            self.pool.release(part.frame);
        }
    }

    /// Ends the parts that wait no more; those that may follow their first part do so by its allowance.
    fn end_returned(&mut self, allowance: Option<&Allowance>, now_ns: u64, published: &Published) {
        while let Some(Returned { part, outcome }) = self.fragments.take_returned() {
            let WaitingPart { frame, ingress, route, part } = part;
            let verdict = match (outcome, allowance) {
                (Ok(()), Some(allowance)) => self.tracker.follow(allowance, part, now_ns, published),
                (Ok(()), None) => ended_early(DropReason::FragmentRefused, published),
                (Err(reason), _) => ended_early(reason, published),
            };
            self.end(ingress, &verdict, (frame, Some(&route)), published);
        }
    }
}
