//! The one message that the producer sends before wake-ups: here is the ring, or why not.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::HandOverError;
use crate::layout::LAYOUT_VERSION;

/// First word of the greeting, "mgflowhi" in a dump.
const MAGIC: u64 = u64::from_le_bytes(*b"mgflowhi");

/// The ring comes with this message.
const HANDED_OVER: u32 = 0;
/// Somebody else has the ring; the detail is its pid.
const CONSUMER_ALIVE: u32 = 1;
/// The caller's uid is not served; the detail is the uid.
const UID_REFUSED: u32 = 2;

/// The message. It says nothing about the ring itself: that stands in the header, which is checked there.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct Greeting {
    /// [`MAGIC`].
    magic: u64,
    /// [`LAYOUT_VERSION`].
    layout_version: u32,
    /// One of the three answers.
    answer: u32,
    /// What the answer is about.
    detail: u32,
    /// Zeros.
    reserved: u32,
}

impl Greeting {
    fn new(answer: u32, detail: u32) -> Self {
        Self { magic: MAGIC, layout_version: LAYOUT_VERSION, answer, detail, reserved: 0 }
    }

    /// Returns the greeting that the descriptors travel with.
    pub fn handed_over() -> Self {
        Self::new(HANDED_OVER, 0)
    }

    /// Returns the refusal of a second consumer.
    pub fn consumer_alive(pid: u32) -> Self {
        Self::new(CONSUMER_ALIVE, pid)
    }

    /// Returns the refusal of a stranger.
    pub fn uid_refused(uid: u32) -> Self {
        Self::new(UID_REFUSED, uid)
    }

    /// Returns whether a ring was handed over, or why not.
    pub fn check(&self) -> Result<(), HandOverError> {
        let Self { magic, layout_version, answer, detail, reserved: _ } = *self;
        if magic != MAGIC {
            return Err(HandOverError::Greeting { problem: "another magic number" });
        }
        if layout_version != LAYOUT_VERSION {
            return Err(HandOverError::Greeting { problem: "another layout version" });
        }
        match answer {
            HANDED_OVER => Ok(()),
            CONSUMER_ALIVE => Err(HandOverError::ConsumerAlive { pid: detail }),
            UID_REFUSED => Err(HandOverError::UidRefused { uid: detail }),
            _ => Err(HandOverError::Greeting { problem: "an unknown answer" }),
        }
    }
}
