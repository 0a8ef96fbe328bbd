//! Edits as administrators and hosts make them: each turns a policy into its next version.

use super::generator::{self, Random};
use meshgate_policy::{Action, IntraGroup, Policy, PolicyVersion, Rule, RuleId};

/// What an edit was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// What a rule does, or for which packets between the same groups.
    RuleWithin,
    /// Which rules there are, or between whom.
    Rules,
    /// Who is in which group, and where endpoints are.
    Addresses,
}

/// Makes one edit; what it brings in is taken from a policy of the same kind.
pub fn edit(policy: &mut Policy, random: &mut Random) -> Edit {
    policy.version = PolicyVersion(policy.version.0 + 1);
    let other = generator::policy(random);
    let edit = match random.below(3) {
        0 => edit_within(policy, &other, random),
        1 => edit_rules(policy, &other, random),
        _ => edit_addresses(policy, &other, random),
    };
    policy.rules.sort_by_key(Rule::order);
    edit
}

fn edit_within(policy: &mut Policy, other: &Policy, random: &mut Random) -> Edit {
    let place = random.below(policy.rules.len().max(1) as u64);
    if let Some(rule) = policy.rules.get_mut(usize::try_from(place).unwrap()) {
        match (random.below(3), other.rules.first()) {
            (0, Some(other)) => rule.l4 = other.l4.clone(),
            (1, _) => rule.priority = random.pick(&generator::PRIORITIES.map(meshgate_policy::Priority)),
            _ => rule.action = if rule.action == Action::Allow { Action::Deny } else { Action::Allow },
        }
    }
    Edit::RuleWithin
}

fn edit_rules(policy: &mut Policy, other: &Policy, random: &mut Random) -> Edit {
    let place = usize::try_from(random.below(policy.rules.len().max(1) as u64)).unwrap();
    match (random.below(4), other.rules.first(), policy.rules.get_mut(place)) {
        (0, Some(other), _) => policy.rules.push(Rule { id: RuleId(90_000 + other.id.0), ..other.clone() }),
        (1, Some(other), Some(rule)) => rule.source = other.source.clone(),
        (2, _, Some(rule)) => rule.shadow = !rule.shadow,
        (_, _, Some(_)) => _ = policy.rules.remove(place),
        _ => {}
    }
    policy.rules.sort_by_key(|rule| rule.id);
    policy.rules.dedup_by_key(|rule| rule.id);
    Edit::Rules
}

fn edit_addresses(policy: &mut Policy, other: &Policy, random: &mut Random) -> Edit {
    let kind = random.below(8);
    let group = random.below(policy.groups.len().max(1) as u64);
    if let Some(group) = policy.groups.get_mut(usize::try_from(group).unwrap()) {
        match kind {
            0 => _ = group.endpoints.pop(),
            1 => group.prefixes = other.groups.first().map_or_else(Vec::new, |group| group.prefixes.clone()),
            2 => group.segment = random.pick(&policy.segments).id,
            3 => {
                group.intra_group =
                    if group.intra_group == IntraGroup::Allow { IntraGroup::Deny } else { IntraGroup::Allow }
            }
            _ => {}
        }
    }
    let endpoint = random.below(policy.endpoints.len().max(1) as u64);
    if let Some(endpoint) = policy.endpoints.get_mut(usize::try_from(endpoint).unwrap()) {
        match kind {
            4 => _ = endpoint.addresses.pop(),
            5 => endpoint.segment = random.pick(&policy.segments).id,
            _ => {}
        }
    }
    match kind {
        6 => _ = policy.endpoints.pop(),
        7 => _ = policy.groups.pop(),
        _ => {}
    }
    Edit::Addresses
}
