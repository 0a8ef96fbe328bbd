//! The configuration file of the learner: TOML, unknown keys refused.

use meshgate_policy::Name;
use serde::Deserialize;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of the largest configuration file that is read.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// The file is no TOML of the right form.
    #[error("{0}: {1}")]
    Syntax(PathBuf, String),
}

/// Everything a learner is told at start.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of this collector, unique among all collectors of the control plane.
    pub collector: Name,
    /// Where control listens: `http://127.0.0.1:7600` or `unix:/run/meshgate/control.sock`.
    #[serde(default = "default_control")]
    pub control: String,
    /// Socket at which the dataplane hands out its ring of flow records.
    pub flow_ring: PathBuf,
    /// Users beside our own as which the dataplane may run.
    #[serde(default)]
    pub dataplane_uids: Vec<u32>,
    /// Width of the windows that are analysed, in seconds.
    #[serde(default = "default_window_s")]
    pub window_s: u32,
}

/// A minute: long enough for a series to have a usual volume, short enough to act on.
fn default_window_s() -> u32 {
    60
}

fn default_control() -> String {
    "http://127.0.0.1:7600".into()
}

impl Config {
    /// Reads and checks the file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error| ConfigError::Unreadable(path.to_owned(), error);
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut text = String::new();
        file.take(CONFIG_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
        toml::from_str(&text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.as_bytes().iter().take(start).filter(|byte| **byte == b'\n').count() + 1;
            let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
            ConfigError::Syntax(path.to_owned(), format!("line {line}: {message}"))
        })
    }
}
