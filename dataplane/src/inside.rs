//! Everything of a running dataplane that may be looked at from beside its workers. Cheap to clone.

use crate::capture::CaptureSwitch;
use crate::config::Config;
use crate::counters::{Count, DeviceCounters};
use crate::doctor::{DeviceRunning, Running};
use crate::published::RuleReader;
use crate::reporter::Reporter;
use crate::top_flows::TopFlows;
use crate::verdict::DropReason;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Names of the threads of workers begin so; a number follows.
const WORKER_THREAD: &str = "worker-";
/// Threads of this process that are looked at: workers, and some beside them.
const THREADS_MAX: usize = 1_024;

/// Asks for the configuration to be read again, and hears how many devices are configured then, or why not.
pub type ReloadWish = oneshot::Sender<Result<usize, String>>;

/// What may be looked at.
#[derive(Clone)]
pub struct Inside {
    /// Where reloading is asked for.
    pub reload: mpsc::Sender<ReloadWish>,
    /// How it was configured.
    pub config: Arc<Config>,
    /// Tells this run from others.
    pub epoch: u64,
    /// Counters.
    pub reporter: Reporter,
    /// What is in force, and what rules decided.
    pub rules: RuleReader,
    /// The flows that carried most.
    pub top_flows: Arc<TopFlows>,
    /// Where captures are switched on.
    pub captures: Arc<CaptureSwitch>,
}

/// Where the time of one worker's thread went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerTime {
    /// Number of the worker.
    pub number: u32,
    /// Nanoseconds on a processor.
    pub busy_ns: u64,
    /// Nanoseconds in which it could have worked and others had the processor.
    pub waiting_ns: u64,
}

impl Inside {
    /// Returns the sum over all workers of a counter of one device.
    pub fn device_sum(&self, device: usize, of: fn(&DeviceCounters) -> &Count) -> u64 {
        self.of_device(device).map(|counters| of(counters).get()).sum()
    }

    /// Returns how many packets that came in by a device were dropped for a reason.
    pub fn dropped(&self, device: usize, reason: DropReason) -> u64 {
        self.of_device(device).map(|counters| counters.dropped(reason)).sum()
    }

    fn of_device(&self, device: usize) -> impl Iterator<Item = &DeviceCounters> {
        self.reporter.workers.iter().filter_map(move |worker| worker.devices.get(device))
    }

    /// Returns what is known of the running dataplane for the doctor.
    pub fn running(&self) -> Running {
        let device = |(at, facts): (usize, crate::reporter::DeviceFacts)| {
            let drops = DropReason::ALL.iter().map(|reason| (*reason, self.dropped(at, *reason)));
            DeviceRunning {
                name: facts.name,
                mode: facts.mode,
                is_absent: !facts.is_open,
                received: self.device_sum(at, |device| &device.received_packets),
                receive_full: self.device_sum(at, |device| &device.receive_full),
                drops: drops.filter(|(_, dropped)| *dropped > 0).collect(),
            }
        };
        let balance = self.reporter.balance();
        let waiting = worker_times().into_iter().map(|time| {
            time.waiting_ns.saturating_mul(100) / time.busy_ns.saturating_add(time.waiting_ns).max(1)
        });
        Running {
            devices: self.reporter.devices.read().into_iter().map(device).collect(),
            counters: self.reporter.counters(),
            receive_full: 0,
            flows_live: self.reporter.workers.iter().map(|worker| worker.flows_live.get()).sum(),
            records: (balance.lost, balance.produced),
            advice: self.reporter.advice().into_iter().map(|(_, advice)| advice).collect(),
            uptime_s: self.reporter.started.elapsed().as_secs(),
            waiting_percent: waiting.max(),
        }
    }
}

/// Returns where the time of this process's workers went, by their numbers; nothing where the kernel does not tell.
pub fn worker_times() -> Vec<WorkerTime> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let time = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.ok()?.path();
        let name = std::fs::read_to_string(path.join("comm")).ok()?;
        let number = name.trim().strip_prefix(WORKER_THREAD)?.parse().ok()?;
        let (busy_ns, waiting_ns) = schedstat(&std::fs::read_to_string(path.join("schedstat")).ok()?)?;
        Some(WorkerTime { number, busy_ns, waiting_ns })
    };
    let mut times: Vec<WorkerTime> = threads.take(THREADS_MAX).filter_map(time).collect();
    times.sort_unstable_by_key(|time| time.number);
    times
}

/// Reads time on a processor and time waiting for one (`Documentation/scheduler/sched-stats.rst`).
fn schedstat(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_worker_is_read_by_the_name_of_its_thread() {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let name = format!("{WORKER_THREAD}77");
        let (began, begun) = std::sync::mpsc::channel();
        let work = move || {
            _ = began.send(());
            _ = wait.recv();
        };
        let thread = std::thread::Builder::new().name(name).spawn(work).unwrap();
        begun.recv().unwrap();
        let times = worker_times();
        assert!(times.iter().any(|time| time.number == 77 && time.busy_ns > 0), "{times:?}");
        drop(done);
        thread.join().unwrap();
    }

    #[test]
    fn nonsense_is_no_time() {
        assert_eq!(schedstat("123 45 6\n"), Some((123, 45)));
        assert_eq!(schedstat("123"), None);
        assert_eq!(schedstat("-"), None);
    }
}
