//! What can go wrong, by the thing at fault: the caller's configuration, the other half's memory, or the kernel.

use std::io;
use std::path::PathBuf;

/// A system call that failed, named by what it was for.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {source}")]
pub struct SystemError {
    /// What was attempted, as the rest of a sentence that starts with "cannot".
    step: &'static str,
    /// The kernel's answer.
    source: io::Error,
}

impl SystemError {
    /// Returns a closure for `map_err` that names the attempted `step`.
    pub(crate) fn at(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { step, source }
    }
}

/// Why a ring could not be created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The host name is empty, too long, or holds other characters than `[A-Za-z0-9._-]`.
    #[error("host name {name:?} is not 1 to {max} characters of [A-Za-z0-9._-]")]
    HostName {
        /// The name as given.
        name: String,
        /// The longest permitted name.
        max: usize,
    },
    /// The number of slots is not a power of two within the limits.
    #[error("{slots} slots: must be a power of two from {min} to {max}")]
    Slots {
        /// The number as given.
        slots: u64,
        /// The smallest permitted number.
        min: u64,
        /// The largest permitted number.
        max: u64,
    },
    /// Slots times record size is more memory than a ring may have.
    #[error("{slots} slots of {record_bytes} bytes exceed {max_bytes} bytes")]
    Bytes {
        /// The number of slots as given.
        slots: u64,
        /// The size of one record.
        record_bytes: u64,
        /// The most slots may occupy.
        max_bytes: u64,
    },
    /// The kernel refused.
    #[error(transparent)]
    System(#[from] SystemError),
}

/// Why a consumer does not accept the memory it was handed. Nothing has been mapped when one of these is returned,
/// except for [`OpenError::Header`].
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A descriptor is not a sealed memory file, or a seal that the safety argument needs is missing.
    #[error("{memory} memory lacks seals: has {found:#x}, needs {needed:#x}")]
    Seals {
        /// Which of the two memory files.
        memory: &'static str,
        /// The seals found (`F_SEAL_*`).
        found: i32,
        /// The seals needed.
        needed: i32,
    },
    /// The memory does not start with the magic number.
    #[error("{memory} memory has magic {found:#018x}, expected {expected:#018x}")]
    Magic {
        /// Which of the two memory files.
        memory: &'static str,
        /// The number found.
        found: u64,
        /// The number of this crate.
        expected: u64,
    },
    /// The memory is laid out by another version of this crate.
    #[error("{memory} memory has layout version {found}, expected {expected}")]
    LayoutVersion {
        /// Which of the two memory files.
        memory: &'static str,
        /// The version found.
        found: u32,
        /// The version of this crate.
        expected: u32,
    },
    /// The records have another version than the consumer understands.
    #[error("record version {found}, expected {expected}")]
    RecordVersion {
        /// The version in the header.
        found: u32,
        /// The version the consumer asked for.
        expected: u32,
    },
    /// The records have another size than the consumer's type.
    #[error("records of {found} bytes, expected {expected}")]
    RecordBytes {
        /// The size in the header.
        found: u64,
        /// The size of the consumer's record type.
        expected: u64,
    },
    /// The slots do not start where this layout version puts them.
    #[error("header of {found} bytes, expected {expected}")]
    HeaderBytes {
        /// The size in the header.
        found: u32,
        /// The size in this layout.
        expected: u32,
    },
    /// The number of slots is not a power of two within the limits, or takes too much memory.
    #[error("{found} slots of {record_bytes} bytes are not within the limits of a ring")]
    Slots {
        /// The number in the header.
        found: u64,
        /// The size of one record.
        record_bytes: u64,
    },
    /// The host name is not a name.
    #[error("the host name in the header is not 1 to {max} characters of [A-Za-z0-9._-]")]
    HostName {
        /// The longest permitted name.
        max: usize,
    },
    /// The memory is smaller or larger than its header says.
    #[error("{memory} memory of {found} bytes, expected {expected}")]
    Size {
        /// Which of the two memory files.
        memory: &'static str,
        /// The size found.
        found: u64,
        /// The size that header and layout demand.
        expected: u64,
    },
    /// The header's counters are impossible already at the start.
    #[error("the ring's header is impossible: {0}")]
    Header(#[from] HeaderFault),
    /// The kernel refused.
    #[error(transparent)]
    System(#[from] SystemError),
}

/// What is impossible in a header that the producer keeps writing. The consumer should drop the ring and connect anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// The head is behind one that was already seen, or behind the consumer.
    #[error("head ran backwards to {head}, {least} was reached")]
    HeadBackwards {
        /// The head found.
        head: u64,
        /// The least it may be.
        least: u64,
    },
    /// The head is further ahead of the tail than there are slots.
    #[error("head {head} is more than {slots} slots ahead of tail {tail}")]
    HeadTooFar {
        /// The head found.
        head: u64,
        /// The consumer's own position.
        tail: u64,
        /// The size of the ring.
        slots: u64,
    },
    /// A counter is smaller than it was.
    #[error("counter {counter} ran backwards from {before} to {found}")]
    CounterBackwards {
        /// The counter's name.
        counter: &'static str,
        /// The value seen before.
        before: u64,
        /// The value found.
        found: u64,
    },
    /// `produced` is not the sum of its parts.
    #[error("produced {produced} is not the sum of accepted, sampled out and dropped, {sum:?}")]
    Sum {
        /// The counter as found.
        produced: u64,
        /// The sum of its parts; nothing where it exceeds 64 bits.
        sum: Option<u64>,
    },
    /// More records were given up than were ever accepted.
    #[error("{abandoned} records abandoned of {head} accepted")]
    Abandoned {
        /// The counter as found.
        abandoned: u64,
        /// The head found.
        head: u64,
    },
    /// The header kept changing under every attempt to read it.
    #[error("no consistent header in {attempts} attempts")]
    Unsettled {
        /// How often it was tried.
        attempts: u32,
    },
}

/// What a consumer wrote into its page that no consumer can honestly write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConsumerFault {
    /// The tail is behind one that was already published.
    #[error("consumer's tail ran backwards to {tail}, {least} was published")]
    TailBackwards {
        /// The tail found.
        tail: u64,
        /// The least it may be.
        least: u64,
    },
    /// The tail is ahead of everything that was published.
    #[error("consumer's tail {tail} is ahead of the published head {head}")]
    TailAhead {
        /// The tail found.
        tail: u64,
        /// The published head.
        head: u64,
    },
}

/// Why a ring could not be handed over or received.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// The path is taken by something that is not a socket.
    #[error("{path} exists and is not a socket")]
    NotASocket {
        /// The socket's path.
        path: PathBuf,
    },
    /// Another living process listens at the path.
    #[error("{path} is in use by another process")]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// The process at the other end runs as somebody else than allowed.
    #[error("peer runs as uid {uid}, which is not allowed")]
    PeerUid {
        /// The uid that the kernel vouches for.
        uid: u32,
    },
    /// The producer has a living consumer already.
    #[error("refused: the ring has a living consumer, pid {pid}")]
    ConsumerAlive {
        /// The pid of that consumer as the producer's kernel sees it.
        pid: u32,
    },
    /// The producer does not serve this process's uid.
    #[error("refused: the producer does not serve uid {uid}")]
    UidRefused {
        /// The uid under which the producer saw this process.
        uid: u32,
    },
    /// The peer's greeting is not one of this crate.
    #[error("greeting of the producer: {problem}")]
    Greeting {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The kernel refused.
    #[error(transparent)]
    System(#[from] SystemError),
}

/// Why a wait ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The producer's header became impossible.
    #[error(transparent)]
    Header(#[from] HeaderFault),
    /// The kernel refused.
    #[error(transparent)]
    System(#[from] SystemError),
}
