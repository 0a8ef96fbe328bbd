//! Answers taken back, gates of learners and the switch of automatic acceptance through the real program: what holds on
//! SQLite (here) and on PostgreSQL (`postgres.rs`).

use crate::program::{Program, Scratch, commit};
use crate::suggestions::{Suggestions, accept, get, reject, submit, suggestion, suggestions, with_groups};
use meshgate_proto::wire;
use meshgate_proto::wire::automatic_service_client::AutomaticServiceClient;
use std::time::{SystemTime, UNIX_EPOCH};
use tonic::{Code, Streaming};

fn withdraw(id: u64) -> wire::WithdrawAnswerRequest {
    wire::WithdrawAnswerRequest { id, comment: "by mistake".into(), answer_only: false }
}

async fn policy(program: &Program) -> wire::GetPolicyResponse {
    program.policy().await.get_policy(wire::GetPolicyRequest::default()).await.unwrap().into_inner()
}

async fn audit(program: &Program) -> Vec<(String, String)> {
    let request = wire::ListAuditRequest { limit: 1_000, before_sequence: 0 };
    let entries = program.policy().await.list_audit(request).await.unwrap().into_inner().entries;
    entries.into_iter().rev().map(|entry| (entry.event, entry.detail)).collect()
}

async fn watch(client: &mut Suggestions, after_sequence: u64) -> Streaming<wire::DecidedSuggestion> {
    let request = wire::WatchDecisionsRequest { learner: "l1".into(), after_sequence };
    client.watch_decisions(request).await.unwrap().into_inner()
}

/// Returns the next places of the sequence: `accepted 1` for a decision, `withdrawn 1` for one taken back.
async fn next(stream: &mut Streaming<wire::DecidedSuggestion>, places: usize) -> Vec<(u64, String)> {
    let mut told = Vec::new();
    while told.len() < places {
        told.push(match stream.message().await.unwrap().unwrap() {
            wire::DecidedSuggestion { suggestion: Some(suggestion), withdrawal: None } => {
                let decision = suggestion.decision.unwrap();
                assert_eq!(decision.verdict, suggestion.state);
                (decision.sequence, format!("{} {}", suggestion.state, suggestion.id))
            }
            wire::DecidedSuggestion { suggestion: None, withdrawal: Some(withdrawal) } => {
                (withdrawal.sequence, format!("withdrawn {}", withdrawal.suggestion_id))
            }
            odd => panic!("{odd:?}"),
        });
    }
    told
}

/// A withdrawn answer leaves an open suggestion, a policy without its relationship, and a place in the sequence.
pub async fn a_withdrawn_answer_is_as_if_it_had_never_been_given(store: &str) {
    let scratch = Scratch::new();
    let mut program = Program::start(&scratch, store);
    with_groups(&program).await;
    let mut client = suggestions(&program).await;
    submit(&mut client, "l1", vec![suggestion(22), suggestion(23)]).await;
    let before = policy(&program).await;
    client.accept_suggestion(accept(1)).await.unwrap();
    client.reject_suggestion(reject(2, "wrong-rule")).await.unwrap();
    let answer = client.withdraw_answer(withdraw(1)).await.unwrap().into_inner();
    let withdrawal = answer.withdrawal.unwrap();
    assert_eq!((withdrawal.sequence, withdrawal.decision, withdrawal.version), (3, 1, 3));
    let after = policy(&program).await;
    assert_eq!((after.version, &after.digest), (3, &answer.digest));
    assert_eq!(after.policy, before.policy);
    let answer = client.withdraw_answer(withdraw(2)).await.unwrap().into_inner();
    assert_eq!((answer.withdrawal.unwrap().version, answer.digest.len()), (0, 0));
    assert_eq!(policy(&program).await.version, 3, "a rejection had changed nothing");

    let page = get(&mut client, 1).await;
    let shown = page.suggestion.unwrap();
    assert_eq!((shown.state.as_str(), shown.decision, page.withdrawals.len()), ("open", None, 1));
    let again = submit(&mut client, "l1", vec![suggestion(23)]).await;
    assert_eq!(again[0].refusal, "draft: repeats suggestion 2, which is open");
    client.reject_suggestion(reject(1, "too-broad")).await.unwrap();
    let expected = ["accepted 1", "rejected 2", "withdrawn 1", "withdrawn 2", "rejected 1"];
    let expected: Vec<_> = (1..).zip(expected.map(str::to_owned)).collect();
    assert_eq!(next(&mut watch(&mut client, 0).await, 5).await, expected);
    let mut live = watch(&mut client, 5).await;
    client.withdraw_answer(withdraw(1)).await.unwrap();
    assert_eq!(next(&mut live, 1).await, [(6, "withdrawn 1".to_owned())]);

    program.kill();
    let program = Program::start(&scratch, store);
    let mut client = suggestions(&program).await;
    let told = next(&mut watch(&mut client, 2).await, 4).await;
    assert_eq!(told[0], (3, "withdrawn 1".to_owned()));
    assert_eq!(told[3], (6, "withdrawn 1".to_owned()));
    assert_eq!(get(&mut client, 1).await.withdrawals.len(), 2);
    let trail = audit(&program).await;
    let events: Vec<&str> = trail.iter().map(|(event, _)| event.as_str()).collect();
    let (back, no) = ("suggestion-withdraw", "suggestion-reject");
    assert_eq!(events, ["commit", "suggestion-submit", "suggestion-accept", no, back, back, no, back]);
    let shown = "(model gru-1, rank 22, propensity 1.0000, confidence 0.3000)";
    assert!(trail[2].1.ends_with(&format!("suggestion 1 {shown}: yes")), "{}", trail[2].1);
    assert!(
        trail[4].1.contains(&format!("suggestion 1 {shown}: decision 1, accepted as relationship 1 by "))
    );
    assert!(trail[4].1.starts_with("version 3 digest "), "{}", trail[4].1);
    assert!(trail[5].1.contains("decision 2, rejected (wrong-rule) by "), "{}", trail[5].1);
}

/// What cannot be taken back is refused with what to do.
pub async fn refused_withdrawals_say_why(store: &str) {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, store);
    with_groups(&program).await;
    let mut client = suggestions(&program).await;
    submit(&mut client, "l1", vec![suggestion(22), suggestion(23), suggestion(24)]).await;
    client.accept_suggestion(accept(1)).await.unwrap();
    client.accept_suggestion(accept(2)).await.unwrap();
    let mut made = policy(&program).await.policy.unwrap().relationships;
    made[0].mode = "disabled".into();
    let changes = vec![
        wire::change::Change::PutRelationship(made[0].clone()),
        wire::change::Change::DeleteRelationship(2),
    ];
    program.policy().await.commit(commit(changes)).await.unwrap();
    let cases = [
        (withdraw(9), Code::NotFound, "id: there is no suggestion 9"),
        (withdraw(3), Code::FailedPrecondition, "suggestion 3: is open, there is no answer to withdraw"),
        (
            withdraw(1),
            Code::FailedPrecondition,
            "suggestion 1: relationship 1, which it made, was changed since and is deny Dev -> Prod TCP 22, priority \
             1000, disabled; set it back and withdraw again, or withdraw the answer only (`--answer-only`), and the \
             policy stays as it is",
        ),
        (
            withdraw(2),
            Code::FailedPrecondition,
            "suggestion 2: relationship 2, which it made, was removed since: nothing is left to take out; withdraw the \
             answer only (`--answer-only`), and the policy stays as it is",
        ),
        (
            wire::WithdrawAnswerRequest { id: 1, comment: "c".repeat(2_000), answer_only: false },
            Code::InvalidArgument,
            "comment: 2000 bytes, at most 1024 are possible",
        ),
    ];
    let before = (policy(&program).await.version, audit(&program).await.len());
    for (request, code, message) in cases {
        let status = client.withdraw_answer(request).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, message));
    }
    assert_eq!((policy(&program).await.version, audit(&program).await.len()), before);
    // Removed by people, the draft came again: two open ones with the same draft would be answered twice.
    let again = submit(&mut client, "l1", vec![suggestion(23)]).await;
    assert_eq!((again[0].id, again[0].refusal.as_str()), (4, ""));
    let status = client.withdraw_answer(withdraw(2)).await.unwrap_err();
    let expected = "suggestion 2: its draft was suggested anew as suggestion 4; answer that one, or withdraw the answer \
                    only (`--answer-only`), and the policy stays as it is";
    assert_eq!(status.message(), expected);
    only_the_answer_is_taken_back(&mut client).await;
    made[0].mode = "enforce".into();
    let back = vec![wire::change::Change::PutRelationship(made[0].clone())];
    program.policy().await.commit(commit(back)).await.unwrap();
    client.withdraw_answer(withdraw(1)).await.unwrap();
    assert!(policy(&program).await.policy.unwrap().relationships.is_empty());
}

/// An answer whose draft came anew is taken back, and stays closed.
async fn only_the_answer_is_taken_back(client: &mut Suggestions) {
    let only = || wire::WithdrawAnswerRequest { answer_only: true, ..withdraw(2) };
    let answer = client.withdraw_answer(only()).await.unwrap().into_inner();
    let withdrawal = answer.withdrawal.unwrap();
    assert_eq!((withdrawal.decision, withdrawal.version, answer.digest.len()), (2, 0, 0));
    let page = get(client, 2).await;
    let shown = page.suggestion.unwrap();
    assert_eq!(
        (shown.state.as_str(), page.withdrawals.len()),
        ("accepted", 1),
        "the new one is open, this stays closed"
    );
    assert_eq!(shown.decision.map(|decision| decision.sequence), Some(2));
    let status = client.withdraw_answer(only()).await.unwrap_err();
    assert_eq!(status.message(), "suggestion 2: its answer was withdrawn already");
    let status = client.accept_suggestion(accept(2)).await.unwrap_err();
    assert!(status.message().starts_with("suggestion 2: was accepted by "), "{}", status.message());
    assert_eq!(next(&mut watch(client, 2).await, 1).await, [(3, "withdrawn 2".to_owned())]);
}

/// Killed while answers are taken back: nothing acknowledged is lost, and nothing is there by half.
pub async fn a_killed_program_loses_no_acknowledged_withdrawal(store: &str, kills: u16) {
    let scratch = Scratch::new();
    let mut acknowledged = Vec::new();
    for round in 0..kills {
        let mut program = Program::start(&scratch, store);
        if round == 0 {
            with_groups(&program).await;
        }
        let mut client = suggestions(&program).await;
        let drafts = (0..2).map(|port| suggestion(1 + round * 2 + port)).collect();
        let ids: Vec<u64> = submit(&mut client, "l1", drafts).await.iter().map(|answer| answer.id).collect();
        client.accept_suggestion(accept(ids[0])).await.unwrap();
        client.reject_suggestion(reject(ids[1], "wrong-rule")).await.unwrap();
        let (mut one, mut other) = (client.clone(), client.clone());
        let (first, second) = (ids[0], ids[1]);
        let calls = [
            (first, tokio::spawn(async move { one.withdraw_answer(withdraw(first)).await.map(drop) })),
            (second, tokio::spawn(async move { other.withdraw_answer(withdraw(second)).await.map(drop) })),
        ];
        // From none to both are on disk by then: each question takes about as long as a withdrawal.
        for _ in 0..round % 4 {
            policy(&program).await;
        }
        program.kill();
        for (id, call) in calls {
            if call.await.unwrap().is_ok() {
                acknowledged.push(id);
            }
        }
    }
    let program = Program::start(&scratch, store);
    let mut client = suggestions(&program).await;
    let all = wire::ListSuggestionsRequest { state: "all".into(), limit: 1_000 };
    let all = client.list_suggestions(all).await.unwrap().into_inner().suggestions;
    let all: Vec<wire::Suggestion> = all.into_iter().filter_map(|listed| listed.suggestion).collect();
    for id in acknowledged {
        let state = all.iter().find(|one| one.id == id).map(|one| one.state.clone());
        assert_eq!(state.as_deref(), Some("open"), "suggestion {id}");
    }
    let open = all.iter().filter(|one| one.state == "open").count();
    let accepted = all.iter().filter(|one| one.state == "accepted").count();
    assert_eq!(policy(&program).await.policy.unwrap().relationships.len(), accepted);
    let trail = audit(&program).await;
    assert_eq!(trail.iter().filter(|(event, _)| event == "suggestion-withdraw").count(), open);
    let decided = usize::from(kills) * 2 + open;
    let told = next(&mut watch(&mut client, 0).await, decided).await;
    let sequences: Vec<u64> = told.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, (1..=u64::try_from(decided).unwrap()).collect::<Vec<_>>());
}

/// Steps of a gate stand in the trail once, whoever starts anew.
pub async fn gate_steps_are_audited_once(store: &str) {
    let scratch = Scratch::new();
    let mut program = Program::start(&scratch, store);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now_ns = u64::try_from(now.as_nanos()).unwrap();
    let step = |open, answers, before_s: u64| wire::GateStep {
        open,
        answers,
        evidence_nats: if open { 4.25 } else { -0.5 },
        time_ns: now_ns - before_s * 1_000_000_000,
    };
    let report = |gate_steps: Vec<wire::GateStep>| {
        let feedback = wire::FeedbackReport { evidence_needed_nats: 4.0, gate_steps, ..Default::default() };
        let report = wire::LearnerReport {
            learner: "l1".into(),
            epoch: 1,
            feedback: Some(feedback),
            ..wire::LearnerReport::default()
        };
        wire::ReportLearnerRequest { report: Some(report) }
    };
    let future = wire::GateStep { time_ns: now_ns + 3_600_000_000_000, ..step(true, 99, 0) };
    let mut client = suggestions(&program).await;
    let first = report(vec![step(true, 90, 60), future]);
    client.report_learner(first.clone()).await.unwrap();
    client.report_learner(first.clone()).await.unwrap();
    program.kill();
    let program = Program::start(&scratch, store);
    let mut client = suggestions(&program).await;
    client.report_learner(first).await.unwrap();
    client.report_learner(report(vec![step(true, 90, 60), step(false, 120, 30)])).await.unwrap();
    let trail = audit(&program).await;
    let details: Vec<&str> = trail.iter().map(|(_, detail)| detail.as_str()).collect();
    assert_eq!(details.len(), 2, "{details:?}");
    assert!(details[0].starts_with("gate opened at "), "{}", details[0]);
    assert!(details[0].ends_with(" after 90 answers: evidence 4.25 nats, 4.00 open it"), "{}", details[0]);
    assert!(details[1].ends_with(" after 120 answers: evidence -0.50 nats, 4.00 open it"), "{}", details[1]);
    // A learner gone mad does not fill the trail.
    let many =
        (1..60).map(|at| wire::GateStep { time_ns: now_ns - 30_000_000_000 + at, ..step(true, at, 0) });
    client.report_learner(report(many.collect())).await.unwrap();
    assert_eq!(audit(&program).await.len(), 32);
    let odd = report(vec![wire::GateStep { evidence_nats: f64::NAN, ..step(true, 1, 0) }]);
    let status = client.report_learner(odd).await.unwrap_err();
    assert_eq!(status.message(), "report.feedback.gate_steps[0].evidence_nats: NaN is not a finite number");
}

/// Automatic acceptance is off, is switched by administrators, and remembers it.
pub async fn automatic_acceptance_is_switched_and_shown(store: &str) {
    let scratch = Scratch::new();
    let mut program = Program::start(&scratch, store);
    let mut client = AutomaticServiceClient::new(program.channel().await);
    let show = wire::ShowAutomaticRequest {};
    let kinds = client.show_automatic(show).await.unwrap().into_inner().kinds;
    let states: Vec<_> = kinds.iter().map(|kind| (kind.kind.as_str(), kind.state.as_str())).collect();
    assert_eq!(states, [("steady", "off"), ("anomaly", "off")]);
    let defaults = kinds[0].settings.unwrap();
    assert_eq!((defaults.confidence, defaults.answers, defaults.shadow_hours), (0.95, 100, 24));
    let settings = wire::AutomaticSettings { answers: 50, ..defaults };
    let enable = |settings| wire::EnableAutomaticRequest {
        kind: "anomaly".into(),
        settings: Some(settings),
        comment: "as agreed".into(),
    };
    let line = client.enable_automatic(enable(settings)).await.unwrap().into_inner().kind.unwrap();
    assert_eq!((line.state.as_str(), line.settings), ("on", Some(settings)));
    assert!(!line.earned.unwrap().is_earned);
    let cases = [
        (
            wire::AutomaticSettings { shadow_hours: 0, ..settings },
            "settings.shadow_hours: 0 is not between 1 and 744",
        ),
        (
            wire::AutomaticSettings { confidence: 1.5, ..settings },
            "settings.confidence: 1.5 is not between 0.5 and 1",
        ),
        (wire::AutomaticSettings { rollback: None, ..settings }, "settings.rollback: is missing"),
    ];
    for (settings, message) in cases {
        let status = client.enable_automatic(enable(settings)).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, message));
    }
    let odd = wire::DisableAutomaticRequest { kind: "cost".into(), comment: String::new() };
    let status = client.disable_automatic(odd).await.unwrap_err();
    assert_eq!(status.message(), "kind: \"cost\" is not one of steady, anomaly");
    let kept = wire::EnableAutomaticRequest { settings: None, ..enable(settings) };
    let line = client.enable_automatic(kept).await.unwrap().into_inner().kind.unwrap();
    assert_eq!(line.settings, Some(settings), "what is not said stays");
    program.kill();
    let program = Program::start(&scratch, store);
    let mut client = AutomaticServiceClient::new(program.channel().await);
    let kinds = client.show_automatic(show).await.unwrap().into_inner().kinds;
    assert_eq!((kinds[0].state.as_str(), kinds[1].state.as_str()), ("off", "on"));
    let off = wire::DisableAutomaticRequest { kind: "anomaly".into(), comment: String::new() };
    let line = client.disable_automatic(off).await.unwrap().into_inner().kind.unwrap();
    assert_eq!((line.state.as_str(), line.settings), ("off", Some(settings)), "the settings stay");
    let trail = audit(&program).await;
    assert!(trail[0].1.starts_with("anomaly: off -> on, confidence 0.95, answers 50, "), "{}", trail[0].1);
    assert!(trail[0].1.ends_with(": as agreed"), "{}", trail[0].1);
    assert!(trail[1].1.starts_with("anomaly: on -> on, confidence 0.95, answers 50, "), "{}", trail[1].1);
    assert_eq!(trail[2], ("automatic-switch".to_owned(), "anomaly: on -> off".to_owned()));
}

#[tokio::test]
async fn withdrawals_hold_on_sqlite() {
    a_withdrawn_answer_is_as_if_it_had_never_been_given("").await;
    refused_withdrawals_say_why("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_withdrawals_hold_on_sqlite() {
    a_killed_program_loses_no_acknowledged_withdrawal("", 10).await;
}

#[tokio::test]
async fn gates_and_switches_hold_on_sqlite() {
    gate_steps_are_audited_once("").await;
    automatic_acceptance_is_switched_and_shown("").await;
}
