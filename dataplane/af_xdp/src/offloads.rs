//! What a device does in place of the network stack, as far as it matters to who takes its frames (ethtool(8) -k).

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;

use crate::error::Error;
use crate::sys;

/// Commands that answer by a number that is not 0 for "on".
const GET_RX_CHECKSUM: u32 = 0x14;
const GET_TX_CHECKSUM: u32 = 0x16;
const GET_TSO: u32 = 0x1e;
const GET_GSO: u32 = 0x23;
const GET_FLAGS: u32 = 0x25;
const GET_GRO: u32 = 0x2b;

/// The bit of `ETHTOOL_GFLAGS` for joining received packets in the card.
const FLAG_LRO: u32 = 1 << 15;

/// Tells which offloads of a device are on. One that the driver does not know is off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offloads {
    /// It checks the checksums of received packets.
    pub receive_checksum: bool,
    /// It finishes the checksums of packets to send.
    pub transmit_checksum: bool,
    /// It cuts long TCP packets.
    pub tcp_segmentation: bool,
    /// Long packets are cut just before it.
    pub generic_segmentation: bool,
    /// Received packets are joined behind it.
    pub gro: bool,
    /// It joins received packets.
    pub lro: bool,
}

impl Offloads {
    /// Asks for the offloads of the device of the given name.
    pub fn of(name: &str) -> Result<Offloads, Error> {
        let failed =
            |source| Error::Device { device: name.to_owned(), operation: "ask for its offloads", source };
        let terminated = CString::new(name).map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
        let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).map_err(failed)?;
        let value = |command| sys::ethtool_value(socket.as_fd(), &terminated, command);
        // Every device that exists answers this one.
        let generic_segmentation = value(GET_GSO).map_err(failed)? != 0;
        let is_on = |command| value(command).is_ok_and(|value| value != 0);
        Ok(Offloads {
            receive_checksum: is_on(GET_RX_CHECKSUM),
            transmit_checksum: is_on(GET_TX_CHECKSUM),
            tcp_segmentation: is_on(GET_TSO),
            generic_segmentation,
            gro: is_on(GET_GRO),
            lro: value(GET_FLAGS).is_ok_and(|flags| flags & FLAG_LRO != 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_answers_and_a_missing_one_is_named() {
        let offloads = Offloads::of("lo").unwrap();
        assert!(!offloads.lro, "nothing is received by a card there: {offloads:?}");
        let error = Offloads::of("no-such-device0").unwrap_err().to_string();
        assert!(error.starts_with("device no-such-device0: ask for its offloads: "), "{error}");
    }
}
