//! Groups where nobody has made any: one for each private network that is met, and `external`.
//!
//! The policy grows with what is met: it allows everything, has no rules, and lists the networks as groups, so that
//! what is said about recorded flows can name them, and a draft can be written against it.

use crate::policies::GroupSet;
use hashbrown::HashMap;
use meshgate_policy::{
    Action, Group, GroupId, IntraGroup, Name, Policy, PolicyVersion, Prefix, SegmentId, is_group_address,
    limits,
};
use std::net::IpAddr;
use std::sync::Arc;

/// Bits of a network: the usual size of one, IPv4 and IPv6.
const NETWORK_BITS_V4: u8 = 24;
const NETWORK_BITS_V6: u8 = 64;

/// The networks that were met.
#[derive(Debug)]
pub struct Networks {
    policy: Arc<Policy>,
    sets: HashMap<Prefix, GroupSet>,
    external: GroupSet,
    multicast: GroupSet,
    left_out: u64,
}

impl Default for Networks {
    /// Returns none, with a policy that allows everything.
    fn default() -> Self {
        Self {
            policy: Arc::new(Policy { version: PolicyVersion(1), ..Policy::empty(Action::Allow) }),
            sets: HashMap::new(),
            external: [GroupId::EXTERNAL.0].into(),
            multicast: [GroupId::MULTICAST.0].into(),
            left_out: 0,
        }
    }
}

impl Networks {
    /// Returns the groups of an address: its private network, which is made if it is new, or a built-in group. Beyond
    /// the groups that a policy may have, private addresses are external too, and counted.
    pub fn groups(&mut self, address: IpAddr) -> GroupSet {
        if is_group_address(address) {
            return Arc::clone(&self.multicast);
        }
        let Some(network) = private_network(address) else { return Arc::clone(&self.external) };
        if let Some(groups) = self.sets.get(&network) {
            return Arc::clone(groups);
        }
        match self.make(network) {
            Some(groups) => groups,
            None => {
                self.left_out += 1;
                Arc::clone(&self.external)
            }
        }
    }

    /// Returns the policy that lists the networks met so far. Its version counts them.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Returns how often an address found no room for its network.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn make(&mut self, network: Prefix) -> Option<GroupSet> {
        let count = self.policy.groups.len();
        if count >= limits::GROUPS_MAX {
            return None;
        }
        let id = GroupId(GroupId::FIRST_FREE.0 + u32::try_from(count).ok()?);
        let group = Group {
            id,
            name: name_of(network)?,
            segment: SegmentId::DEFAULT,
            prefixes: vec![network],
            endpoints: Vec::new(),
            intra_group: IntraGroup::Allow,
        };
        // Copied only while somebody still holds the policy before it.
        let policy = Arc::make_mut(&mut self.policy);
        policy.groups.push(group);
        policy.version.0 += 1;
        let groups: GroupSet = [id.0].into();
        self.sets.insert(network, Arc::clone(&groups));
        Some(groups)
    }
}

/// Returns whether an address lies in a private or link-local network (RFC 1918, 3927, 4193, 4291).
pub fn is_internal(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Returns the address with all bits behind the first `length` cleared.
pub fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(length.into())).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(length.into())).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

/// Returns the network of a private or link-local address.
fn private_network(address: IpAddr) -> Option<Prefix> {
    let length = if address.is_ipv4() { NETWORK_BITS_V4 } else { NETWORK_BITS_V6 };
    is_internal(address).then(|| Prefix::new(masked(address, length), length).ok())?
}

/// Returns the name of a network, such as `net-10.47.1.0-24` or `net-fd00-0-0-1-64`.
fn name_of(network: Prefix) -> Option<Name> {
    let text = match network.address() {
        IpAddr::V4(v4) => format!("net-{v4}-{}", network.length()),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("net-{a:x}-{b:x}-{c:x}-{d:x}-{}", network.length())
        }
    };
    Name::new(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(networks: &mut Networks, address: &str) -> String {
        let groups = networks.groups(address.parse().unwrap());
        assert_eq!(groups.len(), 1);
        networks.policy().group_name(GroupId(groups[0]))
    }

    #[test]
    fn private_addresses_are_in_their_network_and_others_are_external() {
        let mut networks = Networks::default();
        let cases = [
            ("10.47.1.7", "net-10.47.1.0-24"),
            ("10.47.1.200", "net-10.47.1.0-24"),
            ("192.168.0.1", "net-192.168.0.0-24"),
            ("fd00:0:0:1::9", "net-fd00-0-0-1-64"),
            ("fe80::1", "net-fe80-0-0-0-64"),
            ("8.8.8.8", "external"),
            ("172.32.0.1", "external"),
            ("2001:db8::1", "external"),
            ("0.0.0.0", "external"),
            ("224.0.0.251", "multicast"),
            ("255.255.255.255", "multicast"),
            ("ff02::1", "multicast"),
        ];
        for (address, expected) in cases {
            assert_eq!(name(&mut networks, address), expected, "{address}");
        }
        assert_eq!(networks.policy().groups.len(), 4);
    }

    #[test]
    fn the_policy_agrees_about_every_address() {
        let mut networks = Networks::default();
        for address in ["10.0.0.1", "10.0.1.1", "9.9.9.9", "fd00::1", "224.0.0.1"] {
            let address = address.parse().unwrap();
            let groups = networks.groups(address);
            let listed = networks.policy().groups_of(SegmentId::DEFAULT, address);
            let listed: Vec<u32> =
                listed.into_iter().filter(|id| *id != GroupId::ANY).map(|id| id.0).collect();
            assert_eq!(*groups, listed);
        }
        assert_eq!(
            (networks.policy().version, networks.policy().default_action),
            (PolicyVersion(4), Action::Allow)
        );
    }

    #[test]
    fn networks_are_bounded_by_the_groups_of_a_policy() {
        let mut networks = Networks::default();
        for bits in 0..=u32::try_from(limits::GROUPS_MAX).unwrap() {
            networks.groups(IpAddr::V4((0x0a00_0000 | bits << 8).into()));
        }
        assert_eq!((networks.policy().groups.len(), networks.left_out()), (limits::GROUPS_MAX, 1));
    }
}
