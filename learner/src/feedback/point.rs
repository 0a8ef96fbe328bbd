//! A suggestion as the learned ranking sees it, and how alike two of them are.

use super::triangle::dot;
use serde::{Deserialize, Serialize};

/// Entities of a point: who is concerned and what it is about.
pub const ENTITIES: usize = 4;
/// Places of the entities.
pub const SOURCE: usize = 0;
/// See [`SOURCE`].
pub const DESTINATION: usize = 1;
/// See [`SOURCE`].
pub const PAIR: usize = 2;
/// See [`SOURCE`].
pub const SERVICE: usize = 3;

/// Share of what is learned that both questions have in common: who refuses a rule does not think much of what led to it.
/// With heads that learn apart, half of what a no says is lost.
pub const JOINT: f32 = 0.7;
/// How far an answer to one question is heard as one to the other: a no refuses the suggestion as a whole, whatever the reason
/// that goes with it. At 0 a no for what was seen says nothing of the service.
pub const OTHER: f32 = 0.5;

/// Which question an answer speaks to: whether what was seen is worth a rule, whether this rule is the right one. Only the
/// sum of both is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Questions {
    /// Of the detector's head.
    pub situation: bool,
    /// Of the rule's head.
    pub rule: bool,
}

impl Questions {
    /// Both: what a suggestion has to pass.
    pub const BOTH: Self = Self { situation: true, rule: true };
    /// Only whether what was seen is worth a rule.
    pub const SITUATION: Self = Self { situation: true, rule: false };
    /// Only whether the rule is the right one.
    pub const RULE: Self = Self { situation: false, rule: true };

    /// Returns the share of what is learned of a suggestion that these questions hear of.
    pub fn share(self) -> f64 {
        let heads = f64::from(heard(self.situation)) + f64::from(heard(self.rule));
        f64::from(JOINT) + (1.0 - f64::from(JOINT)) * heads / 2.0
    }

    /// Returns the share of what an entity says that they hear of: the service speaks to the rule alone.
    pub fn share_of(self, entity: usize) -> f64 {
        if entity == SERVICE { f64::from(heard(self.rule)) } else { self.share() }
    }
}

/// Returns how far an answer is heard as one to a question.
fn heard(is_asked: bool) -> f32 {
    if is_asked { 1.0 } else { OTHER }
}

/// A suggestion in standardised numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Log odds that the static ranking gives it.
    pub offset: f32,
    /// The bounded static score that the offset was made of.
    pub height: f32,
    /// Its features, standardised.
    pub features: Vec<f32>,
    /// Numbers of its entities; 0 is nobody.
    pub entities: [u64; ENTITIES],
    /// Square of the length of the features.
    pub square: f32,
}

impl Point {
    /// Returns a point.
    pub fn new(offset: f32, height: f32, features: Vec<f32>, entities: [u64; ENTITIES]) -> Self {
        let square = dot(&features, &features);
        Self { offset, height, features, entities, square }
    }
}

/// Weights of the parts of the kernel, each a standard deviation of log odds.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelWeights {
    /// Of what all suggestions share.
    pub common: f32,
    /// Of the static score.
    pub height: f32,
    /// Of a linear function of the features.
    pub linear: f32,
    /// Of a smooth function of them.
    pub smooth: f32,
    /// Of each entity: source, destination, pair, service.
    pub entities: [f32; ENTITIES],
    /// Features that speak, by which squared lengths are divided.
    pub dimensions: f32,
}

impl Default for KernelWeights {
    fn default() -> Self {
        Self {
            common: 0.5,
            height: 0.3,
            linear: 1.0,
            smooth: 0.5,
            entities: [1.2, 0.8, 1.2, 1.2],
            dimensions: 1.0,
        }
    }
}

impl KernelWeights {
    /// Returns how alike two points are, as the covariance of what is to be learned of them, each asked these questions.
    ///
    /// Both heads see all features and entities. Most of what they learn is the same, [`JOINT`], the rest each has for itself;
    /// how unusual something is speaks only to the situation, what service it is about only to the rule.
    pub fn covariance(&self, (a, asked_a): (&Point, Questions), (b, asked_b): (&Point, Questions)) -> f32 {
        let product = dot(&a.features, &b.features);
        self.by_product((a, asked_a), (b, asked_b), product)
    }

    /// Returns the covariances of a point with many others, given the products of its features with theirs.
    pub fn line(&self, row: (&Point, Questions), points: &[Point], products: &mut [f32]) {
        for (value, point) in products.iter_mut().zip(points) {
            *value = self.by_product(row, (point, Questions::BOTH), *value);
        }
    }

    fn by_product(
        &self,
        (a, asked_a): (&Point, Questions),
        (b, asked_b): (&Point, Questions),
        product: f32,
    ) -> f32 {
        let situation = heard(asked_a.situation) * heard(asked_b.situation);
        let rule = heard(asked_a.rule) * heard(asked_b.rule);
        let squared = |weight: f32| weight * weight;
        let distance = (a.square + b.square - 2.0 * product).max(0.0);
        // A rational quadratic (Rasmussen and Williams, equation 4.19, alpha 2): like a Gaussian near by, with tails, and
        // without an exponential.
        let near = 1.0 / (1.0 + distance / (4.0 * self.dimensions));
        let same = |entity: usize| {
            let is_same = a.entities[entity] == b.entities[entity] && a.entities[entity] != 0;
            if is_same { squared(self.entities[entity]) } else { 0.0 }
        };
        let shared = squared(self.common)
            + squared(self.linear) * product / self.dimensions
            + squared(self.smooth) * near * near
            + same(SOURCE)
            + same(DESTINATION)
            + same(PAIR);
        (JOINT + (1.0 - JOINT) * 0.5 * (situation + rule)) * shared
            + situation * squared(self.height) * a.height * b.height
            + rule * same(SERVICE)
    }
}
