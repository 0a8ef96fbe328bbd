//! Frames that somebody changed on the way to a host, what the host does with them, and whether that is right.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

pub mod cases;
pub mod host;
pub mod mutate;
pub mod noise;
pub mod oracle;
pub mod scenes;
pub mod tape;
