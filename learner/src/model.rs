//! The network: what a series will do next, as a density.
//!
//! **The problem.** A series is a list of rows, one per window in which it was seen. How likely is the next row, given
//! the rows before it and what is known before the window's contents are (its context: gap, novelty, time of day)?
//!
//! **The simple answer**, a mean and a variance for each series, needs many windows of each and knows neither bursts nor
//! hours. One network for all series shares what they have in common, and its state tells them apart.
//!
//! **The shape.**
//! ```text
//! rows before k --GRU--> hidden (64) --+
//! context of row k (8) ----------------+--> 96 ReLU --> 8 components: weight, 13 means, 13 scales
//! ```
//! Each component is a product of Student-t densities with four degrees of freedom: their tails are heavy, so that one odd
//! byte count neither blows up the loss nor drags the means. Scales are bounded below (`e^-3` standard deviations): a value
//! that never changes must not make the density infinite, after which its first change would drown everything else.
//!
//! **What is by hand.** The head runs on large matrices, and burn's autodiff does it well. The recurrence is 32 small steps,
//! where a tape and scalar `exp` would be most of the time: [`gru`] fuses the cell and writes its gradient out. The same
//! network as plain autodiff tensors is its oracle in the tests.
//!
//! Everything runs on one thread; sums are in a fixed order, so that equal seeds give equal bits.

pub mod batch;
pub mod density;
pub mod gru;
pub mod standardiser;
pub mod weights;

use crate::checkpoint::saved::{Reader, Saved, SavedError, Writer};
use crate::features::{CONTEXT, FEATURES, Row, TARGETS};
use batch::Batch;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use density::Density;
use gru::Gru;
use meshgate_policy::generate::Rng;
use standardiser::Scale;
use weights::Weights;

/// Values of the state. 64 did as well as 128 on the recorded flows and steps twice as fast.
pub const HIDDEN: usize = 64;
/// Values between state and density.
pub const HEAD: usize = 96;
/// Components of the mixture.
pub const COMPONENTS: usize = 8;
/// Values of the head's output: a weight, the means and the scales of each component.
pub const OUTPUTS: usize = COMPONENTS * (1 + 2 * TARGETS);
/// Bound of a scale's logarithm, up and down.
pub const LOG_SCALE_MAX: f32 = 3.0;
/// Logarithm of the Student-t(4) density at zero, `ln(3/8)`.
pub const LOG_PEAK: f64 = -0.980_829_253_011_726;
/// Rows that are predicted at once: 2 MB of intermediate values, whatever the size of the window.
const PREDICTED_MAX: usize = 1_024;

/// What the network remembers of a series.
pub type Hidden = [f32; HIDDEN];

/// What a batch says about the weights.
#[derive(Clone, Debug)]
pub struct Gradient {
    /// Mean negative log likelihood of a row, in nats.
    pub loss: f64,
    /// Its slope along each weight, in order of [`Weights`].
    pub values: Vec<f32>,
}

/// The network with its weights in place.
#[derive(Clone, Debug)]
pub struct Network {
    gru: Gru,
    head: Head,
    device: Device,
}

impl Network {
    /// Returns the network with these weights.
    pub fn new(weights: &Weights) -> Self {
        let device = Device::flex();
        let [input, hidden, bias, candidate_bias, head, head_bias, output, output_bias] =
            weights.tensors(&device);
        Self {
            gru: Gru::new(input, hidden, bias, candidate_bias),
            head: Head { hidden: head, hidden_bias: head_bias, output, output_bias },
            device,
        }
    }

    /// Returns loss and gradient of a batch; none when it holds no row. The least likely `trimmed_share` of its rows is
    /// left out: an attack that was recorded must not become what is usual.
    pub fn gradient(&self, batch: &Batch, trimmed_share: f64) -> Option<Gradient> {
        let rows = batch.length * batch.chunks; //                                                N = T * B
        if rows == 0 {
            return None;
        }
        let inputs = matrix(batch.rows.clone(), [rows, FEATURES], &self.device); //               [N, FEATURES]
        let trace = self.gru.unroll(inputs, batch.chunks);
        let before = matrix(trace.before().to_vec(), [rows, HIDDEN], &self.device); //            [N, HIDDEN]
        let before = before.autodiff().require_grad();
        let context = matrix(batch.columns(TARGETS, TARGETS + CONTEXT), [rows, CONTEXT], &self.device); // [N, CONTEXT]
        let targets = matrix(batch.columns(0, TARGETS), [rows, TARGETS], &self.device); //        [N, TARGETS]
        let head = self.head.tracked();
        let output = head.output(before.clone(), context.autodiff()); //                          [N, OUTPUTS]
        let log_likelihoods = log_likelihoods(&output, targets.autodiff()); //                     [N, 1]
        let kept = kept(&batch.mask, &vector(log_likelihoods.clone().inner()), trimmed_share); // [N]
        let kept_rows: f32 = kept.iter().sum();
        if kept_rows == 0.0 {
            return None;
        }
        let kept = matrix(kept, [rows, 1], &self.device).autodiff(); //                           [N, 1]
        let loss = (log_likelihoods * kept).sum().div_scalar(-kept_rows); //                      [1]
        let mut slopes = loss.backward();
        let mut slope_of = |tensor: &Tensor<2>| {
            let slope = tensor.grad_remove(&mut slopes).expect("the loss depends on every tracked tensor");
            vector(slope)
        };
        let mut values = self.gru.gradient(trace, &slope_of(&before));
        for weights in [&head.hidden, &head.hidden_bias, &head.output, &head.output_bias] {
            values.extend(slope_of(weights));
        }
        let loss = loss.inner().into_scalar::<f32>();
        Some(Gradient { loss: f64::from(loss), values })
    }

    /// Returns the states after these standardised rows.
    fn step(&self, hidden: Vec<f32>, rows: Vec<f32>) -> Vec<f32> {
        let count = rows.len() / FEATURES;
        self.gru.step(hidden, matrix(rows, [count, FEATURES], &self.device))
    }

    /// Returns the head's outputs for these states and standardised contexts.
    fn outputs(&self, hidden: Vec<f32>, contexts: Vec<f32>) -> Vec<f32> {
        let count = hidden.len() / HIDDEN;
        let hidden = matrix(hidden, [count, HIDDEN], &self.device);
        let contexts = matrix(contexts, [count, CONTEXT], &self.device);
        vector(self.head.output(hidden, contexts))
    }
}

/// From state and context to the numbers of the density.
#[derive(Clone, Debug)]
struct Head {
    /// [HIDDEN + CONTEXT, HEAD]
    hidden: Tensor<2>,
    /// [1, HEAD]
    hidden_bias: Tensor<2>,
    /// [HEAD, OUTPUTS]
    output: Tensor<2>,
    /// [1, OUTPUTS]
    output_bias: Tensor<2>,
}

impl Head {
    /// Returns the same head with a gradient for each of its weights.
    fn tracked(&self) -> Self {
        let track = |weights: &Tensor<2>| weights.clone().autodiff().require_grad();
        Self {
            hidden: track(&self.hidden),
            hidden_bias: track(&self.hidden_bias),
            output: track(&self.output),
            output_bias: track(&self.output_bias),
        }
    }

    fn output(&self, hidden: Tensor<2>, context: Tensor<2>) -> Tensor<2> {
        let known = Tensor::cat(vec![hidden, context], 1); //                            [N, HIDDEN + CONTEXT]
        let middle = relu(known.matmul(self.hidden.clone()) + self.hidden_bias.clone()); // [N, HEAD]
        middle.matmul(self.output.clone()) + self.output_bias.clone() //                 [N, OUTPUTS]
    }
}

/// Returns the log likelihood of each row of targets under the density that its row of outputs describes.
fn log_likelihoods(output: &Tensor<2>, targets: Tensor<2>) -> Tensor<2> {
    let rows = output.dims()[0];
    let part = |from: usize, width: usize| output.clone().slice([0..rows, from..from + width]);
    let components = [rows, COMPONENTS, TARGETS];
    let weights = part(0, COMPONENTS); //                                                          [N, C]
    let means = part(COMPONENTS, COMPONENTS * TARGETS).reshape(components); //                     [N, C, TARGETS]
    let raw = part(COMPONENTS * (1 + TARGETS), COMPONENTS * TARGETS).reshape(components); //       [N, C, TARGETS]
    let bound = raw.clone().abs().div_scalar(LOG_SCALE_MAX).add_scalar(1.0);
    let log_scales = raw / bound; //                                                               [N, C, TARGETS]
    let targets = targets.reshape([rows, 1, TARGETS]);
    let distances = (targets - means) * log_scales.clone().neg().exp(); //                         [N, C, TARGETS]
    let tails = distances.square().mul_scalar(0.25).log1p().mul_scalar(2.5); //                    [N, C, TARGETS]
    let logs = (tails + log_scales).sum_dim(2).neg().reshape([rows, COMPONENTS]); //               [N, C]
    let joint = log_sum_exp(weights.clone() + logs) - log_sum_exp(weights); //                     [N, 1]
    joint.add_scalar(LOG_PEAK * TARGETS as f64)
}

fn log_sum_exp(logs: Tensor<2>) -> Tensor<2> {
    let largest = logs.clone().detach().max_dim(1); // [N, 1]
    (logs - largest.clone()).exp().sum_dim(1).log() + largest
}

/// Returns 1 for the rows to learn from: those that are no padding and not among the least likely.
fn kept(mask: &[f32], log_likelihoods: &[f32], trimmed_share: f64) -> Vec<f32> {
    let mut present: Vec<f32> =
        mask.iter().zip(log_likelihoods).filter(|(mask, _)| **mask > 0.0).map(|(_, log)| *log).collect();
    present.sort_unstable_by(f32::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length is a length"
    )]
    let trimmed = (trimmed_share.clamp(0.0, 1.0) * present.len() as f64) as usize;
    let least = present.get(trimmed).copied().unwrap_or(f32::INFINITY);
    let keep = |(mask, log): (&f32, &f32)| if *mask > 0.0 && *log >= least { 1.0 } else { 0.0 };
    mask.iter().zip(log_likelihoods).map(keep).collect()
}

/// A version of the network, ready to judge rows.
#[derive(Clone, Debug)]
pub struct Model {
    network: Network,
    weights: Weights,
    scale: Scale,
    steps: u64,
}

impl Saved for Model {
    fn write(&self, out: &mut Writer) {
        let Self { network: _, weights, scale, steps } = self;
        weights.write(out);
        scale.write(out);
        steps.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, SavedError> {
        Ok(Self::new(Weights::read(from)?, Scale::read(from)?, u64::read(from)?))
    }
}

impl Model {
    /// Returns the model of these weights after so many steps of training.
    pub fn new(weights: Weights, scale: Scale, steps: u64) -> Self {
        Self { network: Network::new(&weights), weights, scale, steps }
    }

    /// Returns the name of this version.
    pub fn version(&self) -> String {
        version(self.steps)
    }

    /// Returns the densities of the next rows, from the states before them and from what is known of them beforehand:
    /// of a row only its context is read. One row for each state.
    pub fn predict(&self, hidden: &[Hidden], rows: &[Row]) -> Predictions {
        let mut outputs = Vec::with_capacity(rows.len() * OUTPUTS);
        for (hidden, rows) in hidden.chunks(PREDICTED_MAX).zip(rows.chunks(PREDICTED_MAX)) {
            let context = |row: &Row| -> [f32; CONTEXT] {
                let row = self.scale.standardise(row);
                std::array::from_fn(|at| row[TARGETS + at])
            };
            let contexts = rows.iter().flat_map(context).collect();
            outputs.extend(self.network.outputs(hidden.as_flattened().to_vec(), contexts));
        }
        Predictions { outputs, scale: self.scale.clone() }
    }

    /// Returns the states after the rows. One row for each state.
    pub fn step(&self, hidden: &[Hidden], rows: &[Row]) -> Vec<Hidden> {
        let mut after = Vec::with_capacity(rows.len());
        for (hidden, rows) in hidden.chunks(PREDICTED_MAX).zip(rows.chunks(PREDICTED_MAX)) {
            let rows = rows.iter().flat_map(|row| self.scale.standardise(row)).collect();
            let flat = self.network.step(hidden.as_flattened().to_vec(), rows);
            after.extend_from_slice(flat.as_chunks::<HIDDEN>().0);
        }
        after
    }
}

/// Returns the name of the version after so many steps of training.
pub fn version(steps: u64) -> String {
    format!("gru{HIDDEN}-md{COMPONENTS}/1 step {steps}")
}

/// Densities of rows to come.
#[derive(Clone, Debug)]
pub struct Predictions {
    outputs: Vec<f32>,
    scale: Scale,
}

/// What a density says of one value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contribution {
    /// Mean of the density, in the feature's own units.
    pub expected: f32,
    /// Negative log likelihood of the value beyond that of the mean, in nats.
    pub nats: f32,
}

impl Predictions {
    /// Returns the log likelihood of a row, in nats of standardised values.
    pub fn log_likelihood(&self, at: usize, row: &Row) -> f64 {
        self.density(at).log_likelihood(&self.targets(row))
    }

    /// Returns what each value of a row adds to how unlikely it is.
    pub fn contributions(&self, at: usize, row: &Row) -> [Contribution; TARGETS] {
        let density = self.density(at);
        let targets = self.targets(row);
        std::array::from_fn(|target| {
            let expected = density.expected(target);
            let nats = density.log_marginal(target, expected)
                - density.log_marginal(target, f64::from(targets[target]));
            Contribution { expected: self.scale.restore(target, single(expected)), nats: single(nats) }
        })
    }

    fn density(&self, at: usize) -> Density<'_> {
        Density::of(&self.outputs[at * OUTPUTS..(at + 1) * OUTPUTS])
    }

    fn targets(&self, row: &Row) -> [f32; TARGETS] {
        let row = self.scale.standardise(row);
        std::array::from_fn(|target| row[target])
    }
}

/// Returns a matrix with these values, row by row.
fn matrix(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Returns the values of a matrix, row by row.
fn vector(matrix: Tensor<2>) -> Vec<f32> {
    matrix.into_data().try_into_vec().expect("this device computes in 32-bit floats")
}

/// Returns a number between 0 and 1.
pub(crate) fn unit(rng: &mut Rng) -> f64 {
    // 53 bits, as many as the fraction holds.
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Returns the nearest 32-bit float.
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding is what is asked for; too large becomes infinite"
)]
pub(crate) fn single(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests;
