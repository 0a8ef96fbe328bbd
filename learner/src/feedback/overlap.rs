//! How much of what two rules permit both of them do: what an edited draft says of the one that was suggested.

use crate::proportion::real;
use meshgate_policy::suggestion::Proposal;
use meshgate_policy::{
    AuthoredRelationship, Extents, GroupId, L4Match, Name, Policy, PortSet, Relation, Side,
};

/// Share of two sets that overlap in a way that is not known, or of which one is not known any more.
const PARTLY: f64 = 0.5;
/// Share of a protocol that a port or a type of it is taken for: how much cannot be said, it is little.
const SERVICE_OF_PROTOCOL: f64 = 0.1;

/// Returns the share of the tuples (source, destination, service) that both drafts cover of those that one of them covers, 0 to
/// 1: the product of the shares of each part, which is exact where one draft's parts lie within the other's. A draft that does
/// the opposite covers nothing.
pub fn overlap(policy: &Policy, one: &Proposal, other: &Proposal) -> f64 {
    let (Some(one), Some(other)) = (relationship(one), relationship(other)) else {
        // What is not between groups is the same or it is not known how much of it is left.
        return if one == other { 1.0 } else { PARTLY };
    };
    if one.action.is_allow() != other.action.is_allow() {
        return 0.0;
    }
    let extents = policy.extents();
    let sources = sides(policy, &extents, &one.source_group_name, &other.source_group_name);
    let destinations = sides(policy, &extents, &one.destination_group_name, &other.destination_group_name);
    let services = match (one.l4_match(), other.l4_match()) {
        (Ok(one), Ok(other)) => services(&one, &other),
        _ => PARTLY,
    };
    sources * destinations * services
}

fn relationship(proposal: &Proposal) -> Option<&AuthoredRelationship> {
    match proposal {
        Proposal::Relationship(relationship) | Proposal::Grouped { relationship, .. } => Some(relationship),
        Proposal::Rule(_) | Proposal::Membership { .. } => None,
    }
}

fn sides(policy: &Policy, extents: &Extents<'_>, one: &Name, other: &Name) -> f64 {
    if one == other {
        return 1.0;
    }
    let group = |name: &Name| group_by_name(policy, name).map(Side::Group);
    let (Some(one), Some(other)) = (group(one), group(other)) else { return PARTLY };
    let (a, b) = (extents.addresses(&one), extents.addresses(&other));
    match extents.side_relation(&one, &other) {
        Relation::Equal => 1.0,
        Relation::Apart => 0.0,
        Relation::Contains | Relation::Within if a > 0.0 && b > 0.0 => a.min(b) / a.max(b),
        Relation::Contains | Relation::Within | Relation::Crosses => PARTLY,
    }
}

fn group_by_name(policy: &Policy, name: &Name) -> Option<GroupId> {
    let built_in = [GroupId::ANY, GroupId::EXTERNAL, GroupId::MULTICAST];
    let built_in = built_in.into_iter().find(|group| policy.group_name(*group) == name.as_str());
    built_in.or_else(|| policy.groups.iter().find(|group| group.name == *name).map(|group| group.id))
}

fn services(one: &L4Match, other: &L4Match) -> f64 {
    if one == other {
        return 1.0;
    }
    if let (L4Match::Ports(a, ports), L4Match::Ports(b, others)) = (one, other) {
        let (both, all) = (common(ports, others), count(ports) + count(others));
        return if a == b && all > both { real(both) / real(all - both) } else { 0.0 };
    }
    match (one.contains(other) || other.contains(one), one.overlaps(other)) {
        (true, _) => SERVICE_OF_PROTOCOL,
        (false, true) => PARTLY,
        (false, false) => 0.0,
    }
}

fn count(ports: &PortSet) -> u64 {
    ports.ranges().iter().map(|range| u64::from(range.last() - range.first()) + 1).sum()
}

/// Returns how many ports both sets hold.
fn common(one: &PortSet, other: &PortSet) -> u64 {
    let pairs = one.ranges().iter().flat_map(|a| other.ranges().iter().map(move |b| (a, b)));
    let shared = pairs.map(|(a, b)| (a.first().max(b.first()), a.last().min(b.last())));
    shared.filter(|(first, last)| first <= last).map(|(first, last)| u64::from(last - first) + 1).sum()
}
