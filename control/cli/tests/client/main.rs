//! The command line with a control plane: what it asks for, held against one that writes it down (here), and what it
//! does with the real one (`real`, `host`).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod answers;
mod control;
mod costs;
mod host;
mod inside;
mod memberships;
mod real;
mod recorder;
mod suggestions;

use meshgate_proto::wire::{self, change::Change};
use recorder::{Answers, Asked, Served};

fn policy() -> wire::AuthoredPolicy {
    wire::AuthoredPolicy {
        default_action: "deny".into(),
        endpoints: vec![wire::AuthoredEndpoint {
            name: "web-1".into(),
            mac: "02:00:00:00:00:01".into(),
            addresses: vec!["10.0.0.1".into()],
            labels: [("role".to_owned(), "web".to_owned())].into(),
            ..Default::default()
        }],
        groups: vec![wire::AuthoredGroup {
            name: "Web".into(),
            members: vec!["web-1".into(), "web-2".into()],
            intra_group: "allow".into(),
            ..Default::default()
        }],
        relationships: vec![relationship(3)],
        rules: vec![wire::GroupRule {
            id: 5,
            group_name: "Web".into(),
            direction: "ingress".into(),
            action: "allow".into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The relationship of the specification's example.
fn relationship(id: u32) -> wire::GroupRelationship {
    wire::GroupRelationship {
        id,
        tenant: "default".into(),
        source_group_name: "WebServers".into(),
        destination_group_name: "DatabaseServers".into(),
        protocol: "TCP".into(),
        port_range: "5432".into(),
        action: "allow".into(),
        priority: Some(100),
        mode: "enforce".into(),
        ..Default::default()
    }
}

fn served() -> Served {
    let policy = wire::GetPolicyResponse { version: 6, policy: Some(policy()), ..Default::default() };
    let plan = wire::PlanResponse { base_version: 6, ..Default::default() };
    Served::start(Answers { policy, plan, ..Answers::default() })
}

/// Returns the single commit that was asked for: its expected version and its changes.
fn commit(asked: Vec<Asked>) -> (Option<u64>, Vec<Change>) {
    let mut commits = asked.into_iter().filter_map(|asked| match asked {
        Asked::Commit(commit) => Some(commit),
        _ => None,
    });
    let commit = commits.next().expect("a commit was asked for");
    assert!(commits.next().is_none(), "one commit only");
    assert!(!commit.comment.is_empty(), "every commit says why");
    (commit.expected_version, commit.changes.into_iter().filter_map(|change| change.change).collect())
}

#[test]
fn a_relationship_is_created_from_flags_from_the_seeds_flags_and_from_json_alike() {
    let served = served();
    let flags = "relationships create --source WebServers --destination DatabaseServers --protocol tcp \
                 --port-range 5432 --action allow --priority 100";
    let seed = "relationships create --sourceGroupName WebServers --destinationGroupName DatabaseServers \
                --protocol TCP --portRange 5432 --action allow --priority 100";
    let json = r#"{"sourceGroupName": "WebServers", "destinationGroupName": "DatabaseServers",
                   "protocol": "TCP", "portRange": "5432", "action": "allow", "priority": 100}"#;
    let json = vec!["relationships", "create", "--json", json];
    for arguments in [flags.split_whitespace().collect(), seed.split_whitespace().collect(), json] {
        let (text, asked) = served.done(&arguments);
        assert_eq!(commit(asked), (None, vec![Change::PutRelationship(relationship(0))]));
        assert_eq!(
            text,
            "created relationship 41: allow WebServers -> DatabaseServers TCP 5432 (version 7)\n"
        );
    }
}

#[test]
fn an_update_changes_only_what_was_given_against_the_version_that_was_read() {
    let served = served();
    let (_, asked) =
        served.done(&["relationships", "update", "3", "--port-range", "5433", "--mode", "shadow"]);
    let changed =
        wire::GroupRelationship { port_range: "5433".into(), mode: "shadow".into(), ..relationship(3) };
    assert_eq!(commit(asked), (Some(6), vec![Change::PutRelationship(changed)]));

    let (_, asked) =
        served.done(&["groups", "update", "Web", "--add-member", "web-3", "--remove-member", "web-1"]);
    let (version, changes) = commit(asked);
    let [Change::UpdateGroup(group)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((version, &group.members[..]), (Some(6), &["web-2".to_owned(), "web-3".to_owned()][..]));

    let (_, asked) =
        served.done(&["endpoints", "update", "web-1", "--host", "h1", "--device", "tap0", "--router"]);
    let (version, changes) = commit(asked);
    let [Change::UpdateEndpoint(endpoint)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((version, endpoint.host.as_str(), endpoint.device.as_str()), (Some(6), "h1", "tap0"));
    assert!(endpoint.flags.as_ref().unwrap().router && endpoint.addresses == ["10.0.0.1"]);
    assert_eq!(endpoint.labels["role"], "web");

    let (_, asked) = served.done(&["rules", "update", "5", "--peer", "192.0.2.0/24", "--priority", "0"]);
    let (_, changes) = commit(asked);
    let [Change::PutRule(rule)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((rule.id, rule.priority, &rule.peer[..]), (5, Some(0), &["192.0.2.0/24".to_owned()][..]));
}

#[test]
fn endpoints_groups_and_rules_are_created_from_flags() {
    let served = served();
    let endpoint = "endpoints create gw --mac 02:00:00:00:00:FE --address 10.0.0.254,fd00::1 --label a=1 --label b=2 \
                    --host h1 --device tap3 --router --route 10.9.0.0/16 --segment blue";
    let (_, asked) = served.done(&endpoint.split_whitespace().collect::<Vec<_>>());
    let expected = wire::AuthoredEndpoint {
        name: "gw".into(),
        tenant: "default".into(),
        segment: "blue".into(),
        mac: "02:00:00:00:00:fe".into(),
        addresses: vec!["10.0.0.254".into(), "fd00::1".into()],
        labels: [("a".into(), "1".into()), ("b".into(), "2".into())].into(),
        host: "h1".into(),
        device: "tap3".into(),
        flags: Some(wire::EndpointFlags { router: true, ..Default::default() }),
        routes: vec!["10.9.0.0/16".into()],
        leased: Vec::new(),
    };
    assert_eq!(commit(asked), (None, vec![Change::CreateEndpoint(expected)]));

    let group = "groups create Web --selector role=web --prefix 10.0.0.0/24 --member a,b --intra-group deny";
    let (_, asked) = served.done(&group.split_whitespace().collect::<Vec<_>>());
    let expected = wire::AuthoredGroup {
        name: "Web".into(),
        tenant: "default".into(),
        segment: "default".into(),
        members: vec!["a".into(), "b".into()],
        selector: [("role".into(), "web".into())].into(),
        prefixes: vec!["10.0.0.0/24".into()],
        intra_group: "deny".into(),
    };
    assert_eq!(commit(asked), (None, vec![Change::CreateGroup(expected)]));

    let rule = "rules create --group Web --direction ingress --peer 192.0.2.0/24 --protocol icmp --icmp-type 8 \
                --icmp-code 0 --action reject --note why";
    let (_, asked) = served.done(&rule.split_whitespace().collect::<Vec<_>>());
    let expected = wire::GroupRule {
        id: 0,
        tenant: "default".into(),
        group_name: "Web".into(),
        direction: "ingress".into(),
        peer: vec!["192.0.2.0/24".into()],
        protocol: "ICMP".into(),
        port_range: String::new(),
        action: "reject".into(),
        priority: Some(1_000),
        mode: "enforce".into(),
        note: "why".into(),
        icmp_type: Some(8),
        icmp_code: Some(0),
    };
    assert_eq!(commit(asked), (None, vec![Change::PutRule(expected)]));
}

#[test]
fn several_deletions_are_one_transaction() {
    let served = served();
    for (arguments, expected) in [
        (["endpoints", "delete", "a", "b"], ["a", "b"].map(|name| Change::DeleteEndpoint(name.into()))),
        (["groups", "delete", "a", "b"], ["a", "b"].map(|name| Change::DeleteGroup(name.into()))),
        (["segments", "delete", "a", "b"], ["a", "b"].map(|name| Change::DeleteSegment(name.into()))),
        (["relationships", "delete", "1", "2"], [1, 2].map(Change::DeleteRelationship)),
        (["rules", "rm", "1", "2"], [1, 2].map(Change::DeleteRule)),
    ] {
        let (_, asked) = served.done(&arguments);
        assert_eq!(commit(asked), (None, expected.to_vec()), "{arguments:?}");
    }
}

#[test]
fn apply_plans_first_and_commits_against_the_version_of_the_plan() {
    let served = served();
    let file = "default_action = \"allow\"\n";
    let output = served.run_with_input(&["apply", "-f", "-", "--comment", "watch"], file);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let asked = served.asked();
    let [Asked::Plan(plan), Asked::Commit(commit)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(plan.changes, commit.changes);
    assert_eq!((commit.expected_version, commit.comment.as_str()), (Some(6), "watch"));
    let replaced = wire::AuthoredPolicy { default_action: "allow".into(), ..Default::default() };
    assert_eq!(commit.changes[0].change, Some(Change::ReplaceAll(replaced)));

    let output = served.run_with_input(&["apply", "-f", "-", "--dry-run"], file);
    assert!(output.status.success() && matches!(served.asked()[..], [Asked::Plan(_)]));
}

#[test]
fn questions_carry_their_flags() {
    let served = served();
    let explain =
        "explain --from web-1 --to 10.0.1.1 --protocol tcp --port 5432 --source-port 4000 --version 4";
    let (text, asked) = served.done(&explain.split_whitespace().collect::<Vec<_>>());
    let expected = wire::ExplainRequest {
        source: "web-1".into(),
        destination: "10.0.1.1".into(),
        protocol: "TCP".into(),
        source_port: 4000,
        destination_port: 5432,
        version: Some(4),
        ..Default::default()
    };
    assert_eq!(asked, [Asked::Explain(expected)]);
    assert!(text.starts_with("DENY: "), "{text}");

    let flows = "flows --from-group A --to-group B --action deny --protocol udp --port 53 --limit 7";
    let (_, asked) = served.done(&flows.split_whitespace().collect::<Vec<_>>());
    let [Asked::Flows(query)] = &asked[..] else { panic!("{asked:?}") };
    assert!(query.from_s > 0 && query.until_s == 0);
    let expected = wire::QueryFlowsRequest {
        from_s: query.from_s,
        until_s: 0,
        source_group_name: "A".into(),
        destination_group_name: "B".into(),
        action: "deny".into(),
        protocol: "UDP".into(),
        service_port: 53,
        limit: 7,
    };
    assert_eq!(*query, expected);

    served.done(&["rollback", "4", "--comment", "back"]);
    served.done(&["history", "--limit", "3"]);
    let (_, asked) = served.done(&["audit", "--before", "9"]);
    let rollback = wire::RollbackRequest { to_version: 4, expected_version: None, comment: "back".into() };
    let expected = [Asked::ListAudit(wire::ListAuditRequest { limit: 20, before_sequence: 9 })];
    assert_eq!(asked, expected);
    let (_, asked) = served.done(&["rollback", "4", "--comment", "back"]);
    assert_eq!(asked, [Asked::Rollback(rollback)]);
    let (_, asked) = served.done(&["default-action", "ALLOW"]);
    assert_eq!(commit(asked), (None, vec![Change::SetDefaultAction("allow".into())]));
}

fn host(name: &str, version: u64) -> wire::HostEntry {
    wire::HostEntry {
        host: name.into(),
        role: "dataplane".into(),
        connected: true,
        version,
        ..Default::default()
    }
}

#[test]
fn waiting_ends_with_3_and_the_names_of_the_hosts_behind() {
    let hosts = wire::ListHostsResponse {
        version: 7,
        hosts: vec![host("h2", 6), host("h1", 7)],
        ..Default::default()
    };
    let served = Served::start(Answers { hosts, ..Answers::default() });
    let output = served.run(&["status", "--wait", "--timeout", "1s"]);
    assert_eq!(output.status.code(), Some(3));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(complaint, "meshgate: version 7 is not enforced yet by h2 (enforces 6)\n");
    assert!(String::from_utf8(output.stdout).unwrap().contains("enforced by 1 of 2 connected dataplanes"));
    assert_eq!(served.run(&["status", "--wait", "--version", "6"]).status.code(), Some(0));
    assert_eq!(served.run(&["status"]).status.code(), Some(0));
}

#[test]
fn a_write_that_waits_in_vain_still_says_what_it_wrote() {
    let policy = wire::GetPolicyResponse { version: 6, ..Default::default() };
    let hosts = wire::ListHostsResponse { version: 7, hosts: vec![host("h2", 6)], ..Default::default() };
    let served = Served::start(Answers { policy, hosts, ..Answers::default() });
    let output = served.run(&["groups", "create", "Web", "--wait", "--timeout", "1s"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "created group Web (version 7)\n");
}

#[test]
fn a_refusal_is_one_line_with_the_words_of_the_control_plane() {
    let message = "relationship WebServers -> Lab: destination_group_name: no group \"Lab\"";
    let refusal = Some((tonic::Code::InvalidArgument, message));
    let served = Served::start(Answers { refusal, ..Answers::default() });
    let line = "relationships create --source WebServers --destination Lab --action allow";
    let output = served.run(&line.split(' ').collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("meshgate: {message}\n"));
    assert!(output.stdout.is_empty());
}

#[test]
fn json_is_one_document_with_the_documented_fields() {
    let served = served();
    let (text, _) = served.done(&["relationships", "list", "--output", "json"]);
    let expected = r#"{
  "version": 6,
  "relationships": [
    {
      "id": 3,
      "source_group_name": "WebServers",
      "destination_group_name": "DatabaseServers",
      "protocol": "TCP",
      "port_range": "5432",
      "action": "allow",
      "priority": 100,
      "mode": "enforce"
    }
  ]
}
"#;
    assert_eq!(text, expected);
    let (text, _) = served.done(&["-o", "json", "groups", "create", "Web"]);
    let digest = "cd".repeat(32);
    let expected = format!(
        "{{\n  \"version\": 7,\n  \"digest\": \"{digest}\",\n  \"changed\": true,\n  \"created_ids\": [\n    41\n  ],\n  \
         \"committed_ns\": 1\n}}\n"
    );
    assert_eq!(text, expected);
}
