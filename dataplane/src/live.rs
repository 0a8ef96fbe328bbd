//! The dataplane on devices of the kernel.

use crate::assembly::{Assembly, FlowSettings};
use crate::binding::Role;
use crate::config::{Config, DeviceConfig};
use crate::device::Device;
use crate::device::af_xdp::{AfXdpDevice, XdpConfig};
use crate::start::{Start, StartError};
use crate::threads::{RunKind, ThreadError, Threads};
use crate::topology_commands::{self, UnsafeHost};
use crate::worker::Attached;
use af_xdp::{Umem, UmemConfig};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of an Ethernet header with one tag: what a frame has beside its MTU.
const LINK_BYTES: usize = 18;

/// Why a live run cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The first policy.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A device, or packet memory.
    #[error(transparent)]
    Device(#[from] af_xdp::Error),
    /// The host would not be safe.
    #[error(transparent)]
    Unsafe(#[from] UnsafeHost),
    /// Threads.
    #[error(transparent)]
    Threads(#[from] ThreadError),
    /// There is too little packet memory for the devices.
    #[error("frames: {0} are too few for {1} queues; {2} are needed")]
    Frames(u32, usize, usize),
}

/// Takes the devices and judges until told to stop.
pub fn run(config: &Config) -> Result<(), LiveError> {
    topology_commands::check(config)?;
    let mut start = Start::of(config)?;
    let memory =
        UmemConfig { frames_total: config.frames, frame_bytes: config.frame_bytes, ..UmemConfig::default() };
    let (umem, mut pools) = Umem::new(&memory)?;
    let (queues, modes) = open(config, &umem)?;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ns = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
    let first = start.take_published()?;
    let assembly = Assembly::new(pools.remove(0), queues, first, &FlowSettings::of(config), now_ns);
    Threads::start(config, start, assembly, modes, RunKind::Live)?.serve()?;
    Ok(())
}

/// Opens every queue of every device.
fn open(config: &Config, umem: &Umem) -> Result<(Vec<Attached>, Vec<String>), LiveError> {
    let mut counted = 0;
    for device in &config.devices {
        counted += af_xdp::Device::named(&device.name)?.rx_queues as usize;
    }
    let needed = XdpConfig::slice_frames_min(counted);
    if (config.frames as usize) < needed {
        return Err(LiveError::Frames(config.frames, counted, needed));
    }
    let xdp = XdpConfig::for_slice(config.frames as usize, counted);
    let (mut queues, mut modes) = (Vec::new(), Vec::new());
    for (number, device) in (0u16..).zip(&config.devices) {
        let opened = AfXdpDevice::open_all(&device.name, umem, &xdp)?;
        let mode = opened.first().map_or_else(|| "no queue".to_owned(), AfXdpDevice::mode);
        tracing::info!(device = %device.name, role = crate::config::role_word(device.role), %mode,
            queues = opened.len(), "device taken");
        modes.push(mode);
        queues.extend(opened.into_iter().map(|queue| attach(device, number, queue)));
    }
    Ok((queues, modes))
}

fn attach(device: &DeviceConfig, number: u16, queue: AfXdpDevice) -> Attached {
    let mtu_bytes = usize::try_from(queue.device().properties().mtu_bytes).unwrap_or(usize::MAX);
    let role: Role = device.role;
    Attached { number, role, frame_bytes_max: mtu_bytes.saturating_add(LINK_BYTES), device: Box::new(queue) }
}
