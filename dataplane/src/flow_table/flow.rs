//! One flow.

use super::{FlowKey, Sender, TcpState};
use crate::classifier::Judgement;
use crate::meter::{Parties, side_index};
use meshgate_policy::{Action, L4Key, PolicyKey, PolicyVersion, Protocol, RuleId, Stage};

const SECOND_NS: u64 = 1_000_000_000;

/// What a flow's last judging said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowGrounds {
    /// Version of the policy that judged.
    pub version: PolicyVersion,
    /// Which of the policies published in this run that was.
    pub generation: u64,
    /// Rule that decided; 0 = none.
    pub rule: u32,
    /// Place of the rule in [`meshgate_policy::Policy::rules`] of that version; `u32::MAX` = none.
    pub rule_index: u32,
    /// First shadow rule that would have decided otherwise; 0 = none.
    pub shadow_rule: u32,
    /// Stage that decided.
    pub stage: Stage,
    /// What was decided.
    pub action: Action,
}

impl FlowGrounds {
    /// Returns what is kept of a judgement.
    pub fn of(judgement: &Judgement, generation: u64) -> Self {
        let Judgement { decision, rule_index, shadow } = judgement;
        Self {
            version: decision.version,
            generation,
            rule: decision.rule.map_or(0, |rule| rule.0),
            rule_index: rule_index.unwrap_or(u32::MAX),
            shadow_rule: shadow.map_or(0, |shadow| shadow.rule.0),
            stage: decision.stage,
            action: decision.action,
        }
    }

    /// Returns the rule that decided.
    pub fn rule_id(&self) -> Option<RuleId> {
        Some(RuleId(self.rule)).filter(|rule| rule.0 != 0)
    }
}

/// Where a flow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowState {
    /// TCP.
    Tcp(TcpState),
    /// Anything else: whether the other side has answered.
    Exchange {
        /// Whether a packet has come back.
        answered: bool,
    },
    /// TCP taken up on the word of the answering side; passes little until the other side agrees.
    Reversed(Opening),
    /// Cut by a policy: nothing passes either way.
    Refused,
}

/// What a connection that was taken up in reverse has shown so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// Packets passed.
    pub packets: u8,
    /// When the first one came.
    pub since_ns: u64,
    /// Sequence number behind the newest packet of the answering side.
    pub sequence: u32,
    /// What that side has acknowledged.
    pub acknowledgment: u32,
}

/// Packets, bytes and TCP flags of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Packets.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
    /// TCP flags, or-ed.
    pub tcp_flags: u8,
}

/// A two-way exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its name.
    pub key: FlowKey,
    /// The side that sent the first packet.
    pub initiator: Sender,
    /// Where it stands.
    pub state: FlowState,
    /// How it was judged.
    pub grounds: FlowGrounds,
    /// What it is judged by at layer 4: the first packet's ports, ICMP type and code.
    pub l4: L4Key,
    /// Time of the first packet, nanoseconds since 1970.
    pub first_ns: u64,
    /// Time of the last packet.
    pub last_ns: u64,
    /// When it was last reported while going on.
    pub reported_ns: u64,
    /// Who talks.
    pub parties: Parties,
    /// Whether it is one of those that are recorded.
    pub is_sampled: bool,
    /// Counts of the low and the high side's packets.
    pub paces: [Pace; 2],
}

impl Flow {
    /// Returns what stages 5 to 7 look at, in the flow's original direction.
    pub fn policy_key(&self) -> PolicyKey {
        PolicyKey {
            segment: self.key.segment(),
            source: self.key.side(self.initiator).0,
            destination: self.key.side(self.initiator.other()).0,
            l4: self.l4,
        }
    }

    /// Returns packets, bytes and flags of what a side sent.
    pub fn pace(&self, side: Sender) -> Pace {
        self.paces[side_index(side)]
    }

    /// Counts a packet of a side.
    pub fn count(&mut self, side: Sender, bytes: u32, tcp_flags: u8, now_ns: u64) {
        let pace = &mut self.paces[side_index(side)];
        pace.packets += 1;
        pace.bytes += u64::from(bytes);
        pace.tcp_flags |= tcp_flags;
        self.last_ns = now_ns;
    }

    /// Returns when the flow ends if nothing more comes.
    pub fn idle_at_ns(&self, timeouts: &Timeouts) -> u64 {
        self.last_ns.saturating_add(timeouts.of(self))
    }
}

/// How long a flow may be silent, in nanoseconds, by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP before both sides have spoken (RFC 5382 REQ-5 asks for at least the time of the handshake).
    pub tcp_opening_ns: u64,
    /// TCP both sides of which have spoken: 2 h 4 min (RFC 5382 REQ-5).
    pub tcp_established_ns: u64,
    /// TCP after a FIN: 4 min (RFC 5382 REQ-5).
    pub tcp_closing_ns: u64,
    /// TCP after both FINs were acknowledged or a reset.
    pub tcp_closed_ns: u64,
    /// UDP and others that were answered: 2 min at least, 5 min recommended (RFC 4787 REQ-5).
    pub exchange_answered_ns: u64,
    /// UDP and others without an answer.
    pub exchange_unanswered_ns: u64,
    /// ICMP echo: 60 s (RFC 5508 REQ-2).
    pub icmp_ns: u64,
    /// Cut flows, and tuples refused after a wrong take-up.
    pub refused_ns: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_opening_ns: 60 * SECOND_NS,
            tcp_established_ns: 7_440 * SECOND_NS,
            tcp_closing_ns: 240 * SECOND_NS,
            tcp_closed_ns: 10 * SECOND_NS,
            exchange_answered_ns: 300 * SECOND_NS,
            exchange_unanswered_ns: 60 * SECOND_NS,
            icmp_ns: 60 * SECOND_NS,
            refused_ns: 60 * SECOND_NS,
        }
    }
}

impl Timeouts {
    fn of(&self, flow: &Flow) -> u64 {
        match flow.state {
            FlowState::Tcp(TcpState::Opening) => self.tcp_opening_ns,
            FlowState::Tcp(TcpState::Established) => self.tcp_established_ns,
            FlowState::Tcp(TcpState::Closing) => self.tcp_closing_ns,
            FlowState::Tcp(TcpState::Closed | TcpState::Reset) => self.tcp_closed_ns,
            FlowState::Exchange { .. } if flow.key.protocol().is_icmp() => self.icmp_ns,
            FlowState::Exchange { answered: true } => self.exchange_answered_ns,
            FlowState::Exchange { answered: false } => self.exchange_unanswered_ns,
            FlowState::Reversed(_) => REVERSED_MAX_NS,
            FlowState::Refused => self.refused_ns,
        }
    }
}

/// How long a connection that was taken up in reverse may go without a word of the allowed direction.
pub const REVERSED_MAX_NS: u64 = 5 * SECOND_NS;
/// How many packets it may pass until then.
pub const REVERSED_PACKETS_MAX: u8 = 8;

impl FlowState {
    /// Returns the state of a flow whose first packet is allowed.
    pub fn at_start(protocol: Protocol) -> Self {
        match protocol {
            Protocol::TCP => Self::Tcp(TcpState::Opening),
            _ => Self::Exchange { answered: false },
        }
    }
}
