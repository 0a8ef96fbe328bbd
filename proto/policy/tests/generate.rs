//! Generated policies and packets are what the tests that use them rely on: legal, repeatable, and rich in ties.
#![expect(clippy::print_stdout, reason = "the shares are what a reader of the test wants to see")]

use meshgate_policy::generate::{self, Rng, Shape};
use meshgate_policy::{Action, Mode, Policy, PolicyKey, Rule, Side, Stage};

/// How many packets of which kind were seen.
#[derive(Debug, Default)]
struct Shares {
    packets: u32,
    rules: u32,
    membership: u32,
    default: u32,
    three_or_more: u32,
    ties: u32,
    shadow: u32,
    v6: u32,
    other_segment: u32,
}

impl Shares {
    fn count(&mut self, policy: &Policy, key: &PolicyKey) {
        let enforced: Vec<&Rule> =
            policy.rules.iter().filter(|rule| !rule.shadow && policy.rule_matches(rule, key)).collect();
        self.packets += 1;
        match policy.decide(key).stage {
            Stage::Rules => self.rules += 1,
            Stage::Membership => self.membership += 1,
            _ => self.default += 1,
        }
        self.three_or_more += u32::from(enforced.len() >= 3);
        self.ties += u32::from(enforced.len() >= 2 && enforced[0].priority == enforced[1].priority);
        self.shadow += u32::from(policy.decide_shadow(key).is_some());
        self.v6 += u32::from(key.source.is_ipv6());
        self.other_segment += u32::from(key.segment != meshgate_policy::SegmentId::DEFAULT);
    }

    #[track_caller]
    fn assert_at_least(&self, (count, percent, what): (u32, u32, &str)) {
        let share = f64::from(count) * 100.0 / f64::from(self.packets);
        println!("{share:5.1} % {what}");
        assert!(
            share >= f64::from(percent),
            "{what}: {share:.1} %, at least {percent} % are needed: {self:?}"
        );
    }
}

fn assert_shares(shape: Shape, policies: u64, packets: u32) {
    let mut shares = Shares::default();
    for seed in 0..policies {
        let policy = generate::policy(seed, shape);
        let mut rng = Rng::new(seed ^ 0xabcd);
        for _ in 0..packets {
            let key = generate::packet(&policy, &mut rng);
            assert_eq!(key.source.is_ipv4(), key.destination.is_ipv4(), "seed {seed}: {key:?}");
            shares.count(&policy, &key);
        }
    }
    println!("{shape:?}, {policies} policies, {} packets", shares.packets);
    let limits = [
        (shares.rules, 40, "decided by a rule"),
        (shares.membership, 5, "decided by a common group"),
        (shares.default, 5, "decided by the default"),
        (shares.three_or_more, 5, "with three or more matching rules"),
        (shares.ties, 5, "where a tie was broken"),
        (shares.shadow, 2, "where a shadow rule would change the action"),
        (shares.v6, 20, "of IPv6"),
        (shares.other_segment, 10, "of another segment than default"),
    ];
    for limit in limits {
        shares.assert_at_least(limit);
    }
}

#[test]
fn packets_of_small_policies_meet_every_stage_and_many_ties() {
    assert_shares(Shape::default(), 40, 100);
}

#[test]
fn packets_of_larger_policies_meet_every_stage_and_many_ties() {
    assert_shares(Shape::new(400, 40, 300), 4, 150);
}

#[test]
fn a_seed_gives_the_same_policy_and_packets_again() {
    let draw = || {
        let policy = generate::policy(11, Shape::default());
        let mut rng = Rng::new(5);
        let packets: Vec<PolicyKey> = (0..50).map(|_| generate::packet(&policy, &mut rng)).collect();
        (policy, packets)
    };
    assert_eq!(draw(), draw());
    assert_ne!(generate::policy(11, Shape::default()), generate::policy(12, Shape::default()));
}

#[test]
fn every_action_mode_and_kind_of_side_occurs() {
    let mut modes = [0; 3];
    let mut actions = [0; 3];
    let mut prefix_sides = 0;
    for seed in 0..10 {
        let authored = generate::authored(seed, Shape::default());
        let both = authored.relationships.iter().map(|r| (r.mode, r.action));
        for (mode, action) in both.chain(authored.rules.iter().map(|r| (r.mode, r.action))) {
            modes[[Mode::Enforce, Mode::Shadow, Mode::Disabled].iter().position(|m| *m == mode).unwrap()] +=
                1;
            actions
                [[Action::Allow, Action::Deny, Action::Reject].iter().position(|a| *a == action).unwrap()] +=
                1;
        }
        let policy = generate::policy(seed, Shape::default());
        prefix_sides += policy.rules.iter().filter(|rule| matches!(rule.source, Side::Prefixes(_))).count();
    }
    assert!(modes.iter().chain(&actions).all(|count| *count > 20), "{modes:?} {actions:?}");
    assert!(prefix_sides > 20);
}

#[test]
fn addresses_are_in_several_groups_at_once() {
    let policy = generate::policy(3, Shape::new(200, 24, 10));
    let most = policy.endpoints.iter().flat_map(|endpoint| {
        endpoint.addresses.iter().map(|address| policy.groups_of(endpoint.segment, *address).len())
    });
    assert!(most.max().unwrap() >= 5);
}

#[test]
fn addresses_recur_in_another_segment() {
    let policy = generate::policy(3, Shape::default());
    let owners = |address| policy.endpoints.iter().filter(move |e| e.addresses.contains(address)).count();
    assert!(policy.endpoints.iter().flat_map(|e| &e.addresses).filter(|a| owners(a) == 2).count() >= 4);
}

#[test]
fn empty_and_tiny_shapes_give_policies_and_packets_too() {
    for shape in [Shape::new(0, 0, 0), Shape::new(1, 0, 3), Shape::new(0, 1, 1), Shape::new(3, 9, 0)] {
        let policy = generate::policy(1, Shape { segments: 1, ..shape });
        let mut rng = Rng::new(1);
        for _ in 0..100 {
            policy.decide(&generate::packet(&policy, &mut rng));
        }
    }
}
