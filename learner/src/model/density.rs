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

    /// Returns the log likelihood of a row of targets.
    pub fn log_likelihood(&self, targets: &[f32; TARGETS]) -> f64 {
        log_sum_exp(self.components().map(|component| {
            // The product of 13 factors of at most 1e5 stays far below the largest 64-bit float: one logarithm serves all.
            let mut product = 1.0;
            let mut scales = 0.0;
            for ((value, mean), log_scale) in targets.iter().zip(component.means).zip(component.log_scales) {
                let distance = (f64::from(*value) - mean) * (-log_scale).exp();
                product *= 1.0 + distance * distance / 4.0;
                scales += log_scale;
            }
            component.log_weight + LOG_PEAK * TARGETS as f64 - 2.5 * product.ln() - scales
        }))
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
