//! Hands buckets to control, which keeps them. What control cannot take stays here, bounded, until it can.

use crate::link::{LinkError, connect};
use crate::rollup::{Bucket, FlowSum, FlowSumKey};
use meshgate_proto::wire;
use meshgate_proto::wire::flow_service_client::FlowServiceClient;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;

/// Buckets that wait for control: an hour of ten-second ones and what is above them.
const WAITING_BUCKETS_MAX: usize = 512;
/// Buckets of one message.
const MESSAGE_BUCKETS: usize = 16;
/// Pause before control is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The sending half of the learner.
pub struct Reporter {
    control: String,
    collector: String,
    epoch: u64,
    /// By width and start: a newer state of a bucket replaces the older one.
    waiting: BTreeMap<(u32, u64), Bucket>,
    buckets_lost: u64,
}

impl Reporter {
    /// Returns a reporter that is not connected yet.
    pub fn new(control: String, collector: String, epoch: u64) -> Self {
        Self { control, collector, epoch, waiting: BTreeMap::new(), buckets_lost: 0 }
    }

    /// Sends what comes until the collector has ended and nothing waits.
    pub async fn run(mut self, mut grown: mpsc::Receiver<Vec<Bucket>>) {
        while let Some(buckets) = grown.recv().await {
            self.keep(buckets);
            while let Ok(buckets) = grown.try_recv() {
                self.keep(buckets);
            }
            if let Err(error) = self.send_all().await {
                let waiting = self.waiting.len();
                tracing::warn!(control = %self.control, %error, waiting, lost = self.buckets_lost, "flows not taken");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        _ = self.send_all().await;
    }

    fn keep(&mut self, buckets: Vec<Bucket>) {
        self.waiting.extend(buckets.into_iter().map(|bucket| ((bucket.width_s, bucket.start_s), bucket)));
        while self.waiting.len() > WAITING_BUCKETS_MAX {
            self.waiting.pop_first();
            self.buckets_lost += 1;
        }
    }

    async fn send_all(&mut self) -> Result<(), LinkError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut client = FlowServiceClient::new(connect(&self.control).await?);
        while !self.waiting.is_empty() {
            let names: Vec<_> = self.waiting.keys().copied().take(MESSAGE_BUCKETS).collect();
            let buckets = names.iter().filter_map(|name| self.waiting.get(name)).map(wire_bucket).collect();
            let (collector, epoch) = (self.collector.clone(), self.epoch);
            let request = wire::IngestRequest { collector, epoch, buckets };
            client.ingest(request).await.map_err(|status| LinkError::Status(Box::new(status)))?;
            names.iter().for_each(|name| _ = self.waiting.remove(name));
        }
        Ok(())
    }
}

fn wire_bucket(bucket: &Bucket) -> wire::Bucket {
    wire::Bucket {
        width_s: bucket.width_s,
        start_s: bucket.start_s,
        sums: bucket.sums.iter().map(|(key, sum)| wire_sum(key, sum)).collect(),
        records_lost: bucket.records_lost,
    }
}

fn wire_sum(key: &FlowSumKey, sum: &FlowSum) -> wire::FlowSum {
    let FlowSumKey {
        segment,
        source_groups,
        destination_groups,
        protocol,
        service_port,
        action,
        stage,
        rule,
        shadow_rule,
    } = key;
    let FlowSum { total, first_ns, last_ns } = sum;
    wire::FlowSum {
        tenant: "default".into(),
        segment: (*segment).into(),
        source_groups: source_groups.to_vec(),
        destination_groups: destination_groups.to_vec(),
        protocol: (*protocol).into(),
        service_port: (*service_port).into(),
        action: (*action).into(),
        stage: (*stage).into(),
        rule: *rule,
        shadow_rule: *shadow_rule,
        flows: total.flows,
        packets_forward: total.packets_forward,
        bytes_forward: total.bytes_forward,
        packets_reverse: total.packets_reverse,
        bytes_reverse: total.bytes_reverse,
        first_ns: *first_ns,
        last_ns: *last_ns,
    }
}
