//! The whole dataplane on memory devices, with three workers: packets cross to the owner of their flow, and from there
//! to a worker that has the device they leave by. The verdicts are those of one worker.

#[path = "verdicts/cases.rs"]
mod cases;
mod lab;

use lab::{Lab, Setting};

/// Workers of every laboratory here.
const WORKERS: usize = 3;

fn new_lab(rules: &str) -> Lab {
    Lab::build(rules, Setting { workers: WORKERS, ..Setting::default() }, |_| {})
}
