//! Messages of `DiagnosticsService`, taken apart and put together.

use super::fault::invalid;
use crate::wanted_packets::{WantedAddresses, WantedPackets};
use meshgate_policy::limits::DEVICE_NAME_BYTES_MAX;
use meshgate_policy::{Name, Policy, Prefix, Protocol, ProtocolMatch};
use meshgate_proto::{protocol_from_wire, wire};
use std::fmt::Write;
use tonic::Status;

/// Bytes of the longest name of a verdict; the longest reason has some twenty.
const VERDICT_BYTES_MAX: usize = 64;

/// Returns the name of a host.
pub(super) fn host_name(field: &str, text: &str) -> Result<Name, Status> {
    Name::new(text).map_err(|error| invalid(field, error))
}

/// Returns what a host is asked for a capture: names become addresses.
pub(super) fn capture_question(
    request: wire::CaptureRequest,
    policy: &Policy,
) -> Result<wire::CaptureQuestion, Status> {
    let wire::CaptureRequest {
        host: _,
        verdict,
        rule,
        device,
        group_name,
        endpoint_name,
        source,
        destination,
        protocol,
        source_port,
        destination_port,
        limits,
    } = request;
    short("verdict", &verdict, VERDICT_BYTES_MAX)?;
    short("device", &device, DEVICE_NAME_BYTES_MAX)?;
    if rule == Some(0) {
        return Err(invalid("rule", "0 is not a number that control gives"));
    }
    let wanted = WantedPackets { group: group_name, endpoint: endpoint_name, source, destination };
    let found = wanted.resolve(policy).map_err(|fault| Status::invalid_argument(fault.to_string()))?;
    let WantedAddresses { either, source, destination } = found;
    let protocol = match protocol.as_str() {
        "" => None,
        text => match protocol_from_wire(text).map_err(|error| invalid("protocol", error))? {
            ProtocolMatch::Is(protocol) => Some(protocol),
            ProtocolMatch::Any => None,
        },
    };
    for (field, port) in [("source_port", source_port), ("destination_port", destination_port)] {
        if port > u16::MAX.into() {
            return Err(invalid(field, format!("{port} is above {}", u16::MAX)));
        }
        if port != 0 && !protocol.is_some_and(Protocol::has_ports) {
            return Err(invalid(field, "needs a protocol with ports: TCP, UDP or SCTP"));
        }
    }
    Ok(wire::CaptureQuestion {
        verdict,
        rule,
        device,
        either: either.into_iter().map(prefix_list).collect(),
        source: source.map(prefix_list),
        destination: destination.map(prefix_list),
        protocol: protocol.map(|protocol| protocol.0.into()),
        source_port,
        destination_port,
        limits: Some(limits.ok_or_else(|| invalid("limits", "are missing"))?),
    })
}

fn prefix_list(prefixes: Vec<Prefix>) -> wire::PrefixList {
    wire::PrefixList { prefixes: prefixes.into_iter().map(Into::into).collect() }
}

fn short(field: &str, text: &str, bytes_max: usize) -> Result<(), Status> {
    match text.len() {
        bytes if bytes > bytes_max => {
            Err(invalid(field, format!("{bytes} bytes, at most {bytes_max} are possible")))
        }
        _ => Ok(()),
    }
}

/// Returns what a capture is of, for the audit trail.
pub(super) fn capture_in_words(host: &Name, request: &wire::CaptureRequest) -> String {
    let wire::CaptureRequest {
        host: _,
        verdict,
        rule,
        device,
        group_name,
        endpoint_name,
        source,
        destination,
        protocol,
        source_port,
        destination_port,
        limits,
    } = request;
    let number = |number: u32| if number == 0 { String::new() } else { number.to_string() };
    let fields = [
        ("verdict", verdict.clone()),
        ("rule", rule.map_or_else(String::new, number)),
        ("device", device.clone()),
        ("group", group_name.clone()),
        ("endpoint", endpoint_name.clone()),
        ("source", source.clone()),
        ("destination", destination.clone()),
        ("protocol", protocol.clone()),
        ("source-port", number(*source_port)),
        ("destination-port", number(*destination_port)),
    ];
    let mut words = format!("host {host}");
    for (field, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        _ = write!(words, " {field}={value}");
    }
    if let Some(wire::CaptureLimits { packets, bytes, span_ms, snap_bytes }) = limits {
        let limits =
            format!("; at most {packets} packets, {bytes} bytes, {span_ms} ms, {snap_bytes} a packet");
        words.push_str(&limits);
    }
    words
}
