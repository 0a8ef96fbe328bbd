//! A policy for a classifier that knows no groups, in its best encoding: rules between pairs of group numbers, and for each
//! packet one look-up for every pair of a group of its source and one of its destination. The best of what these find is the
//! verdict; putting that together is left out in favour of the other classifier, as are membership and the default.

use crate::BenchError;
use meshgate_policy::{GroupId, L4Match, Policy, PolicyKey, Side};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

/// Stands for every protocol.
const ANY_PROTOCOL: u16 = 256;

/// Writes `pairs.rules` and `pairs.trace` into a folder. A line of the former is SOURCE DESTINATION PROTOCOL FIRST LAST, of the
/// latter SOURCE DESTINATION PROTOCOL PORT, behind a first line with the number of packets.
pub fn write(folder: &Path, policy: &Policy, keys: &[PolicyKey]) -> Result<(), BenchError> {
    let save = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| BenchError::Unwritable(path, error))
    };
    save("pairs.rules", &rules(policy))?;
    save("pairs.trace", &trace(policy, keys))
}

fn rules(policy: &Policy) -> String {
    let mut text = String::new();
    for rule in &policy.rules {
        let (Side::Group(source), Side::Group(destination)) = (&rule.source, &rule.destination) else {
            continue;
        };
        let lines: Vec<(u16, u16, u16)> = match &rule.l4 {
            L4Match::Any => vec![(ANY_PROTOCOL, 0, u16::MAX)],
            L4Match::Protocol(protocol) => vec![(protocol.0.into(), 0, u16::MAX)],
            L4Match::Ports(protocol, ports) => {
                ports.ranges().iter().map(|range| (protocol.0.into(), range.first(), range.last())).collect()
            }
            // The generator writes none: types are no ports.
            L4Match::Icmp(..) => Vec::new(),
        };
        for (protocol, first, last) in lines {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{} {} {protocol} {first} {last}", source.0, destination.0);
        }
    }
    text
}

fn trace(policy: &Policy, keys: &[PolicyKey]) -> String {
    let mut owners: HashMap<IpAddr, Vec<GroupId>> = HashMap::new();
    for group in &policy.groups {
        for endpoint in group.endpoints.iter().filter_map(|id| policy.endpoint(*id)) {
            endpoint.addresses.iter().for_each(|address| owners.entry(*address).or_default().push(group.id));
        }
    }
    let groups_of = |address: &IpAddr| owners.get(address).map(Vec::as_slice).unwrap_or_default();
    let mut text = format!("{}\n", keys.len());
    for key in keys {
        for source in groups_of(&key.source) {
            for destination in groups_of(&key.destination) {
                let (protocol, port) = (key.l4.protocol.0, key.l4.destination_port);
                let _ = writeln!(text, "{} {} {protocol} {port}", source.0, destination.0);
            }
        }
    }
    text
}
