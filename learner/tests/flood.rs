//! Ten million distinct keys: everything from the ring to the suggestions stays within its bounds, and every record is
//! counted.

#![expect(clippy::unwrap_used, reason = "a failed set-up is a failed test")]

use meshgate_learner::analyst::{Analyst, AnalystSettings};
use meshgate_learner::collector::SharedPolicies;
use meshgate_learner::feature_memory::{FeatureMemory, REMEMBERED_MAX};
use meshgate_learner::history::{History, SERIES_MAX};
use meshgate_learner::intake::Intake;
use meshgate_learner::rollup::SUMS_MAX;
use meshgate_learner::series::Parties;
use meshgate_policy::{FlowRecord, Policy, PolicyVersion, RecordKind, address_bytes, generate};
use std::sync::Arc;

const RECORDS: u64 = 10_000_000;
const BATCH: u64 = 4_096;
const RECORDS_PER_S: u64 = 200_000;
const NOW: u64 = 1_700_000_000;
/// The stated limit of the learner's memory.
const MEMORY_BYTES_MAX: u64 = 1 << 30;

/// Returns the largest resident size the process ever had.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1_024
}

/// A record that shares nothing with another: neither flow, nor address, nor series.
fn stranger(at: u64, now_s: u64) -> FlowRecord {
    let bits = u32::try_from(at).unwrap();
    let [_, segment, high, low] = bits.to_be_bytes();
    // Most are refusals, of which no flow is remembered; of every sixteen, one begins and never ends.
    let kind = if at.is_multiple_of(16) { RecordKind::Start } else { RecordKind::Denied };
    FlowRecord {
        kind: kind as u8,
        source: address_bytes(std::net::IpAddr::V4((0x2000_0000 | bits).into())),
        destination: address_bytes([10, 0, 0, 1].into()),
        source_port: 1,
        destination_port: u16::from_be_bytes([high, low]),
        segment: u16::from(segment) + 1,
        protocol: 6,
        sampling_rate: 1,
        policy_version: 1,
        packets_forward: 1,
        bytes_forward: 60,
        first_ns: now_s * 1_000_000_000 + at,
        last_ns: now_s * 1_000_000_000 + at,
        ..FlowRecord::default()
    }
}

#[test]
fn ten_million_strangers_stay_within_bounds_and_are_all_counted() {
    let policies = SharedPolicies::default();
    let policy = generate::policy(1, generate::Shape::new(2_000, 65, 10));
    let policy = Arc::new(Policy { version: PolicyVersion(1), ..policy });
    policies.lock().unwrap().insert(Arc::clone(&policy));
    let mut analyst = Analyst::new(AnalystSettings { window_s: 1, ..AnalystSettings::default() });
    let mut intake = Intake::new(policies, History::new(1).unwrap(), Parties::default(), 0);
    let mut memory = FeatureMemory::new(1);
    let (mut kept, mut left_out, mut series) = (0, 0, 0);
    let mut batch = Vec::new();
    for first in (0..RECORDS).step_by(usize::try_from(BATCH).unwrap()) {
        let now_s = NOW + first / RECORDS_PER_S;
        batch.clear();
        batch.extend((first..RECORDS.min(first + BATCH)).map(|at| stranger(at, now_s)));
        intake.add(&batch, now_s);
        assert!(intake.take_buckets(now_s).iter().all(|bucket| bucket.sums.len() <= SUMS_MAX));
        let is_last = first + BATCH >= RECORDS;
        if is_last {
            intake.close_all_windows();
        } else {
            intake.close_windows(now_s);
        }
        intake.hand_windows(|closed| {
            analyst.observe(&closed, &policy).unwrap();
            analyst.train(|steps| steps < 2);
            let window = closed.window;
            assert!(window.series.len() <= SERIES_MAX);
            kept += window.records;
            left_out += window.records_left_out;
            series += memory.describe(&window).len() as u64;
            Ok(())
        });
        let remembered = memory.len();
        assert!(remembered <= REMEMBERED_MAX);
    }
    let counts = intake.counters().read();
    assert!(counts.balance(), "{counts:?}");
    assert_eq!((counts.records, counts.windows_left_out), (RECORDS, 0));
    assert_eq!((counts.kept, counts.history_left_out), (kept, left_out));
    assert_eq!(series, kept, "every record kept is a series of its own");
    let checkpoint = analyst.checkpoint();
    let peak = peak_bytes();
    println!(
        "bar: learner_flood_peak = {} MiB, checkpoint {} MiB; {counts:?}",
        peak >> 20,
        checkpoint.len() >> 20
    );
    assert!(peak < MEMORY_BYTES_MAX, "{} MiB", peak >> 20);
}
