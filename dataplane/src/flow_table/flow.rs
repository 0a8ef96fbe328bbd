//! One flow.

use super::{Association, Connection, FlowKey, SctpState, Sender, Standing, Step, TcpState, Timeouts};
use crate::classifier::Judgement;
use crate::meter::{Parties, side_index};
use crate::packet::IpPacket;
use meshgate_policy::{Action, L4Key, PolicyKey, PolicyVersion, RuleId, Stage};

const SECOND_NS: u64 = 1_000_000_000;
/// No device: to none alone, or to none yet.
const NO_DEVICE: u16 = u16::MAX;

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
    Tcp(Connection),
    /// SCTP.
    Sctp(Association),
    /// Anything else.
    Exchange(Exchange),
    /// TCP taken up on the word of the answering side; passes little until the other side agrees.
    Reversed(Opening),
    /// Cut by a policy: nothing passes either way.
    Refused,
}

/// How far an exchange without states of its own has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// One side has spoken.
    Unanswered,
    /// The other has answered.
    Answered,
    /// The first has spoken again after that, so that its address is not forged.
    Steady,
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
    /// Devices to which packets of the low and the high side were last delivered.
    pub delivered: [u16; 2],
    /// Of TCP: payload of the longest segment that the low and the high side take, as their SYNs said; 0 = unsaid.
    pub segment_bytes_max: [u16; 2],
}

/// What a slot of the table holds beside the flow must fit into the rest of its four cache lines.
const _: () = assert!(size_of::<Flow>() <= 240);

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

    /// Takes a packet into account whose flow stands by itself: of TCP, SCTP, or without states.
    pub fn step(&mut self, packet: &IpPacket, sender: Sender) -> Step {
        let initiator = self.initiator;
        let is_in_turn = self.is_in_turn(&packet.l4, sender);
        match (&mut self.state, &packet.tcp, &packet.sctp) {
            (FlowState::Tcp(connection), Some(tcp), _) => connection.step(tcp, sender, initiator),
            (FlowState::Sctp(association), _, Some(sctp)) => association.step(sctp, sender, initiator),
            (FlowState::Exchange(exchange), None, None) if is_in_turn => {
                *exchange = exchange.after(sender == initiator);
                Step::Pass
            }
            _ => Step::Invalid,
        }
    }

    /// Returns whether a packet is what its side of an echo may send: the side that asked asks and the other answers.
    /// Without this, who may be pinged could ping back. Of other protocols anything is in turn.
    pub fn is_in_turn(&self, l4: &L4Key, side: Sender) -> bool {
        // Of ICMP only echoes have flows; what stands in the place of a port tells asking from answering.
        !l4.protocol.is_icmp() || (l4.source_port == self.l4.source_port) == (side == self.initiator)
    }

    /// Returns whether packets of this side were last delivered to this device.
    pub fn was_delivered_to(&self, side: Sender, device: u16) -> bool {
        device != NO_DEVICE && self.delivered[side_index(side)] == device
    }

    /// Takes note of where a packet of a side goes; of none, if it goes to several.
    pub fn deliver(&mut self, side: Sender, device: Option<u16>) {
        self.delivered[side_index(side)] = device.unwrap_or(NO_DEVICE);
    }

    /// Returns when the flow ends if nothing more comes.
    pub fn idle_at_ns(&self, timeouts: &Timeouts) -> u64 {
        self.last_ns.saturating_add(timeouts.of(self))
    }
}

/// How long a connection that was taken up in reverse may go without a word of the allowed direction.
pub const REVERSED_MAX_NS: u64 = 5 * SECOND_NS;
/// How many packets it may pass until then.
pub const REVERSED_PACKETS_MAX: u8 = 8;

impl Exchange {
    /// Returns how far the exchange has come after a packet of the side that began it, or of the other.
    fn after(self, is_of_initiator: bool) -> Self {
        match (self, is_of_initiator) {
            (Self::Unanswered, true) => Self::Unanswered,
            (Self::Unanswered | Self::Answered, false) => Self::Answered,
            (Self::Answered, true) | (Self::Steady, _) => Self::Steady,
        }
    }
}

impl FlowState {
    /// Returns the state of a flow whose first packet, of this side, is allowed.
    pub fn at_start(packet: &IpPacket, sender: Sender) -> Self {
        match (&packet.tcp, &packet.sctp) {
            (Some(tcp), _) => Self::Tcp(Connection::opened(tcp, sender)),
            (_, Some(sctp)) => Self::Sctp(Association::opened(sctp, sender)),
            _ => Self::Exchange(Exchange::Unanswered),
        }
    }

    /// Returns what the table may do with such a flow when it is full.
    pub fn standing(&self) -> Standing {
        match self {
            Self::Tcp(connection) => match connection.state() {
                TcpState::Closed | TcpState::Reset => Standing::Over,
                _ if connection.is_confirmed() => Standing::Confirmed,
                _ => Standing::Unconfirmed,
            },
            Self::Sctp(association) => match association.state() {
                SctpState::Closed => Standing::Over,
                SctpState::CookieWait => Standing::Unconfirmed,
                _ => Standing::Confirmed,
            },
            Self::Exchange(Exchange::Steady) => Standing::Confirmed,
            Self::Exchange(_) => Standing::Unconfirmed,
            Self::Reversed(_) => Standing::Reversed,
            Self::Refused => Standing::Refused,
        }
    }
}
