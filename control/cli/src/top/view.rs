//! What happened between two looks.

use crate::inside_answers::{Activity, DeviceActivity, FlowActivity, RuleActivity, WorkerActivity};
use serde::Serialize;
use std::cmp::Reverse;

/// How the names of counters of dropped packets begin.
const DROP_PREFIX: &str = "drop.";

/// Two looks compared. Every rate is per second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// Time between the looks.
    pub span_ns: u64,
    /// Packets that passed.
    pub allowed_rate: u64,
    /// Packets that were dropped.
    pub dropped_rate: u64,
    /// Rates of the devices, in their order.
    pub devices: Vec<DeviceRates>,
    /// Shares of the workers' time, in their order.
    pub workers: Vec<WorkerShares>,
    /// Reasons, the most frequent first.
    pub drops: Vec<DropRate>,
    /// Rules, the busiest first.
    pub rules: Vec<RuleRates>,
    /// The later look.
    pub activity: Activity,
}

/// What a device moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceRates {
    /// Frames received.
    pub received_packets: u64,
    /// Bits received.
    pub received_bits: u64,
    /// Frames sent.
    pub sent_packets: u64,
    /// Bits sent.
    pub sent_bits: u64,
    /// Frames dropped.
    pub dropped_packets: u64,
}

/// Where a worker's time went, in percent; none if the host does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkerShares {
    /// On a processor.
    pub busy_percent: Option<u64>,
    /// Waiting for one.
    pub waiting_percent: Option<u64>,
}

/// A reason for which packets are dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DropRate {
    /// The reason.
    pub reason: String,
    /// Packets since the host's start.
    pub total: u64,
    /// Packets.
    pub rate: u64,
}

/// What a rule decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleRates {
    /// The rule.
    pub rule: RuleActivity,
    /// Packets.
    pub packets: u64,
    /// Bits.
    pub bits: u64,
}

impl View {
    /// Compares two looks at one host. After a restart in between, counts begin again, and so do rates.
    pub fn between(before: &Activity, after: Activity) -> Self {
        let is_same_run = before.time_ns < after.time_ns;
        let nothing = Activity::default();
        let before = if is_same_run { before } else { &nothing };
        let span_ns = after.time_ns - before.time_ns;
        let per_second = |later: u64, earlier: u64| rate(later.saturating_sub(earlier), span_ns);
        let counted = |activity: &Activity, name: &str| activity.counters.get(name).copied().unwrap_or(0);
        let mut drops: Vec<DropRate> = after
            .counters
            .iter()
            .filter_map(|(name, total)| {
                let reason = name.strip_prefix(DROP_PREFIX)?.to_owned();
                Some(DropRate { reason, total: *total, rate: per_second(*total, counted(before, name)) })
            })
            .collect();
        drops.sort_by(|a, b| {
            (Reverse((a.rate, a.total)), &a.reason).cmp(&(Reverse((b.rate, b.total)), &b.reason))
        });
        let rule = |later: &RuleActivity| {
            let found = before.rules.iter().find(|rule| rule.rule == later.rule);
            // A rule that comes in from below the limit shows no rate at first, instead of one since its start.
            let earlier =
                if is_same_run { found.unwrap_or(later) } else { return first_sight(later, span_ns) };
            RuleRates {
                packets: per_second(later.packets, earlier.packets),
                bits: per_second(later.bytes, earlier.bytes).saturating_mul(8),
                rule: later.clone(),
            }
        };
        let mut rules: Vec<RuleRates> = after.rules.iter().map(rule).collect();
        rules.sort_by_key(|rule| (Reverse((rule.packets, rule.rule.packets)), rule.rule.rule));
        Self {
            span_ns,
            allowed_rate: per_second(counted(&after, "allowed"), counted(before, "allowed")),
            dropped_rate: drops.iter().fold(0, |sum, drop| sum + drop.rate),
            devices: after.devices.iter().map(|device| device_rates(before, device, span_ns)).collect(),
            workers: after.workers.iter().map(|worker| worker_shares(before, worker, span_ns)).collect(),
            drops,
            rules,
            activity: after,
        }
    }

    /// Returns the flows, the fastest that go on first.
    pub fn flows(&self) -> &[FlowActivity] {
        &self.activity.flows
    }
}

fn first_sight(rule: &RuleActivity, span_ns: u64) -> RuleRates {
    let bits = rate(rule.bytes, span_ns).saturating_mul(8);
    RuleRates { packets: rate(rule.packets, span_ns), bits, rule: rule.clone() }
}

fn device_rates(before: &Activity, later: &DeviceActivity, span_ns: u64) -> DeviceRates {
    let nothing = DeviceActivity::default();
    let earlier = before.devices.iter().find(|device| device.name == later.name).unwrap_or(&nothing);
    let per_second = |of: fn(&DeviceActivity) -> u64| rate(of(later).saturating_sub(of(earlier)), span_ns);
    DeviceRates {
        received_packets: per_second(|device| device.received_packets),
        received_bits: per_second(|device| device.received_bytes).saturating_mul(8),
        sent_packets: per_second(|device| device.sent_packets),
        sent_bits: per_second(|device| device.sent_bytes).saturating_mul(8),
        dropped_packets: per_second(|device| device.dropped_packets),
    }
}

fn worker_shares(before: &Activity, later: &WorkerActivity, span_ns: u64) -> WorkerShares {
    if later.busy_ns == 0 {
        return WorkerShares::default();
    }
    let earlier = before.workers.iter().find(|worker| worker.number == later.number);
    let earlier = earlier.copied().unwrap_or_default();
    let percent = |later: u64, earlier: u64| {
        let share = u128::from(later.saturating_sub(earlier)) * 100 / u128::from(span_ns.max(1));
        Some(u64::try_from(share).unwrap_or(u64::MAX).min(100))
    };
    WorkerShares {
        busy_percent: percent(later.busy_ns, earlier.busy_ns),
        waiting_percent: percent(later.waiting_ns, earlier.waiting_ns),
    }
}

/// Returns a count per second, rounded.
fn rate(count: u64, span_ns: u64) -> u64 {
    let span_ns = u128::from(span_ns.max(1));
    let rate = (u128::from(count) * 1_000_000_000 + span_ns / 2) / span_ns;
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rule(rule: u32, packets: u64) -> RuleActivity {
        let summary = format!("allow Web -> Db TCP {rule}");
        RuleActivity { rule, summary, flows: 1, packets, bytes: packets * 100 }
    }

    /// Returns a look at a host after so many seconds in which everything grew evenly.
    pub fn look(seconds: u64) -> Activity {
        let device = |name: &str, role: &str, packets: u64| DeviceActivity {
            name: name.into(),
            role: role.into(),
            received_packets: packets * seconds,
            received_bytes: packets * seconds * 1_000,
            sent_packets: 2 * seconds,
            sent_bytes: 200 * seconds,
            dropped_packets: 3 * seconds,
            ..DeviceActivity::default()
        };
        let flow = FlowActivity {
            source: "10.0.0.1:40000".into(),
            destination: "10.0.0.3:5432".into(),
            protocol: "TCP".into(),
            packets: 1_000,
            bytes: 1_500_000,
            rate_bps: 12_345_678,
            rule: 3,
            ended: false,
        };
        let counters =
            [("allowed", 1_000), ("drop.default-deny", 1), ("drop.rule-deny", 2), ("flows.live", 9)];
        Activity {
            host: "h1".into(),
            time_ns: seconds * SECOND,
            version: 7,
            flows_live: 1_234,
            flows_max: 131_072,
            devices: vec![device("tap0", "endpoint", 1_500), device("enp3s0f0np0", "uplink", 12)],
            workers: vec![WorkerActivity {
                number: 0,
                busy_ns: seconds * SECOND / 4,
                waiting_ns: seconds * SECOND / 50,
                frames_total: 16_384,
                frames_free: 12_000,
                frames_at_devices: 4_096,
                frames_held: 288,
            }],
            counters: counters.into_iter().map(|(name, rate)| (name.to_owned(), rate * seconds)).collect(),
            rules: vec![rule(5432, 10 * seconds), rule(22, 40 * seconds)],
            flows: vec![flow],
            active_report_s: 60,
            sampling_rate: 1,
        }
    }

    #[test]
    fn rates_are_differences_over_the_hosts_own_time() {
        let view = View::between(&look(10), look(12));
        assert_eq!((view.span_ns, view.allowed_rate, view.dropped_rate), (2 * SECOND, 1_000, 3));
        let tap = view.devices[0];
        assert_eq!((tap.received_packets, tap.received_bits, tap.sent_bits), (1_500, 12_000_000, 1_600));
        assert_eq!(view.workers[0], WorkerShares { busy_percent: Some(25), waiting_percent: Some(2) });
        assert_eq!(view.drops[0], DropRate { reason: "rule-deny".into(), total: 24, rate: 2 });
        assert_eq!((view.rules[0].rule.rule, view.rules[0].packets, view.rules[0].bits), (22, 40, 32_000));
    }

    #[test]
    fn after_a_restart_rates_begin_again_and_never_go_below_zero() {
        let view = View::between(&look(100), look(2));
        assert_eq!((view.span_ns, view.allowed_rate, view.rules[0].packets), (2 * SECOND, 1_000, 40));
        let view = View::between(&look(2), look(2));
        assert_eq!(view.allowed_rate, 1_000, "the same look twice is one since the start");
    }

    #[test]
    fn a_rule_that_comes_in_from_below_the_limit_shows_no_rate_at_first() {
        let mut before = look(10);
        before.rules.remove(1);
        let view = View::between(&before, look(12));
        let rates: Vec<(u32, u64)> = view.rules.iter().map(|rule| (rule.rule.rule, rule.packets)).collect();
        assert_eq!(rates, [(5432, 10), (22, 0)]);
    }

    #[test]
    fn a_worker_whose_time_is_not_known_has_no_shares() {
        let mut after = look(12);
        after.workers[0].busy_ns = 0;
        assert_eq!(View::between(&look(10), after).workers[0], WorkerShares::default());
    }
}
