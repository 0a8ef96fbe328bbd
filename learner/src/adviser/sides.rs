//! How wide one side of a draft could be: the addresses that were seen, those with the same role, their networks, the
//! groups they are in, anybody.

use super::desk::Desk;
use crate::networks::masked;
use crate::series::PartyId;
use meshgate_policy::{GroupId, Prefix, Side};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Addresses that a rule lists one by one: more than that nobody checks by eye.
const LISTED_MAX: usize = 16;
/// Networks that a rule lists.
const NETWORKS_MAX: usize = 4;
/// Bits of a network, IPv4 and IPv6.
const NETWORK_BITS: (u8, u8) = (24, 64);
/// Bits of the widest network that covers several others, IPv4 and IPv6: a larger one is as good as anybody.
const COVER_BITS_MIN: (u8, u8) = (12, 32);

/// How a side comes to its addresses. Read against what was seen up to some time, it says who would have belonged then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Recipe {
    /// The addresses that were seen.
    Endpoints,
    /// All that exchange the service with the same partners, whatever their groups.
    Role,
    /// The networks of the addresses.
    Networks,
    /// The smallest network with all of them.
    Cover,
    /// One of their groups.
    Group(GroupId),
    /// Everybody.
    Anybody,
}

/// What a side is read from.
pub(super) struct Seen<'a> {
    /// Addresses of the draft's own series.
    pub(super) own: &'a BTreeSet<IpAddr>,
    /// Addresses of all series of the service that exchange it with the same partners.
    pub(super) role: &'a BTreeSet<IpAddr>,
}

impl Recipe {
    /// Returns the side by this recipe; none where it says nothing or nothing new.
    pub(super) fn side(self, seen: &Seen<'_>) -> Option<Side> {
        match self {
            Self::Endpoints => hosts(seen.own),
            // What was unusual is not done by those who usually do it.
            Self::Role => hosts(seen.role).filter(|_| seen.role != seen.own && seen.own.is_subset(seen.role)),
            Self::Networks => networks(seen.own),
            Self::Cover => cover(seen.own),
            Self::Group(group) => Some(Side::Group(group)),
            Self::Anybody => Some(Side::Group(GroupId::ANY)),
        }
    }
}

/// Returns the recipes for a party.
pub(super) fn recipes(desk: &Desk<'_>, party: PartyId) -> Vec<Recipe> {
    let groups = desk.input.parties.groups(party).iter().map(|group| GroupId(*group));
    let nameable = groups.filter(|group| *group != GroupId::ANY && *group != GroupId::MULTICAST);
    let lists = [Recipe::Endpoints, Recipe::Role, Recipe::Networks, Recipe::Cover];
    lists.into_iter().chain(nameable.map(Recipe::Group)).chain([Recipe::Anybody]).collect()
}

/// Returns the addresses as a side, if they are few.
pub(super) fn hosts(addresses: &BTreeSet<IpAddr>) -> Option<Side> {
    let is_short = (1..=LISTED_MAX).contains(&addresses.len());
    is_short.then(|| Side::Prefixes(addresses.iter().copied().map(Prefix::host).collect()))
}

fn networks(addresses: &BTreeSet<IpAddr>) -> Option<Side> {
    let networks: BTreeSet<Prefix> =
        addresses.iter().filter_map(|address| prefix(*address, bits(*address, NETWORK_BITS))).collect();
    let is_short = (1..=NETWORKS_MAX).contains(&networks.len());
    is_short.then(|| Side::Prefixes(networks.into_iter().collect()))
}

fn cover(addresses: &BTreeSet<IpAddr>) -> Option<Side> {
    let (first, last) = (*addresses.first()?, *addresses.last()?);
    if first.is_ipv4() != last.is_ipv4() || first == last {
        return None;
    }
    // The addresses in between share what the first and the last one share.
    let narrowest = if first.is_ipv4() { 31 } else { 127 };
    let least = bits(first, COVER_BITS_MIN);
    let length = (least..=narrowest).rev().find(|length| masked(first, *length) == masked(last, *length))?;
    Some(Side::Prefixes(vec![prefix(first, length)?]))
}

fn bits(address: IpAddr, (v4, v6): (u8, u8)) -> u8 {
    if address.is_ipv4() { v4 } else { v6 }
}

fn prefix(address: IpAddr, length: u8) -> Option<Prefix> {
    Prefix::new(masked(address, length), length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(recipe: Recipe, own: &[&str], role: &[&str]) -> Option<String> {
        let set = |of: &[&str]| -> BTreeSet<IpAddr> { of.iter().map(|text| text.parse().unwrap()).collect() };
        let (own, role) = (set(own), set(role));
        match recipe.side(&Seen { own: &own, role: &role })? {
            Side::Group(group) => Some(format!("group {}", group.0)),
            Side::Prefixes(prefixes) => {
                Some(prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn each_recipe_reads_the_addresses_in_its_way() {
        let own = ["10.0.1.5", "10.0.1.9", "10.0.2.1"];
        let role = ["10.0.1.5", "10.0.1.9", "10.0.2.1", "10.9.9.9"];
        let shown = |recipe| side(recipe, &own, &role);
        assert_eq!(shown(Recipe::Endpoints).unwrap(), "10.0.1.5/32 10.0.1.9/32 10.0.2.1/32");
        assert_eq!(shown(Recipe::Role).unwrap(), "10.0.1.5/32 10.0.1.9/32 10.0.2.1/32 10.9.9.9/32");
        assert_eq!(shown(Recipe::Networks).unwrap(), "10.0.1.0/24 10.0.2.0/24");
        assert_eq!(shown(Recipe::Cover).unwrap(), "10.0.0.0/22");
        assert_eq!(shown(Recipe::Anybody).unwrap(), format!("group {}", GroupId::ANY.0));
        assert_eq!(side(Recipe::Cover, &["fd00::1", "fd00::2"], &[]).unwrap(), "fd00::/126");
    }

    #[test]
    fn what_would_be_no_rule_is_no_side() {
        let many: Vec<String> = (0..40).map(|number| format!("10.{number}.0.1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(side(Recipe::Endpoints, &many, &[]), None);
        assert_eq!(side(Recipe::Networks, &many, &[]), None);
        assert_eq!(side(Recipe::Cover, &["10.0.0.1", "192.168.0.1"], &[]), None);
        assert_eq!(side(Recipe::Cover, &["10.0.0.1", "fd00::1"], &[]), None);
        assert_eq!(side(Recipe::Endpoints, &[], &[]), None);
        assert_eq!(side(Recipe::Role, &["10.0.0.1"], &["10.0.0.1"]), None);
        assert_eq!(side(Recipe::Role, &["10.0.0.1"], &["10.0.0.2", "10.0.0.3"]), None);
    }
}
