//! Suggestions through the real program: what holds on SQLite (here) and on PostgreSQL (`postgres.rs`).

use crate::program::{Program, Scratch, commit};
use meshgate_proto::wire;
use meshgate_proto::wire::suggestion_service_client::SuggestionServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Request};

pub type Suggestions = SuggestionServiceClient<Channel>;

pub async fn suggestions(program: &Program) -> Suggestions {
    SuggestionServiceClient::new(program.channel().await)
        .max_decoding_message_size(meshgate_proto::MESSAGE_BYTES_MAX)
}

fn group(name: &str, prefix: &str) -> wire::change::Change {
    wire::change::Change::PutGroup(wire::AuthoredGroup {
        name: name.into(),
        prefixes: vec![prefix.into()],
        ..wire::AuthoredGroup::default()
    })
}

/// Has two groups: number 16 is Dev, 17 is Prod.
pub async fn with_groups(program: &Program) {
    let groups = vec![group("Dev", "10.0.0.0/24"), group("Prod", "10.0.1.0/24")];
    program.policy().await.commit(commit(groups)).await.unwrap();
}

fn draft(port: u16) -> wire::GroupRelationship {
    wire::GroupRelationship {
        source_group_name: "Dev".into(),
        destination_group_name: "Prod".into(),
        protocol: "TCP".into(),
        port_range: port.to_string(),
        action: "deny".into(),
        ..wire::GroupRelationship::default()
    }
}

/// Returns the rule between groups that was made.
pub fn relationship(made: Option<wire::Proposal>) -> wire::GroupRelationship {
    match made.and_then(|made| made.kind) {
        Some(wire::proposal::Kind::Relationship(relationship)) => relationship,
        other => panic!("{other:?}"),
    }
}

pub fn suggestion(port: u16) -> wire::Suggestion {
    let measure = |name: &str, value, text: &str| wire::Measure {
        name: name.into(),
        value,
        unit: "flows".into(),
        text: text.into(),
    };
    wire::Suggestion {
        origin: "anomaly".into(),
        draft: Some(draft(port).into()),
        expires_ns: 4_000_000_000_000_000_000,
        confidence: 0.1 + 0.2,
        relevance: 1.0 / 3.0,
        rank: u32::from(port),
        propensity: 1.0,
        justification: format!("Unusual attempts on port {port}"),
        evidence: vec![wire::Evidence {
            number: 1,
            kind: "volume".into(),
            sentence: "1,204 attempts".into(),
            measures: vec![measure("attempts", 1_204.0, "1,204")],
            from_ns: 1,
            until_ns: 2,
        }],
        effect: Some(wire::DraftEffect { flows_seen: 5, flows_matched: 1, ..wire::DraftEffect::default() }),
        narrows: vec![4, 7],
        features: vec![wire::Feature { name: "novelty".into(), value: 1e-300 }],
        base_version: 1,
        model_version: "gru-1".into(),
        window_end_ns: 2,
        ..wire::Suggestion::default()
    }
}

pub async fn submit(
    client: &mut Suggestions,
    learner: &str,
    drafts: Vec<wire::Suggestion>,
) -> Vec<wire::SubmitAnswer> {
    let request = wire::SubmitRequest { learner: learner.into(), suggestions: drafts };
    client.submit(request).await.unwrap().into_inner().answers
}

pub fn accept(id: u64) -> wire::AcceptSuggestionRequest {
    wire::AcceptSuggestionRequest { id, comment: "yes".into(), ..wire::AcceptSuggestionRequest::default() }
}

pub fn reject(id: u64, reason: &str) -> wire::RejectSuggestionRequest {
    wire::RejectSuggestionRequest { id, reason: reason.into(), comment: String::new() }
}

pub async fn get(client: &mut Suggestions, id: u64) -> wire::GetSuggestionResponse {
    client.get_suggestion(wire::GetSuggestionRequest { id }).await.unwrap().into_inner()
}

/// Drafts come in, are looked at, answered, and are all there after a restart.
pub async fn suggestions_live_from_submission_to_decision(store: &str) {
    let scratch = Scratch::new();
    let mut program = Program::start(&scratch, store);
    with_groups(&program).await;
    let mut client = suggestions(&program).await;
    let odd = wire::Suggestion { origin: "luck".into(), ..suggestion(1) };
    let none = wire::Suggestion {
        draft: Some(wire::GroupRelationship { mode: "shadow".into(), ..draft(2) }.into()),
        ..suggestion(2)
    };
    let answers =
        submit(&mut client, "l1", vec![suggestion(22), odd, suggestion(23), none, suggestion(24)]).await;
    assert_eq!(answers.iter().map(|a| a.id).collect::<Vec<_>>(), [1, 0, 2, 0, 3]);
    assert_eq!(answers[1].refusal, "origin: \"luck\" is not one of steady, anomaly");
    assert_eq!(answers[3].refusal, "draft.mode: shadow; a draft has the mode enforce");
    let again = submit(&mut client, "l1", vec![suggestion(23)]).await;
    assert_eq!((again[0].id, again[0].refusal.as_str()), (2, "draft: repeats suggestion 2, which is open"));

    let listed =
        client.list_suggestions(wire::ListSuggestionsRequest { limit: 2, ..Default::default() }).await;
    let listed = listed.unwrap().into_inner();
    assert_eq!((listed.suggestions.len(), listed.left_out), (2, 1));
    let first = listed.suggestions[0].suggestion.clone().unwrap();
    assert_eq!((first.id, first.state.as_str(), first.evidence.len()), (1, "open", 0));

    let mut request = Request::new(accept(1));
    request.metadata_mut().insert("x-meshgate-user", "alice".parse().unwrap());
    let accepted = client.accept_suggestion(request).await.unwrap().into_inner();
    let decision = accepted.decision.unwrap();
    assert_eq!((decision.sequence, decision.verdict.as_str(), decision.version), (1, "accepted", 2));
    assert_eq!(decision.time_ns, accepted.committed_ns);
    assert!(decision.actor.starts_with("alice ("), "{}", decision.actor);
    let made = relationship(decision.made);
    assert_eq!((made.id, made.note.as_str()), (1, "suggestion 1: Unusual attempts on port 22"));
    let edited = wire::GroupRelationship { port_range: "23,2323".into(), ..draft(23) };
    let edited =
        wire::AcceptSuggestionRequest { edited: Some(edited.into()), expected_version: Some(2), ..accept(2) };
    let edited = client.accept_suggestion(edited).await.unwrap().into_inner();
    assert_eq!(edited.decision.unwrap().verdict, "edited");
    let rejected = client.reject_suggestion(reject(3, "too-broad")).await.unwrap().into_inner();
    assert_eq!(rejected.decision.unwrap().reason, "too-broad");

    assert!(program.terminate().success());
    let program = Program::start(&scratch, store);
    let mut client = suggestions(&program).await;
    let policy =
        program.policy().await.get_policy(wire::GetPolicyRequest::default()).await.unwrap().into_inner();
    assert_eq!((policy.version, policy.digest), (3, edited.digest));
    assert_eq!(policy.policy.unwrap().relationships[0], made);
    decisions_are_told_as_they_were_given(&mut client, &made).await;
    let back = get(&mut client, 3).await.suggestion.unwrap();
    let submitted = wire::Suggestion {
        id: 3,
        tenant: "default".into(),
        learner: "l1".into(),
        state: "rejected".into(),
        submitted_ns: back.submitted_ns,
        decision: back.decision.clone(),
        draft: back.draft.clone(),
        ..suggestion(24)
    };
    assert_eq!(back, submitted);
    let again = submit(&mut client, "l2", vec![suggestion(22), suggestion(23), suggestion(24)]).await;
    assert_eq!(again.iter().map(|a| a.id).collect::<Vec<_>>(), [1, 2, 3], "{again:?}");
    let audit =
        program.policy().await.list_audit(wire::ListAuditRequest::default()).await.unwrap().into_inner();
    let events: Vec<_> = audit.entries.into_iter().map(|entry| entry.event).rev().collect();
    let answers = ["suggestion-accept", "suggestion-edit", "suggestion-reject"];
    assert_eq!(events, [&["commit", "suggestion-submit"], &answers[..]].concat());
}

/// Three decisions are listed, newest first, and reach the learner with comment, reason and what was committed.
async fn decisions_are_told_as_they_were_given(client: &mut Suggestions, made: &wire::GroupRelationship) {
    let all = wire::ListSuggestionsRequest { state: "all".into(), limit: 0 };
    let all = client.list_suggestions(all).await.unwrap().into_inner().suggestions.into_iter();
    let ids: Vec<_> = all.map(|listed| listed.suggestion.unwrap().id).collect();
    assert_eq!(ids, [3, 2, 1]);
    let watch = wire::WatchDecisionsRequest::default();
    let mut stream = client.watch_decisions(watch).await.unwrap().into_inner();
    let told =
        |message: Option<wire::DecidedSuggestion>| message.unwrap().suggestion.unwrap().decision.unwrap();
    let accepted = told(stream.message().await.unwrap());
    assert_eq!((accepted.comment.as_str(), &relationship(accepted.made)), ("yes", made));
    let edited = told(stream.message().await.unwrap());
    let committed = relationship(edited.made);
    assert_eq!((edited.comment.as_str(), committed.id, committed.port_range.as_str()), ("yes", 2, "23,2323"));
    assert_eq!(told(stream.message().await.unwrap()).reason, "too-broad");
}

/// Every refusal has the code of whose mistake it is, and names the thing at fault.
pub async fn refused_decisions_say_why(store: &str) {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, store);
    with_groups(&program).await;
    let mut client = suggestions(&program).await;
    submit(&mut client, "l1", vec![suggestion(22), suggestion(23)]).await;
    client.reject_suggestion(reject(1, "later")).await.unwrap();
    let allow = wire::GroupRelationship { action: "allow".into(), ..draft(23) };
    let allow = wire::change::Change::PutRelationship(allow);
    program.policy().await.commit(commit(vec![allow])).await.unwrap();
    let obstacle = get(&mut client, 2).await.obstacle;
    assert!(obstacle.starts_with("draft: matches the same packets as rule 1 ("), "{obstacle}");
    let nowhere = wire::GroupRelationship { source_group_name: "Nowhere".into(), ..draft(23) };
    let cases = [
        (accept(9), Code::NotFound, "id: there is no suggestion 9"),
        (accept(1), Code::FailedPrecondition, "suggestion 1: was rejected by "),
        (accept(2), Code::FailedPrecondition, "suggestion 2: draft: matches the same packets as rule 1"),
        (
            wire::AcceptSuggestionRequest { expected_version: Some(1), ..accept(2) },
            Code::Aborted,
            "expected_version: 1 is not the newest version, which is 2",
        ),
        (
            wire::AcceptSuggestionRequest { edited: Some(nowhere.into()), ..accept(2) },
            Code::InvalidArgument,
            "relationship Nowhere -> Prod: source_group_name: no group \"Nowhere\"",
        ),
        (
            wire::AcceptSuggestionRequest {
                edited: Some(wire::GroupRelationship { port_range: "9-1".into(), ..draft(23) }.into()),
                ..accept(2)
            },
            Code::InvalidArgument,
            "edited.relationship.port_range: port range 9-1 is backwards",
        ),
        (
            wire::AcceptSuggestionRequest { comment: "c".repeat(2_000), ..accept(2) },
            Code::InvalidArgument,
            "comment: 2000 bytes, at most 1024 are possible",
        ),
    ];
    for (request, code, message) in cases {
        let status = client.accept_suggestion(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().starts_with(message), "{status}");
    }
    let status = client.reject_suggestion(reject(2, "never")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("reason: \"never\" is not one of wrong-anomaly, "), "{status}");
    let odd = wire::ListSuggestionsRequest { state: "shut".into(), limit: 0 };
    let status = client.list_suggestions(odd).await.unwrap_err();
    assert_eq!(status.message(), "state: \"shut\" is not one of open, accepted, edited, rejected, expired");
    let many = wire::SubmitRequest { learner: "l1".into(), suggestions: vec![suggestion(1); 101] };
    assert_eq!(client.submit(many).await.unwrap_err().code(), Code::ResourceExhausted);
    let ahead = wire::WatchDecisionsRequest { learner: "l1".into(), after_sequence: 2 };
    let status = client.watch_decisions(ahead).await.unwrap_err();
    assert_eq!(status.message(), "after_sequence: 2 is above the newest decision, which is 1");
}

/// A learner gets every decision about its drafts once, whenever it comes back.
pub async fn decisions_are_watched_without_loss(store: &str) {
    let scratch = Scratch::new();
    let mut program = Program::start(&scratch, store);
    with_groups(&program).await;
    let mut client = suggestions(&program).await;
    let mine: Vec<_> = (100..180).map(suggestion).collect();
    submit(&mut client, "l1", mine).await;
    submit(&mut client, "l2", vec![suggestion(22)]).await;
    for id in 1..=40 {
        client.reject_suggestion(reject(id, "too-broad")).await.unwrap();
    }
    client.accept_suggestion(accept(81)).await.unwrap();
    let watch = |learner: &str, after_sequence| wire::WatchDecisionsRequest {
        learner: learner.into(),
        after_sequence,
    };
    let mut stream = client.watch_decisions(watch("l1", 5)).await.unwrap().into_inner();
    let mut others = client.watch_decisions(watch("l2", 0)).await.unwrap().into_inner();
    let writer = tokio::spawn({
        let mut client = client.clone();
        async move {
            for id in 41..=80 {
                client.reject_suggestion(reject(id, "wrong-rule")).await.unwrap();
            }
        }
    });
    let mut heard = Vec::new();
    while heard.len() < 75 {
        let decided = stream.message().await.unwrap().unwrap().suggestion.unwrap();
        assert_eq!((decided.state.as_str(), decided.features.len()), ("rejected", 1));
        heard.push(decided.decision.unwrap().suggestion_id);
    }
    assert_eq!(heard, (6..=80).collect::<Vec<_>>());
    writer.await.unwrap();
    let other = others.message().await.unwrap().unwrap().suggestion.unwrap();
    assert_eq!((other.id, other.decision.unwrap().sequence), (81, 41));
    assert!(program.terminate().success());
    let end = stream.message().await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    let program = Program::start(&scratch, store);
    let mut client = suggestions(&program).await;
    let mut stream = client.watch_decisions(watch("", 80)).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().suggestion.unwrap().id, 80);
}

/// A draft is replayed against the roll-ups, each flow once.
pub async fn a_look_replays_the_draft(store: &str) {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, store);
    with_groups(&program).await;
    let mut client = suggestions(&program).await;
    submit(&mut client, "l1", vec![suggestion(22)]).await;
    let sum = |port, action, flows| wire::FlowSum {
        segment: 1,
        source_groups: vec![16],
        destination_groups: vec![17],
        protocol: 6,
        service_port: port,
        action,
        stage: 7,
        flows,
        ..wire::FlowSum::default()
    };
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let start_s = now_s - now_s % 3_600;
    let bucket = |width_s| wire::Bucket {
        width_s,
        start_s,
        sums: vec![sum(22, 1, 3), sum(22, 2, 2), sum(80, 1, 5)],
        records_lost: 0,
        hauls: Vec::new(),
    };
    let buckets = vec![bucket(60), bucket(3_600)];
    let delivery = wire::IngestRequest { collector: "c1".into(), epoch: 1, buckets };
    let mut flows = wire::flow_service_client::FlowServiceClient::new(program.channel().await);
    flows.ingest(delivery).await.unwrap();
    let look = get(&mut client, 1).await;
    let expected = wire::DraftEffect {
        flows_seen: 10,
        flows_matched: 5,
        flows_newly_denied: 3,
        flows_attributed: 2,
        flows_newly_allowed: 0,
    };
    assert_eq!((look.effect, look.obstacle.as_str(), look.version), (Some(expected), "", 1));
}

/// The newest report of a learner is kept; one from an older start is refused.
pub async fn learners_are_remembered(store: &str) {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, store);
    let mut client = suggestions(&program).await;
    let report = |epoch, records_read| wire::LearnerReport {
        learner: "l1".into(),
        epoch,
        records_read,
        training_loss: Some(1.25),
        drafts_dropped: vec![wire::Feature { name: "conflict".into(), value: 3.0 }],
        ..wire::LearnerReport::default()
    };
    let tell = |report| wire::ReportLearnerRequest { report: Some(report) };
    client.report_learner(tell(report(2, 1))).await.unwrap();
    client.report_learner(tell(report(2, u64::MAX))).await.unwrap();
    let status = client.report_learner(tell(report(1, 3))).await.unwrap_err();
    assert_eq!(status.message(), "report.epoch: a later start of learner l1 has reported");
    let odd = wire::LearnerReport { training_loss: Some(f64::NAN), ..report(3, 1) };
    let status = client.report_learner(tell(odd)).await.unwrap_err();
    assert_eq!(status.message(), "report.training_loss: NaN is not a finite number");
    let learners = client.list_learners(wire::ListLearnersRequest {}).await.unwrap().into_inner().learners;
    assert_eq!(learners.len(), 1);
    assert_eq!(learners[0].report, Some(report(2, u64::MAX)));
    assert!(learners[0].reported_ns > 0);
}

/// Killed between decisions at any moment: what was acknowledged is there, and no decision is without its version.
pub async fn a_killed_program_loses_no_acknowledged_answer(store: &str, kills: u16) {
    let scratch = Scratch::new();
    let mut acknowledged = Vec::new();
    for round in 0..kills {
        let mut program = Program::start(&scratch, store);
        if round == 0 {
            with_groups(&program).await;
        }
        let mut client = suggestions(&program).await;
        let drafts = (0..4).map(|port| suggestion(1 + round * 4 + port)).collect();
        let ids: Vec<u64> = submit(&mut client, "l1", drafts).await.iter().map(|answer| answer.id).collect();
        assert!(ids.iter().all(|id| *id > 0), "{ids:?}");
        client.accept_suggestion(accept(ids[0])).await.unwrap();
        client.reject_suggestion(reject(ids[1], "wrong-rule")).await.unwrap();
        acknowledged.extend_from_slice(&ids[..2]);
        // Two more are on their way when the program dies.
        let (mut one, mut other) = (client.clone(), client.clone());
        let (third, fourth) = (ids[2], ids[3]);
        let late = tokio::spawn(async move { one.accept_suggestion(accept(third)).await.map(drop) });
        let later =
            tokio::spawn(async move { other.reject_suggestion(reject(fourth, "later")).await.map(drop) });
        for _ in 0..round % 4 {
            tokio::task::yield_now().await;
        }
        program.kill();
        for (id, call) in [(third, late), (fourth, later)] {
            if call.await.unwrap().is_ok() {
                acknowledged.push(id);
            }
        }
    }
    let program = Program::start(&scratch, store);
    let mut client = suggestions(&program).await;
    let all = wire::ListSuggestionsRequest { state: "all".into(), limit: 1_000 };
    let all = client.list_suggestions(all).await.unwrap().into_inner().suggestions;
    let decisions: Vec<wire::Decision> =
        all.into_iter().filter_map(|listed| listed.suggestion?.decision).collect();
    for id in acknowledged {
        assert!(decisions.iter().any(|decision| decision.suggestion_id == id), "suggestion {id}");
    }
    let policy =
        program.policy().await.get_policy(wire::GetPolicyRequest::default()).await.unwrap().into_inner();
    let accepted: Vec<_> =
        decisions.iter().filter(|d| d.made.is_some()).map(|d| relationship(d.made.clone())).collect();
    assert_eq!(policy.version, 1 + u64::try_from(accepted.len()).unwrap());
    let mut made = policy.policy.unwrap().relationships;
    made.reverse();
    assert_eq!(made, accepted);
    let audit =
        program.policy().await.list_audit(wire::ListAuditRequest { limit: 1_000, before_sequence: 0 }).await;
    let audit = audit.unwrap().into_inner().entries;
    let answers = audit
        .iter()
        .filter(|entry| matches!(entry.event.as_str(), "suggestion-accept" | "suggestion-reject"));
    assert_eq!(answers.count(), decisions.len());
}

/// Drafts come in at one control and are answered at another; the learner's stream is at the first.
pub async fn two_controls_serve_one_inbox(first: &Program, second: &Program) {
    with_groups(first).await;
    let (mut ones, mut others) = (suggestions(first).await, suggestions(second).await);
    let watch = wire::WatchDecisionsRequest::default();
    let mut stream = ones.watch_decisions(watch).await.unwrap().into_inner();
    let drafts = (1..=10).map(suggestion).collect();
    let ids: Vec<u64> = submit(&mut ones, "l1", drafts).await.iter().map(|answer| answer.id).collect();
    assert_eq!(ids, (1..=10).collect::<Vec<_>>());
    // Neither has seen what the other wrote before, and none of the answers is refused for it.
    for id in ids {
        let reject = reject(id, "too-broad");
        if id % 2 == 0 {
            ones.reject_suggestion(reject).await.unwrap();
        } else {
            others.reject_suggestion(reject).await.unwrap();
        }
        let again = others.accept_suggestion(accept(id)).await.unwrap_err();
        assert_eq!(again.code(), Code::FailedPrecondition, "{again}");
    }
    for id in 1..=10 {
        let decided = stream.message().await.unwrap().unwrap().suggestion.unwrap();
        assert_eq!((decided.id, decided.decision.unwrap().sequence), (id, id));
    }
}
