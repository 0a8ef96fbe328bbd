//! What one side of a TCP connection has sent and may send, as far as what passed tells.
//!
//! A firewall between two stacks sees neither's numbers, only what they send. Van Rooij ("Real Stateful TCP Packet
//! Filtering in IP Filter", 2001) showed that four bounds on what passed are enough: they let through everything that
//! an honest stack sends and its peer accepts, however the network loses, repeats or reorders it, and they leave a
//! blind attacker a target no larger than the window. For a segment of side S to side R:
//!
//! 1. it begins no later than `S.limit`, the highest acknowledgment plus window that R ever sent, and one byte more. Only
//!    the beginning is bounded: a probe of a closed window begins at the limit, what follows it one byte behind;
//! 2. it ends no earlier than `S.end - R.window_max`. S has sent up to `S.end`, so R had told it that all before that
//!    had come; only [`PROBE_BYTES`] more may be repeated on purpose, by keep-alives;
//! 3. it acknowledges nothing beyond `R.end`, what R has sent;
//! 4. it acknowledges nothing older than `R.end` minus two windows. R still takes acknowledgments that are one window
//!    behind what it knows to have come (RFC 5961 section 5.2), and that is at most one window behind `R.end`, because
//!    what passes here may be lost behind us. Small windows count as [`ACK_WINDOW_BYTES_MIN`].
//!
//! Of a connection that was taken up in the middle, the window scale is not known, as only SYNs tell it. Its windows are
//! read with the largest shift, and bound 3 is what R was allowed to send rather than what it was seen to send: it may
//! have sent much of it before. That is wider, never narrower, than what the stacks do.

use crate::packet::{TcpFields, TcpFlags};

/// Bytes before what is expected that are sent on purpose: a keep-alive repeats one (RFC 9293 section 3.8.4), and the
/// number before may be that of a window probe.
const PROBE_BYTES: u32 = 2;
/// Bytes that are sent into a closed window to learn whether it has opened (RFC 9293 section 3.8.6.1).
const WINDOW_PROBE_BYTES: u32 = 1;
/// Smallest window by which the age of an acknowledgment is judged: the largest one without scaling, since windows
/// may grow while segments are under way.
const ACK_WINDOW_BYTES_MIN: u32 = 65_535;
/// Largest shift of a window (RFC 7323 section 2.3), taken where the true one is not known.
const SHIFT_MAX: u8 = 14;
/// How far apart the numbers of one connection may lie when it is taken up in the middle: 16 MiB, the largest window
/// that stacks grow to by default, twice over.
const NUMBERS_APART_MAX: u32 = 32 << 20;
/// Numbers behind the newest one that are taken for sent before, rather than for those of a new connection: a quarter of
/// all. Two numbers drawn at random both lie there in one of sixteen cases.
const PAST_NUMBERS_MAX: u32 = 1 << 30;
/// Payload of the largest segment, by which a SYN with payload may be longer when it is repeated (RFC 7413).
const SEGMENT_BYTES_MAX: u32 = 65_535;

/// It has sent a segment.
const SPOKE: u8 = 1;
/// Its SYN carried a window scale option.
const SCALES: u8 = 1 << 1;
/// The other side has acknowledged something of it.
const ACKNOWLEDGED: u8 = 1 << 2;
/// It has sent a FIN, which is the last number before `end`.
const FINISHED: u8 = 1 << 3;
/// Where in the marks the shift of its windows stands, as its SYN said.
const SHIFT_AT: u32 = 4;
/// In the place of the shift: the connection was taken up in the middle, and the shift is not known.
const TAKEN_UP: u8 = 0xf << SHIFT_AT;

const _: () = assert!(SHIFT_MAX < TAKEN_UP >> SHIFT_AT);

/// One side of a connection. All numbers are sequence numbers of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpSide {
    /// Behind the highest number it has sent.
    pub(super) end: u32,
    /// What the other side has acknowledged: it expects this number or a later one.
    pub(super) expected: u32,
    /// Up to where the other side has allowed it to send.
    limit: u32,
    /// Bytes of the largest window that it has offered.
    window_max: u32,
    marks: u8,
}

/// A segment, by what the state of a connection depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) flags: u8,
    pub(super) sequence: u32,
    /// Behind its last number; SYN and FIN count as one each.
    pub(super) end: u32,
    pub(super) acknowledgment: u32,
    /// As in the header.
    window: u16,
    pub(super) payload_bytes: u32,
}

impl Segment {
    #[inline]
    pub(super) fn of(tcp: &TcpFields) -> Self {
        let is_set = |flag: TcpFlags| u32::from(tcp.flags.intersects(flag));
        let numbers = tcp.payload_bytes + is_set(TcpFlags::SYN) + is_set(TcpFlags::FIN);
        Self {
            flags: tcp.flags.0,
            sequence: tcp.sequence,
            end: tcp.sequence.wrapping_add(numbers),
            acknowledgment: tcp.acknowledgment,
            window: tcp.window,
            payload_bytes: tcp.payload_bytes,
        }
    }

    #[inline]
    fn has(&self, flag: TcpFlags) -> bool {
        self.flags & flag.0 != 0
    }

    /// Returns the window it offers. That of a SYN is never scaled (RFC 7323 section 2.2).
    #[inline]
    fn window(&self, own: &TcpSide, other: &TcpSide) -> u32 {
        let shift = if self.has(TcpFlags::SYN) { 0 } else { own.shift_towards(other) };
        u32::from(self.window) << shift
    }
}

impl TcpSide {
    /// Returns the side whose first word is this SYN, with or without ACK.
    pub(super) fn begun(tcp: &TcpFields, other: &Self) -> Self {
        let segment = Segment::of(tcp);
        let first = segment.sequence.wrapping_add(1);
        Self {
            end: segment.end,
            expected: first,
            limit: later(first.wrapping_add(other.window_max), segment.end),
            window_max: u32::from(tcp.window).max(1),
            marks: SPOKE | marks_of(tcp.window_scale),
        }
    }

    /// Returns the side that sent a SYN of which only number and scale are known, once it is acknowledged.
    pub(super) fn acknowledged(number: u32, scale: Option<u8>) -> Self {
        Self {
            end: number,
            expected: number,
            limit: number,
            window_max: u32::from(u16::MAX),
            marks: SPOKE | ACKNOWLEDGED | marks_of(scale),
        }
    }

    /// Returns the side that sent a segment in the middle, and the other one as far as that tells of it.
    pub(super) fn taken_up(first: u32, end: u32, acknowledgment: u32, window: u16) -> (Self, Self) {
        let window_max = (u32::from(window) << SHIFT_MAX).max(NUMBERS_APART_MAX);
        let own = Self {
            end,
            expected: first,
            limit: end.wrapping_add(NUMBERS_APART_MAX),
            window_max,
            marks: SPOKE | TAKEN_UP,
        };
        let other = Self {
            end: acknowledgment,
            expected: acknowledgment,
            limit: acknowledgment.wrapping_add(window_max),
            window_max: NUMBERS_APART_MAX,
            marks: TAKEN_UP | ACKNOWLEDGED,
        };
        (own, other)
    }

    /// Returns whether anything is known of its numbers.
    #[inline]
    pub(super) fn is_known(&self) -> bool {
        self.has_spoken() || self.is_taken_up()
    }

    /// Returns the side that was kept as these numbers and marks.
    #[inline]
    pub(super) fn of([end, expected, limit, window_max]: [u32; 4], marks: u8) -> Self {
        Self { end, expected, limit, window_max, marks }
    }

    /// Returns the numbers and marks that are to be kept of the side.
    #[inline]
    pub(super) fn kept(&self) -> ([u32; 4], u8) {
        let Self { end, expected, limit, window_max, marks } = *self;
        ([end, expected, limit, window_max], marks)
    }

    /// Returns whether the connection was taken up in the middle.
    #[inline]
    fn is_taken_up(&self) -> bool {
        self.marks & TAKEN_UP == TAKEN_UP
    }

    #[inline]
    pub(super) fn has_spoken(&self) -> bool {
        self.marks & SPOKE != 0
    }

    /// Returns whether the other side has acknowledged something of it.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.marks & ACKNOWLEDGED != 0
    }

    /// Returns whether it has sent a FIN.
    pub(super) fn is_finished(&self) -> bool {
        self.marks & FINISHED != 0
    }

    /// Returns whether its FIN was acknowledged.
    pub(super) fn is_done(&self) -> bool {
        self.is_finished() && self.expected == self.end
    }

    /// Returns the shift of its windows: none unless both SYNs asked for scaling (RFC 7323 section 2.2).
    #[inline]
    fn shift_towards(&self, other: &Self) -> u8 {
        let do_scale = self.marks & other.marks & SCALES != 0;
        let is_unknown = self.is_taken_up() && other.is_taken_up();
        if do_scale || is_unknown { (self.marks >> SHIFT_AT).min(SHIFT_MAX) } else { 0 }
    }

    /// Returns whether a segment of this side lies within the four bounds. What completes a handshake must moreover
    /// acknowledge the SYN to the byte: nothing older can be under way, and it proves that the sender has seen it.
    #[inline]
    pub(super) fn fits(&self, segment: &Segment, other: &Self) -> bool {
        let sent = if other.is_taken_up() { later(other.limit, other.end) } else { other.end };
        let ack_age_max = self.window_max.max(ACK_WINDOW_BYTES_MIN).saturating_mul(2).min(1 << 30);
        self.is_known()
            && other.is_known()
            && !is_after(segment.sequence, self.limit.wrapping_add(WINDOW_PROBE_BYTES))
            && lag(segment.end, self.end) <= other.window_max + PROBE_BYTES
            && !is_after(segment.acknowledgment, sent)
            && lag(segment.acknowledgment, other.end) <= ack_age_max
            && (other.is_acknowledged() || other.is_taken_up() || other.awaits(segment.acknowledgment))
    }

    /// Returns whether the other side has sent what is acknowledged by this number, and not yet been told so.
    pub(super) fn awaits(&self, acknowledgment: u32) -> bool {
        self.has_spoken() && !is_after(self.expected, acknowledgment) && !is_after(acknowledgment, self.end)
    }

    /// Returns whether the SYN is the one by which this side began, perhaps without the payload that it had.
    pub(super) fn began_with(&self, segment: &Segment) -> bool {
        let first = segment.sequence.wrapping_add(1);
        !is_after(first, self.expected) && lag(first, self.end) <= SEGMENT_BYTES_MAX
    }

    /// Returns whether this side looks as if it had sent up to this number before.
    pub(super) fn has_passed(&self, number: u32) -> bool {
        self.is_known() && !is_after(number, self.end) && lag(number, self.end) <= PAST_NUMBERS_MAX
    }

    /// Returns whether a reset of this side with this number is what the other side expects, to the byte. What that
    /// is cannot be seen exactly: it lies between what it has acknowledged and what has passed here, and is one of the
    /// two unless something was lost.
    pub(super) fn ends_exactly_at(&self, sequence: u32) -> bool {
        sequence == self.expected || sequence == self.end
    }

    /// Returns whether the number is in the window of the other side.
    pub(super) fn may_send(&self, sequence: u32) -> bool {
        !is_after(self.expected, sequence) && !is_after(sequence, self.limit)
    }

    /// Returns whether the number is of a segment that this side has sent and that may still be under way.
    pub(super) fn has_under_way(&self, sequence: u32) -> bool {
        self.has_spoken()
            && !is_after(self.expected.wrapping_sub(1), sequence)
            && !is_after(sequence, self.end)
    }

    /// Takes note that a segment whose beginning has passed went on up to this number, in later parts of its datagram.
    pub(super) fn went_on_to(&mut self, end: u32) {
        if !self.is_finished() {
            self.end = later(self.end, end);
        }
    }

    /// Takes note of a segment of this side.
    #[inline]
    pub(super) fn sent(&mut self, segment: &Segment, other: &mut Self) {
        let window = segment.window(self, other);
        self.end = later(self.end, segment.end);
        self.window_max = self.window_max.max(window);
        self.marks |= SPOKE | if segment.has(TcpFlags::FIN) { FINISHED } else { 0 };
        if segment.has(TcpFlags::ACK) {
            other.expected = later(other.expected, segment.acknowledgment);
            other.limit = later(other.limit, segment.acknowledgment.wrapping_add(window));
            // What was sent before the connection was taken up shows in what is acknowledged.
            other.end = later(other.end, segment.acknowledgment);
            other.marks |= ACKNOWLEDGED;
        }
    }
}

/// Returns what a SYN with or without this shift of windows says of its side.
fn marks_of(scale: Option<u8>) -> u8 {
    scale.map_or(0, |shift| SCALES | (shift.min(SHIFT_MAX) << SHIFT_AT))
}

/// Returns whether `a` comes after `b`, around the end of the numbers (RFC 9293 section 3.4).
#[inline]
pub(super) fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

/// Returns the later of two numbers.
#[inline]
fn later(a: u32, b: u32) -> u32 {
    if is_after(a, b) { a } else { b }
}

/// Returns how far a number lies behind the newest one; 0 if it does not.
#[inline]
fn lag(number: u32, newest: u32) -> u32 {
    if is_after(number, newest) { 0 } else { newest.wrapping_sub(number) }
}
