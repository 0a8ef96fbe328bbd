//! What every run begins with: the policy that was accepted last, or the configured beginning.

use crate::classifier::Compiler;
use crate::config::Config;
use crate::last_good::{LastGood, LastGoodError};
use crate::published::Published;
use crate::subscriber::{ApplyError, Host, decode};
use meshgate_policy::Policy;
use std::sync::Arc;

/// Why there is no beginning.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] LastGoodError),
    /// Not even the empty policy compiles.
    #[error("the first policy: {0}")]
    Compile(#[from] ApplyError),
}

/// The first policy of a run.
pub struct Start {
    /// What it is compiled for.
    pub host: Host,
    /// It, compiled, until it is taken.
    published: Option<Published>,
    /// It, if it is one that was accepted.
    pub accepted: Option<Arc<Policy>>,
    /// What compiled it, for the versions that follow.
    pub compiler: Compiler,
    /// Where accepted policies are kept.
    pub last_good: LastGood,
}

impl Start {
    /// Reads the last accepted policy. One that cannot be used is set aside, logged, and the configured beginning
    /// taken: refusing to start would leave the host without any enforcement at all.
    pub fn of(config: &Config, workers: usize) -> Result<Self, StartError> {
        let host = Host {
            name: config.host.clone(),
            devices: config.devices.iter().map(crate::config::DeviceConfig::binding).collect(),
            workers,
        };
        let last_good = LastGood::open(&config.state_dir)?;
        let kept = last_good.read()?;
        let Some(bytes) = kept else {
            tracing::warn!(start_action = %config.start_action, "no policy was ever accepted here");
            return Self::beginning(config, host, last_good);
        };
        let mut compiler = Compiler::default();
        let usable = decode(&bytes).map(Arc::new).and_then(|policy| {
            let published = host.compile_next(&mut compiler, &policy).map_err(|error| error.to_string())?;
            Ok((policy, published))
        });
        match usable {
            Ok((policy, published)) => {
                tracing::info!(version = policy.version.0, digest = %published.digest.short(), "last accepted policy");
                Ok(Self { host, published: Some(published), accepted: Some(policy), compiler, last_good })
            }
            Err(fault) => {
                let path = last_good.set_aside()?;
                tracing::error!(%fault, set_aside = %path.display(), start_action = %config.start_action,
                    "the last accepted policy cannot be used");
                Self::beginning(config, host, last_good)
            }
        }
    }

    /// Takes the compiled policy, to hand it to a worker. It can be taken once.
    pub fn take_published(&mut self) -> Result<Published, StartError> {
        match self.published.take() {
            Some(published) => Ok(published),
            None => Ok(self.host.compile(&Policy::empty(meshgate_policy::Action::Deny))?),
        }
    }

    fn beginning(config: &Config, host: Host, last_good: LastGood) -> Result<Self, StartError> {
        let published = host.compile(&Policy::empty(config.start_action))?;
        Ok(Self {
            host,
            published: Some(published),
            accepted: None,
            compiler: Compiler::default(),
            last_good,
        })
    }
}
