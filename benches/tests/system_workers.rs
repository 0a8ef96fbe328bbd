//! Several workers, and devices that come and go, under real traffic.
//!
//! `MESHGATE_REQUESTS` sets how many requests are made (1,000 unless set).
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod ground;

use ground::guest::Segmentation;
use ground::program::Program;
use ground::{DB, Endpoint, Ground, WEB, allow_tcp, wait_until};
use serde_json::Value;

/// A machine behind a tap, which has one queue.
const DEV: Endpoint = Endpoint { name: "dev-1", number: 31, group: "Dev" };
/// Queues of a veth.
const QUEUES: u32 = 4;
/// Requests that are made unless the environment says otherwise.
const REQUESTS: u32 = 1_000;
/// Streams at once.
const STREAMS: u32 = 64;

fn rules() -> String {
    [("Web", "Db", 80), ("Dev", "Db", 80), ("Web", "Db", 5201), ("Dev", "Web", 5201)]
        .map(|(source, destination, port)| allow_tcp(source, destination, port))
        .concat()
}

fn requests() -> u32 {
    std::env::var("MESHGATE_REQUESTS")
        .map_or(REQUESTS, |text| text.parse().expect("MESHGATE_REQUESTS: a number"))
}

/// Serves a small page at the database endpoint.
fn serve(ground: &Ground) -> Program {
    ground.write("index.html", "hello\n");
    let server =
        ground.start(DB.name, "httpd", &format!("busybox httpd -f -p 80 -h {}", ground.dir.display()));
    wait_until("the server answers", || ground.can_connect(WEB.name, &DB.v4(), 80));
    server
}

/// Makes so many requests, each on a connection of its own, sixteen at a time, and returns how many were answered.
fn make_requests(ground: &Ground, from: Endpoint, count: u32) -> usize {
    let url = format!("http://{}/index.html?[1-{count}]", DB.v4());
    let line = format!(
        "curl --silent --show-error --parallel --parallel-max 16 --max-time 120 --output /dev/null \
         --write-out %{{http_code}}\\n {url}"
    );
    let said = ground.on(from.name, &line);
    said.lines().filter(|line| *line == "200").count()
}

/// Returns what the dataplane said of its packet memory at its end.
fn missing(log: &str) -> Option<&str> {
    let line = log.lines().find(|line| line.contains("workers stopped total="))?;
    line.split("missing=").nth(1)?.split_whitespace().next()
}

#[test]
fn two_workers_carry_many_connections_between_devices_of_many_queues_and_of_one() {
    let Some(mut ground) = Ground::new("workers", &["curl", "busybox", "iperf3"]) else { return };
    ground.add_endpoint_with_queues(WEB, QUEUES);
    ground.add_endpoint_with_queues(DB, QUEUES);
    let _guest = ground.add_guest(DEV, Segmentation::InGuest);
    ground.keep_policy(&rules());
    let dataplane = ground.start_dataplane("workers = 2");
    let _server = serve(&ground);
    let count = requests();
    for from in [WEB, DEV] {
        assert_eq!(
            make_requests(&ground, from, count / 2),
            usize::try_from(count / 2).unwrap(),
            "from {}",
            from.name
        );
    }
    println!("{count} requests were answered");
    for (place, from, to) in [("db", WEB, DB), ("web", DEV, WEB)] {
        let server = ground.start(to.name, &format!("iperf3-{place}"), "iperf3 --server --forceflush");
        server.await_log("it listens", |log| log.contains("Server listening"));
        let line = format!("iperf3 --client {} --parallel {STREAMS} --time 4 --json", to.v4());
        let report: Value = serde_json::from_str(&ground.on(from.name, &line)).unwrap();
        let figure = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64).unwrap_or_default();
        let streams = report.pointer("/end/streams").and_then(Value::as_array).map_or(0, Vec::len);
        assert_eq!(streams, usize::try_from(STREAMS).unwrap(), "a stream was reset: {report}");
        println!("{STREAMS} streams: {:.0} Mbit/s", figure("/end/sum_received/bits_per_second") / 1e6);
    }
    let (status, log) = dataplane.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(missing(&log), Some("0"), "{log}");
}

#[test]
fn a_device_that_vanishes_and_returns_is_taken_again_and_the_others_go_on() {
    let Some(mut ground) = Ground::new("flaps", &["busybox", "socat"]) else { return };
    ground.add_endpoint(WEB);
    ground.add_endpoint(DB);
    ground.add_endpoint_with_queues(DEV, 2);
    ground.keep_policy(&rules());
    let dataplane = ground.start_dataplane("workers = 2");
    let _server = serve(&ground);
    // A connection of the others, opened before and used afterwards.
    let _echo = ground.start(DB.name, "echo", "socat TCP-LISTEN:5201,fork,reuseaddr PIPE");
    wait_until("the echo answers", || ground.can_connect(WEB.name, &DB.v4(), 5201));
    let mut connection = ground.inside(WEB.name, || std::net::TcpStream::connect((DB.v4(), 5201)).unwrap());
    for round in 1..=3 {
        assert!(ground.can_connect(DEV.name, &DB.v4(), 80), "round {round}");
        ground.unplug(DEV);
        dataplane.await_log("it is missed", |log| log.matches("device vanished").count() == round);
        ground.plug_in(DEV, 2);
        prepare(&ground);
        dataplane.await_log("it is taken again", |log| log.matches("device taken").count() == 3 + round);
        wait_until("it is heard again", || ground.can_connect(DEV.name, &DB.v4(), 80));
        expect_echo(&mut connection);
    }
    let (status, log) = dataplane.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(missing(&log), Some("0"), "{log}");
}

/// Makes devices that came later ready, as whoever starts machines does.
fn prepare(ground: &Ground) {
    let program = ground::program::binary("meshgate-dataplane");
    let config = ground.dir.join("dataplane.toml");
    ground.on("host", &format!("{} --config {} --prepare-devices", program.display(), config.display()));
}

fn expect_echo(connection: &mut std::net::TcpStream) {
    use std::io::{Read, Write};
    connection.set_read_timeout(Some(ground::PATIENCE)).unwrap();
    connection.write_all(b"still there").unwrap();
    let mut answer = [0; 11];
    connection.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"still there");
}

#[test]
fn devices_come_and_go_when_the_configuration_is_read_again() {
    let Some(mut ground) = Ground::new("reload", &["busybox", "socat"]) else { return };
    ground.add_endpoint(WEB);
    ground.add_endpoint(DB);
    ground.add_endpoint(DEV);
    ground.keep_policy(&rules());
    ground.list_endpoint(DEV, false);
    let dataplane = ground.start_dataplane("workers = 2");
    let _server = serve(&ground);
    let _echo = ground.start(DB.name, "echo", "socat TCP-LISTEN:5201,fork,reuseaddr PIPE");
    wait_until("the echo answers", || ground.can_connect(WEB.name, &DB.v4(), 5201));
    let mut connection = ground.inside(WEB.name, || std::net::TcpStream::connect((DB.v4(), 5201)).unwrap());
    let read_again = |ground: &Ground, keys: &str, shown: &str, times: usize| {
        ground.write("dataplane.toml", &ground.config(keys));
        dataplane.hang_up();
        dataplane.await_log(shown, |log| log.matches(shown).count() == times);
    };
    for round in 1..=2 {
        assert!(!ground.can_connect(DEV.name, &DB.v4(), 80), "no device leads there yet");
        ground.list_endpoint(DEV, true);
        ground.write("dataplane.toml", &ground.config("workers = 2"));
        prepare(&ground);
        read_again(&ground, "workers = 2", "configuration read again", 2 * round - 1);
        wait_until("the new device is heard", || ground.can_connect(DEV.name, &DB.v4(), 80));
        expect_echo(&mut connection);
        ground.list_endpoint(DEV, false);
        read_again(&ground, "workers = 2", "configuration read again", 2 * round);
        expect_echo(&mut connection);
    }
    // What is wrong changes nothing.
    read_again(&ground, "workers = 3", "workers: takes effect at the next start only", 1);
    read_again(&ground, "workers = 2\nsurprise = 1", "unknown field `surprise`", 1);
    let missing_device = "workers = 2\n[[device]]\nname = \"no-such\"\nrole = \"endpoint\"\n";
    read_again(&ground, missing_device, "no-such", 1);
    expect_echo(&mut connection);
    let (status, log) = dataplane.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(missing(&log), Some("0"), "{log}");
}
