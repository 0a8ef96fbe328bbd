//! Two memories of the same answers, a long one and a short one.

use super::course::Course;
use super::expert::{Expert, Observations, Prediction};
use super::point::{KernelWeights, Point};
use std::collections::BTreeMap;

/// What was learned of an entity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EntityEffect {
    /// Which of the entities of a suggestion it is.
    pub place: usize,
    /// Its number.
    pub number: u64,
    /// How far its presence moves the log odds.
    pub log_odds: f64,
    /// Answers that speak of it.
    pub answers: u64,
}

/// Experts that know the answers up to a place.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// The answers.
    pub observations: Observations,
    /// What makes suggestions alike.
    pub weights: KernelWeights,
    /// Knows for long.
    pub long: Expert,
    /// Forgets soon.
    pub short: Expert,
}

impl Fitted {
    /// Returns the probabilities by the long memory and by the short one.
    pub fn probabilities(&self, points: &[Point]) -> Vec<(f64, f64)> {
        let across = self.observations.across(points, &self.weights);
        let by = |expert: &Expert| expert.predict(&self.observations, &across, points, &self.weights);
        let probability = |prediction: &Prediction| f64::from(prediction.probability());
        let (long, short) = (by(&self.long), by(&self.short));
        long.iter().zip(&short).map(|(long, short)| (probability(long), probability(short))).collect()
    }

    /// Returns the probability by an expert that knows no answer before this one; none where there is none after it.
    pub fn since(&self, start: usize, point: &Point, span: f32) -> Option<f64> {
        let first = self.observations.position(start)?;
        let points = std::slice::from_ref(point);
        let across = self.observations.across(points, &self.weights);
        let expert = Expert::fit(&self.observations, first, span);
        let predictions = expert.predict(&self.observations, &across, points, &self.weights);
        predictions.first().map(|prediction| f64::from(prediction.probability()))
    }

    /// Returns how far each feature moves the log odds by a deviation, and each entity by its presence, as the memories have it
    /// by their shares.
    pub fn effects(&self, course: &Course) -> (Vec<f64>, Vec<EntityEffect>) {
        let [_, long, short] = course.shares;
        let mut features: Vec<f64> = Vec::new();
        let mut entities: BTreeMap<(usize, u64), (f64, u64)> = BTreeMap::new();
        for (expert, share) in [(&self.long, long), (&self.short, short)] {
            for (row, slope) in expert.faded_slopes(&self.observations) {
                let slope = f64::from(slope) * share;
                features.resize(row.point.features.len(), 0.0);
                let linear =
                    f64::from(self.weights.linear.powi(2) / self.weights.dimensions) * row.questions.share();
                for (sum, value) in features.iter_mut().zip(&row.point.features) {
                    *sum += linear * slope * f64::from(*value);
                }
                for (place, entity) in
                    row.point.entities.iter().enumerate().filter(|(_, entity)| **entity != 0)
                {
                    let weight =
                        f64::from(self.weights.entities[place].powi(2)) * row.questions.share_of(place);
                    let (sum, answers) = entities.entry((place, *entity)).or_default();
                    *sum += weight * slope;
                    *answers += 1;
                }
            }
        }
        // Both memories saw each answer.
        let effect = |((place, number), (log_odds, twice))| EntityEffect {
            place,
            number,
            log_odds,
            answers: twice / 2,
        };
        (features, entities.into_iter().map(effect).collect())
    }
}
