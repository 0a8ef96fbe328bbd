//! What the system tests stand on: network namespaces of their own, with endpoints, real programs and a dataplane.
//!
//! Names begin with `mgsys` and the number of the process, so that the remains of a killed run are recognised and
//! removed by the next one. Every program runs inside these namespaces; that is how one that was left is found.

#![allow(dead_code, reason = "each test file uses its own part of the ground")]
#![expect(clippy::unwrap_used, reason = "a ground that cannot be built is a failed test")]
#![expect(clippy::print_stdout, reason = "a test that did nothing must not look like one that passed")]

pub mod connection;
pub mod control;
pub mod guest;
pub mod learner;
pub mod listener;
pub mod program;
pub mod usage;

use program::{Program, binary};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest time that any of these tests waits for something that takes milliseconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at something that is awaited.
const PAUSE: Duration = Duration::from_millis(5);
/// With what all names begin.
const PREFIX: &str = "mgsys";
/// One test at a time has the processors: a starved dataplane would be no fault of it.
static TURN: Mutex<()> = Mutex::new(());

/// A virtual machine: a namespace of its own, joined to the host by a device of the same name.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// Name of the endpoint, its place and its device on the host.
    pub name: &'static str,
    /// Last byte of its addresses.
    pub number: u8,
    /// Its group.
    pub group: &'static str,
}

/// A web server, the client in these tests.
pub const WEB: Endpoint = Endpoint { name: "web-1", number: 11, group: "Web" };
/// A database server.
pub const DB: Endpoint = Endpoint { name: "db-1", number: 21, group: "Db" };

impl Endpoint {
    /// Returns its IPv4 address.
    pub fn v4(&self) -> String {
        format!("10.78.0.{}", self.number)
    }

    /// Returns its IPv6 address.
    pub fn v6(&self) -> String {
        format!("fd78::{}", self.number)
    }

    /// Returns its MAC.
    pub fn mac(&self) -> String {
        format!("02:78:00:00:00:{:02x}", self.number)
    }
}

/// A host with endpoints, removed with everything in it when dropped.
pub struct Ground {
    name: String,
    /// Files of the test: configurations, logs, what is transferred.
    pub dir: PathBuf,
    endpoints: Vec<Endpoint>,
    _turn: MutexGuard<'static, ()>,
}

impl Ground {
    /// Makes the host of a test with this short name; none, with a line that says so, when not root or without one
    /// of the tools.
    pub fn new(test: &str, tools: &[&str]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        for tool in ["ip"].iter().chain(tools) {
            if !attempt("sh", &["-c", &format!("command -v {tool}")]).status.success() {
                println!("skipped: needs {tool}");
                return None;
            }
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        remove_remains();
        let name = format!("{PREFIX}{}-{test}", std::process::id());
        let dir = std::env::temp_dir().join(&name);
        fs::create_dir_all(&dir).unwrap();
        let ground = Self { name, dir, endpoints: Vec::new(), _turn: turn };
        ground.add_place("host");
        for whom in ["all", "default"] {
            ground.on("host", &format!("sysctl -qw net.ipv6.conf.{whom}.disable_ipv6=1"));
        }
        Some(ground)
    }

    /// Likewise, with the endpoints [`WEB`] and [`DB`] at veth pairs with default offloads.
    pub fn with_endpoints(test: &str, tools: &[&str]) -> Option<Self> {
        let mut ground = Self::new(test, tools)?;
        ground.add_endpoint(WEB);
        ground.add_endpoint(DB);
        Some(ground)
    }

    fn add_place(&self, place: &str) {
        run(&format!("ip netns add {}", self.space(place)));
        self.on(place, "ip link set lo up");
    }

    /// Adds an endpoint at a veth pair with default offloads.
    pub fn add_endpoint(&mut self, endpoint: Endpoint) {
        self.add_endpoint_with_queues(endpoint, 1);
    }

    /// Likewise, with so many queues at both ends.
    pub fn add_endpoint_with_queues(&mut self, endpoint: Endpoint, queues: u32) {
        self.add_place(endpoint.name);
        self.plug_in(endpoint, queues);
        self.endpoints.push(endpoint);
    }

    /// Joins the place of an endpoint to the host by a new veth pair.
    pub fn plug_in(&self, endpoint: Endpoint, queues: u32) {
        let Endpoint { name, .. } = endpoint;
        let (host, mac) = (self.space("host"), endpoint.mac());
        let queues = format!("numrxqueues {queues} numtxqueues {queues}");
        self.on(
            name,
            &format!(
                "ip link add eth0 address {mac} {queues} type veth peer name {name} {queues} netns {host}"
            ),
        );
        self.bring_up(endpoint);
        self.on("host", &format!("ip link set {name} up"));
    }

    /// Removes the devices of an endpoint; its place stays.
    pub fn unplug(&self, endpoint: Endpoint) {
        self.on("host", &format!("ip link del {}", endpoint.name));
    }

    /// Leaves an endpoint out of configurations from here on, or takes it in again.
    pub fn list_endpoint(&mut self, endpoint: Endpoint, is_listed: bool) {
        self.endpoints.retain(|other| other.name != endpoint.name);
        if is_listed {
            self.endpoints.push(endpoint);
        }
    }

    /// Adds a machine that is no endpoint, at a veth pair with default offloads whose near end is a device of the host.
    pub fn add_stranger(&self, place: &str, device: &str, address: &str) {
        self.add_place(place);
        let host = self.space("host");
        self.on(place, &format!("ip link add eth0 type veth peer name {device} netns {host}"));
        self.on(place, &format!("ip address add {address} dev eth0"));
        self.on(place, "ip link set eth0 up");
        self.on("host", &format!("ip link set {device} up"));
    }

    /// Adds an endpoint behind a tap, with a guest that runs until it is dropped.
    pub fn add_guest(&mut self, endpoint: Endpoint, segmentation: guest::Segmentation) -> guest::Guest {
        self.add_place(endpoint.name);
        let open = |place: &str, device: &str, offloads| self.inside(place, || guest::open(device, offloads));
        let host_side = open("host", endpoint.name, guest::Segmentation::InGuest);
        let guest_side = open(endpoint.name, "eth0", segmentation);
        self.on(endpoint.name, &format!("ip link set eth0 address {}", endpoint.mac()));
        self.bring_up(endpoint);
        self.endpoints.push(endpoint);
        self.on("host", &format!("ip link set {} up", endpoint.name));
        guest::Guest::start(host_side, guest_side)
    }

    /// Gives an endpoint's own device its addresses.
    fn bring_up(&self, endpoint: Endpoint) {
        let Endpoint { name, .. } = endpoint;
        for setting in ["accept_dad", "router_solicitations"] {
            self.on(name, &format!("sysctl -qw net.ipv6.conf.eth0.{setting}=0"));
        }
        self.on(name, &format!("ip address add {}/24 dev eth0", endpoint.v4()));
        self.on(name, &format!("ip address add {}/64 dev eth0 nodad", endpoint.v6()));
        self.on(name, "ip link set eth0 up");
    }

    /// Returns the full name of a namespace.
    pub fn space(&self, place: &str) -> String {
        format!("{}-{place}", self.name)
    }

    /// Returns a command that runs in a namespace.
    pub fn command(&self, place: &str, line: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(place)]).args(line.split_whitespace());
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command in a namespace and returns what it printed; panics with its complaint.
    pub fn on(&self, place: &str, line: &str) -> String {
        let output = self.command(place, line).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (said, complaint) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{place}: {line}: {said}{complaint}");
        said
    }

    /// Starts a program in a namespace; what it prints goes to a file.
    pub fn start(&self, place: &str, name: &str, line: &str) -> Program {
        Program::start(self.command(place, line), self.dir.join(format!("{name}.log")))
    }

    /// Does something on a thread that lives in a namespace.
    pub fn inside<T: Send>(&self, place: &str, work: impl FnOnce() -> T + Send) -> T {
        let space = File::open(Path::new("/run/netns").join(self.space(place))).unwrap();
        let work = || {
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    /// Writes a file of the test and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Returns the endpoints and their groups as a policy file, with further text behind it.
    pub fn policy(&self, rules: &str) -> String {
        let mut text = String::from("default_action = \"deny\"\n");
        for endpoint in &self.endpoints {
            let (name, group) = (endpoint.name, endpoint.group);
            text += &format!(
                "[[endpoints]]\nname = \"{name}\"\nmac = \"{}\"\naddresses = [\"{}\", \"{}\"]\n\
                 labels = {{ group = \"{group}\" }}\nhome = {{ host = \"h\", device = \"{name}\" }}\n\
                 [[groups]]\nname = \"{group}\"\nselector = {{ group = \"{group}\" }}\n",
                endpoint.mac(),
                endpoint.v4(),
                endpoint.v6(),
            );
        }
        text + rules
    }

    /// Keeps a policy with these rules as the one that the dataplane accepted last.
    pub fn keep_policy(&self, rules: &str) {
        let file = self.write("kept.toml", &self.policy(rules));
        let output = Command::new(env!("CARGO_BIN_EXE_keep_policy"))
            .arg(file)
            .arg(self.dir.join("dataplane"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Returns the configuration of the dataplane, with further keys at its head.
    pub fn config(&self, keys: &str) -> String {
        let dir = self.dir.display();
        let mut text = format!(
            "host = \"h\"\ncontrol = \"unix:{dir}/control.sock\"\nstate_dir = \"{dir}/dataplane\"\n{keys}\n"
        );
        for endpoint in &self.endpoints {
            let (name, mac) = (endpoint.name, endpoint.mac());
            text += &format!("[[device]]\nname = \"{name}\"\nrole = \"endpoint\"\nmacs = [\"{mac}\"]\n");
        }
        text
    }

    /// Makes the devices ready and starts the dataplane on them; returns when it has taken all of them.
    pub fn start_dataplane(&self, keys: &str) -> Program {
        self.start_configured(&self.config(keys))
    }

    /// Likewise, with a whole configuration.
    pub fn start_configured(&self, config: &str) -> Program {
        let devices = config.matches("[[device]]").count();
        let program = self.begin_dataplane(config);
        program.await_log("every device is taken", |log| log.matches("device taken").count() == devices);
        program
    }

    /// Makes the devices ready and starts the dataplane; returns before it has taken any of them.
    pub fn begin_dataplane(&self, config: &str) -> Program {
        let config = self.write("dataplane.toml", config);
        let line = format!("{} --config {}", binary("meshgate-dataplane").display(), config.display());
        self.on("host", &format!("{line} --prepare-devices"));
        self.start("host", "dataplane", &line)
    }

    /// Returns whether a TCP connection from a place opens within a second.
    pub fn can_connect(&self, place: &str, address: &str, port: u16) -> bool {
        let address = format!("{address}:{port}").parse().unwrap();
        self.inside(place, || std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes the grounds of test processes that no longer run.
fn remove_remains() {
    let names = |dir: &Path| -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    for name in names(Path::new("/run/netns")).into_iter().chain(names(&std::env::temp_dir())) {
        let Some((number, rest)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')) else {
            continue;
        };
        if number.parse::<u32>().is_ok() && !Path::new("/proc").join(number).exists() {
            let test = rest.split('-').next().unwrap_or(rest);
            remove(&format!("{PREFIX}{number}-{test}"));
        }
    }
}

/// Ends what runs in the namespaces of a ground, and removes them and its files.
fn remove(ground: &str) {
    for space in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let space = space.file_name().to_string_lossy().into_owned();
        if !space.strip_prefix(ground).is_some_and(|rest| rest.starts_with('-')) {
            continue;
        }
        let pids = attempt("ip", &["netns", "pids", &space]).stdout;
        for pid in String::from_utf8_lossy(&pids).split_whitespace() {
            // A thread of this very process may have lived there.
            if *pid != std::process::id().to_string() {
                attempt("kill", &["-9", pid]);
            }
        }
        attempt("ip", &["netns", "del", &space]);
    }
    // It may not be there.
    let _ = fs::remove_dir_all(std::env::temp_dir().join(ground));
}

/// Runs a command and returns what it printed; panics with its complaint.
pub fn run(line: &str) -> String {
    let words: Vec<_> = line.split_whitespace().collect();
    let output = attempt(words[0], &words[1..]);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn attempt(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Lets time pass. Threads that end beside this one must not end it early, as they would a parked thread's rest.
pub fn rest(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// Waits until something is so; panics when it takes too long.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::park_timeout(PAUSE);
    }
}

/// Returns a relationship as text.
pub fn relationship(source: &str, destination: &str, l4: &str, action: &str) -> String {
    format!(
        "[[relationships]]\nsource_group_name = \"{source}\"\ndestination_group_name = \"{destination}\"\n\
         {l4}\naction = \"{action}\"\n"
    )
}

/// Returns a relationship that allows one TCP port.
pub fn allow_tcp(source: &str, destination: &str, port: u16) -> String {
    relationship(source, destination, &format!("protocol = \"TCP\"\nport_range = \"{port}\""), "allow")
}
