//! What can be evaluated: anything that gives every edge a score, larger being more unusual.

use super::EvaluateError;
use crate::baselines::counting::score_counts;
use crate::baselines::edge_features::{EDGE_FEATURES, edge_features};
use crate::baselines::edges::Edges;
use crate::baselines::new_pair::score_new;
use crate::isolation_forest::{ForestSettings, IsolationForest};

/// Trees of the baseline forest.
const TREES: usize = 200;

/// Training edges that each tree sees.
const SAMPLES: usize = 4_096;

/// Scores of one method.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Name of the method.
    pub method: String,
    /// The seed it ran with, if it draws random numbers.
    pub seed: Option<u64>,
    /// One score for each edge, the training ones first. Larger is more unusual.
    pub scores: Vec<f64>,
    /// Whether a score is `-log10` of a p-value: then thresholds are what it says of itself.
    pub says_p_values: bool,
}

/// A method, or several that share their training.
pub trait Scorer {
    /// Returns what it is, for the log.
    fn name(&self) -> &'static str;

    /// Returns whether its scores depend on a seed.
    fn is_seeded(&self) -> bool;

    /// Learns from the training edges and scores all edges in order of time.
    fn score(&self, edges: &Edges, seed: u64) -> Result<Vec<Scores>, EvaluateError>;
}

/// Whether the pair of addresses, or that of their networks, was seen while learning.
pub struct NewPair;

impl Scorer for NewPair {
    fn name(&self) -> &'static str {
        "new pair"
    }

    fn is_seeded(&self) -> bool {
        false
    }

    fn score(&self, edges: &Edges, _seed: u64) -> Result<Vec<Scores>, EvaluateError> {
        let (training, test) = (edges.training(), edges.test());
        let scores = |method: &str, scores| Scores {
            method: method.to_owned(),
            seed: None,
            scores,
            says_p_values: false,
        };
        Ok(vec![
            scores("new pair", score_new(training, test, |edge| edge.pair)),
            scores("new /24 pair", score_new(training, test, |edge| edge.network_pair)),
        ])
    }
}

/// Counting in the manner of MIDAS.
pub struct Counting;

impl Scorer for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn is_seeded(&self) -> bool {
        false
    }

    fn score(&self, edges: &Edges, _seed: u64) -> Result<Vec<Scores>, EvaluateError> {
        let scores = score_counts(edges);
        Ok(vec![Scores { method: "counting (MIDAS)".into(), seed: None, scores, says_p_values: false }])
    }
}

/// An isolation forest over the values of edges.
pub struct Forest;

impl Scorer for Forest {
    fn name(&self) -> &'static str {
        "isolation forest"
    }

    fn is_seeded(&self) -> bool {
        true
    }

    fn score(&self, edges: &Edges, seed: u64) -> Result<Vec<Scores>, EvaluateError> {
        let rows = edge_features(edges);
        let settings = ForestSettings { trees: TREES, samples: SAMPLES, seed };
        let all: Vec<usize> = (0..EDGE_FEATURES).collect();
        let forest = IsolationForest::grow(&rows[..edges.training().len()], 0, &all, settings);
        let scores = forest.score(&rows).into_iter().map(f64::from).collect();
        let method = "isolation forest".into();
        Ok(vec![Scores { method, seed: Some(seed), scores, says_p_values: false }])
    }
}
