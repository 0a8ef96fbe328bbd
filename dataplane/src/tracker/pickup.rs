//! Connections whose beginning this host did not see: it was restarted, or the endpoint moved here.
//!
//! In its own allowed direction a connection is taken up at any time. On the word of the answering side it is taken
//! up only for a while after the start, passes at most eight packets or five seconds, and is believed when a packet
//! of the allowed direction agrees with the numbers seen; otherwise the tuple is refused for a minute. A reverse-side
//! packet alone thus never opens anything for long. A packet of the allowed direction that does not agree is dropped
//! and changes nothing: its address may be forged, and it must not end what the true sender is about to confirm.

use super::{Judged, Tracker, verdict_grounds};
use crate::flow_table::{
    Beginning, Connection, FIN, FlowGrounds, FlowIndex, FlowKey, FlowState, Match, Opening, REVERSED_MAX_NS,
    REVERSED_PACKETS_MAX, RST, SYN, Sender, Step,
};
use crate::packet::TcpFields;
use crate::published::Published;
use crate::verdict::{DropReason, Grounds, Verdict};
use meshgate_policy::{L4Key, Stage};

/// Whether connections are taken up in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pickup {
    /// Never: only a SYN begins a connection.
    Off,
    /// At any time in the allowed direction, in reverse for this long after the start.
    On {
        /// `pickup_window_s`, in nanoseconds.
        window_ns: u64,
    },
}

impl Tracker {
    /// Judges a packet in the middle of an unknown connection.
    pub(super) fn take_up(
        &mut self,
        key: FlowKey,
        sender: Sender,
        packet: &Judged<'_>,
        published: &Published,
    ) -> Verdict {
        let Pickup::On { window_ns } = self.config.pickup else {
            return Self::drop(DropReason::NoFlow, published, None);
        };
        let Some(tcp) = packet.ip.tcp else {
            return Self::drop(DropReason::NoFlow, published, None);
        };
        let (grounds, policy_key) = Self::ask(packet.policy_key(), published);
        if grounds.action.is_allow() {
            self.counters.flows_picked_up.add(1);
            let state = FlowState::Tcp(Connection::taken_up(&tcp, sender));
            let beginning = self.beginning((key, sender), state, grounds, packet);
            return self.take_in(&beginning, packet, published);
        }
        let (reverse, _) = Self::ask(packet.reverse_policy_key(), published);
        if !reverse.action.is_allow() {
            self.count_rule(&grounds, packet.ip.ip_bytes, true, published);
            return self.refuse(&policy_key, &grounds, packet);
        }
        if packet.now_ns >= self.started_ns.saturating_add(window_ns) {
            return Self::drop(DropReason::NoFlow, published, None);
        }
        self.counters.flows_picked_up_reversed.add(1);
        let opening = Opening { packets: 1, since_ns: packet.now_ns, ..numbers_of(&tcp) };
        let state = FlowState::Reversed(opening);
        let turned = self.beginning((key, sender.other()), state, reverse, packet);
        let L4Key { protocol, source_port, destination_port } = packet.ip.l4;
        let (own_is_home, other_is_home) = packet.are_home();
        let beginning = Beginning {
            l4: L4Key::ports(protocol, destination_port, source_port),
            are_home: (other_is_home, own_is_home),
            ..turned
        };
        self.take_in(&beginning, packet, published)
    }

    /// Judges a packet of a connection that was taken up in reverse.
    pub(super) fn continue_reversed(
        &mut self,
        found: Match,
        (opening, grounds): (Opening, FlowGrounds),
        packet: &Judged<'_>,
        published: &Published,
    ) -> Verdict {
        let Match { index, sender } = found;
        let Some(tcp) = packet.ip.tcp else {
            return Self::drop(DropReason::InvalidState, published, grounds.rule_id());
        };
        let invalid = Self::drop(DropReason::InvalidState, published, grounds.rule_id());
        if sender == self.table.get(index).initiator() {
            return self.agree(found, (opening, grounds), packet, published).unwrap_or(invalid);
        }
        if tcp.flags.0 & (SYN | RST) != 0 {
            return invalid;
        }
        let has_time = packet.now_ns < opening.since_ns.saturating_add(REVERSED_MAX_NS);
        if opening.packets >= REVERSED_PACKETS_MAX || !has_time {
            return self.refuse_tuple(index, packet.now_ns, published);
        }
        let opening =
            Opening { packets: opening.packets + 1, since_ns: opening.since_ns, ..numbers_of(&tcp) };
        let flow = self.table.get_mut(index);
        flow.state = FlowState::Reversed(opening);
        flow.count(sender, packet.ip.ip_bytes, tcp.flags.0, packet.now_ns);
        flow.deliver(sender, packet.delivered_to());
        self.count_rule(&grounds, packet.ip.ip_bytes, false, published);
        Verdict::Allow(Grounds { stage: Stage::KnownFlow, ..verdict_grounds(&grounds) })
    }

    /// Makes a connection of one that was taken up in reverse, if a packet of the allowed direction agrees with the
    /// numbers of the other.
    fn agree(
        &mut self,
        found: Match,
        (opening, grounds): (Opening, FlowGrounds),
        packet: &Judged<'_>,
        published: &Published,
    ) -> Option<Verdict> {
        let Match { index, sender } = found;
        let tcp = packet.ip.tcp.filter(|tcp| may_confirm(&opening, tcp))?;
        let mut connection =
            Connection::taken_up_at(opening.sequence, opening.acknowledgment, sender.other());
        if connection.step(&tcp, sender, sender) != Step::Pass {
            return None;
        }
        let flow = self.table.get_mut(index);
        let timeout_before_ns = self.config.timeouts.of(&flow.state, flow.protocol());
        flow.state = FlowState::Tcp(connection);
        Some(self.pass(found, (timeout_before_ns, grounds), packet, published))
    }

    fn refuse_tuple(&mut self, index: FlowIndex, now_ns: u64, published: &Published) -> Verdict {
        let rule = self.table.grounds(index).rule_id();
        self.cut(index, now_ns, published);
        Self::drop(DropReason::NoFlow, published, rule)
    }
}

/// Returns the numbers that the other side must answer to.
fn numbers_of(tcp: &TcpFields) -> Opening {
    let virtual_bytes = u32::from(tcp.flags.0 & SYN != 0) + u32::from(tcp.flags.0 & FIN != 0);
    Opening {
        packets: 0,
        since_ns: 0,
        sequence: tcp.sequence.wrapping_add(tcp.payload_bytes).wrapping_add(virtual_bytes),
        acknowledgment: tcp.acknowledgment,
    }
}

/// Returns whether a packet of the allowed direction may confirm a connection if its numbers agree. A reset, which need
/// not acknowledge anything, must begin exactly where the other side expects it.
fn may_confirm(opening: &Opening, tcp: &TcpFields) -> bool {
    let is_exact = tcp.sequence == opening.acknowledgment;
    tcp.flags.0 & SYN == 0 && (tcp.flags.0 & RST == 0 || is_exact)
}
