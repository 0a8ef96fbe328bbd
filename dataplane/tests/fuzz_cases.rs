//! The fuzz targets of `fuzz/` on every case in `fuzz_cases/`, and on seeded inputs made of them.
//!
//! A target's cases are the files of `fuzz_cases/TARGET/`, each named after what it shows: seeds of the shapes that
//! matter, and everything that was ever found. Beyond them a target runs on thousands of seeded inputs, cases that were
//! changed and bytes that nobody meant; `MESHGATE_FUZZ_INPUTS` sets how many, `MESHGATE_FUZZ_SEED` where they begin. What
//! fails is shrunk and written into the target's folder, from where every test run replays it; it wants a name and a mend.
//! `scripts/fuzz.sh` runs the same targets with coverage.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
#![expect(clippy::print_stdout, reason = "what ran is what a reader of the test's output looks for")]

mod fuzz;
#[path = "../classifier/tests/random/generator.rs"]
mod generator;
mod lab;
#[expect(dead_code, reason = "case files as text and the tally of a life are of worker_mutations")]
mod mutations;
#[path = "lab/watched.rs"]
mod watched;

use fuzz::Target;
use mutations::cases::message_of;
use mutations::noise::Noise;
use mutations::number_of;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

const SEED: u64 = 0x6d65_7368_6761_7465;
/// Longest input that is made up.
const INPUT_BYTES_MAX: usize = 1_024;
/// Runs that shrinking a failure may take.
const SHRINKING_RUNS: usize = 2_000;
/// Values at which lengths, counts and choices turn.
const EDGES: [u8; 8] = [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xfe, 0xff];

fn folder(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz_cases").join(target.name)
}

/// Returns the cases of a target, by name.
fn cases(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = folder(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut cases: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "{} has no cases", folder.display());
    cases
}

/// Runs a target and returns what it has to complain about.
fn fault_of(target: &Target, input: &[u8]) -> Option<String> {
    let run = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    run.err().map(|panic| message_of(panic.as_ref()).to_owned())
}

/// Makes an input of a case, or of nothing.
fn made_up(cases: &[(String, Vec<u8>)], noise: &mut Noise) -> Vec<u8> {
    if noise.once_in(20) {
        let count = noise.below(INPUT_BYTES_MAX);
        return noise.bytes(count);
    }
    let mut input = cases[noise.below(cases.len())].1.clone();
    for _ in 0..=noise.below(5) {
        let at = noise.below(input.len() + 1);
        match noise.below(7) {
            0 => input.insert(at, noise.byte()),
            1 => input.truncate(at),
            2 => {
                let count = noise.below(9);
                input.drain(at..(at + count).min(input.len()));
            }
            3 => {
                let other = &cases[noise.below(cases.len())].1;
                let from = noise.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
            4 => {
                let count = (1 + noise.below(64)).min(input.len() - at);
                input.extend_from_within(at..at + count);
            }
            change => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = if change == 5 { *byte ^ (1 << noise.below(8)) } else { noise.one_of(&EDGES) };
                }
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

/// Leaves out what is not needed for a target to fail.
fn shrink(target: &Target, mut input: Vec<u8>) -> Vec<u8> {
    let (mut chunk, mut runs) = (input.len().div_ceil(2), 0);
    while chunk > 0 {
        let mut at = 0;
        while at < input.len() && runs < SHRINKING_RUNS {
            let mut fewer = input.clone();
            fewer.drain(at..(at + chunk).min(input.len()));
            runs += 1;
            if fault_of(target, &fewer).is_some() { input = fewer } else { at += chunk }
        }
        chunk /= 2;
    }
    input
}

/// Replays the cases of a target and runs it on inputs made of them.
fn exercise(target: &Target) {
    let cases = cases(target);
    for (name, input) in &cases {
        let fault = fault_of(target, input);
        assert_eq!(fault, None, "{}/{name}", target.name);
    }
    let first = number_of("MESHGATE_FUZZ_SEED").unwrap_or(SEED);
    let inputs = number_of("MESHGATE_FUZZ_INPUTS").unwrap_or(target.inputs.try_into().unwrap());
    let mut seeds = Noise(first);
    for number in 0..inputs {
        let seed = if number == 0 { first } else { seeds.next() };
        let input = made_up(&cases, &mut Noise(seed));
        let Some(fault) = fault_of(target, &input) else { continue };
        let input = shrink(target, input);
        let fault = fault_of(target, &input).unwrap_or(fault);
        let path = folder(target).join(format!("found-{seed:016x}"));
        std::fs::write(&path, &input).unwrap();
        panic!("{}, seed {seed:#x}: {fault}; see {}", target.name, path.display());
    }
    println!("{}: {} cases replayed, {inputs} made-up inputs ran", target.name, cases.len());
}

#[test]
fn packet() {
    exercise(&fuzz::PACKET);
}

#[test]
fn frames() {
    exercise(&fuzz::FRAMES);
}

#[test]
fn flow_state() {
    exercise(&fuzz::FLOW_STATE);
}

#[test]
fn wire() {
    exercise(&fuzz::WIRE);
}

#[test]
fn compile() {
    exercise(&fuzz::COMPILE);
}

#[test]
fn classify() {
    exercise(&fuzz::CLASSIFY);
}
