//! What the tests stand on: network namespaces of their own, joined by veth pairs.
//!
//! Names begin with `mgdev` and the number of the process, so that the remains of a killed run are recognised and
//! removed by the next one.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time to wait for something that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns whether this process may do what the tests need; says so if not.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// Runs a command and returns what it printed; panics with its complaint.
pub fn run(line: &str) -> String {
    let words: Vec<_> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command and returns whether it succeeded.
pub fn succeeds(line: &str) -> bool {
    let words: Vec<_> = line.split_whitespace().collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Namespaces of one test, removed with everything in them when dropped. The calling thread lives in `here`.
pub struct Ground {
    /// Prefix of all names.
    name: String,
}

/// The namespaces of a test: the host, and the two machines at its devices.
const PLACES: [&str; 3] = ["here", "left", "right"];

impl Ground {
    /// Makes the namespaces and lets the calling thread live in `here`.
    pub fn new(test: &str) -> Self {
        remove_remains();
        let ground = Self { name: format!("mgdev{}{test}", std::process::id()) };
        for place in PLACES {
            run(&format!("ip netns add {}", ground.space(place)));
            ground.on(place, "ip link set lo up");
        }
        ground.enter("here");
        ground
    }

    /// Returns the full name of a namespace.
    fn space(&self, place: &str) -> String {
        format!("{}{place}", self.name)
    }

    /// Lets the calling thread live in a namespace.
    fn enter(&self, place: &str) {
        let space = File::open(Path::new("/run/netns").join(self.space(place))).unwrap();
        move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    /// Makes a pair of devices: `near` here, `far` in `place` with an address and without IPv6, both up.
    pub fn pair(&self, near: &str, place: &str, far: &str, address: &str) {
        let there = self.space(place);
        run(&format!("ip link add name {near} type veth peer name {far} netns {there}"));
        for (whom, device) in [("here", near), (place, far)] {
            // Neighbour discovery would mix frames of its own into the counts.
            self.write(whom, &format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6"), "1");
            self.on(whom, &format!("ip link set {device} up"));
        }
        self.on(place, &format!("ip address add {address} dev {far}"));
    }

    /// Makes a tap in a namespace, up, with an address if it is to have one, and returns its far end, at which all
    /// offloads are left to whoever holds it.
    pub fn tap(&self, place: &str, name: &str, address: Option<&str>) -> File {
        self.enter(place);
        let far = af_xdp::open_tap(name, af_xdp::TapOffloads::Segmentation).unwrap();
        self.enter("here");
        self.write(place, &format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
        self.on(place, &format!("ip link set {name} up"));
        if let Some(address) = address {
            self.on(place, &format!("ip address add {address} dev {name}"));
        }
        far
    }

    /// Does something while the calling thread lives in a namespace.
    pub fn within<T>(&self, place: &str, work: impl FnOnce() -> T) -> T {
        self.enter(place);
        let result = work();
        self.enter("here");
        result
    }

    /// Runs a command in a namespace.
    pub fn on(&self, place: &str, line: &str) -> String {
        run(&format!("ip netns exec {} {line}", self.space(place)))
    }

    /// Writes a setting of a namespace.
    pub fn write(&self, place: &str, path: &str, value: &str) {
        self.enter(place);
        std::fs::write(path, value).unwrap();
        self.enter("here");
    }

    /// Opens a UDP socket in a namespace; it never waits.
    pub fn udp(&self, place: &str, address: &str) -> UdpSocket {
        self.enter(place);
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        self.enter("here");
        socket
    }

    /// Returns the MAC of a device in a namespace.
    pub fn mac(&self, place: &str, device: &str) -> String {
        self.enter(place);
        let mac = af_xdp::Device::named(device).unwrap().mac;
        self.enter("here");
        meshgate_policy::Mac(mac).to_string()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for place in PLACES {
            succeeds(&format!("ip netns del {}", self.space(place)));
        }
    }
}

/// Removes namespaces of test processes that no longer run.
fn remove_remains() {
    let Ok(spaces) = std::fs::read_dir("/run/netns") else { return };
    for space in spaces.flatten() {
        let name = space.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix("mgdev") else { continue };
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        if !digits.is_empty() && !Path::new("/proc").join(&digits).exists() {
            succeeds(&format!("ip netns del {name}"));
        }
    }
}

/// Repeats an attempt until it succeeds; panics when it takes too long.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::yield_now();
    }
}
