//! ICMP and ICMPv6 errors: they follow the flow of the packet they quote, or go nowhere.
//!
//! An error is the one packet that belongs to a flow and comes from an address that does not. Whoever can make one up
//! can cut connections or shrink their segments (RFC 5927), and whoever may send any could talk under that cover. So an
//! error passes only
//!
//! - of a type that tells of trouble with a packet: unreachable, time exceeded, parameter problem, packet too big. A
//!   source quench has had no meaning since RFC 6633;
//! - to the sender of the quoted packet and to nobody else;
//! - about a flow of the table that is neither refused nor taken up on the word of the answering side, by the current
//!   policy, and a side of it that has sent something;
//! - from where the quoted packet went: the device to which that side's packets are delivered, or an uplink, behind
//!   which any router of the path may be;
//! - with a TCP sequence number that may be under way (RFC 5927 section 4.1), or the SCTP verification tag (RFC 9260
//!   section 10);
//! - within a rate.
//!
//! It changes neither the state nor the timeouts of the flow. Both ends must still check it as if nobody had.

use super::{FlowPlace, Judged, Tracker, verdict_grounds};
use crate::binding::Role;
use crate::flow_table::{FlowIndex, FlowState, Sender};
use crate::packet::{IcmpKind, IpPacket, Quoted};
use crate::published::Published;
use crate::token_bucket::Rate;
use crate::verdict::{DropReason, Grounds, Verdict};
use meshgate_policy::{Protocol, Stage};

/// Errors that may follow flows in one second. Routers send far fewer (Linux: 1,000 a second and host, all
/// destinations together); a worker that passes more is being used.
pub const ERRORS_PER_S: u64 = 1_000;
/// The same as a rate: after a silence a whole second of errors may pass at once.
const RATE: Rate = Rate::new(ERRORS_PER_S, ERRORS_PER_S);

/// Types of ICMP errors that may pass (RFC 792).
const V4_KINDS: [u16; 3] = [3, 11, 12];
/// Types of ICMPv6 errors that may pass (RFC 4443 section 2.1).
const V6_KINDS: [u16; 4] = [1, 2, 3, 4];

impl Tracker {
    /// Judges an ICMP error. Its place is that of the flow of the quoted packet.
    pub(super) fn judge_error(
        &mut self,
        packet: &Judged<'_>,
        place: &FlowPlace,
        published: &Published,
    ) -> Verdict {
        let unrelated = Self::drop(DropReason::UnrelatedError, published, None);
        let Some(quoted) = quoted_to_its_sender(packet.ip) else { return unrelated };
        let FlowPlace { key, sender, hash, .. } = *place;
        let Some(index) = self.table.find(&key, hash) else { return unrelated };
        if matches!(self.table.get(index).state, FlowState::Refused | FlowState::Reversed(_)) {
            return unrelated;
        }
        let is_uplink = packet.bindings.role(packet.ingress) == Some(Role::Uplink);
        let flow = self.table.get(index);
        let is_from_there = is_uplink || flow.was_delivered_to(sender, packet.ingress);
        if !is_from_there || !self.has_sent(index, sender, &quoted) {
            return unrelated;
        }
        if !self.errors.take(RATE, packet.now_ns) {
            self.counters.errors_over_rate.add(1);
            return unrelated;
        }
        let grounds = match self.current_grounds(index, packet.now_ns, published) {
            Ok(grounds) => grounds,
            Err(refusing) => return Self::drop(DropReason::CutFlow, published, refusing.rule_id()),
        };
        self.counters.errors_related.add(1);
        self.count_rule(&grounds, packet.ip.ip_bytes, false, published);
        Verdict::Allow(Grounds { stage: Stage::KnownFlow, ..verdict_grounds(&grounds) })
    }
}

/// Returns what an error quotes, if it is of a type that may pass and goes to the sender of that.
fn quoted_to_its_sender(packet: &IpPacket) -> Option<Quoted> {
    let Some(IcmpKind::Error(Some(quoted))) = packet.icmp else { return None };
    let kinds = if packet.l4.protocol == Protocol::ICMP { &V4_KINDS[..] } else { &V6_KINDS[..] };
    let is_known = kinds.contains(&packet.l4.source_port);
    (is_known && quoted.source == packet.destination).then_some(quoted)
}

impl Tracker {
    /// Returns whether a side of the flow has sent the quoted packet, as far as can be told.
    fn has_sent(&self, index: FlowIndex, side: Sender, quoted: &Quoted) -> bool {
        let flow = self.table.get(index);
        let is_of_state = match &flow.state {
            FlowState::Tcp(connection) => {
                quoted.tcp_sequence.is_some_and(|sequence| connection.has_under_way(side, sequence))
            }
            // An INIT carries no tag.
            FlowState::Sctp(association) => quoted
                .sctp_tag
                .is_some_and(|tag| association.has_tag(side, tag) || tag == 0 && side == flow.initiator()),
            FlowState::Exchange(_) => self.table.is_in_turn(index, &quoted.l4, side),
            FlowState::Reversed(_) | FlowState::Refused => false,
        };
        flow.pace(side).packets > 0 && is_of_state
    }
}
