//! Transactions: all or nothing, numbers that stay, refusals that name.

use super::*;
use meshgate_policy::generate::Rng;
use meshgate_policy::{AuthoredEndpoint, AuthoredGroup, AuthoredRelationship, Name};

const SMALL: &str = r#"
    endpoints = [{ name = "vm1", mac = "02:00:00:00:00:01", addresses = ["10.0.0.1"] },
                 { name = "vm2", mac = "02:00:00:00:00:02", addresses = ["10.0.0.2"] }]
    groups = [{ name = "web", members = ["vm1"] }, { name = "db", members = ["vm2"] }]
    relationships = [{ sourceGroupName = "web", destinationGroupName = "db", protocol = "TCP", portRange = "5432",
                       action = "allow" }]
    rules = [{ group_name = "web", direction = "ingress", protocol = "TCP", port_range = "443", action = "allow" }]
"#;

fn authored(text: &str) -> AuthoredPolicy {
    toml::from_str(text).unwrap()
}

fn replace(text: &str) -> Vec<Change> {
    vec![Change::ReplaceAll(Box::new(authored(text)))]
}

fn small() -> PolicyBook {
    PolicyBook::default().apply(replace(SMALL), None).unwrap().book
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn relationship(source: &str, destination: &str) -> AuthoredRelationship {
    let text =
        format!("source_group_name = '{source}'\ndestination_group_name = '{destination}'\naction = 'deny'");
    toml::from_str(&text).unwrap()
}

fn group(text: &str) -> AuthoredGroup {
    toml::from_str(&format!("name = '{text}'")).unwrap()
}

#[test]
fn the_first_commit_is_version_1_and_numbers_what_it_creates() {
    let next = PolicyBook::default().apply(replace(SMALL), Some(PolicyVersion(0))).unwrap();
    assert!(next.changed);
    assert_eq!(next.book.version(), PolicyVersion(1));
    assert_eq!(next.created_ids, [RuleId(1), RuleId(2)]);
    assert_eq!(next.book.policy().rules.len(), 2);
}

#[test]
fn writing_the_same_again_makes_no_version() {
    let book = small();
    let next = book.apply(replace(SMALL), None).unwrap();
    assert!(!next.changed && next.created_ids.is_empty());
    assert_eq!(next.book, book);
    assert!(!book.apply(Vec::new(), None).unwrap().changed);
}

#[test]
fn changes_against_an_old_version_are_refused() {
    let fault = small().apply(Vec::new(), Some(PolicyVersion(0))).unwrap_err();
    assert_eq!(fault.to_string(), "expected_version: 0 is not the newest version, which is 1");
}

#[test]
fn an_equal_relationship_without_a_number_keeps_its_number() {
    let mut changed = authored(SMALL);
    changed.relationships.insert(0, relationship("db", "web"));
    let next = small().apply(vec![Change::ReplaceAll(Box::new(changed))], None).unwrap();
    let ids: Vec<_> = next.book.authored().relationships.iter().map(|r| r.id.unwrap().0).collect();
    assert_eq!((ids, next.created_ids), (vec![1, 3], vec![RuleId(3)]));
    assert_eq!(next.book.authored().relationships[0].source_group_name, name("web"));
}

#[test]
fn two_equal_relationships_keep_two_numbers() {
    let mut twice = authored(SMALL);
    twice.relationships.push(twice.relationships[0].clone());
    let change = || vec![Change::ReplaceAll(Box::new(twice.clone()))];
    let book = PolicyBook::default().apply(change(), None).unwrap().book;
    assert!(!book.apply(change(), None).unwrap().changed);
}

#[test]
fn created_numbers_come_in_the_order_of_the_changes() {
    let rule = authored(SMALL).rules.remove(0);
    let changes = vec![
        Change::PutRule(rule),
        Change::PutRelationship(relationship("web", "db")),
        Change::PutRelationship(relationship("db", "web")),
    ];
    let next = small().apply(changes, None).unwrap();
    assert_eq!(next.created_ids, [RuleId(3), RuleId(4), RuleId(5)]);
    assert_eq!(next.book.authored().rules.last().unwrap().id, Some(RuleId(3)));
    assert_eq!(next.book.authored().relationships.last().unwrap().id, Some(RuleId(5)));
}

#[test]
fn a_stated_number_replaces_and_an_unknown_one_is_refused() {
    let book = small();
    let mut changed = relationship("db", "web");
    changed.id = Some(RuleId(1));
    let next = book.apply(vec![Change::PutRelationship(changed.clone())], None).unwrap();
    assert_eq!(next.book.authored().relationships, [changed.clone()]);
    changed.id = Some(RuleId(2));
    let fault = book.apply(vec![Change::PutRelationship(changed)], None).unwrap_err();
    assert_eq!(fault.to_string(), "changes[0]: there is no relationship 2");
}

#[test]
fn a_deleted_number_never_comes_back() {
    let gone = small().apply(vec![Change::DeleteRelationship(RuleId(1))], None).unwrap().book;
    let next = gone.apply(replace(SMALL), None).unwrap();
    assert_eq!(next.created_ids, [RuleId(3)]);
    let mut stated = authored(SMALL);
    stated.relationships[0].id = Some(RuleId(1));
    let next = gone.apply(vec![Change::ReplaceAll(Box::new(stated))], None).unwrap();
    assert_eq!(next.created_ids, [RuleId(3)]);
}

#[test]
fn a_number_of_the_other_kind_is_not_taken_over() {
    let mut swapped = authored(SMALL);
    swapped.relationships[0].id = Some(RuleId(2));
    swapped.rules[0].id = Some(RuleId(1));
    let next = small().apply(vec![Change::ReplaceAll(Box::new(swapped))], None).unwrap();
    let ids: Vec<_> = next.book.policy().rules.iter().map(|rule| rule.id.0).collect();
    assert!(!next.changed || ids.iter().all(|id| *id > 2), "{ids:?}");
}

#[test]
fn deleting_what_is_used_is_refused_by_the_name_of_the_user() {
    let book = small();
    let fault = |change| book.apply(vec![change], None).unwrap_err().to_string();
    assert_eq!(
        fault(Change::DeleteGroup(name("web"))),
        "group web is still used by relationship 1 (web -> db)"
    );
    assert_eq!(fault(Change::DeleteEndpoint(name("vm1"))), "endpoint vm1 is still used by group web");
    let both = vec![Change::DeleteGroup(name("db")), Change::DeleteRelationship(RuleId(1))];
    assert!(book.apply(both, None).unwrap().changed);
}

#[test]
fn creating_what_exists_and_updating_what_does_not_are_refused() {
    let book = small();
    let fault = |change| book.apply(vec![change], None).unwrap_err().to_string();
    assert_eq!(fault(Change::CreateGroup(group("web"))), "changes[0]: group web exists already");
    assert_eq!(fault(Change::UpdateGroup(group("app"))), "changes[0]: there is no group app");
    assert_eq!(fault(Change::DeleteRule(RuleId(9))), "changes[0]: there is no rule 9");
}

#[test]
fn a_transaction_with_one_fault_changes_nothing() {
    let book = small();
    let before = book.clone();
    let changes =
        vec![Change::PutGroup(group("app")), Change::PutRelationship(relationship("app", "nobody"))];
    let fault = book.apply(changes, None).unwrap_err();
    assert!(matches!(&fault, BookFault::Policy(_)), "{fault}");
    assert!(fault.to_string().contains("nobody"), "{fault}");
    assert_eq!(book, before);
}

#[test]
fn a_whole_policy_with_a_name_twice_is_refused() {
    let fault =
        PolicyBook::default().apply(replace("groups = [{ name = 'a' }, { name = 'a' }]"), None).unwrap_err();
    assert_eq!(fault.to_string(), "changes[0]: group a occurs twice");
}

#[test]
fn a_kept_version_is_restored_to_the_same_digest() {
    let book = small();
    let json = serde_json::to_string(book.authored()).unwrap();
    let numbering = serde_json::to_string(book.numbering()).unwrap();
    let restored = PolicyBook::restore(
        serde_json::from_str(&json).unwrap(),
        serde_json::from_str(&numbering).unwrap(),
        book.version(),
    );
    assert_eq!(restored.unwrap().digest(), book.digest());
}

#[test]
fn a_difference_names_the_fields_that_changed() {
    let book = small();
    let mut changed = authored(SMALL);
    changed.groups[0].members = vec![name("vm1"), name("vm2")];
    changed.relationships[0].id = Some(RuleId(1));
    changed.relationships[0].priority = meshgate_policy::Priority(2000);
    changed.rules.clear();
    let next = book.apply(vec![Change::ReplaceAll(Box::new(changed))], None).unwrap().book;
    let words: Vec<String> = diff(book.authored(), next.authored())
        .into_iter()
        .map(|d| format!("{:?} {} {}: {}", d.kind, d.object, d.name, d.detail))
        .collect();
    assert_eq!(words[0], "Change group web: members: [vm1] -> [vm1, vm2]");
    assert_eq!(words[1], "Change relationship 1: priority: 1000 -> 2000");
    assert!(words[2].starts_with("Remove rule 2: "), "{}", words[2]);
    assert_eq!(words.len(), 3);
}

#[test]
fn rules_that_never_decide_and_contradictions_are_warned_of() {
    let mut changed = authored(SMALL);
    changed.relationships.push(relationship("web", "db"));
    let mut same = changed.relationships[0].clone();
    same.priority = meshgate_policy::Priority(5);
    changed.relationships.push(same);
    let book = PolicyBook::default();
    let next = book.apply(vec![Change::ReplaceAll(Box::new(changed))], None).unwrap().book;
    let sentences = warnings(book.policy(), next.policy());
    assert!(sentences.iter().any(|s| s.contains("never decides")), "{sentences:?}");
}

/// Returns a change of names and numbers that may or may not exist.
fn random_change(rng: &mut Rng) -> Change {
    let names = ["a", "b", "c", "d"];
    let name_of = |rng: &mut Rng| names[rng.index(names.len())];
    let id = RuleId(u32::try_from(rng.below(30)).unwrap() + 1);
    match rng.below(8) {
        0 => Change::PutGroup(group(name_of(rng))),
        1 => Change::CreateGroup(group(name_of(rng))),
        2 => Change::DeleteGroup(name(name_of(rng))),
        3 | 4 => Change::PutRelationship(relationship(name_of(rng), name_of(rng))),
        5 => {
            let mut changed = relationship(name_of(rng), name_of(rng));
            (changed.id, changed.priority) = (Some(id), meshgate_policy::Priority(rng.u16()));
            Change::PutRelationship(changed)
        }
        6 => Change::DeleteRelationship(id),
        _ => {
            let mut policy = authored("groups = [{ name = 'a' }, { name = 'b' }]");
            policy.relationships = vec![relationship("a", "b"), relationship("b", name_of(rng))];
            policy.relationships[1].id = rng.chance(50).then_some(id);
            Change::ReplaceAll(Box::new(policy))
        }
    }
}

#[test]
fn random_transactions_never_reuse_a_number_and_never_leave_half_a_version() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let mut book = small();
        let mut given = book.numbering().last_rule();
        let (mut committed, mut refused) = (0, 0);
        for step in 0..200 {
            let changes = (0..=rng.below(4)).map(|_| random_change(&mut rng)).collect();
            let before = book.clone();
            let outcome = book.apply(changes, Some(book.version()));
            assert_eq!(book, before, "seed {seed} step {step}");
            let Ok(next) = outcome else {
                refused += 1;
                continue;
            };
            let ids: Vec<RuleId> = rule_ids(next.book.authored()).flatten().collect();
            let old: Vec<RuleId> = rule_ids(before.authored()).flatten().collect();
            let new: Vec<RuleId> = ids.iter().copied().filter(|id| !old.contains(id)).collect();
            assert!(new.iter().all(|id| *id > given), "seed {seed} step {step}: {new:?} after {given}");
            let mut created = next.created_ids.clone();
            created.sort_unstable();
            assert_eq!(created, new, "seed {seed} step {step}");
            given = given.max(next.book.numbering().last_rule());
            let version = before.version().0 + u64::from(next.changed);
            assert_eq!(next.book.version().0, version, "seed {seed} step {step}");
            if next.changed {
                let delta = before.policy().delta_to(next.book.policy());
                assert_eq!(before.policy().apply(&delta).as_ref(), Ok(&**next.book.policy()), "seed {seed}");
            }
            committed += 1;
            book = next.book;
        }
        assert!(committed > 20 && refused > 20, "seed {seed}: {committed} committed, {refused} refused");
    }
}

#[test]
fn leases_are_controls_own_and_stay_with_their_interface() {
    let endpoint = |rest: &str| -> AuthoredEndpoint {
        let text =
            format!("name = 'vm'\nmac = '02:00:00:00:00:09'\nflags = {{ dhcp_client = true }}\n{rest}");
        toml::from_str(&text).unwrap()
    };
    let put = |book: &PolicyBook, change| book.apply(vec![change], None).unwrap().book;
    let leased = |book: &PolicyBook| book.authored().endpoints[0].leased.clone();
    let address: std::net::IpAddr = "10.0.0.50".parse().unwrap();
    let written = put(&PolicyBook::default(), Change::PutEndpoint(endpoint("leased = ['10.0.0.66']")));
    assert!(leased(&written).is_empty(), "what people write there counts for nothing");
    let name = Name::new("vm").unwrap();
    let book = put(&written, Change::SetLeased(name.clone(), vec![address]));
    assert_eq!(book.policy().endpoints[0].addresses, [address]);
    let again = put(&book, Change::PutEndpoint(endpoint("addresses = ['10.0.0.1']")));
    assert_eq!(leased(&again), [address]);
    let whole = put(&again, Change::ReplaceAll(Box::new(written.authored().clone())));
    assert_eq!(leased(&whole), [address], "also when everything is replaced, as a rollback does");
    let mut other = endpoint("");
    other.mac = "02:00:00:00:00:0a".parse().unwrap();
    assert!(leased(&put(&whole, Change::PutEndpoint(other))).is_empty(), "another interface");
    let mut plain = endpoint("");
    plain.flags.dhcp_client = false;
    assert!(leased(&put(&whole, Change::PutEndpoint(plain))).is_empty(), "no client any more");
    let unknown = Name::new("nobody").unwrap();
    assert!(book.apply(vec![Change::SetLeased(unknown, vec![])], None).is_err());
}
