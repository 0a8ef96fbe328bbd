//! The recurrence: a gated recurrent unit (Cho et al. 2014, reset after the product as in PyTorch), its cell fused into one
//! pass and its gradient through time written out.
//!
//! ```text
//! r, z = sigmoid(x W + h U + b)       reset and update
//! n    = tanh(x W + b + r (h U + c))  candidate
//! h'   = (1 - z) n + z h
//! ```
//! Products with inputs do not wait for the state: one large product serves all times. What is left of a step is one product
//! with the state and one pass over the gates. Backwards likewise: the slopes of the weights are two large products at the end.
//!
//! `exp` and `tanh` of the C library work on one number at a time and would take most of a step. A quotient of polynomials
//! agrees with tanh to the last bits of a 32-bit float and is computed for many numbers at once.

use super::{matrix, vector};
use burn::tensor::{Device, Tensor};

/// The weights of the recurrence.
#[derive(Clone, Debug)]
pub struct Gru {
    /// W: reset, update, candidate. [inputs, 3H]
    input: Tensor<2>,
    /// U. [H, 3H]
    hidden: Tensor<2>,
    /// b. [1, 3H]
    bias: Tensor<2>,
    /// c. [H]
    candidate_bias: Vec<f32>,
    /// H.
    width: usize,
}

/// Everything that the way back needs of the way there.
#[derive(Clone, Debug)]
pub struct Trace {
    /// [T * B, inputs]
    inputs: Tensor<2>,
    /// States before each row. [T * B, H]
    before: Vec<f32>,
    /// Reset, update, candidate, and the candidate's share of the state. [T * B, 4H]
    gates: Vec<f32>,
    /// B.
    chunks: usize,
}

impl Trace {
    /// Returns the states before each row. [T * B, H]
    pub fn before(&self) -> &[f32] {
        &self.before
    }
}

impl Gru {
    /// Returns a recurrence of these weights: [inputs, 3H], [H, 3H], [1, 3H], [1, H].
    pub fn new(input: Tensor<2>, hidden: Tensor<2>, bias: Tensor<2>, candidate_bias: Tensor<2>) -> Self {
        let width = hidden.dims()[0];
        Self { input, hidden, bias, candidate_bias: vector(candidate_bias), width }
    }

    /// Runs over inputs that are laid out time by time, `chunks` rows a time, from states of zero. [T * B, inputs]
    pub fn unroll(&self, inputs: Tensor<2>, chunks: usize) -> Trace {
        let projected = vector(self.project(inputs.clone())); // [T * B, 3H]
        let rows = projected.len() / (3 * self.width);
        let mut before = Vec::with_capacity(rows * self.width);
        let mut gates = vec![0.0; rows * 4 * self.width];
        let mut hidden = vec![0.0; chunks * self.width];
        let times = projected.chunks_exact(chunks * 3 * self.width);
        for (projected, gates) in times.zip(gates.chunks_exact_mut(chunks * 4 * self.width)) {
            before.extend_from_slice(&hidden);
            let recurrent = self.recur(hidden.clone()); //       [B, 3H]
            self.advance(projected, &recurrent, gates, &mut hidden);
        }
        Trace { inputs, before, gates, chunks }
    }

    /// Returns the states after one row each. [B, H], [B, inputs] -> [B, H]
    pub fn step(&self, mut hidden: Vec<f32>, inputs: Tensor<2>) -> Vec<f32> {
        let projected = vector(self.project(inputs)); //         [B, 3H]
        let recurrent = self.recur(hidden.clone()); //           [B, 3H]
        let mut gates = vec![0.0; hidden.len() * 4];
        self.advance(&projected, &recurrent, &mut gates, &mut hidden);
        hidden
    }

    /// Returns the slopes of the weights, in order of [`Gru::new`], from those of the states before each row. [T * B, H]
    pub fn gradient(&self, trace: Trace, slopes: &[f32]) -> Vec<f32> {
        let Trace { inputs, before, gates, chunks } = trace;
        let device = self.device();
        let rows = before.len() / self.width;
        let (states, wide) = (chunks * self.width, chunks * 3 * self.width);
        let mut of_projected = vec![0.0; rows * 3 * self.width]; // slopes of x W + b: [T * B, 3H]
        let mut of_recurrent = vec![0.0; rows * 3 * self.width]; // slopes of h U + c: [T * B, 3H]
        let transposed = self.hidden.clone().transpose(); //        [3H, H]
        // The state after the last row is never looked at.
        let mut after = vec![0.0; states];
        for time in (0..rows / chunks).rev() {
            let span = time * wide..(time + 1) * wide;
            let (projected, recurrent) = (&mut of_projected[span.clone()], &mut of_recurrent[span]);
            let gates = &gates[time * 4 * states..(time + 1) * 4 * states];
            let before = &before[time * states..(time + 1) * states];
            self.retreat(gates, before, &mut after, [projected, recurrent]);
            let through =
                matrix(recurrent.to_vec(), [chunks, 3 * self.width], &device).matmul(transposed.clone());
            let direct = &slopes[time * states..(time + 1) * states];
            for ((after, through), direct) in after.iter_mut().zip(vector(through)).zip(direct) {
                *after += through + direct;
            }
        }
        let projected = matrix(of_projected, [rows, 3 * self.width], &device);
        let recurrent = matrix(of_recurrent, [rows, 3 * self.width], &device);
        let before = matrix(before, [rows, self.width], &device);
        let of_bias = projected.clone().sum_dim(0); //                            [1, 3H]
        let of_candidate_bias = recurrent.clone().sum_dim(0).slice([0..1, 2 * self.width..3 * self.width]);
        let of_input = inputs.transpose().matmul(projected); //                   [inputs, 3H]
        let of_hidden = before.transpose().matmul(recurrent); //                  [H, 3H]
        [of_input, of_hidden, of_bias, of_candidate_bias].map(vector).concat()
    }

    fn device(&self) -> Device {
        self.hidden.device()
    }

    fn project(&self, inputs: Tensor<2>) -> Tensor<2> {
        inputs.matmul(self.input.clone()) + self.bias.clone()
    }

    fn recur(&self, hidden: Vec<f32>) -> Vec<f32> {
        let count = hidden.len() / self.width;
        vector(matrix(hidden, [count, self.width], &self.device()).matmul(self.hidden.clone()))
    }

    /// The cell, for every row of a time: [B, 3H], [B, 3H] -> gates [B, 4H], states [B, H].
    fn advance(&self, projected: &[f32], recurrent: &[f32], gates: &mut [f32], hidden: &mut [f32]) {
        let width = self.width;
        let candidate_bias = &self.candidate_bias[..width];
        let products = projected.chunks_exact(3 * width).zip(recurrent.chunks_exact(3 * width));
        let states = gates.chunks_exact_mut(4 * width).zip(hidden.chunks_exact_mut(width));
        for ((projected, recurrent), (gates, hidden)) in products.zip(states) {
            let [x_reset, x_update, x_candidate] = parts(projected, width);
            let [h_reset, h_update, h_candidate] = parts(recurrent, width);
            let (reset, rest) = gates.split_at_mut(width);
            let (update, rest) = rest.split_at_mut(width);
            let (candidate, share) = rest.split_at_mut(width);
            let share = &mut share[..width];
            for at in 0..width {
                reset[at] = sigmoid(x_reset[at] + h_reset[at]);
                update[at] = sigmoid(x_update[at] + h_update[at]);
                share[at] = h_candidate[at] + candidate_bias[at];
                candidate[at] = tanh(x_candidate[at] + reset[at] * share[at]);
                hidden[at] = candidate[at] + update[at] * (hidden[at] - candidate[at]);
            }
        }
    }

    /// The cell backwards, for every row of a time. Takes the slopes of the states after it and leaves there what of them
    /// goes straight to the states before it; the slopes of the two products go to `products`. [B, H], [B, 3H]
    fn retreat(&self, gates: &[f32], before: &[f32], slopes: &mut [f32], products: [&mut [f32]; 2]) {
        let width = self.width;
        let [projected, recurrent] = products;
        let known = gates.chunks_exact(4 * width).zip(before.chunks_exact(width));
        let products = projected.chunks_exact_mut(3 * width).zip(recurrent.chunks_exact_mut(3 * width));
        let rows = known.zip(slopes.chunks_exact_mut(width)).zip(products);
        for (((gates, before), slopes), (projected, recurrent)) in rows {
            let [reset, update, candidate] = parts(gates, width);
            let share = &gates[3 * width..][..width];
            let (of_reset, rest) = projected.split_at_mut(width);
            let (of_update, of_candidate) = rest.split_at_mut(width);
            let of_candidate = &mut of_candidate[..width];
            let of_share = &mut recurrent[2 * width..][..width];
            for at in 0..width {
                let (r, z, n) = (reset[at], update[at], candidate[at]);
                of_candidate[at] = slopes[at] * (1.0 - z) * (1.0 - n * n);
                of_update[at] = slopes[at] * (before[at] - n) * z * (1.0 - z);
                of_reset[at] = of_candidate[at] * share[at] * r * (1.0 - r);
                of_share[at] = of_candidate[at] * r;
                slopes[at] *= z;
            }
            recurrent[..2 * width].copy_from_slice(&projected[..2 * width]);
        }
    }
}

fn parts(row: &[f32], width: usize) -> [&[f32]; 3] {
    [&row[..width], &row[width..][..width], &row[2 * width..][..width]]
}

/// Returns the logistic function.
fn sigmoid(x: f32) -> f32 {
    0.5 + 0.5 * tanh(0.5 * x)
}

/// Returns the hyperbolic tangent: the quotient of polynomials that Eigen uses, fitted to 32-bit floats. Beyond the bound
/// tanh is 1 to the last bit.
#[expect(clippy::excessive_precision, reason = "the coefficients as they were published")]
fn tanh(x: f32) -> f32 {
    const BOUND: f32 = 7.905_311_1;
    let x = x.clamp(-BOUND, BOUND);
    let square = x * x;
    let mut above = -2.760_768_477_423_55e-16;
    for coefficient in [
        2.000_187_904_824_77e-13,
        -8.604_671_522_137_35e-11,
        5.122_297_090_371_14e-8,
        1.485_722_357_179_79e-5,
        6.372_619_288_754_36e-4,
        4.893_524_558_917_86e-3,
    ] {
        above = above * square + coefficient;
    }
    let mut below = 1.198_258_394_667_02e-6;
    for coefficient in [1.185_347_056_866_54e-4, 2.268_434_632_439_00e-3, 4.893_525_185_543_85e-3] {
        below = below * square + coefficient;
    }
    x * above / below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quotient_agrees_with_tanh() {
        for at in -200_000..200_000 {
            let x = at as f32 / 10_000.0;
            assert!((tanh(x) - x.tanh()).abs() < 4e-7, "{x}: {} {}", tanh(x), x.tanh());
            assert!(tanh(x).abs() <= 1.000_000_2);
        }
        assert_eq!(tanh(0.0), 0.0);
    }

    #[test]
    fn a_step_is_the_unrolled_recurrence() {
        let device = Device::flex();
        let values = |count: usize, seed: usize| {
            (0..count).map(|at| ((at * 37 + seed * 11) % 101) as f32 / 101.0 - 0.5).collect::<Vec<_>>()
        };
        let gru = Gru::new(
            matrix(values(2 * 12, 1), [2, 12], &device),
            matrix(values(4 * 12, 2), [4, 12], &device),
            matrix(values(12, 3), [1, 12], &device),
            matrix(values(4, 4), [1, 4], &device),
        );
        let inputs = values(3 * 5 * 2, 5); // three times, five chunks
        let trace = gru.unroll(matrix(inputs.clone(), [15, 2], &device), 5);
        let mut hidden = vec![0.0; 20];
        for time in 0..3 {
            assert_eq!(trace.before()[time * 20..(time + 1) * 20], hidden);
            hidden = gru.step(hidden, matrix(inputs[time * 10..(time + 1) * 10].to_vec(), [5, 2], &device));
        }
    }
}
