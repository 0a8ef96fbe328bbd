//! A world of recorded flows whose attacks are known: a suggestion is what the network of a source did to a destination on a
//! day, and it is right to follow it where that was an attack.
//!
//! The static score is the detector's most unusual minute of the day. Days of the training are those before the first answer: the
//! detector judges them as days that it does not know.

use super::world::{Case, World};
use crate::baselines::edges::Edge;
use crate::calibration::weight_of_evidence;
use crate::evaluate::learned::{CHUNK_ROWS, Learned, RowJudgement};
use crate::evaluate::moment::DAY_S;
use crate::evaluate::reading::Recording;
use crate::feedback::level::Seen;
use crate::feedback::point::ENTITIES;
use crate::feedback::standpoint::number;
use crate::series::network;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What the day of a pair was like.
#[derive(Clone, Debug, Default)]
struct Sums {
    /// The most unusual row, with its score.
    row: Vec<f64>,
    score: f64,
    service: u64,
    rows: f64,
    evidence: f64,
    minutes: BTreeSet<u64>,
    sources: BTreeSet<u32>,
    is_attack: bool,
}

/// Returns the world of a recording, by a detector of this seed.
pub fn world(recording: &Recording, learned: &Learned, seed: u64) -> World {
    let edges = recording.edges.all();
    let training = recording.edges.training().len();
    let mut days: BTreeMap<u64, BTreeMap<(IpAddr, IpAddr), Sums>> = BTreeMap::new();
    let address = |number: u32| recording.edges.addresses()[number as usize];
    learned.judge_rows(seed, CHUNK_ROWS, |judged| {
        let edge = &edges[judged.place];
        let key = (network(address(edge.source)), address(edge.destination));
        let sums = days.entry(edge.minute_s / DAY_S).or_default().entry(key).or_default();
        sums.add(&judged, edge, recording.attacks[judged.place].is_some());
    });
    let first_test_day = edges.get(training).map_or(u64::MAX, |edge| edge.minute_s / DAY_S);
    let mut world = World { name: "recorded", ..World::default() };
    for (day, pairs) in days {
        let cases: Vec<Case> = pairs.into_iter().map(|(key, sums)| sums.case(key)).collect();
        if day < first_test_day {
            world.before.push(cases.into_iter().map(|case| case.seen).collect());
        } else {
            world.days.push(cases);
        }
    }
    world
}

impl Sums {
    fn add(&mut self, judged: &RowJudgement<'_>, edge: &Edge, is_attack: bool) {
        let score = judged.p_value.map_or(0.0, weight_of_evidence);
        if self.row.is_empty() || score > self.score {
            self.row = judged.row.iter().map(|value| f64::from(*value)).collect();
            self.service = u64::from(judged.key.protocol) << 16 | u64::from(judged.key.service_port);
            self.score = score;
        }
        self.rows += 1.0;
        self.evidence += score;
        self.minutes.insert(edge.minute_s);
        self.sources.insert(edge.source);
        self.is_attack |= is_attack;
    }

    fn case(self, (source, destination): (IpAddr, IpAddr)) -> Case {
        let mut features = self.row;
        features.extend([
            self.rows.ln_1p(),
            (self.minutes.len() as f64).ln_1p(),
            (self.sources.len() as f64).ln_1p(),
            self.evidence / self.rows.max(1.0),
        ]);
        let entities: [u64; ENTITIES] = [
            number(&["source", &source.to_string()]),
            number(&["destination", &destination.to_string()]),
            number(&["pair", &source.to_string(), &destination.to_string()]),
            self.service,
        ];
        let seen = Seen { static_score: self.score, features, entities };
        Case { seen, is_right: self.is_attack, is_of_situation: true }
    }
}
