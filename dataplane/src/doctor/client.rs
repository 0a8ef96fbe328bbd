//! Asks control what the dataplane of this host reports of itself.

use super::running::{DeviceRunning, Running};
use crate::config::Config;
use crate::subscriber::{SessionError, connect};
use meshgate_policy::Finding;
use meshgate_proto::{MESSAGE_BYTES_MAX, wire};
use std::time::Duration;
use wire::distribution_service_client::DistributionServiceClient;

/// Time for control's answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Returns what the dataplane of this host says of itself, if control has heard from it, and what is to be said of control.
pub(super) fn running(config: &Config) -> (Option<Running>, Finding) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return (None, Finding::hint("control", error.to_string(), "raise the limits of this process"));
        }
    };
    let asked = runtime.block_on(async {
        tokio::time::timeout(ANSWER_WAIT, ask(config)).await.unwrap_or_else(|_| Err(SessionError::Ended))
    });
    let entry = match asked {
        Ok(entry) => entry,
        Err(error) => {
            let text = format!("control at {} does not answer: {error}", config.control);
            let cure = "the last accepted policy stays in force; start meshgate-control or correct control =";
            return (None, Finding::problem("control", text, cure));
        }
    };
    match entry {
        Some(entry) if entry.connected => {
            let text = format!(
                "control at {} knows this host, which enforces version {}",
                config.control, entry.version
            );
            (entry.report.map(taken), Finding::ok("control", text))
        }
        _ => {
            let text = format!("control at {} has no connection from host {}", config.control, config.host);
            (None, Finding::hint("control", text, "start meshgate-dataplane, or correct host ="))
        }
    }
}

async fn ask(config: &Config) -> Result<Option<wire::HostEntry>, SessionError> {
    let channel = connect(&config.control).await?;
    let mut client = DistributionServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let answer = client.list_hosts(wire::ListHostsRequest {}).await;
    let hosts = answer.map_err(|status| SessionError::Status(Box::new(status)))?.into_inner().hosts;
    Ok(hosts.into_iter().find(|entry| entry.host == config.host.as_str()))
}

fn taken(report: wire::HostReport) -> Running {
    let device = |device: wire::DeviceReport| DeviceRunning {
        name: device.name,
        mode: device.mode,
        is_absent: !device.up,
        received: device.received_packets,
        // The report adds these to the drops; what they are together is told below.
        receive_full: 0,
        drops: Vec::new(),
    };
    let is_drop = |counter: &&wire::Counter| counter.name.starts_with("drop.");
    let dropped: u64 = report.counters.iter().filter(is_drop).map(|counter| counter.value).sum();
    let gone: u64 = report.devices.iter().map(|device| device.dropped_packets).sum();
    Running {
        receive_full: gone.saturating_sub(dropped),
        devices: report.devices.into_iter().map(device).collect(),
        counters: report.counters.into_iter().map(|wire::Counter { name, value }| (name, value)).collect(),
        flows_live: report.flows_live,
        records: (report.records_lost, report.records_produced),
        advice: Vec::new(),
        uptime_s: report.uptime_ns / 1_000_000_000,
        waiting_percent: None,
    }
}
