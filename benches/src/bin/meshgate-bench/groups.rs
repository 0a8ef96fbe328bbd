//! Look-ups in policies of product shape.

use crate::BenchError;
use crate::pairs;
use crate::product::{self, Shape};
use crate::timing::{Spread, Timing, thread_time};
use meshgate_dataplane::classifier::{BURST_KEYS, Classifier, ColumnBudget, ProofBudget, Rank};
use meshgate_policy::{GroupId, Policy, PolicyKey};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// Packets looked up.
const PACKETS: usize = 65_536;
/// Of these so many are written as pairs of groups.
const PAIRED: usize = 16_384;
/// Of these so many are compared with the linear scan.
const COMPARED: usize = 500;

/// Look-ups in a policy of overlapping groups.
#[derive(Debug, clap::Args)]
pub struct Groups {
    #[command(flatten)]
    shape: Shape,
    /// Also write the policy as rules between pairs of groups, pairs.rules, and the packets as pairs of groups, pairs.trace,
    /// into this folder: what a classifier that knows no groups is given
    #[arg(long, value_name = "FOLDER")]
    pairs: Option<PathBuf>,
    #[command(flatten)]
    timing: Timing,
}

/// Look-ups in policies of the same endpoints that have more and more rules.
#[derive(Debug, clap::Args)]
pub struct RulesFlat {
    /// Rules of each policy
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000,10000", value_parser = clap::value_parser!(u32).range(0..=50_000))]
    rules: Vec<u32>,
    /// Endpoints
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=product::ENDPOINTS_MAX))]
    endpoints: u32,
    /// Groups
    #[arg(long, default_value_t = 65, value_parser = clap::value_parser!(u32).range(3..=10_000))]
    groups: u32,
    /// Seed of the policies and of the packets
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    timing: Timing,
}

/// One policy, compiled, and its packets.
pub struct Compiled {
    /// The compiled policy.
    pub classifier: Classifier,
    keys: Vec<PolicyKey>,
    /// Seconds of compiling, one thread's processor time.
    pub compile_s: f64,
    /// Seconds of the proof, likewise.
    pub proof_s: f64,
}

impl Compiled {
    /// Compiles a policy, proves it and holds some packets against the linear scan.
    pub fn new(policy: &Policy, keys: Vec<PolicyKey>) -> Result<Self, BenchError> {
        Self::within(policy, keys, ColumnBudget::default())
    }

    /// Does the same with another budget for merging groups into columns.
    pub fn within(policy: &Policy, keys: Vec<PolicyKey>, budget: ColumnBudget) -> Result<Self, BenchError> {
        let began = thread_time();
        let classifier = Classifier::compile_within(policy, budget).map_err(BenchError::Compile)?;
        let compile_s = (thread_time() - began).as_secs_f64();
        let began = thread_time();
        classifier.prove(policy, ProofBudget::default()).map_err(BenchError::Difference)?;
        let proof_s = (thread_time() - began).as_secs_f64();
        let mismatches = mismatches(policy, &classifier, &keys[..COMPARED.min(keys.len())]);
        if mismatches > 0 {
            return Err(BenchError::Mismatches(mismatches, 0));
        }
        Ok(Self { classifier, keys, compile_s, proof_s })
    }

    fn of(shape: Shape) -> Result<Self, BenchError> {
        Self::new(&product::policy(shape), product::packets(shape, PACKETS))
    }

    /// Returns what looks all packets up once.
    pub fn round(&self) -> impl FnMut() + use<'_> {
        let mut ranks = vec![Rank::default(); self.keys.len()];
        move || {
            for (keys, ranks) in self.keys.chunks(BURST_KEYS).zip(ranks.chunks_mut(BURST_KEYS)) {
                self.classifier.ranks(keys, ranks);
            }
            std::hint::black_box(&ranks);
        }
    }

    /// Returns the nanoseconds of a look-up.
    fn timed(&self, timing: &Timing) -> Spread {
        timing.nanoseconds_per_item(self.keys.len(), self.round())
    }
}

/// Returns how many packets are judged unlike the linear scan judges them.
fn mismatches(policy: &Policy, classifier: &Classifier, keys: &[PolicyKey]) -> usize {
    let mut ranks = vec![Rank::default(); keys.len()];
    classifier.ranks(keys, &mut ranks);
    let mut groups: HashMap<IpAddr, Vec<GroupId>> = HashMap::new();
    let mut wrong = 0;
    for (key, rank) in keys.iter().zip(ranks) {
        for address in [key.source, key.destination] {
            groups.entry(address).or_insert_with(|| policy.groups_of(key.segment, address));
        }
        let decision = policy.decide_between(key, [&groups[&key.source], &groups[&key.destination]]);
        wrong += usize::from(decision != *classifier.decision(rank));
    }
    wrong
}

impl Groups {
    /// Runs it and prints what came out.
    pub fn run(&self) -> Result<(), BenchError> {
        let compiled = Compiled::of(self.shape)?;
        if let Some(folder) = &self.pairs {
            pairs::write(folder, &product::policy(self.shape), &compiled.keys[..PAIRED])?;
        }
        let spread = compiled.timed(&self.timing);
        let footprint = compiled.classifier.footprint();
        let Shape { endpoints, groups, rules, seed } = self.shape;
        println!("policy: {endpoints} endpoints, {groups} groups, {rules} rules, seed {seed}");
        println!(
            "traffic: {PACKETS} packets between endpoints drawn uniformly; {COMPARED} compared with a linear scan"
        );
        println!("compiled: {footprint}");
        println!(
            "ns a look-up: median {:.2}, {:.2} to {:.2} (bursts of {BURST_KEYS}, one thread's processor time)",
            spread.median, spread.least, spread.most
        );
        println!("bar: groups_ns = {:.2} ns", spread.median);
        println!("bar: groups_compile = {:.1} ms", 1e3 * compiled.compile_s);
        println!("bar: groups_proof = {:.1} percent", 100.0 * compiled.proof_s / compiled.compile_s);
        println!("bar: groups_bytes = {} bytes", footprint.bytes);
        println!("bar: groups_mismatches = 0 packets");
        Ok(())
    }
}

impl RulesFlat {
    /// Runs it and prints what came out.
    pub fn run(&self) -> Result<(), BenchError> {
        let (endpoints, groups, seed) = (self.endpoints, self.groups, self.seed);
        let mut medians = Vec::new();
        for rules in self.rules.iter().copied() {
            let compiled = Compiled::of(Shape { endpoints, groups, rules, seed })?;
            let median = compiled.timed(&self.timing).median;
            println!(
                "{rules} rules: {median:.2} ns a look-up, compiled in {:.1} ms; {}",
                1e3 * compiled.compile_s,
                compiled.classifier.footprint()
            );
            medians.push(median);
        }
        let [least, most] = [f64::min, f64::max].map(|of| medians.iter().copied().reduce(of).unwrap_or(0.0));
        println!("bar: rules_flat_spread = {:.1} percent", 100.0 * (most / least - 1.0));
        Ok(())
    }
}
