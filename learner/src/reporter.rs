//! Hands buckets to control, which keeps them. What control cannot take stays here, bounded, until it can.

use crate::hauls::{Haul, HaulKey};
use crate::link::{LinkError, connect};
use crate::rollup::{Bucket, FlowSum, FlowSumKey, SUMS_MAX, WIDTHS_S};
use meshgate_proto::wire;
use meshgate_proto::wire::flow_service_client::FlowServiceClient;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Code;

/// Buckets that wait for control: an hour of ten-second ones and what is above them.
const WAITING_BUCKETS_MAX: usize = 512;
/// Sums, and hauls, that wait for control, over all buckets. One takes 120 bytes, in a table that is between 7/16 and 7/8 full
/// about 276 at most: 69 MiB. An hour of ten-second buckets, and what is above them, may so have 600 sums each.
const WAITING_SUMS_MAX: usize = 1 << 18;
// One full bucket of every width fits.
const _: () = assert!(WAITING_SUMS_MAX >= WIDTHS_S.len() * SUMS_MAX);
/// Sums of one message: beyond them no further bucket is added. Control refuses more than 100,000 in one call, and one
/// bucket holds at most [`crate::rollup::SUMS_MAX`].
const MESSAGE_SUMS: usize = 30_000;
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

    /// Keeps buckets for control. Beyond what may wait, the oldest of the narrowest go, and are counted: what they say
    /// is in the wider ones too.
    fn keep(&mut self, buckets: Vec<Bucket>) {
        self.waiting.extend(buckets.into_iter().map(|bucket| ((bucket.width_s, bucket.start_s), bucket)));
        let mut sums: usize = self.waiting.values().map(Bucket::entries).sum();
        while self.waiting.len() > WAITING_BUCKETS_MAX || sums > WAITING_SUMS_MAX {
            let Some((_, bucket)) = self.waiting.pop_first() else { return };
            sums -= bucket.entries();
            self.buckets_lost += 1;
        }
    }

    async fn send_all(&mut self) -> Result<(), LinkError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut client = FlowServiceClient::new(connect(&self.control).await?);
        while !self.waiting.is_empty() {
            let names = self.next_message();
            let buckets = names.iter().filter_map(|name| self.waiting.get(name)).map(wire_bucket).collect();
            let (collector, epoch) = (self.collector.clone(), self.epoch);
            let request = wire::IngestRequest { collector, epoch, buckets };
            match client.ingest(request).await {
                Ok(_) => {}
                // Control will never take these: sending them again would hold up all that follow.
                Err(status) if matches!(status.code(), Code::InvalidArgument | Code::ResourceExhausted) => {
                    self.buckets_lost += names.len() as u64;
                    tracing::error!(buckets = names.len(), lost = self.buckets_lost, %status, "flows refused");
                }
                Err(status) => return Err(LinkError::Status(Box::new(status))),
            }
            names.iter().for_each(|name| _ = self.waiting.remove(name));
        }
        Ok(())
    }

    /// Returns the names of the buckets that fill a message, at least one if any waits.
    fn next_message(&self) -> Vec<(u32, u64)> {
        let mut sums = 0;
        let fits = move |(_, bucket): &(&(u32, u64), &Bucket)| {
            let is_first = sums == 0;
            sums += bucket.entries() + 1;
            is_first || sums <= MESSAGE_SUMS
        };
        self.waiting.iter().take(MESSAGE_BUCKETS).take_while(fits).map(|(name, _)| *name).collect()
    }
}

fn wire_bucket(bucket: &Bucket) -> wire::Bucket {
    wire::Bucket {
        width_s: bucket.width_s,
        start_s: bucket.start_s,
        sums: bucket.sums.iter().map(|(key, sum)| wire_sum(key, sum)).collect(),
        records_lost: bucket.records_lost,
        hauls: bucket.hauls.iter().map(|(key, haul)| wire_haul(key, *haul)).collect(),
    }
}

fn wire_haul(key: &HaulKey, haul: Haul) -> wire::Haul {
    let HaulKey { source_groups, destination_groups, rule, source_endpoint, destination_endpoint } = key;
    let Haul { bytes_forward, bytes_reverse } = haul;
    wire::Haul {
        source_groups: source_groups.to_vec(),
        destination_groups: destination_groups.to_vec(),
        rule: *rule,
        source_endpoint: *source_endpoint,
        destination_endpoint: *destination_endpoint,
        bytes_forward,
        bytes_reverse,
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

#[cfg(test)]
mod tests {
    use super::*;
    use hashbrown::HashMap;
    use meshgate_policy::FlowRecord;

    fn reporter() -> Reporter {
        Reporter::new("unix:/nowhere".into(), "test".into(), 1)
    }

    /// Returns so many different sums.
    fn sums(count: usize) -> HashMap<FlowSumKey, FlowSum> {
        let key = |rule| {
            let record = FlowRecord { rule, ..FlowRecord::default() };
            FlowSumKey::of(&record, [16].into(), [17].into())
        };
        (0..).map(|rule| (key(rule), FlowSum::default())).take(count).collect()
    }

    fn bucket(width_s: u32, start_s: u64, sums: &HashMap<FlowSumKey, FlowSum>) -> Bucket {
        let mut bucket = Bucket::default();
        (bucket.width_s, bucket.start_s, bucket.sums) = (width_s, start_s, sums.clone());
        bucket
    }

    fn waiting(reporter: &Reporter) -> (usize, usize) {
        (reporter.waiting.len(), reporter.waiting.values().map(|bucket| bucket.sums.len()).sum())
    }

    #[test]
    fn a_sum_takes_what_the_limit_reckons_with() {
        assert_eq!(size_of::<(FlowSumKey, FlowSum)>(), 120);
    }

    #[test]
    fn small_buckets_are_bounded_by_their_number() {
        let (mut reporter, one) = (reporter(), sums(1));
        for turn in 0..600 {
            reporter.keep(vec![bucket(10, turn * 10, &one)]);
        }
        assert_eq!(waiting(&reporter), (WAITING_BUCKETS_MAX, WAITING_BUCKETS_MAX));
        assert_eq!(reporter.buckets_lost, 88);
        assert_eq!(reporter.waiting.first_key_value().unwrap().0, &(10, 880), "the oldest went");
    }

    #[test]
    fn full_buckets_are_bounded_by_their_sums_and_wide_ones_stay_longest() {
        let (mut reporter, full) = (reporter(), sums(SUMS_MAX));
        for start_s in (0..200).step_by(10) {
            let grown = WIDTHS_S.map(|width_s| (width_s, start_s - start_s % u64::from(width_s)));
            reporter.keep(grown.map(|(width_s, start_s)| bucket(width_s, start_s, &full)).into());
            assert!(waiting(&reporter).1 <= WAITING_SUMS_MAX);
        }
        let names: Vec<_> = reporter.waiting.keys().copied().collect();
        assert_eq!(names, [(60, 60), (60, 120), (60, 180), (3_600, 0)]);
        assert_eq!(reporter.buckets_lost, 21, "twenty of ten seconds, and one of a minute");
    }

    #[test]
    fn a_newer_state_of_a_bucket_counts_once() {
        let mut reporter = reporter();
        for count in [1, 5, 9] {
            reporter.keep(vec![bucket(10, 0, &sums(count))]);
        }
        assert_eq!((waiting(&reporter), reporter.buckets_lost), ((1, 9), 0));
    }
}
