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
        let grounds = match self.current_grounds(index, packet.now_ns, published) {
            Ok(grounds) => grounds,
            Err(refusing) => return Self::drop(cut_reason(&refusing), published, refusing.rule_id()),
        };
        let flow = self.table.get(index);
        if let FlowState::Reversed(opening) = flow.state {
            return self.continue_reversed(found, (opening, grounds), packet, published);
        }
        let timeout_before_ns = self.config.timeouts.of(&flow.state, flow.protocol());
        match self.table.step(index, packet.ip, sender) {
            Step::Pass => self.pass(found, (timeout_before_ns, grounds), packet, published),
            Step::Restart => self.restart(found, packet, published),
            Step::Invalid => Self::drop(DropReason::InvalidState, published, grounds.rule_id()),
        }
    }

    /// Lets a packet pass that its flow has taken note of.
    pub(super) fn pass(
        &mut self,
        found: Match,
        (timeout_before_ns, grounds): (u64, FlowGrounds),
        packet: &Judged<'_>,
        published: &Published,
    ) -> Verdict {
        let Match { index, sender } = found;
        let flow = self.table.get_mut(index);
        flow.count(sender, packet.ip.ip_bytes, packet.tcp_flags(), packet.now_ns);
        flow.deliver(sender, packet.delivered_to());
        let is_shorter = self.config.timeouts.of(&flow.state, flow.protocol()) < timeout_before_ns;
        self.table.settle(index);
        if is_shorter {
            // The wheel must not wait for the long one.
            self.schedule(index, packet.now_ns);
        }
        self.count_rule(&grounds, packet.ip.ip_bytes, false, published);
        Verdict::Allow(Grounds { stage: Stage::KnownFlow, ..verdict_grounds(&grounds) })
    }

    /// A packet that begins an exchange with the ports of one that is over is judged as any first packet; either side
    /// may send it.
    fn restart(&mut self, found: Match, packet: &Judged<'_>, published: &Published) -> Verdict {
        let Match { index, sender } = found;
        let key = self.table.get(index).key();
        self.end(index, EndReason::Closed, packet.now_ns, published);
        self.begin(key, sender, packet, published)
    }

    /// A packet of a refused tuple: only one that begins an exchange, and that the policy allows, makes it a flow again.
    /// With TCP that is a SYN without ACK, with SCTP an INIT. Anything can begin an exchange of other protocols, so there
    /// it must come from the side that began the one that was cut: the other could otherwise revive it from behind,
    /// where it may begin exchanges of its own.
    fn knock(&mut self, found: Match, packet: &Judged<'_>, published: &Published) -> Verdict {
        let Match { index, sender } = found;
        let flow = self.table.get(index);
        let (key, grounds) = (flow.key(), self.table.grounds(index));
        let (rule, reason) = (grounds.rule_id(), cut_reason(grounds));
        let is_first = match key.protocol() {
            Protocol::TCP => packet.tcp_flags() & (SYN | ACK | FIN | RST) == SYN,
            Protocol::SCTP => packet.ip.sctp.as_ref().is_some_and(is_init),
            _ => sender == flow.initiator() && packet.ip.l4 == self.table.l4(index),
        };
        if is_first && Self::ask(packet.policy_key(), published).0.action.is_allow() {
            self.table.remove(index);
            return self.begin(key, sender, packet, published);
        }
        // Knocking keeps the door shut: the minute of refusal begins anew with each packet.
        self.table.get_mut(index).touch(packet.now_ns);
        Self::drop(reason, published, rule)
    }

    /// Returns what a flow goes on by: judges it by the current policy, if that has not happened, in its original direction.
    /// Returns the grounds as an error if that cuts it.
    pub(super) fn current_grounds(
        &mut self,
        index: FlowIndex,
        now_ns: u64,
        published: &Published,
    ) -> Result<FlowGrounds, FlowGrounds> {
        let kept = *self.table.grounds(index);
        if kept.generation == published.generation {
            return Ok(kept);
        }
        let (grounds, _) = Self::ask(self.table.policy_key(index), published);
        self.counters.flows_rejudged.add(1);
        self.count_rule(&grounds, 0, true, published);
        self.table.set_grounds(index, &grounds);
        if grounds.action.is_allow() {
            return Ok(grounds);
        }
        self.cut(index, now_ns, published);
        Err(grounds)
    }

    /// Ends a flow that a policy refuses, and keeps its tuple refused, from now on, while there is room for that.
    pub(super) fn cut(&mut self, index: FlowIndex, now_ns: u64, published: &Published) {
        self.record(index, (RecordKind::End, EndReason::Refused), now_ns, published);
        if self.table.set_refused(index) {
            self.table.get_mut(index).touch(now_ns);
            self.schedule(index, now_ns);
        } else {
            self.table.remove(index);
        }
    }
}

/// Returns why packets of a flow are dropped that these grounds cut: a rule that rejects has both sides told.
pub(super) fn cut_reason(grounds: &FlowGrounds) -> DropReason {
    if grounds.action == Action::Reject { DropReason::CutReject } else { DropReason::CutFlow }
}
