//! From a rule to what a person gets to see of it: a relationship where both sides are groups, a rule for addresses where
//! one is, and where none is, a relationship between groups that it makes.

use super::desk::Desk;
use super::draft::Draft;
use super::names::new_name;
use meshgate_policy::suggestion::Proposal;
use meshgate_policy::{
    AuthoredGroup, AuthoredGroupRule, AuthoredRelationship, Direction, Group, IntraGroup, Name, Prefix, Rule,
    RuleKind, SegmentId, Side,
};
use std::collections::BTreeMap;

/// Returns the kind of rule that these sides make.
pub(super) fn kind_of(source: &Side, destination: &Side) -> RuleKind {
    let is_listed = |side: &Side| matches!(side, Side::Prefixes(_));
    if is_listed(source) == is_listed(destination) { RuleKind::Relationship } else { RuleKind::GroupRule }
}

/// Returns the proposal of a draft with these sides in place of its own.
pub(super) fn proposal(desk: &Desk<'_>, draft: &Draft<'_>, rule: &Rule) -> Option<Proposal> {
    let terms = &draft.relationship;
    let name = |side: &Side| match side {
        Side::Group(group) => desk.name_of(*group).ok(),
        Side::Prefixes(_) => None,
    };
    match (&rule.source, &rule.destination) {
        (Side::Prefixes(sources), Side::Prefixes(destinations)) => {
            let source = group(desk, draft, sources, new_name(desk, draft, sources, Direction::Egress)?);
            let name = new_name(desk, draft, destinations, Direction::Ingress)?;
            let name = if name == source.name { Name::new(&format!("{name}-to")).ok()? } else { name };
            let destination = group(desk, draft, destinations, name);
            let relationship = AuthoredRelationship {
                source_group_name: source.name.clone(),
                destination_group_name: destination.name.clone(),
                priority: rule.priority,
                ..terms.clone()
            };
            Some(Proposal::Grouped { groups: vec![source, destination], relationship })
        }
        (Side::Prefixes(peer), destination) => {
            Some(Proposal::Rule(for_addresses(draft, (name(destination)?, Direction::Ingress), peer, rule)))
        }
        (source, Side::Prefixes(peer)) => {
            Some(Proposal::Rule(for_addresses(draft, (name(source)?, Direction::Egress), peer, rule)))
        }
        (source, destination) => Some(Proposal::Relationship(AuthoredRelationship {
            source_group_name: name(source)?,
            destination_group_name: name(destination)?,
            priority: rule.priority,
            ..terms.clone()
        })),
    }
}

fn for_addresses(
    draft: &Draft<'_>,
    (group_name, direction): (Name, Direction),
    peer: &[Prefix],
    rule: &Rule,
) -> AuthoredGroupRule {
    let AuthoredRelationship {
        id: _,
        tenant,
        source_group_name: _,
        destination_group_name: _,
        protocol,
        port_range,
        icmp_type,
        icmp_code,
        action,
        priority: _,
        mode,
        note,
    } = draft.relationship.clone();
    let (priority, peer) = (rule.priority, peer.to_vec());
    AuthoredGroupRule {
        id: None,
        tenant,
        group_name,
        direction,
        peer,
        protocol,
        port_range,
        icmp_type,
        icmp_code,
        action,
        priority,
        mode,
        note,
    }
}

/// Returns a group of these addresses: endpoints that have no others by their names, so that they keep their rule when
/// they move; the rest as addresses.
fn group(desk: &Desk<'_>, draft: &Draft<'_>, prefixes: &[Prefix], name: Name) -> AuthoredGroup {
    let segment = draft.cause.key().segment;
    let (mut members, mut others) = (BTreeMap::new(), Vec::new());
    for prefix in prefixes {
        let owner = desk.endpoint_of(segment, *prefix);
        match owner.filter(|owner| owner.addresses.iter().all(|own| prefixes.contains(&Prefix::host(*own)))) {
            Some(owner) => _ = members.insert(owner.name.clone(), ()),
            None => others.push(*prefix),
        }
    }
    AuthoredGroup {
        name,
        tenant: draft.relationship.tenant.clone(),
        segment: desk.segment_name(segment).unwrap_or_else(Name::default_name),
        members: members.into_keys().collect(),
        selector: BTreeMap::new(),
        prefixes: others,
        intra_group: intra_group(desk, segment, prefixes),
    }
}

/// Returns what members of a new group may do among themselves: as it is without the group. A deny of one group wins over
/// the allow of another, so where some of them talk as members of a group, they go on to.
fn intra_group(desk: &Desk<'_>, segment: u16, prefixes: &[Prefix]) -> IntraGroup {
    let addresses: Vec<_> = prefixes.iter().map(|prefix| prefix.address()).collect();
    let holds_two = |group: &Group| {
        let held = desk.extents.held(&Side::Group(group.id), SegmentId(segment), &addresses);
        held.into_iter().filter(|is_held| *is_held).count() > 1
    };
    let mut friendly = desk.input.policy.groups.iter().filter(|group| group.intra_group == IntraGroup::Allow);
    if friendly.any(holds_two) { IntraGroup::Allow } else { IntraGroup::Deny }
}
