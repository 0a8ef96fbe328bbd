//! The worker between two uplinks, on memory devices: what comes in at one may leave by the other.

#![expect(clippy::unwrap_used, reason = "a host that cannot be built is a failed test")]

use af_xdp::{Umem, UmemConfig};
use meshgate_dataplane::assembly::{Assembly, FlowSettings};
use meshgate_dataplane::binding::{DeviceRole, Role};
use meshgate_dataplane::config::Config;
use meshgate_dataplane::device::memory::{self, MemoryFar};
use meshgate_dataplane::subscriber::Host;
use meshgate_dataplane::verdict::DropReason;
use meshgate_dataplane::worker::{Attached, DeviceTraits};
use meshgate_policy::{Name, Policy};
use std::path::Path;

/// Time between two packets.
const PACKET_NS: u64 = 100_000;
/// A time of day at which every test begins.
const START_NS: u64 = 1_700_000_000_000_000_000;
/// Flows of a host: as many as one policy is given packets, several times over.
const FLOWS_MAX: u32 = 16_384;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It left by the other uplink.
    Passed,
    /// It was dropped.
    Dropped(DropReason),
}

/// The host, with uplinks 0 and 1.
pub struct Transit {
    assembly: Assembly,
    far: Vec<MemoryFar>,
    now_ns: u64,
}

impl Transit {
    /// Returns a host that enforces the policy in its first segment. Connections are not taken up in the middle.
    pub fn new(policy: &Policy) -> Self {
        let device_role = |name: &str| DeviceRole {
            name: name.to_owned(),
            role: Role::Uplink,
            segment: Some(policy.segments[0].name.clone()),
            vlans: Vec::new(),
            ethertypes: Vec::new(),
        };
        let host = Host {
            name: Name::new("h").unwrap(),
            devices: ["up0", "up1"].map(device_role).into(),
            workers: 1,
        };
        let memory = UmemConfig { frames_total: 1_024, workers: 1, ..UmemConfig::default() };
        let (_umem, pools) = Umem::new(&memory).unwrap();
        let (attached, far): (Vec<_>, Vec<_>) = (0..2)
            .map(|number| {
                let (device, far) = memory::pair();
                let device = Box::new(device);
                let traits = DeviceTraits { may_be_partial: false, frame_bytes_max: 1_518 };
                (Attached { device, number, traits }, far)
            })
            .unzip();
        let text = "host = \"h\"\npickup = false\n[[device]]\nname = \"up0\"\nrole = \"uplink\"\n";
        let mut settings = FlowSettings::of(&Config::parse(text, Path::new("transit")).unwrap());
        settings.flows_max = FLOWS_MAX;
        let first = host.compile(policy).unwrap();
        let assembly = Assembly::with_queues(pools, vec![attached], first, &settings, START_NS).unwrap();
        Self { assembly, far, now_ns: START_NS }
    }

    /// Puts a frame in at an uplink and returns what became of it. Answers of rules that reject are left aside.
    pub fn send(&mut self, uplink: usize, frame: &[u8]) -> End {
        let before = self.dropped();
        self.far[uplink].inject(frame).unwrap();
        for _ in 0..2 {
            self.now_ns += PACKET_NS;
            self.far.iter().for_each(|far| far.set_time_ns(self.now_ns));
            self.assembly.workers.iter_mut().for_each(|worker| _ = worker.turn(self.now_ns));
        }
        let is_out = |sent: &[u8]| sent == frame;
        let has_passed = self.far[1 - uplink].take_all_sent().iter().any(|sent| is_out(sent));
        self.far[uplink].take_all_sent();
        let dropped = self.dropped();
        let reason = (0..).zip(&before).find(|(at, count)| dropped[*at] != **count).map(|(at, _)| at);
        match (has_passed, reason) {
            (true, None) => End::Passed,
            (false, Some(at)) => End::Dropped(DropReason::ALL[at]),
            (has_passed, reason) => panic!("passed: {has_passed}, dropped: {reason:?}"),
        }
    }

    fn dropped(&self) -> Vec<u64> {
        let counters = &self.assembly.counters[0];
        DropReason::ALL.iter().map(|reason| counters.dropped(*reason)).collect()
    }
}
