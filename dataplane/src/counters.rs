//! What a worker counts: verdicts, drops by reason, devices, rules.
//!
//! Each counter has one writer, the worker, and any number of readers that see it a little late.

use crate::verdict::{DropReason, Verdict};
use meshgate_policy::RuleId;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds. Must be called by the one writer only: it is a load and a store, not an atomic addition, because the
    /// latter would lock the cache line for every packet.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// Returns the value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Reasons a worker counts; one counter each.
const DROP_REASONS: usize = DropReason::ALL.len();

/// All counters of one worker.
#[derive(Debug)]
pub struct WorkerCounters {
    /// Packets that passed.
    pub allowed: Count,
    /// By device, in the order of the configuration.
    pub devices: Vec<DeviceCounters>,
    /// Flows begun.
    pub flows_created: Count,
    /// Flows in the table.
    pub flows_live: Count,
    /// Flows in the table that a policy cut.
    pub flows_refused: Count,
    /// Connections taken up in the middle, in their own direction.
    pub flows_picked_up: Count,
    /// Connections taken up on the word of the answering side.
    pub flows_picked_up_reversed: Count,
    /// Flows judged again after a policy change.
    pub flows_rejudged: Count,
    /// Datagrams under way in parts.
    pub datagrams_live: Count,
    /// Datagrams in parts that had to give way to others.
    pub datagrams_evicted: Count,
    /// Super-frames that were cut.
    pub super_frames_cut: Count,
    /// Segments that were made of them.
    pub super_frame_segments: Count,
    /// Copies made to flood broadcast and multicast.
    pub flood_copies: Count,
    /// Answers to rejected packets.
    pub rejects_sent: Count,
    /// Rejected packets that were not answered, because there were too many.
    pub rejects_limited: Count,
    /// Things overheard about leases.
    pub leases_heard: Count,
    /// Things overheard about leases that found the queue full.
    pub leases_lost: Count,
    /// Flow records made.
    pub records_produced: Count,
    /// Flow records that sampling left out.
    pub records_sampled_out: Count,
    /// Flow records that found the worker's ring full.
    pub records_lost: Count,
    /// Denied attempts that found no place in the table that gathers them.
    pub denials_unrecorded: Count,
    /// Frames of the worker's slice of packet memory.
    pub frames_total: Count,
    /// Frames on the free list.
    pub frames_free: Count,
    /// Frames with devices: to fill, to send, to come back.
    pub frames_at_devices: Count,
    /// Frames waiting in the worker: to be sent, or for the first part of their datagram.
    pub frames_held: Count,
    /// Frames on their way to other workers, or home to them.
    pub frames_crossing: Count,
    /// Frames of all workers that a device of the kernel did not give back when it was closed, told by the first worker.
    pub frames_stranded: Count,
    /// Packets handed to the worker that owns their flow.
    pub handed_over: Count,
    /// Flows in the table whose sides have not both answered to each other.
    pub flows_unconfirmed: Count,
    /// Flows of those that went for a new one because the table, or their share of it, was full.
    pub flows_evicted_unconfirmed: Count,
    /// Flows that had ended and went for a new one because the table was full.
    pub flows_evicted_over: Count,
    /// ICMP errors that followed their flow.
    pub errors_related: Count,
    /// ICMP errors that would have, but came faster than is allowed.
    pub errors_over_rate: Count,
}

/// Counters of one device.
#[derive(Debug)]
pub struct DeviceCounters {
    /// Frames received.
    pub received_packets: Count,
    /// Bytes received.
    pub received_bytes: Count,
    /// Frames sent.
    pub sent_packets: Count,
    /// Bytes sent.
    pub sent_bytes: Count,
    /// Frames that came in here and were dropped, for any reason.
    pub dropped_packets: Count,
    drops: [Count; DROP_REASONS],
    /// Frames that found no room at the device itself.
    pub receive_full: Count,
    /// Descriptors that the kernel refused.
    pub invalid: Count,
    /// Frames longer than the device's MTU allows.
    pub oversize_packets: Count,
    /// Bytes of the longest of those.
    pub oversize_bytes_max: Count,
}

impl WorkerCounters {
    /// Returns counters at zero for this many devices.
    pub fn new(devices: usize) -> Self {
        Self {
            allowed: Count::default(),
            devices: std::iter::repeat_with(DeviceCounters::default).take(devices).collect(),
            flows_created: Count::default(),
            flows_live: Count::default(),
            flows_refused: Count::default(),
            flows_picked_up: Count::default(),
            flows_picked_up_reversed: Count::default(),
            flows_rejudged: Count::default(),
            datagrams_live: Count::default(),
            datagrams_evicted: Count::default(),
            super_frames_cut: Count::default(),
            super_frame_segments: Count::default(),
            flood_copies: Count::default(),
            rejects_sent: Count::default(),
            rejects_limited: Count::default(),
            leases_heard: Count::default(),
            leases_lost: Count::default(),
            records_produced: Count::default(),
            records_sampled_out: Count::default(),
            records_lost: Count::default(),
            denials_unrecorded: Count::default(),
            frames_total: Count::default(),
            frames_free: Count::default(),
            frames_at_devices: Count::default(),
            frames_held: Count::default(),
            frames_crossing: Count::default(),
            frames_stranded: Count::default(),
            handed_over: Count::default(),
            flows_unconfirmed: Count::default(),
            flows_evicted_unconfirmed: Count::default(),
            flows_evicted_over: Count::default(),
            errors_related: Count::default(),
            errors_over_rate: Count::default(),
        }
    }

    /// Counts how a packet that came in by `device` ended.
    pub fn count(&self, device: usize, verdict: &Verdict) {
        match verdict {
            Verdict::Allow(_) => self.allowed.add(1),
            Verdict::Drop(reason, _) => {
                self.count_lost(device, *reason);
            }
        }
    }

    /// Counts a frame that was allowed and yet went nowhere.
    pub fn count_lost(&self, device: usize, reason: DropReason) {
        let device = &self.devices[device];
        device.dropped_packets.add(1);
        device.drops[reason as usize].add(1);
    }

    /// Returns how many packets were dropped for the reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.devices.iter().map(|device| device.dropped(reason)).sum()
    }

    /// Returns every counter that is not of a device or rule, with the name under which people see it.
    pub fn named(&self) -> Vec<(String, u64)> {
        let drops = DropReason::ALL.iter().map(|reason| (format!("drop.{reason}"), self.dropped(*reason)));
        let others = [
            ("allowed", &self.allowed),
            ("flows.created", &self.flows_created),
            ("flows.live", &self.flows_live),
            ("flows.refused", &self.flows_refused),
            ("flows.picked-up", &self.flows_picked_up),
            ("flows.picked-up-reversed", &self.flows_picked_up_reversed),
            ("flows.rejudged", &self.flows_rejudged),
            ("datagrams.live", &self.datagrams_live),
            ("datagrams.evicted", &self.datagrams_evicted),
            ("super-frames.cut", &self.super_frames_cut),
            ("super-frames.segments", &self.super_frame_segments),
            ("flood.copies", &self.flood_copies),
            ("rejects.sent", &self.rejects_sent),
            ("rejects.limited", &self.rejects_limited),
            ("leases.heard", &self.leases_heard),
            ("leases.lost", &self.leases_lost),
            ("records.denials-unrecorded", &self.denials_unrecorded),
            ("frames.total", &self.frames_total),
            ("frames.free", &self.frames_free),
            ("frames.at-devices", &self.frames_at_devices),
            ("frames.held", &self.frames_held),
            ("frames.crossing", &self.frames_crossing),
            ("frames.stranded", &self.frames_stranded),
            ("packets.handed-over", &self.handed_over),
            ("flows.unconfirmed", &self.flows_unconfirmed),
            ("flows.evicted-unconfirmed", &self.flows_evicted_unconfirmed),
            ("flows.evicted-over", &self.flows_evicted_over),
            ("errors.related", &self.errors_related),
            ("errors.over-rate", &self.errors_over_rate),
        ];
        others.into_iter().map(|(name, count)| (name.to_owned(), count.get())).chain(drops).collect()
    }
}

impl DeviceCounters {
    /// Returns how many packets that came in here were dropped for the reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].get()
    }
}

impl Default for DeviceCounters {
    fn default() -> Self {
        Self {
            received_packets: Count::default(),
            received_bytes: Count::default(),
            sent_packets: Count::default(),
            sent_bytes: Count::default(),
            dropped_packets: Count::default(),
            drops: std::array::from_fn(|_| Count::default()),
            receive_full: Count::default(),
            invalid: Count::default(),
            oversize_packets: Count::default(),
            oversize_bytes_max: Count::default(),
        }
    }
}

/// What one rule decided, as one worker saw it under one policy.
#[derive(Debug)]
pub struct RuleCounters {
    /// The rule.
    pub rule: RuleId,
    /// Flows it decided, allowed or not, judged again included.
    pub flows: Count,
    /// Packets of flows it allowed, and packets it refused.
    pub packets: Count,
    /// Bytes of those, IP headers included.
    pub bytes: Count,
}

impl RuleCounters {
    /// Returns counters at zero.
    pub fn new(rule: RuleId) -> Self {
        Self { rule, flows: Count::default(), packets: Count::default(), bytes: Count::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Grounds;
    use meshgate_policy::{PolicyVersion, Stage};

    #[test]
    fn every_drop_reason_has_a_counter_of_its_own() {
        let counters = WorkerCounters::new(1);
        let grounds = Grounds { version: PolicyVersion(1), stage: Stage::Default, rule: None };
        for reason in DropReason::ALL {
            counters.count(0, &Verdict::Drop(*reason, grounds));
        }
        assert!(DropReason::ALL.iter().all(|reason| counters.dropped(*reason) == 1));
        assert_eq!(counters.devices[0].dropped_packets.get(), DropReason::ALL.len() as u64);
    }

    #[test]
    fn a_reason_is_counted_at_the_device_by_which_the_packet_came() {
        let counters = WorkerCounters::new(2);
        counters.count_lost(1, DropReason::TransmitFull);
        counters.count_lost(1, DropReason::TransmitFull);
        let of = |device: usize| counters.devices[device].dropped(DropReason::TransmitFull);
        assert_eq!((of(0), of(1), counters.dropped(DropReason::TransmitFull)), (0, 2, 2));
    }

    #[test]
    fn no_two_counters_share_a_name() {
        let mut names: Vec<_> = WorkerCounters::new(0).named().into_iter().map(|(name, _)| name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
