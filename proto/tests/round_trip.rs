//! What is written as a message and read back is the same.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use meshgate_policy::generate::Shape;
use meshgate_policy::{
    Action, AuthoredPolicy, Delta, Endpoint, EndpointFlags, EndpointId, Group, GroupId, IntraGroup, L4Match,
    Name, Policy, PolicyVersion, Priority, Protocol, Rule, RuleId, RuleKind, SegmentId, Side,
};
use meshgate_proto::wire;
use prost::Message;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn rule(id: u32, source: Side, l4: L4Match) -> Rule {
    Rule {
        id: RuleId(id),
        kind: RuleKind::GroupRule,
        priority: Priority(1000),
        action: Action::Reject,
        shadow: id.is_multiple_of(2),
        source,
        destination: Side::Group(GroupId::EXTERNAL),
        l4,
    }
}

fn every_shape() -> Policy {
    let endpoint = Endpoint {
        id: EndpointId(3),
        name: name("router.1"),
        segment: SegmentId::DEFAULT,
        mac: "02:00:00:00:00:01".parse().unwrap(),
        addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        routes: vec!["10.1.0.0/16".parse().unwrap()],
        flags: EndpointFlags { router: true, router_advertiser: true, ..EndpointFlags::default() },
        host: Some(name("h1")),
        device: Some("tap0".into()),
    };
    let group = Group {
        id: GroupId(16),
        name: name("web"),
        segment: SegmentId::DEFAULT,
        prefixes: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/16".parse().unwrap()],
        endpoints: vec![EndpointId(3)],
        intra_group: IntraGroup::Deny,
    };
    let prefixes = Side::Prefixes(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
    Policy {
        version: PolicyVersion(u64::MAX),
        groups: vec![group],
        endpoints: vec![endpoint],
        rules: vec![
            rule(1, Side::Group(GroupId(16)), L4Match::Any),
            rule(2, prefixes, L4Match::Protocol(Protocol(47))),
            rule(3, Side::Group(GroupId::ANY), L4Match::Ports(Protocol::TCP, "22,80-8080".parse().unwrap())),
            rule(4, Side::Group(GroupId::MULTICAST), L4Match::Icmp(Protocol::ICMP, 8, Some(0))),
            rule(5, Side::Group(GroupId::MULTICAST), L4Match::Icmp(Protocol::ICMPV6, 128, None)),
        ],
        ..Policy::empty(Action::Allow)
    }
}

#[test]
fn a_policy_with_every_shape_of_rule_survives_the_wire() {
    let policy = every_shape();
    assert_eq!(Policy::try_from(wire::Policy::from(&policy)).unwrap(), policy);
}

#[test]
fn an_authored_policy_survives_the_wire() {
    let text = r#"
        default_action = "allow"
        segments = [{ name = "lab" }]
        endpoints = [{ name = "vm1", segment = "lab", mac = "02:00:00:00:00:01", addresses = ["10.0.0.1", "fd00::1"],
                       labels = { app = "web" }, home = { host = "h1", device = "tap0" }, flags = { router = true },
                       routes = ["10.1.0.0/16"] },
                     { name = "vm2", mac = "02:00:00:00:00:02" }]
        groups = [{ name = "web", members = ["vm1"], selector = { app = "web" }, prefixes = ["10.0.0.0/8"],
                    intra_group = "deny" }]
        relationships = [{ sourceGroupName = "web", destinationGroupName = "any", protocol = "TCP",
                           portRange = "80-8080", action = "allow", priority = 0, mode = "shadow", note = "why" },
                         { id = 4, source_group_name = "web", destination_group_name = "web", action = "reject" }]
        rules = [{ id = 5, group_name = "web", direction = "ingress", peer = ["0.0.0.0/0"], protocol = "ICMP",
                   icmp_type = 8, icmp_code = 0, action = "deny", mode = "disabled" }]
    "#;
    let policy: AuthoredPolicy = toml::from_str(text).unwrap();
    assert_eq!(AuthoredPolicy::try_from(wire::AuthoredPolicy::from(&policy)).unwrap(), policy);
}

/// Policies drawn for each of the properties below.
const SEEDS: u64 = 40;

#[test]
fn random_policies_survive_the_wire() {
    for seed in 0..SEEDS {
        let shape = Shape::new(usize::try_from(seed).unwrap() * 3, 12, 40);
        let policy = meshgate_policy::generate::policy(seed, shape);
        let bytes = wire::Policy::from(&policy).encode_to_vec();
        let message = wire::Policy::decode(bytes.as_slice()).unwrap();
        assert_eq!(Policy::try_from(message).unwrap(), policy, "seed {seed}");
        let mut authored = meshgate_policy::generate::authored(seed, shape);
        if authored.default_action == Action::Reject {
            authored.default_action = Action::Deny; // The wire has no default that answers.
        }
        let bytes = wire::AuthoredPolicy::from(&authored).encode_to_vec();
        let message = wire::AuthoredPolicy::decode(bytes.as_slice()).unwrap();
        assert_eq!(AuthoredPolicy::try_from(message).unwrap(), authored, "seed {seed}");
    }
}

#[test]
fn random_deltas_survive_the_wire_and_lead_to_the_same_policy() {
    for seed in 0..SEEDS {
        let shape = Shape::new(30, 10, 30);
        let old = meshgate_policy::generate::policy(seed, shape);
        let mut new = meshgate_policy::generate::policy(seed + 1_000, shape);
        new.version = PolicyVersion(old.version.0 + 1);
        let bytes = wire::PolicyDelta::from(&old.delta_to(&new)).encode_to_vec();
        let delta = Delta::try_from(wire::PolicyDelta::decode(bytes.as_slice()).unwrap()).unwrap();
        assert_eq!(delta, old.delta_to(&new), "seed {seed}");
        assert_eq!(old.apply(&delta).unwrap(), new, "seed {seed}");
    }
}
