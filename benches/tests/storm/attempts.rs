//! What endpoints try during the storm: connections and datagrams to every port of each other, allowed or not, and to the
//! host; and transfers.

use crate::ground::listener::{HOST_ADDRESS, HOST_PORT};
use crate::ground::program::Program;
use crate::ground::{DB, Endpoint, Ground, WEB, rest};
use meshgate_policy::generate::Rng;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Ports that policies open and close.
pub const CHANGING: [u16; 3] = [81, 82, 83];
/// The port that no policy ever opens.
pub const FORBIDDEN: u16 = 9_999;
/// The port of small transfers, and that of bulk transfers; both always open from the web to the database endpoint.
pub const SMALL: u16 = 80;
/// See [`SMALL`].
pub const BULK: u16 = 5_201;
/// How long a connection is waited for: many round trips, and short enough for many tries.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(15);

/// What was tried, and when to stop.
#[derive(Default)]
pub struct Attempts {
    stopping: AtomicBool,
    /// Connections and datagrams tried, and connections that opened.
    pub tried: AtomicU64,
    /// See `tried`.
    pub opened: AtomicU64,
    /// Connections that opened and never may.
    pub forbidden: AtomicU64,
    /// Small transfers that were whole, and bulk transfers that ran to their end.
    pub fetched: AtomicU64,
    /// See `fetched`.
    pub carried: AtomicU64,
}

/// Tells everything that tries to stop when it goes, however that comes.
pub struct Stop<'a>(pub &'a Attempts);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stopping.store(true, Ordering::Release);
    }
}

impl Attempts {
    fn goes_on(&self) -> bool {
        !self.stopping.load(Ordering::Acquire)
    }

    /// Answers at every port of an endpoint.
    pub fn serve(&self, ground: &Ground, endpoint: Endpoint) {
        let ports = CHANGING.into_iter().chain([FORBIDDEN]);
        let any = |port| SocketAddr::new("::".parse().unwrap(), port);
        let (listeners, _sockets): (Vec<_>, Vec<_>) = ground.inside(endpoint.name, || {
            let listen = |port| (TcpListener::bind(any(port)).unwrap(), UdpSocket::bind(any(port)).unwrap());
            ports.map(listen).unzip()
        });
        listeners.iter().for_each(|listener| listener.set_nonblocking(true).unwrap());
        while self.goes_on() {
            for listener in &listeners {
                // Accepting ends the connection: that it opened is the answer.
                while listener.accept().is_ok() {}
            }
            rest(PAUSE);
        }
    }

    /// Tries ports of the others at random.
    pub fn probe(&self, ground: &Ground, from: Endpoint, others: &[Endpoint], seed: u64) {
        let targets: Vec<SocketAddr> = targets(from, others);
        ground.inside(from.name, || {
            let mut random = Rng::new(seed);
            while self.goes_on() {
                let target = *random.pick(&targets).expect("there are others");
                self.tried.fetch_add(1, Ordering::Relaxed);
                if random.chance(30) {
                    let any: IpAddr = if target.is_ipv6() { [0_u16; 8].into() } else { [0_u8; 4].into() };
                    let socket = UdpSocket::bind((any, 0)).unwrap();
                    // While its device is away there is no way out.
                    let _ = socket.send_to(b"anybody there?", target);
                } else if TcpStream::connect_timeout(&target, CONNECT_TIMEOUT).is_ok() {
                    self.opened.fetch_add(1, Ordering::Relaxed);
                    let is_forbidden = !CHANGING.contains(&target.port());
                    self.forbidden.fetch_add(is_forbidden.into(), Ordering::Relaxed);
                }
                rest(PAUSE);
            }
        });
    }

    /// Fetches a small page again and again.
    pub fn fetch(&self, ground: &Ground) {
        let root = ground.dir.display();
        let _server: Program =
            ground.start(DB.name, "httpd", &format!("busybox httpd -f -p {SMALL} -h {root}"));
        let line = format!("curl --silent --max-time 3 --output /dev/null http://{}:{SMALL}/page", DB.v4());
        while self.goes_on() {
            let status = ground.command(WEB.name, &line).status().unwrap();
            self.fetched.fetch_add(status.success().into(), Ordering::Relaxed);
            rest(PAUSE);
        }
    }

    /// Transfers in bulk again and again. Server and client are new each time: one that was cut off waits for long.
    pub fn carry(&self, ground: &Ground) {
        let client =
            format!("timeout 8 iperf3 --client {} --time 3 --bitrate 40M --connect-timeout 2000", DB.v4());
        while self.goes_on() {
            let server = ground.start(DB.name, "iperf3", "iperf3 --server --one-off --forceflush");
            server.await_log("it listens", |log| log.contains("Server listening"));
            let status =
                ground.command(WEB.name, &client).stdout(Stdio::null()).stderr(Stdio::null()).status();
            self.carried.fetch_add(status.unwrap().success().into(), Ordering::Relaxed);
        }
    }
}

/// Returns every address and port to try from an endpoint.
fn targets(from: Endpoint, others: &[Endpoint]) -> Vec<SocketAddr> {
    let others = others.iter().filter(|other| other.name != from.name);
    let addresses = others.flat_map(|other| [other.v4(), other.v6()]);
    let of = |address: String| {
        let address: IpAddr = address.parse().unwrap();
        CHANGING.into_iter().chain([FORBIDDEN]).map(move |port| SocketAddr::new(address, port))
    };
    let host = (from.name == WEB.name)
        .then(|| SocketAddr::new(HOST_ADDRESS.parse().expect("an address"), HOST_PORT));
    addresses.flat_map(of).chain(host).collect()
}
