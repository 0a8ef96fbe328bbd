//! The command line against the real control plane.

use crate::control::Control;

const POLICY: &str = r#"
default_action = "deny"

[[endpoints]]
name = "web-1"
mac = "02:00:00:00:00:01"
addresses = ["10.0.0.1", "fd00::1"]
labels = { role = "web" }
home = { host = "h1", device = "tap0" }

[[endpoints]]
name = "db-1"
mac = "02:00:00:00:01:01"
addresses = ["10.0.1.1"]
labels = { role = "db" }

[[groups]]
name = "WebServers"
selector = { role = "web" }

[[groups]]
name = "DatabaseServers"
members = ["db-1"]
prefixes = ["10.0.1.0/24"]
intra_group = "deny"

[[relationships]]
sourceGroupName = "WebServers"
destinationGroupName = "DatabaseServers"
protocol = "TCP"
portRange = "5432"
action = "allow"
priority = 100
note = "orders"

[[rules]]
group_name = "WebServers"
direction = "ingress"
protocol = "TCP"
port_range = "80,443"
action = "allow"
"#;

#[test]
fn an_exported_policy_applies_without_a_change_in_every_format() {
    let Some(control) = Control::start() else { return };
    control.write("policy.toml", POLICY);
    let plan = control.done("plan -f policy.toml");
    assert!(plan.contains("+ group WebServers") && plan.contains("6 added, 0 changed, 0 removed"), "{plan}");
    let applied = control.done("apply -f policy.toml");
    assert!(applied.ends_with("applied as version 1: 6 added, 0 changed, 0 removed\n"), "{applied}");
    for format in ["toml", "yaml", "json"] {
        let file = format!("exported.{format}");
        control.write(&file, &control.done(&format!("export --format {format}")));
        assert_eq!(control.done(&format!("apply -f {file}")), "no change: version 1 stays\n", "{format}");
    }
    assert_eq!(control.done("apply -f policy.toml"), "no change: version 1 stays\n");
    control.write("policy.toml", &POLICY.replace("5432", "5433"));
    let dry = control.done("apply -f policy.toml --dry-run");
    assert!(dry.contains("would change version 1: "), "{dry}");
    let applied = control.done("apply -f policy.toml");
    assert!(applied.contains("applied as version 2: "), "{applied}");
    let old = control.done("export --version 1 --format yaml");
    assert!(old.contains("5432") && !old.contains("5433"), "{old}");
}

#[test]
fn objects_live_from_create_to_delete() {
    let Some(control) = Control::start() else { return };
    assert!(
        control.done("groups list").starts_with("no groups yet; create one with `meshgate groups create")
    );
    assert!(control.done("history").contains("version"), "an empty history is told in words or as version 0");
    control.done("endpoints create web-1 --mac 02:00:00:00:00:01 --address 10.0.0.1 --label role=web");
    control.done("endpoints create db-1 --mac 02:00:00:00:01:01 --address 10.0.1.1");
    control.done("groups create WebServers --selector role=web");
    control.done("groups create DatabaseServers --member db-1");
    let create = "relationships create --source WebServers --destination DatabaseServers --protocol TCP";
    let created = control.done(&format!("{create} --port-range 5432 --action allow"));
    assert_eq!(created, "created relationship 1: allow WebServers -> DatabaseServers TCP 5432 (version 5)\n");
    let created =
        control.done("rules create --group WebServers --direction ingress --action deny --priority 10");
    assert_eq!(created, "created rule 2: deny any address -> WebServers any (version 6)\n");
    assert!(control.done("groups show WebServers").contains("used by rules: 1, 2"));
    control.done("relationships update 1 --port-range 5433 --mode shadow");
    let shown = control.done("relationships show 1");
    assert!(shown.contains("TCP 5433") && shown.contains("shadow") && shown.contains("1000"), "{shown}");
    let stays = control.done("relationships update 1 --port-range 5433");
    assert_eq!(stays, "nothing changed; version 7 stays\n");
    assert!(control.refused("groups delete WebServers").contains("WebServers"));
    control.done("relationships delete 1");
    control.done("rules delete 2");
    control.done("groups delete WebServers DatabaseServers");
    control.done("endpoints rm web-1 db-1");
    assert!(control.done("endpoints list").starts_with("no endpoints yet"));
    let history = control.done("history");
    assert!(history.contains("alice") && history.contains("create group WebServers"), "{history}");
}

#[test]
fn refusals_name_what_is_at_fault() {
    let Some(control) = Control::start() else { return };
    control.write("policy.toml", POLICY);
    control.done("apply -f policy.toml");
    let unknown = "relationships create --source WebServers --destination Lab --action allow";
    let line = control.refused(unknown);
    assert!(line.contains("no group \"Lab\"") && line.contains("destination_group_name"), "{line}");
    let line = control.refused("groups create WebServers");
    assert_eq!(line, "group WebServers exists already");
    let line = control.refused("endpoints delete web-9");
    assert_eq!(line, "there is no endpoint web-9");
    let line = control.refused("groups show Lab");
    assert_eq!(line, "no group Lab in version 1; see `meshgate groups list`");
    let line = control.refused("endpoints create web-2 --mac 02:00:00:00:00:02 --address 10.0.0.1");
    assert!(line.contains("10.0.0.1") && line.contains("web-1"), "{line}");
    let line = control.refused("endpoints create web-2 --mac 02:00:00:00:00:02 --segment blue");
    assert!(line.contains("no segment \"blue\""), "{line}");
    let line = control.refused("rollback 9");
    assert!(line.contains('9'), "{line}");
    let line = control.refused("export --version 9");
    assert!(line.contains('9'), "{line}");
}

#[test]
fn explain_says_which_rule_decides_and_why_others_did_not() {
    let Some(control) = Control::start() else { return };
    control.write("policy.toml", POLICY);
    control.done("apply -f policy.toml");
    let shown = control.done("explain --from web-1 --to db-1 --protocol TCP --port 5432");
    assert!(shown.starts_with("ALLOW: web-1 (10.0.0.1) -> db-1 (10.0.1.1), TCP port 5432\n"), "{shown}");
    assert!(shown.contains("stage rules: rule 1 decides"), "{shown}");
    let shown = control.done("explain --from web-1 --to db-1 --protocol TCP --port 22");
    assert!(shown.starts_with("DENY: ") && shown.contains("stage default"), "{shown}");
    assert!(shown.contains("port 22 not in 5432"), "{shown}");
    let json = control.done("explain --from web-1 --to 10.0.1.9 --protocol ICMP -o json");
    assert!(json.contains("\"action\": \"deny\"") && json.contains("\"DatabaseServers\""), "{json}");
    assert!(control.refused("explain --from vm9 --to db-1 --protocol TCP --port 1").contains("vm9"));
}

#[test]
fn versions_roll_back_and_the_trail_tells_who() {
    let Some(control) = Control::start() else { return };
    assert!(control.done("default-action").starts_with("deny (version 0)"));
    assert_eq!(control.done("default-action allow --comment watch"), "default action is allow (version 1)\n");
    control.done("segments create blue");
    assert!(control.done("segments list").contains("blue"));
    let back = control.done("rollback 1");
    assert_eq!(back, "rolled back to the content of version 1 (version 3)\n");
    assert!(!control.done("segments list").contains("blue"));
    let history = control.done("history");
    assert!(history.contains("watch") && history.contains("rollback to version 1"), "{history}");
    let audit = control.done("audit");
    assert!(audit.lines().count() >= 4 && audit.contains("alice"), "{audit}");
    assert!(control.done("status").contains("no host has connected yet"));
    assert!(control.done("flows --since 5m").starts_with("no flows in this span"));
}

#[test]
fn somebody_elses_commit_between_reading_and_writing_loses_nothing() {
    let Some(control) = Control::start() else { return };
    control.done("groups create Web --prefix 10.0.0.0/24");
    std::thread::scope(|scope| {
        for number in 1..=8 {
            let control = &control;
            // Each takes its turn again when another one was faster.
            scope.spawn(move || {
                let line = format!("groups update Web --prefix 10.0.{number}.0/24");
                let is_done = (0..1_000).any(|_| control.run(&line).status.success());
                assert!(is_done, "{line}");
            });
        }
    });
    assert!(control.done("history").contains("update group Web"));
    assert_eq!(control.done("history --limit 100 -o json").matches("\"version\"").count(), 9);
}
