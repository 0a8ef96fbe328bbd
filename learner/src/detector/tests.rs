//! The detector in small worlds: a few groups that talk, and something that happens to them.

use super::*;
use crate::feature_memory::FeatureMemory;
use crate::features::FEATURES;
use crate::train::{Hyperparameters, Trainer};
use meshgate_policy::generate::Rng;
use std::collections::BTreeMap;

const WEB: u32 = 1;
const DATABASE: u32 = 2;
const DEV: u32 = 3;
const PRODUCTION: u32 = 4;
const SSH: u16 = 22;

/// Ten services, with their flows a window.
const STEADY: [(u32, u32, u16, u64); 10] = [
    (WEB, DATABASE, 5432, 12),
    (WEB, DATABASE, 80, 30),
    (WEB, PRODUCTION, 443, 6),
    (DEV, WEB, 80, 8),
    (DEV, WEB, 443, 4),
    (DEV, DATABASE, 5432, 2),
    (PRODUCTION, DATABASE, 5432, 15),
    (PRODUCTION, WEB, 80, 10),
    (DATABASE, DATABASE, 7000, 20),
    (PRODUCTION, PRODUCTION, 8080, 3),
];

/// A number scattered like arrivals at random.
fn poisson(mean: u64, rng: &mut Rng) -> u64 {
    let mut product = 1.0;
    let least = (-(mean as f64)).exp();
    for count in 0.. {
        product *= (rng.below(1 << 32) + 1) as f64 / (1u64 << 32) as f64;
        if product <= least {
            return count;
        }
    }
    unreachable!("a product of shares falls below every bound")
}

fn key(source: u32, destination: u32, service_port: u16) -> SeriesKey {
    let (source, destination) = (PartyId(source), PartyId(destination));
    SeriesKey { source, destination, segment: 1, protocol: 6, service_port }
}

fn answered(flows: u64) -> SeriesSums {
    SeriesSums {
        flows,
        answered: flows,
        packets_forward: flows * 6,
        packets_reverse: flows * 5,
        bytes_forward: flows * 700,
        bytes_reverse: flows * 4_000,
        sources: 2,
        destinations: 2,
        ..SeriesSums::default()
    }
}

fn attempts(flows: u64) -> SeriesSums {
    let bytes_forward = flows * 60;
    SeriesSums {
        flows,
        packets_forward: flows,
        bytes_forward,
        sources: 2,
        destinations: 2,
        ..SeriesSums::default()
    }
}

/// Everything that is needed to live through windows.
struct World {
    rng: Rng,
    parties: Parties,
    memory: FeatureMemory,
    detector: Detector,
    trainer: Option<Trainer>,
    number: u64,
}

impl World {
    fn new(seed: u64, learns: bool) -> Self {
        let hyperparameters =
            Hyperparameters { batch_chunks: 16, rate_steps: 300, ..Hyperparameters::default() };
        Self {
            rng: Rng::new(seed),
            parties: Parties::default(),
            memory: FeatureMemory::new(1),
            detector: Detector::new(DetectorConfig::default()),
            trainer: learns.then(|| Trainer::new(hyperparameters)),
            number: 0,
        }
    }

    fn steady(&mut self) -> BTreeMap<SeriesKey, SeriesSums> {
        self.steady_without(u32::MAX)
    }

    fn steady_without(&mut self, quiet: u32) -> BTreeMap<SeriesKey, SeriesSums> {
        let loud = STEADY.into_iter().filter(|(source, ..)| *source != quiet);
        let series = loud.map(|(source, destination, port, mean)| {
            (key(source, destination, port), answered(poisson(mean, &mut self.rng)))
        });
        series.filter(|(_, sums)| sums.flows > 0).collect()
    }

    /// Lives through a window: judged first, learned from then.
    fn live(&mut self, series: &BTreeMap<SeriesKey, SeriesSums>) -> Vec<Anomaly> {
        let window = Window {
            start_s: self.number,
            width_s: 1,
            series: series.iter().map(|(key, sums)| (*key, *sums)).collect(),
            ..Window::default()
        };
        let mut rows = self.memory.describe(&window);
        let anomalies = self.detector.inspect(&window, &self.parties, &mut rows);
        if let Some(trainer) = &mut self.trainer {
            trainer.observe(&rows, self.number);
            trainer.train(|steps| steps < 3);
            if self.number % 5 == 4 {
                self.detector.adopt(trainer.model());
            }
        }
        self.number += 1;
        anomalies
    }
}

/// Lives through steady windows, then through attempts at SSH from a group that never did that.
fn burst(seed: u64, learns: bool, quiet: u32) -> (Vec<Anomaly>, Vec<Vec<Anomaly>>) {
    let mut world = World::new(seed, learns);
    let mut before = Vec::new();
    for _ in 0..40 {
        let steady = world.steady_without(quiet);
        before.extend(world.live(&steady));
    }
    let during = (0..3).map(|_| {
        let mut series = world.steady_without(quiet);
        series.insert(key(DEV, PRODUCTION, SSH), attempts(5 + world.rng.below(10)));
        world.live(&series)
    });
    (before, during.collect())
}

#[test]
fn attempts_at_a_service_that_was_never_used_are_found_within_three_windows() {
    for (seed, learns) in [(1, false), (2, false), (3, false), (4, true), (5, true)] {
        let (before, during) = burst(seed, learns, u32::MAX);
        assert_eq!(before, [], "seed {seed}");
        let found: Vec<&Anomaly> =
            during.iter().flatten().filter(|found| found.key == key(DEV, PRODUCTION, SSH)).collect();
        let first = found.first().unwrap_or_else(|| panic!("nothing found, seed {seed}: {during:#?}"));
        assert!(first.p_value < 3e-4, "seed {seed}: {first:#?}");
        assert!(first.is_new_pair && first.is_new_series && !first.is_new_source);
        assert_eq!(first.model_p_value.is_some(), learns);
        assert_eq!(first.surprises.is_empty(), !learns);
        assert!(
            during.iter().flatten().all(|other| other.key.service_port == SSH),
            "seed {seed}: {during:#?}"
        );
    }
}

#[test]
fn attempts_of_a_source_that_never_spoke_are_found_as_well() {
    for seed in 1..4 {
        let (before, during) = burst(seed, true, DEV);
        assert_eq!(before, [], "seed {seed}");
        let found = during.iter().flatten().find(|found| found.key.service_port == SSH);
        let found = found.unwrap_or_else(|| panic!("nothing found, seed {seed}"));
        assert!(found.is_new_source && found.p_value < 0.001, "seed {seed}: {found:#?}");
        assert!(found.surprises.iter().all(|surprise| surprise.nats > 0.0));
        assert!(found.surprises.is_sorted_by(|a, b| a.nats >= b.nats));
    }
}

#[test]
fn steady_traffic_raises_no_alarm() {
    let mut world = World::new(11, false);
    for _ in 0..3_000 {
        let steady = world.steady();
        let found = world.live(&steady);
        assert!(found.is_empty(), "window {}: {found:#?}", world.number);
    }
}

#[test]
fn steady_traffic_raises_no_alarm_while_the_network_learns() {
    let mut world = World::new(12, true);
    for _ in 0..150 {
        let steady = world.steady();
        let found = world.live(&steady);
        assert!(found.is_empty(), "window {}: {found:#?}", world.number);
    }
}

#[test]
fn a_slow_drift_and_a_service_that_comes_every_half_minute_raise_no_alarm() {
    let mut world = World::new(13, true);
    for number in 0..200 {
        let mut series = world.steady();
        let drifting = poisson(5 + number / 6, &mut world.rng);
        series.insert(key(PRODUCTION, WEB, 9_000), answered(drifting.max(1)));
        if number % 30 == 3 {
            series.insert(key(DATABASE, PRODUCTION, 873), answered(40));
        }
        let found = world.live(&series);
        assert!(found.is_empty(), "window {number}: {found:#?}");
    }
}

#[test]
fn a_burst_on_a_known_service_is_found() {
    let mut world = World::new(14, false);
    for _ in 0..200 {
        let steady = world.steady();
        assert!(world.live(&steady).is_empty());
    }
    let mut series = world.steady();
    series.insert(key(DEV, WEB, 80), answered(600));
    let found = world.live(&series);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, key(DEV, WEB, 80));
    assert!(found[0].count_p_value < 1e-4 && found[0].novelty_p_value == 1.0);
    assert!(!found[0].is_new_series);
}

#[test]
fn a_scan_of_one_attempt_each_counts_as_one_thing() {
    let mut world = World::new(15, false);
    for _ in 0..60 {
        let steady = world.steady();
        world.live(&steady);
    }
    let mut series = world.steady();
    (0..500).for_each(|number| {
        series.insert(key(DEV, 1_000 + number, SSH), attempts(1));
    });
    let found = world.live(&series);
    assert_eq!(found.len(), ANOMALIES_MAX);
    assert!(found.iter().all(|found| found.key.source == PartyId(DEV) && found.is_new_pair));
    // One attempt alone is too little to speak of.
    let mut series = world.steady();
    series.insert(key(WEB, 2_000, SSH), attempts(1));
    assert!(world.live(&series).iter().all(|found| found.key.source != PartyId(WEB)));
}

#[test]
fn an_attack_does_not_make_itself_usual_but_a_world_that_changed_is_accepted() {
    // Some new pairs each window: of one source, as a worm would have, or of everybody.
    let after = |world: &mut World, windows: u32, pairs: u32, sources: &[u32]| {
        let mut alarms = 0;
        for _ in 0..windows {
            let mut series = world.steady();
            let first = 10_000 + u32::try_from(world.number).unwrap() * 32;
            for (pair, source) in (first..).take(usize::try_from(pairs).unwrap()).zip(sources.iter().cycle())
            {
                series.insert(key(*source, pair, SSH), attempts(20));
            }
            alarms += world.live(&series).len();
        }
        alarms
    };
    let mut world = World::new(16, false);
    assert_eq!(after(&mut world, 100, 0, &[DEV]), 0);
    assert!(after(&mut world, 200, 1, &[DEV]) >= 195);
    // Most of the rows, and for as long as one likes: still it is one source.
    after(&mut world, 1_000, 24, &[DEV]);
    let attack = after(&mut world, 200, 24, &[DEV]);
    assert!(attack > 4_500, "{attack}");
    // From more than half of everybody being alarms for ten minutes of seconds on, they are what is usual.
    let everybody = [WEB, DATABASE, DEV, PRODUCTION];
    let mut changed = World::new(16, false);
    assert_eq!(after(&mut changed, 100, 0, &[DEV]), 0);
    after(&mut changed, 1_000, 24, &everybody);
    let later = after(&mut changed, 200, 24, &everybody);
    assert!(later < 500, "{later}");
}

#[test]
fn rows_that_cannot_be_judged_are_refused_and_counted() {
    let mut detector = Detector::new(DetectorConfig::default());
    let window = Window { series: vec![(key(WEB, DEV, 80), answered(1))], width_s: 1, ..Window::default() };
    let mut rows = [
        (key(WEB, DEV, 80), [f32::NAN; FEATURES]),
        (key(WEB, DEV, 81), [0.0; FEATURES]),
        (key(WEB, DEV, 80), [0.0; FEATURES]),
    ];
    assert_eq!(detector.judge(&window, &Parties::default(), &mut rows).len(), 1);
    assert_eq!(detector.status().rows_refused, 2);
    assert!(detector.inspect(&Window::default(), &Parties::default(), &mut []).is_empty());
    assert_eq!(detector.status().windows, 2);
}

#[test]
fn a_flood_of_series_leaves_the_known_ones_in_place() {
    let mut detector = Detector::new(DetectorConfig { warm_up_windows: 0, ..DetectorConfig::default() });
    let steady = key(WEB, DATABASE, 80);
    for number in 0..3u32 {
        let mut keys: Vec<SeriesKey> =
            (0..40_000).map(|at| key(1_000 + number * 40_000 + at, DATABASE, 80)).collect();
        keys.push(steady);
        keys.sort();
        let window = Window {
            series: keys.iter().map(|key| (*key, attempts(1))).collect(),
            width_s: 1,
            ..Window::default()
        };
        let mut rows: Vec<(SeriesKey, Row)> = keys.iter().map(|key| (*key, [0.0; FEATURES])).collect();
        detector.judge(&window, &Parties::default(), &mut rows);
    }
    assert!(detector.series.len() <= SERIES_MAX);
    assert!(detector.series.get(&steady).is_some());
    assert!(detector.status().series_left_out >= 120_001 - SERIES_MAX as u64);
}
