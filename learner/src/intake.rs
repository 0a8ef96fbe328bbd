//! What becomes of a record: what is new of its flow, who the parties are, and into which sums it goes.
//!
//! Needs no ring, no clock and no control: a test or a benchmark hands it records and the time.

use crate::collector::SharedPolicies;
use crate::collector_counts::{CollectorCounters, Count};
use crate::flow_totals::{FlowTotals, Increment, NothingNew};
use crate::history::{History, Observation};
use crate::memberships::{Membership, Memberships};
use crate::rollup::{Bucket, FlowSumKey, Rollup};
use crate::series::{ClosedWindow, Parties, SeriesKey, Window};
use meshgate_policy::{FlowRecord, Name, ObservationPoint, RecordKind};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError};

/// Hosts whose records one learner reads.
const HOSTS_MAX: usize = 4_096;
/// Windows that wait to be fetched: they close at most once a turn for each that is open.
const CLOSED_MAX: usize = 16;

/// Everything between a ring and who reports or analyses.
pub struct Intake {
    policies: SharedPolicies,
    memberships: Memberships,
    parties: Parties,
    totals: FlowTotals,
    rollup: Rollup,
    history: History,
    counters: Arc<CollectorCounters>,
    /// Hosts whose records are read.
    hosts: BTreeSet<Name>,
    closed: VecDeque<Window>,
    /// How many parties whoever takes windows has been told of.
    parties_told: usize,
}

impl Intake {
    /// Returns an intake that reads from a time on, in nanoseconds since 1970. Parties that an earlier run numbered
    /// keep their numbers, and whoever takes windows must know them.
    pub fn new(policies: SharedPolicies, history: History, parties: Parties, since_ns: u64) -> Self {
        Self {
            policies,
            memberships: Memberships::default(),
            parties_told: parties.len(),
            parties,
            totals: FlowTotals::new(since_ns),
            rollup: Rollup::default(),
            history,
            counters: Arc::default(),
            hosts: BTreeSet::new(),
            closed: VecDeque::new(),
        }
    }

    /// Returns the figures, which other threads may read while records come in.
    pub fn counters(&self) -> Arc<CollectorCounters> {
        Arc::clone(&self.counters)
    }

    /// Forgets the flows that went on: the exporter was restarted, and with it every flow.
    pub fn forget_flows(&mut self) {
        self.totals.clear();
    }

    /// Takes note that the records of this host are read.
    pub fn reads_host(&mut self, host: &str) {
        if self.hosts.len() < HOSTS_MAX
            && let Ok(host) = Name::new(host)
        {
            self.hosts.insert(host);
        }
    }

    /// Adds records that arrived together at `now_s` (seconds since 1970).
    pub fn add(&mut self, records: &[FlowRecord], now_s: u64) {
        self.memberships.follow(&self.policies.lock().unwrap_or_else(PoisonError::into_inner));
        records.iter().for_each(|record| self.add_record(record, now_s));
        self.counters.add(Count::Records, records.len() as u64);
        self.counters.set(Count::RollupLeftOut, self.rollup.records_left_out);
        self.counters.set(Count::Late, self.history.records_late());
    }

    /// Takes note of records that the ring says were lost.
    pub fn add_lost(&mut self, records: u64, now_s: u64) {
        self.counters.add(Count::Lost, records);
        self.rollup.add_lost(records, now_s);
        self.history.add_lost(records, now_s);
    }

    fn add_record(&mut self, record: &FlowRecord, now_s: u64) {
        let place = (record.policy_version(), record.segment());
        let addresses = [record.source, record.destination];
        let Some((source, destination)) = self.memberships.both(place, addresses, &mut self.parties) else {
            return self.counters.add(Count::WithoutPolicy, 1);
        };
        if is_told_elsewhere(record, source, &self.hosts) {
            return self.counters.add(Count::ToldElsewhere, 1);
        }
        let increment = match self.totals.increment(record, now_s) {
            Ok(increment) => increment,
            Err(NothingNew::UnknownKind) => return self.counters.add(Count::UnknownKind, 1),
            Err(NothingNew::NoRoom) => return self.counters.add(Count::FlowsLeftOut, 1),
            Err(NothingNew::BeforeReading) => return self.counters.add(Count::BeforeReading, 1),
        };
        let key = FlowSumKey::of(record, Arc::clone(&source.groups), Arc::clone(&destination.groups));
        self.rollup.add(&key, &increment, record, now_s);
        let is_kept = observation(record, increment, (source, destination))
            .is_some_and(|observation| self.history.add(&observation, now_s));
        self.counters.add(if is_kept { Count::Kept } else { Count::HistoryLeftOut }, 1);
    }

    /// Returns the buckets of the roll-ups that grew.
    pub fn take_buckets(&mut self, now_s: u64) -> Vec<Bucket> {
        self.rollup.take(now_s)
    }

    /// Closes the windows whose time is over.
    pub fn close_windows(&mut self, now_s: u64) {
        let closed = self.history.close(now_s);
        self.queue(closed);
    }

    /// Closes all windows, for the end.
    pub fn close_all_windows(&mut self) {
        let closed = self.history.close_all();
        self.queue(closed);
    }

    /// Hands the closed windows on, oldest first, with the parties that the receiver does not know yet. One that
    /// `hand` gives back is left out and counted: nobody waits.
    pub fn hand_windows(&mut self, mut hand: impl FnMut(ClosedWindow) -> Result<(), ClosedWindow>) {
        while let Some(window) = self.closed.pop_front() {
            let first_party = self.parties_told;
            let parties = self.parties.since(first_party).to_vec();
            match hand(ClosedWindow { window, first_party, parties }) {
                Ok(()) => {
                    self.counters.add(Count::WindowsHanded, 1);
                    self.parties_told = self.parties.len();
                }
                Err(_) => self.counters.add(Count::WindowsLeftOut, 1),
            }
        }
    }

    fn queue(&mut self, windows: Vec<Window>) {
        for window in windows {
            if self.closed.len() >= CLOSED_MAX {
                self.counters.add(Count::WindowsLeftOut, 1);
                continue;
            }
            self.closed.push_back(window);
        }
    }
}

/// Returns whether another host tells the same flow to this learner. A flow counts once: the home of its source wins.
///
/// A record from elsewhere on the path is left to the home of the source only if that home is a host whose records are
/// read here. So with the ring of one host, which is all that is read then, nothing is skipped: a flow that comes in
/// by the uplink is told by nobody else. Refusals are never skipped: a packet is refused at one place, and what is
/// refused here was let through at the home of its source.
fn is_told_elsewhere(record: &FlowRecord, source: &Membership, hosts: &BTreeSet<Name>) -> bool {
    record.observation_point != ObservationPoint::SourceHome as u8
        && record.kind != RecordKind::Denied as u8
        && hosts.len() > 1
        && source.home.as_ref().is_some_and(|home| hosts.contains(home))
}

/// Returns what history keeps of a record; none if a side has no number as a party.
fn observation(
    record: &FlowRecord,
    increment: Increment,
    (source, destination): (&Membership, &Membership),
) -> Option<Observation> {
    let service_port = if record.protocol().is_icmp() { record.source_port } else { record.destination_port };
    let key = SeriesKey {
        source: source.party?,
        destination: destination.party?,
        segment: record.segment,
        protocol: record.protocol,
        service_port,
    };
    Some(Observation {
        key,
        increment,
        source_address: record.source,
        destination_address: record.destination,
        rule: record.rule,
        policy_version: record.policy_version,
        last_ns: record.last_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::Policies;
    use crate::series::Party;
    use meshgate_policy::{
        Action, Endpoint, EndpointFlags, EndpointId, Group, GroupId, IntraGroup, Mac, Policy, PolicyVersion,
        SegmentId, address_bytes,
    };
    use std::sync::Mutex;

    const NOW: u64 = 1_700_000_040;

    fn endpoint(number: u8, host: &str) -> Endpoint {
        Endpoint {
            id: EndpointId(number.into()),
            name: Name::new(&format!("e{number}")).unwrap(),
            segment: SegmentId::DEFAULT,
            mac: Mac([2, 0, 0, 0, 0, number]),
            addresses: vec![[10, 0, 0, number].into()],
            routes: Vec::new(),
            flags: EndpointFlags::default(),
            host: Some(Name::new(host).unwrap()),
            device: None,
        }
    }

    fn group(id: u32, endpoints: &[u32]) -> Group {
        Group {
            id: GroupId(id),
            name: Name::new(&format!("g{id}")).unwrap(),
            segment: SegmentId::DEFAULT,
            prefixes: Vec::new(),
            endpoints: endpoints.iter().copied().map(EndpointId).collect(),
            intra_group: IntraGroup::Allow,
        }
    }

    /// Endpoint 1 of group 16 is at host a, endpoint 2 of group 17 at host b.
    fn policies() -> SharedPolicies {
        let policy = Policy {
            version: PolicyVersion(1),
            groups: vec![group(16, &[1]), group(17, &[2])],
            endpoints: vec![endpoint(1, "a"), endpoint(2, "b")],
            ..Policy::empty(Action::Deny)
        };
        let mut policies = Policies::default();
        policies.insert(Arc::new(policy));
        Arc::new(Mutex::new(policies))
    }

    fn intake(policies: SharedPolicies) -> Intake {
        Intake::new(policies, History::new(60).unwrap(), Parties::default(), 0)
    }

    fn record(kind: RecordKind, source_port: u16) -> FlowRecord {
        FlowRecord {
            kind: kind as u8,
            source: address_bytes([10, 0, 0, 1].into()),
            destination: address_bytes([10, 0, 0, 2].into()),
            source_endpoint: 1,
            destination_endpoint: 2,
            source_port,
            destination_port: 80,
            protocol: 6,
            segment: 1,
            policy_version: 1,
            packets_forward: 1,
            packets_reverse: 1,
            tcp_flags_reverse: 0x12,
            observation_point: ObservationPoint::SourceHome as u8,
            first_ns: NOW * 1_000_000_000,
            last_ns: NOW * 1_000_000_000,
            ..FlowRecord::default()
        }
    }

    fn windows(intake: &mut Intake) -> Vec<ClosedWindow> {
        let mut handed = Vec::new();
        intake.close_all_windows();
        intake.hand_windows(|window| {
            handed.push(window);
            Ok(())
        });
        handed
    }

    #[test]
    fn a_flow_ends_in_the_window_and_the_bucket_of_its_groups() {
        let mut intake = intake(policies());
        intake.add(
            &[record(RecordKind::Start, 1), record(RecordKind::End, 1), record(RecordKind::Denied, 2)],
            NOW,
        );
        let closed = windows(&mut intake).remove(0);
        let groups: [Party; 2] = [Party::Groups([16].into()), Party::Groups([17].into())];
        assert!(closed.first_party == 0 && closed.parties.iter().map(AsRef::as_ref).eq(&groups));
        let (key, sums) = closed.window.series[0];
        assert_eq!((key.source.0, key.destination.0, key.protocol, key.service_port), (0, 1, 6, 80));
        assert_eq!((sums.flows, sums.answered, sums.refused), (2, 1, 1));
        let bucket = intake.take_buckets(NOW).remove(0);
        assert_eq!(bucket.sums.values().map(|sum| sum.total.flows).sum::<u64>(), 2);
    }

    #[test]
    fn a_flow_that_two_hosts_tell_counts_once_and_with_one_host_nothing_is_skipped() {
        let elsewhere = |kind| FlowRecord {
            observation_point: ObservationPoint::DestinationHome as u8,
            ..record(kind, 1)
        };
        let told = [elsewhere(RecordKind::Start), elsewhere(RecordKind::Denied)];
        let skipped = |hosts: &[&str]| {
            let mut intake = intake(policies());
            hosts.iter().for_each(|host| intake.reads_host(host));
            intake.add(&told, NOW);
            let counts = intake.counters().read();
            assert!(counts.balance());
            counts.told_elsewhere
        };
        assert_eq!(skipped(&["b"]), 0);
        assert_eq!(skipped(&["b", "c"]), 0);
        assert_eq!(skipped(&["a", "b"]), 1);
    }

    #[test]
    fn every_record_is_accounted_for() {
        let mut intake = intake(SharedPolicies::default());
        intake.add(&[record(RecordKind::Start, 1)], NOW);
        assert_eq!(intake.counters().read().without_policy, 1);
        *intake.policies.lock().unwrap() = policies().lock().unwrap().clone();
        intake.totals = FlowTotals::new((NOW + 1) * 1_000_000_000);
        let unknown = FlowRecord { kind: 9, ..record(RecordKind::Start, 1) };
        intake.add(&[record(RecordKind::Start, 1), record(RecordKind::Active, 2), unknown], NOW + 600);
        intake.add_lost(5, NOW + 600);
        let counts = intake.counters().read();
        assert_eq!((counts.records, counts.kept, counts.before_reading, counts.unknown), (4, 1, 1, 1));
        assert_eq!((counts.lost, counts.late), (5, 1));
        assert!(counts.balance());
        assert_eq!(windows(&mut intake)[0].window.records_lost, 5);
    }

    #[test]
    fn a_window_that_nobody_takes_is_counted_and_its_parties_come_with_the_next() {
        let mut intake = intake(policies());
        intake.add(&[record(RecordKind::Start, 1)], NOW);
        intake.close_windows(NOW + 100);
        intake.hand_windows(Err);
        intake.add(&[record(RecordKind::Start, 2)], NOW + 100);
        let closed = windows(&mut intake);
        assert_eq!((closed.len(), closed[0].first_party, closed[0].parties.len()), (1, 0, 2));
        let counts = intake.counters().read();
        assert_eq!((counts.windows, counts.windows_left_out), (1, 1));
    }
}
