//! The hosts as text: one table of all, and tables of counters for each.

use crate::answers::{DeviceReport, Host, HostReport, Hosts, RuleCounter};
use crate::enforcement::{behind, dataplanes};
use crate::table::{numbers, or_dash, plural, printable, table, words};
use crate::units::{bytes, count, latency, span};

/// How the names of counters of dropped packets begin.
const DROP_PREFIX: &str = "drop.";

/// Returns the head line and the table of hosts.
pub fn status_text(hosts: &Hosts, now_ns: u64) -> String {
    let newest = format!("version {} is the newest (digest {})", hosts.version, hosts.digest.short());
    if hosts.hosts.is_empty() {
        return format!(
            "{newest}\nno host has connected yet; start a meshgate-dataplane that names this server\n"
        );
    }
    let enforced = match (dataplanes(hosts).count(), behind(hosts, hosts.version).count()) {
        (0, _) => "no dataplane is connected".to_owned(),
        (all, 0) => format!("enforced by all of {}", plural(all, "connected dataplane")),
        (all, behind) => format!("enforced by {} of {}", all - behind, plural(all, "connected dataplane")),
    };
    let columns = [
        words("HOST"),
        words("ROLE"),
        words("STATE"),
        words("ENFORCES"),
        words("DIGEST"),
        numbers("COMMIT-TO-ACK"),
        numbers("FLOWS"),
        numbers("ALLOWED"),
        numbers("DROPPED"),
    ];
    let rows = hosts.hosts.iter().map(|host| row(host, hosts.version, now_ns)).collect();
    let refusals: String = hosts.hosts.iter().filter_map(refusal).collect();
    format!("{newest}; {enforced}\n\n{}{refusals}", table(&columns, rows))
}

fn row(host: &Host, newest: u64, now_ns: u64) -> Vec<String> {
    let state = if host.connected {
        "connected".to_owned()
    } else {
        format!("gone {}", span(now_ns.saturating_sub(host.last_seen_ns)))
    };
    let enforces = match host.version {
        0 => "none".to_owned(),
        version if version < newest => format!("{version} ({} behind)", newest - version),
        version => version.to_string(),
    };
    let ack = if host.commit_to_ack_ns == 0 { "-".to_owned() } else { latency(host.commit_to_ack_ns) };
    let counted = |value: fn(&HostReport) -> u64| {
        host.report.as_ref().map_or_else(|| "-".to_owned(), |report| count(value(report)))
    };
    vec![
        host.host.clone(),
        or_dash(&host.role),
        state,
        enforces,
        host.digest.short(),
        ack,
        counted(|report| report.flows_live),
        counted(|report| report.counters.get("allowed").copied().unwrap_or(0)),
        counted(dropped),
    ]
}

fn dropped(report: &HostReport) -> u64 {
    let drops = report.counters.iter().filter(|(name, _)| name.starts_with(DROP_PREFIX));
    drops.fold(0, |sum, (_, value)| sum.saturating_add(*value))
}

fn refusal(host: &Host) -> Option<String> {
    let Host { host: name, nack_reason, nack_version, .. } = host;
    let line = || printable(format!("{name} refused version {nack_version}: {nack_reason}"));
    (!nack_reason.is_empty()).then(|| format!("{}\n", line()))
}

/// Returns what every host that reported has counted.
pub fn counters_text(hosts: &Hosts) -> String {
    hosts.hosts.iter().map(host_text).collect()
}

fn host_text(host: &Host) -> String {
    let name = printable(host.host.clone());
    let Some(report) = &host.report else { return format!("\n{name}: no report yet\n") };
    let records = &report.records;
    let head = format!(
        "\n{name}: up {}; flow records: {} produced = {} delivered + {} waiting + {} sampled out + {} lost\n",
        span(report.uptime_ns),
        count(records.produced),
        count(records.delivered),
        count(records.waiting),
        count(records.sampled_out),
        count(records.lost)
    );
    format!("{head}\n{}{}{}", packets_text(report), rules_text(&report.rules), devices_text(&report.devices))
}

fn packets_text(report: &HostReport) -> String {
    let counted = || report.counters.iter().filter(|(_, value)| **value > 0);
    if counted().next().is_none() {
        return "no packets yet\n\n".to_owned();
    }
    let rows = counted().map(|(name, value)| vec![name.clone(), count(*value)]).collect();
    table(&[words("PACKETS"), numbers("COUNT")], rows) + "\n"
}

fn rules_text(rules: &[RuleCounter]) -> String {
    if rules.is_empty() {
        return "no rule has decided a flow yet\n\n".to_owned();
    }
    let row = |RuleCounter { rule, flows, packets, bytes: size }: &RuleCounter| {
        vec![rule.to_string(), count(*flows), count(*packets), bytes(*size)]
    };
    let columns = [numbers("RULE"), numbers("FLOWS"), numbers("PACKETS"), numbers("BYTES")];
    table(&columns, rules.iter().map(row).collect()) + "\n"
}

fn devices_text(devices: &[DeviceReport]) -> String {
    if devices.is_empty() {
        return "no devices\n".to_owned();
    }
    let row = |device: &DeviceReport| {
        vec![
            device.name.clone(),
            device.role.clone(),
            device.mode.clone(),
            if device.up { "up" } else { "down" }.to_owned(),
            format!("{} / {}", count(device.received_packets), bytes(device.received_bytes)),
            format!("{} / {}", count(device.sent_packets), bytes(device.sent_bytes)),
            count(device.dropped_packets),
        ]
    };
    let columns = [
        words("DEVICE"),
        words("ROLE"),
        words("MODE"),
        words("STATE"),
        numbers("RECEIVED"),
        numbers("SENT"),
        numbers("DROPPED"),
    ];
    table(&columns, devices.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::{Digest, RecordCounts};
    use std::collections::BTreeMap;

    fn hosts() -> Hosts {
        let counters =
            [("allowed", 1_234), ("drop.rule-deny", 5), ("drop.default-deny", 2), ("drop.hairpin", 0)];
        let report = HostReport {
            version: 7,
            counters: counters
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
            devices: vec![DeviceReport {
                name: "tap0".into(),
                role: "endpoint".into(),
                mode: "af_xdp native copy".into(),
                up: true,
                received_packets: 1_241,
                received_bytes: 150_000,
                ..DeviceReport::default()
            }],
            rules: vec![RuleCounter { rule: 3, flows: 2, packets: 40, bytes: 4_096 }],
            flows_live: 2,
            records: RecordCounts { produced: 9, delivered: 8, waiting: 1, ..RecordCounts::default() },
            uptime_ns: 7_200_000_000_000,
        };
        let good = Host {
            host: "h1".into(),
            role: "dataplane".into(),
            connected: true,
            version: 7,
            digest: Digest(vec![0xab; 32]),
            commit_to_ack_ns: 12_400_000,
            report: Some(report),
            ..Host::default()
        };
        let behind = Host {
            host: "h2".into(),
            version: 5,
            commit_to_ack_ns: 0,
            nack_reason: "too many rules".into(),
            nack_version: 7,
            report: None,
            ..good.clone()
        };
        let gone = Host {
            host: "old".into(),
            role: "observer".into(),
            connected: false,
            version: 0,
            ..behind.clone()
        };
        let gone = Host { nack_reason: String::new(), digest: Digest::default(), ..gone };
        Hosts { version: 7, digest: Digest(vec![0xab; 32]), hosts: vec![good, behind, gone] }
    }

    #[test]
    fn the_table_shows_who_is_behind_and_why() {
        let expected = "\
version 7 is the newest (digest abababab); enforced by 1 of 2 connected dataplanes

HOST  ROLE       STATE      ENFORCES      DIGEST    COMMIT-TO-ACK  FLOWS  ALLOWED  DROPPED
h1    dataplane  connected  7             abababab        12.4 ms      2    1,234        7
h2    dataplane  connected  5 (2 behind)  abababab              -      -        -        -
old   observer   gone 90s   none          -                     -      -        -        -
h2 refused version 7: too many rules
";
        assert_eq!(status_text(&hosts(), 90_000_000_000), expected);
    }

    #[test]
    fn counters_are_shown_host_by_host() {
        let expected = "
h1: up 2h; flow records: 9 produced = 8 delivered + 1 waiting + 0 sampled out + 0 lost

PACKETS            COUNT
allowed            1,234
drop.default-deny      2
drop.rule-deny         5

RULE  FLOWS  PACKETS    BYTES
   3      2       40  4.0 KiB

DEVICE  ROLE      MODE                STATE           RECEIVED     SENT  DROPPED
tap0    endpoint  af_xdp native copy  up     1,241 / 146.4 KiB  0 / 0 B        0

h2: no report yet

old: no report yet
";
        assert_eq!(counters_text(&hosts()), expected);
    }

    #[test]
    fn without_hosts_it_says_what_to_do() {
        let shown = status_text(&Hosts::default(), 0);
        assert!(shown.contains("no host has connected yet; start a meshgate-dataplane"), "{shown}");
    }
}
