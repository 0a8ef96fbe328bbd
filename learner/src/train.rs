//! Learning: one struct of hyperparameters, one optimizer, one loop.
//!
//! Live, rows come window by window into the replay buffer, and whoever owns the trainer lets it train for a while between
//! windows. Offline, the same steps run over chunks that are given. A step takes random chunks, asks the network for the
//! gradient, bounds its norm and moves the weights.
//!
//! Equal seeds and equal rows give equal weights, to the bit, and a trainer that was saved goes on as if it had not been.

use crate::checkpoint::saved::saved;
use crate::features::Row;
use crate::model::batch::Batch;
use crate::model::standardiser::{Scale, Standardiser};
use crate::model::weights::Weights;
use crate::model::{Model, Network, single};
use crate::replay_buffer::{CHUNKS_MAX, ReplayBuffer};
use crate::series::SeriesKey;
use meshgate_policy::generate::Rng;

/// Everything about learning that could be otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Hyperparameters {
    /// Seed of weights, of the choice of chunks and of the replay buffer.
    pub seed: u64,
    /// Learning rate of the first step. Adam bears 3e-3 with a network this small.
    pub rate_first: f64,
    /// Learning rate at the end, kept from then on: a live network never stops learning.
    pub rate_last: f64,
    /// Steps over which the rate falls from the first to the last, by the same factor each.
    pub rate_steps: u64,
    /// Full chunks of rows that are kept to learn from, see [`ReplayBuffer`]: each takes 2.7 kB.
    pub replay_chunks: usize,
    /// Chunks of a step. Larger ones take longer and were not better.
    pub batch_chunks: usize,
    /// Largest norm of a gradient; a larger one is shortened. One odd chunk must not throw the weights away.
    pub gradient_norm_max: f64,
    /// How long Adam remembers the slope.
    pub slope_memory: f64,
    /// How long it remembers the slope's square.
    pub square_memory: f64,
    /// What keeps Adam from dividing by zero.
    pub square_floor: f64,
    /// Share of a step's rows, the least likely, that is not learned from.
    pub trimmed_share: f64,
    /// Steps before that begins: a network that knows nothing yet cannot tell what is unlikely.
    pub trimmed_from_step: u64,
    /// How much of the loss that is reported is that of the last step.
    pub loss_share: f64,
}

saved!(Hyperparameters {
    seed,
    rate_first,
    rate_last,
    rate_steps,
    replay_chunks,
    batch_chunks,
    gradient_norm_max,
    slope_memory,
    square_memory,
    square_floor,
    trimmed_share,
    trimmed_from_step,
    loss_share,
});

impl Default for Hyperparameters {
    fn default() -> Self {
        Self {
            seed: 1,
            rate_first: 3e-3,
            rate_last: 3e-4,
            rate_steps: 4_000,
            replay_chunks: CHUNKS_MAX,
            batch_chunks: 128,
            gradient_norm_max: 5.0,
            slope_memory: 0.9,
            square_memory: 0.999,
            square_floor: 1e-8,
            trimmed_share: 0.01,
            trimmed_from_step: 500,
            loss_share: 0.05,
        }
    }
}

impl Hyperparameters {
    /// Returns the learning rate of a step.
    fn rate(&self, step: u64) -> f64 {
        let progress = step.min(self.rate_steps) as f64 / self.rate_steps.max(1) as f64;
        self.rate_first * (self.rate_last / self.rate_first).powf(progress)
    }

    fn trimmed_share(&self, step: u64) -> f64 {
        if step < self.trimmed_from_step { 0.0 } else { self.trimmed_share }
    }
}

/// What training did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrainingReport {
    /// Steps of this time.
    pub steps: u64,
    /// Mean negative log likelihood of a row in nats, over the last steps; none before the first one.
    pub loss: Option<f64>,
}

/// The optimizer (Kingma and Ba 2015).
#[derive(Clone, Debug, PartialEq)]
struct Adam {
    slopes: Vec<f32>,
    squares: Vec<f32>,
    /// What is left of the memory of having known nothing: the memories' powers.
    slope_rest: f64,
    square_rest: f64,
}

saved!(Adam { slopes, squares, slope_rest, square_rest } if is_sound);

impl Adam {
    fn new() -> Self {
        let nothing = vec![0.0; Weights::count()];
        Self { slopes: nothing.clone(), squares: nothing, slope_rest: 1.0, square_rest: 1.0 }
    }

    fn is_sound(&self) -> bool {
        self.slopes.len() == Weights::count() && self.squares.len() == Weights::count()
    }

    fn step(&mut self, weights: &mut [f32], gradient: &[f32], rate: f64, with: &Hyperparameters) {
        self.slope_rest *= with.slope_memory;
        self.square_rest *= with.square_memory;
        let root = (1.0 - self.square_rest).sqrt();
        let rate = single(rate * root / (1.0 - self.slope_rest));
        let floor = single(with.square_floor * root);
        let (slope_memory, square_memory) = (single(with.slope_memory), single(with.square_memory));
        let moments = self.slopes.iter_mut().zip(&mut self.squares);
        for ((weight, gradient), (slope, square)) in weights.iter_mut().zip(gradient).zip(moments) {
            *slope = slope_memory * *slope + (1.0 - slope_memory) * gradient;
            *square = square_memory * *square + (1.0 - square_memory) * gradient * gradient;
            *weight -= rate * *slope / (square.sqrt() + floor);
        }
    }
}

/// Learns from rows.
#[derive(Clone, Debug)]
pub struct Trainer {
    hyperparameters: Hyperparameters,
    weights: Weights,
    adam: Adam,
    standardiser: Standardiser,
    /// The scale of the weights as they are.
    scale: Scale,
    rng: Rng,
    steps: u64,
    loss: Option<f64>,
    /// Steps whose gradient was no number; they changed nothing.
    steps_refused: u64,
    replay: ReplayBuffer,
}

saved!(Trainer {
    hyperparameters,
    weights,
    adam,
    standardiser,
    scale,
    rng,
    steps,
    loss,
    steps_refused,
    replay,
});

impl Trainer {
    /// Returns a trainer that knows nothing.
    pub fn new(hyperparameters: Hyperparameters) -> Self {
        let mut rng = Rng::new(hyperparameters.seed);
        let standardiser = Standardiser::default();
        Self {
            weights: Weights::random(&mut rng),
            adam: Adam::new(),
            scale: standardiser.scale(),
            standardiser,
            replay: ReplayBuffer::new(hyperparameters.replay_chunks, rng.next_u64()),
            rng,
            steps: 0,
            loss: None,
            steps_refused: 0,
            hyperparameters,
        }
    }

    /// Takes the rows of a window in. `window` is any number that grows from window to window.
    pub fn observe(&mut self, rows: &[(SeriesKey, Row)], window: u64) {
        for (series, row) in rows {
            if self.replay.push(*series, row, window) {
                self.standardiser.add(row);
            }
        }
    }

    /// Trains on rows that were observed for as long as `goes_on` says, which is asked before each step with the number of
    /// steps that were made: a budget of steps or of time. Without rows, returns at once.
    pub fn train(&mut self, mut goes_on: impl FnMut(u64) -> bool) -> TrainingReport {
        // Inputs keep their meaning while the network is being moved, and until it is moved the next time.
        self.scale = self.standardiser.scale();
        let mut steps = 0;
        while !self.replay.is_empty() && goes_on(steps) {
            let chunks = self.replay.sample(self.hyperparameters.batch_chunks, &mut self.rng);
            let batch = Batch::of(&chunks, &self.scale);
            self.step(&batch);
            steps += 1;
        }
        TrainingReport { steps, loss: self.loss }
    }

    /// Trains on every one of these chunks so many times, in an order that is drawn anew each time.
    pub fn train_epochs(&mut self, chunks: &[&[Row]], epochs: u64) -> TrainingReport {
        chunks.iter().copied().flatten().for_each(|row| self.standardiser.add(row));
        self.scale = self.standardiser.scale();
        let before = self.steps;
        let mut order = chunks.to_vec();
        for _ in 0..epochs {
            for at in 0..order.len() {
                let other = at + self.rng.index(order.len() - at);
                order.swap(at, other);
            }
            for chunks in order.chunks(self.hyperparameters.batch_chunks.max(1)) {
                self.step(&Batch::of(chunks, &self.scale));
            }
        }
        TrainingReport { steps: self.steps - before, loss: self.loss }
    }

    /// Returns the network as it is, ready to judge.
    pub fn model(&self) -> Model {
        Model::new(self.weights.clone(), self.scale.clone(), self.steps)
    }

    /// Returns the number of steps since the beginning.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Returns the number of steps that changed nothing because a number was none.
    pub fn steps_refused(&self) -> u64 {
        self.steps_refused
    }

    /// Returns the mean negative log likelihood of a row over the last steps.
    pub fn loss(&self) -> Option<f64> {
        self.loss
    }

    /// Returns the weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Returns the hyperparameters.
    pub fn hyperparameters(&self) -> &Hyperparameters {
        &self.hyperparameters
    }

    /// Returns the rows to learn from.
    pub fn replay(&self) -> &ReplayBuffer {
        &self.replay
    }

    fn step(&mut self, batch: &Batch) {
        let trimmed_share = self.hyperparameters.trimmed_share(self.steps);
        let Some(mut gradient) = Network::new(&self.weights).gradient(batch, trimmed_share) else { return };
        let squares = gradient.values.iter().map(|slope| f64::from(*slope) * f64::from(*slope));
        let norm = squares.sum::<f64>().sqrt();
        if !norm.is_finite() || !gradient.loss.is_finite() {
            self.steps_refused += 1;
            return;
        }
        if norm > self.hyperparameters.gradient_norm_max {
            let factor = single(self.hyperparameters.gradient_norm_max / norm);
            gradient.values.iter_mut().for_each(|slope| *slope *= factor);
        }
        let rate = self.hyperparameters.rate(self.steps);
        self.adam.step(&mut self.weights.values, &gradient.values, rate, &self.hyperparameters);
        self.steps += 1;
        let share = self.hyperparameters.loss_share;
        self.loss = Some(self.loss.map_or(gradient.loss, |loss| loss + share * (gradient.loss - loss)));
    }
}

#[cfg(test)]
mod tests;
