//! Connections outlive the dataplane: it is killed and started again under many that are idle, and whichever side speaks
//! first afterwards is heard. What is no such connection is not let through on the word of the answering side for ever.
//!
//! `MESHGATE_CONNECTIONS` sets how many connections there are (200 unless set); 20 speak again each second, so that
//! 1,000 take most of a minute.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod ground;

use ground::{DB, Ground, WEB, allow_tcp, connection, rest, wait_until};
use meshgate_dataplane::packet::TcpFlags;
use meshgate_dataplane::packet::build::Frame;
use meshgate_policy::Mac;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, recv, sendto, socket};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Connections that are opened unless the environment says otherwise.
const CONNECTIONS: usize = 200;
/// Time between one connection that speaks again and the next.
const SPEAKING_PERIOD: Duration = Duration::from_millis(50);
/// The port to which connections are opened.
const SERVED: u16 = 5432;
/// A port of the other side that the policy allows: what is sent there shows that everything sent before has passed.
const MARKED: u16 = 7;
/// Where no connection leads.
const STRAY: u16 = 40_000;
/// From where marked segments are sent.
const MARKER: u16 = 50_000;
/// Time after which segments that are not heard are sent again.
const SENT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Where Ethernet and IPv4 headers end.
const TCP_OFFSET: usize = 34;

fn connections() -> usize {
    let wanted = std::env::var("MESHGATE_CONNECTIONS");
    wanted.map_or(CONNECTIONS, |text| text.parse().expect("MESHGATE_CONNECTIONS: a number"))
}

#[test]
fn no_idle_connection_is_lost_when_the_dataplane_is_killed_whoever_speaks_first() {
    let Some(ground) = Ground::with_endpoints("restart", &[]) else { return };
    ground.keep_policy(&allow_tcp("Web", "Db", SERVED));
    let dataplane = ground.start_dataplane("");
    let count = connections();
    let mut connections = connection::open(&ground, SERVED, count);
    dataplane.kill();
    let restarted = Instant::now();
    let dataplane = ground.start_dataplane("");
    let mut lost = Vec::new();
    for (at, connection) in connections.iter_mut().enumerate() {
        // Pairs of an IPv4 and an IPv6 connection: every kind is resumed from either side.
        let is_client_first = (at / 2).is_multiple_of(2);
        if let Err(error) = connection.speak(is_client_first) {
            lost.push((at, is_client_first, error.to_string()));
        }
        let next = restarted + SPEAKING_PERIOD * u32::try_from(at + 1).unwrap();
        rest(next.saturating_duration_since(Instant::now()));
    }
    println!("{count} connections spoke again within {} ms", restarted.elapsed().as_millis());
    assert!(lost.is_empty(), "{} lost: {lost:?}\n{}", lost.len(), dataplane.log());
    // Those that spoke first once are still heard when the other side does.
    for (at, connection) in connections.iter_mut().enumerate() {
        connection.speak(!(at / 2).is_multiple_of(2)).unwrap();
    }
    let (status, log) = dataplane.terminate();
    assert!(status.success() && log.contains("missing=0"), "{log}");
}

/// TCP segments as they come and go, without a connection.
struct RawTcp(OwnedFd);

impl RawTcp {
    /// Opens a socket of the place that hears every segment and sends any.
    fn open(ground: &Ground, place: &str) -> Self {
        let open = || socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::TCP)).unwrap();
        Self(ground.inside(place, open))
    }

    /// Sends an acknowledgment from the database endpoint to the web endpoint that belongs to nothing.
    fn send_stray(&self, from: u16, to: u16) {
        let [source, destination] = [DB.v4(), WEB.v4()].map(|text| text.parse().unwrap());
        let frame = Frame::between(Mac([0; 6]), Mac([0; 6]))
            .ip(source, destination)
            .tcp(from, to, TcpFlags::ACK)
            .numbers(1_000, 2_000, 500)
            .bytes();
        let segment = &frame[TCP_OFFSET..];
        sendto(&self.0, segment, SendFlags::empty(), &SocketAddr::new(destination, 0)).unwrap();
    }

    /// Returns the next segment's ports, if one is there.
    fn next_ports(&self) -> Option<(u16, u16)> {
        let mut packet = [0; 256];
        let (bytes, _) = recv(&self.0, &mut packet, RecvFlags::DONTWAIT).ok()?;
        let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        // A raw socket hears the IPv4 header, too.
        (bytes >= 40).then(|| (port(20), port(22)))
    }
}

#[test]
fn a_stray_acknowledgment_in_reverse_gets_nothing_when_the_window_has_closed() {
    let Some(ground) = Ground::with_endpoints("stray", &[]) else { return };
    ground.keep_policy(&[allow_tcp("Web", "Db", SERVED), allow_tcp("Db", "Web", MARKED)].concat());
    let sender = RawTcp::open(&ground, DB.name);
    let receiver = RawTcp::open(&ground, WEB.name);
    // Each time other ports: what is known is judged differently. The marked segment is sent behind the stray one, and
    // both again until it has come: a frame that arrives before the worker has given the device memory is lost.
    let is_heard = |number: u16| {
        let (mut is_heard, mut sent) = (false, None::<Instant>);
        wait_until("what was sent last has come", || {
            if sent.is_none_or(|at| at.elapsed() > SENT_AGAIN_AFTER) {
                sender.send_stray(SERVED, STRAY + number);
                sender.send_stray(MARKER + number, MARKED);
                sent = Some(Instant::now());
            }
            receiver.next_ports().is_some_and(|ports| {
                is_heard |= ports == (SERVED, STRAY + number);
                ports == (MARKER + number, MARKED)
            })
        });
        is_heard
    };
    let dataplane = ground.start_dataplane("");
    assert!(is_heard(0), "within the window it is believed for a moment");
    dataplane.kill();
    let _dataplane = ground.start_dataplane("pickup_window_s = 1");
    // When this is heard, the worker runs, and its window is open or has closed.
    is_heard(1);
    let began = Instant::now();
    wait_until("the window has closed", || began.elapsed() > Duration::from_secs(1));
    assert!(!is_heard(2), "an acknowledgment of nothing was let through");
}
