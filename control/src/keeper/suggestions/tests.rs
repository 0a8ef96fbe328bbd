//! Suggestions on a store of their own, from submission to decision.

mod withdrawn;

use super::super::Write;
use super::*;
use crate::policy_book::Change;
use crate::store::Store;
use meshgate_policy::suggestion::{Alternative, Origin};
use meshgate_policy::{AuthoredRelationship, EffectCounts, RuleId};

struct Kept {
    keeper: Arc<Keeper>,
    url: String,
    directory: std::path::PathBuf,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.directory);
    }
}

const POLICY: &str = "
default_action = 'allow'
[[groups]]
name = 'Dev'
prefixes = ['10.0.0.0/24']
[[groups]]
name = 'Prod'
prefixes = ['10.0.1.0/24']
[[endpoints]]
name = 'e1'
mac = '02:00:00:00:00:01'
addresses = ['10.7.0.1']
";

async fn kept(name: &str) -> Kept {
    let directory = std::env::temp_dir().join(format!("meshgate-suggestions-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let url = crate::config::sqlite_url(&directory.join("control.sqlite"));
    let keeper = Keeper::open(Store::open(&url).await.unwrap()).await.unwrap();
    let policy = toml::from_str(POLICY).unwrap();
    keeper.commit(write(Change::ReplaceAll(Box::new(policy)))).await.unwrap();
    Kept { keeper, url, directory }
}

fn write(change: Change) -> Write {
    Write { changes: vec![change], expected_version: None, author: "root".into(), comment: String::new() }
}

fn draft(port: u16) -> AuthoredRelationship {
    toml::from_str(&format!(
        "action = 'deny'\nsource_group_name = 'Dev'\ndestination_group_name = 'Prod'\nprotocol = 'TCP'\n\
         port_range = '{port}'"
    ))
    .unwrap()
}

/// A rule for one address in place of a group.
fn narrower(port: u16) -> Proposal {
    proposal(&format!(
        "kind = 'rule'\ngroup_name = 'Prod'\ndirection = 'ingress'\npeer = ['10.0.0.9/32']\nprotocol = 'TCP'\n\
         port_range = '{port}'\naction = 'deny'"
    ))
}

/// A rule for a group that does not exist.
fn grouped(port: u16) -> Proposal {
    proposal(&format!(
        "kind = 'grouped'\ngroups = [{{ name = 'clients-{port}', prefixes = ['10.0.0.9/32', '10.0.0.8/32'] }}]\n\
         [relationship]\nsource_group_name = 'clients-{port}'\ndestination_group_name = 'Prod'\nprotocol = 'TCP'\n\
         port_range = '{port}'\naction = 'deny'"
    ))
}

fn membership(join: bool) -> Proposal {
    proposal(&format!("kind = 'membership'\nendpoint = 'e1'\ngroup = 'Dev'\njoin = {join}"))
}

fn proposal(text: &str) -> Proposal {
    toml::from_str(text).unwrap()
}

fn suggestion(port: u16) -> Suggestion {
    Suggestion {
        origin: Origin::Anomaly,
        draft: draft(port).into(),
        alternatives: vec![
            Alternative { proposal: narrower(port), over_permissiveness: 0.25, coverage: 1.0 },
            Alternative { proposal: grouped(port), over_permissiveness: 0.1 + 0.2, coverage: 0.5 },
        ],
        confidence: 0.1 + 0.2,
        relevance: 0.25,
        rank: u32::from(port),
        propensity: 1.0,
        justification: "why".into(),
        evidence: Vec::new(),
        effect: EffectCounts::default(),
        over_permissiveness: 0.0,
        narrows: vec![RuleId(3), RuleId(5)],
        shadows: Vec::new(),
        makes_explicit: true,
        features: Vec::new(),
        base_version: PolicyVersion(1),
        model_version: String::new(),
        window_end_ns: 0,
        expires_ns: 0,
    }
}

async fn submitted(keeper: &Arc<Keeper>, ports: &[u16]) -> Vec<u64> {
    let suggestions = ports.iter().map(|port| suggestion(*port)).collect();
    let answers = keeper.submit(Name::new("l1").unwrap(), suggestions).await.unwrap();
    answers.into_iter().map(Result::unwrap).collect()
}

fn acceptance(id: u64) -> Acceptance {
    Acceptance {
        id,
        edited: None,
        alternative: 0,
        expected_version: None,
        actor: "alice".into(),
        comment: "yes".into(),
    }
}

fn rejection(id: u64, reason: Reason) -> Rejection {
    Rejection { id, reason, actor: "bob".into(), comment: String::new() }
}

async fn events(keeper: &Keeper) -> Vec<String> {
    let entries = keeper.store.audit(u64::MAX, 100).await.unwrap();
    entries
        .into_iter()
        .rev()
        .map(|entry| format!("{} {} {}", entry.actor, entry.event, entry.detail))
        .collect()
}

#[tokio::test]
async fn an_accepted_draft_is_part_of_the_next_version_and_decided_once() {
    let kept = kept("accept").await;
    let keeper = &kept.keeper;
    assert_eq!(submitted(keeper, &[22, 23]).await, [1, 2]);
    let accepted = keeper.accept(acceptance(2)).await.unwrap();
    let newest = keeper.newest();
    assert_eq!((newest.book.version(), newest.digest), (PolicyVersion(2), accepted.digest));
    assert_eq!(accepted.committed_ns, newest.committed_ns);
    let relationship = &newest.book.authored().relationships[0];
    assert_eq!(relationship.note, "suggestion 2: why");
    let Verdict::Accepted { edited: false, version: PolicyVersion(2), made: told } =
        &accepted.decision.verdict
    else {
        panic!("{accepted:?}");
    };
    assert_eq!(told, &Proposal::Relationship(relationship.clone()));
    let again = keeper.accept(acceptance(2)).await.unwrap_err().to_string();
    let time = utc(accepted.committed_ns);
    assert_eq!(again, format!("suggestion 2: was accepted by alice at {time} already"));
    let again = keeper.reject(rejection(2, Reason::Later)).await.unwrap_err().to_string();
    assert!(again.starts_with("suggestion 2: was accepted by alice"), "{again}");
    let trail = events(keeper).await;
    assert_eq!(trail[1], "learner l1 suggestion-submit suggestions 1, 2");
    assert!(trail[2].starts_with("alice suggestion-accept version 2 digest "), "{}", trail[2]);
    let shown = "(model none, rank 23, propensity 1.0000, confidence 0.3000)";
    assert!(trail[2].ends_with(&format!(": suggestion 2 {shown}: yes")), "{}", trail[2]);
    assert_eq!(keeper.store.audit_break().await.unwrap(), None);
}

#[tokio::test]
async fn an_edited_draft_is_checked_like_any_relationship() {
    let kept = kept("edit").await;
    let keeper = &kept.keeper;
    submitted(keeper, &[22]).await;
    let mut edited = draft(22);
    edited.destination_group_name = Name::new("Nowhere").unwrap();
    let with =
        |edited: &AuthoredRelationship| Acceptance { edited: Some(edited.clone().into()), ..acceptance(1) };
    let refusal = keeper.accept(with(&edited)).await.unwrap_err().to_string();
    assert_eq!(refusal, "relationship Dev -> Nowhere: destination_group_name: no group \"Nowhere\"");
    edited = AuthoredRelationship { id: Some(RuleId(1)), ..draft(22) };
    let refusal = keeper.accept(with(&edited)).await.unwrap_err().to_string();
    assert!(refusal.starts_with("edited.id: 1 where none is possible"), "{refusal}");
    let old = Acceptance { expected_version: Some(PolicyVersion(0)), ..with(&draft(22)) };
    let refusal = keeper.accept(old).await.unwrap_err().to_string();
    assert_eq!(refusal, "expected_version: 0 is not the newest version, which is 1");
    edited = AuthoredRelationship { port_range: "22,2222".parse().unwrap(), ..draft(22) };
    let accepted = keeper.accept(with(&edited)).await.unwrap();
    assert_eq!(accepted.decision.verdict.state(), State::Edited);
    assert!(events(keeper).await[2].starts_with("alice suggestion-edit "));
}

#[tokio::test]
async fn an_obstacle_stops_acceptance_as_it_is_and_not_an_edited_one() {
    let kept = kept("obstacle").await;
    let keeper = &kept.keeper;
    submitted(keeper, &[22]).await;
    let allow = AuthoredRelationship { action: meshgate_policy::Action::Allow, ..draft(22) };
    keeper.commit(write(Change::PutRelationship(allow))).await.unwrap();
    let expected = "draft: matches the same packets as rule 1 (allow Dev -> Prod TCP 22, priority 1000), which \
                    has the opposite action";
    let look = keeper.look(1, now_ns()).await.unwrap();
    assert_eq!((look.obstacle.unwrap().to_string().as_str(), look.version), (expected, PolicyVersion(2)));
    let listing = Listing { state: Some(State::Open), limit: 10 };
    let (page, obstacles) = keeper.list(listing).await.unwrap();
    assert_eq!((page.suggestions.len(), obstacles[0].is_some()), (1, true));
    let refusal = keeper.accept(acceptance(1)).await.unwrap_err().to_string();
    assert_eq!(refusal, format!("suggestion 1: {expected}; accept an edited form of it, or reject it"));
    assert_eq!(keeper.newest().book.version(), PolicyVersion(2));
    let insists = Acceptance { edited: Some(draft(22).into()), ..acceptance(1) };
    let accepted = keeper.accept(insists).await.unwrap();
    assert_eq!(accepted.decision.verdict.state(), State::Accepted);
}

#[tokio::test]
async fn a_rejected_draft_leaves_the_policy_and_does_not_come_back() {
    let kept = kept("reject").await;
    let keeper = &kept.keeper;
    submitted(keeper, &[22, 23]).await;
    let decision = keeper.reject(rejection(1, Reason::WrongRule)).await.unwrap();
    assert_eq!((decision.sequence, &decision.verdict), (1, &Verdict::Rejected(Reason::WrongRule)));
    keeper.reject(rejection(2, Reason::Later)).await.unwrap();
    assert_eq!(keeper.newest().book.version(), PolicyVersion(1));
    let learner = Name::new("l2").unwrap();
    let answers = keeper.submit(learner, vec![suggestion(22), suggestion(23), suggestion(24)]).await.unwrap();
    assert_eq!(answers[0], Err(Refusal::Rejected(1, Reason::WrongRule)));
    assert!(matches!(answers[1], Err(Refusal::Later(2, _))), "{answers:?}");
    assert_eq!(answers[2], Ok(3));
    assert_eq!(
        events(keeper).await[2],
        "bob suggestion-reject suggestion 1 (model none, rank 22, propensity 1.0000, confidence 0.3000): wrong-rule"
    );
    let gone = keeper.reject(rejection(9, Reason::Later)).await.unwrap_err().to_string();
    assert_eq!(gone, "id: there is no suggestion 9");
    let long = Rejection { comment: "c".repeat(1_025), ..rejection(3, Reason::Later) };
    assert!(matches!(keeper.reject(long).await, Err(KeeperFault::Comment(1_025))));
}

#[tokio::test]
async fn nothing_of_a_refused_call_is_written() {
    let kept = kept("quiet").await;
    let keeper = &kept.keeper;
    let before = events(keeper).await.len();
    let odd = Suggestion { rank: 0, ..suggestion(22) };
    let answers = keeper.submit(Name::new("l1").unwrap(), vec![odd]).await.unwrap();
    assert!(matches!(answers[..], [Err(Refusal::Form(_))]));
    assert_eq!(events(keeper).await.len(), before, "a learner that repeats itself does not fill the trail");
}

#[tokio::test]
async fn an_aborted_decision_is_there_as_a_whole_or_not_at_all() {
    let kept = kept("abort").await;
    let ports: Vec<u16> = (1..=20).collect();
    submitted(&kept.keeper, &ports).await;
    for id in 1..=20 {
        let keeper = Arc::clone(&kept.keeper);
        let call = tokio::spawn(async move {
            if id % 2 == 0 {
                keeper.accept(acceptance(id)).await.map(drop)
            } else {
                keeper.reject(rejection(id, Reason::TooBroad)).await.map(drop)
            }
        });
        for _ in 0..id {
            tokio::task::yield_now().await;
        }
        call.abort();
    }
    // Waits for whatever is still being written.
    drop(kept.keeper.writing.lock().await);
    kept.keeper.store.close().await;
    let store = Store::open(&kept.url).await.unwrap();
    assert_eq!(store.audit_break().await.unwrap(), None);
    let decided = store.decided("", 0, 100).await.unwrap();
    let trail = store.audit(u64::MAX, 100).await.unwrap();
    let entries = trail.iter().filter(|e| e.event != "commit" && e.event != "suggestion-submit").count();
    assert_eq!(decided.len(), entries);
    let newest = store.newest().await.unwrap().unwrap();
    let accepted = decided.iter().filter(|one| one.state() == State::Accepted).count();
    assert_eq!(newest.book.authored().relationships.len(), accepted);
    let open = store.suggestions(Listing { state: Some(State::Open), limit: 100 }).await.unwrap();
    assert_eq!(open.suggestions.len() + decided.len(), 20);
    let sequences: Vec<u64> =
        decided.iter().filter_map(|one| Some(one.decision.as_ref()?.sequence)).collect();
    assert_eq!(sequences, (1..=u64::try_from(decided.len()).unwrap()).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_read_back_is_what_was_handed_in() {
    let kept = kept("back").await;
    submitted(&kept.keeper, &[22]).await;
    let back = kept.keeper.store.suggestion(1).await.unwrap().unwrap();
    assert_eq!(back.suggestion, suggestion(22));
    assert_eq!(kept.keeper.store.suggestion(u64::MAX).await.unwrap(), None);
}

#[tokio::test]
async fn open_suggestions_are_listed_by_rank_and_decided_ones_newest_first() {
    let kept = kept("order").await;
    let keeper = &kept.keeper;
    submitted(keeper, &[30, 20, 10, 40]).await;
    keeper.reject(rejection(1, Reason::Later)).await.unwrap();
    keeper.accept(acceptance(4)).await.unwrap();
    let ids = async |state, limit| {
        let page = keeper.store.suggestions(Listing { state, limit }).await.unwrap();
        (page.suggestions.iter().map(|one| one.id).collect::<Vec<_>>(), page.left_out)
    };
    assert_eq!(ids(None, 10).await, (vec![3, 2, 4, 1], 0));
    assert_eq!(ids(Some(State::Open), 1).await, (vec![3], 1));
    assert_eq!(ids(Some(State::Rejected), 10).await, (vec![1], 0));
}

#[tokio::test]
async fn an_alternative_is_accepted_in_place_of_the_draft() {
    let kept = kept("alternative").await;
    let keeper = &kept.keeper;
    submitted(keeper, &[22, 23]).await;
    let with = |id, alternative| Acceptance { alternative, ..acceptance(id) };
    let refusal = keeper.accept(with(1, 3)).await.unwrap_err().to_string();
    assert_eq!(refusal, "alternative: suggestion 1 has 2 alternatives, there is no number 3");
    let both = Acceptance { edited: Some(draft(22).into()), ..with(1, 1) };
    let refusal = keeper.accept(both).await.unwrap_err().to_string();
    assert_eq!(refusal, "alternative: 1 beside an edited form; only one of them can be accepted");
    let accepted = keeper.accept(with(1, 1)).await.unwrap();
    assert_eq!(accepted.decision.verdict.state(), State::Edited);
    let book = &keeper.newest().book;
    assert_eq!(book.authored().relationships, []);
    let rule = &book.authored().rules[0];
    assert_eq!((rule.id, rule.peer.len(), rule.note.as_str()), (Some(RuleId(1)), 1, "suggestion 1: why"));
    let Verdict::Accepted { made, .. } = &accepted.decision.verdict else { panic!("{accepted:?}") };
    assert_eq!(made, &Proposal::Rule(rule.clone()));
    keeper.accept(with(2, 2)).await.unwrap();
    let book = &keeper.newest().book;
    let groups: Vec<&str> = book.authored().groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(groups, ["Dev", "Prod", "clients-23"]);
    let relationship = &book.authored().relationships[0];
    assert_eq!((relationship.id, relationship.source_group_name.as_str()), (Some(RuleId(2)), "clients-23"));
    assert_eq!(keeper.store.audit_break().await.unwrap(), None);
}

#[tokio::test]
async fn a_change_of_members_is_answered_like_a_rule() {
    let kept = kept("members").await;
    let keeper = &kept.keeper;
    let submit = async |join| {
        let draft = membership(join);
        let alternatives = Vec::new();
        let suggestion = Suggestion { draft, alternatives, ..suggestion(22) };
        keeper.submit(Name::new("l1").unwrap(), vec![suggestion]).await.unwrap().remove(0)
    };
    let early = submit(false).await.unwrap_err().to_string();
    assert_eq!(early, "draft.endpoint: \"e1\" is not listed in group \"Dev\"");
    assert_eq!(submit(true).await, Ok(1));
    let accepted = keeper.accept(acceptance(1)).await.unwrap();
    let Verdict::Accepted { edited: false, made, .. } = &accepted.decision.verdict else {
        panic!("{accepted:?}");
    };
    assert_eq!(made, &membership(true));
    let members = |keeper: &Keeper| keeper.newest().book.authored().groups[0].members.len();
    assert_eq!(members(keeper), 1);
    let again = submit(true).await.unwrap_err().to_string();
    assert_eq!(again, "draft.endpoint: \"e1\" is in group \"Dev\" already");
    assert_eq!(submit(false).await, Ok(2));
    let built_in = proposal("kind = 'membership'\nendpoint = 'e1'\ngroup = 'external'\njoin = true");
    let edited = Acceptance { edited: Some(built_in), ..acceptance(2) };
    let refusal = keeper.accept(edited).await.unwrap_err().to_string();
    assert!(refusal.contains("\"external\" is built in"), "{refusal}");
    keeper.reject(rejection(2, Reason::WrongRule)).await.unwrap();
    assert_eq!(members(keeper), 1);
    let trail = events(keeper).await;
    assert!(trail[2].starts_with("alice suggestion-accept ") && trail[2].ends_with(": yes"));
    let shown = "(model none, rank 22, propensity 1.0000, confidence 0.3000)";
    assert!(trail[2].contains(shown), "{}", trail[2]);
    assert_eq!(trail[4], format!("bob suggestion-reject suggestion 2 {shown}: wrong-rule"));
}

#[tokio::test]
async fn what_nobody_answers_in_time_is_closed_and_may_come_again() {
    let kept = kept("expiry").await;
    let keeper = &kept.keeper;
    let soon_ns = now_ns() + 1_000_000_000;
    let brief = |port, expires_ns| Suggestion { expires_ns, ..suggestion(port) };
    let learner = Name::new("l1").unwrap();
    let suggestions = vec![brief(22, soon_ns), brief(23, 0), brief(24, soon_ns + 1)];
    keeper.submit(learner.clone(), suggestions).await.unwrap();
    keeper.reject(rejection(3, Reason::WrongRule)).await.unwrap();
    let mut head = keeper.writing.lock().await;
    assert_eq!(keeper.expire_at(&mut head, soon_ns - 1).await.unwrap(), 0);
    assert_eq!(keeper.expire_at(&mut head, soon_ns + 1).await.unwrap(), 1);
    drop(head);
    let closed = keeper.store.suggestion(1).await.unwrap().unwrap();
    assert_eq!((closed.state(), closed.decision.unwrap().actor.as_str()), (State::Expired, "control"));
    let listing = Listing { state: Some(State::Expired), limit: 9 };
    assert_eq!(keeper.store.suggestions(listing).await.unwrap().suggestions.len(), 1);
    assert_eq!(events(keeper).await[3], "control suggestion-expire suggestion 1");
    let late = keeper.accept(acceptance(1)).await.unwrap_err().to_string();
    assert!(late.starts_with("suggestion 1: was expired by control at "), "{late}");
    // A learner hears of answers, and this is none.
    let heard = keeper.store.decided("", 0, 9).await.unwrap();
    assert_eq!(heard.iter().map(|one| one.id).collect::<Vec<_>>(), [3]);
    assert_eq!(*keeper.decisions().borrow(), 2);
    let again = keeper.submit(learner, vec![brief(22, 0)]).await.unwrap();
    assert_eq!(again, [Ok(4)]);
}
