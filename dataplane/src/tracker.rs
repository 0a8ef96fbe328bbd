//! Stage 4 and what follows from it: known flows go on by their verdict, unknown ones are judged by stages 5 to 7 and
//! taken in **after** their first packet was allowed.
//!
//! A flow remembers the policy version that judged it. When that is no longer the current one, its next packet, or
//! the wheel within ten seconds, has it judged again in its original direction; a flow that the new policy refuses is
//! cut and stays as `Refused`, so that neither side can revive it.

mod errors;
mod judged;
mod known;
mod parts;
mod pickup;
mod revisit;
mod segments;
mod settled;

pub use judged::Judged;
pub use parts::{FollowingPart, number_at_header};
pub use pickup::Pickup;

use crate::classifier::Judgement;
use crate::counters::WorkerCounters;
use crate::flow_table::{
    ACK, Beginning, FIN, FlowGrounds, FlowIndex, FlowKey, FlowState, FlowTable, KeyedHash, Match, RST, Room,
    SYN, Sender, Standing, Timeouts, Trail, is_init,
};
use crate::meter::{Meter, Refusal};
use crate::packet::IpPacket;
use crate::published::Published;
use crate::token_bucket::TokenBucket;
use crate::verdict::{DropReason, Grounds, Verdict};
use meshgate_policy::{Action, EndReason, PolicyKey, Protocol, RecordKind, SegmentId, Stage};
use std::sync::Arc;

/// How flows are kept.
#[derive(Clone, Debug)]
pub struct TrackerConfig {
    /// Silence after which a flow ends, by state.
    pub timeouts: Timeouts,
    /// How often a flow that goes on is reported.
    pub active_report_ns: u64,
    /// Whether and how long connections may be taken up in reverse.
    pub pickup: Pickup,
}

/// Where the flow of a packet is to be looked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowPlace {
    key: FlowKey,
    /// The side that sent the packet.
    sender: Sender,
    /// Hash of the key.
    hash: u64,
    /// How far the search has come.
    trail: Trail,
}

impl FlowPlace {
    /// Returns the place of a packet's flow in a table with this hash.
    pub fn of(segment: SegmentId, packet: &IpPacket, hash: &KeyedHash) -> Self {
        let (key, sender) = FlowKey::of(segment, packet);
        Self { key, sender, hash: hash.flow(&key), trail: Trail::default() }
    }
}

/// The flows of one worker.
pub struct Tracker {
    table: FlowTable,
    config: TrackerConfig,
    meter: Meter,
    counters: Arc<WorkerCounters>,
    /// Which worker this is: its place in [`Published::rules`].
    worker: usize,
    started_ns: u64,
    /// ICMP errors that may follow their flows.
    errors: TokenBucket,
}

impl Tracker {
    /// Returns a tracker without flows.
    pub fn new(
        table: FlowTable,
        config: TrackerConfig,
        meter: Meter,
        counters: Arc<WorkerCounters>,
        worker: usize,
    ) -> Self {
        Self { table, config, meter, counters, worker, started_ns: 0, errors: TokenBucket::default() }
    }

    /// Says when the worker started without the state of the connections that pass through it.
    pub fn start(&mut self, now_ns: u64) {
        self.started_ns = now_ns;
    }

    /// Returns where the flow of a packet is to be looked for, and asks for the memory there. Between this and
    /// [`Self::judge`] the caller does the same for other packets, so that their misses overlap.
    pub fn locate(&self, segment: SegmentId, packet: &IpPacket) -> FlowPlace {
        let place = FlowPlace::of(segment, packet, self.table.hash());
        self.table.prefetch_list(place.hash);
        place
    }

    /// Returns which of so many workers owns the flow: the same for both directions and for all ports.
    pub fn owner_of(&self, place: &FlowPlace, workers: usize) -> usize {
        if workers <= 1 { 0 } else { self.table.owner_of(&place.key, workers) }
    }

    /// Asks for the memory of the flow itself, once that of the place is there.
    #[inline]
    pub fn approach(&self, place: &mut FlowPlace) {
        place.trail = self.table.first_step(place.hash);
    }

    /// Looks whether what is there is the flow, and asks for the memory of the next one of its list if not: in a full
    /// table, of one packet in three. Returns whether the search is over.
    #[inline]
    pub fn come_closer(&self, place: &mut FlowPlace) -> bool {
        self.table.next_step(&place.key, &mut place.trail)
    }

    /// Returns the verdict on a packet that passed stages 1 to 3.
    pub fn judge(&mut self, packet: &Judged<'_>, place: &FlowPlace, published: &Published) -> Verdict {
        if packet.is_icmp_error() {
            return self.judge_error(packet, place, published);
        }
        if packet.is_stateless() {
            return self.judge_alone(packet, published);
        }
        let FlowPlace { key, sender, hash, trail } = *place;
        match self.table.at_end_of(trail, &key).or_else(|| self.table.find(&key, hash)) {
            Some(index) => self.known(Match { index, sender }, packet, published),
            None => self.unknown(key, sender, packet, published),
        }
    }

    /// Judges a packet that begins or continues nothing: ICMP that is neither echo request nor error.
    fn judge_alone(&mut self, packet: &Judged<'_>, published: &Published) -> Verdict {
        let (grounds, key) = Self::ask(packet.policy_key(), published);
        self.count_rule(&grounds, packet.ip.ip_bytes, true, published);
        if grounds.action.is_allow() {
            return Verdict::Allow(verdict_grounds(&grounds));
        }
        self.refuse(&key, &grounds, packet)
    }

    fn unknown(
        &mut self,
        key: FlowKey,
        sender: Sender,
        packet: &Judged<'_>,
        published: &Published,
    ) -> Verdict {
        let flags = packet.tcp_flags() & (SYN | ACK | FIN | RST);
        let is_first = match packet.ip.l4.protocol {
            Protocol::TCP => flags == SYN,
            Protocol::SCTP => packet.ip.sctp.as_ref().is_some_and(is_init),
            _ => true,
        };
        if is_first {
            return self.begin(key, sender, packet, published);
        }
        if flags == ACK {
            return self.take_up(key, sender, packet, published);
        }
        Self::drop(DropReason::NoFlow, published, None)
    }

    /// Judges a first packet and, if it may pass, takes its flow in.
    fn begin(&mut self, key: FlowKey, sender: Sender, packet: &Judged<'_>, published: &Published) -> Verdict {
        let (grounds, policy_key) = Self::ask(packet.policy_key(), published);
        if !grounds.action.is_allow() {
            self.count_rule(&grounds, packet.ip.ip_bytes, true, published);
            return self.refuse(&policy_key, &grounds, packet);
        }
        let state = FlowState::at_start(packet.ip, sender);
        self.take_in(&self.beginning((key, sender), state, grounds, packet), packet, published)
    }

    /// Puts the flow of an allowed packet into the table, if need be in the place of one that may go.
    fn take_in(&mut self, beginning: &Beginning, packet: &Judged<'_>, published: &Published) -> Verdict {
        let (sender, grounds) = (packet.sender_of(&beginning.key), beginning.grounds);
        let standing = beginning.state.standing();
        if let Room::InsteadOf(other, of_standing) = self.table.room_for(standing) {
            self.count_evicted(of_standing);
            self.end(other, EndReason::Evicted, packet.now_ns, published);
            self.table.prefetch_oldest(of_standing);
        }
        let has_room = self.table.room_for(standing) == Room::Free;
        let Some(index) = has_room.then(|| self.table.insert(beginning)).flatten() else {
            return Self::drop(DropReason::FlowTableFull, published, None);
        };
        let flow = self.table.get_mut(index);
        flow.count(sender, packet.ip.ip_bytes, packet.tcp_flags(), packet.now_ns);
        flow.deliver(sender, packet.delivered_to());
        // The record of its beginning tells of this packet.
        flow.take_news();
        self.counters.flows_created.add(1);
        self.count_rule(&grounds, packet.ip.ip_bytes, true, published);
        self.schedule(index, packet.now_ns);
        self.record(index, (RecordKind::Start, EndReason::None), packet.now_ns, published);
        Verdict::Allow(verdict_grounds(&grounds))
    }

    fn count_evicted(&self, standing: Standing) {
        match standing {
            Standing::Over => self.counters.flows_evicted_over.add(1),
            _ => self.counters.flows_evicted_unconfirmed.add(1),
        }
    }

    /// Ends a flow and takes it out.
    fn end(&mut self, index: FlowIndex, reason: EndReason, now_ns: u64, published: &Published) {
        if self.table.get(index).state != FlowState::Refused {
            self.record(index, (RecordKind::End, reason), now_ns, published);
        }
        self.table.remove(index);
    }

    /// Makes a record of where a flow stands.
    fn record(
        &mut self,
        index: FlowIndex,
        (kind, reason): (RecordKind, EndReason),
        now_ns: u64,
        published: &Published,
    ) {
        let is_sampled = self.table.get(index).is_sampled();
        let account = is_sampled.then(|| self.table.account(index, now_ns));
        self.meter.record(account, &published.bindings, kind, reason);
    }

    /// Returns how a flow begins whose first packet is this one, before that is counted.
    fn beginning(
        &self,
        (key, initiator): (FlowKey, Sender),
        state: FlowState,
        grounds: FlowGrounds,
        packet: &Judged<'_>,
    ) -> Beginning {
        let is_sampled = self.meter.is_sampled(self.table.hash_of(&key));
        Beginning {
            key,
            initiator,
            state,
            grounds,
            l4: packet.ip.l4,
            are_home: packet.are_home(),
            is_sampled,
            now_ns: packet.now_ns,
        }
    }

    /// Asks stages 5 to 7.
    fn ask(key: PolicyKey, published: &Published) -> (FlowGrounds, PolicyKey) {
        let judgement: Judgement = published.classifier.classify(&key);
        (FlowGrounds::of(&judgement, published.generation), key)
    }

    fn refuse(&mut self, key: &PolicyKey, grounds: &FlowGrounds, packet: &Judged<'_>) -> Verdict {
        self.meter.refuse(&Refusal {
            key,
            grounds,
            parties: packet.parties(),
            bytes: packet.ip.ip_bytes,
            tcp_flags: packet.tcp_flags(),
            now_ns: packet.now_ns,
        });
        let reason = match (grounds.stage, grounds.action) {
            (Stage::Rules, Action::Reject) => DropReason::RuleReject,
            (Stage::Rules, _) => DropReason::RuleDeny,
            (Stage::Membership, _) => DropReason::MembershipDeny,
            _ => DropReason::DefaultDeny,
        };
        Verdict::Drop(reason, verdict_grounds(grounds))
    }

    fn count_rule(&self, grounds: &FlowGrounds, bytes: u32, is_judging: bool, published: &Published) {
        if grounds.generation != published.generation {
            return;
        }
        let place = usize::try_from(grounds.rule_index).unwrap_or(usize::MAX);
        if let Some(rule) = published.rules.get(self.worker).and_then(|rules| rules.get(place)) {
            rule.flows.add(u64::from(is_judging));
            rule.packets.add(u64::from(bytes > 0));
            rule.bytes.add(u64::from(bytes));
        }
    }

    fn drop(reason: DropReason, published: &Published, rule: Option<meshgate_policy::RuleId>) -> Verdict {
        Verdict::Drop(reason, Grounds { version: published.version, stage: reason.stage(), rule })
    }
}

fn verdict_grounds(grounds: &FlowGrounds) -> Grounds {
    Grounds { version: grounds.version, stage: grounds.stage, rule: grounds.rule_id() }
}
