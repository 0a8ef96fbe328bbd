//! A host that meets mutated frames, step by step, with the oracle beside it.

use super::mutate::is_part;
use super::oracle::{Left, Oracle};
use super::scenes::Shot;
use super::tape::{TapeDevice, Tapes};
use crate::lab::{START, authored, relationship};
use crate::watched::calls_of;
use af_xdp::{Umem, UmemConfig};
use meshgate_dataplane::assembly::{Assembly, FlowSettings};
use meshgate_dataplane::binding::{Bindings, DeviceRole, Role};
use meshgate_dataplane::classifier::Classifier;
use meshgate_dataplane::config::Config;
use meshgate_dataplane::counters::{Count, WorkerCounters};
use meshgate_dataplane::published::Published;
use meshgate_dataplane::verdict::DropReason;
use meshgate_dataplane::worker::{self, Attached, DeviceTraits};
use meshgate_policy::{Name, Numbering, Policy};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

const DEVICES: [&str; 4] = ["web0", "web1", "db0", "up0"];
const FRAMES: u32 = 6_144;
/// Of an MTU of 1,500: with the Ethernet header and two tags.
const FRAME_BYTES_MAX: usize = 1_522;
/// Small enough for mutated frames to fill the table.
const FLOWS_MAX: u32 = 512;
/// Steps until every list has the size that it keeps.
const WARM_UP_STEPS: usize = 24;
/// Share of packet memory that may be with parts that wait for the first one of their datagram: one in this many.
const WAITING_SHARE: u64 = 16;
/// Longer than parts wait, and turns in which all of them end.
const WAITING_MS: u64 = 120_000;
const LAST_TURNS: usize = 64;
/// How long connections may be taken up on the word of the side that answers (`pickup_window_s`, by default).
const PICKUP_WINDOW_NS: u64 = 120_000_000_000;

/// Something that happens to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Frames come in, all before anybody looks.
    Frames(Vec<Shot>),
    /// Nothing happens for so many milliseconds.
    Wait(u64),
    /// The other policy comes into force.
    Publish,
}

/// What the host is before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    pub workers: usize,
    /// Whether the first policy is the one that allows much.
    pub is_generous: bool,
}

/// What became of the frames.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub frames: u64,
    pub allowed: u64,
    pub asked: u64,
    pub answers: u64,
    pub flows: u64,
    pub by_reason: BTreeMap<&'static str, u64>,
}

pub struct MutationHost {
    assembly: Assembly,
    tapes: Vec<Arc<Mutex<Tapes>>>,
    oracle: Oracle,
    /// Fragments that came in, by device.
    parts: Vec<HashSet<Vec<u8>>>,
    roles: Vec<DeviceRole>,
    numbering: Numbering,
    is_generous: bool,
    version: u64,
    now: u64,
    steps: usize,
    frames: u64,
}

fn generous_rules() -> String {
    let rules = [
        relationship("Web", "Db", "protocol = \"TCP\"\nport_range = \"23\"", "deny"),
        relationship("Db", "Web", "protocol = \"TCP\"\nport_range = \"0-1023\"", "reject"),
        relationship("external", "Db", "protocol = \"UDP\"", "deny"),
        relationship("any", "any", "protocol = \"ICMP\"\nicmp_type = 13", "reject"),
        relationship("Web", "Web", "protocol = \"UDP\"\nport_range = \"137\"", "deny"),
        relationship("any", "any", "protocol = \"47\"", "deny"),
    ];
    format!("default_action = \"allow\"\n---\n{}", rules.concat())
}

fn strict_rules() -> String {
    [
        relationship("Web", "Db", "protocol = \"TCP\"\nport_range = \"22,80,443,5432\"", "allow"),
        relationship("Web", "Db", "protocol = \"UDP\"\nport_range = \"53\"", "allow"),
        relationship("Web", "Db", "protocol = \"ICMP\"\nicmp_type = 8", "allow"),
        relationship("Web", "Db", "protocol = \"ICMPv6\"\nicmp_type = 128", "allow"),
        relationship("Web", "Db", "protocol = \"SCTP\"\nport_range = \"36412\"", "allow"),
        relationship("Web", "Db", "protocol = \"TCP\"\nport_range = \"25\"", "reject"),
        relationship("Web", "external", "protocol = \"TCP\"\nport_range = \"1-1023\"", "allow"),
        relationship("external", "Web", "protocol = \"TCP\"\nport_range = \"80\"", "allow"),
        relationship("external", "Db", "", "reject"),
        relationship("Web", "multicast", "protocol = \"UDP\"\nport_range = \"5353\"", "allow"),
        relationship("Web", "Web", "protocol = \"TCP\"\nport_range = \"22\"\nmode = \"shadow\"", "deny"),
        relationship("Db", "external", "protocol = \"47\"", "allow"),
    ]
    .concat()
}

impl MutationHost {
    pub fn new(setting: Setting) -> Self {
        let Setting { workers, is_generous } = setting;
        let role = |name: &str| DeviceRole {
            name: name.to_owned(),
            role: if name == "up0" { Role::Uplink } else { Role::Endpoint },
            segment: Some(Name::default_name()),
            vlans: Vec::new(),
            ethertypes: Vec::new(),
        };
        let roles = DEVICES.map(role).to_vec();
        let mut numbering = Numbering::default();
        let policy = policy_of(is_generous, &mut numbering, 1);
        let workers_u32 = u32::try_from(workers).unwrap();
        let memory = UmemConfig { frames_total: FRAMES, workers: workers_u32, ..UmemConfig::default() };
        let (_umem, pools) = Umem::new(&memory).unwrap();
        let (devices, tapes): (Vec<_>, Vec<_>) = DEVICES.iter().map(|_| TapeDevice::new()).unzip();
        let mut queues: Vec<Vec<Attached>> = std::iter::repeat_with(Vec::new).take(workers).collect();
        for (device, number) in devices.into_iter().zip(0_u16..) {
            let may_be_partial = roles[usize::from(number)].role != Role::Uplink;
            let device = Box::new(device);
            let traits = DeviceTraits { may_be_partial, frame_bytes_max: FRAME_BYTES_MAX };
            let attached = Attached { device, number, traits };
            queues[usize::from(number) % workers].push(attached);
        }
        let text = "host = \"h\"\n[[device]]\nname = \"web0\"\nrole = \"endpoint\"\n";
        let mut settings = FlowSettings::of(&Config::parse(text, Path::new("mutations")).unwrap());
        settings.flows_max = FLOWS_MAX;
        let first = compiled(&policy, &roles, workers);
        let assembly = Assembly::with_queues(pools, queues, first, &settings, START).unwrap();
        let oracle = Oracle::new(policy, true);
        Self {
            assembly,
            tapes,
            oracle,
            parts: vec![HashSet::new(); DEVICES.len()],
            roles,
            numbering,
            is_generous,
            version: 1,
            now: START,
            steps: 0,
            frames: 0,
        }
    }

    /// Lets something happen, and says what should not have come of it.
    pub fn step(&mut self, step: &Step) -> Result<(), String> {
        self.steps += 1;
        match step {
            Step::Frames(shots) => self.meet(shots),
            Step::Wait(milliseconds) => {
                self.now += milliseconds * 1_000_000;
                self.oracle.is_pickup_open = self.now < START + PICKUP_WINDOW_NS;
                (0..8).for_each(|_| _ = self.turn());
                self.hear(&[])
            }
            Step::Publish => {
                self.publish();
                Ok(())
            }
        }
    }

    /// Lets the oracle believe in the other policy, so that it must complain.
    pub fn mislead(&mut self) {
        self.oracle.policy = policy_of(!self.is_generous, &mut self.numbering, 1);
    }

    fn turn(&mut self) -> u64 {
        let now = self.now;
        let workers = &mut self.assembly.workers;
        let calls = calls_of(|| workers.iter_mut().for_each(|worker| _ = worker.turn(now)));
        let queues = &self.assembly.queues;
        queues.iter().for_each(|queue| while queue.pop().is_some() {});
        while self.assembly.leases.pop().is_some() {}
        calls
    }

    fn publish(&mut self) {
        self.version += 1;
        self.is_generous = !self.is_generous;
        let policy = policy_of(self.is_generous, &mut self.numbering, self.version);
        let published = compiled(&policy, &self.roles, self.assembly.workers.len());
        let swap = self.assembly.publisher.store(published);
        self.turn();
        assert!(self.assembly.publisher.has_passed(&swap));
        self.assembly.publisher.finish(swap);
        self.oracle.policy = policy;
    }

    fn meet(&mut self, shots: &[Shot]) -> Result<(), String> {
        for shot in shots.iter().filter(|shot| !shot.bytes.is_empty()) {
            self.tapes[shot.device].lock().unwrap().inbound.push(&shot.bytes);
            self.frames += 1;
        }
        // Received, judged, sent: a frame crosses twice at most.
        let turns = if self.assembly.workers.len() == 1 { 2 } else { 4 };
        let calls: u64 = (0..turns).map(|_| self.turn()).sum();
        if calls > 0 && self.steps > WARM_UP_STEPS {
            return Err(format!("the workers called the allocator {calls} times"));
        }
        self.hear(shots)?;
        self.balance().map(|_| ())
    }

    /// Takes what left and asks the oracle.
    fn hear(&mut self, shots: &[Shot]) -> Result<(), String> {
        let mut injected = vec![HashSet::new(); DEVICES.len()];
        for shot in shots {
            injected[shot.device].insert(shot.bytes.clone());
            injected[shot.device].extend(without_priority_tag(&shot.bytes));
        }
        let mut left = Vec::new();
        for (device, tapes) in self.tapes.iter().enumerate() {
            let mut tapes = tapes.lock().unwrap();
            if tapes.taken != tapes.inbound.len() {
                return Err(format!("device {device} was not emptied"));
            }
            let frames = tapes.outbound.frames();
            left.extend(frames.map(|(bytes, is_partial)| Left { device, bytes: bytes.to_vec(), is_partial }));
            tapes.inbound.clear();
            tapes.outbound.clear();
            tapes.taken = 0;
        }
        let heard = self.oracle.hear(&injected, &self.parts, &left);
        for (device, frames) in injected.into_iter().enumerate() {
            self.parts[device].extend(frames.into_iter().filter(|frame| is_part(frame)));
        }
        heard
    }

    fn count(&self, of: impl Fn(&WorkerCounters) -> &Count) -> u64 {
        self.assembly.counters.iter().map(|counters| of(counters).get()).sum()
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.assembly.counters.iter().map(|counters| counters.dropped(reason)).sum()
    }

    /// Every frame ended with a name or waits for the first part of its datagram, and the tables keep their bounds.
    /// Returns how many wait.
    fn balance(&self) -> Result<u64, String> {
        let allowed = self.count(|counters| &counters.allowed);
        let dropped: u64 = DropReason::ALL.iter().map(|reason| self.dropped(*reason)).sum();
        let devices = self.assembly.counters.iter().flat_map(|counters| &counters.devices);
        let received: u64 = devices.map(|device| device.received_packets.get()).sum();
        let frames = self.frames;
        // A frame may be allowed and then be too long for the device that it goes to.
        let lost = self.dropped(DropReason::OversizeFrame);
        let ended = (allowed + dropped).saturating_sub(lost)..=(allowed + dropped);
        let waiting = received.saturating_sub(*ended.end());
        let is_all = ended.contains(&(received - waiting)) && waiting <= u64::from(FRAMES) / WAITING_SHARE;
        let waiting = is_all.then_some(waiting);
        let Some(waiting) = waiting.filter(|_| received == frames) else {
            return Err(format!("{frames} came, {received} received, {allowed} allowed, {dropped} dropped"));
        };
        for counters in &self.assembly.counters {
            let (live, refused) = (counters.flows_live.get(), counters.flows_refused.get());
            if live > u64::from(FLOWS_MAX) || refused > u64::from(FLOWS_MAX) {
                return Err(format!("{live} flows, {refused} refused: more than the table has"));
            }
        }
        Ok(waiting)
    }

    /// Ends the workers: every frame must have ended with a name, and all memory must come home.
    pub fn stop(mut self) -> Result<Tally, String> {
        self.now += WAITING_MS * 1_000_000;
        (0..LAST_TURNS).for_each(|_| _ = self.turn());
        self.hear(&[])?;
        match self.balance()? {
            0 => {}
            waiting => return Err(format!("{waiting} frames wait for ever")),
        }
        worker::stop(&mut self.assembly.workers);
        let (free, total) = (self.count(|c| &c.frames_free), self.count(|c| &c.frames_total));
        if free != total {
            return Err(format!("{} frames of packet memory are missing", total - free));
        }
        if self.count(|counters| &counters.flows_live) > 0 {
            return Err("flows outlived their worker".to_owned());
        }
        let by_reason = DropReason::ALL.iter().map(|reason| (reason.name(), self.dropped(*reason)));
        Ok(Tally {
            frames: self.frames,
            allowed: self.count(|counters| &counters.allowed),
            asked: self.oracle.asked,
            answers: self.oracle.answers,
            flows: self.count(|counters| &counters.flows_created),
            by_reason: by_reason.filter(|(_, frames)| *frames > 0).collect(),
        })
    }
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.frames += other.frames;
        self.allowed += other.allowed;
        self.asked += other.asked;
        self.answers += other.answers;
        self.flows += other.flows;
        other
            .by_reason
            .iter()
            .for_each(|(reason, frames)| *self.by_reason.entry(reason).or_default() += frames);
    }
}

fn policy_of(is_generous: bool, numbering: &mut Numbering, version: u64) -> Policy {
    let rules = if is_generous { generous_rules() } else { strict_rules() };
    authored(&rules, numbering, version)
}

/// Returns the frame without a tag that names no segment; it may leave so.
fn without_priority_tag(frame: &[u8]) -> Option<Vec<u8>> {
    let is_tag = matches!(frame.get(12..14), Some([0x81, 0] | [0x88, 0xa8]));
    let is_priority = matches!(frame.get(14..16), Some([high, 0]) if high & 0x0f == 0);
    (is_tag && is_priority).then(|| [&frame[..12], &frame[16..]].concat())
}

/// Compiles without the proof: the classifier's own tests prove, and here policies change often.
fn compiled(policy: &Policy, roles: &[DeviceRole], workers: usize) -> Published {
    let classifier = Classifier::compile(policy).unwrap();
    let bindings = Bindings::build(policy, &Name::new("h").unwrap(), roles);
    Published::new(policy, classifier, bindings, workers)
}
