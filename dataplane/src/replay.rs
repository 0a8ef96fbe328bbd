//! The dataplane on a capture: the same worker, judging what was recorded, without privileges.
//!
//! Each frame enters by the device whose endpoint has its source MAC, as the newest policy at control says, or else by
//! the uplink. What would have been sent can be written to a file.

use crate::assembly::{Assembly, AssemblyError, FlowSettings};
use crate::binding::Role;
use crate::config::{Config, role_word};
use crate::counters::WorkerCounters;
use crate::device::Device;
use crate::device::offload::Source;
use crate::device::pcap::{CaptureError, CaptureReader, PcapTopology, PcapWriter, ReplayError, WriteError};
use crate::packet::{Content, Packet, ParseContext};
use crate::reporter::{DeviceFacts, SharedFacts};
use crate::start::{Start, StartError};
use crate::stop_signals::StopSignals;
use crate::threads::{RunKind, ThreadError, Threads};
use crate::verdict::DropReason;
use crate::worker::{Attached, DeviceTraits};
use af_xdp::{Umem, UmemConfig};
use meshgate_policy::{AuthoredEndpoint, AuthoredGroup, AuthoredPolicy, Home, Mac, Name};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// Endpoints that an inventory lists; the rest of a capture is left to the uplink.
const INVENTORY_ENDPOINTS_MAX: usize = 64;
/// Addresses listed of one endpoint: one with more is a router, and its senders are behind the uplink.
const INVENTORY_ADDRESSES_MAX: usize = 8;

/// Why a capture cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum CaptureRunError {
    /// The capture.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The file of what would have been sent.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The devices.
    #[error(transparent)]
    Devices(#[from] ReplayError),
    /// The first policy.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Packet memory.
    #[error(transparent)]
    Memory(#[from] af_xdp::Error),
    /// The worker.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// Threads.
    #[error(transparent)]
    Threads(#[from] ThreadError),
    /// Signals cannot be caught.
    #[error("cannot catch signals: {0}")]
    Signals(std::io::Error),
    /// The summary cannot be printed.
    #[error("cannot write: {0}")]
    Output(#[from] std::io::Error),
    /// The inventory cannot be written as TOML.
    #[error("cannot write the inventory: {0}")]
    Inventory(#[from] toml::ser::Error),
}

/// Judges every frame of the capture by the newest policy and prints what became of them.
pub fn run(config: &Config, capture: &Path, output: Option<&Path>) -> Result<(), CaptureRunError> {
    let signals = StopSignals::catch().map_err(CaptureRunError::Signals)?;
    let reader = CaptureReader::open(capture)?;
    let mut start = Start::of(config, 1)?;
    let mut topology = PcapTopology::new();
    for device in &config.devices {
        match device.role {
            Role::Uplink => topology.uplink(&device.name)?,
            Role::Endpoint | Role::Host => topology.endpoint_device(&device.name, &device.macs)?,
        }
    }
    if let Some(path) = output {
        let writer = PcapWriter::create(path)?;
        for device in &config.devices {
            topology.write_sent(&device.name, writer.clone())?;
        }
    }
    let memory =
        UmemConfig { frames_total: config.frames, frame_bytes: config.frame_bytes, ..UmemConfig::default() };
    let (_umem, pools) = Umem::new(&memory)?;
    let (devices, handle) = topology.open(reader);
    let facts = config.devices.iter().zip(&devices).map(|(configured, device)| {
        Some(DeviceFacts {
            name: configured.name.clone(),
            role: role_word(configured.role).to_owned(),
            mode: device.mode(),
            source: Source::of_kind(""),
            frame_bytes_max: usize::MAX,
            is_open: true,
        })
    });
    let facts = SharedFacts::new(facts.collect());
    let attached =
        (0u16..).zip(devices).zip(&config.devices).map(|((number, device), configured)| Attached {
            device: Box::new(device),
            number,
            traits: DeviceTraits { may_be_partial: configured.may_be_partial(), frame_bytes_max: usize::MAX },
        });
    let first = start.take_published()?;
    let queues = vec![attached.collect()];
    let assembly = Assembly::with_queues(pools, queues, first, &FlowSettings::of(config), 0)?;
    let counters = Arc::clone(&assembly.counters[0]);
    Threads::start(config, start, assembly, facts, RunKind::Replay)?.serve(signals, None);
    summarise(&counters, handle.counts().skipped_frames, &mut std::io::stdout().lock())?;
    Ok(())
}

/// Prints what became of the frames.
fn summarise(counters: &WorkerCounters, skipped: u64, to: &mut impl Write) -> std::io::Result<()> {
    let received: u64 = counters.devices.iter().map(|device| device.received_packets.get()).sum();
    writeln!(to, "{received} frames judged, {skipped} from senders without a device")?;
    writeln!(to, "{:>10} allowed", counters.allowed.get())?;
    for reason in DropReason::ALL {
        let dropped = counters.dropped(*reason);
        if dropped > 0 {
            writeln!(to, "{dropped:>10} dropped: {reason} (stage {})", reason.stage())?;
        }
    }
    writeln!(to, "{:>10} flows", counters.flows_created.get())
}

/// Prints a policy file with the senders of a capture as endpoints, each behind a device of its own on host `replay`,
/// in one group `Captured` whose members may not talk unless a rule says so.
pub fn inventory(capture: &Path, to: &mut impl Write) -> Result<(), CaptureRunError> {
    let mut reader = CaptureReader::open(capture)?;
    let mut senders: BTreeMap<Mac, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut bytes = Vec::new();
    while reader.next_frame(&mut bytes).is_some() {
        if let Ok(packet) = Packet::parse(&bytes, bytes.len(), ParseContext { may_be_partial: true })
            && !packet.source_mac.is_group()
        {
            note(&mut senders, &packet);
        }
    }
    senders.retain(|_, addresses| !addresses.is_empty() && addresses.len() <= INVENTORY_ADDRESSES_MAX);
    write!(to, "{}", toml::to_string(&policy_of(&senders))?)?;
    Ok(())
}

fn note(senders: &mut BTreeMap<Mac, BTreeSet<IpAddr>>, packet: &Packet) {
    if senders.len() == INVENTORY_ENDPOINTS_MAX && !senders.contains_key(&packet.source_mac) {
        return;
    }
    let addresses = senders.entry(packet.source_mac).or_default();
    let address = match &packet.content {
        Content::Ip(ip) => ip.source,
        Content::Arp(arp) if arp.sender_mac == packet.source_mac => arp.sender_address.into(),
        _ => return,
    };
    let is_own =
        !address.is_unspecified() && !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if is_own && addresses.len() <= INVENTORY_ADDRESSES_MAX {
        addresses.insert(address);
    }
}

fn policy_of(senders: &BTreeMap<Mac, BTreeSet<IpAddr>>) -> AuthoredPolicy {
    let name = |text: String| Name::new(&text).expect("letters, digits and a dash");
    let mut claimed = BTreeSet::new();
    let endpoints: Vec<AuthoredEndpoint> = senders
        .iter()
        .enumerate()
        .map(|(at, (mac, addresses))| AuthoredEndpoint {
            name: name(format!("host-{at}")),
            tenant: Name::default_name(),
            segment: Name::default_name(),
            mac: *mac,
            // An address that two senders used belongs to the first.
            addresses: addresses.iter().copied().filter(|address| claimed.insert(*address)).collect(),
            labels: BTreeMap::new(),
            home: Some(Home { host: name("replay".into()), device: format!("cap{at}") }),
            flags: meshgate_policy::EndpointFlags::default(),
            routes: Vec::new(),
            leased: Vec::new(),
        })
        .collect();
    let group = AuthoredGroup {
        name: name("Captured".into()),
        tenant: Name::default_name(),
        segment: Name::default_name(),
        members: endpoints.iter().map(|endpoint| endpoint.name.clone()).collect(),
        selector: BTreeMap::new(),
        prefixes: Vec::new(),
        intra_group: meshgate_policy::IntraGroup::Deny,
    };
    AuthoredPolicy { endpoints, groups: vec![group], ..AuthoredPolicy::default() }
}
