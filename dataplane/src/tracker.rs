//! Stage 4 and what follows from it: known flows go on by their verdict, unknown ones are judged by stages 5 to 7 and
//! taken in **after** their first packet was allowed.
//!
//! A flow remembers the policy version that judged it. When that is no longer the current one, its next packet, or
//! the wheel within ten seconds, has it judged again in its original direction; a flow that the new policy refuses is
//! cut and stays as `Refused`, so that neither side can revive it.

mod judged;
mod pickup;
mod revisit;

pub use judged::Judged;
pub use pickup::Pickup;

use crate::classifier::Judgement;
use crate::counters::WorkerCounters;
use crate::flow_table::{
    ACK, FIN, Flow, FlowGrounds, FlowIndex, FlowKey, FlowState, FlowTable, Match, Pace, RST, SYN, Sender,
    TcpState, TcpStep, Timeouts,
};
use crate::meter::{Meter, Refusal};
use crate::packet::IpPacket;
use crate::published::Published;
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
#[derive(Clone, Copy, Debug)]
pub struct FlowPlace {
    key: FlowKey,
    /// The side that sent the packet.
    sender: Sender,
    /// Hash of the key.
    hash: u64,
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
        Self { table, config, meter, counters, worker, started_ns: 0 }
    }

    /// Says when the worker started without the state of the connections that pass through it.
    pub fn start(&mut self, now_ns: u64) {
        self.started_ns = now_ns;
    }

    /// Returns where the flow of a packet is to be looked for, and asks for the memory there. Between this and
    /// [`Self::judge`] the caller does the same for other packets, so that their misses overlap.
    pub fn locate(&self, segment: SegmentId, packet: &IpPacket) -> FlowPlace {
        let (key, sender) = FlowKey::of(segment, packet);
        let hash = self.table.hash_of(&key);
        self.table.prefetch_list(hash);
        FlowPlace { key, sender, hash }
    }

    /// Returns which of so many workers owns the flow: the same for both directions and for all ports.
    pub fn owner_of(&self, place: &FlowPlace, workers: usize) -> usize {
        if workers <= 1 { 0 } else { self.table.owner_of(&place.key, workers) }
    }

    /// Asks for the memory of the flow itself, once that of the place is there.
    pub fn approach(&self, place: &FlowPlace) {
        self.table.prefetch_flow(place.hash);
    }

    /// Returns the verdict on a packet that passed stages 1 to 3.
    pub fn judge(&mut self, packet: &Judged<'_>, place: &FlowPlace, published: &Published) -> Verdict {
        if packet.is_icmp_error() {
            return Self::drop(DropReason::UnrelatedError, published, None);
        }
        if packet.is_stateless() {
            return self.judge_alone(packet, published);
        }
        let FlowPlace { key, sender, hash } = *place;
        match self.table.find(&key, hash) {
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
        let flags = packet.tcp_flags();
        if packet.ip.l4.protocol != Protocol::TCP || flags & (SYN | ACK | FIN | RST) == SYN {
            return self.begin(key, sender, packet, published);
        }
        if flags & (ACK | SYN | FIN | RST) == ACK {
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
        let state = FlowState::at_start(key.protocol());
        self.take_in(Self::flow(key, sender, state, grounds, packet), packet, published)
    }

    /// Puts the flow of an allowed packet into the table.
    fn take_in(&mut self, mut flow: Flow, packet: &Judged<'_>, published: &Published) -> Verdict {
        let (key, sender, grounds) = (flow.key, packet.sender_of(&flow.key), flow.grounds);
        flow.is_sampled = self.meter.is_sampled(self.table.hash_of(&key));
        flow.count(sender, packet.ip.ip_bytes, packet.tcp_flags(), packet.now_ns);
        match self.table.insert(flow) {
            None => Self::drop(DropReason::FlowTableFull, published, None),
            Some(index) => {
                self.counters.flows_created.add(1);
                self.count_rule(&grounds, packet.ip.ip_bytes, true, published);
                self.schedule(index);
                self.meter.record(self.table.get(index), RecordKind::Start, EndReason::None);
                Verdict::Allow(verdict_grounds(&grounds))
            }
        }
    }

    fn known(&mut self, found: Match, packet: &Judged<'_>, published: &Published) -> Verdict {
        let Match { index, sender } = found;
        if self.table.get(index).state == FlowState::Refused {
            return self.knock(found, packet, published);
        }
        if self.table.get(index).grounds.generation != published.generation
            && let Some(refusing) = self.rejudge(index, packet.now_ns, published)
        {
            return Self::drop(cut_reason(&refusing), published, refusing.rule_id());
        }
        let flow = self.table.get(index);
        match flow.state {
            FlowState::Tcp(state) => {
                let (own, other) = (flow.pace(sender).tcp_flags, flow.pace(sender.other()).tcp_flags);
                match state.step(packet.tcp_flags(), sender == flow.initiator, (own, other)) {
                    TcpStep::To(next) => self.pass(found, FlowState::Tcp(next), packet, published),
                    TcpStep::Restart => self.restart(found, packet, published),
                    TcpStep::Invalid => {
                        Self::drop(DropReason::InvalidState, published, flow.grounds.rule_id())
                    }
                }
            }
            FlowState::Exchange { .. } if !packet.is_of_exchange(flow, sender) => {
                Self::drop(DropReason::InvalidState, published, flow.grounds.rule_id())
            }
            FlowState::Exchange { answered } => {
                let answered = answered || sender != flow.initiator;
                self.pass(found, FlowState::Exchange { answered }, packet, published)
            }
            FlowState::Reversed(opening) => self.continue_reversed(found, opening, packet, published),
            FlowState::Refused => Self::drop(DropReason::CutFlow, published, flow.grounds.rule_id()),
        }
    }

    /// Lets a packet of a known flow pass.
    fn pass(
        &mut self,
        found: Match,
        state: FlowState,
        packet: &Judged<'_>,
        published: &Published,
    ) -> Verdict {
        let Match { index, sender } = found;
        let flow = self.table.get_mut(index);
        let is_over =
            matches!(state, FlowState::Tcp(TcpState::Closed | TcpState::Reset)) && flow.state != state;
        flow.state = state;
        flow.count(sender, packet.ip.ip_bytes, packet.tcp_flags(), packet.now_ns);
        let grounds = flow.grounds;
        if is_over {
            // Its time-out became short: the wheel must not wait for the long one.
            self.schedule(index);
        }
        self.count_rule(&grounds, packet.ip.ip_bytes, false, published);
        Verdict::Allow(Grounds { stage: Stage::KnownFlow, ..verdict_grounds(&grounds) })
    }

    /// A SYN on a connection that is over begins the next one; either side may send it.
    fn restart(&mut self, found: Match, packet: &Judged<'_>, published: &Published) -> Verdict {
        let Match { index, sender } = found;
        let key = self.table.get(index).key;
        self.end(index, EndReason::Closed);
        self.begin(key, sender, packet, published)
    }

    /// A packet of a refused tuple: only an allowed SYN without ACK makes it a flow again.
    fn knock(&mut self, found: Match, packet: &Judged<'_>, published: &Published) -> Verdict {
        let Match { index, sender } = found;
        let flow = self.table.get(index);
        let (key, rule, reason) = (flow.key, flow.grounds.rule_id(), cut_reason(&flow.grounds));
        let is_syn = packet.tcp_flags() & (SYN | ACK | FIN | RST) == SYN;
        if key.protocol() == Protocol::TCP && is_syn {
            let (grounds, _) = Self::ask(packet.policy_key(), published);
            if grounds.action.is_allow() {
                self.table.remove(index);
                return self.begin(key, sender, packet, published);
            }
        }
        // Knocking keeps the door shut: the minute of refusal begins anew with each packet.
        self.table.get_mut(index).last_ns = packet.now_ns;
        Self::drop(reason, published, rule)
    }

    /// Judges a flow by the current policy, in its original direction; returns the grounds if that cuts it.
    fn rejudge(&mut self, index: FlowIndex, now_ns: u64, published: &Published) -> Option<FlowGrounds> {
        let (grounds, _) = Self::ask(self.table.get(index).policy_key(), published);
        self.counters.flows_rejudged.add(1);
        self.count_rule(&grounds, 0, true, published);
        self.table.get_mut(index).grounds = grounds;
        if grounds.action.is_allow() {
            return None;
        }
        self.cut(index, now_ns);
        Some(grounds)
    }

    /// Ends a flow that a policy refuses, and keeps its tuple refused, from now on, while there is room for that.
    fn cut(&mut self, index: FlowIndex, now_ns: u64) {
        self.meter.record(self.table.get(index), RecordKind::End, EndReason::Refused);
        if self.table.set_refused(index) {
            self.table.get_mut(index).last_ns = now_ns;
            self.schedule(index);
        } else {
            self.table.remove(index);
        }
    }

    /// Ends a flow and takes it out.
    fn end(&mut self, index: FlowIndex, reason: EndReason) {
        if let Some(flow) = self.table.remove(index)
            && flow.state != FlowState::Refused
        {
            self.meter.record(&flow, RecordKind::End, reason);
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

    fn flow(
        key: FlowKey,
        initiator: Sender,
        state: FlowState,
        grounds: FlowGrounds,
        packet: &Judged<'_>,
    ) -> Flow {
        Flow {
            key,
            initiator,
            state,
            grounds,
            l4: packet.ip.l4,
            first_ns: packet.now_ns,
            last_ns: packet.now_ns,
            reported_ns: packet.now_ns,
            parties: packet.parties(),
            is_sampled: true,
            paces: [Pace::default(); 2],
        }
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

/// Returns why packets of a flow are dropped that these grounds cut.
fn cut_reason(grounds: &FlowGrounds) -> DropReason {
    if grounds.action == Action::Reject { DropReason::CutReject } else { DropReason::CutFlow }
}

fn verdict_grounds(grounds: &FlowGrounds) -> Grounds {
    Grounds { version: grounds.version, stage: grounds.stage, rule: grounds.rule_id() }
}
