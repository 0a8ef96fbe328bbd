//! Figures of the collector: written by its thread, read by any.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted. Every record read is in exactly one of the counts from `UnknownKind` to `Kept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Records read.
    Records,
    /// Records that the ring says were lost.
    Lost,
    /// Records of no known kind.
    UnknownKind,
    /// Records of flows for which there was no room: their ends will say everything.
    FlowsLeftOut,
    /// Records of flows that are older than the reading.
    BeforeReading,
    /// Records of flows that the home of their source tells too.
    ToldElsewhere,
    /// Records that came before any policy.
    WithoutPolicy,
    /// Records whose series or parties found no room in a window.
    HistoryLeftOut,
    /// Records that are in a window.
    Kept,
    /// Records that did not go into the window of their time.
    Late,
    /// Records that found no room in the roll-ups, one for each width.
    RollupLeftOut,
    /// Windows handed over.
    WindowsHanded,
    /// Windows that nobody took in time.
    WindowsLeftOut,
}

/// How many there are.
const COUNTS: usize = Count::WindowsLeftOut as usize + 1;

/// The figures, shared.
#[derive(Debug, Default)]
pub struct CollectorCounters {
    counts: [AtomicU64; COUNTS],
}

/// The figures at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectorCounts {
    /// Records read.
    pub records: u64,
    /// Records that the ring says were lost.
    pub lost: u64,
    /// Records of no known kind.
    pub unknown: u64,
    /// Records of flows for which there was no room.
    pub flows_left_out: u64,
    /// Records of flows that are older than the reading.
    pub before_reading: u64,
    /// Records of flows that the home of their source tells too.
    pub told_elsewhere: u64,
    /// Records that came before any policy.
    pub without_policy: u64,
    /// Records whose series or parties found no room in a window.
    pub history_left_out: u64,
    /// Records that are in a window.
    pub kept: u64,
    /// Records that did not go into the window of their time.
    pub late: u64,
    /// Records that found no room in the roll-ups, one for each width.
    pub rollup_left_out: u64,
    /// Windows handed over.
    pub windows: u64,
    /// Windows that nobody took in time.
    pub windows_left_out: u64,
}

impl CollectorCounters {
    /// Adds to a count. Only the collector's thread writes, so that no addition is locked.
    pub(crate) fn add(&self, count: Count, more: u64) {
        let count = &self.counts[count as usize];
        count.store(count.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// Sets a count.
    pub(crate) fn set(&self, count: Count, total: u64) {
        self.counts[count as usize].store(total, Ordering::Relaxed);
    }

    /// Returns the figures as they are. Read while records come in, they may be some records apart.
    pub fn read(&self) -> CollectorCounts {
        let count = |count: Count| self.counts[count as usize].load(Ordering::Relaxed);
        CollectorCounts {
            records: count(Count::Records),
            lost: count(Count::Lost),
            unknown: count(Count::UnknownKind),
            flows_left_out: count(Count::FlowsLeftOut),
            before_reading: count(Count::BeforeReading),
            told_elsewhere: count(Count::ToldElsewhere),
            without_policy: count(Count::WithoutPolicy),
            history_left_out: count(Count::HistoryLeftOut),
            kept: count(Count::Kept),
            late: count(Count::Late),
            rollup_left_out: count(Count::RollupLeftOut),
            windows: count(Count::WindowsHanded),
            windows_left_out: count(Count::WindowsLeftOut),
        }
    }
}

impl CollectorCounts {
    /// Returns whether every record read is accounted for.
    pub fn balance(&self) -> bool {
        let ends = [
            self.unknown,
            self.flows_left_out,
            self.before_reading,
            self.told_elsewhere,
            self.without_policy,
            self.history_left_out,
            self.kept,
        ];
        ends.iter().sum::<u64>() == self.records
    }
}
