//! The far end of a tap, where an emulator has its virtual machine: for tests and measurements that play one.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use crate::error::Error;
use crate::sys;

/// What the sender on the near side leaves to whoever holds the far end. With any of it, every frame has a
/// `virtio_net_hdr` of ten bytes before it, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapOffloads {
    /// Nothing.
    Nothing,
    /// Checksums.
    Checksums,
    /// Checksums, and cutting TCP data of up to 64 KiB into frames.
    Segmentation,
}

/// Makes a tap device of the calling thread's network namespace and returns its far end: reading takes one frame that
/// the device sends, writing has it receive one. Neither ever waits. The device goes when the file is closed.
pub fn open_tap(name: &str, offloads: TapOffloads) -> Result<File, Error> {
    let failed = |operation| move |source| Error::Device { device: name.to_owned(), operation, source };
    let mut options = OpenOptions::new();
    let tap = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
    let tap = tap.map_err(failed("open /dev/net/tun"))?;
    let (header, done) = match offloads {
        TapOffloads::Nothing => (0, 0),
        TapOffloads::Checksums => (libc::IFF_VNET_HDR, libc::TUN_F_CSUM),
        TapOffloads::Segmentation => {
            (libc::IFF_VNET_HDR, libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6)
        }
    };
    let flags = i16::try_from(libc::IFF_TAP | libc::IFF_NO_PI | header).expect("flags of the lower 15 bits");
    let terminated =
        CString::new(name).map_err(|_| failed("make the tap")(io::ErrorKind::InvalidInput.into()))?;
    sys::make_tap(tap.as_fd(), &terminated, flags).map_err(failed("make the tap"))?;
    sys::set_tap_offloads(tap.as_fd(), done).map_err(failed("set the tap's offloads"))?;
    Ok(tap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_device_can_have_is_refused_by_name() {
        for name in ["sixteen-bytes-xx", "a\0b"] {
            // Without the right to open it, that is what is named.
            let refused = open_tap(name, TapOffloads::Nothing).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("device {name}: ")), "{refused}");
        }
    }
}
