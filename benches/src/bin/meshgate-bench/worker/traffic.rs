//! Four kinds of traffic: frames that begin, continue, or are refused, and what a worker must make of them.
//!
//! A flow is a number: the lowest bit says TCP or UDP, the next ones client and server, the rest the client's port.
//! Frames stand in an order drawn at random, so that flows are met in no order of memory.

use super::device::{FRAME_BYTES, FrameBytes, Load};
use super::policy::{ALLOWED_PORT, DEFAULT_PORT, DENIED_PORT, ENDPOINTS_OF_SIDE, address, mac};
use meshgate_dataplane::device::BURST_FRAMES;
use meshgate_dataplane::packet::{TcpFlags, build::Frame};
use meshgate_policy::generate::Rng;

/// Fewest frames of a list: so many that each part of mixed traffic stands in it in its true share.
const LIST_FRAMES_MIN: usize = 20 * BURST_FRAMES;
/// Of mixed traffic, one frame in so many of the clients' begins a flow: one in twenty of all.
const CLIENT_FRAMES_PER_BEGUN: usize = 10;
/// Of mixed traffic, the share of the table that is left to flows that begin: one in so many. Fewer than begin in a round, so that
/// each one is gone when its frame comes again.
const BEGUN_SHARE: usize = 16;
/// Bytes before the payload of a UDP datagram.
const UDP_HEADERS_BYTES: usize = 14 + 20 + 8;
/// Fewest flows that a table is made for.
const TABLE_FLOWS_MIN: usize = 16;

/// First client port of flows that are opened before, of flows that begin, and of attempts that are refused. Apart by more
/// than [`FLOWS_MAX`] needs.
const KNOWN_PORT: usize = 10_000;
const BEGUN_PORT: usize = 20_000;
const REFUSED_PORT: usize = 30_000;

/// Most flows that can be asked for.
pub const FLOWS_MAX: u32 = 1 << 22;
const _: () = assert!((FLOWS_MAX as usize >> 13) < BEGUN_PORT - KNOWN_PORT);

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Packets of flows that are known already, both directions
    Established,
    /// Each packet begins a flow that is allowed
    NewFlow,
    /// 95 % established, 5 % new
    Mixed,
    /// Each packet is refused, half by a rule and half by default
    Deny,
}

/// What a worker must make of one round of traffic, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Packets that are sent.
    pub allowed: u64,
    /// Of those, packets that begin a flow.
    pub begun: u64,
    /// Packets that a rule refuses.
    pub refused_by_rule: u64,
    /// Packets that are refused because no rule allows them.
    pub refused_by_default: u64,
}

/// Traffic to be measured.
pub struct Traffic {
    /// Flows that fit into the table.
    pub table_flows: usize,
    /// Flows that are opened before.
    pub known_flows: usize,
    /// What the clients' and the servers' device deliver, whole bursts; both the same number, or the servers' none.
    pub lists: [Vec<FrameBytes>; 2],
    /// What must become of one round of both lists.
    pub outcome: Outcome,
}

/// What a frame is in its flow.
#[derive(Clone, Copy)]
enum Part {
    /// The client's first word.
    Opening,
    /// The server's first word.
    Answer,
    /// Whatever the client sends after that.
    OfClient,
    /// Whatever the server sends after that.
    OfServer,
}

impl Kind {
    /// Returns the name as it stands in a bar.
    pub fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::NewFlow => "new_flow",
            Self::Mixed => "mixed",
            Self::Deny => "deny",
        }
    }

    /// Returns this traffic at so many flows in the table.
    ///
    /// The table is full whenever a flow begins: that it takes the place of the oldest unanswered one is part of what
    /// a new flow costs, since no table takes new ones for ever.
    pub fn traffic(self, flows: usize, rng: &mut Rng) -> Traffic {
        let known_flows = match self {
            Self::Established | Self::Deny => flows,
            // Flows whose sides have not both answered fill at most half of the table.
            Self::NewFlow => flows / 2,
            Self::Mixed => (flows - flows / BEGUN_SHARE).max(1),
        };
        let known = |part: Part| move |flow: usize| frame(flow, KNOWN_PORT, ALLOWED_PORT, part);
        let (clients, servers) = match self {
            Self::Established => {
                let frames = whole_bursts(flows);
                (
                    list(flows, frames, rng, known(Part::OfClient)),
                    list(flows, frames, rng, known(Part::OfServer)),
                )
            }
            Self::NewFlow => (list(whole_bursts(flows), whole_bursts(flows), rng, begun), Vec::new()),
            Self::Mixed => {
                let frames = known_flows * CLIENT_FRAMES_PER_BEGUN / (CLIENT_FRAMES_PER_BEGUN - 1);
                // A multiple of both the burst and the share.
                let frames =
                    frames.next_multiple_of(CLIENT_FRAMES_PER_BEGUN * BURST_FRAMES).max(LIST_FRAMES_MIN);
                let mut clients = list(known_flows, frames, rng, known(Part::OfClient));
                for (flow, place) in clients.iter_mut().step_by(CLIENT_FRAMES_PER_BEGUN).enumerate() {
                    *place = begun(flow);
                }
                (clients, list(known_flows, frames, rng, known(Part::OfServer)))
            }
            Self::Deny => (list(whole_bursts(flows), whole_bursts(flows), rng, refused), Vec::new()),
        };
        let outcome = self.outcome(clients.len() as u64, servers.len() as u64);
        Traffic { table_flows: flows.max(TABLE_FLOWS_MIN), known_flows, lists: [clients, servers], outcome }
    }

    /// Returns what must become of so many frames of clients and servers.
    fn outcome(self, clients: u64, servers: u64) -> Outcome {
        let allowed = clients + servers;
        match self {
            Self::Established => Outcome { allowed, ..Outcome::default() },
            Self::NewFlow => Outcome { allowed, begun: clients, ..Outcome::default() },
            Self::Mixed => {
                Outcome { allowed, begun: clients / CLIENT_FRAMES_PER_BEGUN as u64, ..Outcome::default() }
            }
            Self::Deny => {
                let half = clients / 2;
                Outcome { refused_by_rule: half, refused_by_default: half, ..Outcome::default() }
            }
        }
    }
}

impl Traffic {
    /// Returns how many packets a round is.
    pub fn packets(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }

    /// Returns how many turns of the worker a round is.
    pub fn turns(&self) -> usize {
        self.lists[0].len() / BURST_FRAMES
    }

    /// Returns both lists as endless loads.
    pub fn loads(&self) -> [Load; 2] {
        self.lists.clone().map(|frames| Load { frames, is_endless: true })
    }

    /// Returns what opens the known flows, part by part: each is done in two turns, the first one with the frames of
    /// both sides, the second one with those of the clients alone. No part has more flows than may be unanswered at once.
    pub fn openings(&self) -> impl Iterator<Item = [Vec<FrameBytes>; 3]> {
        let (known, part_flows) = (self.known_flows, BURST_FRAMES.min(self.table_flows / 4));
        (0..known).step_by(part_flows).map(move |first| {
            let flows = first..known.min(first + part_flows);
            [Part::Opening, Part::Answer, Part::OfClient]
                .map(|part| flows.clone().map(|flow| frame(flow, KNOWN_PORT, ALLOWED_PORT, part)).collect())
        })
    }
}

/// Returns for so many flows how many frames a list has.
fn whole_bursts(flows: usize) -> usize {
    flows.next_multiple_of(BURST_FRAMES).max(LIST_FRAMES_MIN)
}

/// Returns a list of so many frames: those of all flows in an order drawn at random, again and again.
fn list(flows: usize, frames: usize, rng: &mut Rng, frame: impl Fn(usize) -> FrameBytes) -> Vec<FrameBytes> {
    let mut order: Vec<usize> = (0..flows).collect();
    for at in (1..flows).rev() {
        order.swap(at, rng.index(at + 1));
    }
    order.into_iter().cycle().take(frames).map(frame).collect()
}

fn begun(flow: usize) -> FrameBytes {
    frame(flow, BEGUN_PORT, ALLOWED_PORT, Part::Opening)
}

fn refused(flow: usize) -> FrameBytes {
    // By the second bit, so that both ends are of both protocols.
    let service = if flow & 2 == 0 { DENIED_PORT } else { DEFAULT_PORT };
    frame(flow, REFUSED_PORT, service, Part::Opening)
}

/// Returns a frame of a flow.
fn frame(flow: usize, first_port: usize, service: u16, part: Part) -> FrameBytes {
    let client = (flow >> 1) % ENDPOINTS_OF_SIDE;
    let server = (flow >> 1) / ENDPOINTS_OF_SIDE % ENDPOINTS_OF_SIDE;
    let port = first_port + (flow >> 1) / (ENDPOINTS_OF_SIDE * ENDPOINTS_OF_SIDE);
    let port = u16::try_from(port).expect("ports are left for as many flows as can be asked for");
    let is_of_client = matches!(part, Part::Opening | Part::OfClient);
    let turned = |pair: (u16, u16)| if is_of_client { pair } else { (pair.1, pair.0) };
    let (from, to) = if is_of_client { ((0, client), (1, server)) } else { ((1, server), (0, client)) };
    let (source, destination) = turned((port, service));
    let frame = Frame::between(mac(from.0, from.1), mac(to.0, to.1))
        .ip(address(from.0, from.1).into(), address(to.0, to.1).into());
    let frame = if flow.is_multiple_of(2) {
        let (flags, sequence, acknowledgment) = match part {
            Part::Opening => (TcpFlags::SYN, 0, 0),
            Part::Answer => (TcpFlags::SYN | TcpFlags::ACK, 0, 1),
            Part::OfClient | Part::OfServer => (TcpFlags::ACK, 1, 1),
        };
        // No payload: what repeats data forever is no connection. Padded, as short segments are.
        frame
            .tcp(source, destination, flags)
            .numbers(sequence, acknowledgment, u16::MAX)
            .padded_to(FRAME_BYTES)
    } else {
        frame.udp(source, destination).payload(&[0x55; FRAME_BYTES - UDP_HEADERS_BYTES])
    };
    frame.bytes().try_into().expect("all frames are written at the same length")
}
