//! Every recorded capture through the whole worker: nothing panics, every frame ends with a name, all memory comes
//! home.

#![expect(clippy::unwrap_used, reason = "a host that cannot be built is a failed test")]

use af_xdp::{Umem, UmemConfig};
use meshgate_dataplane::assembly::{Assembly, FlowSettings};
use meshgate_dataplane::binding::{DeviceRole, Role};
use meshgate_dataplane::config::Config;
use meshgate_dataplane::device::pcap::{CaptureReader, PcapTopology};
use meshgate_dataplane::subscriber::Host;
use meshgate_dataplane::verdict::DropReason;
use meshgate_dataplane::worker::{self, Attached, DeviceTraits};
use meshgate_policy::{Action, Mac, Name, Policy, PolicyVersion};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What became of the frames of some captures.
#[derive(Default)]
struct Ends {
    captures: usize,
    frames: u64,
    allowed: u64,
    dropped: u64,
    flows: u64,
    by_reason: BTreeMap<&'static str, u64>,
}

fn captures() -> Option<Vec<PathBuf>> {
    let root = PathBuf::from(std::env::var_os("MESHGATE_DATA")?).join("pcap");
    let mut found = Vec::new();
    for folder in std::fs::read_dir(root).ok()?.flatten().filter(|entry| entry.path().is_dir()) {
        found.extend(std::fs::read_dir(folder.path()).ok()?.flatten().map(|entry| entry.path()));
    }
    found.sort();
    Some(found)
}

/// Returns every second sender of a capture, in the order of their MACs.
fn every_second_sender(capture: &Path) -> Vec<Mac> {
    let Ok(mut reader) = CaptureReader::open(capture) else { return Vec::new() };
    let (mut senders, mut bytes) = (BTreeSet::new(), Vec::new());
    while reader.next_frame(&mut bytes).is_some() {
        let source = bytes.get(6..12).and_then(|mac| <[u8; 6]>::try_from(mac).ok()).map(Mac);
        senders.extend(source.filter(|mac| !mac.is_group()));
    }
    senders.into_iter().skip(1).step_by(2).collect()
}

/// Judges a capture at a host with two uplinks that lets everything pass: what comes in by one leaves by the other.
fn judge(capture: &Path, ends: &mut Ends) {
    let Ok(reader) = CaptureReader::open(capture) else { return };
    let mut topology = PcapTopology::new();
    topology.uplink("in").unwrap();
    topology.endpoint_device("out", &every_second_sender(capture)).unwrap();
    let (devices, _handle) = topology.open(reader);
    let names = ["in", "out"];
    let roles = names.map(|name| DeviceRole {
        name: name.into(),
        role: Role::Uplink,
        segment: Some(Name::default_name()),
        vlans: Vec::new(),
        ethertypes: Vec::new(),
    });
    let host = Host { name: Name::new("h").unwrap(), devices: roles.into(), workers: 1 };
    let policy = Policy { version: PolicyVersion(1), ..Policy::empty(Action::Allow) };
    let text = "host = \"h\"\nflows_max = 1024\n[[device]]\nname = \"in\"\nrole = \"uplink\"\n";
    let settings = FlowSettings::of(&Config::parse(text, Path::new("captures")).unwrap());
    let memory = UmemConfig { frames_total: 1_024, frame_bytes: 4_096, ..UmemConfig::default() };
    let (_umem, pools) = Umem::new(&memory).unwrap();
    let queues = devices.into_iter().zip(0..).map(|(device, number)| Attached {
        device: Box::new(device),
        number,
        traits: DeviceTraits { may_be_partial: false, frame_bytes_max: usize::MAX },
    });
    let first = host.compile(&policy).unwrap();
    let mut assembly = Assembly::with_queues(pools, vec![queues.collect()], first, &settings, 0).unwrap();
    assembly.workers[0].turn(0);
    while !assembly.workers[0].is_finished() {
        assembly.workers[0].turn(0);
    }
    (0..8).for_each(|_| _ = assembly.workers[0].turn(0));
    worker::stop(&mut assembly.workers);
    let counters = &assembly.counters[0];
    assert_eq!(counters.frames_free.get(), counters.frames_total.get(), "{}", capture.display());
    let frames: u64 = counters.devices.iter().map(|device| device.received_packets.get()).sum();
    let dropped: u64 = DropReason::ALL.iter().map(|reason| counters.dropped(*reason)).sum();
    assert_eq!(frames, counters.allowed.get() + dropped, "{}", capture.display());
    for reason in DropReason::ALL {
        *ends.by_reason.entry(reason.name()).or_default() += counters.dropped(*reason);
    }
    ends.captures += 1;
    ends.frames += frames;
    ends.allowed += counters.allowed.get();
    ends.dropped += dropped;
    ends.flows += counters.flows_created.get();
}

#[test]
fn every_frame_of_every_capture_ends_with_a_name() {
    let Some(captures) = captures() else {
        println!("skipped: no data");
        return;
    };
    let mut ends = Ends::default();
    captures.iter().for_each(|capture| judge(capture, &mut ends));
    println!(
        "{} captures, {} frames: {} allowed, {} dropped, {} flows",
        ends.captures, ends.frames, ends.allowed, ends.dropped, ends.flows
    );
    for (reason, frames) in ends.by_reason.iter().filter(|(_, frames)| **frames > 0) {
        println!("{frames:>8} {reason}");
    }
    assert!(ends.frames > 10_000 && ends.flows > 500, "the captures hold real traffic");
}
