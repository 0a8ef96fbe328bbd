//! The services of the real program on SQLite, over a Unix socket.

use crate::costs;
use crate::program::{Program, Scratch, command, commit, group, relationship};
use crate::suggestions;
use crate::suite;
use meshgate_proto::wire;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_lives_through_versions_and_a_restart() {
    suite::a_policy_lives_through_versions_and_a_restart("").await;
}

#[tokio::test]
async fn refusals_have_a_code_and_name_the_thing_at_fault() {
    suite::refusals_have_a_code_and_name_the_thing_at_fault("").await;
}

#[tokio::test]
async fn roll_ups_are_counted_once_and_named() {
    suite::roll_ups_are_counted_once_and_named("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_program_loses_no_acknowledged_commit() {
    suite::a_killed_program_loses_no_acknowledged_commit("", 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suggestions_live_from_submission_to_decision() {
    suggestions::suggestions_live_from_submission_to_decision("").await;
}

#[tokio::test]
async fn refused_decisions_say_why() {
    suggestions::refused_decisions_say_why("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_are_watched_without_loss() {
    suggestions::decisions_are_watched_without_loss("").await;
}

#[tokio::test]
async fn a_look_replays_the_draft() {
    suggestions::a_look_replays_the_draft("").await;
}

#[tokio::test]
async fn learners_are_remembered() {
    suggestions::learners_are_remembered("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_program_loses_no_acknowledged_answer() {
    suggestions::a_killed_program_loses_no_acknowledged_answer("", 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn costs_live_from_table_to_advice() {
    costs::costs_live_from_table_to_advice("").await;
}

#[tokio::test]
async fn refused_costs_say_why() {
    costs::refused_costs_say_why("").await;
}

fn refusal(output: &Output) -> String {
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn a_second_program_on_one_state_directory_is_refused_by_name() {
    let scratch = Scratch::new();
    let _first = Program::start(&scratch, "");
    let second = command(&scratch.configure("")).output().unwrap();
    assert!(
        refusal(&second).ends_with("/state is in use by another meshgate-control"),
        "{}",
        refusal(&second)
    );
}

#[test]
fn an_address_that_others_can_reach_is_a_start_error() {
    let scratch = Scratch::new();
    let file = scratch.0.join("open.toml");
    std::fs::write(&file, format!("listen = '0.0.0.0:0'\nstate_dir = '{}'", scratch.0.display())).unwrap();
    let refused = command(&file).output().unwrap();
    assert!(
        refusal(&refused).contains("listen: 0.0.0.0:0 is not a loopback address"),
        "{}",
        refusal(&refused)
    );
}

#[test]
fn a_foreign_database_is_refused_by_name() {
    let scratch = Scratch::new();
    let config = scratch.configure("");
    std::fs::create_dir(scratch.0.join("state")).unwrap();
    std::fs::write(scratch.0.join("state/control.sqlite"), vec![9; 4096]).unwrap();
    let refused = command(&config).output().unwrap();
    assert!(refusal(&refused).contains("control.sqlite: cannot be opened"), "{}", refusal(&refused));
    assert!(refusal(&refused).contains("not a database"), "{}", refusal(&refused));
}

#[test]
fn a_configuration_can_be_checked_without_running() {
    let scratch = Scratch::new();
    let checked = command(&scratch.configure("")).arg("--check").output().unwrap();
    assert!(
        checked.status.success()
            && String::from_utf8_lossy(&checked.stdout).contains(": ok, listens on unix:")
    );
    let broken = command(&scratch.configure("versions = 3")).arg("--check").output().unwrap();
    assert!(
        refusal(&broken).contains("control.toml: line 3: versions: unknown field"),
        "{}",
        refusal(&broken)
    );
    assert!(!scratch.0.join("state").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_private_and_the_socket_goes_with_the_program() {
    let scratch = Scratch::new();
    let mut program = Program::start(&scratch, "");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&scratch.0.join("state")), 0o700);
    assert_eq!(mode(&program.socket), 0o660);
    assert!(program.terminate().success());
    assert!(!program.socket.exists());
    let mut program = Program::start(&scratch, "");
    program.kill();
    assert!(program.socket.exists());
    Program::start(&scratch, "").policy().await.commit(commit(vec![group("a")])).await.unwrap();
}

#[tokio::test]
async fn health_and_reflection_answer() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, "");
    let services = ["Policy", "Distribution", "Flow", "Cost", "Explain", "Suggestion"];
    let services = services.map(|name| format!("meshgate.v1.{name}Service"));
    let mut health = HealthClient::new(program.channel().await);
    for service in &services {
        let answer =
            health.check(HealthCheckRequest { service: service.clone() }).await.unwrap().into_inner();
        assert_eq!(answer.status, 1, "{service}");
    }
    use tonic_reflection::pb::v1 as reflection;
    let mut client =
        reflection::server_reflection_client::ServerReflectionClient::new(program.channel().await);
    let list = reflection::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = reflection::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let answer = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = answer.into_inner().message().await.unwrap().unwrap().message_response.unwrap();
    let reflection::server_reflection_response::MessageResponse::ListServicesResponse(listed) = answer else {
        panic!("{answer:?}");
    };
    for service in &services {
        assert!(listed.service.iter().any(|found| found.name == *service), "{listed:?}");
    }
}

#[tokio::test]
async fn an_explanation_names_rules_groups_and_reasons() {
    let scratch = Scratch::new();
    let program = Program::start(&scratch, "");
    let endpoint = |name: &str, last: u8| {
        wire::change::Change::CreateEndpoint(wire::AuthoredEndpoint {
            name: name.into(),
            mac: format!("02:00:00:00:00:{last:02x}"),
            addresses: vec![format!("10.0.0.{last}")],
            labels: [("app".to_owned(), name.to_owned())].into(),
            ..wire::AuthoredEndpoint::default()
        })
    };
    let selected = |name: &str| {
        wire::change::Change::CreateGroup(wire::AuthoredGroup {
            name: name.into(),
            selector: [("app".to_owned(), name.to_owned())].into(),
            ..wire::AuthoredGroup::default()
        })
    };
    let changes = vec![
        endpoint("web", 1),
        endpoint("db", 2),
        selected("web"),
        selected("db"),
        relationship("web", "db", "80"),
    ];
    program.policy().await.commit(commit(changes)).await.unwrap();
    let mut client = wire::explain_service_client::ExplainServiceClient::new(program.channel().await);
    let ask = |port, protocol: &str| wire::ExplainRequest {
        source: "web".into(),
        destination: "10.0.0.2".into(),
        protocol: protocol.into(),
        destination_port: port,
        ..wire::ExplainRequest::default()
    };
    let yes = client.explain(ask(80, "TCP")).await.unwrap().into_inner();
    assert_eq!((yes.action.as_str(), yes.stage.as_str(), yes.rule), ("allow", "rules", 1));
    assert_eq!((yes.source_group_names[1].as_str(), yes.destination_endpoint.as_str()), ("web", "db"));
    let no = client.explain(ask(81, "TCP")).await.unwrap().into_inner();
    assert_eq!(
        (no.action.as_str(), no.stage.as_str(), no.rules[0].reason.as_str()),
        ("deny", "default", "port 81 not in 80")
    );
    let status = client.explain(ask(80, "ICMP")).await.unwrap_err();
    assert_eq!(status.message(), "destination_port: ICMP has no ports; only TCP, UDP and SCTP do");
}
