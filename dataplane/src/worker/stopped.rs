//! The end of all workers: flows end, devices are closed, every frame comes home, and what passed is told.

use super::Worker;
use super::crossing::Crossing;
use crate::counters::WorkerCounters;
use crate::verdict::DropReason;
use std::sync::Arc;

/// Takes from the workers, whose threads have ended, all that they hold.
pub fn stop(workers: &mut [Worker]) {
    tell_balance(workers, "workers stop");
    for worker in workers.iter_mut() {
        let published = Arc::clone(worker.subscription.begin_burst());
        worker.tracker.stop(worker.burst_ns, &published);
        worker.release_parts();
        worker.obey();
        worker.close_all();
    }
    // Memory may go from one to the next and home from there: at most that many times.
    for _ in 0..=workers.len() {
        while workers.iter_mut().map(Worker::bring_home).sum::<usize>() > 0 {}
    }
    tell_balance(workers, "workers stopped");
    tell_devices(workers);
    tell_crossings(workers);
}

impl Worker {
    /// Releases what was handed over here, takes in what came home, and sends home what is of others. Returns how many
    /// chunks and frames that were.
    fn bring_home(&mut self) -> usize {
        let mut moved = self.crossings.take_home(&mut self.pool) + self.orders.take_home(&mut self.pool);
        for from in 0..self.crossings.workers() {
            let mut handed = std::mem::take(&mut self.handed);
            self.crossings.take_errands(from, &mut handed);
            moved += handed.len();
            handed.drain(..).for_each(|Crossing { frame, .. }| self.pool.release(frame));
            self.handed = handed;
        }
        moved += self.pool.foreign_frames();
        self.crossings.send_home(&mut self.pool);
        moved
    }
}

/// Where the packet memory of all workers is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Balance {
    total: u64,
    free: u64,
    at_devices: u64,
    held: u64,
    crossing: u64,
    /// Of closed devices that the kernel had not let go of within its time: given to nobody, since it could still write.
    stranded: u64,
}

impl Balance {
    fn of(counters: &[&WorkerCounters]) -> Self {
        let sum = |of: fn(&WorkerCounters) -> u64| counters.iter().map(|counters| of(counters)).sum::<u64>();
        Self {
            total: sum(|counters| counters.frames_total.get()),
            free: sum(|counters| counters.frames_free.get()),
            at_devices: sum(|counters| counters.frames_at_devices.get()),
            held: sum(|counters| counters.frames_held.get()),
            crossing: sum(|counters| counters.frames_crossing.get()),
            stranded: sum(|counters| counters.frames_stranded.get()),
        }
    }

    /// Returns how many frames are nowhere: none, unless there is a fault.
    fn missing(&self) -> i128 {
        let Self { total, free, at_devices, held, crossing, stranded } = *self;
        i128::from(total) - i128::from(free + at_devices + held + crossing + stranded)
    }
}

/// Logs where the packet memory is, and what passed. At both ends of a stop nothing is missing.
fn tell_balance(workers: &[Worker], when: &str) {
    workers.iter().for_each(Worker::gauge);
    let counters: Vec<&WorkerCounters> = workers.iter().map(|worker| &*worker.counters).collect();
    let sum = |of: fn(&WorkerCounters) -> u64| counters.iter().map(|counters| of(counters)).sum::<u64>();
    let allowed = sum(|counters| counters.allowed.get());
    let flows = sum(|counters| counters.flows_created.get());
    let records = sum(|counters| counters.records_produced.get());
    let balance = Balance::of(&counters);
    let missing = balance.missing();
    let Balance { total, free, at_devices, held, crossing, stranded } = balance;
    tracing::info!(
        total, free, at_devices, held, crossing, stranded, missing, allowed, flows, records, "{when}"
    );
}

/// Logs what passed through each device that had traffic.
fn tell_devices(workers: &[Worker]) {
    let devices = workers.first().map_or(0, |worker| worker.counters.devices.len());
    for number in 0..devices {
        let of_device = || workers.iter().map(|worker| &worker.counters.devices[number]);
        let received: u64 = of_device().map(|device| device.received_packets.get()).sum();
        let sent: u64 = of_device().map(|device| device.sent_packets.get()).sum();
        let dropped: u64 = of_device().map(|device| device.dropped_packets.get()).sum();
        let full: u64 = of_device().map(|device| device.receive_full.get()).sum();
        if received + sent + dropped + full > 0 {
            tracing::info!(number, received, sent, dropped, full, "workers stopped: device");
        }
    }
}

/// Logs what went from worker to worker, and what did not because the other one was behind.
fn tell_crossings(workers: &[Worker]) {
    if workers.len() > 1 {
        let sum =
            |of: fn(&WorkerCounters) -> u64| workers.iter().map(|worker| of(&worker.counters)).sum::<u64>();
        let handed_over = sum(|counters| counters.handed_over.get());
        let full = sum(|counters| counters.dropped(DropReason::HandOverFull));
        tracing::info!(handed_over, full, "workers stopped: hand-over");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_the_kernel_did_not_give_back_are_stranded_and_not_missing() {
        let workers = [WorkerCounters::new(0), WorkerCounters::new(0)];
        workers.iter().for_each(|counters| counters.frames_total.set(1_024));
        workers[0].frames_free.set(1_000);
        workers[0].frames_crossing.set(24);
        workers[1].frames_free.set(512);
        let balance = || Balance::of(&[&workers[0], &workers[1]]);
        assert_eq!(balance().missing(), 512);
        workers[0].frames_stranded.set(512);
        assert_eq!((balance().stranded, balance().missing()), (512, 0));
    }
}
