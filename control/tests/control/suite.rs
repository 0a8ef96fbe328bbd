//! What holds on every store: `services.rs` runs it on SQLite, `postgres.rs` on PostgreSQL.

use crate::program::{Program, Scratch, commit, group, relationship};
use meshgate_proto::wire;
use tonic::{Code, Request};

fn plan(changes: Vec<wire::change::Change>) -> wire::PlanRequest {
    wire::PlanRequest { expected_version: None, changes: commit(changes).changes }
}

/// Commits, plans, reads, goes back, and finds it all after a restart.
pub async fn a_policy_lives_through_versions_and_a_restart(store: &str) {
    let scratch = Scratch::new();
    let mut program = Program::start(&scratch, store);
    let mut policies = program.policy().await;
    let changes = vec![group("web"), group("db"), relationship("web", "db", "80-8080")];
    let mut request = Request::new(commit(changes));
    request.metadata_mut().insert("x-meshgate-user", "alice".parse().unwrap());
    let first = policies.commit(request).await.unwrap().into_inner();
    assert_eq!((first.version, first.changed, first.created_ids.as_slice()), (1, true, [1].as_slice()));
    let again = policies.commit(commit(vec![group("web")])).await.unwrap().into_inner();
    assert_eq!((again.version, again.changed), (1, false));

    let planned = policies.plan(plan(vec![relationship("db", "web", "22")])).await.unwrap().into_inner();
    assert_eq!((planned.base_version, planned.changes.len()), (1, 1));
    assert_eq!(planned.changes[0].object, "relationship");
    let second = policies.commit(commit(vec![relationship("db", "web", "22")])).await.unwrap().into_inner();
    assert_eq!((second.version, second.created_ids.as_slice()), (2, [2].as_slice()));
    let back = wire::RollbackRequest { to_version: 1, expected_version: Some(2), comment: String::new() };
    let third = policies.rollback(back).await.unwrap().into_inner();
    assert_eq!((third.version, third.changed), (3, true));

    assert!(program.terminate().success());
    let program = Program::start(&scratch, store);
    let mut policies = program.policy().await;
    let newest = policies.get_policy(wire::GetPolicyRequest::default()).await.unwrap().into_inner();
    assert_eq!((newest.version, &newest.digest), (3, &third.digest));
    assert_eq!(newest.policy.unwrap().relationships.len(), 1);
    assert_eq!((newest.group_ids["web"], newest.group_ids["any"]), (17, 1));
    let old = policies.get_policy(wire::GetPolicyRequest { version: Some(2) }).await.unwrap().into_inner();
    assert_eq!((old.policy.unwrap().relationships.len(), old.digest), (2, second.digest));
    let versions = policies.list_versions(wire::ListVersionsRequest::default()).await.unwrap().into_inner();
    let authors: Vec<_> = versions.versions.iter().map(|v| (v.version, v.author.as_str())).collect();
    let me = authors[0].1;
    assert_eq!(authors, [(3, me), (2, me), (1, format!("alice ({me})").as_str())]);
    let audit = policies.list_audit(wire::ListAuditRequest::default()).await.unwrap().into_inner().entries;
    let events: Vec<_> = audit.iter().map(|entry| (entry.sequence, entry.event.as_str())).collect();
    assert_eq!(events, [(3, "rollback"), (2, "commit"), (1, "commit")]);
    assert!(audit[0].detail.ends_with("rollback to version 1"), "{}", audit[0].detail);
}

/// Every refusal has the code of whose mistake it is, and names the thing at fault.
pub async fn refusals_have_a_code_and_name_the_thing_at_fault(store: &str) {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, store);
    let mut policies = program.policy().await;
    policies.commit(commit(vec![group("web"), relationship("web", "web", "22")])).await.unwrap();
    let mut against_old = commit(vec![group("x")]);
    against_old.expected_version = Some(0);
    let cases = [
        (against_old, Code::Aborted, "expected_version: 0 is not the newest version, which is 1"),
        (
            commit(vec![wire::change::Change::DeleteGroup("web".into())]),
            Code::FailedPrecondition,
            "group web is still used by relationship 1 (web -> web)",
        ),
        (commit(vec![wire::change::Change::DeleteRule(9)]), Code::NotFound, "changes[0]: there is no rule 9"),
        (
            commit(vec![relationship("web", "nobody", "22")]),
            Code::InvalidArgument,
            "relationship web -> nobody: destination_group_name: no group \"nobody\"",
        ),
        (
            commit(vec![relationship("web", "web", "80-22")]),
            Code::InvalidArgument,
            "changes[0].put_relationship.port_range: port range 80-22 is backwards: 80 is above 22",
        ),
        (
            wire::CommitRequest {
                changes: vec![wire::Change { change: None }],
                ..wire::CommitRequest::default()
            },
            Code::InvalidArgument,
            "changes[0].change: is missing",
        ),
        (
            wire::CommitRequest { comment: "c".repeat(2_000), ..wire::CommitRequest::default() },
            Code::InvalidArgument,
            "comment: 2000 bytes, at most 1024 are possible",
        ),
        (
            wire::CommitRequest { changes: vec![wire::Change::default(); 10_001], ..Default::default() },
            Code::ResourceExhausted,
            "changes: 10001 entries, at most 10000 are possible",
        ),
    ];
    for (request, code, message) in cases {
        let status = policies.commit(request).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, message));
    }
    let status = policies.get_policy(wire::GetPolicyRequest { version: Some(7) }).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let newest = policies.get_policy(wire::GetPolicyRequest::default()).await.unwrap().into_inner();
    assert_eq!(newest.version, 1);
}

fn flow_sum(source: u32, bytes: u64) -> wire::FlowSum {
    wire::FlowSum {
        segment: 1,
        source_groups: vec![source],
        destination_groups: vec![16],
        protocol: 6,
        service_port: 80,
        action: 1,
        stage: 5,
        rule: 1,
        flows: 1,
        bytes_forward: bytes,
        ..wire::FlowSum::default()
    }
}

/// Roll-ups come in twice, are counted once, and come back by name.
pub async fn roll_ups_are_counted_once_and_named(store: &str) {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, store);
    program.policy().await.commit(commit(vec![group("web"), group("db")])).await.unwrap();
    let mut flows = wire::flow_service_client::FlowServiceClient::new(program.channel().await);
    // Within what is kept of every width: the hour that holds the present.
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let start_s = now_s - now_s % 3_600;
    let bucket = |width_s| wire::Bucket {
        width_s,
        start_s,
        sums: vec![flow_sum(17, 10), flow_sum(16, 30)],
        records_lost: 4,
        hauls: Vec::new(),
    };
    let delivery = wire::IngestRequest {
        collector: "c1".into(),
        epoch: 1,
        buckets: vec![bucket(10), bucket(60), bucket(3_600)],
    };
    for _ in 0..2 {
        let accepted = flows.ingest(delivery.clone()).await.unwrap().into_inner();
        assert_eq!(accepted.accepted_buckets, 3);
    }
    let all = flows.query_flows(wire::QueryFlowsRequest::default()).await.unwrap().into_inner();
    let bytes: Vec<_> = all.sums.iter().map(|sum| sum.sum.as_ref().unwrap().bytes_forward).collect();
    assert_eq!((bytes, all.left_out, all.records_lost), (vec![30, 10], 0, 4));
    let asked = wire::QueryFlowsRequest {
        source_group_name: "web".into(),
        action: "allow".into(),
        protocol: "tcp".into(),
        service_port: 80,
        ..wire::QueryFlowsRequest::default()
    };
    let one = flows.query_flows(asked).await.unwrap().into_inner();
    assert_eq!(one.sums.len(), 1);
    assert_eq!(
        (&one.sums[0].source_group_names[0], &one.sums[0].destination_group_names[0]),
        (&"web".into(), &"db".into())
    );
    let odd = wire::IngestRequest { buckets: vec![wire::Bucket { start_s: 7, ..bucket(10) }], ..delivery };
    let status = flows.ingest(odd).await.unwrap_err();
    assert_eq!(status.message(), "buckets[0].start_s: 7 is not a multiple of 10");
    let unknown = wire::QueryFlowsRequest { source_group_name: "gone".into(), ..Default::default() };
    assert_eq!(flows.query_flows(unknown).await.unwrap_err().code(), Code::NotFound);
}

/// Killed between commits at any moment: what was acknowledged is there, and nothing is half there.
pub async fn a_killed_program_loses_no_acknowledged_commit(store: &str, kills: u32) {
    let scratch = Scratch::new();
    let mut acknowledged = (0, Vec::new());
    for round in 0..kills {
        let mut program = Program::start(&scratch, store);
        let mut policies = program.policy().await;
        let newest = policies.get_policy(wire::GetPolicyRequest::default()).await.unwrap().into_inner();
        assert!(newest.version >= acknowledged.0, "round {round}: {} of {}", newest.version, acknowledged.0);
        if newest.version == acknowledged.0 && newest.version > 0 {
            assert_eq!(newest.digest, acknowledged.1, "round {round}");
        }
        for step in 0..=round % 3 {
            let answer = policies.commit(commit(vec![group(&format!("g{round}.{step}"))])).await;
            let answer = answer.unwrap().into_inner();
            acknowledged = (answer.version, answer.digest);
        }
        // One more is on its way when the program dies: it may be there afterwards or not, but never half.
        let mut writer = program.policy().await;
        let late = tokio::spawn(async move { writer.commit(commit(vec![group("late")])).await });
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        program.kill();
        if let Ok(answer) = late.await.unwrap() {
            let answer = answer.into_inner();
            acknowledged = (answer.version, answer.digest);
        }
    }
    let program = Program::start(&scratch, store);
    let mut policies = program.policy().await;
    let versions =
        policies.list_versions(wire::ListVersionsRequest { limit: 1_000, before_version: 0 }).await;
    let versions: Vec<u64> = versions.unwrap().into_inner().versions.iter().map(|v| v.version).collect();
    assert!(versions[0] >= acknowledged.0);
    assert_eq!(versions, (1..=versions[0]).rev().collect::<Vec<_>>());
    let audit = policies.list_audit(wire::ListAuditRequest { limit: 1_000, before_sequence: 0 }).await;
    assert_eq!(audit.unwrap().into_inner().entries.len(), versions.len());
}
