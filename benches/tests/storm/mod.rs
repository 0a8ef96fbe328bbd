//! Parts of the storm: which policy could be in force when, what endpoints try and receive, and what processes take.

pub mod attempts;
pub mod capture;
pub mod event;
pub mod ledger;
pub mod lives;

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the time by which policies, attempts and captured frames are put in order.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}
