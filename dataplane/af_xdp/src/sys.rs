//! The system calls of this crate as safe functions over plain values.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_void, socklen_t};

/// Marks what may be passed to and from the kernel as bytes.
///
/// # Safety
/// Every pattern of bits is a value, and there is no padding.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: an integer.
unsafe impl Plain for u32 {}
// SAFETY: an integer.
unsafe impl Plain for u64 {}
// SAFETY: two 64-bit and four 32-bit integers, without padding.
unsafe impl Plain for libc::xdp_umem_reg {}
// SAFETY: four times four 64-bit integers.
unsafe impl Plain for libc::xdp_mmap_offsets {}
// SAFETY: six 64-bit integers.
unsafe impl Plain for libc::xdp_statistics {}

/// Turns the -1 of a system call into the error it stands for.
fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Returns the size of a small structure as the kernel's type.
fn length_of<T>() -> socklen_t {
    socklen_t::try_from(size_of::<T>()).expect("option structures are small")
}

/// Opens a socket.
pub(crate) fn socket(family: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets an option of the XDP level.
pub(crate) fn set_option<T: Plain>(socket: BorrowedFd<'_>, name: c_int, value: &T) -> io::Result<()> {
    let value = std::ptr::from_ref(value).cast::<c_void>();
    // SAFETY: the kernel reads `size_of::<T>()` bytes of a value without padding.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, name, value, length_of::<T>()) })?;
    Ok(())
}

/// Reads an option of the XDP level; `value` keeps what the kernel does not write.
pub(crate) fn get_option<T: Plain>(socket: BorrowedFd<'_>, name: c_int, value: T) -> io::Result<T> {
    get_option_of(socket, libc::SOL_XDP, name, value)
}

/// Returns the number of the network namespace in which a socket was opened.
pub(crate) fn namespace_of(socket: BorrowedFd<'_>) -> io::Result<u64> {
    get_option_of(socket, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, 0)
}

/// Reads an option of any level.
fn get_option_of<T: Plain>(socket: BorrowedFd<'_>, level: c_int, name: c_int, mut value: T) -> io::Result<T> {
    let mut length = length_of::<T>();
    let place = std::ptr::from_mut(&mut value).cast::<c_void>();
    // SAFETY: the kernel writes at most `length` bytes, and every pattern of bits is a `T`.
    check(unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, place, &raw mut length) })?;
    Ok(value)
}

/// Binds an AF_XDP socket.
pub(crate) fn bind(socket: BorrowedFd<'_>, address: &libc::sockaddr_xdp) -> io::Result<()> {
    let place = std::ptr::from_ref(address).cast::<libc::sockaddr>();
    // SAFETY: the kernel reads `size_of::<sockaddr_xdp>()` bytes.
    check(unsafe { libc::bind(socket.as_raw_fd(), place, length_of::<libc::sockaddr_xdp>()) })?;
    Ok(())
}

/// Tells the kernel to look at the TX ring.
pub(crate) fn wake_tx(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no data and no address are passed.
    let result = unsafe {
        libc::sendto(socket.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Tells the kernel to look at the fill ring.
pub(crate) fn wake_rx(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no buffer and no address are passed.
    let result = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            std::ptr::null_mut(),
            0,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends bytes to the kernel over a netlink socket.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads `bytes.len()` bytes of the slice.
    let result = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receives one answer over a netlink socket; the first `buffer.len()` bytes of it.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes into the slice.
    let result = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Returns what `ETHTOOL_GCHANNELS` says of a device: the fields of `struct ethtool_channels`.
pub(crate) fn channels(socket: BorrowedFd<'_>, name: &CStr) -> io::Result<[u32; 9]> {
    /// The command within the ethtool request.
    const GET_CHANNELS: u32 = 0x3c;
    let mut channels = [GET_CHANNELS, 0, 0, 0, 0, 0, 0, 0, 0];
    let place = libc::__c_anonymous_ifr_ifru { ifru_data: channels.as_mut_ptr().cast() };
    let mut request = interface_request(name, place)?;
    // SAFETY: `ifr_data` points to the nine integers that this command reads and writes, alive for the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) })?;
    Ok(channels)
}

/// Returns what one of the `ETHTOOL_G*` commands says that answer by a single number (`struct ethtool_value`).
pub(crate) fn ethtool_value(socket: BorrowedFd<'_>, name: &CStr, command: u32) -> io::Result<u32> {
    let mut value = [command, 0];
    let place = libc::__c_anonymous_ifr_ifru { ifru_data: value.as_mut_ptr().cast() };
    let mut request = interface_request(name, place)?;
    // SAFETY: `ifr_data` points to the two integers that these commands read and write, alive for the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) })?;
    Ok(value[1])
}

/// Makes the open `/dev/net/tun` the far end of a new device of this thread's network namespace.
pub(crate) fn make_tap(tun: BorrowedFd<'_>, name: &CStr, flags: i16) -> io::Result<()> {
    let mut request = interface_request(name, libc::__c_anonymous_ifr_ifru { ifru_flags: flags })?;
    // SAFETY: the kernel reads and writes one `ifreq`, alive for the call.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(())
}

/// Says what the far end of a tap does for the device (`TUN_F_*`).
pub(crate) fn set_tap_offloads(tap: BorrowedFd<'_>, offloads: u32) -> io::Result<()> {
    // SAFETY: the argument is a number, not an address.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)) })?;
    Ok(())
}

/// Returns what ioctl(2) is asked about a device; a name that is too long is refused.
fn interface_request(name: &CStr, content: libc::__c_anonymous_ifr_ifru) -> io::Result<libc::ifreq> {
    if name.count_bytes() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut request = libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru: content };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
        *place = byte.cast_signed();
    }
    Ok(request)
}

/// Calls bpf(2); the answer of commands that make something is a new descriptor.
///
/// # Safety
/// Every address in `attributes` leads to memory of the size that the command expects, alive for the call.
pub(crate) unsafe fn bpf<T: Plain>(command: u32, attributes: &mut T) -> io::Result<c_int> {
    let place = std::ptr::from_mut(attributes);
    // SAFETY: the kernel reads and writes at most `size_of::<T>()` bytes; the addresses within are the caller's
    // promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, libc::c_long::from(command), place, size_of::<T>()) };
    let result = c_int::try_from(result).expect("a descriptor or -1");
    check(result)
}

/// Takes a descriptor that the kernel has just made.
///
/// # Safety
/// `fd` is open, and nothing else owns it.
pub(crate) unsafe fn own(fd: c_int) -> OwnedFd {
    // SAFETY: the caller's promise.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Raises the limit of locked memory as far as this process may; what that was not enough for, the next call tells.
pub(crate) fn raise_locked_memory_limit() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the kernel reads one structure.
    let _refused = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

/// Returns the index of a device of this thread's network namespace.
pub(crate) fn name_to_index(name: &CStr) -> io::Result<u32> {
    // SAFETY: a terminated string, alive for the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 { Err(io::Error::last_os_error()) } else { Ok(index) }
}

/// Returns the name of a device of this thread's network namespace.
pub(crate) fn index_to_name(index: u32) -> Option<String> {
    let mut buffer = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size that the function is documented to need.
    let name = unsafe { libc::if_indextoname(index, buffer.as_mut_ptr().cast()) };
    if name.is_null() {
        return None;
    }
    let name = CStr::from_bytes_until_nul(&buffer).ok()?;
    Some(name.to_string_lossy().into_owned())
}
