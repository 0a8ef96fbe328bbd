//! The weights of the network: what is learned.

use super::{HEAD, HIDDEN, OUTPUTS, matrix, single, unit};
use crate::checkpoint::saved::saved;
use crate::features::{CONTEXT, FEATURES};
use burn::tensor::{Device, Tensor};
use meshgate_policy::generate::Rng;

/// Names and shapes of the weights, in the order in which [`Weights`] holds them.
pub const LAYOUT: [(&str, [usize; 2]); 8] = [
    ("gru.input", [FEATURES, 3 * HIDDEN]),
    ("gru.hidden", [HIDDEN, 3 * HIDDEN]),
    ("gru.bias", [1, 3 * HIDDEN]),
    ("gru.candidate_bias", [1, HIDDEN]),
    ("head.hidden", [HIDDEN + CONTEXT, HEAD]),
    ("head.hidden_bias", [1, HEAD]),
    ("head.output", [HEAD, OUTPUTS]),
    ("head.output_bias", [1, OUTPUTS]),
];

/// All weights, one after the other. A flat list makes optimizer, checkpoint and comparison one loop each.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// In order of the layout, row by row.
    pub values: Vec<f32>,
}

saved!(Weights { values } if is_sound);

impl Weights {
    /// Returns how many there are.
    pub fn count() -> usize {
        LAYOUT.iter().map(|(_, [rows, columns])| rows * columns).sum()
    }

    /// Returns the weights to begin with: uniform within one over the root of the inputs, as is usual.
    pub fn random(rng: &mut Rng) -> Self {
        let bounds = [HIDDEN, HIDDEN, HIDDEN, HIDDEN, HIDDEN + CONTEXT, HIDDEN + CONTEXT, HEAD, 1];
        let parts = LAYOUT.iter().zip(bounds);
        // The last one bounds by 1: the means of the components begin apart.
        let draw = |((_, [rows, columns]), inputs): (&(&str, [usize; 2]), usize)| {
            let bound = 1.0 / (inputs as f64).sqrt();
            (0..rows * columns).map(|_| single(bound * (2.0 * unit(rng) - 1.0))).collect::<Vec<_>>()
        };
        Self { values: parts.flat_map(draw).collect() }
    }

    fn is_sound(&self) -> bool {
        self.values.len() == Self::count()
    }

    /// Returns the matrices in order of the layout.
    pub(super) fn tensors(&self, device: &Device) -> [Tensor<2>; LAYOUT.len()] {
        let mut at = 0;
        LAYOUT.map(|(_, [rows, columns])| {
            let part = self.values[at..at + rows * columns].to_vec();
            at += rows * columns;
            matrix(part, [rows, columns], device)
        })
    }
}
