//! Carries flow records from the workers' rings into the shared-memory ring that a learner reads.
//!
//! Runs in a thread of its own, so that handing a ring to a new reader never delays a packet. Without a configured
//! ring, or when it is full, records are lost and counted: at every moment
//! produced = delivered + waiting + sampled out + lost.

use crate::config::FlowRingConfig;
use crate::counters::{Count, WorkerCounters};
use crate::meter::RecordQueue;
use crate::top_flows::TopFlows;
use flow_ring::{Accepted, AllowedUids, HostName, Listener, Producer, RingConfig};
use meshgate_policy::{FLOW_RECORD_VERSION, FlowRecord, Name};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Records taken from one worker before the next is looked at.
const RECORDS_PER_TURN: usize = 1_024;
/// Pause when no worker had a record: short beside the second in which a flow should be seen.
const PAUSE: Duration = Duration::from_millis(2);

/// Why the ring cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    /// The host's name does not fit the ring's header.
    #[error("host {0}: {1}")]
    Host(Name, String),
    /// The memory cannot be had.
    #[error("flow_ring: {0}")]
    Memory(flow_ring::CreateError),
    /// The socket cannot be had.
    #[error("flow_ring.socket {0}: {1}")]
    Socket(String, flow_ring::HandOverError),
}

/// What became of records behind the workers, as of the exporter's last turn.
#[derive(Debug, Default)]
pub struct ExporterCounters {
    /// Taken by a reader.
    pub delivered: Count,
    /// In the shared ring.
    pub waiting: Count,
    /// Found the shared ring full, were there when a reader broke it, or had no ring to go to.
    pub lost: Count,
}

/// How many records there are and where, over all stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordBalance {
    /// Made by the workers.
    pub produced: u64,
    /// Taken by a reader.
    pub delivered: u64,
    /// In the workers' rings or the shared one.
    pub waiting: u64,
    /// Left out by sampling.
    pub sampled_out: u64,
    /// Lost at any stage.
    pub lost: u64,
}

/// The thread's state.
pub struct Exporter {
    queues: Vec<Arc<RecordQueue>>,
    ring: Option<(Producer<FlowRecord>, Listener)>,
    counters: Arc<ExporterCounters>,
    sequence: u64,
    top: Arc<TopFlows>,
    /// Records of one turn and worker; empty between turns.
    turned: Vec<FlowRecord>,
}

impl Exporter {
    /// Returns an exporter of these workers' rings. `epoch` tells this run of the dataplane from others.
    pub fn new(
        queues: Vec<Arc<RecordQueue>>,
        ring: Option<&FlowRingConfig>,
        host: &Name,
        epoch: u64,
        top: Arc<TopFlows>,
    ) -> Result<Self, ExporterError> {
        let ring = ring.map(|config| open_ring(config, host, epoch)).transpose()?;
        let turned = Vec::with_capacity(RECORDS_PER_TURN);
        Ok(Self { queues, ring, counters: Arc::default(), sequence: 0, top, turned })
    }

    /// Returns the counters, to be read while the exporter runs.
    pub fn counters(&self) -> Arc<ExporterCounters> {
        Arc::clone(&self.counters)
    }

    /// Carries records until `stopping`, then what is left.
    pub fn run(mut self, stopping: &AtomicBool) {
        while !stopping.load(Ordering::Acquire) {
            let carried = self.turn();
            if carried == 0 {
                std::thread::park_timeout(PAUSE);
            }
        }
        while self.turn() > 0 {}
    }

    /// Carries what is there, bounded, and looks for readers. Returns how many records it carried.
    pub fn turn(&mut self) -> usize {
        let mut carried = 0;
        for queue in &self.queues {
            for _ in 0..RECORDS_PER_TURN {
                let Some(mut record) = queue.pop() else { break };
                record.sequence = self.sequence;
                self.sequence += 1;
                carried += 1;
                self.turned.push(record);
                match &mut self.ring {
                    // A full ring counts the loss itself.
                    Some((producer, _)) => _ = producer.offer(&record),
                    None => self.counters.lost.add(1),
                }
            }
            self.top.note(&self.turned);
            self.turned.clear();
        }
        self.serve();
        carried
    }

    /// Publishes, hands the ring to who asks for it, and takes over its counters.
    fn serve(&mut self) {
        let Some((producer, listener)) = &mut self.ring else { return };
        producer.publish();
        match listener.poll(producer) {
            Ok(Accepted::Nobody) => {}
            Ok(Accepted::Consumer) => {
                let reader = producer.consumer().map_or(0, |consumer| consumer.pid);
                tracing::info!(reader_pid = reader, "flow ring handed over");
            }
            Ok(Accepted::SecondConsumer { pid }) => {
                tracing::warn!(pid, "flow ring refused: it has a reader already");
            }
            Ok(Accepted::Stranger { uid }) => tracing::warn!(uid, "flow ring refused: user not listed"),
            Err(error) => tracing::warn!(%error, "flow ring not handed over"),
        }
        if let Some(fault) = producer.take_fault() {
            tracing::warn!(%fault, "flow ring taken back from a broken reader");
        }
        let counters = producer.counters();
        self.counters.delivered.set(counters.delivered);
        self.counters.waiting.set(counters.waiting);
        self.counters.lost.set(counters.lost);
    }
}

impl RecordBalance {
    /// Returns the balance over all stages. Exact when no record is on its way between two of them.
    pub fn of(
        workers: &[Arc<WorkerCounters>],
        queues: &[Arc<RecordQueue>],
        exporter: &ExporterCounters,
    ) -> Self {
        let sum =
            |of: fn(&WorkerCounters) -> &Count| workers.iter().map(|worker| of(worker).get()).sum::<u64>();
        let queued: usize = queues.iter().map(|queue| queue.len()).sum();
        Self {
            produced: sum(|worker| &worker.records_produced),
            delivered: exporter.delivered.get(),
            waiting: exporter.waiting.get() + queued as u64,
            sampled_out: sum(|worker| &worker.records_sampled_out),
            lost: exporter.lost.get() + sum(|worker| &worker.records_lost),
        }
    }

    /// Returns whether every record is accounted for.
    pub fn balances(&self) -> bool {
        self.produced == self.delivered + self.waiting + self.sampled_out + self.lost
    }

    /// Returns whether nothing will become of any record any more: none waits, or is on its way between two stages.
    pub fn is_settled(&self) -> bool {
        self.produced == self.delivered + self.sampled_out + self.lost
    }
}

fn open_ring(
    config: &FlowRingConfig,
    host: &Name,
    epoch: u64,
) -> Result<(Producer<FlowRecord>, Listener), ExporterError> {
    let name =
        HostName::new(host.as_str()).map_err(|error| ExporterError::Host(host.clone(), error.to_string()))?;
    let ring =
        RingConfig { slots: u64::from(config.slots), host: name, epoch, record_version: FLOW_RECORD_VERSION };
    let producer = Producer::create(&ring).map_err(ExporterError::Memory)?;
    let allowed = AllowedUids::own_and(&config.reader_uids);
    let listener = Listener::bind(&config.socket, allowed)
        .map_err(|error| ExporterError::Socket(config.socket.display().to_string(), error))?;
    Ok((producer, listener))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_ring_records_are_lost_and_counted() {
        let queue = Arc::new(RecordQueue::new(8));
        let worker = Arc::new(WorkerCounters::new(0));
        for _ in 0..5 {
            worker.records_produced.add(1);
            queue.push(FlowRecord::default()).unwrap();
        }
        let host = Name::new("a").unwrap();
        let top = Arc::new(TopFlows::new(60));
        let mut exporter = Exporter::new(vec![Arc::clone(&queue)], None, &host, 1, top).unwrap();
        let balance = |exporter: &Exporter| {
            RecordBalance::of(&[Arc::clone(&worker)], &[Arc::clone(&queue)], &exporter.counters)
        };
        assert_eq!(balance(&exporter).waiting, 5);
        assert!(!balance(&exporter).is_settled());
        assert_eq!(exporter.turn(), 5);
        assert_eq!(balance(&exporter).lost, 5);
        assert!(balance(&exporter).balances() && balance(&exporter).is_settled());
    }
}
