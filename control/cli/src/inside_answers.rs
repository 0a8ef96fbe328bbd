//! What control and hosts answer of the inside of a dataplane, in this program's own types. Their JSON form is kept
//! stable: fields are added, never renamed or removed.

use meshgate_policy::Finding;
use serde::Serialize;
use std::collections::BTreeMap;

/// What is to be said of one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostFindings {
    /// Its name.
    pub host: String,
    /// What was looked at.
    pub findings: Vec<Finding>,
}

/// A part of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CapturePart {
    /// Where it is from.
    Start(CaptureStart),
    /// Packets.
    Packets(Vec<CapturedPacket>),
    /// Why it ended.
    End(CaptureEnd),
}

/// Where a capture is from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureStart {
    /// The host.
    pub host: String,
    /// Its devices, as far as they are known at the start.
    pub devices: Vec<CaptureDevice>,
    /// Bytes that are kept of a packet.
    pub snap_bytes: u32,
}

/// A device of which packets are captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureDevice {
    /// Packets name it by this.
    pub number: u32,
    /// Name.
    pub name: String,
    /// Role.
    pub role: String,
}

/// What was counted of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureCounts {
    /// Number of the device.
    pub device: u32,
    /// Packets that were wanted.
    pub matched: u64,
    /// Those that were lost.
    pub lost: u64,
}

/// A packet with its verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapturedPacket {
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Number of the device by which it came.
    pub device: u32,
    /// Its beginning.
    pub bytes: Vec<u8>,
    /// Bytes it had.
    pub frame_bytes: u32,
    /// Whether it passed.
    pub allowed: bool,
    /// Why not; empty if it did.
    pub reason: String,
    /// The stage that decided, in words.
    pub stage: String,
    /// The deciding rule; 0 = none.
    pub rule: u32,
    /// The version by which it was judged.
    pub version: u64,
}

/// Why a capture ended and what it counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureEnd {
    /// The limit that was reached.
    pub limit: String,
    /// What was counted, by device.
    pub devices: Vec<CaptureCounts>,
}

/// A host that has read its configuration again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// The host.
    pub host: String,
    /// Devices that are configured there now.
    pub devices: u32,
}

/// What one host counts at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Activity {
    /// The host.
    pub host: String,
    /// A clock that never goes back.
    pub time_ns: u64,
    /// The version that is enforced.
    pub version: u64,
    /// Flows in the table.
    pub flows_live: u64,
    /// Flows that fit.
    pub flows_max: u64,
    /// Devices.
    pub devices: Vec<DeviceActivity>,
    /// Workers.
    pub workers: Vec<WorkerActivity>,
    /// Counters that are not 0.
    pub counters: BTreeMap<String, u64>,
    /// Rules with the most packets.
    pub rules: Vec<RuleActivity>,
    /// The fastest flows.
    pub flows: Vec<FlowActivity>,
    /// How often a flow that goes on is reported.
    pub active_report_s: u32,
    /// One in how many flows is reported.
    pub sampling_rate: u32,
}

/// One device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceActivity {
    /// Name.
    pub name: String,
    /// Role.
    pub role: String,
    /// How frames are moved.
    pub mode: String,
    /// Frames received.
    pub received_packets: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Frames sent.
    pub sent_packets: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Frames dropped, those that found no room at the device included.
    pub dropped_packets: u64,
    /// Frames that found no room at the device.
    pub receive_full: u64,
}

/// One worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkerActivity {
    /// Its number.
    pub number: u32,
    /// Time on a processor; 0 = not known.
    pub busy_ns: u64,
    /// Time waiting for one.
    pub waiting_ns: u64,
    /// Frames of packet memory.
    pub frames_total: u64,
    /// Those that are free.
    pub frames_free: u64,
    /// Those with devices.
    pub frames_at_devices: u64,
    /// Those that wait in the worker.
    pub frames_held: u64,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleActivity {
    /// Its number.
    pub rule: u32,
    /// It in words; empty if it is not in the newest policy.
    pub summary: String,
    /// Flows it decided.
    pub flows: u64,
    /// Packets of these.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
}

/// One flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FlowActivity {
    /// Source address and port.
    pub source: String,
    /// Destination address and port.
    pub destination: String,
    /// Protocol.
    pub protocol: String,
    /// Packets since its start, both ways.
    pub packets: u64,
    /// Bytes since its start, both ways.
    pub bytes: u64,
    /// Bits a second between its last two reports.
    pub rate_bps: u64,
    /// The deciding rule; 0 = none.
    pub rule: u32,
    /// Whether it has ended.
    pub ended: bool,
}
