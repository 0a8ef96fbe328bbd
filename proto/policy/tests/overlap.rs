//! Contains, overlaps and shadows, by hand and against packets.
#![expect(clippy::unwrap_used, reason = "the whole file is a test")]

use meshgate_policy::generate::{self, Rng, Shape};
use meshgate_policy::{
    AuthoredPolicy, Conflict, ConflictKind, Numbering, Policy, PolicyVersion, Relation, RuleId, resolve,
};

const GROUPS: &str = "
segments = [{ name = 'lab' }]
endpoints = [
    { name = 'vm1', mac = '02:00:00:00:00:01', addresses = ['10.0.1.1'] },
    { name = 'vm2', mac = '02:00:00:00:00:02', addresses = ['10.0.2.1', 'fd00::2'] },
    { name = 'vm3', mac = '02:00:00:00:00:03', addresses = ['10.0.1.1'], segment = 'lab' },
]
groups = [
    { name = 'ten', prefixes = ['10.0.0.0/8'] },
    { name = 'halves', prefixes = ['10.0.0.0/9', '10.128.0.0/9'] },
    { name = 'both', members = ['vm1', 'vm2'] },
    { name = 'one', members = ['vm1'] },
    { name = 'six', prefixes = ['fd00::/16'] },
    { name = 'lab-one', members = ['vm3'] },
    { name = 'nobody' },
]
";

fn policy(rules: &str) -> Policy {
    let mut authored: AuthoredPolicy = toml::from_str(&format!("{GROUPS}{rules}")).unwrap();
    let mut numbering = Numbering::default();
    numbering.assign(&mut authored).unwrap();
    resolve(&authored, &numbering, PolicyVersion(1)).unwrap()
}

/// Returns a relationship of the numbered rules below, as one line of a policy file.
fn line((id, source, destination): (u32, &str, &str), rest: &str) -> String {
    format!(
        "{{ id = {id}, source_group_name = '{source}', destination_group_name = '{destination}', {rest} }}"
    )
}

fn two(a: (&str, &str, &str), b: (&str, &str, &str)) -> (Relation, Relation) {
    let line = |id, (source, destination, rest): (&str, &str, &str)| line((id, source, destination), rest);
    let policy = policy(&format!("relationships = [{}, {}]", line(1, a), line(2, b)));
    let rule = |id| policy.rules.iter().find(|rule| rule.id == RuleId(id)).unwrap();
    (policy.relation(rule(1), rule(2)), policy.relation(rule(2), rule(1)))
}

#[test]
fn rules_relate_as_their_addresses_do() {
    let deny = "action = 'deny'";
    let cases = [
        (("ten", "any"), ("halves", "any"), Relation::Equal),
        (("ten", "any"), ("one", "any"), Relation::Contains),
        (("both", "any"), ("ten", "any"), Relation::Crosses),
        (("both", "one"), ("one", "both"), Relation::Crosses),
        (("one", "six"), ("any", "any"), Relation::Apart),
        (("one", "any"), ("lab-one", "any"), Relation::Apart),
        (("one", "lab-one"), ("any", "any"), Relation::Apart),
        (("external", "any"), ("ten", "any"), Relation::Apart),
        (("external", "any"), ("multicast", "any"), Relation::Apart),
        (("any", "any"), ("external", "multicast"), Relation::Contains),
        (("nobody", "any"), ("any", "any"), Relation::Apart),
    ];
    for (a, b, relation) in cases {
        let mirrored = match relation {
            Relation::Contains => Relation::Within,
            Relation::Within => Relation::Contains,
            same => same,
        };
        let found = two((a.0, a.1, deny), (b.0, b.1, deny));
        assert_eq!(found, (relation, mirrored), "{a:?} {b:?}");
    }
}

#[test]
fn sides_of_different_families_do_not_hinder_containing() {
    // `both` has an IPv6 address that `ten` has not, but no IPv6 packet goes from it to `one`.
    let deny = "action = 'deny'";
    assert_eq!(two(("ten", "one", deny), ("both", "one", deny)).0, Relation::Contains);
}

#[test]
fn rules_relate_as_their_ports_do() {
    let tcp = |ports: &str| format!("action = 'deny', protocol = 'TCP', port_range = '{ports}'");
    let relate = |a: &str, b: &str| two(("ten", "ten", &tcp(a)), ("ten", "ten", &tcp(b))).0;
    assert_eq!(relate("1-10", "1-5,6-10"), Relation::Equal);
    assert_eq!(relate("1-10", "10"), Relation::Contains);
    assert_eq!(relate("1-10", "10-11"), Relation::Crosses);
    assert_eq!(relate("1-10", "11"), Relation::Apart);
}

#[test]
fn a_rule_behind_a_broader_one_is_shadowed_by_it() {
    let policy = policy(&format!(
        "relationships = [{}, {}, {}, {}]",
        line((1, "any", "ten"), "action = 'deny', priority = 20"),
        line((2, "one", "both"), "action = 'allow', priority = 10"),
        line((3, "one", "six"), "action = 'allow', priority = 10"),
        line((4, "one", "ten"), "action = 'allow', priority = 30"),
    ));
    let shadowing = |at: usize| policy.shadowed_by(&policy.rules[at]);
    assert_eq!(policy.rules[2].id, RuleId(2));
    assert_eq!(shadowing(2), [RuleId(4)]);
    assert_eq!((shadowing(0), shadowing(1), shadowing(3)), (vec![], vec![], vec![]));
    assert!(policy.extents().is_empty(&policy.rules[3]));
}

#[test]
fn rules_shadow_together_over_protocols_and_ports() {
    let tcp =
        |ports: &str| format!("action = 'allow', priority = 2000, protocol = 'TCP', port_range = '{ports}'");
    let text = |last: &str| {
        format!(
            "relationships = [{}, {}, {}]",
            line((1, "any", "ten"), &tcp("0-99,101-65535")),
            line((2, "one", "halves"), &tcp(last)),
            line((3, "one", "ten"), "action = 'deny', protocol = 'TCP'"),
        )
    };
    let shadowed = policy(&text("100"));
    assert_eq!(shadowed.shadowed_by(&shadowed.rules[2]), [RuleId(1), RuleId(2)]);
    let open = policy(&text("99"));
    assert_eq!(open.shadowed_by(&open.rules[2]), []);
}

#[test]
fn a_rule_in_shadow_hides_no_enforced_rule_but_one_in_shadow() {
    let text = |mode: &str| {
        format!(
            "relationships = [{}, {}]",
            line((1, "any", "any"), "action = 'deny', priority = 2000, mode = 'shadow'"),
            line((2, "one", "ten"), &format!("action = 'allow', mode = '{mode}'")),
        )
    };
    let (enforced, shadow) = (policy(&text("enforce")), policy(&text("shadow")));
    assert_eq!(enforced.shadowed_by(&enforced.rules[1]), []);
    assert_eq!(shadow.shadowed_by(&shadow.rules[1]), [RuleId(1)]);
}

#[test]
fn a_crossing_or_equal_rule_of_the_other_action_conflicts_and_a_narrower_one_narrows() {
    let policy = policy(&format!(
        "relationships = [{}, {}, {}, {}, {}]",
        line((1, "ten", "ten"), "action = 'deny'"),
        line((2, "halves", "halves"), "action = 'allow'"),
        line((3, "both", "any"), "action = 'allow'"),
        line((4, "one", "ten"), "action = 'allow'"),
        line((5, "both", "both"), "action = 'reject', priority = 60001"),
    ));
    let mut rule = policy.rules.iter().find(|rule| rule.id == RuleId(1)).unwrap().clone();
    let extents = policy.extents();
    let conflict = |id, kind| Conflict { rule: RuleId(id), kind };
    assert_eq!(
        extents.conflicts_of(&rule),
        [conflict(2, ConflictKind::Equal), conflict(3, ConflictKind::Crosses)]
    );
    let four = policy.rules.iter().find(|rule| rule.id == RuleId(4)).unwrap();
    assert_eq!(extents.narrows(four), [RuleId(1)]);
    assert_eq!(extents.conflicts_of(four), [conflict(5, ConflictKind::Crosses)]);
    rule.action = meshgate_policy::Action::Allow;
    rule.priority.0 = 60_002;
    assert_eq!(extents.conflicts_of(&rule)[0], conflict(5, ConflictKind::Outranks));
    let pairs = policy.conflicts();
    let numbers: Vec<_> = pairs.iter().map(|pair| (pair.first.0, pair.second.0)).collect();
    assert_eq!(numbers, [(5, 2), (5, 4), (1, 2), (1, 3)]);
}

#[test]
fn relations_agree_with_packets() {
    for seed in 0..30 {
        let policy = generate::policy(seed, Shape::new(20, 12, 25));
        let extents = policy.extents();
        let mut rng = Rng::new(seed);
        let keys: Vec<_> = (0..150).map(|_| generate::packet(&policy, &mut rng)).collect();
        let taken: Vec<Vec<bool>> = policy
            .rules
            .iter()
            .map(|rule| keys.iter().map(|key| policy.rule_matches(rule, key)).collect())
            .collect();
        for (a, a_taken) in policy.rules.iter().zip(&taken) {
            assert!(!(extents.is_empty(a) && a_taken.contains(&true)), "seed {seed}: {a:?}");
            for (b, b_taken) in policy.rules.iter().zip(&taken) {
                let relation = extents.relation(a, b);
                let pairs = || a_taken.iter().zip(b_taken);
                let only_b = pairs().any(|(a, b)| *b && !*a);
                let only_a = pairs().any(|(a, b)| *a && !*b);
                let both = pairs().any(|(a, b)| *a && *b);
                let fits = match relation {
                    Relation::Apart => !both,
                    Relation::Equal => !only_a && !only_b,
                    Relation::Contains => !only_b,
                    Relation::Within => !only_a,
                    Relation::Crosses => true,
                };
                assert!(fits, "seed {seed}: {relation:?} of {a:?} and {b:?}");
                let contains = matches!(relation, Relation::Contains | Relation::Equal);
                assert_eq!(contains || extents.is_empty(b), extents.contains(a, b), "seed {seed}");
            }
        }
    }
}

#[test]
fn a_shadowed_rule_never_decides() {
    let mut shadowed_rules = 0;
    for seed in 0..40 {
        let policy = generate::policy(seed, Shape::new(20, 10, 40));
        let extents = policy.extents();
        let shadowed: Vec<RuleId> = policy
            .rules
            .iter()
            .filter(|rule| !rule.shadow && !extents.shadowed_by(rule).is_empty())
            .map(|rule| rule.id)
            .collect();
        shadowed_rules += shadowed.len();
        let mut rng = Rng::new(seed);
        for _ in 0..150 {
            let key = generate::packet(&policy, &mut rng);
            let rule = policy.decide(&key).rule;
            assert!(!rule.is_some_and(|rule| shadowed.contains(&rule)), "seed {seed}: {key:?} {rule:?}");
        }
    }
    assert!(shadowed_rules > 50, "{shadowed_rules}");
}

/// Returns the policy with the rule under the number, or the rule of that number enforced alone among those in shadow.
fn decides(policy: &Policy, rule: &meshgate_policy::Rule, packet: &meshgate_policy::PolicyKey) -> bool {
    let mut all = policy.clone();
    if rule.shadow {
        all.rules.iter_mut().for_each(|rule| rule.shadow = false);
    }
    all.decide(packet).rule == Some(rule.id)
}

#[test]
fn a_packet_that_a_rule_is_said_to_decide_it_decides_and_otherwise_it_decides_none() {
    let (mut deciding, mut idle, mut idle_by_many) = (0, 0, 0);
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let shape = Shape::new(2 + rng.index(8), 1 + rng.index(6), 4 + rng.index(24));
        let policy = generate::policy(seed, shape);
        let extents = policy.extents();
        let packets: Vec<_> = (0..150).map(|_| generate::packet(&policy, &mut rng)).collect();
        for rule in &policy.rules {
            if let Some(packet) = extents.packet_decided_by(rule) {
                assert!(decides(&policy, rule, &packet), "seed {seed}: rule {} and {packet:?}", rule.id);
                assert!(extents.shadowed_by(rule).is_empty(), "seed {seed}: rule {}", rule.id);
                deciding += 1;
                continue;
            }
            let decided = packets.iter().find(|packet| decides(&policy, rule, packet));
            assert_eq!(decided, None, "seed {seed}: rule {}", rule.id);
            idle += 1;
            idle_by_many += u32::from(extents.shadowed_by(rule).is_empty() && !extents.is_empty(rule));
        }
    }
    assert!(deciding > 1_000 && idle > 100 && idle_by_many > 5, "{deciding}, {idle}, {idle_by_many}");
}
