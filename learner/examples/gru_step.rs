//! A training step of the recurrence, for comparison with PyTorch: GRU(32 -> 64), sequence 32, batch 64, on one thread.
//! `benches/peers/compare_gru.sh` runs it in turns with `benches/peers/gru_step.py`, which does the same from the same
//! weights on the same inputs.
//!
//! A step is: the recurrence over the whole batch from states of zero, the mean square of (states - targets) over the states
//! after rows 1 to 31, its gradient along every weight, and one step of Adam. Making the inputs is not part of it.
//!
//! ```text
//! gru_step STEPS            for each line on standard input: STEPS steps, and the median of a step in ms
//! gru_step --losses STEPS   the loss of each step, then the sum of the squares of the first gradient
//! ```
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use burn::tensor::{Device, Tensor, TensorData};
use meshgate_learner::model::gru::Gru;
use std::time::Instant;

const INPUTS: usize = 32;
const WIDTH: usize = 64;
const TIMES: usize = 32;
const CHUNKS: usize = 64;
const STATES: usize = CHUNKS * WIDTH;
/// Shapes of the weights, in the order in which [`Step`] holds them.
const SHAPES: [[usize; 2]; 4] = [[INPUTS, 3 * WIDTH], [WIDTH, 3 * WIDTH], [1, 3 * WIDTH], [1, WIDTH]];
const RATE: f32 = 3e-3;
const SLOPE_MEMORY: f32 = 0.9;
const SQUARE_MEMORY: f32 = 0.999;
const FLOOR: f32 = 1e-8;
/// Steps before the first that is timed.
const WARM_UP_STEPS: usize = 10;

/// Returns numbers between -bound and bound, the same as on the other side.
fn values(count: usize, seed: usize, bound: f64) -> Vec<f32> {
    let value = |at: usize| ((at * 7_919 + seed * 104_729) % 100_003) as f64 / 100_003.0 * 2.0 - 1.0;
    #[expect(clippy::cast_possible_truncation, reason = "the nearest 32-bit float is what is meant")]
    let single = |value: f64| (value * bound) as f32;
    (0..count).map(|at| single(value(at))).collect()
}

/// The weights, and all that a step needs beside them.
struct Step {
    device: Device,
    weights: Vec<f32>,
    slopes: Vec<f32>,
    squares: Vec<f32>,
    steps: i32,
    /// [TIMES * CHUNKS, INPUTS]
    inputs: Tensor<2>,
    /// [TIMES * CHUNKS, WIDTH]
    targets: Vec<f32>,
}

impl Step {
    fn new() -> Self {
        let device = Device::flex();
        let weights: Vec<f32> = SHAPES
            .iter()
            .zip(1..)
            .flat_map(|([rows, columns], seed)| values(rows * columns, seed, 0.125))
            .collect();
        let nothing = vec![0.0; weights.len()];
        let inputs = TensorData::new(values(TIMES * CHUNKS * INPUTS, 5, 1.0), [TIMES * CHUNKS, INPUTS]);
        Self {
            inputs: Tensor::from_data(inputs, &device),
            targets: values(TIMES * STATES, 6, 0.5),
            slopes: nothing.clone(),
            squares: nothing,
            steps: 0,
            weights,
            device,
        }
    }

    /// Makes a step. Returns the loss before it, and the gradient.
    fn run(&mut self) -> (f32, Vec<f32>) {
        let mut at = 0;
        let [input, hidden, bias, candidate_bias] = SHAPES.map(|shape| -> Tensor<2> {
            let part = self.weights[at..at + shape[0] * shape[1]].to_vec();
            at += part.len();
            Tensor::from_data(TensorData::new(part, shape), &self.device)
        });
        let gru = Gru::new(input, hidden, bias, candidate_bias);
        let trace = gru.unroll(self.inputs.clone(), CHUNKS);
        // The states before the first rows are zero whatever the weights are.
        let share = 1.0 / ((TIMES - 1) * STATES) as f32;
        let mut loss = 0.0;
        let mut slopes = vec![0.0; TIMES * STATES];
        let pairs = trace.before()[STATES..].iter().zip(&self.targets[STATES..]);
        for ((state, target), slope) in pairs.zip(&mut slopes[STATES..]) {
            let distance = state - target;
            loss += distance * distance;
            *slope = 2.0 * share * distance;
        }
        let gradient = gru.gradient(trace, &slopes);
        self.adam(&gradient);
        (loss * share, gradient)
    }

    /// The optimizer (Kingma and Ba 2015), as in `train.rs`.
    fn adam(&mut self, gradient: &[f32]) {
        self.steps += 1;
        let root = (1.0 - SQUARE_MEMORY.powi(self.steps)).sqrt();
        let rate = RATE * root / (1.0 - SLOPE_MEMORY.powi(self.steps));
        let moments = self.slopes.iter_mut().zip(&mut self.squares);
        for ((weight, gradient), (slope, square)) in self.weights.iter_mut().zip(gradient).zip(moments) {
            *slope = SLOPE_MEMORY * *slope + (1.0 - SLOPE_MEMORY) * gradient;
            *square = SQUARE_MEMORY * *square + (1.0 - SQUARE_MEMORY) * gradient * gradient;
            *weight -= rate * *slope / (square.sqrt() + FLOOR * root);
        }
    }
}

fn main() {
    meshgate_learner::freed_memory::keep(); // as the program does
    let mut words = std::env::args().skip(1);
    let first = words.next().unwrap_or_default();
    let is_check = first == "--losses";
    let count = if is_check { words.next().unwrap_or_default() } else { first };
    let steps: usize = count.parse().expect("STEPS is a number, see the head of this file");
    let mut step = Step::new();
    if is_check {
        print_losses(&mut step, steps);
        return;
    }
    for _ in 0..WARM_UP_STEPS {
        step.run();
    }
    println!("ready: Meshgate");
    for _ in std::io::stdin().lines() {
        let mut times_ms: Vec<f64> = (0..steps)
            .map(|_| {
                let start = Instant::now();
                step.run();
                start.elapsed().as_secs_f64() * 1_000.0
            })
            .collect();
        times_ms.sort_by(f64::total_cmp);
        println!("turn: {:.4}", times_ms[steps / 2]);
    }
}

fn print_losses(step: &mut Step, steps: usize) {
    for number in 0..steps {
        let (loss, gradient) = step.run();
        println!("loss: {loss:.7}");
        if number == 0 {
            let squares: f64 = gradient.iter().map(|slope| f64::from(*slope) * f64::from(*slope)).sum();
            println!("squares: {squares:.6e}");
        }
    }
}
