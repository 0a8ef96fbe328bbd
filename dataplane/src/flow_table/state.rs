//! Where a flow stands, by its protocol.

use super::{Association, Connection, SctpState, Sender, Standing, Step, TcpState};
use crate::packet::IpPacket;

const SECOND_NS: u64 = 1_000_000_000;

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

/// The greatest of the states is that of TCP, and the word which of them it is costs nothing.
const _: () = assert!(size_of::<FlowState>() == size_of::<Connection>());

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

    /// Takes a packet into account whose flow stands by itself: of TCP, SCTP, or without states. `is_in_turn` says whether its
    /// side of an echo may send it.
    pub fn step(
        &mut self,
        packet: &IpPacket,
        (sender, initiator): (Sender, Sender),
        is_in_turn: bool,
    ) -> Step {
        match (self, &packet.tcp, &packet.sctp) {
            (Self::Tcp(connection), Some(tcp), _) => connection.step(tcp, sender, initiator),
            (Self::Sctp(association), _, Some(sctp)) => association.step(sctp, sender, initiator),
            (Self::Exchange(exchange), None, None) if is_in_turn => {
                *exchange = exchange.after(sender == initiator);
                Step::Pass
            }
            _ => Step::Invalid,
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
