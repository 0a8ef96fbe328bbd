//! The rules of a run in the best stateless form that nftables has for them.
//!
//! Two look-ups in hash maps bring the groups of both addresses into the packet's mark and priority; a third one in a map of
//! (group, group, protocol, port) to a verdict ends the packet. No rule is gone through. Where the ports of the rules are few
//! the third map holds each by itself, which the kernel looks up by a hash; else it holds ranges, a concatenated interval
//! set (`nft_set_pipapo`).

use super::rules::{Group, Relationship, relationships};
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// Most elements with which each port is an element of its own.
const EXACT_ELEMENTS_MAX: usize = 1 << 16;

/// How the map of verdicts is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum VerdictMap {
    /// Of single ports: a hash table
    Exact,
    /// Of ranges of ports
    Intervals,
}

/// One range of ports between two groups, and whether it is allowed; ranges do not overlap.
type Element = ([usize; 2], bool, (u16, u16), bool);

/// Returns the numbers that stand for groups: from 1 on, since a packet's mark is 0 at first.
fn numbers() -> BTreeMap<Group, usize> {
    Group::all().zip(1..).collect()
}

/// Returns the rules as ranges that do not overlap: of two rules the one that goes first has a port.
fn elements(count: usize) -> Vec<Element> {
    let numbers = numbers();
    let mut rules = relationships(count);
    // The order of a policy: larger priority first, at equal priority deny before allow.
    rules.sort_by_key(|rule| (std::cmp::Reverse(rule.priority), rule.allows));
    let mut ports: BTreeMap<([usize; 2], bool), BTreeMap<u16, bool>> = BTreeMap::new();
    for Relationship { groups, is_tcp, ports: (first, last), allows, .. } in rules {
        let of_pair = ports.entry((groups.map(|group| numbers[&group]), is_tcp)).or_default();
        (first..=last).for_each(|port| _ = of_pair.entry(port).or_insert(allows));
    }
    let mut found: Vec<Element> = Vec::new();
    for ((groups, is_tcp), of_pair) in ports {
        for (port, allows) in of_pair {
            match found.last_mut() {
                Some((before, tcp, (_, last), allowed))
                    if (*before, *tcp, *allowed) == (groups, is_tcp, allows)
                        && last.checked_add(1) == Some(port) =>
                {
                    *last = port;
                }
                _ => found.push((groups, is_tcp, (port, port), allows)),
            }
        }
    }
    found
}

/// Returns a group's number as nftables writes a packet's priority.
fn class(number: usize) -> String {
    format!("0:{number:x}")
}

/// Returns a map from addresses to the numbers of their groups, of this type and so written.
fn groups_of_addresses(name: &str, kind: &str, written: fn(usize) -> String) -> Result<String, fmt::Error> {
    let mut text = format!("  map {name} {{\n    type ipv4_addr : {kind}\n    elements = {{\n");
    for (group, number) in numbers() {
        for address in group.addresses() {
            writeln!(text, "      {address} : {},", written(number))?;
        }
    }
    writeln!(text, "    }}\n  }}")?;
    Ok(text)
}

/// Returns the table for a bridge.
pub fn ruleset(count: usize, wanted: VerdictMap) -> Result<String, fmt::Error> {
    let elements = elements(count);
    let ports: usize = elements.iter().map(|(_, _, (first, last), _)| usize::from(last - first) + 1).sum();
    let is_exact = wanted == VerdictMap::Exact && ports <= EXACT_ELEMENTS_MAX;
    let mut text = String::from("table bridge rules {\n");
    text.push_str(&groups_of_addresses("sources", "mark", |number| number.to_string())?);
    text.push_str(&groups_of_addresses("destinations", "classid", class)?);
    let flags = if is_exact { "" } else { "    flags interval\n" };
    writeln!(
        text,
        "  map verdicts {{\n    type mark . classid . inet_proto . inet_service : verdict\n{flags}    elements = {{"
    )?;
    for ([source, destination], is_tcp, (first, last), allows) in elements {
        let (protocol, verdict) =
            (if is_tcp { "tcp" } else { "udp" }, if allows { "accept" } else { "drop" });
        let mut element = |ports: String| {
            writeln!(text, "      {source} . {} . {protocol} . {ports} : {verdict},", class(destination))
        };
        if is_exact {
            (first..=last).try_for_each(|port| element(port.to_string()))?;
        } else {
            element(format!("{first}-{last}"))?;
        }
    }
    writeln!(text, "    }}\n  }}")?;
    writeln!(text, "  map members {{\n    type mark . classid : verdict\n    elements = {{")?;
    for number in numbers().values() {
        writeln!(text, "      {number} . {} : accept,", class(*number))?;
    }
    writeln!(text, "    }}\n  }}")?;
    text.push_str(
        "  chain forward {\n    type filter hook forward priority 0; policy drop;\n    \
         meta mark set ip saddr map @sources\n    meta priority set ip daddr map @destinations\n    \
         meta mark . meta priority . meta l4proto . th dport vmap @verdicts\n    \
         meta mark . meta priority vmap @members\n  }\n}\n",
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_do_not_overlap_and_the_rule_that_goes_first_has_the_port() {
        let elements = elements(1_000);
        for pair in elements.windows(2) {
            let [(groups, tcp, (_, last), _), (next, next_tcp, (first, _), _)] = pair else { unreachable!() };
            assert!((groups, tcp) != (next, next_tcp) || last < first, "{pair:?}");
        }
        let near_to_far =
            elements.iter().find(|(groups, tcp, ports, _)| *groups == [1, 2] && !tcp && ports.0 == 200);
        assert_eq!(near_to_far.unwrap().2, (200, 263));
    }

    #[test]
    fn both_forms_hold_all_elements() {
        let lines = |form| {
            let text = ruleset(1_000, form).unwrap();
            text.lines().filter(|line| line.contains(" udp . ") || line.contains(" tcp . ")).count()
        };
        assert_eq!(lines(VerdictMap::Intervals), elements(1_000).len());
        assert!(lines(VerdictMap::Exact) > 4_000);
    }
}
