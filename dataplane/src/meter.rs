//! Turns what flows did into flow records, and gathers refusals so that a scan cannot flood the ring.
//!
//! Records go into a bounded ring of the worker; full means lost, and counted. Refused attempts are summed under
//! (segment, addresses, protocol, service port) in a table of fixed size that is emptied once a second. An attempt
//! that finds its place taken is counted and not recorded.

use crate::binding::Bindings;
use crate::counters::WorkerCounters;
use crate::flow_table::{Account, FlowGrounds, Sender};
use crossbeam::queue::ArrayQueue;
use meshgate_policy::{
    Action, EndReason, FlowRecord, ObservationPoint, PolicyKey, RecordKind, SegmentId, address_bytes,
};
use std::sync::Arc;

/// Refused attempts that are gathered at once.
const DENIALS_MAX: usize = 4_096;
/// How long refused attempts are gathered.
const DENIALS_FLUSH_NS: u64 = 1_000_000_000;
/// Refused attempts turned into records in one turn, so that a full table does not delay packets.
const DENIALS_PER_TURN: usize = 64;

/// Records that are made before they are put into the ring together.
const MADE_MAX: usize = 64;

/// Records wait here for the exporter: one producer (the worker), one consumer.
pub type RecordQueue = ArrayQueue<FlowRecord>;

/// The record maker of one worker.
pub struct Meter {
    queue: Arc<RecordQueue>,
    counters: Arc<WorkerCounters>,
    /// Records on their way into the queue: written here field by field, and copied as a whole when that has settled. At the
    /// end of a turn there are none.
    made: Vec<FlowRecord>,
    /// One in how many flows is recorded.
    sampling_rate: u16,
    denials: Vec<Option<Denial>>,
    /// Next place of `denials` to flush; at the end when there is nothing to flush.
    flush_at: usize,
    flush_due_ns: u64,
}

/// Who talks to whom, beside what a flow's key says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parties {
    /// Number of the endpoint that owns the source address; 0 = none.
    pub source_endpoint: u32,
    /// Likewise of the destination.
    pub destination_endpoint: u32,
    /// Whether the source endpoint's device is of this host.
    pub source_is_home: bool,
    /// Whether the destination endpoint's device is of this host.
    pub destination_is_home: bool,
}

/// Refused attempts under one key.
#[derive(Clone, Copy)]
struct Denial {
    record: FlowRecord,
    key: DenialKey,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct DenialKey {
    segment: SegmentId,
    addresses: [[u8; 16]; 2],
    protocol: u8,
    service: u16,
    rule: u32,
}

/// A packet that was refused.
pub struct Refusal<'a> {
    /// What it was judged by.
    pub key: &'a PolicyKey,
    /// How.
    pub grounds: &'a FlowGrounds,
    /// Who.
    pub parties: Parties,
    /// Its IP length.
    pub bytes: u32,
    /// Its TCP flags; 0 without TCP.
    pub tcp_flags: u8,
    /// Time of the burst.
    pub now_ns: u64,
}

impl Meter {
    /// Returns a meter that records one in `sampling_rate` flows (0 is taken as 1).
    pub fn new(
        queue: Arc<RecordQueue>,
        counters: Arc<WorkerCounters>,
        sampling_rate: u16,
        now_ns: u64,
    ) -> Self {
        Self {
            queue,
            counters,
            made: Vec::with_capacity(MADE_MAX),
            sampling_rate: sampling_rate.max(1),
            denials: vec![None; DENIALS_MAX],
            flush_at: DENIALS_MAX,
            flush_due_ns: now_ns + DENIALS_FLUSH_NS,
        }
    }

    /// Returns whether a flow with this hash is one of those that are recorded.
    pub fn is_sampled(&self, hash: u64) -> bool {
        // The upper half: the lower bits choose the bucket of the flow table.
        (hash >> 32).is_multiple_of(u64::from(self.sampling_rate))
    }

    /// Records where a flow stands; None stands for one that is not among those that are recorded.
    pub fn record(
        &mut self,
        account: Option<Account<'_>>,
        bindings: &Bindings,
        kind: RecordKind,
        end_reason: EndReason,
    ) {
        if let Some(account) = account {
            let rate = self.sampling_rate;
            account.write(bindings, (kind, end_reason), rate, self.made_next());
        } else {
            self.counters.records_produced.add(1);
            self.counters.records_sampled_out.add(1);
        }
    }

    /// Takes note of a refused packet.
    pub fn refuse(&mut self, refusal: &Refusal<'_>) {
        let Refusal { key, grounds, parties: _, bytes, tcp_flags, now_ns } = refusal;
        let denial_key = DenialKey {
            segment: key.segment,
            addresses: [address_bytes(key.source), address_bytes(key.destination)],
            protocol: key.l4.protocol.0,
            service: key.l4.destination_port,
            rule: grounds.rule,
        };
        let place = &mut self.denials[place_of(&denial_key)];
        match place {
            Some(denial) if denial.key == denial_key => {
                denial.record.packets_forward += 1;
                denial.record.bytes_forward += u64::from(*bytes);
                denial.record.tcp_flags_forward |= tcp_flags;
                denial.record.last_ns = *now_ns;
            }
            Some(_) => self.counters.denials_unrecorded.add(1),
            None => *place = Some(Denial { record: denial_record(refusal), key: denial_key }),
        }
    }

    /// Makes records of gathered refusals when their time has come, a bounded number a turn.
    pub fn advance(&mut self, now_ns: u64) {
        if self.flush_at == DENIALS_MAX && now_ns >= self.flush_due_ns {
            self.flush_at = 0;
            self.flush_due_ns = now_ns + DENIALS_FLUSH_NS;
        }
        let end = (self.flush_at + DENIALS_PER_TURN).min(DENIALS_MAX);
        for at in self.flush_at..end {
            if let Some(denial) = self.denials[at].take() {
                self.emit(denial.record);
            }
        }
        self.flush_at = end;
        self.hand_on();
    }

    /// Makes records of all gathered refusals; for the end.
    pub fn flush(&mut self) {
        for at in 0..DENIALS_MAX {
            if let Some(denial) = self.denials[at].take() {
                self.emit(denial.record);
            }
        }
        self.hand_on();
    }

    fn emit(&mut self, record: FlowRecord) {
        *self.made_next() = record;
    }

    /// Returns the place of the next record.
    fn made_next(&mut self) -> &mut FlowRecord {
        if self.made.len() == MADE_MAX {
            self.hand_on();
        }
        self.made.push_mut(FlowRecord::default())
    }

    /// Puts the records that were made into the queue.
    pub fn hand_on(&mut self) {
        let made = self.made.len();
        let lost = self.made.drain(..).filter(|record| self.queue.push(*record).is_err()).count();
        self.counters.records_produced.add(made as u64);
        self.counters.records_lost.add(lost as u64);
    }
}

/// Returns where in the table of refusals a key belongs. The key is not secret: whoever aims at one place only hides
/// records of attempts that are still counted by reason and rule.
fn place_of(key: &DenialKey) -> usize {
    let word = |bytes: &[u8; 16], at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
    let [source, destination] = &key.addresses;
    let mut mixed = u64::from(key.rule) ^ (u64::from(key.service) << 32) ^ (u64::from(key.protocol) << 48);
    mixed ^= u64::from(key.segment.0) << 16;
    for part in [word(source, 0), word(source, 8), word(destination, 0), word(destination, 8)] {
        mixed = (mixed ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    usize::try_from(mixed >> 40).unwrap_or(0) % DENIALS_MAX
}

/// Returns the record of a first refused packet.
fn denial_record(refusal: &Refusal<'_>) -> FlowRecord {
    let Refusal { key, grounds, parties, bytes, tcp_flags, now_ns } = refusal;
    FlowRecord {
        first_ns: *now_ns,
        last_ns: *now_ns,
        packets_forward: 1,
        bytes_forward: u64::from(*bytes),
        source: address_bytes(key.source),
        destination: address_bytes(key.destination),
        policy_version: grounds.version.0,
        source_endpoint: parties.source_endpoint,
        destination_endpoint: parties.destination_endpoint,
        rule: grounds.rule,
        shadow_rule: grounds.shadow_rule,
        source_port: key.l4.source_port,
        destination_port: key.l4.destination_port,
        segment: key.segment.0,
        sampling_rate: 1,
        protocol: key.l4.protocol.0,
        kind: RecordKind::Denied as u8,
        observation_point: parties.observation_point() as u8,
        end_reason: EndReason::None as u8,
        stage: grounds.stage as u8,
        action: action_number(grounds.action),
        tcp_flags_forward: *tcp_flags,
        ..FlowRecord::default()
    }
}

/// Returns the number by which records carry an action.
pub fn action_number(action: Action) -> u8 {
    match action {
        Action::Allow => 1,
        Action::Deny => 2,
        Action::Reject => 3,
    }
}

impl Parties {
    /// Returns where on its path the flow is seen here.
    pub fn observation_point(&self) -> ObservationPoint {
        match (self.source_is_home, self.destination_is_home) {
            (true, _) => ObservationPoint::SourceHome,
            (false, true) => ObservationPoint::DestinationHome,
            (false, false) => ObservationPoint::Transit,
        }
    }
}

impl Account<'_> {
    /// Returns who talks.
    fn parties(&self, bindings: &Bindings) -> Parties {
        let owner = |side: Sender| {
            let key = self.key();
            bindings.endpoint_numbered(key.segment(), key.number_of(side)).map_or(0, |endpoint| endpoint.0)
        };
        Parties {
            source_endpoint: owner(self.initiator()),
            destination_endpoint: owner(self.initiator().other()),
            source_is_home: self.are_home().0,
            destination_is_home: self.are_home().1,
        }
    }

    /// Writes the record of where the flow stands. Who owns its addresses is asked when it is made.
    fn write(
        &self,
        bindings: &Bindings,
        (kind, end_reason): (RecordKind, EndReason),
        sampling_rate: u16,
        record: &mut FlowRecord,
    ) {
        let parties = self.parties(bindings);
        let (forward, reverse) = (self.pace(self.initiator()), self.pace(self.initiator().other()));
        *record = FlowRecord {
            first_ns: self.first_ns(),
            last_ns: self.last_ns(),
            packets_forward: forward.packets,
            bytes_forward: forward.bytes,
            packets_reverse: reverse.packets,
            bytes_reverse: reverse.bytes,
            policy_version: self.grounds.version.0,
            source_endpoint: parties.source_endpoint,
            destination_endpoint: parties.destination_endpoint,
            rule: self.grounds.rule,
            shadow_rule: self.grounds.shadow_rule,
            source_port: self.l4.source_port,
            destination_port: self.l4.destination_port,
            sampling_rate,
            kind: kind as u8,
            observation_point: parties.observation_point() as u8,
            end_reason: end_reason as u8,
            stage: self.grounds.stage as u8,
            action: action_number(self.grounds.action),
            tcp_flags_forward: forward.tcp_flags,
            tcp_flags_reverse: reverse.tcp_flags,
            ..FlowRecord::default()
        };
        self.key().describe(self.initiator(), record);
    }
}

/// Returns an index for arrays that hold a value per side.
pub(crate) fn side_index(side: Sender) -> usize {
    match side {
        Sender::Low => 0,
        Sender::High => 1,
    }
}
