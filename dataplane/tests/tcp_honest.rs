//! Two honest ends talk through the state of a connection, over a network that loses, repeats, delays and reorders on all
//! four ways: nothing is dropped that its receiver would have accepted, and nothing that an attacker sends without
//! knowing the numbers gets through or does harm.
//!
//! `MESHGATE_EXCHANGES` sets the number of exchanges, `MESHGATE_EXCHANGE_SEED` the first one's seed.
#![expect(clippy::unwrap_used, reason = "the whole file is a test")]

#[path = "state/endpoint.rs"]
mod endpoint;

use endpoint::{Endpoint, Manner, Phase};
use meshgate_dataplane::flow_table::{Connection, Sender, Step, TcpState};
use meshgate_dataplane::packet::{TcpFields, TcpFlags};
use meshgate_policy::generate::Rng;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Exchanges of each test.
const EXCHANGES: u64 = 3_000;
/// Events after which an exchange must be over.
const EVENTS_MAX: usize = 200_000;
/// Longest delay of a way that is not exceptionally slow.
const DELAY_MAX: u64 = 40;
/// Time from one look of an end at its timers to the next.
const TIMER: u64 = 150;

/// Something that happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A segment of this side gets to the host between the ends.
    Passes(usize, TcpFields),
    /// And to the other end, or would have, had it not been dropped in this state.
    Arrives { from: usize, tcp: TcpFields, dropped_in: Option<Option<Connection>> },
    /// An end looks at its timers.
    Timer(usize),
}

/// How the network behaves.
#[derive(Clone, Copy)]
struct Weather {
    loss_percent: u64,
    repeat_percent: u64,
    slow_percent: u64,
}

struct Exchange {
    random: Rng,
    weather: Weather,
    now: u64,
    events: BinaryHeap<Reverse<(u64, usize)>>,
    store: Vec<Event>,
    ends: [Endpoint; 2],
    connection: Option<Connection>,
    initiator: Sender,
    /// What was dropped of honest segments.
    dropped: usize,
    /// What passed of forged ones.
    forged_passed: usize,
}

fn sender(side: usize) -> Sender {
    if side == 0 { Sender::Low } else { Sender::High }
}

fn manner(random: &mut Rng) -> Manner {
    let firsts = [0, 1, u32::MAX, u32::MAX - 5_000, 0x7fff_ff00, 0x8000_0000];
    let first = if random.chance(50) {
        firsts[random.index(firsts.len())]
    } else {
        u32::try_from(random.next_u64() >> 32).unwrap()
    };
    let buffers = [1, 500, 2_000, 65_535, 200_000, 2_000_000];
    let pieces = [1u32, 100, 536, 1_460, 65_535];
    let piece_bytes_max = pieces[random.index(pieces.len())];
    let sizes = [0u32, 1, 1_000, 30_000, 300_000];
    let buffer_bytes = buffers[random.index(buffers.len())];
    // Not more segments than an exchange has time for.
    let bytes_max = piece_bytes_max.saturating_mul(200);
    let bytes = sizes[random.index(sizes.len())].min(bytes_max);
    let scale = random.chance(60).then(|| u8::try_from(random.below(15)).unwrap());
    Manner { first, bytes, piece_bytes_max, buffer_bytes, scale }
}

impl Exchange {
    fn new(seed: u64) -> Self {
        let mut random = Rng::new(seed);
        let mut manners = [manner(&mut random), manner(&mut random)];
        for at in 0..2 {
            // A window of a few bytes takes a segment for each.
            let most = manners[1 - at].buffer_bytes.saturating_mul(100);
            manners[at].bytes = manners[at].bytes.min(most);
        }
        let ends = manners.map(|manner| {
            let rounding = manner.scale.map_or(0, |shift| (1u32 << shift) - 1);
            let manner = Manner { buffer_bytes: manner.buffer_bytes.max(2 * rounding), ..manner };
            Endpoint::new(manner, Rng::new(random.next_u64()))
        });
        let weather = Weather {
            loss_percent: [0, 0, 3, 15][random.index(4)],
            repeat_percent: [0, 2, 10][random.index(3)],
            slow_percent: [0, 2, 10][random.index(3)],
        };
        Self {
            random,
            weather,
            now: 0,
            events: BinaryHeap::new(),
            store: Vec::new(),
            ends,
            connection: None,
            initiator: Sender::Low,
            dropped: 0,
            forged_passed: 0,
        }
    }

    fn at(&mut self, time: u64, event: Event) {
        self.events.push(Reverse((time, self.store.len())));
        self.store.push(event);
    }

    /// Sends an event over a way of the network.
    fn travel(&mut self, event: Event) {
        let copies = if self.random.chance(self.weather.loss_percent) { 0 } else { 1 }
            + u64::from(self.random.chance(self.weather.repeat_percent));
        for _ in 0..copies {
            let is_slow = self.random.chance(self.weather.slow_percent);
            let delay = 1 + self.random.below(if is_slow { DELAY_MAX * 20 } else { DELAY_MAX });
            self.at(self.now + delay, event);
        }
    }

    fn send(&mut self, from: usize, segments: impl IntoIterator<Item = TcpFields>) {
        segments.into_iter().for_each(|tcp| self.travel(Event::Passes(from, tcp)));
    }

    /// Lets the host between the ends judge a segment; returns whether it passes.
    fn judge(&mut self, from: usize, tcp: &TcpFields) -> bool {
        let from = sender(from);
        let is_syn = tcp.flags.0 & (TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST).0 == TcpFlags::SYN.0;
        let step = match &mut self.connection {
            Some(connection) => connection.step(tcp, from, self.initiator),
            None if is_syn => Step::Restart,
            None => Step::Invalid,
        };
        if step == Step::Restart {
            self.connection = Some(Connection::opened(tcp, from));
            self.initiator = from;
        }
        step != Step::Invalid
    }

    /// Takes the next thing that happens.
    fn next(&mut self, seed: u64) {
        let Reverse((time, at)) = self.events.pop().expect("timers go on");
        self.now = time;
        match self.store[at] {
            Event::Passes(from, tcp) => {
                let before = self.connection;
                let was_dropped = !self.judge(from, &tcp);
                self.dropped += usize::from(was_dropped);
                let dropped_in = was_dropped.then_some(before);
                self.travel(Event::Arrives { from, tcp, dropped_in });
            }
            Event::Arrives { from, tcp, dropped_in: Some(connection) } => {
                let receiver = &self.ends[1 - from];
                // The one exception: the answer to a SYN was lost before the host, and a bare ACK came in its place. A
                // receiver that waits for the answer takes nothing from it; one that has got it later takes nothing new.
                let comes_before_answer = connection.is_some_and(|one| one.state() == TcpState::SynSent)
                    && tcp.flags == TcpFlags::ACK
                    && tcp.payload_bytes == 0;
                assert!(
                    comes_before_answer || !receiver.accepts(&tcp),
                    "seed {seed}: dropped {tcp:?}\nof side {from}, which {receiver:#?}\nwould have accepted: {connection:#?}"
                );
            }
            Event::Arrives { from, tcp, dropped_in: None } => {
                let answers = self.ends[1 - from].receive(&tcp);
                self.send(1 - from, answers);
            }
            Event::Timer(side) => {
                self.ends[side].read();
                let segments = self.ends[side].repeat();
                self.send(side, segments);
                let segments = self.ends[side].send();
                self.send(side, segments);
                let pause = TIMER / 2 + self.random.below(TIMER);
                self.at(self.now + pause, Event::Timer(side));
            }
        }
    }

    fn begin(&mut self, opens_both: bool) {
        for side in 0..2 {
            if side == 0 || opens_both {
                let syn = self.ends[side].open();
                self.send(side, [syn]);
            }
            self.at(self.now + TIMER, Event::Timer(side));
        }
    }

    fn is_done(&self) -> bool {
        self.ends.iter().all(Endpoint::is_done)
    }
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn seeds() -> std::ops::Range<u64> {
    let first = from_environment("MESHGATE_EXCHANGE_SEED", 1);
    first..first + from_environment("MESHGATE_EXCHANGES", EXCHANGES)
}

#[test]
fn nothing_is_dropped_that_an_honest_receiver_would_accept() {
    let (mut events, mut dropped) = (0, 0);
    for seed in seeds() {
        let mut exchange = Exchange::new(seed);
        let opens_both = exchange.random.chance(10);
        exchange.begin(opens_both);
        let mut left = EVENTS_MAX;
        while !exchange.is_done() {
            exchange.next(seed);
            left -= 1;
            let (ends, connection) = (&exchange.ends, &exchange.connection);
            assert!(left > 0, "seed {seed}: does not end: {ends:#?}\n{connection:#?}");
        }
        let state = exchange.connection.unwrap().state();
        assert_eq!(state, TcpState::Closed, "seed {seed}");
        events += EVENTS_MAX - left;
        dropped += exchange.dropped;
    }
    println!("{events} events, {dropped} honest segments dropped that no receiver would have accepted");
}

#[test]
fn a_connection_that_one_end_aborts_ends_for_both() {
    for seed in seeds() {
        let mut exchange = Exchange::new(seed);
        exchange.begin(false);
        let aborts_at = exchange.random.below(400);
        let aborting = exchange.random.index(2);
        let mut has_aborted = false;
        for _ in 0..20_000 {
            if exchange.ends.iter().all(|end| matches!(end.phase, Phase::Closed | Phase::Listen))
                || exchange.is_done()
            {
                break;
            }
            let is_open = exchange.ends[aborting].phase == Phase::Open;
            if exchange.now >= aborts_at && is_open && !has_aborted {
                let reset = exchange.ends[aborting].abort();
                exchange.send(aborting, [reset]);
                has_aborted = true;
            }
            exchange.next(seed);
        }
        let [one, other] = &exchange.ends;
        let is_over = [one, other].iter().all(|end| end.phase != Phase::Open) || exchange.is_done();
        assert!(is_over, "seed {seed}: {one:#?} {other:#?} {:#?}", exchange.connection);
    }
}

/// Returns a segment of somebody who knows addresses and ports only.
fn forged(random: &mut Rng) -> TcpFields {
    let kinds = [
        TcpFlags::ACK,
        TcpFlags::ACK | TcpFlags::PSH,
        TcpFlags::RST,
        TcpFlags::RST | TcpFlags::ACK,
        TcpFlags::FIN | TcpFlags::ACK,
        TcpFlags::SYN,
        TcpFlags::SYN | TcpFlags::ACK,
    ];
    let number = |random: &mut Rng| u32::try_from(random.next_u64() >> 32).unwrap();
    let flags = kinds[random.index(kinds.len())];
    TcpFields {
        segment_bytes_max: None,
        flags,
        sequence: number(random),
        acknowledgment: if flags.intersects(TcpFlags::ACK) { number(random) } else { 0 },
        window: u16::try_from(random.below(65_536)).unwrap(),
        window_scale: flags.intersects(TcpFlags::SYN).then_some(14),
        payload_bytes: if flags.intersects(TcpFlags::SYN | TcpFlags::RST) { 0 } else { 1_000 },
    }
}

#[test]
fn a_blind_attacker_gets_nothing_through_and_the_honest_connection_survives() {
    let (mut sent, mut passed) = (0, 0);
    for seed in seeds() {
        let mut exchange = Exchange::new(seed);
        exchange.begin(false);
        let mut left = EVENTS_MAX;
        while !exchange.is_done() {
            exchange.next(seed);
            left -= 1;
            assert!(
                left > 0,
                "seed {seed}: does not end: {} {:#?}\n{:#?}",
                exchange.now,
                exchange.ends,
                exchange.connection
            );
            // What is over may begin anew, also by a forged SYN.
            let is_over = exchange.connection.is_some_and(|one| one.state() == TcpState::Closed);
            let both_open = exchange.ends.iter().all(|end| end.phase == Phase::Open);
            if is_over || !both_open || exchange.random.chance(80) {
                continue;
            }
            let from = exchange.random.index(2);
            let tcp = forged(&mut exchange.random);
            sent += 1;
            if exchange.judge(from, &tcp) {
                let is_reset = tcp.flags.intersects(TcpFlags::RST);
                let is_challenged = is_reset || tcp.flags == TcpFlags::SYN;
                exchange.forged_passed += usize::from(is_reset);
                assert!(is_challenged, "seed {seed}: {tcp:?} passed {:#?}", exchange.connection);
                exchange.travel(Event::Arrives { from, tcp, dropped_in: None });
            }
        }
        passed += exchange.forged_passed;
    }
    println!("{sent} forged segments, {passed} resets of them hit a window and were challenged");
}
