//! What is left when a program is killed: nothing that is attached, and nothing that is open.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod ground;

use ground::listener::{HOST_ADDRESS, HOST_PORT, HostListener};
use ground::program::{Program, binary};
use ground::{DB, Ground, WEB, allow_tcp, wait_until};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// A port that the policy allows.
const ALLOWED: u16 = 5432;
/// One that it does not.
const DENIED: u16 = 5433;

/// Starts a server of the port at the database endpoint and waits until it listens.
fn serve(ground: &Ground, port: u16) -> Program {
    let line = format!("socat TCP-LISTEN:{port},fork,reuseaddr SYSTEM:cat");
    let server = ground.start(DB.name, &format!("server-{port}"), &line);
    wait_until("the server listens", || ground.on(DB.name, "ss -Htln").contains(&format!(":{port} ")));
    server
}

/// Expects the policy in force: one port open, one shut.
fn expect_enforced(ground: &Ground) {
    wait_until("the allowed port answers", || ground.can_connect(WEB.name, &DB.v4(), ALLOWED));
    assert!(!ground.can_connect(WEB.name, &DB.v4(), DENIED), "the denied port answers");
}

/// Expects that no program is attached to any device of the host.
fn expect_nothing_attached(ground: &Ground) {
    let links = ground.on("host", "ip -details link show");
    assert!(!links.contains("xdp"), "{links}");
}

/// Expects that nothing the web endpoint sends is heard by the host. The endpoint's frames are known to have come as far
/// as the host by its device's counter.
fn expect_silence(listener: &HostListener, ground: &Ground) {
    let counter = || -> u64 {
        let path = format!("/sys/class/net/{}/statistics/rx_packets", WEB.name);
        ground.on("host", &format!("cat {path}")).trim().parse().unwrap()
    };
    let before = counter();
    ground.inside(WEB.name, || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"anybody there?", (HOST_ADDRESS, HOST_PORT)).unwrap();
    });
    assert!(!ground.can_connect(WEB.name, HOST_ADDRESS, HOST_PORT));
    wait_until("the endpoint's frames reached its device", || counter() > before);
    assert!(listener.is_silent(), "something of an endpoint reached the host");
}

#[test]
fn a_killed_dataplane_leaves_nothing_open_and_its_successor_enforces_the_last_policy() {
    let Some(ground) = Ground::with_endpoints("killed", &["socat", "ss"]) else { return };
    ground.keep_policy(&allow_tcp("Web", "Db", ALLOWED));
    let _servers = [ALLOWED, DENIED].map(|port| serve(&ground, port));
    let listener = HostListener::new(&ground);
    HostListener::lead_there(&ground, WEB);
    listener.expect_heard_locally(&ground);
    let mut dataplane = ground.start_dataplane("");
    for _ in 0..3 {
        expect_enforced(&ground);
        expect_silence(&listener, &ground);
        dataplane.kill();
        // A link of BPF is closed with its process; taking it off may still be under way for a moment.
        wait_until("nothing is attached", || !ground.on("host", "ip -details link show").contains("xdp"));
        expect_nothing_attached(&ground);
        expect_silence(&listener, &ground);
        assert!(!ground.can_connect(WEB.name, &DB.v4(), ALLOWED), "endpoints talk without a dataplane");
        let began = Instant::now();
        // No control listens where the configuration says.
        dataplane = ground.start_dataplane("");
        println!("devices taken again after {} ms", began.elapsed().as_millis());
        assert!(began.elapsed() < Duration::from_secs(10));
        assert!(dataplane.log().contains("last accepted policy version=1"), "{}", dataplane.log());
    }
    expect_enforced(&ground);
}

#[test]
fn a_dataplane_that_is_told_to_end_leaves_nothing_attached() {
    let Some(ground) = Ground::with_endpoints("ended", &[]) else { return };
    ground.keep_policy("");
    let dataplane = ground.start_dataplane("");
    dataplane.await_log("it looks for control", |log| log.contains("control lost"));
    let (status, log) = dataplane.terminate();
    assert!(status.success(), "{log}");
    expect_nothing_attached(&ground);
}

#[test]
fn a_dataplane_that_is_told_to_end_while_it_starts_ends_in_order() {
    let Some(ground) = Ground::with_endpoints("early", &[]) else { return };
    ground.keep_policy("");
    // Before the first device is taken, and between the first and the second.
    for moment in ["last accepted policy", "device taken"] {
        for _ in 0..3 {
            let dataplane = ground.begin_dataplane(&ground.config(""));
            dataplane.await_log(moment, |log| log.contains(moment));
            let (status, log) = dataplane.terminate();
            assert!(status.success() && log.contains("told to stop"), "{moment}: {status}: {log}");
            assert!(log.contains("workers stopped"), "{moment}: {log}");
            expect_nothing_attached(&ground);
        }
    }
}

#[test]
fn a_second_dataplane_on_the_same_devices_is_refused_and_harms_nothing() {
    let Some(ground) = Ground::with_endpoints("second", &["socat", "ss"]) else { return };
    ground.keep_policy(&allow_tcp("Web", "Db", ALLOWED));
    let _servers = [ALLOWED, DENIED].map(|port| serve(&ground, port));
    let _dataplane = ground.start_dataplane("");
    expect_enforced(&ground);
    let line = format!(
        "{} --config {}/dataplane.toml",
        binary("meshgate-dataplane").display(),
        ground.dir.display()
    );
    let output = ground.command("host", &line).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && complaint.contains("web-1"), "{complaint}");
    expect_enforced(&ground);
}
