//! The whole dataplane on memory devices, with one worker.

#[path = "verdicts/cases.rs"]
mod cases;
mod lab;

use lab::{Lab, Setting};

/// Workers of every laboratory here.
const WORKERS: usize = 1;

fn new_lab(rules: &str) -> Lab {
    Lab::build(rules, Setting { workers: WORKERS, ..Setting::default() }, |_| {})
}
