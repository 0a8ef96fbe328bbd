//! `DiagnosticsService`: questions put together, answers taken apart.

use super::Client;
use crate::client::CallError;
use crate::inside_answers::{
    Activity, CaptureCounts, CaptureDevice, CaptureEnd, CapturePart, CaptureStart, CapturedPacket,
    DeviceActivity, FlowActivity, HostFindings, Reloaded, RuleActivity, WorkerActivity,
};
use meshgate_policy::{Protocol, Stage};
use meshgate_proto::MESSAGE_BYTES_MAX;
use meshgate_proto::wire::{self, diagnostics_service_client::DiagnosticsServiceClient};
use std::net::{IpAddr, SocketAddr};
use tonic::Streaming;
use tonic::transport::Channel;

/// Which packets are wanted and where a capture ends. Empty texts and zeros mean any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureOrder {
    /// The host; empty = the one that is connected.
    pub host: String,
    /// "allow", "drop" or a reason.
    pub verdict: String,
    /// The deciding rule.
    pub rule: Option<u32>,
    /// The device by which packets come in.
    pub device: String,
    /// A group of one side.
    pub group: String,
    /// An endpoint of one side.
    pub endpoint: String,
    /// One side.
    pub source: String,
    /// The other side.
    pub destination: String,
    /// Protocol.
    pub protocol: String,
    /// Port of the source.
    pub source_port: u16,
    /// Port of the destination.
    pub destination_port: u16,
    /// At most so many packets.
    pub packets: u64,
    /// At most so many bytes.
    pub bytes: u64,
    /// At most so long.
    pub span_ms: u32,
    /// Bytes that are kept of a packet.
    pub snap_bytes: u32,
}

/// The parts of a capture as they come.
pub struct CaptureStream<'a> {
    client: &'a Client,
    parts: Streaming<wire::CapturePart>,
}

impl Client {
    /// Asks what is good and bad at each host, or at the named one.
    pub async fn diagnose(&self, host: &str) -> Result<Vec<HostFindings>, CallError> {
        let request = wire::DiagnoseRequest { host: host.to_owned() };
        let answer = self.diagnostics().diagnose(self.request(request)).await;
        let wire::DiagnoseResponse { hosts } = self.answer(answer)?;
        Ok(hosts.into_iter().map(host_findings).collect())
    }

    /// Begins a capture.
    pub async fn capture(&self, order: &CaptureOrder) -> Result<CaptureStream<'_>, CallError> {
        let answer = self.diagnostics().capture(self.request(capture_request(order))).await;
        Ok(CaptureStream { client: self, parts: self.answer(answer)? })
    }

    /// Has a host read its configuration again.
    pub async fn reload(&self, host: &str) -> Result<Reloaded, CallError> {
        let request = wire::ReloadRequest { host: host.to_owned() };
        let answer = self.diagnostics().reload(self.request(request)).await;
        let wire::ReloadResponse { host, devices } = self.answer(answer)?;
        Ok(Reloaded { host, devices })
    }

    /// Asks what a host counts at this moment.
    pub async fn observe(&self, host: &str, limit: u32) -> Result<Activity, CallError> {
        let request = wire::ObserveRequest { host: host.to_owned(), limit };
        let answer = self.diagnostics().observe(self.request(request)).await;
        Ok(activity(self.answer(answer)?))
    }

    fn diagnostics(&self) -> DiagnosticsServiceClient<Channel> {
        DiagnosticsServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

impl CaptureStream<'_> {
    /// Returns the next part; none at the end.
    pub async fn next(&mut self) -> Result<Option<CapturePart>, CallError> {
        use wire::capture_part::Part;
        let message = self.parts.message().await;
        let message = message.map_err(|status| CallError::refused(&self.client.server, &status))?;
        let Some(wire::CapturePart { part }) = message else { return Ok(None) };
        Ok(Some(match part.ok_or(CallError::Missing("part of the capture"))? {
            Part::Start(wire::CaptureStart { host, devices, snap_bytes }) => {
                let device =
                    |wire::CaptureDevice { name, role, number }| CaptureDevice { number, name, role };
                let devices = devices.into_iter().map(device).collect();
                CapturePart::Start(CaptureStart { host, devices, snap_bytes })
            }
            Part::Packets(wire::CapturedPackets { packets }) => {
                CapturePart::Packets(packets.into_iter().map(captured_packet).collect())
            }
            Part::End(wire::CaptureEnd { limit, devices }) => {
                let counts =
                    |wire::CaptureCounts { matched, lost, device }| CaptureCounts { device, matched, lost };
                CapturePart::End(CaptureEnd { limit, devices: devices.into_iter().map(counts).collect() })
            }
        }))
    }
}

fn capture_request(order: &CaptureOrder) -> wire::CaptureRequest {
    let CaptureOrder {
        host,
        verdict,
        rule,
        device,
        group,
        endpoint,
        source,
        destination,
        protocol,
        source_port,
        destination_port,
        packets,
        bytes,
        span_ms,
        snap_bytes,
    } = order.clone();
    wire::CaptureRequest {
        host,
        verdict,
        rule,
        device,
        group_name: group,
        endpoint_name: endpoint,
        source,
        destination,
        protocol,
        source_port: source_port.into(),
        destination_port: destination_port.into(),
        limits: Some(wire::CaptureLimits { packets, bytes, span_ms, snap_bytes }),
    }
}

fn host_findings(message: wire::HostDiagnosis) -> HostFindings {
    let wire::HostDiagnosis { host, findings, time_ns: _ } = message;
    HostFindings { host, findings: findings.into_iter().map(Into::into).collect() }
}

fn captured_packet(message: wire::CapturedPacket) -> CapturedPacket {
    let wire::CapturedPacket { time_ns, device, bytes, frame_bytes, allowed, reason, stage, rule, version } =
        message;
    let stage = u8::try_from(stage).ok().and_then(Stage::from_number);
    let stage = stage.map_or_else(|| "unknown".to_owned(), |stage| stage.to_string());
    CapturedPacket { time_ns, device, bytes, frame_bytes, allowed, reason, stage, rule, version }
}

fn activity(message: wire::Activity) -> Activity {
    let wire::Activity {
        host,
        time_ns,
        version,
        flows_live,
        flows_max,
        devices,
        workers,
        counters,
        rules,
        flows,
        active_report_s,
        sampling_rate,
    } = message;
    Activity {
        host,
        time_ns,
        version,
        flows_live,
        flows_max,
        devices: devices.into_iter().filter_map(device).collect(),
        workers: workers.into_iter().map(worker).collect(),
        counters: counters.into_iter().map(|wire::Counter { name, value }| (name, value)).collect(),
        rules: rules.into_iter().map(rule).collect(),
        flows: flows.into_iter().map(flow).collect(),
        active_report_s,
        sampling_rate,
    }
}

fn device(message: wire::DeviceActivity) -> Option<DeviceActivity> {
    let wire::DeviceActivity { report, receive_full } = message;
    let wire::DeviceReport {
        name,
        role,
        mode,
        up: _,
        received_packets,
        received_bytes,
        sent_packets,
        sent_bytes,
        dropped_packets,
    } = report?;
    Some(DeviceActivity {
        name,
        role,
        mode,
        received_packets,
        received_bytes,
        sent_packets,
        sent_bytes,
        dropped_packets,
        receive_full,
    })
}

fn worker(message: wire::WorkerActivity) -> WorkerActivity {
    let wire::WorkerActivity {
        number,
        busy_ns,
        waiting_ns,
        frames_total,
        frames_free,
        frames_at_devices,
        frames_held,
    } = message;
    WorkerActivity { number, busy_ns, waiting_ns, frames_total, frames_free, frames_at_devices, frames_held }
}

fn rule(message: wire::RuleCounter) -> RuleActivity {
    let wire::RuleCounter { rule, flows, packets, bytes } = message;
    RuleActivity { rule, summary: String::new(), flows, packets, bytes }
}

fn flow(message: wire::FlowActivity) -> FlowActivity {
    let wire::FlowActivity {
        source,
        destination,
        protocol,
        source_port,
        destination_port,
        packets,
        bytes,
        rate_bps,
        rule,
        ended,
    } = message;
    let protocol = u8::try_from(protocol).map(Protocol);
    let has_ports = protocol.is_ok_and(Protocol::has_ports);
    let side = |octets: Vec<u8>, port: u32| match (address(&octets), u16::try_from(port)) {
        (Some(address), Ok(port)) if has_ports => SocketAddr::new(address, port).to_string(),
        (Some(address), _) => address.to_string(),
        (None, _) => "?".to_owned(),
    };
    FlowActivity {
        source: side(source, source_port),
        destination: side(destination, destination_port),
        protocol: protocol.map_or_else(|_| "?".to_owned(), |protocol| protocol.to_string()),
        packets,
        bytes,
        rate_bps,
        rule,
        ended,
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}
