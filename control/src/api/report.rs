//! Reports of hosts, both ways, with their limits.

use super::fault::{exhausted, invalid};
use crate::report::{Counter, Device, Lease, RecordCounts, Report, RuleUse};
use meshgate_policy::limits::RULES_MAX;
use meshgate_proto::wire;
use std::net::IpAddr;
use tonic::Status;

/// Counters of a report.
const COUNTERS_MAX: usize = 1_024;
/// Devices of a report.
const DEVICES_MAX: usize = crate::distributor::DEVICES_MAX;
/// Leases of a report: as many as a host keeps.
const LEASES_MAX: usize = 16_384;
/// Bytes of a name or word of a report.
const WORD_BYTES_MAX: usize = 128;
/// Bytes of a digest.
const DIGEST_BYTES: usize = 32;

/// Returns the report of a message, or which field is too large.
pub(super) fn report(message: wire::HostReport) -> Result<Report, Status> {
    let wire::HostReport {
        version,
        digest,
        counters,
        devices,
        rules,
        flows_live,
        records_produced,
        records_delivered,
        records_waiting,
        records_sampled_out,
        records_lost,
        uptime_ns,
        leases,
    } = message;
    check_count("report.counters", counters.len(), COUNTERS_MAX)?;
    check_count("report.devices", devices.len(), DEVICES_MAX)?;
    check_count("report.rules", rules.len(), RULES_MAX)?;
    check_count("report.leases", leases.len(), LEASES_MAX)?;
    check_count("report.digest", digest.len(), DIGEST_BYTES)?;
    Ok(Report {
        version,
        digest,
        counters: counters.into_iter().map(counter).collect::<Result<_, _>>()?,
        devices: devices.into_iter().map(device).collect::<Result<_, _>>()?,
        rules: rules.into_iter().map(rule_use).collect(),
        flows_live,
        records: RecordCounts {
            produced: records_produced,
            delivered: records_delivered,
            waiting: records_waiting,
            sampled_out: records_sampled_out,
            lost: records_lost,
        },
        uptime_ns,
        leases: leases.into_iter().map(lease).collect::<Result<_, _>>()?,
    })
}

/// Returns the message of a report.
pub(super) fn report_message(report: Report) -> wire::HostReport {
    let Report { version, digest, counters, devices, rules, flows_live, records, uptime_ns, leases } = report;
    let RecordCounts { produced, delivered, waiting, sampled_out, lost } = records;
    wire::HostReport {
        version,
        digest,
        counters: counters.into_iter().map(|Counter { name, value }| wire::Counter { name, value }).collect(),
        devices: devices.into_iter().map(device_message).collect(),
        rules: rules.into_iter().map(rule_message).collect(),
        flows_live,
        records_produced: produced,
        records_delivered: delivered,
        records_waiting: waiting,
        records_sampled_out: sampled_out,
        records_lost: lost,
        uptime_ns,
        leases: leases.into_iter().map(lease_message).collect(),
    }
}

fn check_count(field: &str, count: usize, max: usize) -> Result<(), Status> {
    if count > max {
        Err(exhausted(format!("{field}: {count} entries, at most {max} are possible")))
    } else {
        Ok(())
    }
}

fn word(field: &str, text: String) -> Result<String, Status> {
    match text.len() {
        bytes if bytes > WORD_BYTES_MAX => {
            Err(invalid(field, format!("{bytes} bytes, at most {WORD_BYTES_MAX} are possible")))
        }
        _ => Ok(text),
    }
}

fn counter(message: wire::Counter) -> Result<Counter, Status> {
    let wire::Counter { name, value } = message;
    Ok(Counter { name: word("report.counters.name", name)?, value })
}

fn device(message: wire::DeviceReport) -> Result<Device, Status> {
    let wire::DeviceReport {
        name,
        role,
        mode,
        up,
        received_packets,
        received_bytes,
        sent_packets,
        sent_bytes,
        dropped_packets,
    } = message;
    Ok(Device {
        name: word("report.devices.name", name)?,
        role: word("report.devices.role", role)?,
        mode: word("report.devices.mode", mode)?,
        up,
        received_packets,
        received_bytes,
        sent_packets,
        sent_bytes,
        dropped_packets,
    })
}

fn device_message(device: Device) -> wire::DeviceReport {
    let Device {
        name,
        role,
        mode,
        up,
        received_packets,
        received_bytes,
        sent_packets,
        sent_bytes,
        dropped_packets,
    } = device;
    wire::DeviceReport {
        name,
        role,
        mode,
        up,
        received_packets,
        received_bytes,
        sent_packets,
        sent_bytes,
        dropped_packets,
    }
}

fn lease(message: wire::LeaseReport) -> Result<Lease, Status> {
    let wire::LeaseReport { endpoint, address, seconds_left } = message;
    let of = |bytes: &[u8]| {
        let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
    };
    let address = of(&address)
        .map_err(|_| invalid("report.leases.address", format!("{} bytes, not 4 or 16", address.len())))?;
    Ok(Lease { endpoint, address, seconds_left })
}

fn lease_message(lease: Lease) -> wire::LeaseReport {
    let Lease { endpoint, address, seconds_left } = lease;
    let address = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    wire::LeaseReport { endpoint, address, seconds_left }
}

fn rule_use(message: wire::RuleCounter) -> RuleUse {
    let wire::RuleCounter { rule, flows, packets, bytes } = message;
    RuleUse { rule, flows, packets, bytes }
}

fn rule_message(rule: RuleUse) -> wire::RuleCounter {
    let RuleUse { rule, flows, packets, bytes } = rule;
    wire::RuleCounter { rule, flows, packets, bytes }
}
