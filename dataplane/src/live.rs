//! The dataplane on devices of the kernel.

use crate::assembly::{Assembly, FlowSettings};
use crate::config::{Config, role_word};
use crate::device::Device;
use crate::device::af_xdp::{AfXdpDevice, XdpConfig};
use crate::device::offload::{Source, frame_bytes_max};
use crate::device::topology::HostDevice;
use crate::reporter::DeviceFacts;
use crate::start::{Start, StartError};
use crate::stop_signals::StopSignals;
use crate::threads::{RunKind, ThreadError, Threads};
use crate::topology_commands::{self, UnsafeHost};
use crate::worker::Attached;
use af_xdp::{Umem, UmemConfig};
use std::time::{SystemTime, UNIX_EPOCH};

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
    /// Signals cannot be caught.
    #[error("cannot catch signals: {0}")]
    Signals(std::io::Error),
    /// There is too little packet memory for the devices.
    #[error("frames: {0} are too few for {1} queues; {2} are needed")]
    Frames(u32, usize, usize),
}

/// Takes the devices and judges until told to stop.
pub fn run(config: &Config) -> Result<(), LiveError> {
    // Before anything that would have to be given back.
    let signals = StopSignals::catch().map_err(LiveError::Signals)?;
    let host_devices = topology_commands::check(config)?;
    let mut start = Start::of(config)?;
    let memory =
        UmemConfig { frames_total: config.frames, frame_bytes: config.frame_bytes, ..UmemConfig::default() };
    let (umem, mut pools) = Umem::new(&memory)?;
    let (queues, devices) = open(config, &host_devices, &umem)?;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ns = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
    let first = start.take_published()?;
    let assembly = Assembly::new(pools.remove(0), queues, first, &FlowSettings::of(config), now_ns);
    Threads::start(config, start, assembly, devices, RunKind::Live)?.serve(signals);
    Ok(())
}

/// Opens every queue of every device.
fn open(
    config: &Config,
    host_devices: &[HostDevice],
    umem: &Umem,
) -> Result<(Vec<Attached>, Vec<DeviceFacts>), LiveError> {
    let mut counted = 0;
    for device in &config.devices {
        counted += af_xdp::Device::named(&device.name)?.rx_queues as usize;
    }
    let needed = XdpConfig::slice_frames_min(counted);
    if (config.frames as usize) < needed {
        return Err(LiveError::Frames(config.frames, counted, needed));
    }
    let xdp = XdpConfig::for_slice(config.frames as usize, counted);
    let (mut queues, mut facts) = (Vec::new(), Vec::new());
    for ((number, device), found) in (0u16..).zip(&config.devices).zip(host_devices) {
        let opened = AfXdpDevice::open_all(&device.name, umem, &xdp)?;
        let mode = opened.first().map_or_else(|| "no queue".to_owned(), AfXdpDevice::mode);
        let role = role_word(device.role);
        tracing::info!(device = %device.name, role, %mode, queues = opened.len(), "device taken");
        let frame_bytes_max = frame_bytes_max(found.mtu_bytes);
        facts.push(DeviceFacts {
            name: device.name.clone(),
            role: role.to_owned(),
            mode,
            source: Source::of_kind(&found.kind),
            frame_bytes_max,
        });
        queues.extend(opened.into_iter().map(|queue| Attached {
            device: Box::new(queue),
            number,
            may_be_partial: device.may_be_partial(),
            frame_bytes_max,
        }));
    }
    Ok((queues, facts))
}
