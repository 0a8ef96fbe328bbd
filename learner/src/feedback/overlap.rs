//! How much of what two rules permit both of them do: what an edited draft says of the one that was suggested.

use crate::draft_key::DraftKey;
use crate::proportion::real;
use meshgate_policy::suggestion::Proposal;
use meshgate_policy::{GroupId, L4Match, Policy, PortSet, Relation, Side};

/// Share of two sets that overlap in a way that is not known, or of which one is not known any more.
const PARTLY: f64 = 0.5;
/// Share of a protocol that a port or a type of it is taken for: how much cannot be said, it is little.
const SERVICE_OF_PROTOCOL: f64 = 0.1;

/// Returns the share of the tuples (source, destination, service) that both drafts cover of those that one of them covers, 0 to
/// 1: the product of the shares of each part, which is exact where one draft's parts lie within the other's. A draft that does
/// the opposite covers nothing. How many addresses groups share is known by a policy alone.
pub fn overlap(policy: Option<&Policy>, one: &Proposal, other: &Proposal) -> f64 {
    let (this, that) = (DraftKey::of(one), DraftKey::of(other));
    if this.action != that.action {
        return 0.0;
    }
    let services = match (l4(one), l4(other)) {
        (Some(one), Some(other)) => services(&one, &other),
        (None, None) => 1.0,
        _ => return 0.0,
    };
    services * sides(policy, &this.source, &that.source) * sides(policy, &this.destination, &that.destination)
}

fn l4(proposal: &Proposal) -> Option<L4Match> {
    match proposal {
        Proposal::Relationship(relationship) | Proposal::Grouped { relationship, .. } => {
            relationship.l4_match().ok()
        }
        Proposal::Rule(rule) => rule.l4_match().ok(),
        Proposal::Membership { .. } => None,
    }
}

/// Returns the share of two sides, each a group's name or a list as [`DraftKey`] writes them.
fn sides(policy: Option<&Policy>, one: &str, other: &str) -> f64 {
    if one == other {
        return 1.0;
    }
    let Some(policy) = policy else { return PARTLY };
    let group = |name: &str| group_by_name(policy, name).map(Side::Group);
    let (Some(one), Some(other)) = (group(one), group(other)) else { return PARTLY };
    let extents = policy.extents();
    let (a, b) = (extents.addresses(&one), extents.addresses(&other));
    match extents.side_relation(&one, &other) {
        Relation::Equal => 1.0,
        Relation::Apart => 0.0,
        Relation::Contains | Relation::Within if a > 0.0 && b > 0.0 => a.min(b) / a.max(b),
        Relation::Contains | Relation::Within | Relation::Crosses => PARTLY,
    }
}

fn group_by_name(policy: &Policy, name: &str) -> Option<GroupId> {
    let built_in = [GroupId::ANY, GroupId::EXTERNAL, GroupId::MULTICAST];
    let built_in = built_in.into_iter().find(|group| policy.group_name(*group) == name);
    built_in.or_else(|| policy.groups.iter().find(|group| group.name.as_str() == name).map(|group| group.id))
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

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::AuthoredRelationship;

    fn proposal(source: &str, ports: &str, action: &str) -> Proposal {
        let text = format!(
            "sourceGroupName = '{source}'\ndestinationGroupName = 'db'\nprotocol = 'TCP'\nportRange = '{ports}'\n\
             action = '{action}'\npriority = 100\n"
        );
        Proposal::Relationship(toml::from_str::<AuthoredRelationship>(&text).unwrap())
    }

    #[test]
    fn an_edited_draft_counts_by_what_is_left_of_it() {
        let draft = proposal("web", "80-89", "allow");
        let left = |edited: &Proposal| overlap(None, &draft, edited);
        assert!((left(&draft) - 1.0).abs() < 1e-12);
        assert!((left(&proposal("web", "80-81", "allow")) - 0.2).abs() < 1e-12);
        assert!((left(&proposal("web", "85-94", "allow")) - 5.0 / 15.0).abs() < 1e-12);
        assert!(left(&proposal("web", "22", "allow")).abs() < 1e-12);
        assert!(left(&proposal("web", "80-89", "deny")).abs() < 1e-12, "the opposite covers nothing");
        assert!(
            (left(&proposal("others", "80-89", "allow")) - PARTLY).abs() < 1e-12,
            "nobody knows them here"
        );
    }
}
