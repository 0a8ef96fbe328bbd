//! The groups of any address under one policy, in a time that does not grow with the policy.
//!
//! [`Policy::groups_of`] scans; it is the oracle of this. Here endpoints' addresses lie in one table, and prefixes in
//! one table per length: an address is masked to each length that occurs and looked up. A flood of strangers costs a
//! look-up per length and no more.

use hashbrown::HashMap;
use meshgate_policy::{
    EndpointId, GroupId, Name, Policy, Prefix, SegmentId, address_bytes, is_group_address,
};
use std::net::IpAddr;

/// What an index says of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its groups: numbers in order, `any` left out.
    pub groups: Vec<u32>,
    /// The host of the endpoint that owns it.
    pub home: Option<Name>,
}

/// Groups by prefix, of one length and family.
#[derive(Debug)]
struct Length {
    bits: u8,
    is_v4: bool,
    groups: HashMap<(SegmentId, u128), Vec<u32>>,
}

/// The index of one policy.
#[derive(Debug)]
pub struct GroupIndex {
    endpoints: HashMap<(SegmentId, IpAddr), Place>,
    lengths: Vec<Length>,
}

impl GroupIndex {
    /// Returns the index of a policy.
    pub fn of(policy: &Policy) -> Self {
        let mut index = Self { endpoints: HashMap::new(), lengths: Vec::new() };
        let mut listed: HashMap<EndpointId, Vec<u32>> = HashMap::new();
        for group in &policy.groups {
            group.endpoints.iter().for_each(|id| listed.entry(*id).or_default().push(group.id.0));
            group.prefixes.iter().for_each(|prefix| index.add_prefix(group.segment, *prefix, group.id));
        }
        for endpoint in &policy.endpoints {
            for address in &endpoint.addresses {
                let place = index.endpoints.entry((endpoint.segment, *address)).or_default();
                place.groups.extend(listed.get(&endpoint.id).into_iter().flatten());
                place.home = place.home.take().or_else(|| endpoint.host.clone());
            }
        }
        index
    }

    /// Returns what is known of an address.
    pub fn place(&self, segment: SegmentId, address: IpAddr) -> Place {
        let owner = self.endpoints.get(&(segment, address));
        let mut place = owner.cloned().unwrap_or_default();
        let mut is_claimed = owner.is_some();
        let bits = address_bits(address);
        for length in self.lengths.iter().filter(|length| length.is_v4 == address.is_ipv4()) {
            if let Some(groups) = length.groups.get(&(segment, masked(bits, length.bits))) {
                place.groups.extend(groups);
                is_claimed = true;
            }
        }
        if is_group_address(address) {
            place.groups.push(GroupId::MULTICAST.0);
        } else if !is_claimed {
            place.groups.push(GroupId::EXTERNAL.0);
        }
        place.groups.sort_unstable();
        place.groups.dedup();
        place
    }

    fn add_prefix(&mut self, segment: SegmentId, prefix: Prefix, group: GroupId) {
        let is_v4 = prefix.address().is_ipv4();
        // IPv4 stands in the last 32 of 128 bits.
        let bits = prefix.length() + if is_v4 { 96 } else { 0 };
        let at = self.lengths.iter().position(|length| length.bits == bits && length.is_v4 == is_v4);
        let at = at.unwrap_or_else(|| {
            self.lengths.push(Length { bits, is_v4, groups: HashMap::new() });
            self.lengths.len() - 1
        });
        let key = (segment, masked(address_bits(prefix.address()), bits));
        self.lengths[at].groups.entry(key).or_default().push(group.0);
    }
}

fn address_bits(address: IpAddr) -> u128 {
    u128::from_be_bytes(address_bytes(address))
}

/// Returns the first `length` of 128 bits; the others are zero.
fn masked(bits: u128, length: u8) -> u128 {
    bits & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::{Action, Endpoint, EndpointFlags, Group, IntraGroup, Mac, generate};

    fn expected(policy: &Policy, segment: SegmentId, address: IpAddr) -> Vec<u32> {
        let groups = policy.groups_of(segment, address).into_iter();
        groups.filter(|group| *group != GroupId::ANY).map(|group| group.0).collect()
    }

    fn group(id: u32, segment: u16, prefixes: &[&str], endpoints: &[u32]) -> Group {
        Group {
            id: GroupId(id),
            name: Name::new(&format!("g{id}")).unwrap(),
            segment: SegmentId(segment),
            prefixes: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect(),
            endpoints: endpoints.iter().copied().map(EndpointId).collect(),
            intra_group: IntraGroup::Allow,
        }
    }

    fn endpoint(id: u32, segment: u16, address: &str, host: Option<&str>) -> Endpoint {
        Endpoint {
            id: EndpointId(id),
            name: Name::new(&format!("e{id}")).unwrap(),
            segment: SegmentId(segment),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: vec![address.parse().unwrap()],
            routes: Vec::new(),
            flags: EndpointFlags::default(),
            host: host.map(|host| Name::new(host).unwrap()),
            device: None,
        }
    }

    fn policy() -> Policy {
        Policy {
            groups: vec![
                group(16, 1, &["10.0.0.0/8", "fd00::/16"], &[1]),
                group(17, 1, &["10.1.0.0/16", "10.1.2.3/32", "0.0.0.0/0"], &[1, 2]),
                group(18, 2, &["10.0.0.0/8", "::/0"], &[3]),
                group(19, 1, &["224.0.0.0/4"], &[]),
            ],
            endpoints: vec![
                endpoint(1, 1, "192.0.2.1", Some("a")),
                endpoint(2, 1, "10.1.2.3", None),
                endpoint(3, 2, "192.0.2.1", Some("b")),
                endpoint(4, 2, "192.0.2.9", Some("b")),
            ],
            ..Policy::empty(Action::Deny)
        }
    }

    #[test]
    fn it_agrees_with_the_scan_of_the_policy() {
        let policies = [policy(), generate::policy(7, generate::Shape::new(200, 30, 1))];
        for policy in &policies {
            let index = GroupIndex::of(policy);
            let mut addresses: Vec<IpAddr> = [
                "10.1.2.3",
                "10.1.2.4",
                "10.9.0.1",
                "192.0.2.1",
                "192.0.2.9",
                "8.8.8.8",
                "224.0.0.1",
                "255.255.255.255",
                "0.0.0.0",
                "fd00::1",
                "fd01::1",
                "ff02::1",
                "::",
            ]
            .map(|text| text.parse().unwrap())
            .into();
            addresses.extend(policy.endpoints.iter().flat_map(|endpoint| &endpoint.addresses));
            for address in addresses {
                for segment in [1, 2, 3].map(SegmentId) {
                    let found = index.place(segment, address);
                    assert_eq!(found.groups, expected(policy, segment, address), "{address} in {segment}");
                }
            }
        }
    }

    #[test]
    fn the_home_is_that_of_the_owner_in_the_segment() {
        let index = GroupIndex::of(&policy());
        let home = |segment, address: &str| {
            index.place(SegmentId(segment), address.parse().unwrap()).home.map(|home| home.to_string())
        };
        assert_eq!(home(1, "192.0.2.1").as_deref(), Some("a"));
        assert_eq!(home(2, "192.0.2.1").as_deref(), Some("b"));
        assert_eq!((home(1, "10.1.2.3"), home(1, "8.8.8.8")), (None, None));
    }
}
