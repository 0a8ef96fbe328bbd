//! Whether the host is safe with the configured devices taken, and making it so.

use crate::binding::Role;
use crate::config::{Config, DeviceConfig};
use crate::device::prepare::{self, PrepareError};
use crate::device::topology::{self, Caution, HostDevice, ListError, Refusal, WantedDevice, host_devices};
use std::path::PathBuf;

/// Name of the file, in the state directory, that remembers what devices were like before.
const STATE_FILE: &str = "prepared-devices.toml";

/// Why the host is not safe, or cannot be made so.
#[derive(Debug, thiserror::Error)]
pub enum UnsafeHost {
    /// A device must not be taken as it is.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The devices cannot be looked at.
    #[error(transparent)]
    List(#[from] ListError),
    /// A device cannot be changed.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The directory of the state file cannot be made.
    #[error("state_dir {0}: {1}")]
    StateDir(PathBuf, std::io::Error),
}

/// Devices that may be taken.
pub struct Checked {
    /// In the order asked for.
    pub devices: Vec<HostDevice>,
    /// What should be known of them all the same.
    pub cautions: Vec<Caution>,
}

impl Checked {
    /// Logs what should be known.
    pub fn caution(&self) {
        self.cautions.iter().for_each(|caution| tracing::warn!("{caution}"));
    }
}

/// Checks that devices may be taken.
pub fn check(devices: &[DeviceConfig], take_uplink: bool) -> Result<Checked, UnsafeHost> {
    let wanted: Vec<WantedDevice> = devices
        .iter()
        .map(|device| WantedDevice {
            name: device.name.clone(),
            uplink: device.role == Role::Uplink,
            take_uplink,
        })
        .collect();
    let host = host_devices()?;
    if let Some(refusal) = topology::check(&wanted, &host).into_iter().next() {
        return Err(refusal.into());
    }
    let found = |name: &str| host.iter().find(|device| device.name == name).cloned();
    let found_all: Result<_, UnsafeHost> = devices
        .iter()
        .map(|device| found(&device.name).ok_or_else(|| Refusal::Missing(device.name.clone()).into()))
        .collect();
    Ok(Checked { devices: found_all?, cautions: topology::cautions(&wanted, &host) })
}

/// Makes every endpoint's device ready and remembers what it was. Uplinks are left alone: what they carry is a
/// person's decision.
pub fn prepare(config: &Config) -> Result<(), UnsafeHost> {
    std::fs::create_dir_all(&config.state_dir)
        .map_err(|error| UnsafeHost::StateDir(config.state_dir.clone(), error))?;
    let is_ours = |role| role != Role::Uplink;
    let names: Vec<&str> = config
        .devices
        .iter()
        .filter(|device| is_ours(device.role))
        .map(|device| device.name.as_str())
        .collect();
    prepare::prepare(&names, &config.state_dir.join(STATE_FILE))?;
    tracing::info!(devices = names.len(), "devices are ready");
    Ok(())
}

/// Undoes [`prepare()`].
pub fn restore(config: &Config) -> Result<(), UnsafeHost> {
    let restored = prepare::restore(&config.state_dir.join(STATE_FILE))?;
    for name in &restored.devices {
        tracing::info!(device = %name, "device is as it was");
    }
    for name in &restored.gone {
        tracing::warn!(device = %name, "device is gone; nothing to restore");
    }
    match restored.failures.into_iter().next() {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}
