//! The dataplane on devices of the kernel.

use crate::assembly::{Assembly, AssemblyError, FlowSettings};
use crate::config::Config;
use crate::device_keeper::{DeviceKeeper, KeepError};
use crate::reporter::SharedFacts;
use crate::start::{Start, StartError};
use crate::stop_signals::StopSignals;
use crate::threads::{RunKind, ThreadError, Threads};
use af_xdp::{Umem, UmemConfig};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Why a live run cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The first policy.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Packet memory.
    #[error(transparent)]
    Memory(#[from] af_xdp::Error),
    /// A device, or what it would do to the host.
    #[error(transparent)]
    Devices(#[from] KeepError),
    /// Workers.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// Threads.
    #[error(transparent)]
    Threads(#[from] ThreadError),
    /// Signals cannot be caught.
    #[error("cannot catch signals: {0}")]
    Signals(std::io::Error),
}

/// Takes the devices and judges until told to stop. The path is that of the configuration, for when it is read again.
pub fn run(config: &Config, path: &Path) -> Result<(), LiveError> {
    // Before anything that would have to be given back.
    let signals = StopSignals::catch().map_err(LiveError::Signals)?;
    let found = DeviceKeeper::check(config)?;
    let mut start = Start::of(config, usize::from(config.workers))?;
    let memory = UmemConfig {
        frames_total: config.frames,
        frame_bytes: config.frame_bytes,
        workers: config.workers.into(),
        ..UmemConfig::default()
    };
    let (umem, pools) = Umem::new(&memory)?;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ns = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
    let first = start.take_published()?;
    let slice_frames = pools.iter().map(af_xdp::FramePool::frames_in_slice).min().unwrap_or(0);
    let assembly = Assembly::new(pools, first, &FlowSettings::of(config), now_ns)?;
    let facts = SharedFacts::default();
    let mut keeper = DeviceKeeper::new(umem, slice_frames, assembly.desks.clone(), facts.clone());
    keeper.take_all(config, path, &found)?;
    Threads::start(config, start, assembly, facts, RunKind::Live)?.serve(signals, Some(keeper));
    Ok(())
}
