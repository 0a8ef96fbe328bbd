//! The evasion set of scapy against a live dataplane: whatever `evasion/attacks.py` forges, nothing of it arrives, and the
//! honest packet beside it does. In-process, the same kinds stand in dataplane's `tests/evasion_state.rs`, whose head
//! names all tests, and `tests/evasion_binding.rs`.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]
#![expect(clippy::print_stdout, reason = "each case is worth a line")]

mod ground;

use ground::{DB, Endpoint, Ground, WEB, allow_tcp, relationship};

/// A machine that attacks.
const EVE: Endpoint = Endpoint { name: "eve-1", number: 31, group: "Eve" };
/// Cases of the script, at least; fewer would mean that some did not run.
const CASES_MIN: usize = 150;
/// The interpreter for which Debian installs scapy.
const PYTHON: &str = "/usr/bin/python3";

/// A datagram by which the script knows that all before it was judged.
fn sentinels() -> String {
    relationship("any", "any", "protocol = \"UDP\"\nport_range = \"7\"", "allow")
}

/// Plays a part of the script, prints its lines and returns how many cases held.
fn play(ground: &Ground, part: &str) -> usize {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/evasion/attacks.py");
    let output = ground
        .command("host", &format!("{PYTHON} {script} {} {part}", ground.space("").trim_end_matches('-')))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    let complaint = String::from_utf8_lossy(&output.stderr);
    let failed: Vec<_> = said.lines().filter(|line| !line.starts_with("held ")).collect();
    assert!(output.status.success() && failed.is_empty(), "{part}: {failed:#?}\n{complaint}");
    said.lines().count()
}

#[test]
fn nothing_that_is_forged_arrives_and_what_is_honest_does() {
    let Some(mut ground) = Ground::new("evasion", &["scapy", "nft"]) else { return };
    [WEB, DB, EVE].into_iter().for_each(|endpoint| ground.add_endpoint(endpoint));
    ground.add_stranger("out-1", "up0", "10.78.0.99/24");
    ground.on("out-1", "ip link set eth0 address 02:78:00:00:00:63");
    // The machines' own stacks say nothing to what they did not begin.
    let silence =
        "table inet silence {\nchain output {\ntype filter hook output priority 0; policy drop\n}\n}\n";
    let silence = ground.write("silence.nft", silence).display().to_string();
    for place in [WEB.name, DB.name, EVE.name, "out-1"] {
        ground.on(place, &format!("nft -f {silence}"));
    }
    let _control = ground.start_control();
    let uplink = "[[device]]\nname = \"up0\"\nrole = \"uplink\"\n";
    let _dataplane = ground.start_configured(&(ground.config("") + uplink));
    let before = [allow_tcp("Web", "Db", 80), allow_tcp("external", "Db", 80), sentinels()].concat();
    ground.apply(&before);
    let mut held = play(&ground, "all") + play(&ground, "open");
    ground.apply(&[relationship("Db", "Web", "protocol = \"TCP\"", "allow"), sentinels()].concat());
    held += play(&ground, "revive");
    println!("{held} cases held");
    assert!(held >= CASES_MIN, "only {held} cases ran");
}
