//! Reads recorded flows as uses of services, split by time.

use super::EvaluateRulesError;
use crate::miner::seen::{Service, Use};
use crate::networks::is_internal;
use crate::recorded_flow::{MergedFlows, RecordedFlow};
use hashbrown::HashSet;
use meshgate_policy::is_group_address;
use serde::Serialize;
use std::net::IpAddr;
use std::path::PathBuf;

/// Nanoseconds of a minute.
const MINUTE_NS: u64 = 60_000_000_000;

/// Recorded uses, those to learn from and those that came later.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Uses with their times in nanoseconds, before the end of the training.
    pub training: Vec<(u64, Use)>,
    /// Uses from there to the end of the test.
    pub later: Vec<Use>,
    /// What was not taken.
    pub left_out: LeftOut,
}

/// Flows that no rule is made for, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// They are known not to have been answered: nothing is allowed for those, and none is missed.
    pub unanswered: u64,
    /// Their protocol is not known.
    pub unknown_protocol: u64,
    /// They were to learn from and for multicast or broadcast: an address of no endpoint. The later ones count as any
    /// other, as missed.
    pub group_addressed: u64,
    /// They came after the test.
    pub after_test: u64,
}

/// Reads the files. The spans begin with the first flow.
pub fn read(
    files: &[PathBuf],
    train_minutes: u64,
    test_minutes: u64,
) -> Result<Recording, EvaluateRulesError> {
    let mut recording = Recording::default();
    let mut first = None;
    for flow in MergedFlows::open(files)? {
        let flow = flow?;
        let minute = flow.time_ns.saturating_sub(*first.get_or_insert(flow.time_ns)) / MINUTE_NS;
        if minute >= train_minutes.saturating_add(test_minutes) {
            recording.left_out.after_test += 1;
        } else if flow.answered == Some(false) {
            recording.left_out.unanswered += 1;
        } else if let Some(used) = used(&flow) {
            if minute < train_minutes {
                recording.training.push((flow.time_ns, used));
            } else {
                recording.later.push(used);
            }
        } else {
            recording.left_out.unknown_protocol += 1;
        }
    }
    let senders: HashSet<IpAddr> = recording.training.iter().map(|(_, used)| used.source).collect();
    let before = recording.training.len();
    recording.training.retain(|(_, used)| !is_for_a_group(used.destination, &senders));
    let dropped = before - recording.training.len();
    recording.left_out.group_addressed = u64::try_from(dropped).unwrap_or(u64::MAX);
    Ok(recording)
}

fn used(flow: &RecordedFlow) -> Option<Use> {
    let service = Service { protocol: flow.protocol?, port: flow.service_port() };
    Some(Use { source: flow.source, destination: flow.destination, service })
}

/// Returns whether an address is multicast, broadcast, or looks like the broadcast of a network: the last of a private
/// /24, and never a sender.
fn is_for_a_group(address: IpAddr, senders: &HashSet<IpAddr>) -> bool {
    let is_last = matches!(address, IpAddr::V4(v4) if v4.octets()[3] == u8::MAX);
    is_group_address(address) || (is_last && is_internal(address) && !senders.contains(&address))
}
