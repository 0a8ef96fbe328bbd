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
