//! How fast the learner learns and judges, on one thread: `cargo run --release -p meshgate-learner --example
//! learning_speed`. Each line is the fastest of several runs: what else the machine does only ever adds.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use burn::tensor::{Device, Tensor, TensorData};
use meshgate_learner::detector::{Detector, DetectorConfig};
use meshgate_learner::features::{FEATURES, Row};
use meshgate_learner::model::gru::Gru;
use meshgate_learner::model::{HIDDEN, Hidden};
use meshgate_learner::series::{Parties, PartyId, SeriesKey, SeriesSums, Window};
use meshgate_learner::train::{Hyperparameters, Trainer};
use meshgate_policy::generate::Rng;
use std::time::Instant;

/// Runs of which the fastest one counts.
const RUNS: usize = 41;
/// Series of a window.
const SERIES: u32 = 1_000;

fn main() {
    meshgate_learner::freed_memory::keep(); // as the program does
    recurrence();
    let mut trainer = Trainer::new(Hyperparameters::default());
    let mut rng = Rng::new(1);
    for window in 0..64 {
        trainer.observe(&rows(&mut rng), window);
    }
    measure("learner.train_step_ms", || {
        trainer.train(|steps| steps < 1);
    });
    let model = trainer.model();
    let mut rows_of_window = rows(&mut rng);
    let only_rows: Vec<Row> = rows_of_window.iter().map(|(_, row)| *row).collect();
    let hidden: Vec<Hidden> = vec![[0.1; HIDDEN]; only_rows.len()];
    let scored_ms = measure("learner.score_1000_series_ms", || {
        let predictions = model.predict(&hidden, &only_rows);
        let total: f64 = (0..only_rows.len()).map(|at| predictions.log_likelihood(at, &only_rows[at])).sum();
        assert!(total.is_finite());
        model.step(&hidden, &only_rows);
    });
    println!("bar: learner.scored_rows_per_s = {:.0} rows/s", f64::from(SERIES) * 1_000.0 / scored_ms);
    let mut detector = Detector::new(DetectorConfig::default());
    let parties = Parties::default();
    detector.adopt(model);
    let sums = SeriesSums { flows: 5, ..SeriesSums::default() };
    let series = rows_of_window.iter().map(|(key, _)| (*key, sums)).collect();
    let mut window = Window { width_s: 60, series, ..Window::default() };
    // Long enough for forests: they are grown when the first spans close.
    for number in 0..40 {
        window.start_s = 60 * number;
        detector.inspect(&window, &parties, &mut rows_of_window);
    }
    let inspected_ms = measure("learner.inspect_1000_series_ms", || {
        detector.inspect(&window, &parties, &mut rows_of_window);
    });
    println!("bar: learner.inspected_rows_per_s = {:.0} rows/s", f64::from(SERIES) * 1_000.0 / inspected_ms);
}

/// A step of the recurrence alone, there and back: 32 inputs, 64 states, 32 times, 64 chunks.
fn recurrence() {
    let device = Device::flex();
    let mut rng = Rng::new(1);
    let mut matrix = |rows: usize, columns: usize| -> Tensor<2> {
        let values: Vec<f32> = (0..rows * columns).map(|_| f32::from(rng.byte()) / 1_000.0 - 0.128).collect();
        Tensor::from_data(TensorData::new(values, [rows, columns]), &device)
    };
    let gru = Gru::new(matrix(32, 192), matrix(64, 192), matrix(1, 192), matrix(1, 64));
    let inputs = matrix(32 * 64, 32);
    measure("learner.gru_32_64_seq_32_batch_64_train_ms", || {
        let trace = gru.unroll(inputs.clone(), 64);
        let slopes = trace.before().to_vec();
        assert_eq!(gru.gradient(trace, &slopes).len(), 32 * 192 + 64 * 192 + 192 + 64);
    });
}

fn rows(rng: &mut Rng) -> Vec<(SeriesKey, Row)> {
    let row = |series: u32| {
        let (source, destination) = (PartyId(series % 40), PartyId(series / 40));
        let key = SeriesKey { source, destination, segment: 1, protocol: 6, service_port: 80 };
        let mut row = [0.0; FEATURES];
        row.fill_with(|| f32::from(rng.byte()) / 64.0);
        (key, row)
    };
    let mut rows: Vec<(SeriesKey, Row)> = (0..SERIES).map(row).collect();
    rows.sort_by_key(|(key, _)| *key);
    rows
}

/// Prints the fastest run in milliseconds, and returns it.
fn measure(name: &str, mut run: impl FnMut()) -> f64 {
    run();
    let times_ms = (0..RUNS).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1_000.0
    });
    let fastest_ms = times_ms.fold(f64::INFINITY, f64::min);
    println!("bar: {name} = {fastest_ms:.3} ms");
    fastest_ms
}
