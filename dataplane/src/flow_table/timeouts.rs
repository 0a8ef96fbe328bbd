//! How long a flow may be silent, by its state.

use super::{Exchange, FlowState, REVERSED_MAX_NS, SctpState, TcpState};
use meshgate_policy::Protocol;

const SECOND_NS: u64 = 1_000_000_000;

/// How long a flow may be silent, in nanoseconds, by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP after a SYN that was not answered. Stacks repeat it after 1, 3, 7, 15 and 31 s.
    pub tcp_syn_sent_ns: u64,
    /// TCP after the answer, until it is acknowledged.
    pub tcp_syn_received_ns: u64,
    /// TCP both sides of which have spoken: 2 h 4 min (RFC 5382 REQ-5), so that keep-alives every 2 h keep it.
    pub tcp_established_ns: u64,
    /// TCP after one FIN: 4 min (RFC 5382 REQ-5).
    pub tcp_closing_ns: u64,
    /// TCP after both FINs, until they are acknowledged.
    pub tcp_last_ack_ns: u64,
    /// TCP after both FINs were acknowledged. What the last acknowledgment was lost of comes again within this time.
    pub tcp_closed_ns: u64,
    /// TCP after a reset.
    pub tcp_reset_ns: u64,
    /// UDP and others that were answered: 2 min at least, 5 min recommended (RFC 4787 REQ-5).
    pub udp_answered_ns: u64,
    /// UDP and others without an answer.
    pub udp_unanswered_ns: u64,
    /// ICMP echo: 60 s (RFC 5508 REQ-2).
    pub icmp_echo_ns: u64,
    /// SCTP until the COOKIE ACK.
    pub sctp_opening_ns: u64,
    /// SCTP that stands. Its ends send heartbeats every 30 s (RFC 9260 section 16) and give up after some minutes.
    pub sctp_established_ns: u64,
    /// SCTP after a SHUTDOWN.
    pub sctp_closing_ns: u64,
    /// SCTP after a SHUTDOWN COMPLETE or an ABORT.
    pub sctp_closed_ns: u64,
    /// Cut flows, and tuples refused after a wrong take-up.
    pub refused_ns: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_syn_sent_ns: 60 * SECOND_NS,
            tcp_syn_received_ns: 60 * SECOND_NS,
            tcp_established_ns: 7_440 * SECOND_NS,
            tcp_closing_ns: 240 * SECOND_NS,
            tcp_last_ack_ns: 60 * SECOND_NS,
            tcp_closed_ns: 10 * SECOND_NS,
            tcp_reset_ns: 10 * SECOND_NS,
            udp_answered_ns: 300 * SECOND_NS,
            udp_unanswered_ns: 60 * SECOND_NS,
            icmp_echo_ns: 60 * SECOND_NS,
            sctp_opening_ns: 30 * SECOND_NS,
            sctp_established_ns: 600 * SECOND_NS,
            sctp_closing_ns: 60 * SECOND_NS,
            sctp_closed_ns: 10 * SECOND_NS,
            refused_ns: 60 * SECOND_NS,
        }
    }
}

impl Timeouts {
    /// Returns how long a flow of this protocol may be silent.
    pub fn of(&self, state: &FlowState, protocol: Protocol) -> u64 {
        match state {
            FlowState::Tcp(connection) => self.of_tcp(connection.state()),
            FlowState::Sctp(association) => self.of_sctp(association.state()),
            FlowState::Exchange(_) if protocol.is_icmp() => self.icmp_echo_ns,
            FlowState::Exchange(Exchange::Unanswered) => self.udp_unanswered_ns,
            FlowState::Exchange(Exchange::Answered | Exchange::Steady) => self.udp_answered_ns,
            FlowState::Reversed(_) => REVERSED_MAX_NS,
            FlowState::Refused => self.refused_ns,
        }
    }

    fn of_tcp(&self, state: TcpState) -> u64 {
        match state {
            TcpState::SynSent => self.tcp_syn_sent_ns,
            TcpState::SynReceived => self.tcp_syn_received_ns,
            TcpState::Established => self.tcp_established_ns,
            TcpState::Closing => self.tcp_closing_ns,
            TcpState::LastAck => self.tcp_last_ack_ns,
            TcpState::Closed => self.tcp_closed_ns,
            TcpState::Reset => self.tcp_reset_ns,
        }
    }

    fn of_sctp(&self, state: SctpState) -> u64 {
        match state {
            SctpState::CookieWait | SctpState::CookieEchoed => self.sctp_opening_ns,
            SctpState::Established => self.sctp_established_ns,
            SctpState::Closing => self.sctp_closing_ns,
            SctpState::Closed => self.sctp_closed_ns,
        }
    }
}
