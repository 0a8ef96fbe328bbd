//! Real programs talk through the dataplane: transfers, pings, and devices with offloads as they are.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]
#![expect(clippy::print_stdout, reason = "how fast it was is worth a line")]

mod ground;

use ground::guest::Segmentation;
use ground::{DB, Endpoint, Ground, WEB, allow_tcp, relationship, run, wait_until};
use std::time::{Duration, Instant};

/// What is transferred: enough to wrap no counter and to fill every ring some thousand times.
const TRANSFER_BYTES: usize = 100_000_000;

/// Returns the SHA-256 of a file of the test, in hexadecimal.
fn sha256(ground: &Ground, file: &str) -> String {
    let line = run(&format!("sha256sum {}", ground.dir.join(file).display()));
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Writes bytes without pattern, so that a frame out of place changes the sum.
fn write_noise(ground: &Ground, bytes: usize) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(bytes);
    std::fs::write(ground.dir.join("noise"), content).unwrap();
}

/// Has the web endpoint fetch the noise from the database endpoint, and expects it unharmed.
fn expect_transfer(ground: &Ground) {
    expect_transfer_between(ground, WEB, DB);
}

/// Has one endpoint fetch the noise from another, expects it unharmed, and returns how long that took.
fn expect_transfer_between(ground: &Ground, client: Endpoint, server: Endpoint) -> Duration {
    write_noise(ground, TRANSFER_BYTES);
    let dir = ground.dir.display();
    let _server = ground.start(server.name, "httpd", &format!("busybox httpd -f -p 80 -h {dir}"));
    wait_until("the server answers", || ground.can_connect(client.name, &server.v4(), 80));
    let began = Instant::now();
    let url = format!("http://{}/noise", server.v4());
    ground.on(client.name, &format!("curl -sS --max-time 90 -o {dir}/fetched {url}"));
    let took = began.elapsed();
    println!("{TRANSFER_BYTES} bytes from {} to {} in {} ms", server.name, client.name, took.as_millis());
    assert_eq!(sha256(ground, "fetched"), sha256(ground, "noise"));
    took
}

#[test]
fn a_hundred_megabytes_arrive_unharmed_between_veths_with_default_offloads() {
    let Some(ground) = Ground::with_endpoints("veth", &["curl", "busybox"]) else { return };
    ground.keep_policy(&allow_tcp("Web", "Db", 80));
    let dataplane = ground.start_dataplane("");
    expect_transfer(&ground);
    let (status, log) = dataplane.terminate();
    assert!(status.success(), "{log}");
}

#[test]
fn a_hundred_megabytes_arrive_unharmed_from_a_guest_that_leaves_checksums_to_others() {
    let Some(mut ground) = Ground::new("tap", &["curl", "busybox"]) else { return };
    ground.add_endpoint(WEB);
    let guest = ground.add_guest(DB, Segmentation::InGuest);
    ground.keep_policy(&allow_tcp("Web", "Db", 80));
    let _dataplane = ground.start_dataplane("");
    expect_transfer(&ground);
    assert!(guest.longest_sent_bytes() < 1_600, "the guest cut its frames itself");
}

/// Transfers both ways between a veth and a guest, and returns how long that took.
fn transfer_both_ways(test: &str, segmentation: Segmentation) -> Option<Duration> {
    let mut ground = Ground::new(test, &["curl", "busybox"])?;
    ground.add_endpoint(WEB);
    let guest = ground.add_guest(DB, segmentation);
    ground.keep_policy(&[allow_tcp("Web", "Db", 80), allow_tcp("Db", "Web", 80)].concat());
    let dataplane = ground.start_dataplane("");
    let took = expect_transfer_between(&ground, WEB, DB) + expect_transfer_between(&ground, DB, WEB);
    let is_super = guest.longest_sent_bytes() > 1_600;
    assert_eq!(is_super, segmentation == Segmentation::Below, "{} bytes", guest.longest_sent_bytes());
    let (status, log) = dataplane.terminate();
    assert!(status.success() && !log.contains("super-frames"), "{log}");
    Some(took)
}

#[test]
fn a_hundred_megabytes_arrive_unharmed_from_and_at_a_guest_that_leaves_everything_to_others() {
    let Some(below) = transfer_both_ways("super", Segmentation::Below) else { return };
    let Some(in_guest) = transfer_both_ways("plain", Segmentation::InGuest) else { return };
    let share = in_guest.as_secs_f64() / below.as_secs_f64();
    println!("rate with all offloads on: {share:.2} of that without segmentation offload");
}

#[test]
fn a_kernel_behind_an_uplink_is_heard_where_its_partial_checksums_are_expected() {
    let Some(ground) = Ground::with_endpoints("uplink", &["busybox"]) else { return };
    ground.add_stranger("outside", "up0", "10.78.0.99/24");
    ground.keep_policy(&allow_tcp("external", "Db", 80));
    let dir = ground.dir.display();
    let _server = ground.start(DB.name, "httpd", &format!("busybox httpd -f -p 80 -h {dir}"));
    let uplink = "[[device]]\nname = \"up0\"\nrole = \"uplink\"\n";
    let expecting = format!("{}{uplink}partial_checksums = true\n", ground.config(""));
    let dataplane = ground.start_configured(&expecting);
    wait_until("the server answers", || ground.can_connect("outside", &DB.v4(), 80));
    dataplane.terminate();
    let _dataplane = ground.start_configured(&format!("{}{uplink}", ground.config("")));
    assert!(!ground.can_connect("outside", &DB.v4(), 80), "an unfinished checksum passed as one from a wire");
}

/// The rules that iperf3 and ping need.
fn measuring_rules() -> String {
    [
        allow_tcp("Web", "Db", 5201),
        relationship("Web", "Db", "protocol = \"UDP\"\nport_range = \"5201\"", "allow"),
        relationship("Web", "Db", "protocol = \"ICMP\"\nicmp_type = 8", "allow"),
        relationship("Web", "Db", "protocol = \"ICMPv6\"\nicmp_type = 128", "allow"),
    ]
    .concat()
}

/// Returns a figure of an iperf3 report.
fn figure(report: &str, pointer: &str) -> f64 {
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    let figure = report.pointer(pointer).and_then(serde_json::Value::as_f64);
    figure.unwrap_or_else(|| panic!("no {pointer} in {report}"))
}

#[test]
fn streams_datagrams_and_pings_pass() {
    let Some(ground) = Ground::with_endpoints("iperf", &["iperf3", "ping"]) else { return };
    ground.keep_policy(&measuring_rules());
    let _dataplane = ground.start_dataplane("");
    let _server = ground.start(DB.name, "iperf3", "iperf3 --server");
    wait_until("the server answers", || ground.can_connect(WEB.name, &DB.v4(), 5201));
    let tcp = ground.on(WEB.name, &format!("iperf3 --client {} --time 2 --json", DB.v4()));
    let received = figure(&tcp, "/end/sum_received/bytes");
    assert!(received > 1e6, "{received} bytes over TCP");
    println!("TCP: {:.0} Mbit/s", figure(&tcp, "/end/sum_received/bits_per_second") / 1e6);
    let line = format!("iperf3 --client {} --udp --bitrate 5M --length 1200 --time 2 --json", DB.v6());
    let udp = ground.on(WEB.name, &line);
    let (packets, lost) = (figure(&udp, "/end/sum/packets"), figure(&udp, "/end/sum/lost_packets"));
    println!("UDP over IPv6 at 5 Mbit/s: {packets} packets, {lost} lost");
    // A busy machine loses datagrams between the programs as well.
    assert!(packets > 500.0 && lost < packets / 2.0, "{lost} of {packets} packets lost");
    for (family, address) in [("-4", DB.v4()), ("-6", DB.v6())] {
        let said = ground.on(WEB.name, &format!("ping {family} -c 10 -i 0.05 -W 5 -q {address}"));
        assert!(said.contains(" 10 received"), "{said}");
        println!("{}", said.lines().last().unwrap_or_default());
    }
    // What no rule allows stays out, also while all this goes on.
    assert!(!ground.can_connect(WEB.name, &DB.v4(), 5202));
    let back = ground.command(DB.name, &format!("ping -c 2 -i 0.2 -W 1 -q {}", WEB.v4())).output().unwrap();
    assert!(!back.status.success(), "the database endpoint has no rule to ping");
}
