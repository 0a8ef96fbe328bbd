//! Everything that the learner knows, in one file.
//!
//! ```text
//! magic (8) | format (4) | features (8) | length (8) | SHA-256 of the content (32) | content
//! ```
//! The content is the hyperparameters, the name of the model's version, trainer (weights, optimizer, scale, rows to learn
//! from), detector (states of series, calibrations, the model that it judges by) and sections of other parts, which are bytes
//! here. The file is written beside its place, made durable, and moved there: whoever reads sees the old one or the new one.
//!
//! A file of another program, another format, other features or other hyperparameters is refused by name, and so is one
//! that lost its end or a bit. The caller then begins anew; nothing is ever half taken over. `features` is the start of the
//! SHA-256 over their names and meanings: weights are worth nothing when a column means something else.

pub mod saved;

use crate::detector::Detector;
use crate::features::{NAMES, TARGETS};
use crate::model::version;
use crate::train::{Hyperparameters, Trainer};
use saved::{Reader, Saved, SavedError, Writer};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Format of the content. Any change of what is saved is a new one.
pub const FORMAT: u32 = 2;
/// Bytes of the largest checkpoint that is read: rows, states and weights at their bounds take 80 MB.
pub const CHECKPOINT_BYTES_MAX: u64 = 256 << 20;
/// Sections of other parts.
pub const SECTIONS_MAX: usize = 64;

const MAGIC: [u8; 8] = *b"MGLEARN\n";
/// Bytes before the content.
const HEAD_BYTES: usize = 8 + 4 + 8 + 8 + 32;

/// Why there is no checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read or written.
    #[error("{0}: {1}")]
    Unusable(PathBuf, std::io::Error),
    /// It is larger than any checkpoint.
    #[error("the checkpoint is larger than {CHECKPOINT_BYTES_MAX} bytes")]
    TooLarge,
    /// It is a file of something else.
    #[error("not a checkpoint of this learner")]
    Foreign,
    /// An older program wrote it.
    #[error("the checkpoint has format {0}, older than {FORMAT}")]
    Older(u32),
    /// A newer program wrote it.
    #[error("the checkpoint has format {0}, newer than {FORMAT}")]
    Newer(u32),
    /// Its end is missing.
    #[error("the checkpoint is truncated: {found} of {expected} bytes")]
    Truncated {
        /// Bytes that there are.
        found: u64,
        /// Bytes that there should be.
        expected: u64,
    },
    /// Its content is not what was written.
    #[error("the checkpoint is damaged: its hash does not fit")]
    Damaged,
    /// It was learned from other features.
    #[error("the checkpoint was learned from other features")]
    OtherFeatures,
    /// It was learned otherwise.
    #[error("the checkpoint was learned with other hyperparameters")]
    OtherHyperparameters,
    /// Its content makes no sense although its hash fits.
    #[error(transparent)]
    Malformed(#[from] SavedError),
}

/// A name, and bytes of another part.
pub type Section = (String, Vec<u8>);

/// What a checkpoint holds.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Learns on.
    pub trainer: Trainer,
    /// Judges on.
    pub detector: Detector,
    /// What other parts gave along.
    pub sections: Vec<Section>,
}

/// Returns the bytes of a checkpoint.
pub fn encode(trainer: &Trainer, detector: &Detector, sections: &[Section]) -> Vec<u8> {
    let mut content = Writer::default();
    trainer.hyperparameters().write(&mut content);
    version(trainer.steps()).write(&mut content);
    trainer.write(&mut content);
    detector.write(&mut content);
    sections.len().write(&mut content);
    sections.iter().for_each(|section| section.write(&mut content));
    let mut file = Writer(MAGIC.to_vec());
    FORMAT.write(&mut file);
    features_hash().write(&mut file);
    content.0.len().write(&mut file);
    <[u8; 32]>::from(Sha256::digest(&content.0)).write(&mut file);
    file.0.append(&mut content.0);
    file.0
}

/// Returns the checkpoint of these bytes, if it is ours, whole, and was learned in the way that is asked for.
pub fn decode(bytes: &[u8], hyperparameters: &Hyperparameters) -> Result<Checkpoint, CheckpointError> {
    let magic = &bytes[..bytes.len().min(MAGIC.len())];
    if magic.is_empty() || *magic != MAGIC[..magic.len()] {
        return Err(CheckpointError::Foreign);
    }
    let truncated = |expected: u64| CheckpointError::Truncated { found: bytes.len() as u64, expected };
    let mut head = Reader(bytes.get(..HEAD_BYTES).ok_or_else(|| truncated(HEAD_BYTES as u64))?);
    head.take(MAGIC.len())?;
    match u32::read(&mut head)? {
        older if older < FORMAT => return Err(CheckpointError::Older(older)),
        newer if newer > FORMAT => return Err(CheckpointError::Newer(newer)),
        _ => {}
    }
    let features = <[u8; 8]>::read(&mut head)?;
    let length = u64::read(&mut head)?;
    let hash = <[u8; 32]>::read(&mut head)?;
    let content = &bytes[HEAD_BYTES..];
    if (content.len() as u64) < length {
        return Err(truncated(length.saturating_add(HEAD_BYTES as u64)));
    }
    if content.len() as u64 != length || <[u8; 32]>::from(Sha256::digest(content)) != hash {
        return Err(CheckpointError::Damaged);
    }
    if features != features_hash() {
        return Err(CheckpointError::OtherFeatures);
    }
    content_of(content, hyperparameters)
}

/// Writes the bytes of a checkpoint in place of the one that was there.
pub fn store(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    if bytes.len() as u64 > CHECKPOINT_BYTES_MAX {
        // The next start would not read it: the one before is worth more.
        return Err(CheckpointError::TooLarge);
    }
    let mut beside = OsString::from(path);
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        // The move itself is durable only with the folder.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| CheckpointError::Unusable(path.to_owned(), error))
}

/// Reads the checkpoint of a file; none if there is no file.
pub fn load(path: &Path, hyperparameters: &Hyperparameters) -> Result<Option<Checkpoint>, CheckpointError> {
    let unusable = |error| CheckpointError::Unusable(path.to_owned(), error);
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(unusable)?,
    };
    let mut bytes = Vec::new();
    file.take(CHECKPOINT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unusable)?;
    if bytes.len() as u64 > CHECKPOINT_BYTES_MAX {
        return Err(CheckpointError::TooLarge);
    }
    decode(&bytes, hyperparameters).map(Some)
}

fn content_of(content: &[u8], hyperparameters: &Hyperparameters) -> Result<Checkpoint, CheckpointError> {
    let mut from = Reader(content);
    if Hyperparameters::read(&mut from)? != *hyperparameters {
        return Err(CheckpointError::OtherHyperparameters);
    }
    let _version = String::read(&mut from)?;
    let trainer = Trainer::read(&mut from)?;
    let detector = Detector::read(&mut from)?;
    let sections: Vec<Section> = Vec::read(&mut from)?;
    if sections.len() > SECTIONS_MAX || !from.0.is_empty() {
        return Err(SavedError::Malformed("sections").into());
    }
    Ok(Checkpoint { trainer, detector, sections })
}

/// Returns what tells these features from others.
fn features_hash() -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update([u8::try_from(TARGETS).expect("a row has a dozen targets")]);
    for feature in NAMES {
        hash.update(feature.name);
        hash.update([0]);
        hash.update(feature.meaning);
        hash.update([0]);
    }
    let digest: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|at| digest[at])
}

#[cfg(test)]
mod tests;
