//! Random exchanges of two honest ends, with tricks of somebody else in between.
//!
//! The ends are played by their numbers alone: each segment arrives at once. A trick changes nothing at the ends, so that
//! what follows is as honest as before; where a trick makes the two judges hold different states though both gave the
//! same verdict, the exchange ends behind it.

use crate::generator::Random;
use meshgate_dataplane::packet::TcpFlags;
use std::fmt;

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const FIN: TcpFlags = TcpFlags::FIN;
const RST: TcpFlags = TcpFlags::RST;
const PSH: TcpFlags = TcpFlags::PSH;

/// The window that both ends offer in their SYNs.
const WINDOW: u16 = 64_240;
/// A window scale option of 7, and the window that is as large with it.
const SCALE_7: &[u8] = &[1, 3, 3, 7];
const WINDOW_SCALED: u16 = 502;
/// Farther away than any window.
const FAR: u32 = 500_000;

/// A segment.
#[derive(Clone, Debug)]
pub struct Segment {
    /// What it is, in words.
    pub what: &'static str,
    /// Whether an end would send it.
    pub is_honest: bool,
    /// 0: from the client, 1: from the server.
    pub side: usize,
    /// Port of the server.
    pub server_port: u16,
    pub flags: TcpFlags,
    pub sequence: u32,
    pub acknowledgment: u32,
    pub window: u16,
    pub options: &'static [u8],
    pub payload_bytes: u32,
    pub is_checksum_wrong: bool,
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.side == 0 { "C" } else { "S" };
        let Self { what, flags, sequence, acknowledgment, window, payload_bytes, .. } = self;
        write!(f, "{side} {flags:?} {sequence}+{payload_bytes} ack {acknowledgment} win {window}  # {what}")
    }
}

/// Segments in their order.
pub type Exchange = Vec<Segment>;

/// Two ends, and what they have sent.
struct Ends<'a> {
    random: &'a mut Random,
    sent: Exchange,
    /// The first number of each end.
    first: [u32; 2],
    /// The next number of each end: the other end has received all before.
    next: [u32; 2],
    is_scaled: bool,
    is_over: bool,
}

/// Returns an exchange.
pub fn exchange(random: &mut Random) -> Exchange {
    let first = [(); 2].map(|()| number(random));
    let is_scaled = random.chance(50);
    let mut ends = Ends { random, sent: Vec::new(), first, next: first, is_scaled, is_over: false };
    if ends.random.chance(25) {
        ends.before();
    }
    ends.open();
    for _ in 0..ends.random.below(8) {
        if ends.is_over {
            break;
        }
        ends.carry();
        if ends.random.chance(50) {
            ends.trick();
        }
    }
    if !ends.is_over {
        ends.close();
    }
    ends.sent
}

/// Returns a first number, often one shortly before the end of all numbers.
fn number(random: &mut Random) -> u32 {
    let number = u32::try_from(random.below(1 << 32)).unwrap_or(0);
    if random.chance(30) { u32::MAX - number % 4_000 } else { number }
}

impl Ends<'_> {
    /// Returns the next segment of a side.
    fn segment(&self, what: &'static str, side: usize, flags: TcpFlags) -> Segment {
        let is_syn = flags.contains(SYN);
        let acknowledgment = if flags.contains(ACK) { self.next[1 - side] } else { 0 };
        Segment {
            what,
            is_honest: true,
            side,
            server_port: 80,
            flags,
            sequence: self.next[side],
            acknowledgment,
            window: if self.is_scaled && !is_syn { WINDOW_SCALED } else { WINDOW },
            options: if self.is_scaled && is_syn { SCALE_7 } else { &[] },
            payload_bytes: 0,
            is_checksum_wrong: false,
        }
    }

    /// Sends a segment of an end.
    fn send(&mut self, segment: Segment) {
        let numbers = |flag| u32::from(segment.flags.contains(flag));
        let behind = segment.sequence.wrapping_add(segment.payload_bytes + numbers(SYN) + numbers(FIN));
        if behind.wrapping_sub(self.next[segment.side]).cast_signed() > 0 {
            self.next[segment.side] = behind;
        }
        self.sent.push(segment);
    }

    /// Sends a segment of somebody else.
    fn forge(&mut self, mut segment: Segment, change: impl FnOnce(&mut Segment)) {
        segment.is_honest = false;
        change(&mut segment);
        self.sent.push(segment);
    }

    fn side(&mut self) -> usize {
        usize::from(self.random.chance(50))
    }

    fn far(&mut self) -> u32 {
        FAR + u32::try_from(self.random.below(1 << 30)).unwrap_or(0)
    }

    /// What comes before anything was begun.
    fn before(&mut self) {
        let (client, server) = (0, 1);
        match self.random.below(8) {
            0 => self.forge(self.segment("a stray ACK of the client", client, ACK), |s| s.acknowledgment = 7),
            1 => self.forge(self.segment("a stray ACK of the server", server, ACK), |s| s.acknowledgment = 7),
            2 => self.forge(self.segment("a stray RST", client, RST), |_| ()),
            3 => self.forge(self.segment("a stray FIN", client, FIN | ACK), |_| ()),
            4 => self.forge(self.segment("a stray SYN-ACK", server, SYN | ACK), |_| ()),
            5 => self.forge(self.segment("a SYN of the server", server, SYN), |_| ()),
            6 => self
                .forge(self.segment("a SYN to a port that is denied", client, SYN), |s| s.server_port = 90),
            _ => self.forge(self.segment("a SYN with a wrong checksum", client, SYN), |s| {
                s.is_checksum_wrong = true;
            }),
        }
    }

    fn open(&mut self) {
        let (client, server) = (0, 1);
        self.send(self.segment("SYN", client, SYN));
        let again = |ends: &Self, side: usize, what| {
            let flags = if side == client { SYN } else { SYN | ACK };
            Segment { sequence: ends.first[side], ..ends.segment(what, side, flags) }
        };
        match self.random.below(12) {
            0 => self.send(again(self, client, "SYN again")),
            1 => self.forge(self.segment("data before the answer", client, ACK | PSH), |s| {
                s.acknowledgment = 9;
                s.payload_bytes = 10;
            }),
            2 => self.forge(self.segment("an answer to another SYN", server, SYN | ACK), |s| {
                s.acknowledgment = s.acknowledgment.wrapping_sub(5);
            }),
            3 => self.forge(self.segment("a forged RST in answer to the SYN", server, RST | ACK), |s| {
                s.acknowledgment = s.acknowledgment.wrapping_add(77);
            }),
            4 => self.forge(self.segment("data instead of an answer", server, ACK | PSH), |s| {
                s.payload_bytes = 10;
            }),
            5 => {
                self.send(self.segment("a closed port's RST", server, RST | ACK));
                self.is_over = true;
                return;
            }
            _ => {}
        }
        self.send(self.segment("SYN-ACK", server, SYN | ACK));
        match self.random.below(10) {
            0 => self.send(again(self, server, "SYN-ACK again")),
            1 => self.send(again(self, client, "SYN again behind SYN-ACK")),
            2 => self.forge(self.segment("a forged last ACK", client, ACK), |s| {
                s.acknowledgment = s.acknowledgment.wrapping_add(FAR);
            }),
            _ => {}
        }
        self.send(self.segment("ACK of the handshake", client, ACK));
    }

    /// Data of one end and the answer of the other.
    fn carry(&mut self) {
        let side = self.side();
        let bytes = 1 + u32::try_from(self.random.below(1_400)).unwrap_or(0);
        let data =
            |ends: &Self, what| Segment { payload_bytes: bytes, ..ends.segment(what, side, ACK | PSH) };
        let first = data(self, "data");
        self.send(first.clone());
        match self.random.below(8) {
            0 => self.send(Segment { what: "data again", ..first }),
            1 => {
                // The second of two is lost, and comes again behind the third and its answer.
                let lost = data(self, "lost data again");
                let ack = self.segment("an ACK in front of a hole", 1 - side, ACK);
                self.next[side] = self.next[side].wrapping_add(bytes);
                self.send(data(self, "data behind a hole"));
                self.send(ack);
                self.send(lost);
            }
            2 => self.send(data(self, "more data")),
            _ => {}
        }
        self.send(self.segment("ACK", 1 - side, ACK));
        match self.random.below(8) {
            0 => self.send(self.segment("ACK again", 1 - side, ACK)),
            1 => {
                let before = self.next[side].wrapping_sub(1);
                self.send(Segment { sequence: before, ..self.segment("a keep-alive", side, ACK) });
                self.send(self.segment("ACK of a keep-alive", 1 - side, ACK));
            }
            2 => self.send(Segment {
                what: "data again behind its ACK",
                acknowledgment: self.next[1 - side],
                ..first
            }),
            _ => {}
        }
    }

    /// What somebody else sends into a connection that stands.
    fn trick(&mut self) {
        let (side, far, client, server) = (self.side(), self.far(), 0, 1);
        let ahead = |s: &mut Segment| s.sequence = s.sequence.wrapping_add(far);
        let back = |s: &mut Segment| s.sequence = s.sequence.wrapping_sub(far);
        let data = Segment { payload_bytes: 10, ..self.segment("", side, ACK | PSH) };
        let data = |what| Segment { what, ..data.clone() };
        match self.random.below(20) {
            18 | 19 => {
                // The other end's window begins at what it has acknowledged, which is all that was sent.
                let window = if self.is_scaled { u32::from(WINDOW_SCALED) << 7 } else { WINDOW.into() };
                let beside = u32::try_from(self.random.below(5)).unwrap_or(0);
                self.forge(data("data at the edge of the window"), |s| {
                    s.sequence = s.sequence.wrapping_add(window - 2 + beside).wrapping_sub(s.payload_bytes);
                });
                // Where it passes, both take it for sent.
                self.is_over = true;
            }
            0 => self.forge(data("data far ahead"), ahead),
            1 => self.forge(data("data far behind"), back),
            2 => self.forge(data("data that acknowledges what was never sent"), |s| {
                s.acknowledgment = s.acknowledgment.wrapping_add(far);
            }),
            3 => self.forge(data("data that acknowledges what is long past"), |s| {
                s.acknowledgment = s.acknowledgment.wrapping_sub(far);
            }),
            4 => self.forge(self.segment("a RST far ahead", side, RST), ahead),
            5 => self.forge(self.segment("a RST far behind", side, RST), back),
            6 => self.forge(self.segment("a FIN far ahead", side, FIN | ACK), ahead),
            7 => self.forge(self.segment("an exact RST with a wrong checksum", side, RST), |s| {
                s.is_checksum_wrong = true;
            }),
            8 => self.forge(self.segment("a FIN with a wrong checksum", side, FIN | ACK), |s| {
                s.is_checksum_wrong = true;
            }),
            9 => self.forge(data("data with a wrong checksum"), |s| s.is_checksum_wrong = true),
            10 => self.forge(self.segment("SYN and FIN", side, SYN | FIN), |_| ()),
            11 => self.forge(self.segment("SYN and RST", side, SYN | RST), |_| ()),
            12 => self.forge(self.segment("no flags", side, TcpFlags::default()), |_| ()),
            13 => self.forge(self.segment("a FIN without ACK", side, FIN), |_| ()),
            14 => self.forge(self.segment("a SYN of the server in a connection", server, SYN), ahead),
            15 => self.forge(self.segment("a stray ACK in a connection", side, ACK), |s| {
                s.sequence = 9;
                s.acknowledgment = 9;
            }),
            16 => {
                self.forge(self.segment("a SYN of the client in a connection", client, SYN), ahead);
                // Both note its number, each in its way.
                self.is_over = true;
            }
            _ => {
                let inside = 1 + u32::try_from(self.random.below(30_000)).unwrap_or(0);
                self.forge(self.segment("a RST inside the window", side, RST), |s| {
                    s.sequence = s.sequence.wrapping_add(inside);
                });
                // To connection tracking this is the end, here it is not.
                self.is_over = true;
            }
        }
    }

    fn close(&mut self) {
        let side = self.side();
        let other = 1 - side;
        match self.random.below(6) {
            0 => return,
            1 => {
                let flags = if self.random.chance(50) { RST } else { RST | ACK };
                self.send(self.segment("an exact RST", side, flags));
                let late =
                    Segment { payload_bytes: 10, ..self.segment("data behind a RST", other, ACK | PSH) };
                self.forge(late, |_| ());
                return;
            }
            2 => {
                let fins = [side, other].map(|side| self.segment("FINs that cross", side, FIN | ACK));
                fins.into_iter().for_each(|fin| self.send(fin));
                for side in [side, other] {
                    self.send(self.segment("ACK of a crossed FIN", side, ACK));
                }
            }
            _ => {
                let fin = self.segment("FIN", side, FIN | ACK);
                self.send(fin.clone());
                if self.random.chance(20) {
                    self.send(Segment { what: "FIN again", ..fin });
                }
                self.send(self.segment("ACK of the FIN", other, ACK));
                for _ in 0..self.random.below(3) {
                    let data = self.segment("data into half a connection", other, ACK | PSH);
                    self.send(Segment { payload_bytes: 100, ..data });
                    self.send(self.segment("ACK of half a connection", side, ACK));
                }
                let last = self.segment("the second FIN", other, FIN | ACK);
                self.send(last.clone());
                let answer = self.segment("the last ACK", side, ACK);
                self.send(answer.clone());
                if self.random.chance(25) {
                    self.send(Segment { what: "the second FIN again", ..last });
                    self.send(Segment { what: "the last ACK again", ..answer });
                }
            }
        }
        self.reopen();
    }

    /// What comes behind the end of both directions.
    fn reopen(&mut self) {
        match self.random.below(4) {
            0 => {
                self.next[0] = self.next[0].wrapping_add(FAR);
                self.send(self.segment("a SYN for the next connection", 0, SYN));
            }
            1 => {
                let late =
                    Segment { payload_bytes: 10, ..self.segment("data behind both FINs", 0, ACK | PSH) };
                self.forge(late, |_| ());
            }
            2 => {
                let far = self.far();
                self.forge(self.segment("a stray ACK behind both FINs", 1, ACK), |s| {
                    s.sequence = s.sequence.wrapping_add(far);
                });
            }
            _ => {}
        }
    }
}
