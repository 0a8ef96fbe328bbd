//! A delta leads from one version to the other and from nothing else to anything.

use meshgate_policy::generate::{self, Rng, Shape};
use meshgate_policy::{
    Action, AuthoredPolicy, DeltaError, Digest, GroupId, Numbering, Policy, PolicyVersion, resolve,
};

/// Changes some of everything a policy holds.
fn edit(policy: &mut AuthoredPolicy, rng: &mut Rng) {
    let fresh = generate::authored(rng.next_u64(), Shape::new(12, 8, 12));
    for _ in 0..rng.index(6) {
        let at = |length: usize, rng: &mut Rng| rng.index(length);
        match rng.below(6) {
            0 if !policy.relationships.is_empty() => {
                let at = at(policy.relationships.len(), rng);
                policy.relationships.remove(at);
            }
            1 if !policy.rules.is_empty() => {
                let at = at(policy.rules.len(), rng);
                policy.rules[at].action = Action::Reject;
                policy.rules[at].priority.0 ^= 1;
            }
            2 => policy.relationships.extend(fresh.relationships.iter().take(2).cloned()),
            3 => policy.rules.extend(fresh.rules.iter().take(1).cloned()),
            4 => {
                let at = at(policy.groups.len(), rng);
                policy.groups[at].prefixes.truncate(1);
                policy.groups[at].members.clear();
            }
            _ => {
                let at = at(policy.endpoints.len(), rng);
                policy.endpoints[at].addresses.truncate(1);
                policy.endpoints[at].home = None;
                policy.default_action = Action::Allow;
            }
        }
    }
}

#[test]
fn a_delta_leads_from_every_version_to_every_later_one() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut authored = generate::authored(seed, Shape::new(12, 8, 12));
        let mut numbering = Numbering::default();
        let mut versions: Vec<Policy> = vec![Policy::empty(Action::Deny)];
        for version in 1..6 {
            numbering.assign(&mut authored).unwrap();
            versions.push(resolve(&authored, &numbering, PolicyVersion(version)).unwrap());
            edit(&mut authored, &mut rng);
        }
        for (at, older) in versions.iter().enumerate() {
            for newer in &versions[at + 1..] {
                let delta = older.delta_to(newer);
                assert_eq!(older.apply(&delta).as_ref(), Ok(newer), "seed {seed}");
            }
        }
    }
}

#[test]
fn a_delta_holds_only_what_changed() {
    let older = generate::policy(1, Shape::default());
    let mut newer = older.clone();
    newer.version = PolicyVersion(2);
    newer.groups[3].prefixes.clear();
    newer.groups[3].endpoints.clear();
    let gone = newer.rules.remove(5).id;
    let delta = older.delta_to(&newer);
    assert_eq!(delta.changes(), 2);
    assert_eq!((delta.groups.as_slice(), delta.removed_rules.as_slice()), (&newer.groups[3..4], &[gone][..]));
}

#[test]
fn a_delta_for_another_version_is_refused() {
    let older = generate::policy(1, Shape::default());
    let newer = Policy { version: PolicyVersion(5), ..older.clone() };
    let delta = older.delta_to(&newer);
    let error = newer.apply(&delta).unwrap_err();
    assert_eq!(error.to_string(), "the delta applies to version 1, this policy is version 5");
    assert_eq!(
        older.apply(&older.delta_to(&older)),
        Err(DeltaError::Backwards { from: PolicyVersion(1), to: PolicyVersion(1) })
    );
}

#[test]
fn a_delta_that_leads_elsewhere_is_refused() {
    let older = generate::policy(1, Shape::default());
    let newer = Policy { version: PolicyVersion(2), ..generate::policy(2, Shape::default()) };
    let mut delta = older.delta_to(&newer);
    delta.rules.pop();
    assert!(matches!(older.apply(&delta), Err(DeltaError::WrongDigest { .. })));
    let mut delta = older.delta_to(&newer);
    delta.digest = Digest::default();
    let error = older.apply(&delta).unwrap_err().to_string();
    assert!(error.starts_with("the digest of version 2 is ") && !error.contains('\n'), "{error}");
    let mut delta = older.delta_to(&newer);
    delta.removed_groups.push(GroupId(4_000_000));
    assert_eq!(older.apply(&delta), Err(DeltaError::NothingToRemove { kind: "group", number: 4_000_000 }));
}

#[test]
fn the_same_host_state_that_differs_in_secret_is_found_out_by_the_digest() {
    let older = generate::policy(1, Shape::default());
    let mut newer = older.clone();
    newer.version = PolicyVersion(2);
    newer.default_action = if older.default_action == Action::Deny { Action::Allow } else { Action::Deny };
    let mut damaged = older.clone();
    damaged.rules[0].shadow ^= true;
    assert!(matches!(damaged.apply(&older.delta_to(&newer)), Err(DeltaError::WrongDigest { .. })));
}
