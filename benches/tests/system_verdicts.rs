//! Verdicts as real programs meet them: what is rejected fails at once, and what a DHCP server leases works.

mod ground;

use ground::{DB, Endpoint, Ground, WEB, relationship, wait_until};
use std::time::{Duration, Instant};

/// Far below the second after which a kernel sends its SYN again.
const AT_ONCE: Duration = Duration::from_millis(900);
/// What `curl` ends with when nobody listens.
const CURL_NOT_CONNECTED: i32 = 7;
/// A machine that gets its address by DHCP.
const CLIENT: Endpoint = Endpoint { name: "client-1", number: 31, group: "Client" };

#[test]
fn a_rejected_connection_is_refused_at_once_and_a_denied_one_is_not() {
    let Some(ground) = Ground::with_endpoints("reject", &["curl"]) else { return };
    ground.keep_policy(&relationship("Web", "Db", "protocol = \"TCP\"\nport_range = \"80\"", "reject"));
    let _dataplane = ground.start_dataplane("");
    for address in [DB.v4(), format!("[{}]", DB.v6())] {
        let began = Instant::now();
        let fetched = ground.command(WEB.name, &format!("curl -sS --max-time 5 http://{address}:80/"));
        let output = { fetched }.output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(CURL_NOT_CONNECTED), "{complaint}");
        assert!(began.elapsed() < AT_ONCE, "{:?}: {complaint}", began.elapsed());
    }
    assert!(!ground.can_connect(WEB.name, &DB.v4(), 81), "the default denies, silently");
}

#[test]
fn an_address_that_a_listed_server_leases_works_and_is_gone_when_it_is_released() {
    let Some(mut ground) = Ground::new("lease", &["busybox", "ping"]) else { return };
    ground.add_endpoint(DB);
    ground.add_endpoint(CLIENT);
    ground.on(CLIENT.name, "ip address flush dev eth0 scope global");
    let _control = ground.start_control();
    let _dataplane = ground.start_dataplane("");
    let policy = ground.policy(&relationship("Client", "Db", "protocol = \"ICMP\"", "allow"));
    // The database serves DHCP; the client has no address but what it leases.
    let written = format!("addresses = [\"{}\", \"{}\"]", CLIENT.v4(), CLIENT.v6());
    let policy = policy.replace(&written, "flags = { dhcp_client = true }");
    let served = format!("addresses = [\"{}\", \"{}\"]", DB.v4(), DB.v6());
    let policy = policy.replace(&served, &format!("{served}\nflags = {{ dhcp_server = true }}"));
    let file = ground.write("policy.toml", &policy).display().to_string();
    ground.ask(&["apply", "-f", &file, "--wait", "--timeout", "30s"]);
    let dir = ground.dir.display().to_string();
    ground.write("leases", "");
    let server = ground.write(
        "udhcpd.conf",
        &format!(
            "start 10.78.0.100\nend 10.78.0.110\ninterface eth0\nlease_file {dir}/leases\n\
             pidfile {dir}/udhcpd.pid\noption subnet 255.255.255.0\noption lease 600\n"
        ),
    );
    let _server = ground.start(DB.name, "udhcpd", &format!("busybox udhcpd -f {}", server.display()));
    let script = "#!/bin/sh\ncase $1 in bound|renew) ip address replace $ip/24 dev eth0;; esac\n";
    let script = ground.write("lease.sh", script).display().to_string();
    ground::run(&format!("chmod +x {script}"));
    let client =
        ground.start(CLIENT.name, "udhcpc", &format!("busybox udhcpc -f -R -i eth0 -t 10 -T 1 -s {script}"));
    let reaches = || {
        let mut ping = ground.command(CLIENT.name, &format!("ping -c 1 -W 1 {}", DB.v4()));
        ping.output().unwrap().status.success()
    };
    wait_until("the leased address works", reaches);
    let leased = || {
        let shown = ground.ask(&["endpoints", "show", CLIENT.name]);
        shown["leased"].as_array().is_some_and(|leased| !leased.is_empty())
    };
    assert!(leased());
    // Told to end, it gives its address back (-R).
    let _ended = client.terminate();
    wait_until("the address is given back", || !leased());
    // Control has the version without it; the host has it a moment later.
    wait_until("the host is in step", || {
        let status = ground.ask(&["status"]);
        status["hosts"][0]["version"] == status["version"]
    });
    assert!(!reaches());
}
