//! The digest is pinned: a change of the encoding must be seen, and made on purpose.
#![expect(clippy::unwrap_used, reason = "the whole file is a test")]

use meshgate_policy::{AuthoredPolicy, Digest, Numbering, Policy, PolicyVersion, resolve};

/// A policy that has every variant the encoding knows.
const EVERYTHING: &str = "
default_action = 'allow'
segments = [{ name = 'lab' }]
endpoints = [
    { name = 'vm1', mac = '02:00:00:00:00:01', addresses = ['10.0.0.1', 'fd00::1'], labels = { role = 'web' }, home = { host = 'h1', device = 'tap0' } },
    { name = 'vm2', mac = '02:00:00:00:00:02', segment = 'lab', flags = { router = true, dhcp_server = true, router_advertiser = true }, routes = ['10.9.0.0/16'] },
]
groups = [
    { name = 'web', selector = { role = 'web' }, prefixes = ['10.1.0.0/16', 'fd01::/64'], intra_group = 'deny' },
    { name = 'db', segment = 'lab', members = ['vm2'] },
]
relationships = [
    { source_group_name = 'web', destination_group_name = 'db', protocol = 'TCP', port_range = '80,443-445', action = 'allow' },
    { source_group_name = 'any', destination_group_name = 'db', protocol = 'ICMP', icmp_type = 8, icmp_code = 0, action = 'reject' },
    { source_group_name = 'external', destination_group_name = 'multicast', protocol = 'ICMPv6', icmp_type = 128, action = 'deny', mode = 'shadow' },
]
rules = [
    { group_name = 'web', direction = 'ingress', peer = ['192.0.2.0/24'], protocol = '47', action = 'deny', priority = 7 },
    { group_name = 'web', direction = 'egress', action = 'allow' },
]";

fn everything() -> Policy {
    let mut authored: AuthoredPolicy = toml::from_str(EVERYTHING).unwrap();
    let mut numbering = Numbering::default();
    numbering.assign(&mut authored).unwrap();
    resolve(&authored, &numbering, PolicyVersion(3)).unwrap()
}

#[test]
fn the_digest_of_a_known_policy_is_the_known_digest() {
    let digest = everything().digest();
    assert_eq!(digest.to_string(), "6fe6a0eddc9b275ba2d10816bb0957842206c2d0d1c1751cd595b6b967afc23a");
    assert_eq!(digest.short(), digest.to_string()[..12]);
    assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
}

#[test]
fn the_order_of_writing_does_not_change_the_digest() {
    let mut authored: AuthoredPolicy = toml::from_str(EVERYTHING).unwrap();
    let mut numbering = Numbering::default();
    numbering.assign(&mut authored).unwrap();
    authored.groups.reverse();
    authored.endpoints.reverse();
    authored.relationships.reverse();
    authored.rules.reverse();
    authored.groups[1].prefixes.reverse();
    let policy = resolve(&authored, &numbering, PolicyVersion(3)).unwrap();
    assert_eq!(policy.digest(), everything().digest());
}

#[test]
fn every_change_changes_the_digest() {
    let base = everything();
    let changes: [fn(&mut Policy); 16] = [
        |p| p.version = PolicyVersion(4),
        |p| p.default_action = meshgate_policy::Action::Deny,
        |p| p.segments[1].name = "other".parse().unwrap(),
        |p| p.groups[0].name = "other".parse().unwrap(),
        |p| p.groups[0].endpoints.clear(),
        |p| p.groups[0].prefixes.clear(),
        |p| p.groups[0].intra_group = meshgate_policy::IntraGroup::Allow,
        |p| p.endpoints[0].mac.0[5] = 9,
        |p| p.endpoints[0].addresses.clear(),
        |p| p.endpoints[0].host = None,
        |p| p.endpoints[0].device = Some(String::new()),
        |p| p.endpoints[1].flags.dhcp_server = false,
        |p| p.endpoints[1].routes.clear(),
        |p| p.rules[0].shadow ^= true,
        |p| p.rules[0].l4 = meshgate_policy::L4Match::Icmp(meshgate_policy::Protocol::ICMP, 8, None),
        |p| p.rules[0].priority.0 ^= 1,
    ];
    let mut digests = std::collections::BTreeSet::from([base.digest()]);
    for change in changes {
        let mut policy = base.clone();
        change(&mut policy);
        digests.insert(policy.digest());
    }
    assert_eq!(digests.len(), changes.len() + 1);
}

#[test]
fn texts_and_bytes_that_are_no_digest_are_refused() {
    for text in ["", "00", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
        assert!(text.parse::<Digest>().is_err(), "{text}");
    }
    assert!(Digest::try_from(&[0u8; 31][..]).is_err());
}
