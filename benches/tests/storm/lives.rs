//! What the processes of a storm take, from their birth to their end: memory and descriptors are to stay as they are.

use crate::ground::program::Program;
use crate::ground::usage::Usage;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Age from which a process counts as warm: its pools are filled and its peers connected.
const WARM_AGE: Duration = Duration::from_secs(3);
/// Growth of memory that is no leak: an allocator's arenas, one for each thread, fill at different times.
const GROWTH_KIB_MAX: u64 = 8 * 1_024;
/// Descriptors more than when warm that are no leak: a client's call that is being answered.
const DESCRIPTORS_MORE_MAX: usize = 4;

/// One process.
struct Life {
    name: &'static str,
    born: Instant,
    warm: Option<Usage>,
    last: Option<Usage>,
}

/// All processes that were looked at, by number.
#[derive(Default)]
pub struct Lives {
    lives: BTreeMap<u32, Life>,
    /// What the processes of each program took at each look, in KiB.
    memory_kib: BTreeMap<&'static str, Vec<u64>>,
}

impl Lives {
    /// Looks at a process while nothing is under way.
    pub fn look(&mut self, name: &'static str, program: &Program) {
        let fresh = Life { name, born: Instant::now(), warm: None, last: None };
        let life = self.lives.entry(program.id()).or_insert(fresh);
        let usage = Usage::of(program);
        if life.born.elapsed() >= WARM_AGE {
            life.warm = life.warm.or(usage);
        }
        life.last = usage.or(life.last);
        self.memory_kib.entry(name).or_default().extend(usage.map(|usage| usage.memory_kib));
    }

    /// Returns whether a program that takes its memory step by step, as a learner does that has ever more to train on, goes on
    /// taking more: the most that any of its processes took in the later half of all looks, less the most in the earlier half,
    /// above what is no leak. In KiB.
    pub fn still_growing(&self, name: &str) -> Option<u64> {
        let all = self.memory_kib.get(name)?;
        let (earlier, later) = all.split_at(all.len() / 2);
        let most = earlier.iter().max()?;
        later.iter().max()?.checked_sub(most + most / 10 + GROWTH_KIB_MAX)
    }

    /// Returns a line for each process that took more at its end than when it was warm, and how many were compared. Of
    /// learners only descriptors count, see [`Self::still_growing`].
    pub fn growing(&self) -> (Vec<String>, usize) {
        let compared = self.lives.iter().filter_map(|(pid, life)| Some((pid, life, life.warm?, life.last?)));
        let grown = compared.clone().filter(|(_, life, warm, last)| {
            life.name != "learner"
                && last.memory_kib > warm.memory_kib + warm.memory_kib / 10 + GROWTH_KIB_MAX
                || last.descriptors > warm.descriptors + DESCRIPTORS_MORE_MAX
        });
        let line = |(pid, life, warm, last): (&u32, &Life, Usage, Usage)| {
            format!("{} {pid}, {} s: {warm:?} -> {last:?}", life.name, life.born.elapsed().as_secs())
        };
        (grown.map(line).collect(), compared.count())
    }

    /// Returns the largest growth of a program's processes: memory in KiB and descriptors.
    pub fn worst(&self, name: &str) -> (i64, i64) {
        let of = self.lives.values().filter(|life| life.name == name);
        let grown = of.filter_map(|life| {
            let (warm, last) = (life.warm?, life.last?);
            let more = |last: u64, warm: u64| last.cast_signed() - warm.cast_signed();
            let descriptors = more(last.descriptors as u64, warm.descriptors as u64);
            Some((more(last.memory_kib, warm.memory_kib), descriptors))
        });
        grown.fold((0, 0), |worst, grown| (worst.0.max(grown.0), worst.1.max(grown.1)))
    }
}
