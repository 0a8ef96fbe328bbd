//! Opening a socket: rings, registration of the memory, binding to a queue.
//!
//! The kernel decides two things for a whole registration and not for a socket: zero-copy mode and multi-buffer. A
//! socket therefore joins a registration of the modes it wants through any bound member, or makes another
//! registration of the same memory. Chunk numbers mean the same in all of them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::area::Area;
use crate::device::DeviceIndex;
use crate::error::Error;
use crate::exchange::Rings;
use crate::members::Member;
use crate::patience::{is_busy, while_busy};
use crate::ring::{Consumer, Producer, Ring, RingLayout, Slot};
use crate::socket::{Membership, Mode, SocketConfig};
use crate::sys;
use crate::umem::{TX_METADATA_BYTES, Umem, UmemConfig};

/// Option that raises the packets sent in one system call (`XDP_MAX_TX_SKB_BUDGET`).
const MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// Holds what belongs to a bound socket.
pub(crate) struct Bound {
    /// The socket.
    pub(crate) fd: OwnedFd,
    /// Its rings.
    pub(crate) rings: Rings,
    /// Its entry in the list of members.
    pub(crate) membership: Membership,
    /// What the kernel agreed to.
    pub(crate) mode: Mode,
    /// Whether packets of several chunks are possible.
    pub(crate) multi_buffer: bool,
}

/// Names what a socket is to be bound to.
#[derive(Clone, Copy)]
struct Target<'a> {
    /// The memory.
    umem: &'a Umem,
    /// The device.
    device: DeviceIndex,
    /// The queue.
    queue: u32,
    /// Rings and wishes.
    config: &'a SocketConfig,
}

impl Target<'_> {
    /// Names device, queue and step in an error.
    fn failed(&self, operation: &'static str, source: io::Error) -> Error {
        Error::Socket { device: self.device.to_string(), queue: self.queue, operation, source }
    }

    /// Returns the error of a queue that stays busy.
    fn taken(&self) -> Error {
        Error::QueueTaken { device: self.device.to_string(), queue: self.queue }
    }
}

/// Binds a socket, in zero-copy mode if wanted and possible.
pub(crate) fn bind(
    umem: &Umem,
    device: DeviceIndex,
    queue: u32,
    config: &SocketConfig,
) -> Result<Bound, Error> {
    let target = Target { umem, device, queue, config };
    if config.zero_copy {
        match bind_in(target, Mode::ZeroCopy) {
            Err(Error::Socket { source, .. }) if lacks_zero_copy(&source) => {}
            result => return result,
        }
    }
    bind_in(target, Mode::Copy)
}

/// Tells whether a driver's refusal means that it has no zero-copy mode for this queue.
fn lacks_zero_copy(source: &io::Error) -> bool {
    matches!(source.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL))
}

/// Binds a socket in one mode, joining a registration if there is one to join.
fn bind_in(target: Target<'_>, mode: Mode) -> Result<Bound, Error> {
    let (fd, rings) = open(target)?;
    let members = &target.umem.shared.members;
    let membership = Membership { umem: target.umem.clone(), number: members.next_number()? };
    let multi_buffer = target.config.multi_buffer;
    let mut registered = false;
    while_busy(is_taken, || {
        // Locked for one attempt only, so that other sockets can leave while this one waits.
        let mut members = members.lock();
        let joined = if registered { None } else { join(&fd, &members, target, mode) };
        let bound = match joined {
            Some(result) => result,
            None => {
                if !registered {
                    register(fd.as_fd(), target)?;
                    registered = true;
                }
                sys::bind(fd.as_fd(), &address(target, own_flags(target.config, mode), 0))
            }
        };
        bound.map_err(
            |source| if is_busy(&source) { target.taken() } else { target.failed("bind", source) },
        )?;
        members.push(Member {
            number: membership.number,
            fd: fd.as_raw_fd(),
            device: target.device,
            queue: target.queue,
            zero_copy: mode == Mode::ZeroCopy,
            multi_buffer,
        });
        Ok(())
    })?;
    Ok(Bound { fd, rings, membership, mode, multi_buffer })
}

/// Tells whether an error says that the queue belongs to another socket.
fn is_taken(error: &Error) -> bool {
    matches!(error, Error::QueueTaken { .. })
}

/// Tries to join a registration of the wanted modes through one of its members; none if no member can be joined.
///
/// A member whose device is gone is still listed, but the kernel answers EBADF; another one may do.
fn join(fd: &OwnedFd, members: &[Member], target: Target<'_>, mode: Mode) -> Option<io::Result<()>> {
    members
        .iter()
        .filter(|member| member.zero_copy == (mode == Mode::ZeroCopy))
        .filter(|member| member.multi_buffer == target.config.multi_buffer)
        .map(|member| {
            let shared = u32::try_from(member.fd).expect("an open descriptor is not negative");
            let result = sys::bind(fd.as_fd(), &address(target, libc::XDP_SHARED_UMEM, shared));
            let same_queue = (member.device, member.queue) == (target.device, target.queue);
            result.map_err(|error| if same_queue { busy_if_invalid(error) } else { error })
        })
        .find(|result| !matches!(result, Err(error) if error.raw_os_error() == Some(libc::EBADF)))
}

/// Joining through the very socket that has the queue answers EINVAL; it means what EBUSY means elsewhere.
fn busy_if_invalid(error: io::Error) -> io::Error {
    let invalid = error.raw_os_error() == Some(libc::EINVAL);
    if invalid { io::Error::from_raw_os_error(libc::EBUSY) } else { error }
}

/// Returns the flags of a socket that brings its own registration.
fn own_flags(config: &SocketConfig, mode: Mode) -> u16 {
    let mode = match mode {
        Mode::ZeroCopy => libc::XDP_ZEROCOPY | libc::XDP_USE_NEED_WAKEUP,
        Mode::Copy => libc::XDP_COPY,
    };
    if config.multi_buffer { mode | libc::XDP_USE_SG } else { mode }
}

/// Returns the address to bind to.
fn address(target: Target<'_>, flags: u16, shared: u32) -> libc::sockaddr_xdp {
    libc::sockaddr_xdp {
        sxdp_family: u16::try_from(libc::AF_XDP).expect("it is 44"),
        sxdp_flags: flags,
        sxdp_ifindex: target.device.get(),
        sxdp_queue_id: target.queue,
        sxdp_shared_umem_fd: shared,
    }
}

/// Opens a socket with its four rings, not yet bound.
fn open(target: Target<'_>) -> Result<(OwnedFd, Rings), Error> {
    let fd = sys::socket(libc::AF_XDP, libc::SOCK_RAW, 0).map_err(|source| target.failed("open", source))?;
    let socket = fd.as_fd();
    let config = target.config;
    for (name, entries, operation) in [
        (libc::XDP_RX_RING, config.rx_ring, "make the RX ring"),
        (libc::XDP_TX_RING, config.tx_ring, "make the TX ring"),
        (libc::XDP_UMEM_FILL_RING, config.fill_ring, "make the fill ring"),
        (libc::XDP_UMEM_COMPLETION_RING, config.completion_ring, "make the completion ring"),
    ] {
        sys::set_option(socket, name, &entries).map_err(|source| target.failed(operation, source))?;
    }
    // Kernels before 6.17 lack the option and send 32 packets a call; `kick` repeats the call.
    let _refused = sys::set_option(socket, MAX_TX_SKB_BUDGET, &config.tx_budget);
    let rings = map_rings(socket, config).map_err(|source| target.failed("map the rings", source))?;
    Ok((fd, rings))
}

/// Maps the four rings.
fn map_rings(socket: BorrowedFd<'_>, config: &SocketConfig) -> io::Result<Rings> {
    let zero = libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
    let empty = libc::xdp_mmap_offsets { rx: zero, tx: zero, fr: zero, cr: zero };
    let offsets = sys::get_option(socket, libc::XDP_MMAP_OFFSETS, empty)?;
    Ok(Rings {
        rx: Consumer::new(map_ring(socket, offsets.rx, config.rx_ring, libc::XDP_PGOFF_RX_RING)?),
        tx: Producer::new(map_ring(socket, offsets.tx, config.tx_ring, libc::XDP_PGOFF_TX_RING)?),
        fill: Producer::new(map_ring(
            socket,
            offsets.fr,
            config.fill_ring,
            libc::XDP_UMEM_PGOFF_FILL_RING.cast_signed(),
        )?),
        completion: Consumer::new(map_ring(
            socket,
            offsets.cr,
            config.completion_ring,
            libc::XDP_UMEM_PGOFF_COMPLETION_RING.cast_signed(),
        )?),
    })
}

/// Maps one ring.
fn map_ring<S: Slot>(
    socket: BorrowedFd<'_>,
    offsets: libc::xdp_ring_offset,
    entries: u32,
    page_offset: i64,
) -> io::Result<Ring<S>> {
    let place = |offset| usize::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
    let layout = RingLayout {
        producer: place(offsets.producer)?,
        consumer: place(offsets.consumer)?,
        flags: place(offsets.flags)?,
        slots: place(offsets.desc)?,
        entries,
    };
    let memory = Area::of_ring(socket, layout.bytes::<S>(), page_offset)?;
    Ok(Ring::new(&Arc::new(memory), layout))
}

/// Registers the packet memory with this socket.
fn register(socket: BorrowedFd<'_>, target: Target<'_>) -> Result<(), Error> {
    sys::raise_locked_memory_limit();
    let shared = &target.umem.shared;
    let registration = libc::xdp_umem_reg {
        addr: shared.area.address(),
        len: shared.area.bytes() as u64,
        chunk_size: shared.config.frame_bytes,
        headroom: shared.config.headroom_bytes,
        flags: libc::XDP_UMEM_TX_METADATA_LEN,
        tx_metadata_len: TX_METADATA_BYTES,
    };
    sys::set_option(socket, libc::XDP_UMEM_REG, &registration).map_err(|source| {
        if source.raw_os_error() == Some(libc::ENOBUFS) {
            let bytes = shared.area.bytes();
            return Error::LockedMemory { device: target.device.to_string(), queue: target.queue, bytes };
        }
        target.failed("register the packet memory", source)
    })
}

/// Tells whether the kernel has let go of a queue, by binding to it for a moment; waits for it a second at most.
///
/// Closing a descriptor is not enough to know: a copy of it in a process that is just being forked keeps the socket
/// receiving, and a driver in zero-copy mode is told in the background. A device that is gone has let go.
/// `namespace` is the one of the socket that was closed; in another one the index names another device.
pub(crate) fn is_released(namespace: u64, device: DeviceIndex, queue: u32) -> bool {
    let memory = UmemConfig { frames_total: 2, ..UmemConfig::default() };
    let config = SocketConfig {
        rx_ring: 32,
        tx_ring: 32,
        fill_ring: 32,
        completion_ring: 32,
        fill_target: 1,
        tx_budget: 32,
        ..SocketConfig::default()
    };
    let Ok((umem, _pools)) = Umem::new(&memory) else { return false };
    let Ok(here) = sys::socket(libc::AF_XDP, libc::SOCK_RAW, 0).and_then(|fd| sys::namespace_of(fd.as_fd()))
    else {
        return false;
    };
    if here != namespace {
        return false;
    }
    match bind_in(Target { umem: &umem, device, queue, config: &config }, Mode::Copy) {
        Ok(_) => true,
        Err(Error::Socket { source, .. }) => source.raw_os_error() == Some(libc::ENODEV),
        Err(_) => false,
    }
}
