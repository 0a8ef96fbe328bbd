//! Waiting until hosts enforce a version.

use crate::answers::{Host, Hosts};
use crate::client::{CallError, Client};
use crate::failure::NotEnforced;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Time between two questions: short against the time a person notices, long against the time an answer takes.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Asks until every connected dataplane enforces the version (the newest one if absent), at most for `timeout`.
/// Returns the last answer, and who is behind then.
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

/// Returns the connected dataplanes that do not enforce the version or a later one; none if all do.
pub fn lacking(hosts: &Hosts, version: u64) -> Option<NotEnforced> {
    let behind = |host: &&Host| host.connected && host.role == "dataplane" && host.version < version;
    let hosts: Vec<String> =
        hosts.hosts.iter().filter(behind).map(|host| behind_in_words(host, version)).collect();
    if hosts.is_empty() { None } else { Some(NotEnforced { version, hosts }) }
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
        assert_eq!(lacking(&hosts, 8).unwrap().hosts, ["a (enforces 7)"]);
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
