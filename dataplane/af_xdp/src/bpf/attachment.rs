//! The redirect program on a device: it hands the packets of each queue to that queue's socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::bpf::calls;
use crate::bpf::instruction::redirect_to_socket;
use crate::device::DeviceIndex;
use crate::error::Error;
use crate::patience::{is_busy, while_busy};
use crate::socket::Socket;
use crate::sys;

/// Attach flag: in the socket-buffer path (`XDP_FLAGS_SKB_MODE`).
const GENERIC: u32 = 1 << 1;

/// Attach flag: in the driver (`XDP_FLAGS_DRV_MODE`).
const NATIVE: u32 = 1 << 2;

/// Says how the program is to be attached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttachConfig {
    /// Whether packets of several buffers are taken; needed for an MTU above about 3,500.
    pub multi_buffer: bool,
    /// Skip the native mode, for example to compare.
    pub generic_only: bool,
}

/// Tells where the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// After the kernel has made a socket buffer: works on every device and is slower.
    Generic,
}

/// Holds the program on a device. It is taken off when this is dropped, and by the kernel when the process ends in
/// whatever way, because nothing but the descriptor in here holds it.
#[derive(Debug)]
pub struct Attachment {
    /// Keeps the program attached.
    _link: OwnedFd,
    /// The sockets by queue.
    map: OwnedFd,
    /// Which device.
    device: DeviceIndex,
    /// Where the program runs.
    mode: AttachMode,
    /// Why it does not run in the driver.
    native_refusal: Option<io::Error>,
}

impl Attachment {
    /// Attaches the program to a device with `queues` receive queues: natively if the driver can, else generically.
    ///
    /// A program of a process that has just ended may still be there for a moment; that long this call waits, up to a
    /// second. From then on every packet of a queue without a registered socket is dropped.
    pub fn new(device: DeviceIndex, queues: u32, config: &AttachConfig) -> Result<Attachment, Error> {
        sys::raise_locked_memory_limit();
        let failed =
            |operation, source, log| Error::Program { device: device.to_string(), operation, source, log };
        let map = calls::create_socket_map(queues)
            .map_err(|source| failed("make the map of sockets", source, String::new()))?;
        let instructions = redirect_to_socket(std::os::fd::AsRawFd::as_raw_fd(&map));
        let program = calls::load(&instructions, config.multi_buffer)
            .map_err(|(source, log)| failed("load the redirect program", source, log))?;
        let attach = |flags| calls::attach(program.as_fd(), device.get(), flags);
        let native = if config.generic_only {
            Err(io::Error::other("not wanted"))
        } else {
            while_busy(is_busy, || attach(NATIVE))
        };
        let made = |link, mode, native_refusal| Attachment { _link: link, map, device, mode, native_refusal };
        match native {
            Ok(link) => Ok(made(link, AttachMode::Native, None)),
            // Another program is there: generic mode would be refused too, and less clearly.
            Err(source) if is_busy(&source) => {
                Err(failed("attach: another program is attached already", source, String::new()))
            }
            Err(native) => match attach(GENERIC) {
                Ok(link) => Ok(made(link, AttachMode::Generic, Some(native))),
                Err(generic) => Err(Error::Attach { device: device.to_string(), native, generic }),
            },
        }
    }

    /// Hands the packets of `queue` to `socket`; replaces an earlier one. A closed socket leaves by itself.
    ///
    /// The socket must be bound to this device and queue: the kernel would drop every packet for any other.
    pub fn register(&self, queue: u32, socket: &Socket) -> Result<(), Error> {
        let failed =
            |operation, source| Error::Socket { device: self.device.to_string(), queue, operation, source };
        if (socket.device(), socket.queue()) != (self.device, queue) {
            let source = io::ErrorKind::InvalidInput.into();
            return Err(failed("register a socket that is bound elsewhere", source));
        }
        calls::set_socket(self.map.as_fd(), queue, socket.as_fd())
            .map_err(|source| failed("register the socket", source))
    }

    /// Tells where the program runs.
    pub fn mode(&self) -> AttachMode {
        self.mode
    }

    /// Tells why the program does not run natively; none if it does.
    pub fn native_refusal(&self) -> Option<&io::Error> {
        self.native_refusal.as_ref()
    }

    /// Returns the device.
    pub fn device(&self) -> DeviceIndex {
        self.device
    }
}
