//! What can go wrong, each naming the thing at fault in one line.

use std::io;

/// Tells what could not be set up or done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A number of the UMEM configuration is out of its range.
    #[error("UMEM {field} is {value}, expected {expected}")]
    UmemConfig {
        /// The field.
        field: &'static str,
        /// What it was.
        value: u32,
        /// What it may be.
        expected: &'static str,
    },
    /// The packet memory could not be mapped.
    #[error("cannot map {bytes} bytes of packet memory: {source}")]
    Memory {
        /// How much was asked for.
        bytes: usize,
        /// The system's answer.
        source: io::Error,
    },
    /// A number of the socket configuration is out of its range.
    #[error("socket {field} is {value}, expected {expected}")]
    SocketConfig {
        /// The field.
        field: &'static str,
        /// What it was.
        value: u32,
        /// What it may be.
        expected: &'static str,
    },
    /// A device does not exist, or does not answer.
    #[error("device {device}: {operation}: {source}")]
    Device {
        /// The device.
        device: String,
        /// What was tried.
        operation: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A step of opening or using a socket failed.
    #[error("device {device} queue {queue}: {operation}: {source}")]
    Socket {
        /// The device.
        device: String,
        /// The queue.
        queue: u32,
        /// What was tried.
        operation: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The kernel may not lock the packet memory; it says "no buffer space available".
    #[error(
        "device {device} queue {queue}: cannot lock {bytes} bytes of packet memory: CAP_IPC_LOCK is missing or \
         RLIMIT_MEMLOCK is too small"
    )]
    LockedMemory {
        /// The device.
        device: String,
        /// The queue.
        queue: u32,
        /// Size of the memory.
        bytes: usize,
    },
    /// The queue belongs to another socket, of this or another process, and was not let go in time.
    #[error("device {device} queue {queue}: another AF_XDP socket is bound to it")]
    QueueTaken {
        /// The device.
        device: String,
        /// The queue.
        queue: u32,
    },
    /// The kernel refused to make a map or load a program.
    #[error("device {device}: cannot {operation}: {source}{log}")]
    Program {
        /// The device.
        device: String,
        /// What was tried.
        operation: &'static str,
        /// The system's answer.
        source: io::Error,
        /// The last line of the verifier, after a colon; empty if it said nothing.
        log: String,
    },
    /// What a generator shall send cannot be sent.
    #[error("frame {place} to be generated: {what}")]
    Template {
        /// Its place among all, from 0 on.
        place: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// No mode of XDP works on the device.
    #[error("device {device}: cannot attach a program, neither native ({native}) nor generic ({generic})")]
    Attach {
        /// The device.
        device: String,
        /// Why not native.
        native: io::Error,
        /// Why not generic.
        generic: io::Error,
    },
    /// A counter that is never reused reached its end.
    #[error("no {what} left in this process")]
    Exhausted {
        /// What is counted.
        what: &'static str,
    },
}

/// Tells why the content of a frame could not be changed. The frame is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The content is larger than the frame can become.
    #[error("{bytes} bytes do not fit into {room} bytes of frame")]
    TooLong {
        /// What was to be stored.
        bytes: usize,
        /// What there is room for.
        room: usize,
    },
    /// The pool has no free chunk left.
    #[error("the pool has no free chunk left")]
    OutOfFrames,
}
