//! Eleven values of an edge: what its minute holds, how well its parties are known from the training, and when it is.

use super::edges::{Edge, Edges};
use hashbrown::HashMap;

/// Values of an edge.
pub const EDGE_FEATURES: usize = 11;

/// Their names, in order.
pub const NAMES: [&str; EDGE_FEATURES] = [
    "records",
    "source_fan_out",
    "destination_fan_in",
    "source_records",
    "destination_records",
    "pair_known",
    "source_known",
    "destination_known",
    "network_pair_known",
    "day_sine",
    "day_cosine",
];

/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// How often each number occurred while learning; frozen, so that an attack that goes on does not become usual.
struct Known([HashMap<u32, u32>; 4]);

impl Known {
    fn of(training: &[Edge]) -> Self {
        let mut known: [HashMap<u32, u32>; 4] = Default::default();
        for edge in training {
            for (counts, key) in known.iter_mut().zip(Self::keys(edge)) {
                *counts.entry(key).or_default() += 1;
            }
        }
        Self(known)
    }

    fn keys(edge: &Edge) -> [u32; 4] {
        [edge.pair, edge.source, edge.destination, edge.network_pair]
    }

    fn counts(&self, edge: &Edge) -> [f64; 4] {
        let mut found = [0.0; 4];
        for ((found, counts), key) in found.iter_mut().zip(&self.0).zip(Self::keys(edge)) {
            *found = f64::from(counts.get(&key).copied().unwrap_or(0));
        }
        found
    }
}

/// What a party did in one minute.
#[derive(Clone, Copy, Default)]
struct Activity {
    edges: f64,
    records: f64,
}

/// Returns the values of all edges, the training ones first.
pub fn edge_features(edges: &Edges) -> Vec<[f32; EDGE_FEATURES]> {
    let known = Known::of(edges.training());
    let mut rows = Vec::with_capacity(edges.all().len());
    for minute in edges.all().chunk_by(|one, next| one.minute_s == next.minute_s) {
        let mut sources: HashMap<u32, Activity> = HashMap::new();
        let mut destinations: HashMap<u32, Activity> = HashMap::new();
        for edge in minute {
            sources.entry(edge.source).or_default().add(edge);
            destinations.entry(edge.destination).or_default().add(edge);
        }
        rows.extend(minute.iter().map(|edge| {
            row(edge, sources[&edge.source], destinations[&edge.destination], known.counts(edge))
        }));
    }
    rows
}

impl Activity {
    fn add(&mut self, edge: &Edge) {
        self.edges += 1.0;
        self.records += f64::from(edge.records);
    }
}

fn row(edge: &Edge, source: Activity, destination: Activity, known: [f64; 4]) -> [f32; EDGE_FEATURES] {
    let [pair, of_source, of_destination, network_pair] = known.map(f64::ln_1p);
    let angle = (edge.minute_s % DAY_S) as f64 / DAY_S as f64 * std::f64::consts::TAU;
    let values = [
        f64::from(edge.records).ln_1p(),
        source.edges.ln_1p(),
        destination.edges.ln_1p(),
        source.records.ln_1p(),
        destination.records.ln_1p(),
        pair,
        of_source,
        of_destination,
        network_pair,
        angle.sin(),
        angle.cos(),
    ];
    values.map(crate::model::single)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baselines::edges::EdgesBuilder;

    #[test]
    fn fans_and_records_are_those_of_the_minute_and_the_known_counts_those_of_the_training() {
        let mut builder = EdgesBuilder::<()>::default();
        let records = [
            (60, "10.0.0.1", "10.0.0.2"),
            (120, "10.0.0.1", "10.0.0.2"),
            (21_600, "10.0.0.1", "10.0.0.2"),
            (21_600, "10.0.0.1", "10.0.0.3"),
            (21_601, "10.0.0.1", "10.0.0.3"),
            (21_600, "10.0.9.4", "10.0.0.3"),
        ];
        for (at_s, source, destination) in records {
            builder.add(at_s, source.parse().unwrap(), destination.parse().unwrap()).unwrap();
        }
        let rows = edge_features(&builder.build(21_600).0);
        let counts = |place: usize| -> [f64; 9] {
            std::array::from_fn(|at| f64::from(rows[place][at]).exp_m1().round())
        };
        assert_eq!(counts(2), [1.0, 2.0, 1.0, 3.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
        assert_eq!(counts(3), [2.0, 2.0, 2.0, 3.0, 3.0, 0.0, 2.0, 0.0, 2.0]);
        assert_eq!(counts(4), [1.0, 1.0, 2.0, 1.0, 3.0, 0.0, 0.0, 0.0, 0.0]);
        assert!((rows[2][9] - 1.0).abs() < 1e-6 && rows[2][10].abs() < 1e-6);
    }
}
