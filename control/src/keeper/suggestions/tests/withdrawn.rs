//! Acceptances of every kind of proposal, taken back.

use super::*;
use crate::keeper::Retraction;
use meshgate_policy::AuthoredPolicy;

fn retraction(id: u64) -> Retraction {
    Retraction { id, answer_only: false, actor: "alice".into(), comment: String::new() }
}

fn authored(keeper: &Keeper) -> AuthoredPolicy {
    keeper.newest().book.authored().clone()
}

async fn withdrawn(keeper: &Arc<Keeper>, id: u64) -> String {
    keeper.withdraw(retraction(id)).await.map_or_else(|fault| fault.to_string(), |_| String::new())
}

#[tokio::test]
async fn a_withdrawal_takes_out_what_each_kind_of_proposal_made() {
    let kept = kept("undone").await;
    let keeper = &kept.keeper;
    submitted(keeper, &[22, 23, 24]).await;
    let members = Suggestion { draft: membership(true), alternatives: Vec::new(), ..suggestion(25) };
    let answers = keeper.submit(Name::new("l1").unwrap(), vec![members]).await.unwrap();
    assert_eq!(answers, [Ok(4)]);
    let before = authored(keeper);
    for (id, alternative, words) in [
        (1, 0, "accepted as relationship 1 by"),
        (2, 1, "edited as rule 2 by"),
        (3, 2, "edited as relationship 3 with new groups clients-24 by"),
        (4, 0, "accepted as member e1 of group Dev by"),
    ] {
        keeper.accept(Acceptance { alternative, ..acceptance(id) }).await.unwrap();
        assert_ne!(authored(keeper), before, "{words}");
        let taken_back = keeper.withdraw(retraction(id)).await.unwrap();
        assert_eq!(taken_back.digest, Some(keeper.newest().digest));
        assert_eq!(authored(keeper), before, "{words}");
        let trail = events(keeper).await;
        let last = trail.last().unwrap();
        assert!(last.starts_with("alice suggestion-withdraw ") && last.contains(words), "{last}");
        assert_eq!(keeper.store.suggestion(id).await.unwrap().unwrap().state(), State::Open);
    }
    assert_eq!(keeper.store.audit_break().await.unwrap(), None);
}

#[tokio::test]
async fn a_membership_that_was_ended_is_given_back() {
    let kept = kept("ended").await;
    let keeper = &kept.keeper;
    let mut dev = authored(keeper).groups[0].clone();
    dev.members.push(Name::new("e1").unwrap());
    keeper.commit(write(Change::UpdateGroup(dev))).await.unwrap();
    let before = authored(keeper);
    let leaves = Suggestion { draft: membership(false), alternatives: Vec::new(), ..suggestion(22) };
    keeper.submit(Name::new("l1").unwrap(), vec![leaves]).await.unwrap();
    keeper.accept(acceptance(1)).await.unwrap();
    assert!(authored(keeper).groups[0].members.is_empty());
    assert_eq!(withdrawn(keeper, 1).await, "");
    assert_eq!(authored(keeper), before);
}

#[tokio::test]
async fn what_people_changed_or_use_since_is_refused_by_name() {
    let kept = kept("changed").await;
    let keeper = &kept.keeper;
    submitted(keeper, &[22, 23, 24]).await;
    let members = Suggestion { draft: membership(true), alternatives: Vec::new(), ..suggestion(25) };
    keeper.submit(Name::new("l1").unwrap(), vec![members]).await.unwrap();
    for (id, alternative) in [(1, 1), (2, 2), (3, 2), (4, 0)] {
        keeper.accept(Acceptance { alternative, ..acceptance(id) }).await.unwrap();
    }
    let mut policy = authored(keeper);
    let mut rule = policy.rules.remove(0);
    rule.note = "ours".into();
    keeper.commit(write(Change::PutRule(rule))).await.unwrap();
    let at = policy.groups.iter().position(|group| group.name.as_str() == "clients-23").unwrap();
    let mut wider = policy.groups.remove(at);
    wider.prefixes.push("10.0.0.7/32".parse().unwrap());
    keeper.commit(write(Change::UpdateGroup(wider))).await.unwrap();
    let also = AuthoredRelationship { source_group_name: Name::new("clients-24").unwrap(), ..draft(80) };
    keeper.commit(write(Change::PutRelationship(also))).await.unwrap();
    let mut dev = policy.groups.remove(0);
    dev.members.clear();
    keeper.commit(write(Change::UpdateGroup(dev))).await.unwrap();
    let before = authored(keeper);
    let expected = [
        "suggestion 1: rule 1, which it made, was changed since and is deny 10.0.0.9/32 -> Prod TCP 22, priority",
        "suggestion 2: group clients-23, which it made, was changed since and is another group, of 0 members and 3",
        "group clients-24 is still used by relationship 4",
        "suggestion 4: member e1 of group Dev, which it made, was changed since and is not listed there; ",
    ];
    for (id, words) in (1..).zip(expected) {
        let refusal = withdrawn(keeper, id).await;
        assert!(refusal.contains(words) && refusal.contains("--answer-only"), "{refusal}");
    }
    assert_eq!(authored(keeper), before);
    keeper.commit(write(Change::DeleteRule(RuleId(1)))).await.unwrap();
    let refusal = withdrawn(keeper, 1).await;
    assert!(refusal.starts_with("suggestion 1: rule 1, which it made, was removed since"), "{refusal}");
    assert!(
        refusal.ends_with("withdraw the answer only (`--answer-only`), and the policy stays as it is"),
        "{refusal}"
    );
    let before = authored(keeper);
    for id in 1..=4 {
        let only = Retraction { answer_only: true, ..retraction(id) };
        let taken_back = keeper.withdraw(only).await.unwrap();
        assert_eq!((taken_back.digest, taken_back.withdrawal.version), (None, None));
        assert_eq!(keeper.store.suggestion(id).await.unwrap().unwrap().state(), State::Open);
    }
    assert_eq!(authored(keeper), before);
    assert_eq!(keeper.store.told("l1", 4, 10).await.unwrap().len(), 4, "the learner hears of it");
    assert_eq!(keeper.store.audit_break().await.unwrap(), None);
}

#[tokio::test]
async fn an_expired_suggestion_has_no_answer_and_one_taken_back_does_not_expire() {
    let kept = kept("overdue").await;
    let keeper = &kept.keeper;
    let soon_ns = now_ns() + 1_000_000_000;
    let brief = |port| Suggestion { expires_ns: soon_ns, ..suggestion(port) };
    keeper.submit(Name::new("l1").unwrap(), vec![brief(22), brief(23)]).await.unwrap();
    keeper.accept(acceptance(2)).await.unwrap();
    assert_eq!(keeper.expire_at(&mut *keeper.writing.lock().await, soon_ns).await.unwrap(), 1);
    let expected = "suggestion 1: expired, that is no answer to withdraw; what still holds is suggested anew";
    assert_eq!(withdrawn(keeper, 1).await, expected);
    assert_eq!(withdrawn(keeper, 2).await, "");
    assert_eq!(keeper.expire_at(&mut *keeper.writing.lock().await, soon_ns).await.unwrap(), 0);
    assert_eq!(keeper.store.suggestion(2).await.unwrap().unwrap().state(), State::Open);
}
