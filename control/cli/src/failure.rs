//! Everything that can go wrong, each in one line, and the exit code it gives.

use crate::client::CallError;
use crate::policy_file::FileError;
use meshgate_policy::L4MatchError;
use std::process::ExitCode;

/// Exit code of a command that was refused or failed.
const EXIT_FAILED: u8 = 1;
/// Exit code of a command line that cannot be understood.
pub const EXIT_USAGE: u8 = 2;
/// Exit code of waiting for hosts in vain.
const EXIT_NOT_ENFORCED: u8 = 3;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The control plane refused, or was not to be reached.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A policy file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// What the command names does not exist.
    #[error("no {kind} {name} in version {version}; see `meshgate {kind}s list`")]
    NotFound {
        /// "group" and so on.
        kind: &'static str,
        /// Name or number.
        name: String,
        /// The version that was looked at.
        version: u64,
    },
    /// The flags do not go together.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// A version is not enforced.
    #[error(transparent)]
    NotEnforced(#[from] NotEnforced),
    /// An answer that has no form as JSON, TOML or YAML.
    #[error("cannot write the answer as {format}: {reason}")]
    Unwritable {
        /// The format.
        format: &'static str,
        /// Why not.
        reason: String,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {error}")]
    Write {
        /// The file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// A host went away in the middle of a capture.
    #[error("host {host} went away after {packets} packets; what was written until then is good")]
    CutShort {
        /// The host.
        host: String,
        /// Packets in the file.
        packets: u64,
    },
    /// The system gives no threads or descriptors.
    #[error("cannot start: {0}")]
    Start(std::io::Error),
    /// Standard output is gone.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] std::io::Error),
}

/// What is wrong with a command line, beyond what its grammar says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// Layer-4 flags that do not go together.
    #[error("{0}")]
    L4(#[from] L4MatchError),
    /// An update without any change.
    #[error("nothing to change: give at least one flag, see --help")]
    NothingToChange,
    /// A flag of something else than what is edited.
    #[error("{flag}: not for a {kind}, which is what the suggestion proposes")]
    Stray {
        /// The flag.
        flag: &'static str,
        /// What is proposed.
        kind: &'static str,
    },
    /// A flag without which the object cannot be made.
    #[error("{0} is missing, see --help")]
    Missing(&'static str),
    /// `--json` that is not the object.
    #[error("--json: {reason} (column {column})")]
    Json {
        /// What is wrong.
        reason: String,
        /// Where, from 1.
        column: usize,
    },
    /// Packets for a terminal.
    #[error("--write -: standard output is a terminal; name a file, or pipe it into a program")]
    Terminal,
    /// A live view without a terminal.
    #[error("standard output is no terminal; use --once")]
    NoTerminal,
    /// A span that is too long.
    #[error("{0}: is too long")]
    Long(&'static str),
    /// A span that is too short.
    #[error("--interval: is shorter than 200ms")]
    Interval,
    /// Neither a file nor one price.
    #[error("name a FILE with the whole table, or give FROM TO PRICE for one price")]
    Price,
    /// A currency beside a file, which has its own.
    #[error("--currency goes with FROM TO PRICE; a file says its currency itself")]
    Currency,
    /// Member flags against each other.
    #[error("--member replaces the whole list; use it without --add-member and --remove-member")]
    MemberTwice,
}

/// What is lacking for a version to be enforced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEnforced {
    /// Nobody enforces anything.
    #[error("version {0} is not enforced by any host: no dataplane is connected")]
    ByNobody(u64),
    /// Some hosts are behind.
    #[error("version {version} is not enforced yet by {}", hosts.join(", "))]
    Behind {
        /// The version.
        version: u64,
        /// The hosts, each with what it enforces.
        hosts: Vec<String>,
    },
}

impl Failure {
    /// Returns the exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::NotEnforced(_) => EXIT_NOT_ENFORCED,
            Self::Call(_)
            | Self::File(_)
            | Self::NotFound { .. }
            | Self::Unwritable { .. }
            | Self::Write { .. }
            | Self::CutShort { .. }
            | Self::Start(_)
            | Self::Output(_) => EXIT_FAILED,
        })
    }
}
