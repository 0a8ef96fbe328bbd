//! What each host is sent, and what is remembered of its answers.

use super::*;
use crate::policy_book::{Change, PolicyBook};

fn published(book: &PolicyBook, committed_ns: u64) -> Published {
    let policy = Arc::clone(book.policy());
    Published { policy, digest: book.digest(), committed_ns, audit_head: Digest::default() }
}

/// Returns books of versions 1 to `count`.
fn books(count: u64) -> Vec<PolicyBook> {
    let mut books = vec![PolicyBook::default()];
    for i in 1..=count {
        let group = toml::from_str(&format!("name = 'g{i}'")).unwrap();
        let next = books.last().unwrap().apply(vec![Change::PutGroup(group)], None).unwrap();
        books.push(next.book);
    }
    books.remove(0);
    books
}

fn greeting(host: &str, epoch: u64) -> Greeting {
    let host = Name::new(host).unwrap();
    Greeting { host, role: Role::Dataplane, holds: None, epoch, devices: Vec::new() }
}

fn answer(book: &PolicyBook, nonce: u64) -> (u64, PolicyVersion, Digest) {
    (nonce, book.version(), book.digest())
}

#[test]
fn a_new_host_gets_a_snapshot_then_a_delta() {
    let books = books(2);
    let distributor = Distributor::new(published(&books[0], 10), Vec::new());
    let (mut session, _superseded) = distributor.join(greeting("h1", 1), 5).unwrap();
    let first = session.next(&distributor).unwrap();
    assert!(matches!(&first.content, Content::Snapshot(policy) if policy.version == PolicyVersion(1)));
    assert_eq!(session.next(&distributor), None);
    session.ack(&distributor, answer(&books[0], first.nonce), 30).unwrap();
    assert_eq!(distributor.hosts()[0].kept.commit_to_ack_ns, 20);
    distributor.publish(published(&books[1], 40));
    let second = session.next(&distributor).unwrap();
    let Content::Delta(delta) = second.content else { panic!("{:?}", second.content) };
    assert_eq!((delta.from, delta.to, delta.changes()), (PolicyVersion(1), PolicyVersion(2), 1));
}

#[test]
fn a_slow_host_skips_what_it_missed() {
    let books = books(5);
    let distributor = Distributor::new(published(&books[0], 1), Vec::new());
    let (mut session, _superseded) = distributor.join(greeting("h1", 1), 5).unwrap();
    let first = session.next(&distributor).unwrap();
    for book in &books[1..] {
        distributor.publish(published(book, 6));
        assert_eq!(session.next(&distributor), None);
    }
    session.ack(&distributor, answer(&books[0], first.nonce), 7).unwrap();
    let next = session.next(&distributor).unwrap();
    assert!(matches!(&next.content, Content::Delta(delta) if delta.to == PolicyVersion(5)));
}

#[test]
fn a_host_that_holds_the_newest_version_is_told_so_and_may_confirm() {
    let books = books(1);
    let distributor = Distributor::new(published(&books[0], 1), Vec::new());
    let holds = Some((books[0].version(), books[0].digest()));
    let (mut session, _superseded) = distributor.join(Greeting { holds, ..greeting("h1", 1) }, 5).unwrap();
    let first = session.next(&distributor).unwrap();
    assert_eq!(first.content, Content::UpToDate(PolicyVersion(1)));
    assert_eq!(session.next(&distributor), None);
    session.ack(&distributor, answer(&books[0], first.nonce), 9).unwrap();
    assert_eq!(distributor.hosts()[0].kept.version, PolicyVersion(1));
}

#[test]
fn a_host_with_another_digest_gets_a_snapshot() {
    let books = books(2);
    let distributor = Distributor::new(published(&books[1], 1), Vec::new());
    let holds = Some((PolicyVersion(2), Digest([7; 32])));
    let (mut session, _superseded) = distributor.join(Greeting { holds, ..greeting("h1", 1) }, 5).unwrap();
    assert!(matches!(session.next(&distributor).unwrap().content, Content::Snapshot(_)));
}

#[test]
fn nothing_committed_leaves_every_host_as_it_is() {
    let distributor = Distributor::new(published(&PolicyBook::default(), 0), Vec::new());
    let (mut session, _superseded) = distributor.join(greeting("h1", 1), 5).unwrap();
    assert_eq!(session.next(&distributor).unwrap().content, Content::UpToDate(PolicyVersion(0)));
}

#[test]
fn a_refused_delta_is_followed_by_a_snapshot_and_a_refused_snapshot_by_nothing() {
    let books = books(3);
    let distributor = Distributor::new(published(&books[0], 1), Vec::new());
    let holds = Some((books[0].version(), books[0].digest()));
    let (mut session, _superseded) = distributor.join(Greeting { holds, ..greeting("h1", 1) }, 5).unwrap();
    session.next(&distributor).unwrap();
    distributor.publish(published(&books[1], 6));
    let delta = session.next(&distributor).unwrap();
    let news = session.nack(&distributor, (delta.nonce, "digest".into(), true), 7).unwrap();
    assert_eq!(news, Some((PolicyVersion(2), "digest".into())));
    let snapshot = session.next(&distributor).unwrap();
    assert!(matches!(snapshot.content, Content::Snapshot(_)));
    session.nack(&distributor, (snapshot.nonce, "too large".into(), true), 8).unwrap();
    assert_eq!(session.next(&distributor), None);
    distributor.publish(published(&books[2], 9));
    assert!(matches!(session.next(&distributor).unwrap().content, Content::Snapshot(_)));
    assert_eq!(distributor.hosts()[0].kept.nack_reason, "too large");
}

#[test]
fn an_answer_to_nothing_is_refused_and_a_wrong_digest_is_a_refusal() {
    let books = books(1);
    let distributor = Distributor::new(published(&books[0], 1), Vec::new());
    let (mut session, _superseded) = distributor.join(greeting("h1", 1), 5).unwrap();
    assert!(session.ack(&distributor, answer(&books[0], 0), 6).is_err());
    let first = session.next(&distributor).unwrap();
    assert!(session.ack(&distributor, answer(&books[0], first.nonce + 1), 6).is_err());
    session.ack(&distributor, (first.nonce, PolicyVersion(1), Digest([1; 32])), 6).unwrap();
    assert!(distributor.hosts()[0].kept.nack_reason.starts_with("acknowledged version 1 with digest 0101"));
}

#[test]
fn the_newer_process_of_a_name_wins() {
    let distributor = Distributor::new(published(&PolicyBook::default(), 0), Vec::new());
    let (old, mut old_end) = distributor.join(greeting("h1", 1), 5).unwrap();
    let (_new, mut new_end) = distributor.join(greeting("h1", 2), 6).unwrap();
    assert_eq!(old_end.try_recv(), Ok(2));
    old.leave(&distributor, 7);
    assert!(distributor.hosts()[0].connected && new_end.try_recv().is_err());
    let refusal = distributor.join(greeting("h1", 1), 8).unwrap_err();
    assert_eq!(refusal.to_string(), "hello.epoch: host h1 is connected with the newer epoch 2");
}

#[test]
fn a_full_table_forgets_who_has_been_gone_longest() {
    let distributor = Distributor::new(published(&PolicyBook::default(), 0), Vec::new());
    let mut sessions = Vec::new();
    for i in 0..HOSTS_MAX {
        sessions.push(distributor.join(greeting(&format!("h{i}"), 1), 5).unwrap());
    }
    assert_eq!(distributor.join(greeting("one-more", 1), 6).unwrap_err(), JoinFault::Full);
    sessions[3].0.leave(&distributor, 7);
    distributor.join(greeting("one-more", 1), 8).unwrap();
    assert_eq!(distributor.take_changed().1, [Name::new("h3").unwrap()]);
    assert_eq!(distributor.hosts().len(), HOSTS_MAX);
}

#[test]
fn reports_of_all_hosts_together_have_a_limit() {
    let distributor = Distributor::new(published(&PolicyBook::default(), 0), Vec::new());
    let rule = crate::report::RuleUse { rule: 1, flows: 0, packets: 0, bytes: 0 };
    let report = |lines| crate::report::Report { rules: vec![rule; lines], ..Default::default() };
    let (one, _one) = distributor.join(greeting("h1", 1), 5).unwrap();
    let (other, _other) = distributor.join(greeting("h2", 1), 5).unwrap();
    one.report(&distributor, report(900_000), 6);
    other.report(&distributor, report(200_000), 6);
    let lines =
        || distributor.hosts().iter().map(|h| h.report.as_ref().unwrap().rules.len()).collect::<Vec<_>>();
    assert_eq!(lines(), [900_000, 0]);
    one.report(&distributor, report(100), 7);
    other.report(&distributor, report(200_000), 7);
    assert_eq!(lines(), [100, 200_000]);
}
