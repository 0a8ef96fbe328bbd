//! One flow.
//!
//! Of a million flows each packet finds its own out of reach of the caches, and waits for what it reads of it. So a flow is two
//! cache lines: the first one is what finds it and what it stands on, the second one what packets change. Times have 32
//! bits, what many flows rest on is a number, and what no packet asks for lies elsewhere ([`Seldom`]).

use super::moment;
use super::pace::{Pace, PackedPace};
use super::standing::NONE;
use super::{FlowKey, FlowState, Sender, Standing, Timeouts};
use crate::classifier::Judgement;
use crate::meter::side_index;
use meshgate_policy::{Action, L4Key, PolicyVersion, Protocol, RuleId, SegmentId, Stage};

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

/// How a flow begins.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    /// Its name.
    pub key: FlowKey,
    /// The side that began it.
    pub initiator: Sender,
    /// Where it stands.
    pub state: FlowState,
    /// How it was judged.
    pub grounds: FlowGrounds,
    /// What it is judged by at layer 4: the ports, or ICMP type and code, of the initiator's packets.
    pub l4: L4Key,
    /// Whether the initiator's device, and the other's, are of this host.
    pub are_home: (bool, bool),
    /// Whether it is one of those that are recorded.
    pub is_sampled: bool,
    /// When it begins, nanoseconds since 1970.
    pub now_ns: u64,
}

/// A two-way exchange, in its place in the table.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(128))]
pub struct Flow {
    // What finds it and what it stands on: the first cache line.
    /// The addresses of its key.
    addresses: [u64; 4],
    /// The ports of its key.
    ports: [u16; 2],
    segment: SegmentId,
    protocol: Protocol,
    /// Standing and yes-or-no; see the constants.
    marks: u8,
    /// Next flow with the same list head, or next free place.
    pub(super) next: u32,
    /// The one that came before of the same standing, and the one that came after, where those stand in a list.
    pub(super) older: u32,
    pub(super) newer: u32,
    /// Number of its grounds.
    pub(super) grounds: u32,
    /// Time of the last packet.
    last: u32,
    /// Devices to which packets of the low and the high side were last delivered, where the marks say so.
    delivered: [u8; 2],
    /// More of yes-or-no.
    remarks: u8,
    /// The upper bits of [`Seldom::first`].
    first_above: u8,
    // What packets change: the second one.
    /// Where it stands.
    pub state: FlowState,
    /// Counts of the low and the high side's packets.
    paces: [PackedPace; 2],
}

const _: () = assert!(size_of::<Flow>() == 2 * 64);
const _: () = assert!(std::mem::offset_of!(Flow, state) == 64);

/// What is seldom asked of a flow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seldom {
    /// Time of the first packet.
    first: u32,
    /// When it was last reported while going on.
    reported: u32,
    /// Of TCP: payload of the longest segment that the low and the high side take, as their SYNs said; 0 = unsaid. Of
    /// ICMP: type and code of the packet that began the exchange.
    said: [u16; 2],
}

/// The bits of `marks` that hold the standing; all of them set where there is no flow.
const STANDING: u8 = 0b111;
/// Whether the high side began it.
const HIGH_BEGAN: u8 = 1 << 3;
/// Whether the device of the side that began it is of this host.
const SOURCE_IS_HOME: u8 = 1 << 4;
/// Likewise of the other side.
const DESTINATION_IS_HOME: u8 = 1 << 5;
/// Whether it is known where packets of the low side went; of the high side, one bit above.
const LOW_DELIVERED: u8 = 1 << 6;
/// Of `remarks`: whether the flow is one of those that are recorded.
const SAMPLED: u8 = 1;
/// Of `remarks`: whether a packet has come since it was reported.
const NEWS: u8 = 1 << 1;

impl Flow {
    const FREE: Self = Self {
        addresses: [0; 4],
        ports: [0; 2],
        segment: SegmentId(0),
        protocol: Protocol(0),
        marks: STANDING,
        next: NONE,
        older: NONE,
        newer: NONE,
        grounds: 0,
        last: 0,
        delivered: [0; 2],
        remarks: 0,
        first_above: 0,
        state: FlowState::Refused,
        paces: [PackedPace::EMPTY; 2],
    };

    /// Returns the place of no flow, and behind it the next one.
    pub(super) fn free(next: u32) -> Self {
        Self { next, ..Self::FREE }
    }

    /// Makes this the place of no flow, and behind it the next one. The rest stays as it is: nobody looks.
    pub(super) fn set_free(&mut self, next: u32) {
        (self.marks, self.next) = (STANDING, next);
    }

    /// Begins a flow here, field by field, with its links and what it rests on. The table gives it its standing.
    pub(super) fn begin(&mut self, beginning: &Beginning, (next, grounds): (u32, u32)) {
        let mark = |bit: u8, is_set: bool| if is_set { bit } else { 0 };
        (self.addresses, self.ports) = beginning.key.numbers();
        (self.segment, self.protocol) = (beginning.key.segment(), beginning.key.protocol());
        self.marks = mark(HIGH_BEGAN, beginning.initiator == Sender::High)
            | mark(SOURCE_IS_HOME, beginning.are_home.0)
            | mark(DESTINATION_IS_HOME, beginning.are_home.1);
        self.remarks = mark(SAMPLED, beginning.is_sampled);
        (self.next, self.grounds) = (next, grounds);
        self.last = moment::short(beginning.now_ns);
        (_, self.first_above) = moment::long(beginning.now_ns);
        self.state = beginning.state;
        self.paces = [PackedPace::EMPTY; 2];
    }

    /// Returns whether there is a flow.
    pub(super) fn is_free(&self) -> bool {
        self.marks & STANDING == STANDING
    }

    /// Returns its standing in the table.
    #[inline]
    pub(super) fn standing(&self) -> Standing {
        Standing::at(self.marks & STANDING)
    }

    pub(super) fn set_standing(&mut self, standing: Standing) {
        self.marks = (self.marks & !STANDING) | standing.number();
    }

    /// Returns whether this is its name.
    #[inline]
    pub(super) fn is_named(&self, key: &FlowKey) -> bool {
        self.addresses == key.numbers().0
            && self.ports == key.numbers().1
            && self.segment == key.segment()
            && self.protocol == key.protocol()
    }

    /// Returns its name.
    pub fn key(&self) -> FlowKey {
        FlowKey::of_numbers(self.addresses, self.ports, (self.segment, self.protocol))
    }

    /// Returns the protocol.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Returns the side that sent the first packet.
    #[inline]
    pub fn initiator(&self) -> Sender {
        if self.marks & HIGH_BEGAN == 0 { Sender::Low } else { Sender::High }
    }

    /// Returns whether the devices of the side that began it, and of the other one, are of this host.
    pub fn are_home(&self) -> (bool, bool) {
        (self.marks & SOURCE_IS_HOME != 0, self.marks & DESTINATION_IS_HOME != 0)
    }

    /// Returns whether it is one of those that are recorded.
    pub fn is_sampled(&self) -> bool {
        self.remarks & SAMPLED != 0
    }

    /// Returns whether packets have come since it was reported, and takes note that it is reported.
    pub fn take_news(&mut self) -> bool {
        let has_news = self.remarks & NEWS != 0;
        self.remarks &= !NEWS;
        has_news
    }

    /// Returns packets, bytes and flags of what a side sent.
    pub fn pace(&self, side: Sender) -> Pace {
        self.paces[side_index(side)].pace()
    }

    /// Counts a packet of a side.
    #[inline]
    pub fn count(&mut self, side: Sender, bytes: u32, tcp_flags: u8, now_ns: u64) {
        self.paces[side_index(side)].count(bytes, tcp_flags);
        // Written only where it says something new, as what is written must go back to memory.
        if self.remarks & NEWS == 0 {
            self.remarks |= NEWS;
        }
        self.last = moment::short(now_ns);
    }

    /// Begins the time anew after which its silence ends it.
    pub fn touch(&mut self, now_ns: u64) {
        self.last = moment::short(now_ns);
    }

    /// Returns the time of the last packet, as a whole millisecond.
    pub fn last_ns(&self, now_ns: u64) -> u64 {
        moment::of_short(self.last, now_ns)
    }

    /// Returns whether packets of this side were last delivered to this device.
    #[inline]
    pub fn was_delivered_to(&self, side: Sender, device: u16) -> bool {
        let at = side_index(side);
        self.marks & (LOW_DELIVERED << at) != 0 && u16::from(self.delivered[at]) == device
    }

    /// Takes note of where a packet of a side goes; of none, if it goes to several.
    #[inline]
    pub fn deliver(&mut self, side: Sender, device: Option<u16>) {
        let at = side_index(side);
        match device.and_then(|device| u8::try_from(device).ok()) {
            // Mostly it is as before, and nothing is written.
            Some(device) if self.was_delivered_to(side, device.into()) => {}
            Some(device) => (self.delivered[at], self.marks) = (device, self.marks | (LOW_DELIVERED << at)),
            None => self.marks &= !(LOW_DELIVERED << at),
        }
    }

    /// Returns when the flow ends if nothing more comes.
    pub fn idle_at_ns(&self, timeouts: &Timeouts, now_ns: u64) -> u64 {
        self.last_ns(now_ns).saturating_add(timeouts.of(&self.state, self.protocol))
    }

    /// Returns the ports of its initiator's packets.
    pub(super) fn ports_of_initiator(&self) -> L4Key {
        let [low, high] = self.ports;
        let (source, destination) = if self.initiator() == Sender::Low { (low, high) } else { (high, low) };
        L4Key { protocol: self.protocol, source_port: source, destination_port: destination }
    }

    /// Returns the time of the first packet, as a whole millisecond.
    pub(super) fn first_ns(&self, seldom: &Seldom, now_ns: u64) -> u64 {
        moment::of_long((seldom.first, self.first_above), now_ns)
    }
}

/// A device's number fits into a byte.
const _: () = assert!(crate::switch::DEVICES_MAX <= 1 << u8::BITS);

impl Seldom {
    /// Returns what is seldom asked of a flow that begins.
    pub(super) fn of(beginning: &Beginning) -> Self {
        let Beginning { l4, now_ns, .. } = beginning;
        let said = if l4.protocol.is_icmp() { [l4.source_port, l4.destination_port] } else { [0; 2] };
        Self { first: moment::long(*now_ns).0, reported: moment::short(*now_ns), said }
    }

    /// Returns when the flow was last reported, or began.
    pub(super) fn reported_ns(&self, now_ns: u64) -> u64 {
        moment::of_short(self.reported, now_ns)
    }

    /// Takes note that the flow is reported.
    pub(super) fn set_reported(&mut self, now_ns: u64) {
        self.reported = moment::short(now_ns);
    }

    /// Returns what was said, by side, or of ICMP by type and code.
    pub(super) fn said(&self) -> [u16; 2] {
        self.said
    }

    /// Takes note of what a SYN of a side said.
    pub(super) fn say(&mut self, side: Sender, bytes: u16) {
        self.said[side_index(side)] = bytes;
    }
}
