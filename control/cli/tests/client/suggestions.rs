//! Suggestions and learners on the command line: what is asked for, and what the real control plane does with it.

use crate::control::Control;
use crate::host::Host;
use crate::recorder::{Answers, Asked, Served};
use meshgate_proto::wire::{self, suggestion_service_client::SuggestionServiceClient};

fn draft(port: &str) -> wire::GroupRelationship {
    wire::GroupRelationship {
        tenant: "default".into(),
        source_group_name: "DevNodes".into(),
        destination_group_name: "ProductionServers".into(),
        protocol: "TCP".into(),
        port_range: port.into(),
        action: "deny".into(),
        priority: Some(1_000),
        mode: "enforce".into(),
        ..Default::default()
    }
}

pub fn suggestion(port: &str) -> wire::Suggestion {
    wire::Suggestion {
        origin: "anomaly".into(),
        draft: Some(draft(port).into()),
        confidence: 0.9,
        relevance: 0.5,
        rank: 1,
        propensity: 1.0,
        justification: "48 unusual SSH connection attempts".into(),
        evidence: vec![wire::Evidence {
            number: 1,
            kind: "volume".into(),
            sentence: "48 attempts in 60 s".into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A suggestion as control gives it out.
fn filed(port: &str) -> wire::Suggestion {
    wire::Suggestion { id: 3, learner: "l1".into(), state: "open".into(), ..suggestion(port) }
}

#[test]
fn each_command_asks_for_what_was_typed() {
    let served = Served::start(Answers { suggestion: filed("22"), ..Answers::default() });
    let asked = |line: &str| served.done(&line.split_whitespace().collect::<Vec<_>>());
    let (_, listed) = asked("suggestions list --state all --limit 7");
    let request = wire::ListSuggestionsRequest { state: "all".into(), limit: 7 };
    assert_eq!(listed, [Asked::ListSuggestions(request)]);
    let (text, accepted) = asked("suggestions accept 3 --comment agreed");
    let request = wire::AcceptSuggestionRequest { id: 3, comment: "agreed".into(), ..Default::default() };
    assert_eq!(accepted, [Asked::Accept(request)]);
    let expected =
        "suggestion 3 accepted as relationship 41: deny DevNodes -> ProductionServers TCP 22 (version 7)\n";
    assert_eq!(text, expected);
    let (_, accepted) = asked("suggestions accept 3 --alternative 2");
    let request = wire::AcceptSuggestionRequest { id: 3, alternative: 2, ..Default::default() };
    assert_eq!(accepted, [Asked::Accept(request)]);
    let (text, edited) = asked("suggestions edit 3 --port-range 22,2222 --action reject --priority 2000");
    let wanted =
        wire::GroupRelationship { action: "reject".into(), priority: Some(2_000), ..draft("22,2222") };
    let request = wire::AcceptSuggestionRequest { id: 3, edited: Some(wanted.into()), ..Default::default() };
    assert_eq!(edited[1..], [Asked::Accept(request)]);
    assert!(text.starts_with("suggestion 3 accepted in another form as relationship 41: reject "), "{text}");
    let (text, rejected) = asked("suggestions reject 3 --reason later");
    let request = wire::RejectSuggestionRequest { id: 3, reason: "later".into(), comment: String::new() };
    assert_eq!(rejected, [Asked::Reject(request)]);
    assert_eq!(text, "suggestion 3 rejected: later; it may come back after a day\n");
    let (text, learners) = asked("learner status");
    assert_eq!(learners, [Asked::ListLearners(wire::ListLearnersRequest {})]);
    assert!(text.starts_with("no learner has reported yet"), "{text}");
}

#[test]
fn an_acceptance_in_json_is_a_write_with_its_decision() {
    let host = wire::HostEntry {
        host: "h1".into(),
        role: "dataplane".into(),
        connected: true,
        version: 7,
        ..wire::HostEntry::default()
    };
    let hosts = wire::ListHostsResponse { version: 7, digest: Vec::new(), hosts: vec![host] };
    let served = Served::start(Answers { suggestion: filed("22"), hosts, ..Answers::default() });
    let (text, _) = served.done(&["suggestions", "accept", "3", "--wait", "-o", "json"]);
    for part in ["\"version\": 7", "\"created_ids\": [", "\"committed_ns\": 1", "\"sequence\": 5"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// Hands drafts in as a learner would, and reports.
pub fn learn(control: &Control, drafts: Vec<wire::Suggestion>) -> Vec<wire::SubmitAnswer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = SuggestionServiceClient::connect(control.server()).await.unwrap();
        let report = wire::LearnerReport { learner: "l1".into(), records_read: 12, ..Default::default() };
        client.report_learner(wire::ReportLearnerRequest { report: Some(report) }).await.unwrap();
        let request = wire::SubmitRequest { learner: "l1".into(), suggestions: drafts };
        client.submit(request).await.unwrap().into_inner().answers
    })
}

#[test]
fn suggestions_are_answered_on_the_command_line() {
    let Some(control) = Control::start() else { return };
    assert!(control.done("suggestions list").starts_with("no open suggestions"));
    control.done("groups create DevNodes --prefix 10.0.0.0/24");
    control.done("groups create ProductionServers --prefix 10.0.1.0/24");
    control.done("relationships create --source any --destination ProductionServers --action allow");
    let narrow = wire::Suggestion { narrows: vec![1], ..suggestion("22") };
    let answers = learn(&control, vec![narrow, suggestion("23"), suggestion("24")]);
    assert!(answers.iter().all(|answer| answer.refusal.is_empty()), "{answers:?}");

    let listed = control.done("suggestions list");
    assert!(listed.contains("deny DevNodes ->") && listed.contains("90.0%"), "{listed}");
    let shown = control.done("suggestions show 1");
    assert!(shown.contains("1. 48 attempts in 60 s\n"), "{shown}");
    assert!(shown.contains("narrows rule 1 (allow any -> ProductionServers any)"), "{shown}");
    assert!(shown.contains("to the last 7 days under version 3: no flows were seen"), "{shown}");

    let _host = Host::start(&control.server(), "h1", None);
    let accepted = control.done("suggestions accept 1 --wait");
    let expected =
        "suggestion 1 accepted as relationship 2: deny DevNodes -> ProductionServers TCP 22 (version 4)\n";
    assert_eq!(accepted, expected);
    let relationship = control.done("relationships show 2");
    assert!(relationship.contains("suggestion 1: 48 unusual SSH connection attempts"), "{relationship}");
    let again = control.refused("suggestions accept 1");
    assert!(again.starts_with("suggestion 1: was accepted by alice ("), "{again}");

    let edited = control.done("suggestions edit 2 --port-range 23,2323 -o json");
    assert!(edited.contains("\"verdict\": \"edited\"") && edited.contains("\"committed_ns\": 1"), "{edited}");
    control.done(
        "relationships create --source DevNodes --destination ProductionServers --protocol TCP \
                  --port-range 24 --action allow",
    );
    let line = control.refused("suggestions accept 3");
    assert!(line.contains("matches the same packets as rule 4 ("), "{line}");
    assert!(control.done("suggestions list").contains("suggestion 3 cannot be accepted as it is: draft: "));
    let rejected = control.done("suggestions reject 3 --reason too-broad --comment no");
    assert_eq!(rejected, "suggestion 3 rejected: too-broad\n");
    assert!(control.done("suggestions show 3").contains("rejected (too-broad) by alice ("));
    assert_eq!(control.done("suggestions list --state all -o json").matches("\"obstacle\"").count(), 3);
    let refused = learn(&control, vec![suggestion("24")]);
    assert_eq!((refused[0].id, refused[0].refusal.is_empty()), (3, false));
    assert!(control.refused("suggestions show 9").contains("there is no suggestion 9"));
    assert!(control.done("learner status").contains("12 read, 0 lost"));
    let audit = control.done("audit");
    assert!(audit.contains("suggestion-reject") && audit.contains("suggestion-edit"), "{audit}");
}
