//! That training learns, repeats itself, and never takes harm.

use super::*;
use crate::features::{FEATURES, TARGETS};
use crate::model::HIDDEN;
use crate::series::PartyId;

fn small() -> Hyperparameters {
    Hyperparameters { batch_chunks: 16, rate_steps: 200, ..Hyperparameters::default() }
}

/// Rows of series that alternate between two levels, each at a level of its own.
fn rows(window: u16) -> Vec<(SeriesKey, Row)> {
    (0..8u16)
        .map(|series| {
            let key = SeriesKey {
                source: PartyId(series.into()),
                destination: PartyId(100),
                segment: 1,
                protocol: 6,
                service_port: 80,
            };
            let level = f32::from(series) + if (window + series).is_multiple_of(2) { 3.0 } else { 0.0 };
            let mut row = [0.0; FEATURES];
            row[..TARGETS].fill(level);
            row[FEATURES - 1] = f32::from(window % 7);
            (key, row)
        })
        .collect()
}

fn observed(hyperparameters: Hyperparameters) -> Trainer {
    let mut trainer = Trainer::new(hyperparameters);
    (0..80).for_each(|window| trainer.observe(&rows(window), window.into()));
    trainer
}

#[test]
fn a_loss_falls_and_the_level_of_a_series_is_remembered() {
    let mut trainer = observed(small());
    let first = trainer.train(|steps| steps < 1).loss.unwrap();
    let report = trainer.train(|steps| steps < 200);
    assert_eq!((report.steps, trainer.steps()), (200, 201));
    assert!(report.loss.unwrap() < first - 10.0, "{first} {report:?}");
    // Only memory tells one level from another.
    let model = trainer.model();
    let mut hidden = vec![[0.0; HIDDEN]; 8];
    for window in 80..90 {
        let rows: Vec<Row> = rows(window).into_iter().map(|(_, row)| row).collect();
        let predictions = model.predict(&hidden, &rows);
        if window > 84 {
            let own: f64 = (0..8).map(|at| predictions.log_likelihood(at, &rows[at])).sum();
            let swapped: f64 = (0..8).map(|at| predictions.log_likelihood(at, &rows[(at + 4) % 8])).sum();
            assert!(own > swapped + 8.0 * 10.0, "window {window}: {own} {swapped}");
        }
        hidden = model.step(&hidden, &rows);
    }
}

#[test]
fn equal_seeds_give_equal_bits() {
    let train = |seed| {
        let mut trainer = observed(Hyperparameters { seed, trimmed_from_step: 3, ..small() });
        trainer.train(|steps| steps < 10);
        trainer.weights().values.iter().map(|weight| weight.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(train(1), train(1));
    assert_ne!(train(1), train(2));
}

#[test]
fn a_trainer_without_rows_makes_no_step() {
    let mut trainer = Trainer::new(small());
    assert_eq!(trainer.train(|_| true), TrainingReport::default());
    trainer.observe(&rows(0).into_iter().map(|(key, _)| (key, [f32::NAN; FEATURES])).collect::<Vec<_>>(), 0);
    assert_eq!(trainer.train(|_| true), TrainingReport::default());
    assert_eq!(trainer.replay().rows_refused, 8);
}

#[test]
fn an_epoch_takes_every_chunk_once() {
    let chunks: Vec<Vec<Row>> =
        (0..40).map(|window| rows(window).into_iter().map(|(_, row)| row).collect()).collect();
    let chunks: Vec<&[Row]> = chunks.iter().map(Vec::as_slice).collect();
    let report = Trainer::new(small()).train_epochs(&chunks, 2);
    assert_eq!(report.steps, 2 * 3);
    assert!(report.loss.is_some());
}

#[test]
fn the_rate_falls_and_stays() {
    let with = Hyperparameters::default();
    assert_eq!(with.rate(0), with.rate_first);
    assert!((with.rate(with.rate_steps) - with.rate_last).abs() < 1e-12);
    assert_eq!(with.rate(with.rate_steps), with.rate(u64::MAX));
}
