//! The time of day, read at the edges and passed on as a value.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns nanoseconds since 1970; 0 before it.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
