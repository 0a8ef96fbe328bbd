//! An AF_XDP socket: one queue of one device, receiving and sending.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::bind::{self, Bound};
use crate::device::DeviceIndex;
use crate::error::Error;
use crate::exchange::{Exchange, Faults, Outstanding, Rings};
use crate::frame::Frame;
use crate::pool::FramePool;
use crate::sys;
use crate::umem::Umem;

/// System calls that one `kick` may make: enough for the default ring at the default budget, few enough to return.
const KICKS_MAX: u32 = 8;

/// Says how large the rings of a socket are and which modes are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketConfig {
    /// Slots of the RX ring, a power of two from 32 to 32768, as for all four.
    pub rx_ring: u32,
    /// Slots of the TX ring.
    pub tx_ring: u32,
    /// Slots of the fill ring.
    pub fill_ring: u32,
    /// Slots of the completion ring; at least as many as the TX ring, or sending stalls until `reclaim`.
    pub completion_ring: u32,
    /// Chunks that `refill` keeps with the kernel for receiving; 1 to `fill_ring`.
    pub fill_target: u32,
    /// Try zero-copy mode first. Where the driver lacks it the socket falls back to copy mode; `mode` tells.
    pub zero_copy: bool,
    /// Take and send packets of several chunks, for which the `Attachment` must be told as well.
    pub multi_buffer: bool,
    /// Packets that the kernel takes from the TX ring in one system call in copy mode, 32 to `tx_ring`.
    pub tx_budget: u32,
}

impl Default for SocketConfig {
    fn default() -> SocketConfig {
        SocketConfig {
            rx_ring: 1024,
            tx_ring: 1024,
            fill_ring: 1024,
            completion_ring: 1024,
            fill_target: 1024,
            zero_copy: false,
            multi_buffer: false,
            tx_budget: 256,
        }
    }
}

impl SocketConfig {
    /// Returns the first thing wrong with the numbers.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |field, value, expected| Err(Error::SocketConfig { field, value, expected });
        for (field, value) in [
            ("rx_ring", self.rx_ring),
            ("tx_ring", self.tx_ring),
            ("fill_ring", self.fill_ring),
            ("completion_ring", self.completion_ring),
        ] {
            // 32 is the least for which a packet of CHUNKS_MAX chunks and a TX budget fit.
            if !(32..=32_768).contains(&value) || !value.is_power_of_two() {
                return refuse(field, value, "a power of two from 32 to 32768");
            }
        }
        if !(1..=self.fill_ring).contains(&self.fill_target) {
            return refuse("fill_target", self.fill_target, "1 to fill_ring");
        }
        if !(32..=self.tx_ring).contains(&self.tx_budget) {
            return refuse("tx_budget", self.tx_budget, "32 to tx_ring");
        }
        Ok(())
    }
}

/// Tells how packets get between driver and packet memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The device reads and writes the packet memory itself.
    ZeroCopy,
    /// The kernel copies; sending always needs a system call.
    Copy,
}

/// Holds the counters that the kernel keeps of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// Received packets dropped for other reasons than those below, such as being larger than a chunk.
    pub rx_dropped: u64,
    /// Descriptors of the fill ring that the kernel found invalid.
    pub rx_invalid: u64,
    /// Descriptors of the TX ring that the kernel found invalid. It never completes them: their chunks are lost
    /// until the socket is closed.
    pub tx_invalid: u64,
    /// Received packets dropped because the RX ring was full: user space was too slow.
    pub rx_ring_full: u64,
    /// Times the fill ring was empty: packets were dropped for want of chunks.
    pub fill_ring_empty: u64,
    /// Times the TX ring was empty when the kernel looked.
    pub tx_ring_empty: u64,
}

/// Holds one bound socket. It belongs to one thread at a time; dropping it frees the queue, but the chunks that are
/// with the kernel are only given back by [`close`](Socket::close).
pub struct Socket {
    /// What the exchange knows.
    exchange: Exchange,
    /// The mapped rings. They are dropped before the descriptor: a mapping keeps the queue bound.
    rings: Rings,
    /// Takes the socket off the list of members when dropped, before the descriptor is closed.
    _membership: Membership,
    /// The socket itself.
    fd: OwnedFd,
    /// Which device.
    device: DeviceIndex,
    /// Which queue.
    queue: u32,
    /// What the kernel agreed to.
    mode: Mode,
    /// Whether packets of several chunks are possible.
    multi_buffer: bool,
}

/// Stands for the entry in the UMEM's list of bound sockets.
pub(crate) struct Membership {
    /// The UMEM.
    pub(crate) umem: Umem,
    /// Number of the socket.
    pub(crate) number: u32,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.umem.shared.members.leave(self.number);
    }
}

impl Socket {
    /// Opens a socket on a queue of a device of the calling thread's network namespace.
    ///
    /// The first socket registers the packet memory with the kernel, later ones share that, across devices and
    /// queues. A queue that was just let go can stay busy for some milliseconds; that long this call waits, up to a
    /// second. Packets arrive once the socket is registered with an [`Attachment`](crate::Attachment) and refilled.
    pub fn bind(
        umem: &Umem,
        device: DeviceIndex,
        queue: u32,
        config: &SocketConfig,
    ) -> Result<Socket, Error> {
        config.check()?;
        let Bound { fd, rings, membership, mode, multi_buffer } = bind::bind(umem, device, queue, config)?;
        let exchange = Exchange::new(umem, membership.number, config.fill_target, multi_buffer);
        Ok(Socket { exchange, rings, _membership: membership, fd, device, queue, mode, multi_buffer })
    }

    /// Moves received packets into `burst`, which never grows beyond its capacity; returns how many.
    #[inline]
    pub fn receive(&mut self, burst: &mut Vec<Frame>) -> usize {
        self.exchange.receive(&mut self.rings, burst)
    }

    /// Tops the fill ring up to its target from the pool; returns how many chunks the kernel got.
    #[inline]
    pub fn refill(&mut self, pool: &mut FramePool) -> usize {
        self.exchange.refill(&mut self.rings, pool)
    }

    /// Moves packets from the front of `frames` into the TX ring while they fit whole; returns how many. The rest
    /// stays.
    ///
    /// A frame that the kernel would not take is moved aside, counted in [`Faults`] and released by the next
    /// `reclaim`. The kernel learns of the packets by [`kick`](Socket::kick).
    #[inline]
    pub fn send(&mut self, frames: &mut VecDeque<Frame>) -> usize {
        self.exchange.send(&mut self.rings, frames)
    }

    /// Gives the chunks of packets that were sent to the pool; returns how many chunks.
    #[inline]
    pub fn reclaim(&mut self, pool: &mut FramePool) -> usize {
        self.exchange.reclaim(&mut self.rings, pool)
    }

    /// Makes the kernel send what is in the TX ring and, in zero-copy mode, look at the fill ring, if it needs to be
    /// told; returns how many descriptors the kernel has not yet taken.
    ///
    /// A busy device, a full completion ring and an exhausted budget are no errors: what was not taken stays in the
    /// ring for the next call.
    #[inline]
    pub fn kick(&mut self) -> Result<u32, Error> {
        if self.mode == Mode::ZeroCopy && self.rings.fill.needs_wakeup() {
            self.judge("wake the receiver", sys::wake_rx(self.fd.as_fd()))?;
        }
        let mut pending = self.rings.tx.pending();
        for _ in 0..KICKS_MAX {
            if pending == 0 || (self.mode == Mode::ZeroCopy && !self.rings.tx.needs_wakeup()) {
                break;
            }
            let again = self.judge("send", sys::wake_tx(self.fd.as_fd()))?;
            let before = pending;
            pending = self.rings.tx.pending();
            // Not taking anything means that nothing changes until somebody reads on the other side or reclaims.
            if !again || pending == before {
                break;
            }
        }
        Ok(pending)
    }

    /// Tells whether to try again; an error only if the device is down or gone.
    fn judge(&self, operation: &'static str, result: io::Result<()>) -> Result<bool, Error> {
        match result.as_ref().map_err(io::Error::raw_os_error) {
            Ok(()) => Ok(false),
            Err(Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR)) => Ok(true),
            Err(_) => result.map(|()| false).map_err(|source| self.failed(operation, source)),
        }
    }

    /// Counts the chunks that are with the kernel; those and the ones in pools and frames are all there are.
    pub fn outstanding(&self) -> Outstanding {
        self.exchange.outstanding()
    }

    /// Counts what this socket refused to believe or to send.
    pub fn faults(&self) -> Faults {
        self.exchange.faults(&self.rings)
    }

    /// Asks the kernel for its counters.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        let empty = libc::xdp_statistics {
            rx_dropped: 0,
            rx_invalid_descs: 0,
            tx_invalid_descs: 0,
            rx_ring_full: 0,
            rx_fill_ring_empty_descs: 0,
            tx_ring_empty_descs: 0,
        };
        let counters = sys::get_option(self.fd.as_fd(), libc::XDP_STATISTICS, empty)
            .map_err(|source| self.failed("read the statistics", source))?;
        Ok(Statistics {
            rx_dropped: counters.rx_dropped,
            rx_invalid: counters.rx_invalid_descs,
            tx_invalid: counters.tx_invalid_descs,
            rx_ring_full: counters.rx_ring_full,
            fill_ring_empty: counters.rx_fill_ring_empty_descs,
            tx_ring_empty: counters.tx_ring_empty_descs,
        })
    }

    /// Tells what the kernel agreed to.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Tells whether packets of several chunks are received and can be sent.
    pub fn multi_buffer(&self) -> bool {
        self.multi_buffer
    }

    /// Returns the device.
    pub fn device(&self) -> DeviceIndex {
        self.device
    }

    /// Returns the queue.
    pub fn queue(&self) -> u32 {
        self.queue
    }

    /// Closes the socket and gives every chunk that was with the kernel to the pool; returns how many.
    ///
    /// For when a device goes away, or is given up: the number of chunks stays exact and the queue can be bound
    /// again. Received packets not yet taken out are lost.
    ///
    /// A chunk to which the kernel could still write must not become part of a frame, so this waits until the queue
    /// is seen to be free, milliseconds as a rule. If that does not happen within a second (another socket took the
    /// queue, a copy of the descriptor is open, the thread has changed its network namespace), nothing is given
    /// back, and [`Umem::stranded_frames`] counts the chunks.
    pub fn close(self, pool: &mut FramePool) -> u32 {
        let Socket { exchange, rings, _membership: membership, fd, device, queue, .. } = self;
        let namespace = sys::namespace_of(fd.as_fd());
        drop(membership);
        drop(rings);
        drop(fd);
        let released = namespace.is_ok_and(|namespace| bind::is_released(namespace, device, queue));
        if released { exchange.settle(pool) } else { 0 }
    }

    /// Names the socket in an error.
    fn failed(&self, operation: &'static str, source: io::Error) -> Error {
        Error::Socket { device: self.device.to_string(), queue: self.queue, operation, source }
    }
}

impl AsFd for Socket {
    /// Returns the descriptor for poll(2), which reports received packets. In copy mode polling it also sends.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Socket")
            .field("device", &self.device)
            .field("queue", &self.queue)
            .field("mode", &self.mode)
            .field("outstanding", &self.outstanding())
            .finish_non_exhaustive()
    }
}
