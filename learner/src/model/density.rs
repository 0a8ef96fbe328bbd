//! The density that a row of the head's outputs describes: a mixture of products of Student-t(4), for numbers outside of
//! tensors. Its formula is that of the loss.

use super::{COMPONENTS, LOG_PEAK, LOG_SCALE_MAX, OUTPUTS};
use crate::features::TARGETS;

/// One component: its weight, and mean and scale of each target.
#[derive(Clone, Copy, Debug)]
struct Component {
    log_weight: f64,
    means: [f64; TARGETS],
    log_scales: [f64; TARGETS],
}

/// A density over the targets of a row, in standardised values.
#[derive(Clone, Debug)]
pub struct Density<'a> {
    /// Weights, means, scales. [OUTPUTS]
    outputs: &'a [f32],
    /// Logarithm of the sum of the exponents of the weights.
    log_total: f64,
}

impl<'a> Density<'a> {
    /// Returns the density of a row of outputs.
    pub fn of(outputs: &'a [f32]) -> Self {
        debug_assert_eq!(outputs.len(), OUTPUTS);
        let log_total = log_sum_exp(std::array::from_fn(|at| f64::from(outputs[at])));
        Self { outputs, log_total }
    }

    /// Returns the log likelihood of a row of targets. Every row that is judged comes by here: targets side by side, in 32
    /// bits, without a call.
    pub fn log_likelihood(&self, targets: &[f32; TARGETS]) -> f64 {
        let mut logs = [0.0; COMPONENTS];
        for (at, log) in logs.iter_mut().enumerate() {
            let means = &self.outputs[COMPONENTS + at * TARGETS..][..TARGETS];
            let scales = &self.outputs[COMPONENTS * (1 + TARGETS) + at * TARGETS..][..TARGETS];
            let (mut factors, mut log_scales) = ([0.0_f32; TARGETS], [0.0_f32; TARGETS]);
            for target in 0..TARGETS {
                let log_scale = scales[target] / (1.0 + scales[target].abs() / LOG_SCALE_MAX);
                let distance = (targets[target] - means[target]) * exp(-log_scale);
                factors[target] = 1.0 + distance * distance * 0.25;
                log_scales[target] = log_scale;
            }
            // The product of 22 factors of at most 1e8 stays far below the largest 64-bit float: one logarithm serves all.
            let (pairs, _) = factors.as_chunks::<2>();
            let (mut one, mut other) = (1.0, 1.0);
            for [first, second] in pairs {
                one *= f64::from(*first);
                other *= f64::from(*second);
            }
            let scales: f32 = log_scales.iter().sum();
            *log = f64::from(self.outputs[at]) - self.log_total + LOG_PEAK * TARGETS as f64
                - 2.5 * (one * other).ln()
                - f64::from(scales);
        }
        log_sum_exp(logs)
    }

    /// Returns the log likelihood of one value, whatever the others are.
    pub fn log_marginal(&self, target: usize, value: f64) -> f64 {
        log_sum_exp(self.components().map(|component| {
            let log_scale = component.log_scales[target];
            let distance = (value - component.means[target]) * (-log_scale).exp();
            component.log_weight + LOG_PEAK - 2.5 * (distance * distance / 4.0).ln_1p() - log_scale
        }))
    }

    /// Returns the mean of one value.
    pub fn expected(&self, target: usize) -> f64 {
        self.components().iter().map(|component| component.log_weight.exp() * component.means[target]).sum()
    }

    fn components(&self) -> [Component; COMPONENTS] {
        let value = |at: usize| f64::from(self.outputs[at]);
        let bound = f64::from(LOG_SCALE_MAX);
        std::array::from_fn(|component| {
            let means = COMPONENTS + component * TARGETS;
            let scales = COMPONENTS * (1 + TARGETS) + component * TARGETS;
            Component {
                log_weight: value(component) - self.log_total,
                means: std::array::from_fn(|target| value(means + target)),
                log_scales: std::array::from_fn(|target| {
                    let raw = value(scales + target);
                    raw / (1.0 + raw.abs() / bound)
                }),
            }
        })
    }
}

/// Returns the exponential of a number between -80 and 80, of which scales need three: two to the nearest whole power, times a polynomial of what is
/// left (the Taylor series of 2^x, whose next term is below the last bit of 32). No call, no branch: many at once.
fn exp(x: f32) -> f32 {
    /// Adding it rounds to a whole number, which then stands in the lowest bits.
    const ROUNDING: f32 = 12_582_912.0;
    let power = x * std::f32::consts::LOG2_E;
    let rounded = power + ROUNDING;
    let rest = power - (rounded - ROUNDING);
    let mut sum = 1.525_273_4e-5;
    for coefficient in
        [1.540_353e-4, 1.333_355_8e-3, 9.618_129e-3, 5.550_411e-2, 2.402_265e-1, std::f32::consts::LN_2, 1.0]
    {
        sum = sum * rest + coefficient;
    }
    f32::from_bits(sum.to_bits().wrapping_add(rounded.to_bits() << (f32::MANTISSA_DIGITS - 1)))
}

fn log_sum_exp(logs: [f64; COMPONENTS]) -> f64 {
    let largest = logs.into_iter().fold(f64::NEG_INFINITY, f64::max);
    logs.into_iter().map(|log| (log - largest).exp()).sum::<f64>().ln() + largest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs() -> Vec<f32> {
        (0..OUTPUTS).map(|at| ((at * 53) % 97) as f32 / 40.0 - 1.2).collect()
    }

    #[test]
    fn the_polynomial_agrees_with_exp() {
        for at in -80_000..80_000 {
            let x = at as f32 / 1_000.0;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 8e-6, "{x}: {found} {expected}");
        }
        assert!((-5_000..5_000).all(|at| {
            let x = at as f32 / 1_000.0;
            (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs() < 1e-6
        }));
    }

    #[test]
    fn the_likelihood_of_a_row_agrees_with_the_plain_formula() {
        let outputs = outputs();
        let density = Density::of(&outputs);
        for shift in 0..40_i16 {
            let targets: [f32; TARGETS] = std::array::from_fn(|at| (at as f32 - f32::from(shift)) * 0.4);
            let plain = log_sum_exp(density.components().map(|component| {
                let logs = (0..TARGETS).map(|at| {
                    let log_scale = component.log_scales[at];
                    let distance = (f64::from(targets[at]) - component.means[at]) * (-log_scale).exp();
                    LOG_PEAK - 2.5 * (distance * distance / 4.0).ln_1p() - log_scale
                });
                component.log_weight + logs.sum::<f64>()
            }));
            let found = density.log_likelihood(&targets);
            assert!((found - plain).abs() < 1e-3, "{shift}: {found} {plain}");
        }
    }

    #[test]
    fn a_marginal_is_a_density() {
        let outputs = outputs();
        let density = Density::of(&outputs);
        let step = 0.01;
        let values = (-40_000..40_000).map(|at| f64::from(at) * step);
        let total: f64 = values.clone().map(|value| density.log_marginal(3, value).exp() * step).sum();
        assert!((total - 1.0).abs() < 1e-3, "{total}");
        let mean: f64 = values.map(|value| value * density.log_marginal(3, value).exp() * step).sum();
        assert!((mean - density.expected(3)).abs() < 1e-2, "{mean} {}", density.expected(3));
    }

    #[test]
    fn the_farthest_row_still_has_a_finite_likelihood() {
        let mut outputs = outputs();
        outputs[COMPONENTS * (1 + TARGETS)..].fill(-1e9);
        assert!(Density::of(&outputs).log_likelihood(&[-10.0; TARGETS]).is_finite());
    }
}
