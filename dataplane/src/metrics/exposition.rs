//! The text format (Prometheus exposition format 0.0.4): families of samples, each with help and type.

use crate::counters::{Count, DeviceCounters};
use crate::exporter::RecordBalance;
use crate::inside::{Inside, worker_times};
use crate::published::RuleTotals;
use crate::verdict::DropReason;
use meshgate_policy::RuleId;
use std::cmp::Reverse;
use std::fmt::{Display, Write};

/// Rules of one scrape, those with the most packets: each is three lines, and a policy may have 50,000.
const RULES_MAX: usize = 1_000;
/// Counters that have a family of their own, or that are gauges; the others are events.
const OWN_FAMILIES: [&str; 3] = ["allowed", "flows.live", "flows.refused"];

/// Text under construction.
#[derive(Default)]
struct Page(String);

/// A family that samples are added to.
struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
}

/// Returns all metrics as of this moment.
pub fn exposition(inside: &Inside) -> String {
    let mut page = Page::default();
    general(&mut page, inside);
    devices(&mut page, inside);
    drops(&mut page, inside);
    workers(&mut page, inside);
    flows(&mut page, inside);
    rules(&mut page, inside.rules.rule_totals());
    page.0
}

fn general(page: &mut Page, inside: &Inside) {
    let (version, _) = inside.rules.in_force();
    let connected = inside.reporter.connected.load(std::sync::atomic::Ordering::Relaxed);
    let counters = inside.reporter.counters();
    page.gauge("meshgate_uptime_seconds", "Time since the start.")
        .add(&[], inside.reporter.started.elapsed().as_secs());
    page.gauge("meshgate_policy_version", "Version of the policy that is enforced.").add(&[], version);
    page.gauge("meshgate_control_connected", "Whether control is connected.").add(&[], u8::from(connected));
    let allowed = counters.get("allowed").copied().unwrap_or(0);
    page.counter("meshgate_allowed_packets_total", "Packets that passed.").add(&[], allowed);
    let mut events = page.counter("meshgate_events_total", "Everything else that is counted, by name.");
    for (name, value) in &counters {
        let is_event = !OWN_FAMILIES.contains(&name.as_str())
            && !["drop.", "frames."].iter().any(|prefix| name.starts_with(prefix));
        if is_event {
            events.add(&[("event", name)], value);
        }
    }
}

fn devices(page: &mut Page, inside: &Inside) {
    type Read = fn(&DeviceCounters) -> &Count;
    let families: [(&str, &str, Read); 7] = [
        ("meshgate_device_received_packets_total", "Frames received.", |d| &d.received_packets),
        ("meshgate_device_received_bytes_total", "Bytes received.", |d| &d.received_bytes),
        ("meshgate_device_sent_packets_total", "Frames sent.", |d| &d.sent_packets),
        ("meshgate_device_sent_bytes_total", "Bytes sent.", |d| &d.sent_bytes),
        ("meshgate_device_receive_full_total", "Frames that found no room at the device.", |d| {
            &d.receive_full
        }),
        ("meshgate_device_invalid_total", "Descriptors that the kernel refused.", |d| &d.invalid),
        ("meshgate_device_oversize_packets_total", "Frames longer than the MTU allows.", |d| {
            &d.oversize_packets
        }),
    ];
    let known = inside.reporter.devices.read();
    for (name, help, read) in families {
        let mut family = page.counter(name, help);
        for (at, facts) in &known {
            family.add(&[("device", &facts.name), ("role", &facts.role)], inside.device_sum(*at, read));
        }
    }
}

fn drops(page: &mut Page, inside: &Inside) {
    let mut family =
        page.counter("meshgate_dropped_packets_total", "Packets dropped, by reason and receiving device.");
    for (at, facts) in inside.reporter.devices.read() {
        for reason in DropReason::ALL {
            // Those that never happened are left out: devices times reasons are thousands.
            let dropped = inside.dropped(at, *reason);
            if dropped > 0 {
                let stage = reason.stage();
                family.add(&[("reason", reason), ("device", &facts.name), ("stage", &stage)], dropped);
            }
        }
    }
}

fn workers(page: &mut Page, inside: &Inside) {
    let mut frames = page.gauge("meshgate_frames", "Frames of packet memory, by worker and place.");
    for (number, worker) in inside.reporter.workers.iter().enumerate() {
        let places = [
            ("free", &worker.frames_free),
            ("at-devices", &worker.frames_at_devices),
            ("held", &worker.frames_held),
            ("crossing", &worker.frames_crossing),
            ("stranded", &worker.frames_stranded),
        ];
        for (place, count) in places {
            frames.add(&[("worker", &number), ("place", &place)], count.get());
        }
    }
    let mut owned = page.gauge("meshgate_frames_owned", "Frames of a worker's slice of packet memory.");
    for (number, worker) in inside.reporter.workers.iter().enumerate() {
        owned.add(&[("worker", &number)], worker.frames_total.get());
    }
    let times = worker_times();
    let seconds = |ns: u64| format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
    let mut busy = page.counter("meshgate_worker_busy_seconds_total", "Time of a worker on a processor.");
    times.iter().for_each(|time| busy.add(&[("worker", &time.number)], seconds(time.busy_ns)));
    let mut waiting =
        page.counter("meshgate_worker_waiting_seconds_total", "Time of a worker waiting for a processor.");
    times.iter().for_each(|time| waiting.add(&[("worker", &time.number)], seconds(time.waiting_ns)));
}

fn flows(page: &mut Page, inside: &Inside) {
    let sum = |of: fn(&crate::counters::WorkerCounters) -> &Count| -> u64 {
        inside.reporter.workers.iter().map(|worker| of(worker).get()).sum()
    };
    let mut flows = page.gauge("meshgate_flows", "Flows in the table.");
    flows.add(&[("state", &"live")], sum(|worker| &worker.flows_live));
    flows.add(&[("state", &"refused")], sum(|worker| &worker.flows_refused));
    page.gauge("meshgate_flows_max", "Flows that fit.").add(&[], inside.config.flows_max);
    let RecordBalance { produced, delivered, waiting, sampled_out, lost } = inside.reporter.balance();
    page.counter("meshgate_flow_records_produced_total", "Flow records made.").add(&[], produced);
    let mut fates = page.counter("meshgate_flow_records_total", "What became of flow records.");
    for (fate, count) in [("delivered", delivered), ("sampled-out", sampled_out), ("lost", lost)] {
        fates.add(&[("fate", &fate)], count);
    }
    page.gauge("meshgate_flow_records_waiting", "Flow records in rings.").add(&[], waiting);
}

fn rules(page: &mut Page, mut totals: Vec<(RuleId, RuleTotals)>) {
    totals.sort_unstable_by_key(|(rule, totals)| (Reverse(totals.packets), *rule));
    totals.truncate(RULES_MAX);
    totals.sort_unstable_by_key(|(rule, _)| *rule);
    type Read = fn(&RuleTotals) -> u64;
    let families: [(&str, &str, Read); 3] = [
        ("meshgate_rule_flows_total", "Flows that a rule decided.", |totals| totals.flows),
        ("meshgate_rule_packets_total", "Packets that a rule decided.", |totals| totals.packets),
        ("meshgate_rule_bytes_total", "Bytes that a rule decided.", |totals| totals.bytes),
    ];
    for (name, help, read) in families {
        let mut family = page.counter(name, help);
        totals.iter().for_each(|(rule, totals)| family.add(&[("rule", rule)], read(totals)));
    }
}

impl Page {
    fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, help, "counter")
    }

    fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, help, "gauge")
    }

    fn family(&mut self, name: &'static str, help: &str, kind: &str) -> Family<'_> {
        // Writing to a text cannot fail.
        _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { page: self, name }
    }
}

impl Family<'_> {
    fn add(&mut self, labels: &[(&str, &dyn Display)], value: impl Display) {
        let text = &mut self.page.0;
        text.push_str(self.name);
        for (at, (label, content)) in labels.iter().enumerate() {
            _ = write!(
                text,
                "{}{label}=\"{}\"",
                if at == 0 { '{' } else { ',' },
                escaped(&content.to_string())
            );
        }
        _ = writeln!(text, "{}{value}", if labels.is_empty() { " " } else { "} " });
    }
}

/// Returns the content of a label as it is written between quotes.
fn escaped(content: &str) -> String {
    content.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_samples_stand_below_their_type() {
        let mut page = Page::default();
        page.counter("x_total", "An x.").add(&[("a", &"q\"\\\n"), ("b", &7)], 3);
        page.gauge("y", "A y.").add(&[], 1);
        let expected = "\
# HELP x_total An x.
# TYPE x_total counter
x_total{a=\"q\\\"\\\\\\n\",b=\"7\"} 3
# HELP y A y.
# TYPE y gauge
y 1
";
        assert_eq!(page.0, expected);
    }

    #[test]
    fn of_many_rules_those_with_the_most_packets_are_shown() {
        let totals =
            (1..=5_000).map(|id| (RuleId(id), RuleTotals { packets: id.into(), ..Default::default() }));
        let mut page = Page::default();
        rules(&mut page, totals.collect());
        assert_eq!(page.0.lines().count(), 3 * (2 + RULES_MAX));
        assert!(page.0.contains("meshgate_rule_packets_total{rule=\"5000\"} 5000\n"));
        assert!(!page.0.contains("rule=\"4000\""));
    }
}
