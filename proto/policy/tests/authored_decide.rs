//! What people wrote and what `resolve` made of it decide alike.
#![expect(clippy::unwrap_used, reason = "the whole file is a test")]

use meshgate_policy::generate::{self, Rng, Shape};
use meshgate_policy::{AuthoredKey, AuthoredPolicy, Numbering, Policy, PolicyKey, PolicyVersion, resolve};

/// Policies judged. With [`PACKETS`] each that is 120,000 pairs.
const POLICIES: u64 = 1_200;
/// Packets drawn from each policy.
const PACKETS: usize = 100;

fn by_name(policy: &Policy, key: &PolicyKey) -> AuthoredKey {
    let segment = policy.segments.iter().find(|segment| segment.id == key.segment).unwrap();
    let PolicyKey { segment: _, source, destination, l4 } = *key;
    AuthoredKey { segment: segment.name.clone(), source, destination, l4 }
}

fn assert_alike(authored: &AuthoredPolicy, policy: &Policy, key: &PolicyKey, seed: u64) {
    let by_name = by_name(policy, key);
    let (wanted, found) = (authored.decide(&by_name), policy.decide(key));
    let facts = |what: &str| format!("seed {seed}: {what}: {by_name:?}: {wanted:?} and {found:?}");
    assert_eq!((wanted.stage, wanted.action), (found.stage, found.action), "{}", facts("verdict"));
    assert_eq!(wanted.rule, found.rule, "{}", facts("rule"));
    let lowest = policy.groups.iter().find(|group| wanted.groups.contains(&group.name));
    assert_eq!(lowest.map(|group| group.id), found.group, "{}", facts("group"));
    let (wanted, found) = (authored.decide_shadow(&by_name), policy.decide_shadow(key));
    let wanted = wanted.map(|wanted| (wanted.action, wanted.rule));
    let found = found.map(|found| (found.decision.action, Some(found.rule)));
    assert_eq!(wanted, found, "seed {seed}: shadow: {by_name:?}");
}

/// Gives the rules each other's numbers, so that these follow neither the order of writing nor the kind.
fn swap_rule_numbers(authored: &mut AuthoredPolicy, rng: &mut Rng) {
    let relationships = authored.relationships.iter_mut().map(|rule| &mut rule.id);
    let mut ids: Vec<_> = relationships.chain(authored.rules.iter_mut().map(|rule| &mut rule.id)).collect();
    for at in (1..ids.len()).rev() {
        let other = rng.index(at + 1);
        (*ids[at], *ids[other]) = (*ids[other], *ids[at]);
    }
}

#[test]
fn resolve_changes_no_verdict() {
    for seed in 0..POLICIES {
        let mut rng = Rng::new(seed);
        let shape = Shape::new(3 + rng.index(9), 1 + rng.index(8), rng.index(20));
        let mut authored = generate::authored(seed, shape);
        let mut numbering = Numbering::default();
        numbering.assign(&mut authored).unwrap();
        swap_rule_numbers(&mut authored, &mut rng);
        // Numbers that do not follow the order of writing, as after many commits.
        let mut older = authored.clone();
        older.groups.reverse();
        let mut numbering = if rng.chance(50) { Numbering::default() } else { numbering };
        numbering.assign(&mut older).unwrap();
        numbering.assign(&mut authored).unwrap();
        let policy = resolve(&authored, &numbering, PolicyVersion(seed)).unwrap();
        for _ in 0..PACKETS {
            assert_alike(&authored, &policy, &generate::packet(&policy, &mut rng), seed);
        }
    }
}

#[test]
fn the_order_of_writing_changes_no_verdict() {
    for seed in 0..100 {
        let mut authored = generate::authored(seed, Shape::new(8, 8, 15));
        let mut numbering = Numbering::default();
        numbering.assign(&mut authored).unwrap();
        let policy = resolve(&authored, &numbering, PolicyVersion(1)).unwrap();
        let mut shuffled = authored.clone();
        shuffled.rules.reverse();
        let half = shuffled.relationships.len() / 2;
        shuffled.relationships.rotate_left(half);
        shuffled.groups.reverse();
        shuffled.endpoints.reverse();
        assert_eq!(resolve(&shuffled, &numbering, PolicyVersion(1)).as_ref(), Ok(&policy), "seed {seed}");
        let mut rng = Rng::new(seed);
        for _ in 0..20 {
            let key = generate::packet(&policy, &mut rng);
            assert_alike(&shuffled, &policy, &key, seed);
        }
    }
}
