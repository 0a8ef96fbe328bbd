//! The configuration file of the learner: TOML, unknown keys refused.

use crate::adviser::AdviserSettings;
use crate::analysis::Rhythm;
use crate::analyst::AnalystSettings;
use crate::detector::DetectorConfig;
use crate::replay_buffer::CHUNKS_MAX;
use crate::train::Hyperparameters;
use meshgate_policy::Name;
use serde::Deserialize;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// A value is out of range.
    #[error("{path}: {key}: {value} is not {range}", path = .0.display(), key = .1, value = .2, range = .3)]
    Range(PathBuf, &'static str, f64, &'static str),
    /// The checkpoint's folder does not exist.
    #[error("{0}: checkpoint: {1}: the folder does not exist")]
    Folder(PathBuf, PathBuf),
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
    /// Width of the windows that are analysed, in seconds: 1 to 3,600.
    #[serde(default = "default_window_s")]
    pub window_s: u32,
    /// File in which everything learned is kept; without one it ends with the process.
    #[serde(default)]
    pub checkpoint: Option<PathBuf>,
    /// Seconds between two checkpoints.
    #[serde(default = "default_checkpoint_every_s")]
    pub checkpoint_every_s: u32,
    /// Share of the time that is for learning, 0 to 1.
    #[serde(default = "default_training_share")]
    pub training_share: f64,
    /// Seed of the network and of what is drawn while learning.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Full chunks of rows that are kept to learn from: 1 to 8,192. Each takes 2.7 kB, and half-full ones as many again.
    /// Where more series than that are active at once, they take the room from each other before a chunk is full.
    #[serde(default = "default_replay_chunks")]
    pub replay_chunks: usize,
    /// When something is unusual.
    #[serde(default)]
    pub detector: DetectorConfig,
    /// When something is steady, and how much is suggested.
    #[serde(default)]
    pub adviser: AdviserSettings,
}

/// The highest price of a permitted tuple: far beyond the point from which everything is listed.
const PERMITTED_PRICE_MAX: f64 = 1_000.0;
/// The longest time for which a suggestion waits: a year.
const EXPIRY_S_MAX: u64 = 366 * 86_400;

fn default_control() -> String {
    "http://127.0.0.1:7600".into()
}

/// A minute: long enough for a series to have a usual volume, short enough to act on.
fn default_window_s() -> u32 {
    60
}

/// Five windows of a minute: what a kill costs the most is that much learning, and no answer.
fn default_checkpoint_every_s() -> u32 {
    300
}

/// A fifth of a core learns; a dataplane's host has other work.
fn default_training_share() -> f64 {
    0.2
}

fn default_seed() -> u64 {
    Hyperparameters::default().seed
}

fn default_replay_chunks() -> usize {
    Hyperparameters::default().replay_chunks
}

impl Config {
    /// Reads and checks the file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error| ConfigError::Unreadable(path.to_owned(), error);
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut text = String::new();
        file.take(CONFIG_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
        let config: Self = toml::from_str(&text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.as_bytes().iter().take(start).filter(|byte| **byte == b'\n').count() + 1;
            let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
            ConfigError::Syntax(path.to_owned(), format!("line {line}: {message}"))
        })?;
        config.check(path)?;
        Ok(config)
    }

    /// Returns how the analyst works.
    pub fn analyst(&self) -> AnalystSettings {
        AnalystSettings {
            window_s: self.window_s,
            detector: self.detector.clone(),
            adviser: self.adviser.clone(),
            hyperparameters: Hyperparameters {
                seed: self.seed,
                replay_chunks: self.replay_chunks,
                ..Hyperparameters::default()
            },
        }
    }

    /// Returns when the analyst does what.
    pub fn rhythm(&self) -> Rhythm {
        Rhythm {
            training_share: self.training_share,
            checkpoint: self.checkpoint.clone(),
            checkpoint_every: Duration::from_secs(self.checkpoint_every_s.into()),
        }
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let shares = [
            ("training_share", self.training_share),
            ("detector.p_value_max", self.detector.p_value_max),
            ("adviser.steady_answered_share", self.adviser.steady_answered_share),
            ("adviser.confidence_min", self.adviser.confidence_min),
        ];
        let range = |key, value, range| Err(ConfigError::Range(path.to_owned(), key, value, range));
        for (key, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return range(key, value, "between 0 and 1");
            }
        }
        if !(1..=3_600).contains(&self.window_s) {
            return range("window_s", self.window_s.into(), "between 1 and 3600");
        }
        if !(1..=CHUNKS_MAX).contains(&self.replay_chunks) {
            return range("replay_chunks", self.replay_chunks as f64, "between 1 and 8192");
        }
        if self.checkpoint_every_s == 0 {
            return range("checkpoint_every_s", 0.0, "above 0");
        }
        let folder = self.checkpoint.as_deref().and_then(Path::parent);
        match folder.filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
            Some(folder) => Err(ConfigError::Folder(path.to_owned(), folder.to_owned())),
            None => self.check_adviser(path),
        }
    }

    fn check_adviser(&self, path: &Path) -> Result<(), ConfigError> {
        let AdviserSettings { permitted_price, expiry_s, anomaly_expiry_s, .. } = self.adviser;
        let range = |key, value, range| Err(ConfigError::Range(path.to_owned(), key, value, range));
        if !(0.0..=PERMITTED_PRICE_MAX).contains(&permitted_price) {
            return range("adviser.permitted_price", permitted_price, "between 0 and 1000");
        }
        for (key, seconds) in [("adviser.expiry_s", expiry_s), ("adviser.anomaly_expiry_s", anomaly_expiry_s)]
        {
            if !(1..=EXPIRY_S_MAX).contains(&seconds) {
                return range(key, crate::proportion::real(seconds), "between 1 and 31622400");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, text: &str) -> String {
        let path = std::env::temp_dir().join(format!("meshgate-learner-{name}-{}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let error = Config::read(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        error
    }

    #[test]
    fn wrong_values_are_refused_by_key() {
        let base = "collector = 'a'\nflow_ring = '/tmp/ring'\n";
        for (name, line, shown) in [
            ("share", "training_share = 1.5", "training_share: 1.5 is not between 0 and 1"),
            ("window", "window_s = 0", "window_s: 0 is not between 1 and 3600"),
            ("replay", "replay_chunks = 9000", "replay_chunks: 9000 is not between 1 and 8192"),
            ("key", "windows = 1", "line 3: unknown field `windows`"),
            ("folder", "checkpoint = '/nowhere/a.bin'", "checkpoint: /nowhere: the folder does not exist"),
            (
                "price",
                "[adviser]\npermitted_price = -1.0",
                "adviser.permitted_price: -1 is not between 0 and 1000",
            ),
            ("expiry", "[adviser]\nexpiry_s = 0", "adviser.expiry_s: 0 is not between 1 and 31622400"),
            ("nested", "[detector]\np_value_max = -1.0", "detector.p_value_max: -1 is not between 0 and 1"),
        ] {
            let error = refusal(name, &format!("{base}{line}\n"));
            assert!(error.contains(shown), "{error}");
        }
    }
}
