//! The fast network against the obvious one, which is written in autodiff tensors only.

use super::standardiser::Standardiser;
use super::*;
use burn::tensor::activation::{sigmoid, tanh};

fn rows(count: usize, seed: u64) -> Vec<Row> {
    let mut rng = Rng::new(seed);
    let mut row = [0.0; FEATURES];
    (0..count)
        .map(|_| {
            row = row.map(|value: f32| 0.6 * value + single(unit(&mut rng) * 2.0 - 1.0));
            row
        })
        .collect()
}

fn scale() -> Scale {
    let mut standardiser = Standardiser::default();
    rows(500, 9).iter().for_each(|row| standardiser.add(row));
    standardiser.scale()
}

fn batch() -> Batch {
    let chunks = [rows(7, 1), rows(4, 2), rows(1, 3)];
    Batch::of(&chunks.each_ref().map(Vec::as_slice), &scale())
}

/// The loss by burn's own tape, one step after the other.
fn oracle(weights: &Weights, batch: &Batch) -> (f64, Vec<f32>) {
    let device = Device::flex().autodiff();
    let tensors = weights.tensors(&device).map(Tensor::require_grad);
    let [input, hidden, bias, candidate_bias, head, head_bias, output, output_bias] = tensors.clone();
    let head = Head { hidden: head, hidden_bias: head_bias, output, output_bias };
    let all = matrix(batch.rows.clone(), [batch.length * batch.chunks, FEATURES], &device);
    let mut state: Tensor<2> = Tensor::zeros([batch.chunks, HIDDEN], &device);
    let mut total: Tensor<1> = Tensor::zeros([1], &device);
    for time in 0..batch.length {
        let span = time * batch.chunks..(time + 1) * batch.chunks;
        let row = all.clone().slice([span.clone(), 0..FEATURES]);
        let context = row.clone().slice([0..batch.chunks, TARGETS..TARGETS + CONTEXT]);
        let targets = row.clone().slice([0..batch.chunks, 0..TARGETS]);
        let logs = log_likelihoods(&head.output(state.clone(), context), targets);
        let mask = matrix(batch.mask[span].to_vec(), [batch.chunks, 1], &device);
        total = total - (logs * mask).sum();
        let x = row.matmul(input.clone()) + bias.clone();
        let h = state.clone().matmul(hidden.clone());
        let part = |of: &Tensor<2>, gate: usize| {
            of.clone().slice([0..batch.chunks, gate * HIDDEN..(gate + 1) * HIDDEN])
        };
        let reset = sigmoid(part(&x, 0) + part(&h, 0));
        let update = sigmoid(part(&x, 1) + part(&h, 1));
        let candidate = tanh(part(&x, 2) + reset * (part(&h, 2) + candidate_bias.clone()));
        state = (update.clone().neg() + 1.0) * candidate + update * state;
    }
    let loss = total.div_scalar(batch.mask.iter().sum::<f32>());
    let mut slopes = loss.backward();
    let values = tensors.into_iter().flat_map(|tensor| vector(tensor.grad_remove(&mut slopes).unwrap()));
    (f64::from(loss.inner().into_scalar::<f32>()), values.collect())
}

#[test]
fn the_gradient_by_hand_is_that_of_the_tape() {
    for seed in 0..3 {
        let weights = Weights::random(&mut Rng::new(seed));
        let fast = Network::new(&weights).gradient(&batch(), 0.0).unwrap();
        let (loss, values) = oracle(&weights, &batch());
        assert!((fast.loss - loss).abs() < 1e-4, "{} {loss}", fast.loss);
        assert_eq!(fast.values.len(), values.len());
        let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        for (at, (fast, slow)) in fast.values.iter().zip(&values).enumerate() {
            assert!((fast - slow).abs() < 1e-4 * norm, "weight {at}, seed {seed}: {fast} {slow}");
        }
    }
}

#[test]
fn padding_changes_neither_loss_nor_gradient() {
    let weights = Weights::random(&mut Rng::new(4));
    let network = Network::new(&weights);
    let alone = network.gradient(&Batch::of(&[&rows(4, 2)], &scale()), 0.0).unwrap();
    let padded = network.gradient(&Batch::of(&[&rows(4, 2), &[]], &scale()), 0.0).unwrap();
    assert!((alone.loss - padded.loss).abs() < 1e-5);
    assert!(alone.values.iter().zip(&padded.values).all(|(a, b)| (a - b).abs() < 1e-5));
    assert!(network.gradient(&Batch::of(&[&[], &[]], &scale()), 0.0).is_none());
    assert!(network.gradient(&Batch::default(), 0.0).is_none());
}

#[test]
fn the_least_likely_rows_are_left_out() {
    let network = Network::new(&Weights::random(&mut Rng::new(4)));
    let whole = network.gradient(&batch(), 0.0).unwrap().loss;
    let trimmed = network.gradient(&batch(), 0.2).unwrap().loss;
    assert!(trimmed < whole, "{trimmed} {whole}");
    assert!(network.gradient(&batch(), 1.0).is_none());
}

#[test]
fn the_density_of_numbers_is_that_of_the_loss() {
    let model = Model::new(Weights::random(&mut Rng::new(5)), scale(), 0);
    let rows = rows(6, 6);
    let mut hidden = vec![[0.0; HIDDEN]];
    let mut total = 0.0;
    for row in &rows {
        total += model.predict(&hidden, &[*row]).log_likelihood(0, row);
        hidden = model.step(&hidden, &[*row]);
    }
    let batch = Batch::of(&[&rows], &scale());
    let loss = model.network.gradient(&batch, 0.0).unwrap().loss;
    assert!((loss + total / rows.len() as f64).abs() < 1e-4, "{loss} {total}");
}

#[test]
fn a_series_is_judged_alike_alone_and_among_others() {
    let model = Model::new(Weights::random(&mut Rng::new(5)), scale(), 0);
    let rows = rows(2 * PREDICTED_MAX + 3, 6);
    let hidden: Vec<Hidden> = (0..rows.len()).map(|at| [at as f32 / rows.len() as f32; HIDDEN]).collect();
    let (predictions, after) = (model.predict(&hidden, &rows), model.step(&hidden, &rows));
    for at in [0, PREDICTED_MAX, rows.len() - 1] {
        let alone = model.predict(&hidden[at..=at], &rows[at..=at]).log_likelihood(0, &rows[at]);
        assert!((predictions.log_likelihood(at, &rows[at]) - alone).abs() < 1e-4);
        let step = model.step(&hidden[at..=at], &rows[at..=at])[0];
        assert!(step.iter().zip(after[at]).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}

#[test]
fn what_is_expected_is_in_the_units_of_the_feature() {
    let mut standardiser = Standardiser::default();
    for at in 0..100 {
        let mut row = [0.0; FEATURES];
        row[0] = if at % 2 == 0 { 99.0 } else { 101.0 };
        standardiser.add(&row);
    }
    let model = Model::new(Weights::random(&mut Rng::new(5)), standardiser.scale(), 0);
    let mut row = [0.0; FEATURES];
    row[0] = 200.0;
    let contributions = model.predict(&[[0.0; HIDDEN]], &[row]).contributions(0, &row);
    assert!((contributions[0].expected - 100.0).abs() < 3.0, "{contributions:?}");
    assert!(contributions[0].nats > contributions[1].nats && contributions[0].nats > 1.0);
    assert_eq!(contributions[1].expected, 0.0);
}

#[test]
fn rows_of_no_numbers_do_no_harm() {
    let model = Model::new(Weights::random(&mut Rng::new(5)), scale(), 0);
    for value in [f32::NAN, f32::INFINITY, f32::MIN] {
        let rows = [[value; FEATURES]];
        assert!(model.predict(&[[0.0; HIDDEN]], &rows).log_likelihood(0, &rows[0]).is_finite());
        assert!(model.step(&[[0.0; HIDDEN]], &rows)[0].iter().all(|value| value.is_finite()));
    }
    assert!(model.step(&[], &[]).is_empty());
}

#[test]
fn a_version_has_a_name() {
    assert_eq!(version(1_234), "gru64-md8/1 step 1234");
}
