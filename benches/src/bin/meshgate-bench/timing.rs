//! Timing by the thread's own processor time, so that what else the machine does falsifies as little as possible.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Returns the processor time of this thread.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// How often and how long something is timed.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Timing {
    /// Seconds of one repetition
    #[arg(long, default_value_t = 0.5, value_parser = parse_seconds)]
    pub seconds: f64,
    /// Repetitions, of which the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub repetitions: u16,
    /// Begin each repetition when a line comes in on standard input, print "turn: MILLIONS_A_SECOND" behind it, and end with
    /// the input: so that a script alternates two programs
    #[arg(long, conflicts_with = "repetitions")]
    pub in_turns: bool,
}

/// Reads how long a repetition takes.
pub fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err("not a number from 0 to 3600".to_owned()),
    }
}

impl Timing {
    /// Returns the median, the smallest and the largest time that one of `items` takes, in nanoseconds; `round` handles all
    /// of them once.
    pub fn nanoseconds_per_item(&self, items: usize, mut round: impl FnMut()) -> Spread {
        // The first rounds find cold caches and untouched pages.
        round();
        if !self.in_turns {
            return Spread::of((0..self.repetitions).map(|_| self.once(items, &mut round)).collect());
        }
        println!("ready");
        let mut values = Vec::new();
        for _ in std::io::stdin().lines().map_while(Result::ok) {
            values.push(self.once(items, &mut round));
            println!("turn: {:.3}", 1e3 / values[values.len() - 1]);
        }
        if values.is_empty() {
            values.push(self.once(items, &mut round));
        }
        Spread::of(values)
    }

    /// Returns the time of one item in one repetition.
    pub fn once(&self, items: usize, round: &mut impl FnMut()) -> f64 {
        let began = thread_time();
        let mut rounds = 0u32;
        loop {
            round();
            rounds += 1;
            let taken = thread_time().saturating_sub(began).as_secs_f64();
            if taken >= self.seconds {
                return taken * 1e9 / (f64::from(rounds) * items as f64);
            }
        }
    }
}

/// The middle and the ends of repeated measurements.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// Half of the values are below.
    pub median: f64,
    /// The smallest value.
    pub least: f64,
    /// The largest value.
    pub most: f64,
}

impl Spread {
    /// Returns the spread of values, of which there is at least one.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { median: values[values.len() / 2], least: values[0], most: values[values.len() - 1] }
    }
}
