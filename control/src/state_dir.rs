//! The state directory: readable by its owner only, used by one process at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Name of the file whose lock says that the directory is in use.
const LOCK_FILE: &str = "lock";

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// It cannot be created or opened.
    #[error("state_dir: {}: {source}", path.display())]
    Unusable {
        /// The directory or its lock file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process uses it.
    #[error("state_dir: {} is in use by another meshgate-control", .0.display())]
    InUse(PathBuf),
}

/// The directory, locked for as long as this value lives. The kernel gives the lock back also after `kill -9`.
#[derive(Debug)]
pub struct StateDir {
    _lock: File,
}

impl StateDir {
    /// Creates the directory with mode 0700 if it is missing, and locks it.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |source| StateDirError::Unusable { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable(path))?;
        let mode = std::fs::metadata(path).map_err(unusable(path))?.mode();
        if mode & 0o077 != 0 {
            tracing::warn!(state_dir = %path.display(), mode = format!("{:o}", mode & 0o7777), "others may read it");
        }
        let file = path.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).open(&file);
        let lock = lock.map_err(unusable(&file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateDirError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(unusable(&file)(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_private_and_used_once() {
        let path = std::env::temp_dir().join(format!("meshgate-state-{}", std::process::id()));
        let first = StateDir::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let refusal = StateDir::open(&path).unwrap_err().to_string();
        assert_eq!(refusal, format!("state_dir: {} is in use by another meshgate-control", path.display()));
        drop(first);
        StateDir::open(&path).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
    }
}
