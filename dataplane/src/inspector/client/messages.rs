//! Questions taken apart, and answers put together.

use crate::capture::{AddressRanges, CaptureCounts, CaptureFilter, CapturedPacket, Limits, WantedVerdict};
use crate::doctor::diagnose;
use crate::inside::{Inside, worker_times};
use crate::top_flows::TopFlow;
use crate::verdict::Verdict;
use meshgate_policy::{Prefix, RuleId};
use meshgate_proto::wire;
use std::cmp::Reverse;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Rules and flows of one answer.
const OBSERVED_MAX: usize = 1_000;

/// Returns which packets a capture wants and where it ends, or what is wrong with the question, in one line.
pub(super) fn filter(
    question: wire::CaptureQuestion,
    inside: &Inside,
) -> Result<(CaptureFilter, Limits), String> {
    let wire::CaptureQuestion {
        verdict,
        rule,
        device,
        either,
        source,
        destination,
        protocol,
        source_port,
        destination_port,
        limits,
    } = question;
    let wire::CaptureLimits { packets, bytes, span_ms, snap_bytes } = limits.ok_or("limits: are missing")?;
    let limits = Limits::new(packets, bytes, span_ms, snap_bytes).map_err(|fault| fault.to_string())?;
    let port =
        |field, port| u16::try_from(port).map_err(|_| format!("{field}: {port} is above {}", u16::MAX));
    let protocol = protocol.map(u8::try_from).transpose();
    let filter = CaptureFilter {
        verdict: WantedVerdict::from_word(&verdict).map_err(|error| error.to_string())?,
        rule: rule.map(RuleId),
        device: device_number(&device, inside)?,
        either: either.into_iter().map(ranges).collect::<Result<_, _>>()?,
        source: source.map(ranges).transpose()?,
        destination: destination.map(ranges).transpose()?,
        protocol: protocol.map_err(|_| "protocol: is above 255".to_owned())?,
        ports: (port("source_port", source_port)?, port("destination_port", destination_port)?),
    };
    Ok((filter, limits))
}

fn device_number(name: &str, inside: &Inside) -> Result<Option<u16>, String> {
    if name.is_empty() {
        return Ok(None);
    }
    let devices = inside.reporter.devices.read();
    let found = devices.iter().find(|(_, device)| device.name == name);
    let number = found.and_then(|(number, _)| u16::try_from(*number).ok());
    let known = || devices.iter().map(|(_, device)| device.name.as_str()).collect::<Vec<_>>().join(", ");
    number.map(Some).ok_or_else(|| format!("device: there is no {name}; there are {}", known()))
}

fn ranges(list: wire::PrefixList) -> Result<AddressRanges, String> {
    let prefixes: Result<Vec<Prefix>, _> = list.prefixes.into_iter().map(Prefix::try_from).collect();
    Ok(AddressRanges::new(&prefixes.map_err(|fault| fault.to_string())?))
}

/// Returns what precedes the packets of a capture.
pub(super) fn capture_start(inside: &Inside, limits: Limits) -> wire::CapturePart {
    let device = |(number, device): (usize, crate::reporter::DeviceFacts)| wire::CaptureDevice {
        name: device.name,
        role: device.role,
        number: u32::try_from(number).unwrap_or(u32::MAX),
    };
    let start = wire::CaptureStart {
        host: inside.config.host.to_string(),
        devices: inside.reporter.devices.read().into_iter().map(device).collect(),
        snap_bytes: limits.snap_bytes,
    };
    wire::CapturePart { part: Some(wire::capture_part::Part::Start(start)) }
}

/// Returns the message of a packet.
pub(super) fn captured_packet(packet: &CapturedPacket) -> wire::CapturedPacket {
    let CapturedPacket { time_ns, device, frame_bytes, verdict, bytes } = packet;
    let grounds = verdict.grounds();
    let reason = match verdict {
        Verdict::Allow(_) => "",
        Verdict::Drop(reason, _) => reason.name(),
    };
    wire::CapturedPacket {
        time_ns: *time_ns,
        device: u32::from(*device),
        bytes: bytes.clone(),
        frame_bytes: u32::try_from(*frame_bytes).unwrap_or(u32::MAX),
        allowed: verdict.is_allow(),
        reason: reason.to_owned(),
        stage: grounds.stage as u32,
        rule: grounds.rule.map_or(0, |rule| rule.0),
        version: grounds.version.0,
    }
}

/// Returns the message of what a capture counted of the device of a number; none where it wanted nothing.
pub(super) fn counts((counts, device): (CaptureCounts, u32)) -> Option<wire::CaptureCounts> {
    let CaptureCounts { matched, lost } = counts;
    (matched > 0).then_some(wire::CaptureCounts { matched, lost, device })
}

/// Returns the findings about this host.
pub(super) fn diagnosis(inside: &Inside) -> wire::HostDiagnosis {
    let findings = diagnose(&inside.config, Some(&inside.running()));
    wire::HostDiagnosis {
        host: inside.config.host.to_string(),
        findings: findings.into_iter().map(Into::into).collect(),
        time_ns: now_ns(),
    }
}

/// Returns what is counted at this moment.
pub(super) fn activity(inside: &Inside, limit: u32) -> wire::Activity {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(OBSERVED_MAX);
    let (version, _) = inside.rules.in_force();
    let devices = inside.reporter.device_reports().into_iter().map(|(at, report)| {
        let receive_full = inside.device_sum(at, |device| &device.receive_full);
        wire::DeviceActivity { report: Some(report), receive_full }
    });
    let counters = inside.reporter.counters().into_iter().filter(|(_, value)| *value > 0);
    let mut rules = inside.rules.rule_totals();
    rules.retain(|(_, totals)| totals.packets > 0);
    rules.sort_unstable_by_key(|(rule, totals)| (Reverse(totals.packets), *rule));
    rules.truncate(limit);
    let rule = |(rule, totals): (RuleId, crate::published::RuleTotals)| {
        let crate::published::RuleTotals { flows, packets, bytes } = totals;
        wire::RuleCounter { rule: rule.0, flows, packets, bytes }
    };
    wire::Activity {
        host: inside.config.host.to_string(),
        time_ns: u64::try_from(inside.reporter.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
        version: version.0,
        flows_live: inside.reporter.workers.iter().map(|worker| worker.flows_live.get()).sum(),
        flows_max: inside.config.flows_max.into(),
        devices: devices.collect(),
        workers: workers(inside),
        counters: counters.map(|(name, value)| wire::Counter { name, value }).collect(),
        rules: rules.into_iter().map(rule).collect(),
        flows: inside.top_flows.largest(limit, now_ns()).into_iter().map(flow).collect(),
        active_report_s: inside.config.active_report_s,
        sampling_rate: inside.config.sampling_rate.into(),
    }
}

fn workers(inside: &Inside) -> Vec<wire::WorkerActivity> {
    let times = worker_times();
    let worker = |(number, counters): (u32, &std::sync::Arc<crate::counters::WorkerCounters>)| {
        let time = times.iter().find(|time| time.number == number).copied().unwrap_or_default();
        wire::WorkerActivity {
            number,
            busy_ns: time.busy_ns,
            waiting_ns: time.waiting_ns,
            frames_total: counters.frames_total.get(),
            frames_free: counters.frames_free.get(),
            frames_at_devices: counters.frames_at_devices.get(),
            frames_held: counters.frames_held.get() + counters.frames_crossing.get(),
        }
    };
    (0u32..).zip(&inside.reporter.workers).map(worker).collect()
}

fn flow(flow: TopFlow) -> wire::FlowActivity {
    let TopFlow {
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
        last_ns: _,
    } = flow;
    wire::FlowActivity {
        source: octets(source),
        destination: octets(destination),
        protocol: protocol.into(),
        source_port: source_port.into(),
        destination_port: destination_port.into(),
        packets,
        bytes,
        rate_bps,
        rule,
        ended,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn now_ns() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}
