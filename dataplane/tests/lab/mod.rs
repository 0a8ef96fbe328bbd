//! A host in memory: workers with linked devices, a policy written as people write it, and frames in and out.

#![allow(dead_code, reason = "each test file uses its own part of the laboratory")]
#![expect(clippy::unwrap_used, reason = "a laboratory that cannot be built is a failed test")]

use af_xdp::{Umem, UmemConfig};
use meshgate_dataplane::assembly::{Assembly, FlowSettings};
use meshgate_dataplane::binding::{DeviceRole, Role};
use meshgate_dataplane::classifier::Compiler;
use meshgate_dataplane::config::Config;
use meshgate_dataplane::counters::{Count, WorkerCounters};
use meshgate_dataplane::device::memory::{self, MemoryFar};
use meshgate_dataplane::packet::build::Frame;
use meshgate_dataplane::subscriber::Host;
use meshgate_dataplane::verdict::DropReason;
use meshgate_dataplane::worker::{self, Attached, DeviceTraits};
use meshgate_policy::{AuthoredPolicy, FlowRecord, Mac, Name, Numbering, Policy, PolicyVersion, resolve};
use std::path::Path;
use std::sync::Arc;

pub const SECOND: u64 = 1_000_000_000;
/// A time of day at which every test begins.
pub const START: u64 = 1_700_000_000 * SECOND;
/// Frames of packet memory of a laboratory.
pub const FRAMES: u32 = 1_024;

/// The host `h`: devices web0, web1 and db0, each with its endpoint, and the uplink up0.
pub struct Lab {
    pub assembly: Assembly,
    pub far: Vec<MemoryFar>,
    pub host: Host,
    compiler: Compiler,
    pub numbering: Numbering,
    pub version: u64,
    pub now: u64,
}

pub const WEB0: usize = 0;
pub const WEB1: usize = 1;
pub const DB0: usize = 2;
pub const UP0: usize = 3;

const ENDPOINTS: &str = r#"
[[endpoints]]
name = "web-0"
mac = "02:00:00:00:00:01"
addresses = ["10.0.0.1", "fd00::1"]
home = { host = "h", device = "web0" }

[[endpoints]]
name = "web-1"
mac = "02:00:00:00:00:02"
addresses = ["10.0.0.2", "fd00::2"]
home = { host = "h", device = "web1" }

[[endpoints]]
name = "db-0"
mac = "02:00:00:00:00:03"
addresses = ["10.0.0.3", "fd00::3"]
home = { host = "h", device = "db0" }

[[groups]]
name = "Web"
members = ["web-0", "web-1"]

[[groups]]
name = "Db"
members = ["db-0"]
"#;

/// Returns the MAC of an endpoint by its number, 1 to 3; others are strangers.
pub fn mac(number: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, number])
}

/// Returns a frame from one endpoint to another, by number, IPv4.
pub fn v4(from: u8, to: u8) -> Frame {
    let address = |n: u8| std::net::Ipv4Addr::new(10, 0, 0, n).into();
    Frame::between(mac(from), mac(to)).ip(address(from), address(to))
}

/// Returns a frame from one endpoint to another, by number, IPv6.
pub fn v6(from: u8, to: u8) -> Frame {
    let address = |n: u8| std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into()).into();
    Frame::between(mac(from), mac(to)).ip(address(from), address(to))
}

/// What differs from the plain laboratory.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Workers, among which the devices are dealt in turn.
    pub workers: usize,
    /// Whether a kernel is behind the uplink that leaves checksums to it.
    pub is_uplink_partial: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self { workers: 1, is_uplink_partial: false }
    }
}

impl Lab {
    /// Returns a host with the endpoints above and the rules of this text, and one worker.
    pub fn new(rules: &str) -> Self {
        Self::with(rules, |_| {})
    }

    /// Likewise, with changed settings.
    pub fn with(rules: &str, change: impl FnOnce(&mut FlowSettings)) -> Self {
        Self::build(rules, Setting::default(), change)
    }

    /// Likewise, with a kernel behind the uplink that leaves checksums to it.
    pub fn with_partial_uplink(rules: &str) -> Self {
        Self::build(rules, Setting { is_uplink_partial: true, ..Setting::default() }, |_| {})
    }

    /// Likewise, with several workers, among which the devices are dealt in turn.
    pub fn with_workers(workers: usize, rules: &str, change: impl FnOnce(&mut FlowSettings)) -> Self {
        Self::build(rules, Setting { workers, ..Setting::default() }, change)
    }

    /// Builds a host.
    pub fn build(rules: &str, setting: Setting, change: impl FnOnce(&mut FlowSettings)) -> Self {
        Self::assemble(rules, setting, &Self::devices(), change)
    }

    /// Returns a host with other devices, each with the longest frame that may come from it.
    pub fn on(rules: &str, devices: &[(DeviceRole, usize)]) -> Self {
        Self::assemble(rules, Setting::default(), devices, |_| {})
    }

    /// Returns the usual devices: untagged, in the segment `default`.
    pub fn devices() -> Vec<(DeviceRole, usize)> {
        let device = |name: &str| DeviceRole {
            name: name.to_owned(),
            role: if name == "up0" { Role::Uplink } else { Role::Endpoint },
            segment: Some(Name::default_name()),
            vlans: Vec::new(),
            ethertypes: Vec::new(),
        };
        ["web0", "web1", "db0", "up0"].map(|name| (device(name), 1_522)).into()
    }

    /// Builds a host with these devices.
    pub fn assemble(
        rules: &str,
        setting: Setting,
        devices: &[(DeviceRole, usize)],
        change: impl FnOnce(&mut FlowSettings),
    ) -> Self {
        let Setting { workers, is_uplink_partial } = setting;
        let host = Host {
            name: Name::new("h").unwrap(),
            devices: devices.iter().map(|(device, _)| device.clone()).collect(),
            workers,
        };
        let mut numbering = Numbering::default();
        let policy = authored(rules, &mut numbering, 1);
        let memory = UmemConfig {
            frames_total: FRAMES,
            workers: u32::try_from(workers).unwrap(),
            ..UmemConfig::default()
        };
        let (_umem, pools) = Umem::new(&memory).unwrap();
        let (attached, far): (Vec<_>, Vec<_>) = devices
            .iter()
            .zip(0..)
            .map(|((role, frame_bytes_max), number)| {
                let (device, far) = memory::pair();
                let device = Box::new(device);
                let may_be_partial = is_uplink_partial || role.role != Role::Uplink;
                let traits = DeviceTraits { may_be_partial, frame_bytes_max: *frame_bytes_max };
                let attached = Attached { device, number, traits };
                (attached, far)
            })
            .unzip();
        let text = "host = \"h\"\n[[device]]\nname = \"web0\"\nrole = \"endpoint\"\n";
        let mut settings = FlowSettings::of(&Config::parse(text, Path::new("lab")).unwrap());
        settings.flows_max = 1_024;
        change(&mut settings);
        let first = host.compile(&policy).unwrap();
        let mut queues: Vec<Vec<Attached>> = std::iter::repeat_with(Vec::new).take(workers).collect();
        attached.into_iter().enumerate().for_each(|(at, queue)| queues[at % workers].push(queue));
        let assembly = Assembly::with_queues(pools, queues, first, &settings, START).unwrap();
        Self { assembly, far, host, compiler: Compiler::default(), numbering, version: 1, now: START }
    }

    /// Brings other rules into force, as a subscriber would.
    pub fn publish(&mut self, rules: &str) {
        self.version += 1;
        let policy = authored(rules, &mut self.numbering, self.version);
        let next = self.host.compile_next(&mut self.compiler, &Arc::new(policy)).unwrap();
        let swap = self.assembly.publisher.store(next);
        self.turn();
        assert!(self.assembly.publisher.has_passed(&swap));
        self.assembly.publisher.finish(swap);
    }

    /// Lets every worker do turns at the laboratory's time, until frames that cross have crossed.
    pub fn turn(&mut self) {
        self.far.iter().for_each(|far| far.set_time_ns(self.now));
        // Received, judged, sent: a frame crosses twice at most.
        let turns = if self.assembly.workers.len() == 1 { 1 } else { 3 };
        for _ in 0..turns {
            self.assembly.workers.iter_mut().for_each(|worker| _ = worker.turn(self.now));
        }
    }

    /// Lets time pass, with turns on the way as an idle worker does them.
    pub fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds * 10 {
            self.now += SECOND / 10;
            self.turn();
        }
    }

    /// Puts a frame in at a device and returns at which devices it came out.
    pub fn send(&mut self, device: usize, frame: &Frame) -> Vec<usize> {
        self.send_bytes(device, &frame.clone().bytes())
    }

    /// Likewise, bytes.
    pub fn send_bytes(&mut self, device: usize, bytes: &[u8]) -> Vec<usize> {
        self.far[device].inject(bytes).unwrap();
        self.turn();
        self.turn();
        let out = |far: &MemoryFar| far.take_all_sent().len();
        (0..self.far.len()).flat_map(|at| std::iter::repeat_n(at, out(&self.far[at]))).collect()
    }

    /// Returns how many packets were dropped for a reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.assembly.counters.iter().map(|counters| counters.dropped(reason)).sum()
    }

    /// Returns a counter, summed over the workers.
    pub fn count(&self, of: impl Fn(&WorkerCounters) -> &Count) -> u64 {
        self.assembly.counters.iter().map(|counters| of(counters).get()).sum()
    }

    /// Ends the workers and returns how many frames of packet memory are missing.
    pub fn stop(&mut self) -> u64 {
        worker::stop(&mut self.assembly.workers);
        let elsewhere = [
            self.count(|counters| &counters.frames_at_devices),
            self.count(|counters| &counters.frames_held),
            self.count(|counters| &counters.frames_crossing),
        ];
        assert_eq!(elsewhere, [0; 3], "at devices, held, crossing");
        self.count(|counters| &counters.frames_total) - self.count(|counters| &counters.frames_free)
    }

    /// Takes the flow records made so far.
    pub fn records(&mut self) -> Vec<FlowRecord> {
        let queues = &self.assembly.queues;
        queues.iter().flat_map(|queue| std::iter::from_fn(|| queue.pop())).collect()
    }
}

/// Returns the policy of the laboratory with these rules.
pub fn authored(rules: &str, numbering: &mut Numbering, version: u64) -> Policy {
    let (head, rest) = rules.split_once("\n---\n").unwrap_or(("", rules));
    let mut authored: AuthoredPolicy = toml::from_str(&format!("{head}\n{ENDPOINTS}\n{rest}")).unwrap();
    numbering.assign(&mut authored).unwrap();
    resolve(&authored, numbering, PolicyVersion(version)).unwrap()
}

/// Returns a relationship as text.
pub fn relationship(source: &str, destination: &str, l4: &str, action: &str) -> String {
    format!(
        "[[relationships]]\nsource_group_name = \"{source}\"\ndestination_group_name = \"{destination}\"\n\
         {l4}\naction = \"{action}\"\n"
    )
}
