//! What a running dataplane counted: losses and drops that have a known cure.

use crate::binding::Role;
use crate::config::Config;
use crate::verdict::DropReason;
use meshgate_policy::{Finding, Severity};
use std::collections::BTreeMap;

/// Share of the packets of a device, one in so many, above which a loss is more than a hint.
const PROBLEM_SHARE: u64 = 10_000;
/// Packets that may be lost before anybody needs to hear of it: a start costs a few.
const LOSS_MIN: u64 = 100;
/// Share of the packets, one in so many, below which drops that are also made by honest neighbours are not spoken of.
const NOISE_SHARE: u64 = 1_000;

/// What a running dataplane says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// Its devices.
    pub devices: Vec<DeviceRunning>,
    /// `allowed`, `drop.rule-deny` and so on.
    pub counters: BTreeMap<String, u64>,
    /// Frames that found no room at some device, beside those that are told by device.
    pub receive_full: u64,
    /// Flows in the table.
    pub flows_live: u64,
    /// Flow records that were lost, and all of them.
    pub records: (u64, u64),
    /// What to do about super-frames, in one line a device.
    pub advice: Vec<String>,
    /// Since its start.
    pub uptime_s: u64,
    /// Share of the time in which workers had work that they waited for a processor, in percent, the worst one; none if
    /// it is not known.
    pub waiting_percent: Option<u64>,
}

/// One device of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceRunning {
    /// Name.
    pub name: String,
    /// How frames are moved.
    pub mode: String,
    /// Whether it is configured and not there, so that the dataplane waits for it.
    pub is_absent: bool,
    /// Frames received.
    pub received: u64,
    /// Frames that found no room at the device.
    pub receive_full: u64,
    /// Drops by reason; empty if they are known for all devices together only.
    pub drops: Vec<(DropReason, u64)>,
}

impl Running {
    /// Returns a device by name.
    pub fn device(&self, name: &str) -> Option<&DeviceRunning> {
        self.devices.iter().find(|device| device.name == name)
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.counters.get(&format!("drop.{reason}")).copied().unwrap_or(0)
    }

    fn received(&self) -> u64 {
        self.devices.iter().map(|device| device.received).sum()
    }
}

/// Returns what is to be said where no dataplane answers.
pub(super) fn absent() -> Vec<Finding> {
    let cure = "start it: meshgate-dataplane --config FILE";
    vec![Finding::hint(
        "running",
        "no running dataplane of this host is known, so nothing is said of its counters",
        cure,
    )]
}

/// Returns what is to be said of the counters.
pub(super) fn findings(config: &Config, running: &Running) -> Vec<Finding> {
    let mut findings: Vec<Finding> = running.devices.iter().filter_map(absence).collect();
    findings.extend(running.devices.iter().filter_map(receive_loss));
    let (received, receive_full) = (running.received(), running.receive_full);
    let together = DeviceRunning { received, receive_full, ..DeviceRunning::default() };
    findings.extend(receive_loss(&together));
    findings.extend(uplink_checksums(config, running));
    findings.extend(
        [super_frames(running), transmit_full(running), table_full(config, running)].into_iter().flatten(),
    );
    findings.extend([no_flow(config, running), no_memory(running), strangers(running)].into_iter().flatten());
    findings.extend([records_lost(config, running), waiting(running)].into_iter().flatten());
    if findings.is_empty() {
        findings
            .push(Finding::ok("running", format!("up {} s, no loss that could be cured", running.uptime_s)));
    }
    findings
}

/// Returns how bad a loss of `lost` beside `of` is.
fn severity(lost: u64, of: u64) -> Severity {
    if lost.saturating_mul(PROBLEM_SHARE) > of { Severity::Problem } else { Severity::Hint }
}

fn loss((lost, of): (u64, u64), text: String, cure: &str) -> Option<Finding> {
    (lost >= LOSS_MIN).then(|| Finding::new(severity(lost, of), "running", text, cure))
}

fn absence(device: &DeviceRunning) -> Option<Finding> {
    let cure = "start its machine, or take it out of the configuration (SIGHUP reads it again)";
    let text = "is not open: it vanished, or has not come yet; it is taken when it does";
    device.is_absent.then(|| Finding::problem("running", text, cure).of(&device.name))
}

fn receive_loss(device: &DeviceRunning) -> Option<Finding> {
    let DeviceRunning { name, received, receive_full: lost, .. } = device;
    let text = format!("{lost} of {} frames found no room at the device", received.saturating_add(*lost));
    let cure = "raise frames =, set polling = \"spin\", give workers processors of their own (cpus =), or more of them (workers =)";
    loss((*lost, *received), text, cure).map(|finding| finding.of(name))
}

fn super_frames(running: &Running) -> Option<Finding> {
    let dropped = running.dropped(DropReason::OversizeFrame);
    let (text, cure) = match running.advice.first().and_then(|advice| advice.split_once("; ")) {
        Some((text, cure)) => (text.to_owned(), cure.to_owned()),
        None => (
            format!("{dropped} frames were longer than their device's MTU allows, and dropped"),
            "where they are made: ethtool -K DEV tso off gso off; the log names the device".to_owned(),
        ),
    };
    (dropped > 0).then(|| Finding::problem("running", text, cure))
}

fn transmit_full(running: &Running) -> Option<Finding> {
    let dropped = running.dropped(DropReason::TransmitFull);
    let text = format!("{dropped} allowed frames found no room at the device they would leave by");
    let cure = "the receiver behind it is slower, or the device is down: ip -s link; more queues; raise its txqueuelen";
    loss((dropped, running.received()), text, cure)
}

fn table_full(config: &Config, running: &Running) -> Option<Finding> {
    let (dropped, max) = (running.dropped(DropReason::FlowTableFull), u64::from(config.flows_max));
    if dropped > 0 {
        let text = format!(
            "{dropped} first packets found the flow table full ({} of {max} flows)",
            running.flows_live
        );
        let cure =
            format!("raise flows_max, for example to {}; or look who makes them: meshgate top", max * 2);
        return Some(Finding::problem("running", text, cure));
    }
    let is_near = running.flows_live.saturating_mul(10) > max.saturating_mul(9);
    let text = format!("{} of {max} flows are in the table", running.flows_live);
    is_near.then(|| Finding::hint("running", text, format!("raise flows_max, for example to {}", max * 2)))
}

fn no_flow(config: &Config, running: &Running) -> Option<Finding> {
    let dropped = running.dropped(DropReason::NoFlow);
    let is_much = dropped.saturating_mul(NOISE_SHARE) > running.received();
    let text = format!("{dropped} packets belonged to connections that began before the dataplane did");
    let cure = match config.pickup {
        false => "set pickup = true, so that connections survive a restart".to_owned(),
        true => format!(
            "answering sides are believed for pickup_window_s = {} s after a start only; a longer one helps idle \
             connections, and whoever wants to revive a cut one",
            config.pickup_window_s
        ),
    };
    (dropped > 0 && is_much).then(|| Finding::hint("running", text, cure))
}

fn uplink_checksums(config: &Config, running: &Running) -> Vec<Finding> {
    let cure = "partial_checksums = true for that uplink, if it is a veth or tap with a kernel behind it; else a link corrupts packets";
    let text = |dropped| format!("{dropped} packets had a wrong L4 checksum");
    let is_uplink = |name: &str| config.devices.iter().any(|d| d.name == name && d.role == Role::Uplink);
    if running.devices.iter().all(|device| device.drops.is_empty()) {
        let has_uplink = config.devices.iter().any(|d| d.role == Role::Uplink && !d.may_be_partial());
        let dropped = running.dropped(DropReason::BadL4Checksum);
        return loss((dropped, running.received()), text(dropped), cure)
            .filter(|_| has_uplink)
            .into_iter()
            .collect();
    }
    let of = |device: &super::DeviceRunning| {
        let drops = device.drops.iter().find(|(reason, _)| *reason == DropReason::BadL4Checksum);
        let dropped = drops.map_or(0, |(_, dropped)| *dropped);
        loss((dropped, device.received), text(dropped), cure).map(|finding| finding.of(&device.name))
    };
    running.devices.iter().filter(|device| is_uplink(&device.name)).filter_map(of).collect()
}

fn no_memory(running: &Running) -> Option<Finding> {
    let dropped = running.dropped(DropReason::NoMemory);
    let text = format!("{dropped} copies of broadcasts found no packet memory");
    loss((dropped, running.received()), text, "raise frames =")
}

fn strangers(running: &Running) -> Option<Finding> {
    let dropped = running.dropped(DropReason::SourceMac) + running.dropped(DropReason::SourceAddress);
    let is_much = dropped.saturating_mul(NOISE_SHARE) > running.received();
    let text =
        format!("{dropped} packets came from a MAC or address that the policy does not give their device");
    let cure = "compare with: meshgate endpoints list; meshgate capture --verdict source-address shows them";
    (dropped > 0 && is_much).then(|| Finding::hint("running", text, cure))
}

fn records_lost(config: &Config, running: &Running) -> Option<Finding> {
    let (lost, produced) = running.records;
    let cure = match config.flow_ring {
        None => return None,
        Some(_) => "start meshgate-learner, raise flow_ring.slots, or sampling_rate",
    };
    let text = format!("{lost} of {produced} flow records were lost");
    (lost > 0).then(|| Finding::hint("running", text, cure))
}

fn waiting(running: &Running) -> Option<Finding> {
    let percent = running.waiting_percent.filter(|percent| *percent >= 1)?;
    let text = format!(
        "of the time in which it had work, a worker waited {percent} % for a processor that others had"
    );
    Some(Finding::problem(
        "running",
        text,
        "give it a processor of its own: cpus =, isolcpus=, or an isolated cpuset",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(more: &str) -> Config {
        let text = format!("host = 'a'\n{more}\n[[device]]\nname = 'up0'\nrole = 'uplink'\n");
        Config::parse(&text, Path::new("dp.toml")).unwrap()
    }

    fn running(drops: &[(DropReason, u64)]) -> Running {
        let device = DeviceRunning {
            name: "up0".into(),
            received: 1_000_000,
            drops: drops.to_vec(),
            ..Default::default()
        };
        let counters = drops.iter().map(|(reason, count)| (format!("drop.{reason}"), *count)).collect();
        Running { devices: vec![device], counters, ..Running::default() }
    }

    fn of(running: &Running) -> Vec<(Severity, String)> {
        let found = findings(&config("flows_max = 1000"), running);
        assert!(
            found.iter().all(|finding| finding.cure.is_empty() == (finding.severity == Severity::Ok)),
            "{found:?}"
        );
        found.into_iter().map(|finding| (finding.severity, finding.text)).collect()
    }

    #[test]
    fn a_dataplane_that_loses_nothing_is_well() {
        assert_eq!(of(&running(&[]))[0].0, Severity::Ok);
        assert_eq!(of(&running(&[(DropReason::RuleDeny, 999_999)]))[0].0, Severity::Ok, "that is its work");
    }

    #[test]
    fn every_drop_with_a_cure_is_found() {
        for (reason, severity) in [
            (DropReason::BadL4Checksum, Severity::Problem),
            (DropReason::OversizeFrame, Severity::Problem),
            (DropReason::FlowTableFull, Severity::Problem),
            (DropReason::TransmitFull, Severity::Problem),
            (DropReason::NoMemory, Severity::Problem),
            (DropReason::NoFlow, Severity::Hint),
            (DropReason::SourceMac, Severity::Hint),
        ] {
            let found = of(&running(&[(reason, 5_000)]));
            assert_eq!((found.len(), found[0].0), (1, severity), "{reason}");
            assert!(found[0].1.starts_with("5000 "), "{found:?}");
        }
    }

    #[test]
    fn a_share_that_honest_neighbours_make_is_not_spoken_of() {
        assert_eq!(of(&running(&[(DropReason::NoFlow, 900)]))[0].0, Severity::Ok);
        assert_eq!(of(&running(&[(DropReason::TransmitFull, 50)]))[0].0, Severity::Ok);
        assert_eq!(of(&running(&[(DropReason::TransmitFull, 100)]))[0].0, Severity::Hint);
    }

    #[test]
    fn a_device_that_vanished_is_a_problem() {
        let mut absent = running(&[]);
        absent.devices[0].is_absent = true;
        assert!(of(&absent)[0].1.starts_with("is not open: it vanished"));
    }

    #[test]
    fn a_full_ring_is_told_by_device() {
        let mut lossy = running(&[]);
        lossy.devices[0].receive_full = 10_000;
        let found = findings(&config(""), &lossy);
        assert_eq!((found[0].severity, found[0].subject.as_str()), (Severity::Problem, "up0"));
        assert_eq!(found[0].text, "10000 of 1010000 frames found no room at the device");
        let together = Running { receive_full: 20_000, ..running(&[]) };
        assert_eq!(of(&together)[0].1, "20000 of 1020000 frames found no room at the device");
    }

    #[test]
    fn drops_that_are_known_for_all_devices_together_are_found_too() {
        let mut together = running(&[(DropReason::BadL4Checksum, 5_000)]);
        together.devices[0].drops.clear();
        assert_eq!(of(&together), [(Severity::Problem, "5000 packets had a wrong L4 checksum".to_owned())]);
    }

    #[test]
    fn a_nearly_full_table_lost_records_and_a_shared_processor_are_hinted_at() {
        let mut near = running(&[]);
        (near.flows_live, near.waiting_percent) = (950, Some(7));
        assert_eq!(of(&near)[0], (Severity::Hint, "950 of 1000 flows are in the table".to_owned()));
        assert!(of(&near)[1].1.starts_with("of the time in which it had work, a worker waited 7 %"));
        let ring = config("flow_ring = { socket = '/run/s' }");
        let lossy = Running { records: (3, 10), ..running(&[]) };
        assert_eq!(findings(&ring, &lossy)[0].text, "3 of 10 flow records were lost");
        assert_eq!(findings(&config(""), &lossy)[0].severity, Severity::Ok, "nobody wants them");
    }
}
