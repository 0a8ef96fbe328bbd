//! The ring over which flow records reach a learner.

use serde::Deserialize;
use std::path::PathBuf;

/// The shared-memory ring to the learner.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowRingConfig {
    /// Unix socket over which the ring is handed out.
    pub socket: PathBuf,
    /// Records the ring holds; a power of two.
    #[serde(default = "default_ring_slots")]
    pub slots: u32,
    /// Users beside our own that may read.
    #[serde(default)]
    pub reader_uids: Vec<u32>,
}

fn default_ring_slots() -> u32 {
    65_536
}
