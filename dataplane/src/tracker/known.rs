//! Packets of flows that are known: they go on by the flow's verdict while the policy that gave it is current.

use super::{Judged, Tracker, verdict_grounds};
use crate::flow_table::{ACK, FIN, FlowGrounds, FlowIndex, FlowState, Match, RST, SYN, Step, is_init};
use crate::published::Published;
use crate::verdict::{DropReason, Grounds, Verdict};
use meshgate_policy::{Action, EndReason, Protocol, RecordKind, Stage};

impl Tracker {
    /// Judges a packet of a known flow.
    pub(super) fn known(&mut self, found: Match, packet: &Judged<'_>, published: &Published) -> Verdict {
        let Match { index, sender } = found;
        if self.table.get(index).state == FlowState::Refused {
            return self.knock(found, packet, published);
        }
        if let Some(refusing) = self.rejudge_if_stale(index, packet.now_ns, published) {
            return Self::drop(cut_reason(&refusing), published, refusing.rule_id());
        }
        let flow = self.table.get_mut(index);
        if let FlowState::Reversed(opening) = flow.state {
            return self.continue_reversed(found, opening, packet, published);
        }
        let timeout_before_ns = self.config.timeouts.of(flow);
        match flow.step(packet.ip, sender) {
            Step::Pass => self.pass(found, timeout_before_ns, packet, published),
            Step::Restart => self.restart(found, packet, published),
            Step::Invalid => Self::drop(DropReason::InvalidState, published, flow.grounds.rule_id()),
        }
    }

    /// Lets a packet pass that its flow has taken note of.
    pub(super) fn pass(
        &mut self,
        found: Match,
        timeout_before_ns: u64,
        packet: &Judged<'_>,
        published: &Published,
    ) -> Verdict {
        let Match { index, sender } = found;
        let flow = self.table.get_mut(index);
        flow.count(sender, packet.ip.ip_bytes, packet.tcp_flags(), packet.now_ns);
        flow.deliver(sender, packet.delivered_to());
        let grounds = flow.grounds;
        let is_shorter = self.config.timeouts.of(flow) < timeout_before_ns;
        self.table.settle(index);
        if is_shorter {
            // The wheel must not wait for the long one.
            self.schedule(index);
        }
        self.count_rule(&grounds, packet.ip.ip_bytes, false, published);
        Verdict::Allow(Grounds { stage: Stage::KnownFlow, ..verdict_grounds(&grounds) })
    }

    /// A packet that begins an exchange with the ports of one that is over is judged as any first packet; either side
    /// may send it.
    fn restart(&mut self, found: Match, packet: &Judged<'_>, published: &Published) -> Verdict {
        let Match { index, sender } = found;
        let key = self.table.get(index).key;
        self.end(index, EndReason::Closed);
        self.begin(key, sender, packet, published)
    }

    /// A packet of a refused tuple: only one that begins an exchange, and that the policy allows, makes it a flow again.
    /// With TCP that is a SYN without ACK, with SCTP an INIT. Anything can begin an exchange of other protocols, so there
    /// it must come from the side that began the one that was cut: the other could otherwise revive it from behind,
    /// where it may begin exchanges of its own.
    fn knock(&mut self, found: Match, packet: &Judged<'_>, published: &Published) -> Verdict {
        let Match { index, sender } = found;
        let flow = self.table.get(index);
        let (key, rule, reason) = (flow.key, flow.grounds.rule_id(), cut_reason(&flow.grounds));
        let is_first = match key.protocol() {
            Protocol::TCP => packet.tcp_flags() & (SYN | ACK | FIN | RST) == SYN,
            Protocol::SCTP => packet.ip.sctp.as_ref().is_some_and(is_init),
            _ => sender == flow.initiator && packet.ip.l4 == flow.l4,
        };
        if is_first && Self::ask(packet.policy_key(), published).0.action.is_allow() {
            self.table.remove(index);
            return self.begin(key, sender, packet, published);
        }
        // Knocking keeps the door shut: the minute of refusal begins anew with each packet.
        self.table.get_mut(index).last_ns = packet.now_ns;
        Self::drop(reason, published, rule)
    }

    /// Judges a flow by the current policy, if that has not happened, in its original direction; returns the grounds if
    /// that cuts it.
    pub(super) fn rejudge_if_stale(
        &mut self,
        index: FlowIndex,
        now_ns: u64,
        published: &Published,
    ) -> Option<FlowGrounds> {
        if self.table.get(index).grounds.generation == published.generation {
            return None;
        }
        let (grounds, _) = Self::ask(self.table.get(index).policy_key(), published);
        self.counters.flows_rejudged.add(1);
        self.count_rule(&grounds, 0, true, published);
        self.table.get_mut(index).grounds = grounds;
        if grounds.action.is_allow() {
            return None;
        }
        self.cut(index, now_ns);
        Some(grounds)
    }

    /// Ends a flow that a policy refuses, and keeps its tuple refused, from now on, while there is room for that.
    pub(super) fn cut(&mut self, index: FlowIndex, now_ns: u64) {
        self.meter.record(self.table.get(index), RecordKind::End, EndReason::Refused);
        if self.table.set_refused(index) {
            self.table.get_mut(index).last_ns = now_ns;
            self.schedule(index);
        } else {
            self.table.remove(index);
        }
    }
}

/// Returns why packets of a flow are dropped that these grounds cut: a rule that rejects has both sides told.
pub(super) fn cut_reason(grounds: &FlowGrounds) -> DropReason {
    if grounds.action == Action::Reject { DropReason::CutReject } else { DropReason::CutFlow }
}
