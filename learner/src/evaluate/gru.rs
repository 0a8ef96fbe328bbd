//! The product's own way of judging, over edges: the network's density alone, and the detector's score, in which novelty
//! and counts have their say.
//!
//! Recorded flows go through the same history and the same memory of features as live ones do, in windows of a minute
//! whose parties are addresses. The network learns from the training windows in epochs, offline; then the detector
//! walks through all windows in order of time, as it does live. An edge with several services gets the score of its
//! most unusual one.

use super::EvaluateError;
use super::scorer::{Scorer, Scores};
use crate::baselines::edges::{Edges, MINUTE_S};
use crate::detector::{Detector, DetectorConfig};
use crate::feature_memory::FeatureMemory;
use crate::features::Row;
use crate::history::History;
use crate::model::{HIDDEN, Hidden, Model};
use crate::recorded::{Grouping, RecordedWindows};
use crate::recorded_flow::{MergedFlows, RecordedFlow};
use crate::series::{Parties, Party, PartyId, SeriesKey, Window};
use crate::train::{Hyperparameters, Trainer};
use hashbrown::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// Seconds of a window: those of an edge.
const WIDTH_S: u32 = 60;
const _: () = assert!(WIDTH_S as u64 == MINUTE_S);

/// Times that the network sees each training row.
const EPOCHS: u64 = 8;

/// Rows of a series that are learned in one piece: half an hour of a busy one.
const CHUNK_ROWS: usize = 32;

/// The network and the detector, with the windows that they judge.
pub struct Gru {
    windows: Vec<DescribedWindow>,
    /// Windows to learn from.
    training: usize,
}

/// A window, the rows of its series, and the edge that each belongs to.
struct DescribedWindow {
    window: Window,
    rows: Vec<(SeriesKey, Row)>,
    places: Vec<usize>,
}

impl Gru {
    /// Reads the flows up to the end of the test into windows, beside the edges that were read from the same files.
    pub fn read(files: &[PathBuf], edges: &Edges, test_until_s: u64) -> Result<Self, EvaluateError> {
        let is_before_end = |flow: &RecordedFlow| flow.time_ns / 1_000_000_000 < test_until_s;
        let flows = MergedFlows::open(files)?.take_while(|flow| flow.as_ref().map_or(true, is_before_end));
        let history = History::new(WIDTH_S).expect("a minute is a width that windows can have");
        let mut recorded = RecordedWindows::new(flows, Grouping::by_address(), history);
        let mut memory = FeatureMemory::new(WIDTH_S);
        let mut windows = Vec::new();
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
            windows.push(DescribedWindow::new(window, &mut memory, recorded.parties(), &open));
        }
        let train_until_s = edges.test().first().map_or(u64::MAX, |edge| edge.minute_s);
        let training = windows.partition_point(|described| described.window.start_s < train_until_s);
        Ok(Self { windows, training })
    }

    /// Returns the model after its epochs over the training windows.
    fn train(&self, seed: u64) -> Model {
        let mut series: HashMap<SeriesKey, Vec<Row>> = HashMap::new();
        let mut order = Vec::new();
        for (key, row) in self.windows[..self.training].iter().flat_map(|window| &window.rows) {
            series
                .entry(*key)
                .or_insert_with(|| {
                    order.push(*key);
                    Vec::new()
                })
                .push(*row);
        }
        // In order of appearance: that of the table is another in each run.
        let chunks: Vec<&[Row]> = order.iter().flat_map(|key| series[key].chunks(CHUNK_ROWS)).collect();
        let defaults = Hyperparameters::default();
        let steps = chunks.len().div_ceil(defaults.batch_chunks) as u64 * EPOCHS;
        let mut trainer = Trainer::new(Hyperparameters {
            seed,
            rate_steps: steps,
            // The least likely rows are left out from the middle on.
            trimmed_from_step: steps / 2,
            ..defaults
        });
        let trained = trainer.train_epochs(&chunks, EPOCHS);
        tracing::info!(seed, steps = trained.steps, loss = trained.loss, chunks = chunks.len(), "trained");
        trainer.model()
    }

    /// Returns the negative log likelihood of each edge.
    fn densities(&self, model: &Model, edges: usize) -> Vec<f64> {
        let mut scores = vec![f64::NAN; edges];
        let mut states: HashMap<SeriesKey, Hidden> = HashMap::new();
        for described in &self.windows {
            let rows: Vec<Row> = described.rows.iter().map(|(_, row)| *row).collect();
            let hidden: Vec<Hidden> = described
                .rows
                .iter()
                .map(|(key, _)| states.get(key).copied().unwrap_or([0.0; HIDDEN]))
                .collect();
            let predicted = model.predict(&hidden, &rows);
            for (at, (row, place)) in rows.iter().zip(&described.places).enumerate() {
                raise(&mut scores, *place, -predicted.log_likelihood(at, row));
            }
            let after = model.step(&hidden, &rows);
            states.extend(described.rows.iter().map(|(key, _)| *key).zip(after));
        }
        scores
    }

    /// Returns the detector's score of each edge.
    fn judgements(&self, model: Model, edges: usize) -> Vec<f64> {
        let mut scores = vec![f64::NAN; edges];
        let mut detector = Detector::new(DetectorConfig::default());
        detector.adopt(model);
        for described in &self.windows {
            let places: HashMap<SeriesKey, usize> =
                described.rows.iter().map(|(key, _)| *key).zip(described.places.iter().copied()).collect();
            for judgement in detector.judge(&described.window, &described.rows) {
                raise(&mut scores, places[&judgement.key], judgement.score);
            }
        }
        scores
    }
}

/// Gives an edge a score, unless it has a larger one from another of its series.
fn raise(scores: &mut [f64], place: usize, score: f64) {
    // The maximum of a number and of none is the number.
    scores[place] = scores[place].max(score);
}

impl DescribedWindow {
    /// Describes a window and finds the edges of its rows among those of its minute.
    fn new(
        window: Window,
        memory: &mut FeatureMemory,
        parties: &Parties,
        open: &HashMap<(IpAddr, IpAddr), usize>,
    ) -> Self {
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
        Self { window, rows, places }
    }
}

impl Scorer for Gru {
    fn name(&self) -> &'static str {
        "GRU"
    }

    fn is_seeded(&self) -> bool {
        true
    }

    fn score(&self, edges: &Edges, seed: u64) -> Result<Vec<Scores>, EvaluateError> {
        let model = self.train(seed);
        let densities = self.densities(&model, edges.all().len());
        let judgements = self.judgements(model, edges.all().len());
        let scores = |method: &str, scores| Scores { method: method.to_owned(), seed: Some(seed), scores };
        Ok(vec![scores("GRU density", densities), scores("detector", judgements)])
    }
}
