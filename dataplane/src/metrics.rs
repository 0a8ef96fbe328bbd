//! Counters for Prometheus, in its text format, over a little HTTP.
//!
//! A scrape reads what the workers count and touches nothing of theirs; it runs on the thread that talks to control.

mod exposition;
mod listen;
mod server;

pub use exposition::exposition;
pub use listen::MetricsListen;
pub use server::{Metrics, MetricsError};
