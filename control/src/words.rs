//! Rules in words, for warnings and explanations.

use meshgate_policy::{AuthoredGroupRule, AuthoredRelationship, Direction, Policy, Prefix, Rule, Side};

/// Prefixes of a side that are written out; a side may have 256.
const PREFIXES_WRITTEN_MAX: usize = 4;

/// Returns a rule as `allow WebServers -> Databases TCP 80-8080, priority 1000`.
pub fn rule_in_words(policy: &Policy, rule: &Rule) -> String {
    let Rule { id: _, kind: _, priority, action, shadow, source, destination, l4 } = rule;
    let (source, destination) = (side_in_words(policy, source), side_in_words(policy, destination));
    let shadow = if *shadow { ", shadow" } else { "" };
    format!("{action} {source} -> {destination} {l4}, priority {priority}{shadow}")
}

/// Returns a relationship as people write it, in the form of [`rule_in_words`].
pub fn relationship_in_words(relationship: &AuthoredRelationship) -> String {
    let AuthoredRelationship { source_group_name, destination_group_name, action, priority, mode, .. } =
        relationship;
    let l4 = relationship.l4_match().map_or_else(|_| "?".to_owned(), |l4| l4.to_string());
    format!("{action} {source_group_name} -> {destination_group_name} {l4}, priority {priority}, {mode}")
}

/// Returns a rule of a group as people write it, in the form of [`rule_in_words`].
pub fn group_rule_in_words(rule: &AuthoredGroupRule) -> String {
    let AuthoredGroupRule { group_name, direction, peer, action, priority, mode, .. } = rule;
    let l4 = rule.l4_match().map_or_else(|_| "?".to_owned(), |l4| l4.to_string());
    let peer = if peer.is_empty() { "any".to_owned() } else { prefixes_in_words(peer) };
    let sides = match direction {
        Direction::Ingress => format!("{peer} -> {group_name}"),
        Direction::Egress => format!("{group_name} -> {peer}"),
    };
    format!("{action} {sides} {l4}, priority {priority}, {mode}")
}

/// Returns a side as the name of its group or as its prefixes.
pub fn side_in_words(policy: &Policy, side: &Side) -> String {
    match side {
        Side::Group(group) => policy.group_name(*group),
        Side::Prefixes(prefixes) => prefixes_in_words(prefixes),
    }
}

fn prefixes_in_words(prefixes: &[Prefix]) -> String {
    let written = prefixes.iter().take(PREFIXES_WRITTEN_MAX).map(ToString::to_string);
    let written = written.collect::<Vec<_>>().join(",");
    match prefixes.len().saturating_sub(PREFIXES_WRITTEN_MAX) {
        0 => written,
        more => format!("{written} and {more} more prefixes"),
    }
}
