//! A simple and honest end of a TCP connection (RFC 9293 section 3.10.7, with the defences of RFC 5961): it opens, sends so
//! many bytes in pieces of any size, repeats what was lost, reads now and then, and closes. What its bytes say does not
//! matter, so that only numbers are kept.

use meshgate_dataplane::packet::{TcpFields, TcpFlags};
use meshgate_policy::generate::Rng;

const FIN: TcpFlags = TcpFlags::FIN;
const SYN: TcpFlags = TcpFlags::SYN;
const RST: TcpFlags = TcpFlags::RST;
const ACK: TcpFlags = TcpFlags::ACK;

/// Where an end stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has no connection.
    Closed,
    Listen,
    SynSent,
    SynReceived,
    /// The handshake is over; FINs are told by the numbers.
    Open,
}

/// How an end behaves.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub first: u32,
    pub bytes: u32,
    pub piece_bytes_max: u32,
    pub buffer_bytes: u32,
    pub scale: Option<u8>,
}

/// One end.
#[derive(Debug)]
pub struct Endpoint {
    pub phase: Phase,
    manner: Manner,
    random: Rng,
    unacknowledged: u32,
    next: u32,
    /// Behind the highest number ever sent.
    highest: u32,
    peer_window: u32,
    peer_window_max: u32,
    peer_scale: Option<u8>,
    expected: u32,
    /// Up to where the peer may send.
    edge: u32,
    unread_bytes: u32,
    /// Numbers that came before those in front of them.
    early: Vec<(u32, u32)>,
    peer_end: Option<u32>,
}

fn behind(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

fn numbers(tcp: &TcpFields) -> u32 {
    tcp.payload_bytes + u32::from(tcp.flags.intersects(SYN)) + u32::from(tcp.flags.intersects(FIN))
}

impl Endpoint {
    pub fn new(manner: Manner, random: Rng) -> Self {
        let first = manner.first;
        Self {
            phase: Phase::Listen,
            manner,
            random,
            unacknowledged: first,
            next: first,
            highest: first,
            peer_window: 0,
            peer_window_max: 0,
            peer_scale: None,
            expected: 0,
            edge: 0,
            unread_bytes: 0,
            early: Vec::new(),
            peer_end: None,
        }
    }

    /// Begins a connection.
    pub fn open(&mut self) -> TcpFields {
        self.phase = Phase::SynSent;
        (self.next, self.highest) = (self.manner.first.wrapping_add(1), self.manner.first.wrapping_add(1));
        self.segment(SYN, self.manner.first, 0)
    }

    /// Ends the connection at once.
    pub fn abort(&mut self) -> TcpFields {
        self.phase = Phase::Closed;
        TcpFields { window: 0, ..self.segment(RST | ACK, self.highest, 0) }
    }

    /// The number of the FIN.
    fn last(&self) -> u32 {
        self.manner.first.wrapping_add(1).wrapping_add(self.manner.bytes)
    }

    /// Returns whether everything was sent, acknowledged and received.
    pub fn is_done(&self) -> bool {
        let is_sent = self.unacknowledged == self.last().wrapping_add(1);
        self.phase == Phase::Open && is_sent && self.peer_end == Some(self.expected)
    }

    fn are_scaled(&self) -> bool {
        self.manner.scale.is_some() && self.peer_scale.is_some()
    }

    fn segment(&mut self, flags: TcpFlags, sequence: u32, payload_bytes: u32) -> TcpFields {
        let free = self.manner.buffer_bytes - self.unread_bytes;
        let shift = if self.are_scaled() && !flags.intersects(SYN) { self.manner.scale.unwrap() } else { 0 };
        let window = u16::try_from(free >> shift).unwrap_or(u16::MAX);
        let edge = self.expected.wrapping_add(u32::from(window) << shift);
        if !behind(edge, self.edge) {
            self.edge = edge;
        }
        TcpFields {
            segment_bytes_max: None,
            flags,
            sequence,
            acknowledgment: if flags.intersects(ACK) { self.expected } else { 0 },
            window,
            window_scale: if flags.intersects(SYN) { self.manner.scale } else { None },
            payload_bytes,
        }
    }

    fn acknowledge(&mut self) -> TcpFields {
        self.segment(ACK, self.highest, 0)
    }

    /// Lets the application read.
    pub fn read(&mut self) {
        self.unread_bytes -= u32::try_from(self.random.below(u64::from(self.unread_bytes) + 1)).unwrap();
    }

    /// Sends what the window allows, at most a few segments.
    pub fn send(&mut self) -> Vec<TcpFields> {
        let mut sent = Vec::new();
        while self.phase == Phase::Open && sent.len() < 4 && !behind(self.last(), self.next) {
            let Some(segment) = self.piece(self.next) else { break };
            self.advance(numbers(&segment));
            sent.push(segment);
        }
        sent
    }

    fn advance(&mut self, numbers: u32) {
        self.next = self.next.wrapping_add(numbers);
        if behind(self.highest, self.next) {
            self.highest = self.next;
        }
    }

    /// Returns a segment that begins with this number, if the window has room for it.
    fn piece(&mut self, from: u32) -> Option<TcpFields> {
        let edge = self.unacknowledged.wrapping_add(self.peer_window);
        let room = edge.wrapping_sub(from);
        if behind(edge, from) || room == 0 {
            return None;
        }
        let left = self.last().wrapping_sub(from);
        let most = room.min(left).min(self.manner.piece_bytes_max);
        let bytes = if self.random.chance(70) { most } else { most.min(1 + self.below(most)) };
        let flags = if bytes == left && room > bytes { FIN | ACK } else { ACK };
        (bytes > 0 || flags.intersects(FIN)).then(|| self.segment(flags, from, bytes))
    }

    fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.random.below(u64::from(end))).unwrap()
    }

    /// Does what a timer demands: repeats, probes, keeps alive.
    pub fn repeat(&mut self) -> Vec<TcpFields> {
        match self.phase {
            Phase::SynSent => vec![self.segment(SYN, self.manner.first, 0)],
            Phase::SynReceived => vec![self.segment(SYN | ACK, self.manner.first, 0)],
            Phase::Open if self.unacknowledged != self.highest => {
                // Everything unacknowledged is sent again, cut otherwise than before; or only the first piece.
                self.next = if self.random.chance(30) { self.unacknowledged } else { self.next };
                let from = self.unacknowledged;
                let pieces: Vec<_> =
                    if self.next == from { self.send() } else { self.piece(from).into_iter().collect() };
                if pieces.is_empty() { self.probe() } else { pieces }
            }
            Phase::Open if self.peer_window == 0 && !behind(self.last(), self.next) => self.probe(),
            Phase::Open if self.random.chance(30) => {
                let bytes =
                    u32::from(self.random.chance(50) && self.next != self.manner.first.wrapping_add(1));
                vec![self.segment(ACK, self.next.wrapping_sub(1), bytes)]
            }
            Phase::Open => vec![self.acknowledge()],
            Phase::Closed | Phase::Listen => Vec::new(),
        }
    }

    /// Probes a closed window, with the first byte that is outside or with a number before it.
    fn probe(&mut self) -> Vec<TcpFields> {
        let first = self.unacknowledged;
        if self.peer_window == 0 && behind(first, self.last()) && self.random.chance(50) {
            self.next = first;
            self.advance(1);
            return vec![self.segment(ACK, first, 1)];
        }
        vec![self.segment(ACK, first.wrapping_sub(1), 0)]
    }

    /// Returns whether the segment would be taken, rather than discarded, whatever is answered to it.
    pub fn accepts(&self, tcp: &TcpFields) -> bool {
        let acknowledges_syn =
            behind(self.manner.first, tcp.acknowledgment) && !behind(self.highest, tcp.acknowledgment);
        match self.phase {
            Phase::Closed => false,
            Phase::Listen => tcp.flags.0 & (SYN | ACK | RST).0 == SYN.0,
            Phase::SynSent if tcp.flags.intersects(ACK) && !acknowledges_syn => false,
            Phase::SynSent if tcp.flags.intersects(RST) => tcp.flags.intersects(ACK),
            Phase::SynSent => tcp.flags.intersects(SYN),
            Phase::SynReceived | Phase::Open => {
                let is_exact = tcp.sequence == self.expected;
                let oldest = self.unacknowledged.wrapping_sub(self.peer_window_max);
                let is_known =
                    !behind(tcp.acknowledgment, oldest) && !behind(self.highest, tcp.acknowledgment);
                match tcp.flags {
                    flags if flags.intersects(RST) => is_exact,
                    flags if flags.intersects(SYN) => false,
                    _ if self.phase == Phase::SynReceived => self.is_in_window(tcp) && acknowledges_syn,
                    _ => self.is_in_window(tcp) && is_known,
                }
            }
        }
    }

    /// The four cases of RFC 9293 section 3.10.7.4.
    fn is_in_window(&self, tcp: &TcpFields) -> bool {
        let window = self.edge.wrapping_sub(self.expected);
        let is_in = |number: u32| number.wrapping_sub(self.expected) < window;
        match numbers(tcp) {
            0 if window == 0 => tcp.sequence == self.expected,
            0 => is_in(tcp.sequence),
            _ if window == 0 => false,
            numbers => is_in(tcp.sequence) || is_in(tcp.sequence.wrapping_add(numbers - 1)),
        }
    }

    /// Takes a segment and returns what is answered at once.
    pub fn receive(&mut self, tcp: &TcpFields) -> Vec<TcpFields> {
        let is_reset = tcp.flags.intersects(RST);
        match self.phase {
            Phase::Closed if is_reset => Vec::new(),
            Phase::Closed => vec![self.refusal(tcp)],
            Phase::Listen | Phase::SynSent => self.receive_opening(tcp),
            Phase::SynReceived | Phase::Open if !self.accepts(tcp) => {
                if is_reset && !self.is_in_window(tcp) {
                    Vec::new()
                } else {
                    vec![self.acknowledge()]
                }
            }
            Phase::SynReceived | Phase::Open if is_reset => {
                self.phase = Phase::Closed;
                Vec::new()
            }
            Phase::SynReceived | Phase::Open => {
                self.phase = Phase::Open;
                self.take_acknowledgment(tcp);
                self.take_numbers(tcp);
                let mut answers = self.send();
                if numbers(tcp) > 0 && (answers.is_empty() || self.random.chance(30)) {
                    answers.push(self.acknowledge());
                }
                answers
            }
        }
    }

    /// Returns what a side without a connection answers.
    fn refusal(&mut self, tcp: &TcpFields) -> TcpFields {
        let answer = TcpFields { window: 0, ..self.segment(RST, tcp.acknowledgment, 0) };
        if tcp.flags.intersects(ACK) {
            return answer;
        }
        let acknowledgment = tcp.sequence.wrapping_add(numbers(tcp));
        TcpFields { flags: RST | ACK, sequence: 0, acknowledgment, ..answer }
    }

    fn receive_opening(&mut self, tcp: &TcpFields) -> Vec<TcpFields> {
        if !self.accepts(tcp) {
            let is_answered = tcp.flags.intersects(ACK) && !tcp.flags.intersects(RST | SYN);
            let is_old =
                behind(tcp.acknowledgment, self.manner.first) || behind(self.highest, tcp.acknowledgment);
            return if is_answered && is_old { vec![self.refusal(tcp)] } else { Vec::new() };
        }
        if tcp.flags.intersects(RST) {
            self.phase = Phase::Closed;
            return Vec::new();
        }
        self.expected = tcp.sequence.wrapping_add(1);
        self.edge = self.expected;
        self.peer_scale = tcp.window_scale;
        (self.peer_window, self.peer_window_max) = (tcp.window.into(), tcp.window.into());
        if tcp.flags.intersects(ACK) {
            self.phase = Phase::Open;
            self.unacknowledged = tcp.acknowledgment;
            let mut answers = vec![self.acknowledge()];
            answers.extend(self.send());
            return answers;
        }
        self.phase = Phase::SynReceived;
        (self.next, self.highest) = (self.manner.first.wrapping_add(1), self.manner.first.wrapping_add(1));
        vec![self.segment(SYN | ACK, self.manner.first, 0)]
    }

    fn take_acknowledgment(&mut self, tcp: &TcpFields) {
        if behind(tcp.acknowledgment, self.unacknowledged) {
            return;
        }
        self.unacknowledged = tcp.acknowledgment;
        if behind(self.next, self.unacknowledged) {
            self.next = self.unacknowledged;
        }
        let shift = if self.are_scaled() { self.peer_scale.unwrap() } else { 0 };
        self.peer_window = u32::from(tcp.window) << shift;
        self.peer_window_max = self.peer_window_max.max(self.peer_window);
    }

    fn take_numbers(&mut self, tcp: &TcpFields) {
        let end = tcp.sequence.wrapping_add(tcp.payload_bytes);
        if tcp.flags.intersects(FIN) {
            self.peer_end = Some(end.wrapping_add(1));
        }
        // Not beyond the window.
        let end = end.wrapping_add(u32::from(tcp.flags.intersects(FIN)));
        let end = if behind(self.edge, end) { self.edge } else { end };
        self.early.push((tcp.sequence, end));
        while let Some(at) = self
            .early
            .iter()
            .position(|(from, end)| !behind(self.expected, *from) && behind(self.expected, *end))
        {
            let (_, end) = self.early.swap_remove(at);
            let bytes = end.wrapping_sub(self.expected);
            self.unread_bytes = (self.unread_bytes + bytes).min(self.manner.buffer_bytes);
            self.expected = end;
        }
        self.early.retain(|(_, end)| behind(self.expected, *end));
    }
}
