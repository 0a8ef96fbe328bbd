//! TCP as far as flags tell: opening, established, closing, closed. Sequence windows are not looked at here.

use crate::packet::TcpFlags;

/// The FIN flag as a bit.
pub(crate) const FIN: u8 = TcpFlags::FIN.0;
/// The SYN flag as a bit.
pub(crate) const SYN: u8 = TcpFlags::SYN.0;
/// The RST flag as a bit.
pub(crate) const RST: u8 = TcpFlags::RST.0;
/// The ACK flag as a bit.
pub(crate) const ACK: u8 = TcpFlags::ACK.0;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpState {
    /// A SYN has passed; the handshake is not over.
    Opening,
    /// Both sides have spoken.
    Established,
    /// A FIN has passed.
    Closing,
    /// A FIN of each side has passed.
    Closed,
    /// A reset has passed.
    Reset,
}

/// What a packet does to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpStep {
    /// It belongs; the connection is then in this state.
    To(TcpState),
    /// It begins a new connection with the same ports: the old one is over.
    Restart,
    /// It does not belong.
    Invalid,
}

impl TcpState {
    /// Returns what a packet with these flags does. `seen` are the flags that each side has sent before: the packet's
    /// sender first, then the other. `from_initiator` says whether the packet's sender began the connection.
    pub fn step(self, flags: u8, from_initiator: bool, seen: (u8, u8)) -> TcpStep {
        let (own, other) = seen;
        if flags & RST != 0 {
            return TcpStep::To(Self::Reset);
        }
        if flags & (SYN | ACK) == SYN {
            return match self {
                // The initiator's SYN again, or both sides at once (RFC 9293 section 3.5, figure 7).
                Self::Opening => TcpStep::To(Self::Opening),
                // An old duplicate; the receiver answers with a challenge ACK (RFC 9293 section 3.10.7.4).
                Self::Established if from_initiator => TcpStep::To(self),
                Self::Established => TcpStep::Invalid,
                Self::Closing | Self::Closed | Self::Reset => TcpStep::Restart,
            };
        }
        match self {
            Self::Opening if flags & SYN != 0 && from_initiator && other & SYN == 0 => TcpStep::Invalid,
            Self::Opening if flags & SYN == 0 && !from_initiator && own & SYN == 0 => TcpStep::Invalid,
            Self::Reset if flags & SYN != 0 => TcpStep::Invalid,
            _ => TcpStep::To(self.after(flags, own, other)),
        }
    }

    fn after(self, flags: u8, own: u8, other: u8) -> Self {
        let own_fin = (own | flags) & FIN != 0;
        let other_fin = other & FIN != 0;
        let both_spoke = other & SYN != 0 || self != Self::Opening;
        match self {
            Self::Reset => Self::Reset,
            Self::Closed => Self::Closed,
            _ if own_fin && other_fin => Self::Closed,
            _ if own_fin || other_fin => Self::Closing,
            Self::Opening if both_spoke && flags & (SYN | ACK) == ACK => Self::Established,
            state => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays packets (flags, from the initiator) and returns the state after each.
    fn play(packets: &[(u8, bool)]) -> Vec<TcpStep> {
        let mut state = TcpState::Opening;
        let mut seen = [0u8; 2];
        let mut steps = Vec::new();
        for (flags, from_initiator) in packets {
            let own = usize::from(*from_initiator);
            let step = state.step(*flags, *from_initiator, (seen[own], seen[1 - own]));
            seen[own] |= flags;
            if let TcpStep::To(next) = step {
                state = next;
            }
            steps.push(step);
        }
        steps
    }

    #[test]
    fn a_connection_opens_and_closes() {
        use TcpState::{Closed, Closing, Established, Opening};
        let steps = play(&[
            (SYN, true),
            (SYN | ACK, false),
            (ACK, true),
            (ACK, false),
            (FIN | ACK, true),
            (ACK, false),
            (FIN | ACK, false),
            (ACK, true),
        ]);
        let states = [Opening, Opening, Established, Established, Closing, Closing, Closed, Closed];
        assert_eq!(steps, states.map(TcpStep::To));
    }

    #[test]
    fn a_reset_ends_it_and_a_new_syn_begins_another() {
        let steps = play(&[(SYN, true), (SYN | ACK, false), (ACK, true), (RST, false), (SYN, true)]);
        assert_eq!(steps[3], TcpStep::To(TcpState::Reset));
        assert_eq!(steps[4], TcpStep::Restart);
    }

    #[test]
    fn the_answering_side_may_not_speak_before_its_syn() {
        assert_eq!(play(&[(SYN, true), (ACK, false)])[1], TcpStep::Invalid);
        assert_eq!(play(&[(SYN, true), (SYN | ACK, true)])[1], TcpStep::Invalid);
    }

    #[test]
    fn both_sides_may_open_at_once() {
        let steps = play(&[(SYN, true), (SYN, false), (SYN | ACK, true), (SYN | ACK, false), (ACK, true)]);
        assert_eq!(steps.last(), Some(&TcpStep::To(TcpState::Established)));
    }
}
