//! What a host reports of itself: counters, devices, what its rules decided, what its endpoints lease.

use std::net::IpAddr;

/// A named counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// `allowed`, `drop.rule-deny` and so on.
    pub name: String,
    /// Its value.
    pub value: u64,
}

/// A device of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// `endpoint`, `uplink` or `host`.
    pub role: String,
    /// How it is driven.
    pub mode: String,
    /// Whether it has a carrier.
    pub up: bool,
    /// Frames received.
    pub received_packets: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Frames sent.
    pub sent_packets: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Frames dropped.
    pub dropped_packets: u64,
}

/// What one rule decided on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleUse {
    /// The rule.
    pub rule: u32,
    /// Flows it decided.
    pub flows: u64,
    /// Packets of these.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
}

/// Where a host's flow records are: produced = delivered + waiting + sampled out + lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// Produced.
    pub produced: u64,
    /// Delivered.
    pub delivered: u64,
    /// Waiting.
    pub waiting: u64,
    /// Sampled out.
    pub sampled_out: u64,
    /// Lost.
    pub lost: u64,
}

/// An address that an endpoint leases, as its host heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Number of the endpoint.
    pub endpoint: u32,
    /// The address.
    pub address: IpAddr,
    /// Seconds until its end; 0 if it has ended, `u32::MAX` if it has none.
    pub seconds_left: u32,
}

/// The last report of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Version it enforces.
    pub version: u64,
    /// Digest of that version, as it was sent.
    pub digest: Vec<u8>,
    /// Counters.
    pub counters: Vec<Counter>,
    /// Devices.
    pub devices: Vec<Device>,
    /// Rules.
    pub rules: Vec<RuleUse>,
    /// Flows in its table.
    pub flows_live: u64,
    /// Flow records.
    pub records: RecordCounts,
    /// Time since its start.
    pub uptime_ns: u64,
    /// Leases.
    pub leases: Vec<Lease>,
}
