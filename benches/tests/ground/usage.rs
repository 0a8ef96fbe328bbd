//! What a process takes of the machine.

use super::program::Program;
use std::fs;

/// What a process takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory.
    pub memory_kib: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Usage {
    /// Returns what a process takes; none if it has ended.
    pub fn of(program: &Program) -> Option<Self> {
        let pid = program.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let memory_kib = line.split_whitespace().next()?.parse().ok()?;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
        Some(Self { memory_kib, descriptors })
    }
}
