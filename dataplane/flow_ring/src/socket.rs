//! The few things a Unix socket must do here that the standard library does not offer: pass descriptors, name the
//! process at the other end, notice its end without reading, and wake it without ever waiting.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::time::Duration;

/// Descriptors that one message may carry; room for more than are expected, so that a surplus is seen and closed.
const FDS_MAX: usize = 4;

/// Bytes of a message's ancillary part; more than `CMSG_SPACE` of [`FDS_MAX`] descriptors, which is 32.
const CONTROL_BYTES: usize = 64;

/// Ancillary part of a message, aligned for its header.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Who is at the other end, as the kernel recorded it when the connection was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Process, 0 if it is in a pid namespace that this process cannot see.
    pub pid: u32,
    /// Effective user.
    pub uid: u32,
}

/// Returns this process's effective user.
pub(crate) fn own_uid() -> u32 {
    // SAFETY: the call takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Returns who is at the other end of `stream`.
pub(crate) fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = socket_length(size_of::<libc::ucred>())?;
    // SAFETY: `credentials` and `length` are live for the call, and `length` is the size of `credentials`.
    let answer = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            ptr::from_mut(&mut credentials).cast(),
            &mut length,
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Peer { pid: u32::try_from(credentials.pid).unwrap_or(0), uid: credentials.uid })
}

fn socket_length(bytes: usize) -> io::Result<libc::socklen_t> {
    libc::socklen_t::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Returns a message header with one buffer and the whole of `control`.
fn message(buffer: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: `msghdr` is made of integers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = buffer;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_BYTES;
    message
}

/// Sends `bytes` with `fds` in one message, without waiting.
pub(crate) fn send_with_fds(stream: &UnixStream, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    assert!(fds.len() <= FDS_MAX, "a message of this crate carries two descriptors");
    let mut control = Control([0; CONTROL_BYTES]);
    let mut buffer = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut message = message(&mut buffer, &mut control);
    if fds.is_empty() {
        message.msg_controllen = 0;
    } else {
        write_rights(&mut message, fds)?;
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `message` points to the live `bytes` and `control`; the kernel only reads them.
    let sent = unsafe { libc::sendmsg(stream.as_raw_fd(), &message, flags) };
    match usize::try_from(sent) {
        Ok(sent) if sent == bytes.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Writes `fds` as the only ancillary item of `message`, whose control buffer is a whole [`Control`].
fn write_rights(message: &mut libc::msghdr, fds: &[RawFd]) -> io::Result<()> {
    let fds_bytes = socket_length(size_of_val(fds))?;
    // SAFETY: pure arithmetic.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(fds_bytes) } as usize;
    // SAFETY: the control buffer is live, aligned and larger than one header.
    let item = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: pure arithmetic.
    let item_bytes = unsafe { libc::CMSG_LEN(fds_bytes) } as usize;
    let header =
        libc::cmsghdr { cmsg_len: item_bytes, cmsg_level: libc::SOL_SOCKET, cmsg_type: libc::SCM_RIGHTS };
    // SAFETY: `item` is the start of the control buffer, which is aligned for a header and larger than one.
    unsafe { item.write(header) };
    // SAFETY: `item` was just written.
    let target = unsafe { libc::CMSG_DATA(item) };
    // SAFETY: at most `FDS_MAX` descriptors, for which `CONTROL_BYTES` has room after the header; `fds` is elsewhere.
    unsafe { ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), target, size_of_val(fds)) };
    Ok(())
}

/// Receives one message into `bytes`; returns its length and the descriptors it carried, which the caller owns.
pub(crate) fn receive_with_fds(stream: &UnixStream, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = Control([0; CONTROL_BYTES]);
    let mut buffer = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut message = message(&mut buffer, &mut control);
    let received = loop {
        // SAFETY: `message` points to the live, exclusively borrowed `bytes` and `control`, with their true lengths.
        let received = unsafe { libc::recvmsg(stream.as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC) };
        match usize::try_from(received) {
            Ok(received) => break received,
            // A socket with a time limit is interrupted even by being stopped and continued (signal(7)); nothing has
            // been received then, and the header is as it was.
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    };
    let fds = read_rights(&message);
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "more descriptors than expected"));
    }
    Ok((received, fds))
}

/// Takes ownership of every descriptor in a message that the kernel has just filled in.
fn read_rights(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::with_capacity(FDS_MAX);
    // SAFETY: the kernel wrote `msg_controllen` bytes of well-formed items into the live control buffer.
    let mut item = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !item.is_null() {
        // SAFETY: not null, so it points to an item within the control buffer.
        let libc::cmsghdr { cmsg_len, cmsg_level, cmsg_type } = unsafe { item.read() };
        // SAFETY: pure arithmetic.
        let head_bytes = unsafe { libc::CMSG_LEN(0) } as usize;
        if cmsg_level == libc::SOL_SOCKET && cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: as for the read of the header.
            let first = unsafe { libc::CMSG_DATA(item) }.cast::<RawFd>();
            for index in 0..cmsg_len.saturating_sub(head_bytes) / size_of::<RawFd>() {
                // SAFETY: `index` stays within the item's length, which the kernel wrote.
                let place = unsafe { first.add(index) };
                // SAFETY: within the item, as above; the read needs no alignment.
                let fd = unsafe { place.read_unaligned() };
                // SAFETY: the kernel has just installed this descriptor for this process alone.
                fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
        // SAFETY: `item` is an item of `message`.
        item = unsafe { libc::CMSG_NXTHDR(message, item) };
    }
    fds
}

/// What [`wait`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The other end is closed, by its owner or by its owner's death.
    pub hung_up: bool,
    /// Something can be read.
    pub readable: bool,
}

/// Waits until the other end sends something or closes, at most `timeout`; a signal ends the wait early.
pub(crate) fn wait(stream: &UnixStream, timeout: Option<Duration>) -> io::Result<Seen> {
    let mut entry =
        libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLIN | libc::POLLRDHUP, revents: 0 };
    let timeout_ms = match timeout {
        None => -1,
        // Rounded up, so that a wait is never shorter than asked for.
        Some(timeout) => {
            libc::c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
        }
    };
    // SAFETY: one live entry, and its number is 1.
    let answer = unsafe { libc::poll(&mut entry, 1, timeout_ms) };
    if answer < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        entry.revents = 0;
    }
    let closed = libc::POLLHUP | libc::POLLRDHUP | libc::POLLERR | libc::POLLNVAL;
    Ok(Seen { hung_up: entry.revents & closed != 0, readable: entry.revents & libc::POLLIN != 0 })
}

/// Returns whether the other end is closed. Unread bytes do not hide that.
pub(crate) fn hung_up(stream: &UnixStream) -> bool {
    wait(stream, Some(Duration::ZERO)).map_or(true, |seen| seen.hung_up)
}

/// Sends one byte, or nothing when the other end has not read what it was sent before: it will wake up for that.
///
/// An eventfd would do the same with eight bytes less, but its `O_NONBLOCK` belongs to the one open file that both
/// processes share: a hostile consumer can clear it, fill the counter, and the next wake-up waits for ever. The two
/// ends of a socket are separate files, and `MSG_DONTWAIT` belongs to the call.
pub(crate) fn wake(stream: &UnixStream) {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: one byte of a live constant.
    let _ = unsafe { libc::send(stream.as_raw_fd(), [1_u8].as_ptr().cast(), 1, flags) };
}

/// Reads away bytes of [`wake`] without waiting; what is left only makes the next wait shorter.
pub(crate) fn drain(stream: &UnixStream) {
    let mut bytes = [0_u8; 256];
    // SAFETY: `bytes` is live, exclusively borrowed and as long as stated.
    let _ =
        unsafe { libc::recv(stream.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT) };
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    #[test]
    fn descriptors_travel_with_their_message() {
        let (near, far) = UnixStream::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        send_with_fds(&near, b"hello", &[null.as_raw_fd(), null.as_raw_fd()]).unwrap();
        let mut bytes = [0; 16];
        let (length, fds) = receive_with_fds(&far, &mut bytes).unwrap();
        assert_eq!((&bytes[..length], fds.len()), (&b"hello"[..], 2));
        assert_ne!(fds[0].as_raw_fd(), null.as_raw_fd());
    }

    #[test]
    fn a_closed_end_is_seen_behind_unread_bytes() {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(&[0; 100]).unwrap();
        assert!(!hung_up(&near));
        drop(far);
        assert!(hung_up(&near));
        wake(&near);
    }

    #[test]
    fn waking_somebody_who_never_reads_does_not_wait() {
        let (near, far) = UnixStream::pair().unwrap();
        for _ in 0..100_000 {
            wake(&near);
        }
        assert!(wait(&far, None).unwrap().readable);
        drain(&far);
    }

    #[test]
    fn the_peer_of_a_pair_is_this_process() {
        let (near, _far) = UnixStream::pair().unwrap();
        assert_eq!(peer(&near).unwrap(), Peer { pid: std::process::id(), uid: own_uid() });
    }
}
