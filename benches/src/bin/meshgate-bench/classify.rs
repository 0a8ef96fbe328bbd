//! Look-ups in a ClassBench set: how many a second, what compiling takes, and whether all of them are right.

use crate::BenchError;
use crate::classbench::{self, Header, Set};
use crate::timing::{Timing, thread_time};
use meshgate_dataplane::classifier::{BURST_KEYS, Classifier, Rank};
use meshgate_policy::PolicyKey;
use std::path::PathBuf;

/// Headers that may be drawn.
const HEADERS_MAX: i64 = 10_000_000;

/// What is asked for.
#[derive(Debug, clap::Args)]
pub struct Classify {
    /// Filter set in ClassBench format, plain or .xz
    #[arg(long, value_name = "RULES")]
    classbench: PathBuf,
    /// Headers to look up, plain or .xz: SRC DST SPORT DPORT PROTO and, if known, the place of the winning line; without it, some are drawn
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Headers to draw where no trace is given
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=HEADERS_MAX), conflicts_with = "trace")]
    headers: u32,
    /// Seed of the draw
    #[arg(long, default_value_t = 1, conflicts_with = "trace")]
    seed: u64,
    /// Take lines that name source ports as if they named none; rules of Meshgate have none
    #[arg(long)]
    ignore_source_port: bool,
    #[command(flatten)]
    timing: Timing,
}

/// What was wrong.
#[derive(Default)]
struct Mismatches {
    /// Headers judged unlike the linear scan.
    scan: usize,
    /// Headers whose expected line differs from the winner although source ports do not explain it.
    expected: usize,
    /// Headers whose expected line differs because source ports are ignored.
    by_source_port: usize,
}

impl Classify {
    /// Runs it, prints what came out, and fails where a look-up was wrong.
    pub fn run(&self) -> Result<(), BenchError> {
        let set = Set::read(&self.classbench)?;
        if let Some(line) = set.first_source_port().filter(|_| !self.ignore_source_port) {
            return Err(BenchError::SourcePort(self.classbench.clone(), line));
        }
        let headers = match &self.trace {
            Some(path) => classbench::read_trace(path)?,
            None => set.trace(self.headers as usize, self.seed),
        };
        let keys: Vec<PolicyKey> = headers.iter().map(Header::key).collect();
        let (policy, line_of_rule) = set.policy();
        let began = thread_time();
        let classifier = Classifier::compile(&policy).map_err(BenchError::Compile)?;
        let compile_s = (thread_time() - began).as_secs_f64();

        let mut ranks = vec![Rank::default(); keys.len()];
        classifier.ranks(&keys, &mut ranks);
        let winners: Vec<usize> = ranks
            .iter()
            .map(|rank| classifier.rule_index(*rank).map_or(set.len(), |rule| line_of_rule[rule as usize]))
            .collect();
        let wrong = compare(&set, &headers, &winners);

        let spread = self.timing.nanoseconds_per_item(keys.len(), || {
            for (keys, ranks) in keys.chunks(BURST_KEYS).zip(ranks.chunks_mut(BURST_KEYS)) {
                classifier.ranks(keys, ranks);
            }
            std::hint::black_box(&ranks);
        });
        let footprint = classifier.footprint();
        println!("set: {}, {} lines; trace: {} headers", self.classbench.display(), set.len(), headers.len());
        println!("compiled: {footprint}");
        println!(
            "ns a look-up: median {:.2}, {:.2} to {:.2} ({} repetitions, bursts of {BURST_KEYS}, one thread's processor time)",
            spread.median, spread.least, spread.most, self.timing.repetitions
        );
        println!("expected lines that differ since source ports are ignored: {}", wrong.by_source_port);
        println!("bar: classify_mlookups = {:.2} Mlookups/s", 1e3 / spread.median);
        println!("bar: classify_ns = {:.2} ns", spread.median);
        println!("bar: classify_compile = {compile_s:.3} s");
        println!("bar: classify_bytes = {} bytes", footprint.bytes);
        println!("bar: classify_mismatches = {} headers", wrong.scan + wrong.expected);
        if wrong.scan + wrong.expected > 0 {
            Err(BenchError::Mismatches(wrong.scan, wrong.expected))
        } else {
            Ok(())
        }
    }
}

/// Returns how the winners differ from a linear scan and from what the trace expects.
fn compare(set: &Set, headers: &[Header], winners: &[usize]) -> Mismatches {
    let mut wrong = Mismatches::default();
    for (header, winner) in headers.iter().zip(winners) {
        wrong.scan += usize::from(*winner != set.scan(header, true));
        match header.expected {
            Some(expected) if expected != *winner => {
                // With source ports taken into account the trace must be right, else it is of another set.
                let explained = set.scan(header, false) == expected;
                wrong.by_source_port += usize::from(explained);
                wrong.expected += usize::from(!explained);
            }
            _ => {}
        }
    }
    wrong
}
