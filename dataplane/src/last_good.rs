//! The last accepted policy on disk, so that a host enforces it after a restart before control can be reached.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Name of the file in the state directory.
const FILE: &str = "last-good.policy";
/// Bytes of the largest policy that is read back: well above what the limits of a policy allow.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Why the file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot {what}: {error}")]
pub struct LastGoodError {
    path: PathBuf,
    what: &'static str,
    error: std::io::Error,
}

/// The place where the last accepted policy is kept.
#[derive(Clone, Debug)]
pub struct LastGood {
    dir: PathBuf,
}

impl LastGood {
    /// Returns the place in this directory, which is made if it is absent.
    pub fn open(dir: &Path) -> Result<Self, LastGoodError> {
        let failed = |error| LastGoodError { path: dir.to_owned(), what: "make the directory", error };
        std::fs::create_dir_all(dir).map_err(failed)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Returns the file's path.
    pub fn path(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    /// Returns the bytes that were written last; none if none ever were.
    pub fn read(&self) -> Result<Option<Vec<u8>>, LastGoodError> {
        let failed = |what| move |error| LastGoodError { path: self.path(), what, error };
        let file = match std::fs::File::open(self.path()) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open")(error)),
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed("read"))?;
        Ok(Some(bytes))
    }

    /// Moves a file that cannot be used out of the way and returns where it is.
    pub fn set_aside(&self) -> Result<PathBuf, LastGoodError> {
        let aside = self.dir.join(format!("{FILE}.unusable"));
        let failed = |error| LastGoodError { path: self.path(), what: "set aside", error };
        std::fs::rename(self.path(), &aside).map_err(failed)?;
        Ok(aside)
    }

    /// Writes the bytes so that a crash at any moment leaves the old or the new ones: beside, synced, renamed.
    pub fn write(&self, bytes: &[u8]) -> Result<(), LastGoodError> {
        let beside = self.dir.join(format!("{FILE}.new"));
        let failed = |what| {
            let path = beside.clone();
            move |error| LastGoodError { path, what, error }
        };
        let mut file = std::fs::File::create(&beside).map_err(failed("create"))?;
        file.write_all(bytes).map_err(failed("write"))?;
        file.sync_all().map_err(failed("sync"))?;
        std::fs::rename(&beside, self.path()).map_err(failed("rename"))?;
        std::fs::File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(|error| LastGoodError {
            path: self.dir.clone(),
            what: "sync",
            error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_last_is_read_back() {
        let dir = std::env::temp_dir().join(format!("meshgate-last-good-{}", std::process::id()));
        let place = LastGood::open(&dir).unwrap();
        assert!(place.read().unwrap().is_none());
        place.write(b"one").unwrap();
        place.write(b"two").unwrap();
        assert_eq!(place.read().unwrap().unwrap(), b"two");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let error = LastGood::open(Path::new("/proc/none")).unwrap_err().to_string();
        assert!(error.starts_with("/proc/none: cannot make the directory"), "{error}");
    }
}
