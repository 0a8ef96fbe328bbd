//! What the tracker does, in the plainest way: flows in a list that is searched, times that are compared, the oldest found
//! by looking at all. It shares with the tracker where a single flow stands and how it takes a packet ([`FlowState`]), which
//! the tests of exchanges hold against models of their own; not the table, how a flow is kept in it, its lists, its hash, its
//! wheel or the classifier.

use meshgate_dataplane::flow_table::{
    Connection, FlowGrounds, FlowKey, FlowState, Opening, Pace, REFUSED_SHARE, REVERSED_MAX_NS,
    REVERSED_PACKETS_MAX, REVERSED_SHARE, SctpState, Sender, Standing, Step, TcpState, Timeouts,
    UNCONFIRMED_SHARE,
};
use meshgate_dataplane::packet::{IpPacket, TcpFields, TcpFlags};
use meshgate_dataplane::timing_wheel::{REVISIT_MAX_NS, TICK_NS};
use meshgate_dataplane::tracker::Judged;
use meshgate_dataplane::verdict::DropReason;
use meshgate_policy::{Action, EndReason, L4Key, Policy, PolicyKey, Protocol, RecordKind, RuleId, Stage};

/// How a packet ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Allow(Stage, Option<RuleId>),
    Drop(DropReason),
}

/// What a record says of a flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recorded {
    pub kind: u8,
    pub end_reason: u8,
    pub ports: (u16, u16),
    pub rule: u32,
    /// Packets and bytes of the initiator, then of the other side.
    pub forward: (u64, u64),
    pub reverse: (u64, u64),
    pub last_ns: u64,
}

/// Times of flows are told in whole milliseconds, rounded up.
const MILLISECOND_NS: u64 = 1_000_000;

/// A flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flow {
    key: FlowKey,
    initiator: Sender,
    state: FlowState,
    grounds: FlowGrounds,
    l4: L4Key,
    last_ns: u64,
    reported_ns: u64,
    /// Whether a packet has come since it was reported.
    has_news: bool,
    /// Of the low and the high side.
    paces: [Pace; 2],
}

impl Flow {
    fn begun(
        key: FlowKey,
        initiator: Sender,
        state: FlowState,
        grounds: FlowGrounds,
        packet: &Judged<'_>,
    ) -> Self {
        let now_ns = told(packet.now_ns);
        let paces = [Pace::default(); 2];
        let l4 = packet.ip.l4;
        Self {
            key,
            initiator,
            state,
            grounds,
            l4,
            last_ns: now_ns,
            reported_ns: now_ns,
            has_news: false,
            paces,
        }
    }

    fn pace(&self, side: Sender) -> Pace {
        self.paces[usize::from(side == Sender::High)]
    }

    fn count(&mut self, side: Sender, bytes: u32, tcp_flags: u8, now_ns: u64) {
        let pace = &mut self.paces[usize::from(side == Sender::High)];
        (pace.packets, pace.bytes) = (pace.packets + 1, pace.bytes + u64::from(bytes));
        pace.tcp_flags |= tcp_flags;
        (self.last_ns, self.has_news) = (told(now_ns), true);
    }

    fn step(&mut self, packet: &IpPacket, sender: Sender) -> Step {
        let asks = packet.l4.source_port == self.l4.source_port;
        let is_in_turn = !packet.l4.protocol.is_icmp() || asks == (sender == self.initiator);
        self.state.step(packet, (sender, self.initiator), is_in_turn)
    }

    fn timeout_ns(&self, timeouts: &Timeouts) -> u64 {
        timeouts.of(&self.state, self.key.protocol())
    }

    fn idle_at_ns(&self, timeouts: &Timeouts) -> u64 {
        self.last_ns + self.timeout_ns(timeouts)
    }

    fn policy_key(&self) -> PolicyKey {
        let (source, destination) =
            (self.key.side(self.initiator).0, self.key.side(self.initiator.other()).0);
        PolicyKey { segment: self.key.segment(), source, destination, l4: self.l4 }
    }
}

fn told(now_ns: u64) -> u64 {
    now_ns.div_ceil(MILLISECOND_NS) * MILLISECOND_NS
}

/// A flow, since when it has its standing, and when it is looked at.
struct Known {
    flow: Flow,
    standing: (Standing, u64),
    /// Tick at which it is looked at, and which of several at the same tick goes first.
    due: (u64, u64),
}

/// The policy that is in force.
#[derive(Clone, Copy)]
pub struct InForce<'a> {
    pub policy: &'a Policy,
    pub generation: u64,
}

pub struct Model {
    flows: Vec<Known>,
    pub flows_max: usize,
    pub timeouts: Timeouts,
    pub active_report_ns: u64,
    /// Until when connections are taken up in reverse; none if they are not taken up at all.
    pub pickup_until_ns: Option<u64>,
    /// Tick up to which all was looked at.
    tick: u64,
    turn: u64,
    pub records: Vec<Recorded>,
}

impl Model {
    pub fn new(flows_max: usize, now_ns: u64) -> Self {
        Self {
            flows: Vec::new(),
            flows_max,
            timeouts: Timeouts::default(),
            active_report_ns: 60_000_000_000,
            pickup_until_ns: None,
            tick: now_ns / TICK_NS,
            turn: 0,
            records: Vec::new(),
        }
    }

    pub fn live(&self) -> usize {
        self.flows.len()
    }

    pub fn count(&self, wanted: Standing) -> usize {
        self.flows.iter().filter(|known| known.standing.0 == wanted).count()
    }

    /// Returns how a packet ends.
    pub fn judge(&mut self, packet: &Judged<'_>, is_alone: bool, policy: InForce<'_>) -> End {
        if is_alone {
            let grounds = ask(&packet.policy_key(), policy);
            return if grounds.action.is_allow() { allowed(&grounds) } else { refused(&grounds) };
        }
        let (key, sender) = FlowKey::of(packet.segment, packet.ip);
        match self.flows.iter().position(|known| known.flow.key == key) {
            Some(at) => self.known(at, sender, packet, policy),
            None => self.unknown(key, sender, packet, policy),
        }
    }

    fn unknown(&mut self, key: FlowKey, sender: Sender, packet: &Judged<'_>, policy: InForce<'_>) -> End {
        match packet.ip.l4.protocol {
            _ if is_first(packet.ip) => self.begin(key, sender, packet, policy),
            Protocol::TCP if kind_of(packet.ip) == TcpFlags::ACK.0 => {
                self.take_up(key, sender, packet, policy)
            }
            _ => End::Drop(DropReason::NoFlow),
        }
    }

    fn begin(&mut self, key: FlowKey, sender: Sender, packet: &Judged<'_>, policy: InForce<'_>) -> End {
        let grounds = ask(&packet.policy_key(), policy);
        if !grounds.action.is_allow() {
            return refused(&grounds);
        }
        let state = FlowState::at_start(packet.ip, sender);
        self.take_in(Flow::begun(key, sender, state, grounds, packet), sender, packet)
    }

    fn take_up(&mut self, key: FlowKey, sender: Sender, packet: &Judged<'_>, policy: InForce<'_>) -> End {
        let (Some(until_ns), Some(tcp)) = (self.pickup_until_ns, packet.ip.tcp) else {
            return End::Drop(DropReason::NoFlow);
        };
        let grounds = ask(&packet.policy_key(), policy);
        if grounds.action.is_allow() {
            let state = FlowState::Tcp(Connection::taken_up(&tcp, sender));
            return self.take_in(Flow::begun(key, sender, state, grounds, packet), sender, packet);
        }
        let reverse = ask(&packet.reverse_policy_key(), policy);
        if !reverse.action.is_allow() {
            return refused(&grounds);
        }
        if packet.now_ns >= until_ns {
            return End::Drop(DropReason::NoFlow);
        }
        let state = FlowState::Reversed(opening(&tcp, 1, packet.now_ns));
        let mut flow = Flow::begun(key, sender.other(), state, reverse, packet);
        flow.l4 = packet.reverse_policy_key().l4;
        self.take_in(flow, sender, packet)
    }

    fn take_in(&mut self, mut flow: Flow, sender: Sender, packet: &Judged<'_>) -> End {
        flow.count(sender, packet.ip.ip_bytes, packet.tcp_flags(), packet.now_ns);
        let standing = flow.state.standing();
        if let Err(Some(at)) = self.room_for(standing) {
            self.end(at, EndReason::Evicted);
        }
        if self.room_for(standing).is_err() {
            return End::Drop(DropReason::FlowTableFull);
        }
        // The record of its beginning tells of this packet.
        flow.has_news = false;
        let grounds = flow.grounds;
        self.record(&flow, RecordKind::Start, EndReason::None);
        self.turn += 1;
        self.flows.push(Known { flow, standing: (standing, self.turn), due: (0, 0) });
        self.schedule(self.flows.len() - 1, packet.now_ns);
        allowed(&grounds)
    }

    /// Returns whether a flow of this standing finds room; if not, which flow may go for it.
    fn room_for(&self, standing: Standing) -> Result<(), Option<usize>> {
        let is_within = |share: u32| self.count(standing) < self.flows_max / usize::try_from(share).unwrap();
        match standing {
            Standing::Unconfirmed if !is_within(UNCONFIRMED_SHARE) => Err(self.oldest(standing)),
            Standing::Reversed if !is_within(REVERSED_SHARE) => Err(None),
            _ if self.flows.len() < self.flows_max => Ok(()),
            _ => Err(self.oldest(Standing::Over).or(self.oldest(Standing::Unconfirmed))),
        }
    }

    fn oldest(&self, wanted: Standing) -> Option<usize> {
        let of_standing = (0..self.flows.len()).filter(|at| self.flows[*at].standing.0 == wanted);
        of_standing.min_by_key(|at| self.flows[*at].standing.1)
    }

    fn known(&mut self, at: usize, sender: Sender, packet: &Judged<'_>, policy: InForce<'_>) -> End {
        if self.flows[at].flow.state == FlowState::Refused {
            return self.knock(at, sender, packet, policy);
        }
        if let Some(reason) = self.rejudge(at, packet.now_ns, policy) {
            return End::Drop(reason);
        }
        if let FlowState::Reversed(opening) = self.flows[at].flow.state {
            return self.continue_reversed(at, sender, opening, packet);
        }
        let flow = &mut self.flows[at].flow;
        let (before, timeout_ns) = (*flow, flow.timeout_ns(&self.timeouts));
        match flow.step(packet.ip, sender) {
            Step::Pass => self.pass(at, sender, timeout_ns, packet),
            Step::Restart => {
                let key = flow.key;
                self.end(at, EndReason::Closed);
                self.begin(key, sender, packet, policy)
            }
            Step::Invalid => {
                assert_eq!(*flow, before, "what does not belong changes nothing");
                End::Drop(DropReason::InvalidState)
            }
        }
    }

    fn pass(&mut self, at: usize, sender: Sender, timeout_before_ns: u64, packet: &Judged<'_>) -> End {
        let flow = &mut self.flows[at].flow;
        flow.count(sender, packet.ip.ip_bytes, packet.tcp_flags(), packet.now_ns);
        let (rule, timeout_ns) = (flow.grounds.rule_id(), flow.timeout_ns(&self.timeouts));
        self.settle(at);
        if timeout_ns < timeout_before_ns {
            self.schedule(at, packet.now_ns);
        }
        End::Allow(Stage::KnownFlow, rule)
    }

    /// Gives a flow the standing of its state, behind all others that have it.
    fn settle(&mut self, at: usize) {
        let known = &mut self.flows[at];
        let standing = known.flow.state.standing();
        if standing == Standing::Confirmed {
            let speaks = |side| known.flow.pace(side).packets > 0;
            assert!(speaks(Sender::Low) && speaks(Sender::High), "one side alone confirms: {:?}", known.flow);
        }
        if known.standing.0 != standing {
            self.turn += 1;
            known.standing = (standing, self.turn);
        }
    }

    fn knock(&mut self, at: usize, sender: Sender, packet: &Judged<'_>, policy: InForce<'_>) -> End {
        let flow = self.flows[at].flow;
        let may_open = match flow.key.protocol() {
            Protocol::TCP | Protocol::SCTP => is_first(packet.ip),
            _ => sender == flow.initiator && packet.ip.l4 == flow.l4,
        };
        if may_open && ask(&packet.policy_key(), policy).action.is_allow() {
            self.flows.remove(at);
            return self.begin(flow.key, sender, packet, policy);
        }
        self.flows[at].flow.last_ns = told(packet.now_ns);
        End::Drop(cut_reason(&flow.grounds))
    }

    fn continue_reversed(&mut self, at: usize, sender: Sender, so_far: Opening, packet: &Judged<'_>) -> End {
        let (invalid, tcp) = (End::Drop(DropReason::InvalidState), packet.ip.tcp.unwrap());
        let flow = &mut self.flows[at].flow;
        if sender == flow.initiator {
            let is_exact = tcp.sequence == so_far.acknowledgment;
            let may_confirm = !has(&tcp, TcpFlags::SYN) && (!has(&tcp, TcpFlags::RST) || is_exact);
            let mut connection =
                Connection::taken_up_at(so_far.sequence, so_far.acknowledgment, sender.other());
            if !may_confirm || connection.step(&tcp, sender, sender) != Step::Pass {
                return invalid;
            }
            let timeout_ns = flow.timeout_ns(&self.timeouts);
            flow.state = FlowState::Tcp(connection);
            return self.pass(at, sender, timeout_ns, packet);
        }
        if has(&tcp, TcpFlags::SYN) || has(&tcp, TcpFlags::RST) {
            return invalid;
        }
        let is_late = packet.now_ns >= so_far.since_ns + REVERSED_MAX_NS;
        if so_far.packets >= REVERSED_PACKETS_MAX || is_late {
            self.cut(at, packet.now_ns);
            return End::Drop(DropReason::NoFlow);
        }
        flow.state = FlowState::Reversed(opening(&tcp, so_far.packets + 1, so_far.since_ns));
        flow.count(sender, packet.ip.ip_bytes, tcp.flags.0, packet.now_ns);
        End::Allow(Stage::KnownFlow, flow.grounds.rule_id())
    }

    /// Judges a flow anew if another policy is in force; returns why its packets are dropped if that cuts it.
    fn rejudge(&mut self, at: usize, now_ns: u64, policy: InForce<'_>) -> Option<DropReason> {
        let flow = &mut self.flows[at].flow;
        if flow.grounds.generation == policy.generation {
            return None;
        }
        flow.grounds = ask(&flow.policy_key(), policy);
        let grounds = flow.grounds;
        if grounds.action.is_allow() {
            return None;
        }
        self.cut(at, now_ns);
        Some(cut_reason(&grounds))
    }

    fn cut(&mut self, at: usize, now_ns: u64) {
        let flow = self.flows[at].flow;
        self.record(&flow, RecordKind::End, EndReason::Refused);
        if self.count(Standing::Refused) >= self.flows_max / usize::try_from(REFUSED_SHARE).unwrap() {
            self.flows.remove(at);
            return;
        }
        let flow = &mut self.flows[at].flow;
        (flow.state, flow.last_ns) = (FlowState::Refused, told(now_ns));
        self.settle(at);
        self.schedule(at, now_ns);
    }

    fn end(&mut self, at: usize, reason: EndReason) {
        let Known { flow, .. } = self.flows.remove(at);
        if flow.state != FlowState::Refused {
            self.record(&flow, RecordKind::End, reason);
        }
    }

    /// Lets time pass: what was silent too long ends, in the order in which it is due.
    pub fn advance(&mut self, now_ns: u64, policy: InForce<'_>) {
        let now_tick = now_ns / TICK_NS;
        let next = |flows: &[Known]| (0..flows.len()).min_by_key(|at| flows[*at].due);
        while let Some(at) = next(&self.flows).filter(|at| self.flows[*at].due.0 <= now_tick) {
            self.tick = self.flows[at].due.0;
            self.revisit(at, now_ns, policy);
        }
        self.tick = now_tick;
        for Known { flow, .. } in &self.flows {
            assert!(flow.idle_at_ns(&self.timeouts) + TICK_NS > now_ns, "it should have ended: {flow:?}");
        }
    }

    fn revisit(&mut self, at: usize, now_ns: u64, policy: InForce<'_>) {
        let flow = self.flows[at].flow;
        let is_refused = flow.state == FlowState::Refused;
        if flow.idle_at_ns(&self.timeouts) <= now_ns {
            return match flow.state {
                FlowState::Reversed(_) => self.cut(at, now_ns),
                state => self.end(at, end_of(&state)),
            };
        }
        if !is_refused && self.rejudge(at, now_ns, policy).is_some() {
            return;
        }
        if !is_refused && now_ns >= flow.reported_ns + self.active_report_ns {
            if flow.has_news {
                let flow = self.flows[at].flow;
                self.record(&flow, RecordKind::Active, EndReason::None);
            }
            let flow = &mut self.flows[at].flow;
            (flow.reported_ns, flow.has_news) = (told(now_ns), false);
        }
        self.schedule(at, now_ns);
    }

    /// Says when a flow is looked at: when it would end or is to be reported, and every ten seconds.
    fn schedule(&mut self, at: usize, now_ns: u64) {
        let flow = &self.flows[at].flow;
        let idle_at_ns = flow.idle_at_ns(&self.timeouts);
        let report_at_ns = match flow.state {
            FlowState::Refused => idle_at_ns,
            _ => flow.reported_ns + self.active_report_ns,
        };
        let at_ns = idle_at_ns.min(report_at_ns).min(now_ns + REVISIT_MAX_NS);
        let tick = at_ns.div_ceil(TICK_NS).clamp(self.tick + 1, self.tick + REVISIT_MAX_NS / TICK_NS);
        self.turn += 1;
        self.flows[at].due = (tick, self.turn);
    }

    /// Ends all flows.
    pub fn stop(&mut self) {
        while !self.flows.is_empty() {
            self.end(0, EndReason::Stopped);
        }
    }

    fn record(&mut self, flow: &Flow, kind: RecordKind, end_reason: EndReason) {
        let of = |pace: Pace| (pace.packets, pace.bytes);
        self.records.push(Recorded {
            kind: kind as u8,
            end_reason: end_reason as u8,
            ports: (flow.l4.source_port, flow.l4.destination_port),
            rule: flow.grounds.rule,
            forward: of(flow.pace(flow.initiator)),
            reverse: of(flow.pace(flow.initiator.other())),
            last_ns: flow.last_ns,
        });
    }
}

fn ask(key: &PolicyKey, policy: InForce<'_>) -> FlowGrounds {
    let decision = policy.policy.decide(key);
    FlowGrounds {
        version: decision.version,
        generation: policy.generation,
        rule: decision.rule.map_or(0, |rule| rule.0),
        rule_index: u32::MAX,
        shadow_rule: 0,
        stage: decision.stage,
        action: decision.action,
    }
}

fn allowed(grounds: &FlowGrounds) -> End {
    End::Allow(grounds.stage, grounds.rule_id())
}

fn refused(grounds: &FlowGrounds) -> End {
    End::Drop(match (grounds.stage, grounds.action) {
        (Stage::Rules, Action::Reject) => DropReason::RuleReject,
        (Stage::Rules, _) => DropReason::RuleDeny,
        (Stage::Membership, _) => DropReason::MembershipDeny,
        _ => DropReason::DefaultDeny,
    })
}

fn cut_reason(grounds: &FlowGrounds) -> DropReason {
    if grounds.action == Action::Reject { DropReason::CutReject } else { DropReason::CutFlow }
}

fn end_of(state: &FlowState) -> EndReason {
    match state {
        FlowState::Tcp(connection) if connection.state() == TcpState::Closed => EndReason::Closed,
        FlowState::Tcp(connection) if connection.state() == TcpState::Reset => EndReason::Reset,
        FlowState::Sctp(association) if association.state() == SctpState::Closed => EndReason::Closed,
        _ => EndReason::Idle,
    }
}

/// Returns whether a packet may begin a flow.
fn is_first(ip: &IpPacket) -> bool {
    match ip.l4.protocol {
        Protocol::TCP => kind_of(ip) == TcpFlags::SYN.0,
        Protocol::SCTP => ip.sctp.is_some_and(|sctp| sctp.chunk == 1),
        _ => true,
    }
}

/// Returns the TCP flags that tell what a segment is for.
fn kind_of(ip: &IpPacket) -> u8 {
    let telling = TcpFlags::SYN | TcpFlags::ACK | TcpFlags::FIN | TcpFlags::RST;
    ip.tcp.map_or(0, |tcp| tcp.flags.0 & telling.0)
}

fn has(tcp: &TcpFields, flag: TcpFlags) -> bool {
    tcp.flags.intersects(flag)
}

/// Returns what the answering side of a connection has shown by a segment.
fn opening(tcp: &TcpFields, packets: u8, since_ns: u64) -> Opening {
    let virtual_bytes = u32::from(has(tcp, TcpFlags::SYN)) + u32::from(has(tcp, TcpFlags::FIN));
    let sequence = tcp.sequence.wrapping_add(tcp.payload_bytes).wrapping_add(virtual_bytes);
    Opening { packets, since_ns, sequence, acknowledgment: tcp.acknowledgment }
}
