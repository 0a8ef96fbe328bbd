//! A TCP connection as the host between its ends sees it (RFC 9293, RFC 5961): opening, established, closing, over.
//!
//! Every segment is held against the numbers of both sides (see [`super::window`]). What lies outside is dropped and
//! changes nothing. Three kinds of segment are special, because an attacker who knows the addresses and ports, but not
//! the numbers, aims with them:
//!
//! **RST.** It ends the connection here only with exactly the number that its receiver expects, or when it acknowledges
//! a SYN that was not answered yet (RFC 5961 section 3.2; RFC 9293 section 3.10.7.3). With another number of the window it
//! passes and changes nothing. To drop it would be no safer and would do harm: a sender that aborts while its last
//! data was lost sends just such a reset; its receiver answers with a challenge ACK, and an exact reset follows. An
//! attacker who hits the window by chance causes a challenge ACK, which goes to the true sender, and nothing more:
//! neither end nor this host loses state. Outside the window it is dropped, as a receiver would do.
//!
//! **SYN in a connection that stands.** It passes, from the side that began the connection, and changes nothing but a note
//! of its number: its receiver answers with a challenge ACK (RFC 5961 section 4), and if the sender really was restarted,
//! that ends the old connection by an exact reset. Only if the receiver is the one that was restarted it answers with
//! SYN and ACK, and that must acknowledge the noted number: then the connection begins anew with the same judgement. An
//! attacker cannot make an end with a connection say that. A SYN of the side that did not begin the connection is
//! dropped: the policy has not allowed it to begin one.
//!
//! **ACK to a SYN, without SYN.** The receiver still has an older connection of the same ports (RFC 9293 section 3.5.1,
//! figure 9). It passes if it carries nothing and acknowledges something else than the SYN, which makes the sender
//! answer with a reset of just that number, which passes too.
//!
//! After both FINs were acknowledged, or a reset, a SYN begins a new connection and is judged anew, if its number is after
//! the last one of the same side (RFC 9293 section 3.6.1, RFC 6191). An older one may be a late duplicate, or may be
//! accepted by the end that waits because of its timestamp, which is not looked at here: it is treated as in a
//! connection that stands. A forged SYN with a later number costs the end that waits the answer to its last FIN if that
//! was lost, but no data.

use super::Sender;
use super::window::{Segment, TcpSide, is_after};
use crate::meter::side_index;
use crate::packet::{TcpFields, TcpFlags};

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
    /// One side has sent a SYN.
    SynSent,
    /// Both have, and not both were acknowledged.
    SynReceived,
    /// Both sides have spoken and been heard.
    Established,
    /// One side has sent its FIN.
    Closing,
    /// Both have, and not both were acknowledged.
    LastAck,
    /// Both FINs were acknowledged.
    Closed,
    /// A reset has passed.
    Reset,
}

/// What a packet does to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It belongs, and the flow has taken note of it.
    Pass,
    /// It begins a new exchange with the same ports: the old one is over.
    Restart,
    /// It does not belong, and the flow is as before.
    Invalid,
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Numbers of the low and the high side.
    numbers: [[u32; 4]; 2],
    /// Marks of the low and the high side.
    marks: [u8; 2],
    /// What was noted: a number, and of what; see [`Self::noted`].
    noted_number: u32,
    noted_kind: u8,
    state: TcpState,
}

/// A flow has forty bytes for what it is of.
const _: () = assert!(size_of::<Connection>() == 40);

/// Kinds of notes as a connection keeps them. A SYN has its shift added to the last one, or what is above all shifts.
const NOTHING_NOTED: u8 = 0;
const HALF_OPEN_NOTED: u8 = 1;
const SYN_NOTED: u8 = 2;
const NO_SHIFT: u8 = 15;

/// A number that passed without changing anything, because its receiver must answer to it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noted {
    Nothing,
    /// A SYN in a connection that stands: behind its number, and its window scale.
    Syn(u32, Option<u8>),
    /// An ACK in answer to a SYN: what it acknowledges.
    HalfOpen(u32),
}

impl Connection {
    /// Returns the connection that this SYN begins.
    pub fn opened(syn: &TcpFields, from: Sender) -> Self {
        let mut opened = Self::empty(TcpState::SynSent);
        opened.set_side(from, TcpSide::begun(syn, &TcpSide::default()));
        opened
    }

    fn empty(state: TcpState) -> Self {
        Self { numbers: [[0; 4]; 2], marks: [0; 2], noted_number: 0, noted_kind: NOTHING_NOTED, state }
    }

    /// Takes note that a segment of a side went on up to this number: it came in parts, and the first one passed.
    pub fn went_on_to(&mut self, end: u32, from: Sender) {
        let mut side = self.own(from);
        side.went_on_to(end);
        self.set_side(from, side);
    }

    /// Returns the connection of which this segment of the middle is the first one seen.
    pub fn taken_up(tcp: &TcpFields, from: Sender) -> Self {
        let segment = Segment::of(tcp);
        let numbers = TcpSide::taken_up(segment.sequence, segment.end, segment.acknowledgment, tcp.window);
        Self::of_middle(numbers, from)
    }

    /// Returns the connection of which a side has sent up to `end` and acknowledged this, with an unknown window.
    pub fn taken_up_at(end: u32, acknowledgment: u32, from: Sender) -> Self {
        Self::of_middle(TcpSide::taken_up(end, end, acknowledgment, 0), from)
    }

    fn of_middle((own, other): (TcpSide, TcpSide), from: Sender) -> Self {
        let mut taken_up = Self::empty(TcpState::Established);
        taken_up.set_side(from, own);
        taken_up.set_side(from.other(), other);
        taken_up
    }

    /// Returns where the connection stands.
    pub fn state(&self) -> TcpState {
        self.state
    }

    /// Returns whether each side has answered to numbers of the other, so that neither address is forged.
    pub fn is_confirmed(&self) -> bool {
        [Sender::Low, Sender::High]
            .into_iter()
            .map(|from| self.own(from))
            .all(|side| side.has_spoken() && side.is_acknowledged())
    }

    /// Returns whether a side has sent a segment with this number that may still be under way.
    pub fn has_under_way(&self, side: Sender, sequence: u32) -> bool {
        self.own(side).has_under_way(sequence)
    }

    /// Takes a segment that carries ACK and none of SYN, FIN and RST into account if the connection is established and the
    /// segment lies within the bounds; returns whether it does. Then [`Self::step`] would say [`Step::Pass`] and the state
    /// stays. Otherwise nothing has changed.
    #[inline]
    pub fn go_on_established(&mut self, tcp: &TcpFields, from: Sender) -> bool {
        let segment = Segment::of(tcp);
        let (mut own, mut other) = (self.own(from), self.other(from));
        let goes_on = self.state == TcpState::Established && own.fits(&segment, &other);
        if goes_on {
            own.sent(&segment, &mut other);
            self.set_side(from, own);
            self.set_side(from.other(), other);
        }
        goes_on
    }

    /// Takes a segment of a side into account. `initiator` is the side that began the connection.
    pub fn step(&mut self, tcp: &TcpFields, from: Sender, initiator: Sender) -> Step {
        let segment = Segment::of(tcp);
        match segment.flags & (SYN | RST | ACK) {
            kind if kind & RST != 0 => self.reset(&segment, from, initiator),
            SYN => self.syn(&segment, tcp, from, initiator),
            kind if kind & SYN != 0 => self.syn_ack(&segment, tcp, from, initiator),
            _ => self.go_on(&segment, from, initiator),
        }
    }

    #[inline]
    fn own(&self, from: Sender) -> TcpSide {
        let at = side_index(from);
        TcpSide::of(self.numbers[at], self.marks[at])
    }

    #[inline]
    fn other(&self, from: Sender) -> TcpSide {
        self.own(from.other())
    }

    #[inline]
    fn set_side(&mut self, from: Sender, side: TcpSide) {
        let at = side_index(from);
        (self.numbers[at], self.marks[at]) = side.kept();
    }

    fn noted(&self) -> Noted {
        match self.noted_kind {
            NOTHING_NOTED => Noted::Nothing,
            HALF_OPEN_NOTED => Noted::HalfOpen(self.noted_number),
            kind => Noted::Syn(self.noted_number, Some(kind - SYN_NOTED).filter(|shift| *shift < NO_SHIFT)),
        }
    }

    fn note(&mut self, noted: Noted) {
        (self.noted_number, self.noted_kind) = match noted {
            Noted::Nothing => (0, NOTHING_NOTED),
            Noted::HalfOpen(number) => (number, HALF_OPEN_NOTED),
            Noted::Syn(number, shift) => (number, SYN_NOTED + shift.unwrap_or(NO_SHIFT).min(NO_SHIFT)),
        };
    }

    fn reset(&mut self, segment: &Segment, from: Sender, initiator: Sender) -> Step {
        let (own, other) = (self.own(from), self.other(from));
        let answers_syn =
            segment.flags & ACK != 0 && !own.is_acknowledged() && other.awaits(segment.acknowledgment);
        let answers_noted = segment.flags & ACK != 0
            && from != initiator
            && matches!(self.noted(), Noted::Syn(number, _) if number == segment.acknowledgment);
        if answers_syn || answers_noted {
            self.state = TcpState::Reset;
            return Step::Pass;
        }
        if from == initiator && self.noted() == Noted::HalfOpen(segment.sequence) {
            self.note(Noted::Nothing);
            return Step::Pass;
        }
        if !own.is_known() {
            return Step::Invalid;
        }
        if own.ends_exactly_at(segment.sequence) {
            self.state = TcpState::Reset;
            return Step::Pass;
        }
        if own.may_send(segment.sequence) { Step::Pass } else { Step::Invalid }
    }

    fn syn(&mut self, segment: &Segment, tcp: &TcpFields, from: Sender, initiator: Sender) -> Step {
        let own = self.own(from);
        match self.state {
            TcpState::Closed | TcpState::Reset if !is_after(own.end, segment.sequence) => Step::Restart,
            TcpState::Reset if from != initiator => Step::Restart,
            // Again, or anew: nobody has answered to the first one.
            TcpState::SynSent if from == initiator => {
                *self = Self::opened(tcp, from);
                Step::Pass
            }
            // Both sides at once (RFC 9293 section 3.5, figure 8).
            TcpState::SynSent => {
                self.set_side(from, TcpSide::begun(tcp, &self.other(from)));
                self.state = TcpState::SynReceived;
                Step::Pass
            }
            TcpState::SynReceived if own.began_with(segment) => Step::Pass,
            _ if from == initiator => {
                self.note(Noted::Syn(segment.sequence.wrapping_add(1), tcp.window_scale));
                Step::Pass
            }
            _ => Step::Invalid,
        }
    }

    fn syn_ack(&mut self, segment: &Segment, tcp: &TcpFields, from: Sender, initiator: Sender) -> Step {
        if let Noted::Syn(number, scale) = self.noted()
            && from != initiator
            && segment.acknowledgment == number
            // Late duplicates of the first SYN and of its answer fit each other, too.
            && !(self.own(initiator).has_passed(number) && self.own(from).has_passed(segment.end))
        {
            self.set_side(initiator, TcpSide::acknowledged(number, scale));
            self.note(Noted::Nothing);
            return self.answer(segment, tcp, from);
        }
        let (own, other) = (self.own(from), self.other(from));
        match self.state {
            TcpState::SynSent if from != initiator && other.awaits(segment.acknowledgment) => {
                self.answer(segment, tcp, from)
            }
            TcpState::SynSent => Step::Invalid,
            TcpState::SynReceived if !other.awaits(segment.acknowledgment) => Step::Invalid,
            TcpState::SynReceived if own.began_with(segment) => self.take(segment, from),
            // Another answer than before, by a server that keeps no state (RFC 4987 section 3.6) or was restarted.
            TcpState::SynReceived if from != initiator && !own.is_acknowledged() => {
                self.answer(segment, tcp, from)
            }
            // An old duplicate; the receiver answers with a challenge ACK.
            _ if own.fits(segment, &other) => Step::Pass,
            _ => Step::Invalid,
        }
    }

    /// Begins the side that answers to a SYN.
    fn answer(&mut self, segment: &Segment, tcp: &TcpFields, from: Sender) -> Step {
        self.set_side(from, TcpSide::begun(tcp, &self.other(from)));
        self.state = TcpState::SynReceived;
        self.take(segment, from)
    }

    fn go_on(&mut self, segment: &Segment, from: Sender, initiator: Sender) -> Step {
        let (own, other) = (self.own(from), self.other(from));
        if self.state == TcpState::SynSent {
            let is_bare = segment.payload_bytes == 0 && segment.flags & FIN == 0;
            if from == initiator || !is_bare || other.awaits(segment.acknowledgment) {
                return Step::Invalid;
            }
            self.note(Noted::HalfOpen(segment.acknowledgment));
            return Step::Pass;
        }
        if !own.fits(segment, &other) {
            return Step::Invalid;
        }
        self.take(segment, from)
    }

    /// Takes note of a segment that fits.
    fn take(&mut self, segment: &Segment, from: Sender) -> Step {
        let (mut own, mut other) = (self.own(from), self.other(from));
        own.sent(segment, &mut other);
        self.set_side(from, own);
        self.set_side(from.other(), other);
        let are_done = own.is_done() && other.is_done();
        self.state = match (own.is_finished(), other.is_finished()) {
            // What still passes brings forth the reset again, if that was lost behind us.
            _ if self.state == TcpState::Reset => TcpState::Reset,
            (true, true) if are_done => TcpState::Closed,
            (true, true) => TcpState::LastAck,
            (true, false) | (false, true) => TcpState::Closing,
            (false, false) if self.state == TcpState::SynReceived && !self.is_confirmed() => self.state,
            (false, false) => TcpState::Established,
        };
        Step::Pass
    }
}
