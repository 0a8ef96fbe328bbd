//! What the integration tests stand on: network namespaces of their own, with veth pairs and taps, and a forwarder.
//!
//! Names are unique per process and test. They begin with `axdp` and the process number, so that the remains of a
//! killed run are recognised and removed by the next.

use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub mod forwarder;

/// Longest time any of these tests waits for something that takes milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Tells whether this process may do what the tests need; says so if not.
#[expect(clippy::print_stdout, reason = "a test that did nothing must not look like one that passed")]
pub fn is_root() -> bool {
    // SAFETY: takes nothing and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// Runs a command and returns what it printed; panics with its complaint.
pub fn run(line: &str) -> String {
    let words: Vec<_> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command and ignores how it ends.
fn attempt(line: &str) {
    let words: Vec<_> = line.split_whitespace().collect();
    let _ = Command::new(words[0]).args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Namespaces of one test, removed with everything in them when dropped.
pub struct Ground {
    /// Prefix of all names.
    name: String,
    /// Namespaces made.
    spaces: Vec<String>,
}

impl Ground {
    /// Makes the namespaces `left`, `middle` and `right` for a test with the given short name, and lets the calling
    /// thread live in `middle`.
    pub fn new(test: &str) -> Ground {
        remove_remains();
        let name = format!("axdp{}{test}", std::process::id());
        let mut ground = Ground { name, spaces: Vec::new() };
        for place in ["left", "middle", "right"] {
            let space = ground.space(place);
            run(&format!("ip netns add {space}"));
            ground.spaces.push(space);
            ground.on(place, "ip link set lo up");
        }
        ground.enter("middle");
        // The middle stands for a host that takes no part: nothing but the test sends from its devices.
        for whom in ["all", "default"] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{whom}/disable_ipv6"), "1").unwrap();
        }
        ground
    }

    /// Returns the full name of a namespace.
    pub fn space(&self, place: &str) -> String {
        format!("{}{place}", self.name)
    }

    /// Runs a command in a namespace.
    pub fn on(&self, place: &str, line: &str) -> String {
        run(&format!("ip netns exec {} {line}", self.space(place)))
    }

    /// Lets the calling thread live in a namespace.
    pub fn enter(&self, place: &str) {
        enter_space(&self.space(place));
    }

    /// Makes a pair between `place` and `middle`: device `name` there with an address, `m-name` here without any.
    pub fn pair(&self, place: &str, name: &str, address: &str, options: &str) {
        let there = self.space(place);
        run(&format!("ip link add m-{name} {options} type veth peer name {name} {options} netns {there}"));
        self.on(place, &format!("ip address add {address} dev {name}"));
        self.on(place, &format!("ip link set {name} up"));
        run(&format!("ip link set m-{name} up"));
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for space in &self.spaces {
            attempt(&format!("ip netns del {space}"));
        }
    }
}

/// Lets the calling thread live in a namespace given by its full name.
pub fn enter_space(space: &str) {
    let file = std::fs::File::open(format!("/run/netns/{space}")).unwrap();
    // SAFETY: takes an open descriptor and changes this thread only.
    let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "setns: {}", std::io::Error::last_os_error());
}

/// Removes namespaces of test processes that no longer run.
fn remove_remains() {
    let Ok(spaces) = std::fs::read_dir("/run/netns") else { return };
    for space in spaces.flatten() {
        let name = space.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix("axdp") else { continue };
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        if !digits.is_empty() && !std::path::Path::new(&format!("/proc/{digits}")).exists() {
            attempt(&format!("ip netns del {name}"));
        }
    }
}

/// A command that is ended with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until `done` says so; panics with `what` when it takes too long.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        // SAFETY: no descriptors are passed; this only lets others run for a millisecond.
        unsafe { libc::poll(std::ptr::null_mut(), 0, 1) };
    }
}

/// Limits locked memory to `bytes` and gives the calling thread's capabilities up that would lift the limit.
pub fn give_up_locking(bytes: u64) {
    /// Version 3 of `capset`, with two words for each set.
    const VERSION: u32 = 0x2008_0522;
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the kernel reads one structure.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
    assert_eq!(result, 0);
    let network: u32 = 1 << 12 | 1 << 13; // CAP_NET_ADMIN, CAP_NET_RAW
    let (header, sets) = ([VERSION, 0], [network, network, 0, 0, 0, 0]);
    // SAFETY: the kernel reads two words of header and six of sets in this version.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    assert_eq!(result, 0, "capset: {}", std::io::Error::last_os_error());
}

/// Tells whether a descriptor is readable within the patience of these tests.
pub fn is_readable(fd: std::os::fd::BorrowedFd<'_>) -> bool {
    let mut asked = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let patience = i32::try_from(PATIENCE.as_millis()).unwrap();
    // SAFETY: one structure, as announced.
    let ready = unsafe { libc::poll(&raw mut asked, 1, patience) };
    ready == 1 && asked.revents & libc::POLLIN != 0
}
