//! Waiting until hosts enforce a version.

use crate::answers::{Host, Hosts};
use crate::client::{CallError, Client};
use crate::failure::NotEnforced;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Time between two questions: short against the time a person notices, long against the time an answer takes.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Asks until a dataplane is connected and every connected one enforces the version (the newest one if absent), at most
/// for `timeout`. Returns the last answer, and what is lacking then.
pub async fn wait(
    client: &Client,
    version: Option<u64>,
    timeout: Duration,
) -> Result<(Hosts, Option<NotEnforced>), CallError> {
    let end = Instant::now() + timeout;
    let mut turns = interval(POLL_INTERVAL);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let hosts = client.hosts().await?;
        let lacking = lacking(&hosts, version.unwrap_or(hosts.version));
        if lacking.is_none() || Instant::now() >= end {
            return Ok((hosts, lacking));
        }
    }
}

/// Returns what is lacking for the version to be enforced; none if every connected dataplane enforces it or a later one
/// and there is at least one. Those that are gone are not waited for, and observers enforce nothing.
fn lacking(hosts: &Hosts, version: u64) -> Option<NotEnforced> {
    if dataplanes(hosts).next().is_none() {
        return Some(NotEnforced::ByNobody(version));
    }
    let hosts: Vec<String> = behind(hosts, version).map(|host| behind_in_words(host, version)).collect();
    if hosts.is_empty() { None } else { Some(NotEnforced::Behind { version, hosts }) }
}

/// Returns the connected dataplanes.
pub fn dataplanes(hosts: &Hosts) -> impl Iterator<Item = &Host> {
    hosts.hosts.iter().filter(|host| host.connected && host.role == "dataplane")
}

/// Returns the connected dataplanes that do not enforce the version or a later one.
pub fn behind(hosts: &Hosts, version: u64) -> impl Iterator<Item = &Host> {
    dataplanes(hosts).filter(move |host| host.version < version)
}

fn behind_in_words(host: &Host, version: u64) -> String {
    let enforces = match host.version {
        0 => "enforces none".to_owned(),
        older => format!("enforces {older}"),
    };
    if host.nack_version >= version && !host.nack_reason.is_empty() {
        format!("{} ({enforces}, refused {}: {})", host.host, host.nack_version, host.nack_reason)
    } else {
        format!("{} ({enforces})", host.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, role: &str, connected: bool, version: u64) -> Host {
        Host { host: name.into(), role: role.into(), connected, version, ..Host::default() }
    }

    #[test]
    fn only_connected_dataplanes_are_waited_for() {
        let hosts = Hosts {
            version: 7,
            hosts: vec![
                host("gone", "dataplane", false, 2),
                host("learner", "observer", true, 0),
                host("a", "dataplane", true, 7),
            ],
            ..Hosts::default()
        };
        assert_eq!(lacking(&hosts, 7), None);
        let behind = NotEnforced::Behind { version: 8, hosts: vec!["a (enforces 7)".into()] };
        assert_eq!(lacking(&hosts, 8), Some(behind));
    }

    #[test]
    fn without_a_connected_dataplane_nothing_is_enforced() {
        let gone = host("gone", "dataplane", false, 7);
        let learner = host("learner", "observer", true, 7);
        for hosts in [vec![], vec![gone.clone()], vec![learner.clone()], vec![gone, learner]] {
            let hosts = Hosts { version: 7, hosts, ..Hosts::default() };
            assert_eq!(lacking(&hosts, 7), Some(NotEnforced::ByNobody(7)));
        }
    }

    #[test]
    fn a_refusal_is_named_with_its_reason() {
        let refusing =
            Host { nack_reason: "too many rules".into(), nack_version: 7, ..host("b", "dataplane", true, 0) };
        let hosts = Hosts { version: 7, hosts: vec![refusing], ..Hosts::default() };
        let shown = lacking(&hosts, 7).unwrap().to_string();
        assert_eq!(shown, "version 7 is not enforced yet by b (enforces none, refused 7: too many rules)");
    }
}
