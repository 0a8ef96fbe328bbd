//! Wrong input is refused in one line that names the thing at fault, with an exit code, and nothing half done.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod ground;

use ground::program::binary;
use ground::{DB, Ground, WEB, allow_tcp};
use std::path::Path;
use std::process::Output;

/// Bytes of the header of a SQLite file.
const DATABASE_HEADER_BYTES: usize = 100;

/// Expects a refusal: an exit code other than 0, and one line that names all of these.
fn expect_refusal(case: &str, output: &Output, named: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{case}: accepted");
    let code = output.status.code();
    assert!(
        code.is_some_and(|code| (1..=3).contains(&code)),
        "{case}: ended with {:?}: {said}",
        output.status
    );
    assert_eq!(said.trim_end().lines().count(), 1, "{case}: not one line: {said}");
    for part in named {
        assert!(said.contains(part), "{case}: {part:?} is not named: {said}");
    }
    assert!(!said.contains("panicked"), "{case}: {said}");
}

/// Words of a command that makes a relationship between the groups of the ground.
fn create<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["relationships", "create", "--source", "Web", "--action", "allow"], rest].concat()
}

#[test]
fn wrong_commands_and_files_change_no_policy() {
    let Some(ground) = Ground::with_endpoints("commands", &[]) else { return };
    let _control = ground.start_control();
    let _dataplane = ground.start_dataplane("");
    ground.apply(&allow_tcp("Web", "Db", 80));
    let version = ground.version();
    let rules = |text: &str| ground.policy(text);
    let files = [
        ("a typo", rules("[[relationship]]\n"), "relationship"),
        ("a group without members", rules(&allow_tcp("Wob", "Db", 80)), "Wob"),
        ("a range backwards", rules(&allow_tcp("Web", "Db", 80).replace("\"80\"", "\"90-80\"")), "90-80"),
        ("a name twice", rules("[[groups]]\nname = \"Web\"\n"), "Web"),
        ("no policy at all", "\u{0}\u{1}".to_owned(), "wrong.toml"),
    ];
    for (case, text, named) in files {
        let path = ground.write("wrong.toml", &text).display().to_string();
        expect_refusal(case, &ground.meshgate(&["apply", "-f", &path]), &[named]);
    }
    let unknown_rule = ["relationships", "delete", "4711"];
    let unknown_member = ["groups", "create", "New", "--member", "nobody"];
    let commands: [(&str, Vec<&str>, &str); 7] = [
        ("an unknown group", create(&["--destination", "Nowhere"]), "Nowhere"),
        (
            "a range backwards",
            create(&["--destination", "Db", "--protocol", "TCP", "--port-range", "9-8"]),
            "9-8",
        ),
        (
            "ports with ICMP",
            create(&["--destination", "Db", "--protocol", "ICMP", "--port-range", "80"]),
            "port",
        ),
        (
            "a port too large",
            create(&["--destination", "Db", "--protocol", "TCP", "--port-range", "65536"]),
            "65536",
        ),
        ("a rule that is not there", unknown_rule.to_vec(), "4711"),
        ("a member that is not there", unknown_member.to_vec(), "nobody"),
        ("a file that is not there", vec!["apply", "-f", "/nowhere/policy.toml"], "/nowhere/policy.toml"),
    ];
    for (case, words, named) in commands {
        expect_refusal(case, &ground.meshgate(&words), &[named]);
    }
    assert_eq!(ground.version(), version, "a refused write made a version");
    assert_eq!(ground.host_status()["version"].as_u64(), Some(version), "the host followed a refused write");
    assert_eq!(ground.ask(&["relationships", "list"])["relationships"].as_array().map(Vec::len), Some(1));
}

/// Runs the dataplane on the host with a configuration, to its end.
fn run_dataplane(ground: &Ground, config: &str) -> Output {
    let path = ground.write("wrong.toml", config);
    // One that accepts what it should refuse would never end.
    let line = format!("timeout 20 {} --config {}", binary("meshgate-dataplane").display(), path.display());
    ground.command("host", &line).env("MESHGATE_LOG", "error").output().unwrap()
}

/// Expects that no program is attached to any device of the host.
fn expect_nothing_attached(ground: &Ground, case: &str) {
    let links = ground.on("host", "ip -details link show");
    assert!(!links.contains("xdp"), "{case}: {links}");
}

#[test]
fn wrong_configurations_of_a_dataplane_leave_nothing_attached() {
    let Some(ground) = Ground::with_endpoints("config", &[]) else { return };
    // Makes the devices ready, and shows that the configuration without a fault is a good one.
    ground.keep_policy("");
    ground.start_dataplane("").terminate();
    ground.on("host", "ip link add up0 type veth peer name up1");
    ground.on("host", "ip link set up0 up");
    ground.on("host", "ip link set up1 up");
    ground.on("host", "ip address add 10.80.0.1/24 dev up0");
    ground.on("host", "ip route add default via 10.80.0.2 dev up0");
    let device = |name: &str, role: &str| format!("[[device]]\nname = \"{name}\"\nrole = \"{role}\"\n");
    let with = |text: &str| ground.config("") + text;
    let state_file = ground.write("a-file", "");
    let cases = [
        ("an unknown key", ground.config("policing = true"), "policing"),
        ("a value out of range", ground.config("frames = 1"), "frames"),
        ("a role that is none", with(&device("up1", "downlink")), "downlink"),
        ("a device that is not there", with(&device("nothere", "endpoint")), "nothere"),
        ("a device twice", with(&device(WEB.name, "endpoint")), WEB.name),
        ("the way to the host", with(&device("up0", "uplink")), "up0"),
        ("an endpoint with an address", with(&device("up0", "endpoint")), "10.80.0.1"),
        ("the loopback device", with(&device("lo", "endpoint")), "lo"),
        ("a processor that is not there", ground.config("cpus = [4096]"), "4096"),
        (
            "a state directory that is a file",
            ground
                .config("")
                .replace(&format!("{}/dataplane", ground.dir.display()), &state_file.display().to_string()),
            "a-file",
        ),
        ("no TOML", "host = \n".to_owned(), "wrong.toml"),
    ];
    for (case, config, named) in cases {
        expect_refusal(case, &run_dataplane(&ground, &config), &["meshgate-dataplane: ", named]);
        expect_nothing_attached(&ground, case);
    }
    // The default route alone is enough.
    ground.on("host", "ip address flush dev up0");
    ground.on("host", "ip route add default dev up0");
    let config = with(&device("up0", "uplink"));
    expect_refusal(
        "the default route",
        &run_dataplane(&ground, &config),
        &["up0", "default route", "take_uplink"],
    );
    expect_nothing_attached(&ground, "the default route");
    assert!(!ground.can_connect(WEB.name, &DB.v4(), 80));
}

/// Runs control with a configuration, to its end.
fn run_control(ground: &Ground, config: &str) -> Output {
    let path = ground.write("control.toml", config);
    let line = format!("timeout 20 {} --config {}", binary("meshgate-control").display(), path.display());
    ground.command("host", &line).env("MESHGATE_LOG", "error").output().unwrap()
}

#[test]
fn control_refuses_what_is_not_its_own() {
    let Some(ground) = Ground::new("foreign", &["python3"]) else { return };
    let dir = ground.dir.display().to_string();
    let good = format!("listen = \"unix:{dir}/control.sock\"\nstate_dir = \"{dir}/control\"\n");
    let foreign = ground.dir.join("foreign.db");
    make_foreign_database(&foreign);
    let before = std::fs::read(&foreign).unwrap();
    let cases = [
        ("an unknown key", format!("{good}policing = true\n"), "policing"),
        (
            "an address that others reach",
            good.replace(&format!("unix:{dir}/control.sock"), "0.0.0.0:7600"),
            "0.0.0.0",
        ),
        (
            "a database of another program",
            format!("{good}store = \"sqlite:{}\"\n", foreign.display()),
            "foreign.db",
        ),
    ];
    for (case, config, named) in cases {
        expect_refusal(case, &run_control(&ground, &config), &["meshgate-control: ", named]);
    }
    // Behind the header, which tells how the file is journalled.
    let is_same =
        std::fs::read(&foreign).unwrap()[DATABASE_HEADER_BYTES..] == before[DATABASE_HEADER_BYTES..];
    assert!(is_same, "the foreign database has other tables");
}

/// Makes a small database that is not control's.
fn make_foreign_database(path: &Path) {
    let script = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute('create table songs (name text)'); c.commit()";
    let status = std::process::Command::new("python3").args(["-c", script]).arg(path).status().unwrap();
    assert!(status.success());
}
