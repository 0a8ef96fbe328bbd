//! The product's own way of judging, over edges: the detector's answer, and what its parts say alone.
//!
//! Recorded flows go through the same history and the same memory of features as live ones do, in windows of a minute whose
//! parties are addresses. The detector studies the training windows, the network learns from their rows in epochs, and what
//! both find usual is calibrated on them. Then the detector walks through the test windows in order of time, as it does
//! live: it judges a window first and learns from it then. An edge with several services gets the score of its most unusual
//! one.
//!
//! **What memory is worth.** The same network is trained a second time on rows one by one and judges from an empty state: it
//! sees everything that the other sees, but for what the series did before.

use super::EvaluateError;
use super::scorer::{Scorer, Scores};
use crate::baselines::edges::{Edges, MINUTE_S};
use crate::calibration::weight_of_evidence;
use crate::detector::{Answer, Detector, DetectorConfig, Judgement, Lesson};
use crate::feature_memory::FeatureMemory;
use crate::features::Row;
use crate::history::History;
use crate::model::Model;
use crate::recorded::{Grouping, RecordedWindows};
use crate::recorded_flow::{MergedFlows, RecordedFlow};
use crate::series::{Parties, Party, PartyId, SeriesKey, Window};
use crate::train::{Hyperparameters, Trainer};
use hashbrown::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// Names of the methods.
const FORESTS: &str = "detector's forests alone";
const DENSITY: &str = "GRU density alone";
const DENSITY_FORGETFUL: &str = "GRU density without memory alone";
const DETECTOR: &str = "detector";
const DETECTOR_FORGETFUL: &str = "detector without memory";

/// Methods whose gain over another is told.
pub const COMPARED: [(&str, &str); 3] =
    [(DETECTOR, DETECTOR_FORGETFUL), (DENSITY, DENSITY_FORGETFUL), (DETECTOR, FORESTS)];

/// Seconds of a window: those of an edge.
const WIDTH_S: u32 = 60;
const _: () = assert!(WIDTH_S as u64 == MINUTE_S);

/// Windows of a day.
const DAY_WINDOWS: u64 = 1_440;

/// Spans that the training is cut into at least.
const EPOCHS_MIN: u64 = 4;

/// Times that the network sees each training row.
const EPOCHS: u64 = 8;

/// Rows of a series that are learned in one piece: half an hour of a busy one.
pub const CHUNK_ROWS: usize = 32;

/// The detector, with the windows that it judges.
pub struct Learned {
    lessons: Vec<Lesson>,
    /// The edge of each row.
    places: Vec<Vec<usize>>,
    /// Windows to learn from.
    training: usize,
    parties: Parties,
    edges: usize,
}

/// What is thought of a row of an edge.
#[derive(Clone, Copy, Debug)]
pub struct RowJudgement<'a> {
    /// The edge.
    pub place: usize,
    /// The series.
    pub key: &'a SeriesKey,
    /// The row, with how it compares with other days.
    pub row: &'a Row,
    /// The weight of evidence of the forests; none before there is one.
    pub forest: Option<f64>,
    /// Negative log likelihood by the network, in nats; none without one.
    pub density: Option<f64>,
    /// The calibrated answer.
    pub p_value: Option<f64>,
}

/// Scores of all edges by one way of judging.
struct Judged {
    forest: Vec<f64>,
    density: Vec<f64>,
    detector: Vec<f64>,
}

impl Learned {
    /// Reads the flows up to the end of the test into windows, beside the edges that were read from the same files.
    pub fn read(files: &[PathBuf], edges: &Edges, test_until_s: u64) -> Result<Self, EvaluateError> {
        let is_before_end = |flow: &RecordedFlow| flow.time_ns / 1_000_000_000 < test_until_s;
        let flows = MergedFlows::open(files)?.take_while(|flow| flow.as_ref().map_or(true, is_before_end));
        let history = History::new(WIDTH_S).expect("a minute is a width that windows can have");
        let mut recorded = RecordedWindows::new(flows, Grouping::by_address(), history);
        let mut memory = FeatureMemory::new(WIDTH_S);
        let (mut lessons, mut places) = (Vec::new(), Vec::new());
        let mut minutes = edges.all().chunk_by(|one, next| one.minute_s == next.minute_s).peekable();
        let mut place = 0;
        while let Some(window) = recorded.next_window()? {
            while let Some(minute) = minutes.next_if(|minute| minute[0].minute_s < window.start_s) {
                place += minute.len();
            }
            let mut open = HashMap::new();
            if let Some(minute) = minutes.peek().filter(|minute| minute[0].minute_s == window.start_s) {
                let address = |number: u32| edges.addresses()[usize::try_from(number).unwrap_or(usize::MAX)];
                let edges = minute.iter().map(|edge| (address(edge.source), address(edge.destination)));
                open.extend(edges.zip(place..));
            }
            let (lesson, found) = described(window, &mut memory, recorded.parties(), &open);
            lessons.push(lesson);
            places.push(found);
        }
        let train_until_s = edges.test().first().map_or(u64::MAX, |edge| edge.minute_s);
        let training = lessons.partition_point(|lesson| lesson.window.start_s < train_until_s);
        let parties = recorded.parties().clone();
        Ok(Self { lessons, places, training, parties, edges: edges.all().len() })
    }

    /// Returns the scores with a network that remembers `chunk_rows` rows of a series, 1 for none.
    fn judge(&self, seed: u64, chunk_rows: usize) -> Judged {
        let mut judged = Judged::nothing(self.edges);
        self.judge_rows(seed, chunk_rows, |row| {
            judged.raise(row.place, row.forest, row.density, row.p_value);
        });
        judged
    }

    /// Hands out what is thought of each row, in order of time, by a network that remembers `chunk_rows` rows of a series.
    pub fn judge_rows(&self, seed: u64, chunk_rows: usize, mut take: impl FnMut(RowJudgement<'_>)) {
        let config = DetectorConfig {
            warm_up_windows: self.training as u64,
            // Four spans at least, each of which the others can vouch for; days where there are so many.
            first_epoch_windows: (self.training as u64 / EPOCHS_MIN).clamp(1, DAY_WINDOWS),
            seed,
            ..DetectorConfig::default()
        };
        let mut detector = Detector::new(config);
        let mut lessons = self.lessons[..self.training].to_vec();
        detector.study(&mut lessons, &self.parties);
        detector.adopt(train(&lessons, seed, chunk_rows));
        detector.forget_between(chunk_rows == 1);
        let answers = detector.calibrate(&lessons, &self.parties);
        let rows = lessons.iter().flat_map(|lesson| &lesson.rows);
        for ((place, (key, row)), answer) in self.places.iter().flatten().zip(rows).zip(answers) {
            let Answer { forest, density, p_value } = answer;
            take(RowJudgement { place: *place, key, row, forest, density, p_value });
        }
        for (lesson, places) in self.lessons.iter().zip(&self.places).skip(self.training) {
            let mut rows = lesson.rows.clone();
            let places: HashMap<SeriesKey, usize> =
                rows.iter().map(|(key, _)| *key).zip(places.iter().copied()).collect();
            let judgements = detector.judge(&lesson.window, &self.parties, &mut rows);
            let described: HashMap<SeriesKey, Row> = rows.into_iter().collect();
            for judgement in judgements {
                let place = places[&judgement.key];
                let Judgement { key, forest, density, p_value, .. } = judgement;
                take(RowJudgement { place, key: &key, row: &described[&key], forest, density, p_value });
            }
        }
    }
}

impl Judged {
    fn nothing(edges: usize) -> Self {
        let nothing = vec![f64::NAN; edges];
        Self { forest: nothing.clone(), density: nothing.clone(), detector: nothing }
    }

    /// Gives an edge scores, unless it has larger ones from another of its series.
    fn raise(&mut self, place: usize, forest: Option<f64>, density: Option<f64>, p_value: Option<f64>) {
        let scores = [(&mut self.forest, forest), (&mut self.density, density)];
        let detector = (&mut self.detector, p_value.map(weight_of_evidence));
        for (scores, score) in scores.into_iter().chain([detector]) {
            // The maximum of a number and of none is the number.
            scores[place] = scores[place].max(score.unwrap_or(f64::NAN));
        }
    }
}

/// Returns the network after its epochs over the rows of these lessons.
fn train(lessons: &[Lesson], seed: u64, chunk_rows: usize) -> Model {
    let mut series: HashMap<SeriesKey, Vec<Row>> = HashMap::new();
    let mut order = Vec::new();
    for (key, row) in lessons.iter().flat_map(|lesson| &lesson.rows) {
        let new = || {
            order.push(*key);
            Vec::new()
        };
        series.entry(*key).or_insert_with(new).push(*row);
    }
    // In order of appearance: that of the table is another in each run.
    let chunks: Vec<&[Row]> = order.iter().flat_map(|key| series[key].chunks(chunk_rows)).collect();
    let defaults = Hyperparameters::default();
    // As many rows a step, whatever the length of a chunk.
    let batch_chunks = defaults.batch_chunks * CHUNK_ROWS / chunk_rows;
    let steps = chunks.len().div_ceil(batch_chunks) as u64 * EPOCHS;
    let mut trainer = Trainer::new(Hyperparameters {
        seed,
        rate_steps: steps,
        batch_chunks,
        // The least likely rows are left out from the middle on.
        trimmed_from_step: steps / 2,
        ..defaults
    });
    let trained = trainer.train_epochs(&chunks, EPOCHS);
    tracing::info!(seed, steps = trained.steps, loss = trained.loss, chunks = chunks.len(), "trained");
    trainer.model()
}

/// Describes a window and finds the edges of its rows among those of its minute.
fn described(
    window: Window,
    memory: &mut FeatureMemory,
    parties: &Parties,
    open: &HashMap<(IpAddr, IpAddr), usize>,
) -> (Lesson, Vec<usize>) {
    let address = |party: PartyId| match parties.party(party) {
        Some(Party::Address(address)) => Some(*address),
        _ => None,
    };
    let mut rows = memory.describe(&window);
    let mut places = Vec::with_capacity(rows.len());
    rows.retain(|(key, _)| {
        let pair = address(key.source).zip(address(key.destination));
        let place = pair.and_then(|pair| open.get(&pair));
        places.extend(place);
        place.is_some()
    });
    (Lesson::new(window, rows), places)
}

impl Scorer for Learned {
    fn name(&self) -> &'static str {
        "detector"
    }

    fn is_seeded(&self) -> bool {
        true
    }

    fn score(&self, _edges: &Edges, seed: u64) -> Result<Vec<Scores>, EvaluateError> {
        let scores = |method: &str, scores| {
            let says_p_values = matches!(method, DETECTOR | DETECTOR_FORGETFUL);
            Scores { method: method.to_owned(), seed: Some(seed), scores, says_p_values }
        };
        let Judged { forest, density, detector } = self.judge(seed, CHUNK_ROWS);
        let forgetful = self.judge(seed, 1);
        Ok(vec![
            scores(FORESTS, forest),
            scores(DENSITY, density),
            scores(DENSITY_FORGETFUL, forgetful.density),
            scores(DETECTOR, detector),
            scores(DETECTOR_FORGETFUL, forgetful.detector),
        ])
    }
}
