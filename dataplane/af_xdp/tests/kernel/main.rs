//! Tests against the kernel, in network namespaces of their own. They need root and are skipped without.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that fails")]

mod forwarding;
mod ground;
mod lifecycle;
mod measuring;
mod workers;
