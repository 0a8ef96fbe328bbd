//! Measures how many records a second one core takes in, with everything on: totals, group sets, roll-ups, history; and how
//! many if the same core also analyses every window: features, detector with a trained network, profile, adviser.
//!
//! `cargo run --release -p meshgate-learner --example collector_rate`
//!
//! 100,000 flows among 2,000 endpoints in 65 groups are told by four records each (start, two in between, end), in the
//! order in which an exporter would: flows overlap. Times advance as at 200,000 records a second, so that buckets and
//! windows close as they do live; grown buckets are dropped, as others' work. Learning has a share of the time of its own and
//! is not timed.

#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

use meshgate_learner::analyst::{Analyst, AnalystSettings};
use meshgate_learner::collector::SharedPolicies;
use meshgate_learner::detector::DetectorConfig;
use meshgate_learner::history::History;
use meshgate_learner::intake::Intake;
use meshgate_learner::series::{ClosedWindow, Parties};
use meshgate_policy::generate::{Rng, Shape, policy};
use meshgate_policy::{
    EndpointId, FlowRecord, ObservationPoint, Policy, PolicyVersion, RecordKind, address_bytes,
};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

const FLOWS: u64 = 100_000;
const ENDPOINTS: usize = 2_000;
const GROUPS: usize = 65;
const BATCH_RECORDS: usize = 4_096;
const RECORDS_PER_S: u64 = 200_000;
const ROUNDS: u64 = 40;
const NOW_S: u64 = 1_700_000_000;
const SEED: u64 = 7;
/// Width of a window in seconds: the analyst has six times as many of them to look at as by default.
const WINDOW_S: u32 = 10;
/// Training steps after each of the first windows, so that the detector has a network to ask.
const STEPS: u64 = 60;
const WINDOWS_LEARNED: u64 = 2;
/// Endpoints that offer a service; all of them ask.
const SERVERS: usize = 40;
const SERVICES: [u16; 8] = [443, 80, 53, 22, 5_432, 6_379, 8_080, 9_092];
const KINDS: [RecordKind; 4] = [RecordKind::Start, RecordKind::Active, RecordKind::Active, RecordKind::End];

/// Returns an address that an endpoint owns, with the endpoint and its segment.
fn owners(policy: &Policy) -> Vec<(IpAddr, EndpointId, u16)> {
    let owned = |endpoint: &meshgate_policy::Endpoint| {
        endpoint.addresses.first().map(|address| (*address, endpoint.id, endpoint.segment.0))
    };
    policy.endpoints.iter().filter_map(owned).collect()
}

/// Returns the records of one round of flows, all four kinds in turn.
fn records(owners: &[(IpAddr, EndpointId, u16)], round: u64) -> Vec<FlowRecord> {
    let mut random = Rng::new(SEED);
    let flows: Vec<FlowRecord> = (0..FLOWS)
        .map(|number| {
            let (source, source_endpoint, segment) = owners[random.index(owners.len())];
            let server = random.index(SERVERS);
            let (destination, destination_endpoint, _) = owners[server];
            let service = SERVICES[server % SERVICES.len()];
            FlowRecord {
                source: address_bytes(source),
                destination: address_bytes(destination),
                source_endpoint: source_endpoint.0,
                destination_endpoint: destination_endpoint.0,
                source_port: u16::try_from(number % 60_000).unwrap_or(0) + 1_024,
                destination_port: service,
                segment,
                protocol: if service == 53 { 17 } else { 6 },
                policy_version: 1,
                sampling_rate: 1,
                observation_point: ObservationPoint::SourceHome as u8,
                stage: 7,
                action: 1,
                first_ns: NOW_S * 1_000_000_000 + round * FLOWS + number,
                ..FlowRecord::default()
            }
        })
        .collect();
    let told = (1_u64..).zip(KINDS).flat_map(|(turn, kind)| {
        flows.iter().map(move |flow| FlowRecord {
            kind: kind as u8,
            packets_forward: turn * 5,
            bytes_forward: turn * 900,
            packets_reverse: (turn - 1) * 4,
            bytes_reverse: (turn - 1) * 4_000,
            tcp_flags_reverse: if turn > 1 { 0x1a } else { 0 },
            ..*flow
        })
    });
    told.collect()
}

/// Looks at closed windows, and measures how long that takes.
struct Analysis {
    analyst: Analyst,
    policy: Arc<Policy>,
    windows: u64,
    series: usize,
    spent_ns: u128,
}

impl Analysis {
    fn new(policy: Arc<Policy>) -> Self {
        // What comes before calibration costs less and is not what is asked for.
        let detector = DetectorConfig { warm_up_windows: WINDOWS_LEARNED, ..DetectorConfig::default() };
        let settings = AnalystSettings { window_s: WINDOW_S, detector, ..AnalystSettings::default() };
        Self { analyst: Analyst::new(settings), policy, windows: 0, series: 0, spent_ns: 0 }
    }

    fn look(&mut self, closed: &ClosedWindow) {
        let start = Instant::now();
        let findings = self.analyst.observe(closed, &self.policy).expect("parties come in order");
        self.spent_ns += start.elapsed().as_nanos();
        drop(findings);
        self.windows += 1;
        self.series += closed.window.series.len();
        if self.windows <= WINDOWS_LEARNED {
            self.analyst.train(|steps| steps < STEPS);
        }
    }
}

fn main() {
    meshgate_learner::freed_memory::keep(); // as the program does
    let policy =
        Arc::new(Policy { version: PolicyVersion(1), ..policy(SEED, Shape::new(ENDPOINTS, GROUPS, 100)) });
    let owners = owners(&policy);
    let policies = SharedPolicies::default();
    policies.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(&policy));
    let history = History::new(WINDOW_S).expect("ten seconds are a width");
    let mut intake = Intake::new(policies, history, Parties::default(), 0);
    let mut analysis = Analysis::new(policy);
    let (mut taken, mut spent_ns) = (0_u64, 0_u128);
    for round in 0..ROUNDS {
        let mut records = records(&owners, round);
        for batch in records.chunks_mut(BATCH_RECORDS) {
            let now_s = NOW_S + taken / RECORDS_PER_S;
            batch.iter_mut().for_each(|record| record.last_ns = now_s * 1_000_000_000);
            let mut closed = Vec::new();
            let start = Instant::now();
            intake.add(batch, now_s);
            drop(intake.take_buckets(now_s));
            intake.close_windows(now_s);
            intake.hand_windows(|window| {
                closed.push(window);
                Ok(())
            });
            spent_ns += start.elapsed().as_nanos();
            closed.iter().for_each(|window| analysis.look(window));
            taken += batch.len() as u64;
        }
    }
    let counts = intake.counters().read();
    assert!(counts.balance() && counts.records == taken, "{counts:?}");
    let Analysis { windows, series, spent_ns: analysed_ns, .. } = analysis;
    assert!(windows > 2 * WINDOWS_LEARNED, "{windows} windows");
    let rate = |spent_ns: u128| u128::from(taken) * 1_000_000_000 / spent_ns.max(1);
    println!("{taken} records of {FLOWS} flows at a time, {windows} windows, {series} series; {counts:?}");
    println!("analyst: {} ms a window", analysed_ns / u128::from(windows) / 1_000_000);
    println!("bar: collector = {} records/s", rate(spent_ns));
    println!("bar: collector_and_analyst = {} records/s", rate(spent_ns + analysed_ns));
}
