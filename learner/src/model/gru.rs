//! The recurrence: a gated recurrent unit (Cho et al. 2014, reset after the product as in PyTorch), its cell fused into one
//! pass and its gradient through time written out.
//!
//! ```text
//! r, z = sigmoid(x W + h U + b)       reset and update
//! n    = tanh(x W + b + r (h U + c))  candidate
//! h'   = (1 - z) n + z h
//! ```
//! Everything of one time - a few hundred kilobytes - is done while it is in the cache: products with the inputs and with the
//! state, one pass over the gates, and on the way back what this time adds to the slopes of the weights. `matrix_product` multiplies
//! slices; tensors are at the border only.
//!
//! `exp` and `tanh` of the C library work on one number at a time and would take most of a step. A quotient of polynomials
//! agrees with tanh to the last bits of a 32-bit float and is computed for many numbers at once.

use super::vector;
use crate::matrix_product::{Panels, Strips, add_product};
use burn::tensor::Tensor;

/// The weights of the recurrence.
#[derive(Clone, Debug)]
pub struct Gru {
    /// W: reset, update, candidate. [inputs, 3H]
    input: Panels,
    /// U. [H, 3H]
    hidden: Panels,
    /// The transpose of U, for the way back. [3H, H]
    hidden_transposed: Panels,
    /// b. [3H]
    bias: Vec<f32>,
    /// c, behind two zeros for each state: what is added to h U. [3H]
    recurrent_bias: Vec<f32>,
    /// Values of a row of inputs.
    inputs: usize,
    /// H.
    width: usize,
}

/// Everything that the way back needs of the way there.
#[derive(Clone, Debug)]
pub struct Trace {
    /// [T * B, inputs]
    inputs: Vec<f32>,
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
        let [width, wide] = hidden.dims();
        let inputs = input.dims()[0];
        let transposed = vector(hidden.clone().transpose());
        let recurrent_bias = [vec![0.0; 2 * width], vector(candidate_bias)].concat();
        Self {
            input: Panels::of(&vector(input), wide),
            hidden: Panels::of(&vector(hidden), wide),
            hidden_transposed: Panels::of(&transposed, width),
            bias: vector(bias),
            recurrent_bias,
            inputs,
            width,
        }
    }

    /// Runs over inputs that are laid out time by time, `chunks` rows a time, from states of zero. [T * B, inputs]
    pub fn unroll(&self, inputs: Tensor<2>, chunks: usize) -> Trace {
        let inputs = vector(inputs);
        let rows = inputs.len() / self.inputs;
        let states = chunks * self.width;
        let mut before = Vec::with_capacity(rows * self.width);
        let mut gates = vec![0.0; rows * 4 * self.width];
        let mut hidden = vec![0.0; states];
        let mut products = Products::default();
        let times = inputs.chunks_exact(chunks * self.inputs);
        for (inputs, gates) in times.zip(gates.chunks_exact_mut(4 * states)) {
            before.extend_from_slice(&hidden);
            self.multiply(inputs, &hidden, &mut products);
            self.advance(&products, gates, &mut hidden);
        }
        Trace { inputs, before, gates, chunks }
    }

    /// Returns the states after one row each. [B, H], [B, inputs] -> [B, H]
    pub fn step(&self, mut hidden: Vec<f32>, inputs: Tensor<2>) -> Vec<f32> {
        let mut products = Products::default();
        self.multiply(&vector(inputs), &hidden, &mut products);
        let mut gates = vec![0.0; hidden.len() * 4];
        self.advance(&products, &mut gates, &mut hidden);
        hidden
    }

    /// Returns the slopes of the weights, in order of [`Gru::new`], from those of the states before each row. [T * B, H]
    pub fn gradient(&self, trace: Trace, slopes: &[f32]) -> Vec<f32> {
        let Trace { inputs, before, gates, chunks } = trace;
        let (states, wide) = (chunks * self.width, 3 * self.width);
        let mut of_input = vec![0.0; self.inputs * wide];
        let mut of_hidden = vec![0.0; self.width * wide];
        let mut of_bias = vec![0.0; wide];
        let mut of_recurrent_bias = vec![0.0; wide];
        let mut products = Products::sized(chunks * wide);
        let (mut panels, mut strips) = (Panels::default(), Strips::default());
        // The state after the last row is never looked at.
        let mut after = vec![0.0; states];
        let times = inputs.chunks_exact(chunks * self.inputs).zip(before.chunks_exact(states));
        let times = times.zip(gates.chunks_exact(4 * states)).zip(slopes.chunks_exact(states));
        for (((inputs, before), gates), direct) in times.rev() {
            self.retreat(gates, before, &mut after, &mut products);
            let Products { projected, recurrent, .. } = &products;
            panels.fill(projected, wide);
            strips.fill_transposed(inputs, self.inputs);
            add_product(&mut of_input, &strips, &panels); //             [inputs, 3H]
            panels.fill(recurrent, wide);
            strips.fill_transposed(before, self.width);
            add_product(&mut of_hidden, &strips, &panels); //            [H, 3H]
            add_rows(&mut of_bias, projected);
            add_rows(&mut of_recurrent_bias, recurrent);
            strips.fill(recurrent, wide);
            add_product(&mut after, &strips, &self.hidden_transposed); // [B, H]
            after.iter_mut().zip(direct).for_each(|(after, direct)| *after += direct);
        }
        let of_candidate_bias = of_recurrent_bias.split_off(2 * self.width);
        [of_input, of_hidden, of_bias, of_candidate_bias].concat()
    }

    /// The products of a time: x W + b and h U + c. [B, inputs], [B, H]
    fn multiply(&self, inputs: &[f32], hidden: &[f32], products: &mut Products) {
        let Products { projected, recurrent, strips } = products;
        for (product, bias) in [(&mut *projected, &self.bias), (&mut *recurrent, &self.recurrent_bias)] {
            product.clear();
            (0..hidden.len() / self.width).for_each(|_| product.extend_from_slice(bias));
        }
        strips.fill(inputs, self.inputs);
        add_product(projected, strips, &self.input);
        strips.fill(hidden, self.width);
        add_product(recurrent, strips, &self.hidden);
    }

    /// The cell, for every row of a time: gates [B, 4H], states [B, H].
    fn advance(&self, products: &Products, gates: &mut [f32], hidden: &mut [f32]) {
        let width = self.width;
        let Products { projected, recurrent, .. } = products;
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
                share[at] = h_candidate[at];
                candidate[at] = tanh(x_candidate[at] + reset[at] * share[at]);
                hidden[at] = candidate[at] + update[at] * (hidden[at] - candidate[at]);
            }
        }
    }

    /// The cell backwards, for every row of a time. Takes the slopes of the states after it and leaves there what of them
    /// goes straight to the states before it; the slopes of the two products go to `products`. [B, H]
    fn retreat(&self, gates: &[f32], before: &[f32], slopes: &mut [f32], products: &mut Products) {
        let width = self.width;
        let Products { projected, recurrent, .. } = products;
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

/// The two products of a time, or their slopes, in memory that serves one time after the other.
#[derive(Debug, Default)]
struct Products {
    /// x W + b. [B, 3H]
    projected: Vec<f32>,
    /// h U + c. [B, 3H]
    recurrent: Vec<f32>,
    /// The left factor.
    strips: Strips,
}

impl Products {
    /// Returns products of so many values each.
    fn sized(values: usize) -> Self {
        Self { projected: vec![0.0; values], recurrent: vec![0.0; values], strips: Strips::default() }
    }
}

/// Adds all rows of a matrix to one.
fn add_rows(sums: &mut [f32], matrix: &[f32]) {
    for row in matrix.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
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
    use super::super::matrix;
    use super::*;
    use burn::tensor::Device;

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
