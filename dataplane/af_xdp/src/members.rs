//! The bound sockets of one UMEM. The kernel registers the memory with the first socket; another socket joins through
//! the descriptor of any that is still bound.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::device::DeviceIndex;
use crate::error::Error;
use crate::owners::Owner;

/// One bound socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    /// Number of the socket.
    pub(crate) number: u32,
    /// Its descriptor, open as long as it is listed: a socket leaves the list before it is closed.
    pub(crate) fd: RawFd,
    /// The device it is bound to.
    pub(crate) device: DeviceIndex,
    /// The queue it is bound to.
    pub(crate) queue: u32,
    /// Whether the registration is in zero-copy mode; all sockets of one registration are alike.
    pub(crate) zero_copy: bool,
    /// Whether the registration takes packets of several chunks; likewise.
    pub(crate) multi_buffer: bool,
}

/// Holds the list. Locked only while sockets come and go.
#[derive(Default)]
pub(crate) struct Members {
    /// The bound sockets.
    list: Mutex<Vec<Member>>,
    /// Number of the next socket; never reused, because chunks of a socket dropped without `close` stay marked.
    next: AtomicU32,
}

impl Members {
    /// Locks the list. While it is locked, every descriptor in it is open.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<Member>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a socket off the list, so that its descriptor may be closed.
    pub(crate) fn leave(&self, number: u32) {
        self.lock().retain(|member| member.number != number);
    }

    /// Returns a number that no other socket of this UMEM has or had.
    pub(crate) fn next_number(&self) -> Result<u32, Error> {
        self.next
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |number| {
                (number < Owner::SOCKET_MAX).then_some(number + 1)
            })
            .map_err(|_| Error::Exhausted { what: "socket numbers" })
    }
}
