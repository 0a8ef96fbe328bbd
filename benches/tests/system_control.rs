//! The dataplane and its control plane: what goes on when one of them is killed.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod ground;

use ground::{DB, Ground, WEB, allow_tcp, relationship, wait_until};
use std::process::Stdio;

/// The port of iperf3.
const ALLOWED: u16 = 5201;
/// One that no rule opens.
const DENIED: u16 = 5202;

#[test]
fn a_killed_control_stops_no_transfer_and_goes_on_at_its_version() {
    let Some(ground) = Ground::with_endpoints("control", &["iperf3", "socat"]) else { return };
    let control = ground.start_control();
    let dataplane = ground.start_dataplane("");
    ground.apply(&allow_tcp("Web", "Db", ALLOWED));
    ground.apply(&[allow_tcp("Web", "Db", ALLOWED), allow_tcp("Web", "Db", 80)].concat());
    let version = ground.version();
    let _server = ground.start(DB.name, "iperf3", "iperf3 --server");
    let _other =
        ground.start(DB.name, "other", &format!("socat TCP-LISTEN:{DENIED},fork,reuseaddr SYSTEM:cat"));
    wait_until("the server answers", || ground.can_connect(WEB.name, &DB.v4(), ALLOWED));
    let line = format!("iperf3 --client {} --time 4 --interval 0.5 --json", DB.v4());
    let transfer = ground.command(WEB.name, &line).stdout(Stdio::piped()).spawn().unwrap();
    let count = || ground.inside("host", || device_packets(WEB.name));
    let before = count();
    wait_until("the transfer runs", || count() > before + 100);
    control.kill();
    assert!(!ground.can_connect(WEB.name, &DB.v4(), DENIED), "a port that no rule opens");
    let output = transfer.wait_with_output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}\n{}", dataplane.log());
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    for interval in report["intervals"].as_array().unwrap() {
        assert!(interval["sum"]["bytes"].as_f64().unwrap() > 0.0, "the transfer paused: {interval}");
    }
    // The server of iperf3 listens anew after each test.
    wait_until("a new connection without control", || ground.can_connect(WEB.name, &DB.v4(), ALLOWED));

    let _control = ground.start_control();
    assert_eq!(ground.version(), version);
    wait_until("the host is back", || ground.host_status()["connected"] == true);
    assert_eq!(ground.host_status()["version"].as_u64(), Some(version));
    ground.apply(&allow_tcp("Web", "Db", DENIED));
    assert_eq!(ground.version(), version + 1);
    wait_until("the new rule is in force", || ground.can_connect(WEB.name, &DB.v4(), DENIED));
    assert!(!ground.can_connect(WEB.name, &DB.v4(), ALLOWED));
}

/// Returns how many packets came in by a device of the calling thread's namespace.
fn device_packets(device: &str) -> u64 {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = table.lines().find_map(|line| line.trim().strip_prefix(&format!("{device}:"))).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_policy_kept_by_a_killed_dataplane_is_in_force_before_control_is_reached() {
    let Some(ground) = Ground::with_endpoints("kept", &["socat"]) else { return };
    let control = ground.start_control();
    let dataplane = ground.start_dataplane("");
    ground.apply(&allow_tcp("Web", "Db", ALLOWED));
    let version = ground.version();
    let _server =
        ground.start(DB.name, "server", &format!("socat TCP-LISTEN:{ALLOWED},fork,reuseaddr SYSTEM:cat"));
    wait_until("the server answers", || ground.can_connect(WEB.name, &DB.v4(), ALLOWED));
    dataplane.kill();
    control.kill();
    let dataplane = ground.start_dataplane("");
    let log = dataplane.log();
    assert!(log.contains(&format!("last accepted policy version={version} ")), "{log}");
    wait_until("the server answers", || ground.can_connect(WEB.name, &DB.v4(), ALLOWED));
    assert!(!ground.can_connect(WEB.name, &DB.v4(), DENIED));
}

#[test]
fn drops_are_counted_by_name_up_to_the_client() {
    let Some(ground) = Ground::with_endpoints("counted", &["ping"]) else { return };
    let _control = ground.start_control();
    let _dataplane = ground.start_dataplane("");
    let ping = |kind| relationship("Web", "Db", &format!("protocol = \"ICMP\"\nicmp_type = {kind}"), "deny");
    ground.apply(&ping(8));
    // Nobody answers; that is the point.
    let _ = ground.command(WEB.name, &format!("ping -c 3 -i 0.05 -W 1 -q {}", DB.v4())).status().unwrap();
    assert!(!ground.can_connect(WEB.name, &DB.v4(), DENIED));
    wait_until("three denied pings are counted", || ground.counter("drop.rule-deny") == 3);
    assert!(ground.counter("drop.default-deny") > 0);
    let host = ground.host_status();
    assert_eq!(host["report"]["rules"][0]["packets"].as_u64(), Some(3), "{host}");
}
