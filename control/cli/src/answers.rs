//! What the control plane answers, in this program's own types. Their JSON form is the `--output json` of the commands
//! and is kept stable: fields are added, never renamed or removed.

use meshgate_policy::AuthoredPolicy;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// A SHA-256 or part of one; shown in hexadecimal. Empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digest(pub Vec<u8>);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Digest {
    /// Returns the first eight hexadecimal digits, enough to tell two versions apart at a glance.
    pub fn short(&self) -> String {
        let start: String = self.to_string().chars().take(8).collect();
        if start.is_empty() { "-".to_owned() } else { start }
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// The authored policy of one version.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Version.
    pub version: u64,
    /// The policy as people wrote it.
    pub policy: AuthoredPolicy,
    /// Numbers of groups by name.
    pub group_ids: BTreeMap<String, u32>,
    /// Numbers of endpoints by name.
    pub endpoint_ids: BTreeMap<String, u32>,
}

/// The result of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Committed {
    /// The newest version after the write.
    pub version: u64,
    /// Digest of the resolved policy.
    pub digest: Digest,
    /// Whether the write made a version; false when it changed nothing.
    pub changed: bool,
    /// Numbers given to new relationships and rules, in order of writing.
    pub created_ids: Vec<u32>,
    /// When the commit was durable, nanoseconds since 1970.
    pub committed_ns: u64,
}

/// What a commit would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The version it was planned against.
    pub base_version: u64,
    /// One entry an object.
    pub changes: Vec<PlannedChange>,
    /// Rules that would never decide, and rules of opposite action that overlap.
    pub warnings: Vec<String>,
}

/// What would happen to one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedChange {
    /// Added, removed or changed.
    pub kind: ChangeKind,
    /// "endpoint", "group" and so on.
    pub object: String,
    /// Name, or id and summary.
    pub name: String,
    /// For a change: field by field.
    pub detail: String,
}

/// Whether an object comes, goes or changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It comes.
    Add,
    /// It goes.
    Remove,
    /// Some of its fields change.
    Change,
}

/// One version of the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionEntry {
    /// Version.
    pub version: u64,
    /// Digest of the resolved policy.
    pub digest: Digest,
    /// Nanoseconds since 1970.
    pub committed_ns: u64,
    /// Who committed it.
    pub author: String,
    /// The comment of the commit.
    pub comment: String,
}

/// One entry of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// Place in the trail.
    pub sequence: u64,
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Who did it.
    pub actor: String,
    /// What was done.
    pub event: String,
    /// To what.
    pub detail: String,
    /// Hash over the previous entry's hash and this entry.
    pub hash: Digest,
}

/// Every host that is or was subscribed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hosts {
    /// The newest version.
    pub version: u64,
    /// Its digest.
    pub digest: Digest,
    /// The hosts by name.
    pub hosts: Vec<Host>,
}

/// One host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Name.
    pub host: String,
    /// "dataplane" or "observer".
    pub role: String,
    /// Whether its stream is open.
    pub connected: bool,
    /// The version it enforces; 0 = none.
    pub version: u64,
    /// Digest of that version.
    pub digest: Digest,
    /// Why it refused a version; empty = it did not.
    pub nack_reason: String,
    /// The version it refused.
    pub nack_version: u64,
    /// Nanoseconds since 1970.
    pub last_seen_ns: u64,
    /// From commit to acknowledgement of the enforced version.
    pub commit_to_ack_ns: u64,
    /// Its last report, if it sent one.
    pub report: Option<HostReport>,
}

/// What a host counted since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostReport {
    /// The version in force when the report was made.
    pub version: u64,
    /// Packets by end: "allowed", "drop.rule-deny" and so on.
    pub counters: BTreeMap<String, u64>,
    /// Devices.
    pub devices: Vec<DeviceReport>,
    /// Rules that decided something.
    pub rules: Vec<RuleCounter>,
    /// Flows in the table.
    pub flows_live: u64,
    /// Flow records: produced = delivered + waiting + sampled out + lost.
    pub records: RecordCounts,
    /// Since the start of the host's process.
    pub uptime_ns: u64,
}

/// Where flow records went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RecordCounts {
    /// Made.
    pub produced: u64,
    /// Handed over.
    pub delivered: u64,
    /// In a ring.
    pub waiting: u64,
    /// Left out by sampling.
    pub sampled_out: u64,
    /// Lost for want of room.
    pub lost: u64,
}

/// One device of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceReport {
    /// Name.
    pub name: String,
    /// "endpoint", "uplink", "host".
    pub role: String,
    /// How packets are moved.
    pub mode: String,
    /// Whether it is up.
    pub up: bool,
    /// Packets received.
    pub received_packets: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets dropped at the device.
    pub dropped_packets: u64,
}

/// What one rule decided at a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleCounter {
    /// Number of the rule.
    pub rule: u32,
    /// Flows.
    pub flows: u64,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Why a packet would pass or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The version that was asked.
    pub version: u64,
    /// Its digest.
    pub digest: Digest,
    /// "rules", "membership" or "default".
    pub stage: String,
    /// "allow", "deny" or "reject".
    pub action: String,
    /// The deciding rule; 0 = none.
    pub rule: u32,
    /// One sentence.
    pub reason: String,
    /// Source address.
    pub source: String,
    /// Destination address.
    pub destination: String,
    /// Endpoint that owns the source address; empty = none.
    pub source_endpoint: String,
    /// Endpoint that owns the destination address; empty = none.
    pub destination_endpoint: String,
    /// Groups of the source.
    pub source_group_names: Vec<String>,
    /// Groups of the destination.
    pub destination_group_names: Vec<String>,
    /// Rules in the order in which they are asked.
    pub rules: Vec<RuleExplanation>,
    /// Rules that the answer left out.
    pub rules_left_out: u32,
    /// What the shadow rules would change; empty = nothing.
    pub shadow: String,
    /// Hosts that enforce the version.
    pub hosts_enforcing: Vec<String>,
    /// Hosts that do not yet.
    pub hosts_behind: Vec<String>,
    /// What the answer does not cover.
    pub notes: Vec<String>,
}

/// Why one rule decided or did not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleExplanation {
    /// Number of the rule.
    pub rule: u32,
    /// The rule in words.
    pub summary: String,
    /// Whether it fits the packet.
    pub matches: bool,
    /// Whether it decides.
    pub decides: bool,
    /// Why it did not match or did not decide.
    pub reason: String,
}

/// Sums of flows over a span of time, the largest in bytes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FlowSums {
    /// The sums.
    pub sums: Vec<FlowSum>,
    /// Sums that the limit left out.
    pub left_out: u32,
    /// Flow records that never arrived in the span.
    pub records_lost: u64,
}

/// Sum of the flows of one pair of group sets, service and verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FlowSum {
    /// Groups of the source.
    pub source_group_names: Vec<String>,
    /// Groups of the destination.
    pub destination_group_names: Vec<String>,
    /// IP protocol number.
    pub protocol: u32,
    /// Destination port, or ICMP type.
    pub service_port: u32,
    /// "allow", "deny", "reject".
    pub action: String,
    /// The deciding stage.
    pub stage: String,
    /// The deciding rule; 0 = none.
    pub rule: u32,
    /// The shadow rule that would decide otherwise; 0 = none.
    pub shadow_rule: u32,
    /// Flows that began, or attempts that were denied.
    pub flows: u64,
    /// Packets in the direction of the first packet.
    pub packets_forward: u64,
    /// Bytes in that direction.
    pub bytes_forward: u64,
    /// Packets of the other direction.
    pub packets_reverse: u64,
    /// Bytes of the other direction.
    pub bytes_reverse: u64,
    /// First packet, nanoseconds since 1970.
    pub first_ns: u64,
    /// Last packet, nanoseconds since 1970.
    pub last_ns: u64,
}
