//! nmap sweeps from every endpoint to every other one, in both families: what it calls open, closed and filtered is what
//! `Policy::decide` says.
//!
//! TCP by SYN and by connecting, UDP, and ping. A port that is allowed is open where somebody listens and closed where
//! nobody does; one that is denied is filtered; one that is rejected answers, closed to TCP and prohibited to UDP.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod ground;

use ground::{DB, Endpoint, Ground, WEB, relationship};
use meshgate_policy::{
    Action, AuthoredPolicy, L4Key, Numbering, Policy, PolicyKey, PolicyVersion, Protocol, SegmentId, resolve,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// An administrator's machine.
const ADMIN: Endpoint = Endpoint { name: "adm-1", number: 31, group: "Admin" };
const ENDPOINTS: [Endpoint; 3] = [WEB, DB, ADMIN];

/// Ports that are swept: few enough that nmap lists them all.
const PORTS: [u16; 9] = [21, 22, 23, 79, 80, 81, 5431, 5432, 5433];
/// Those among them at which every endpoint listens.
const LISTENING: [u16; 4] = [22, 80, 5432, 5433];

/// A port is called filtered after four unanswered probes, so that a busy machine does not look like a rule.
const PACE: &str =
    "-n --max-retries 3 --initial-rtt-timeout 300ms --max-rtt-timeout 1000ms --min-parallelism 16";

/// What nmap calls each port.
type States = BTreeMap<(Protocol, u16), String>;

fn rules() -> String {
    let ports = |protocol: &str, range: &str| format!("protocol = \"{protocol}\"\nport_range = \"{range}\"");
    let first = |l4: String| format!("{l4}\npriority = 2000");
    [
        relationship("Web", "Db", &ports("TCP", "5432"), "allow"),
        relationship("Web", "Db", &first(ports("TCP", "22-23")), "reject"),
        relationship("Web", "Db", &first(ports("UDP", "80")), "reject"),
        relationship("Web", "Db", "protocol = \"ICMP\"", "allow"),
        relationship("Web", "Db", &ports("UDP", "5431-5432"), "allow"),
        relationship("Web", "Admin", "protocol = \"ICMPv6\"", "allow"),
        relationship("Admin", "Db", "protocol = \"any\"", "allow"),
        relationship("Admin", "Db", &first(ports("TCP", "5433")), "deny"),
        relationship("Admin", "Web", &ports("TCP", "20-80"), "allow"),
        relationship("Admin", "Web", "protocol = \"ICMP\"\nicmp_type = 8", "allow"),
        relationship("Db", "Web", &ports("UDP", "22-80"), "allow"),
    ]
    .concat()
}

#[test]
fn every_port_is_open_closed_or_filtered_as_the_policy_decides() {
    let Some(mut ground) = Ground::new("nmap", &["nmap", "python3"]) else { return };
    ENDPOINTS.into_iter().for_each(|endpoint| ground.add_endpoint(endpoint));
    let ground = ground;
    let rules = rules();
    let policy = resolved(&ground.policy(&rules));
    ground.keep_policy(&rules);
    let _dataplane = ground.start_dataplane("");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nmap/listen.py");
    let ports = LISTENING.map(|port| port.to_string()).join(" ");
    let _listeners = ENDPOINTS.map(|endpoint| {
        // Every closed UDP port is to answer, not one a second.
        ground.on(endpoint.name, "sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0");
        let listener = ground.start(
            endpoint.name,
            &format!("listen-{}", endpoint.name),
            &format!("python3 {script} {ports}"),
        );
        listener.await_log("it listens", |log| log.contains("listening"));
        listener
    });
    let pairs = ENDPOINTS.iter().flat_map(|from| ENDPOINTS.iter().map(move |to| (*from, *to)));
    let pairs: Vec<_> = pairs.filter(|(from, to)| from.name != to.name).collect();
    let (ground, policy) = (&ground, &policy);
    let swept: usize = std::thread::scope(|scope| {
        let sweeps: Vec<_> =
            pairs.iter().map(|(from, to)| scope.spawn(move || sweep(ground, policy, *from, *to))).collect();
        sweeps.into_iter().map(|sweep| sweep.join().unwrap()).sum()
    });
    println!("{swept} answers of nmap are as decided");
}

fn resolved(text: &str) -> Policy {
    let mut authored: AuthoredPolicy = toml::from_str(text).unwrap();
    let mut numbering = Numbering::default();
    numbering.assign(&mut authored).unwrap();
    resolve(&authored, &numbering, PolicyVersion(1)).unwrap()
}

/// Sweeps one endpoint from another, in both families; returns how many answers were compared.
fn sweep(ground: &Ground, policy: &Policy, from: Endpoint, to: Endpoint) -> usize {
    let families =
        [("", from.v4(), to.v4(), Protocol::ICMP, 8), ("-6", from.v6(), to.v6(), Protocol::ICMPV6, 128)];
    let mut compared = 0;
    for (option, source, destination, icmp, echo) in families {
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        let decide = |l4| {
            let (source, destination) = (address(&source), address(&destination));
            policy.decide(&PolicyKey { segment: SegmentId::DEFAULT, source, destination, l4 }).action
        };
        let place = format!("{} to {destination}", from.name);
        let list = PORTS.map(|port| port.to_string()).join(",");
        for (scan, protocols) in [
            (format!("-sS -sU -p T:{list},U:{list}"), &[Protocol::TCP, Protocol::UDP][..]),
            (format!("-sT -p T:{list}"), &[Protocol::TCP]),
        ] {
            let line = format!("nmap {option} -Pn --disable-arp-ping {PACE} {scan} -oG - {destination}");
            let said = ground.on(from.name, &line);
            let found = states(&said);
            for (protocol, port) in protocols.iter().flat_map(|protocol| PORTS.map(|port| (*protocol, port)))
            {
                let action = decide(L4Key::ports(protocol, 50_000, port));
                let expected = expected(protocol, port, action);
                let seen = found.get(&(protocol, port)).map(String::as_str);
                assert_eq!(seen, Some(expected), "{place}: {scan}: {protocol} {port}: {action:?}\n{said}");
                compared += 1;
            }
        }
        let line = format!("nmap {option} -sn -PE --disable-arp-ping {PACE} -oG - {destination}");
        let is_up = ground.on(from.name, &line).contains("Status: Up");
        assert_eq!(is_up, decide(L4Key::icmp(icmp, echo, 0)) == Action::Allow, "{place}: ping");
        compared += 1;
    }
    compared
}

/// Returns what nmap is to call a port.
fn expected(protocol: Protocol, port: u16, action: Action) -> &'static str {
    match (action, protocol) {
        (Action::Allow, _) if LISTENING.contains(&port) => "open",
        (Action::Allow, _) | (Action::Reject, Protocol::TCP) => "closed",
        (Action::Deny, Protocol::TCP) | (Action::Reject, _) => "filtered",
        (Action::Deny, _) => "open|filtered",
    }
}

/// Reads nmap's list `Ports: 22/open/tcp//ssh///, 80/closed/tcp//http///`.
fn states(said: &str) -> States {
    let lists = said.lines().filter_map(|line| line.split("Ports: ").nth(1));
    let entries = lists.flat_map(|list| list.split('\t').next().unwrap_or_default().split(", "));
    let state = |entry: &str| {
        let mut parts = entry.trim().split('/');
        let (port, state, protocol) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
        let protocol = if protocol == "tcp" { Protocol::TCP } else { Protocol::UDP };
        Some(((protocol, port), state.to_owned()))
    };
    entries.filter_map(state).collect()
}
