//! What the kernel says of a network device: index, name, MAC, MTU, queues, state.
//!
//! Asked over rtnetlink and ethtool, not sysfs, because sysfs shows the namespace in which it was mounted and not the
//! one of the asking thread.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::AsFd;

use crate::error::Error;
use crate::netlink::{self, Link};
use crate::sys;

/// Names a network device of the calling thread's network namespace by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceIndex(u32);

impl DeviceIndex {
    /// Wraps an index; whether such a device exists shows when it is used.
    pub fn new(index: u32) -> DeviceIndex {
        DeviceIndex(index)
    }

    /// Looks a name up.
    pub fn of(name: &str) -> Result<DeviceIndex, Error> {
        let failed = |source| Error::Device { device: name.to_owned(), operation: "look up", source };
        let terminated = CString::new(name).map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
        sys::name_to_index(&terminated).map(DeviceIndex).map_err(failed)
    }

    /// Returns the number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for DeviceIndex {
    /// Writes the name, or the number where no such device exists.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match sys::index_to_name(self.0) {
            Some(name) => formatter.write_str(&name),
            None => write!(formatter, "#{}", self.0),
        }
    }
}

/// Holds what the kernel said of a device at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// The index.
    pub index: DeviceIndex,
    /// The name.
    pub name: String,
    /// The Ethernet address; zero where the device has none.
    pub mac: [u8; 6],
    /// Largest payload of a frame; the Ethernet header comes on top.
    pub mtu_bytes: u32,
    /// Number of receive queues in use; each needs a socket, or its packets are dropped.
    pub rx_queues: u32,
    /// Number of transmit queues in use. A socket on a higher queue receives, but never sends.
    pub tx_queues: u32,
    /// Whether the device is administratively up.
    pub up: bool,
    /// The bridge or bond that the device belongs to.
    pub master: Option<DeviceIndex>,
}

impl Device {
    /// Asks for the device of the given name.
    pub fn named(name: &str) -> Result<Device, Error> {
        Device::query(DeviceIndex::of(name)?, name)
    }

    /// Asks for the device of the given index.
    pub fn at(index: DeviceIndex) -> Result<Device, Error> {
        Device::query(index, &index.to_string())
    }

    /// Asks the kernel; `shown` is how an error names the device.
    fn query(index: DeviceIndex, shown: &str) -> Result<Device, Error> {
        let failed = |operation, source| Error::Device { device: shown.to_owned(), operation, source };
        let link = netlink::link(index.0).map_err(|source| failed("ask for its properties", source))?;
        let Link { name, mac, mtu_bytes, rx_queues, tx_queues, up, master } = link;
        let (rx_queues, tx_queues) = queues_in_use(&name).unwrap_or((rx_queues, tx_queues));
        Ok(Device { index, name, mac, mtu_bytes, rx_queues, tx_queues, up, master: master.map(DeviceIndex) })
    }
}

/// Returns the receive and transmit queues in use. Where a driver does not tell (tap for one), none: then those that
/// were allocated count.
fn queues_in_use(name: &str) -> Option<(u32, u32)> {
    let terminated = CString::new(name).ok()?;
    let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).ok()?;
    let [_, _, _, _, _, rx, tx, _, combined] = sys::channels(socket.as_fd(), &terminated).ok()?;
    let (rx, tx) = (rx.checked_add(combined)?, tx.checked_add(combined)?);
    (rx > 0 && tx > 0).then_some((rx, tx))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_described() {
        let device = Device::named("lo").unwrap();
        assert_eq!((device.name.as_str(), device.mac), ("lo", [0; 6]));
        assert!(device.mtu_bytes >= 1280 && device.rx_queues >= 1 && device.tx_queues >= 1);
        assert_eq!(device.index.to_string(), "lo");
        assert_eq!(Device::at(device.index).unwrap(), device);
    }

    #[test]
    fn a_missing_device_is_named_in_the_error() {
        let error = Device::named("no-such-device0").unwrap_err().to_string();
        assert!(error.starts_with("device no-such-device0: look up: "), "{error}");
        let error = Device::at(DeviceIndex::new(0x7fff_fff0)).unwrap_err().to_string();
        assert!(error.starts_with("device #2147483632: ask for its properties: "), "{error}");
        assert!(DeviceIndex::of("nul\0inside").is_err());
    }
}
