//! The configuration file: where to listen, where to keep state, how long.
//!
//! ```toml
//! listen = "127.0.0.1:7600"            # or "unix:/run/meshgate/control.sock"
//! state_dir = "/var/lib/meshgate/control"
//! store = "postgres://meshgate@127.0.0.1/meshgate"   # default: sqlite in state_dir
//! versions_kept = 1000
//!
//! [retention]
//! tens_kept_h = 24
//! minutes_kept_d = 14
//! hours_kept_d = 400
//! ```

use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Bytes of the largest configuration file that is read: it holds a dozen lines.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of the longest path of a Unix socket: the kernel's `sun_path` less its terminating zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Why a configuration is refused: one line that names the file and the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file is not TOML, or has a key or value that it must not have.
    #[error("{}: line {line}: {key}: {reason}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Line of the fault, from 1.
        line: usize,
        /// The key of that line.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A value that cannot be used.
    #[error("{}: {key}: {reason}", file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// The key.
        key: &'static str,
        /// What is wrong with its value.
        reason: ValueFault,
    },
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueFault {
    /// Neither an address with a port nor a Unix socket.
    #[error("{0:?} is not an address like 127.0.0.1:7600 or unix:/run/meshgate/control.sock")]
    Listen(String),
    /// An address that others can reach.
    #[error(
        "{0} is not a loopback address; without certificates control listens on loopback or a Unix socket only"
    )]
    NotLoopback(SocketAddr),
    /// A path that is not absolute.
    #[error("{0:?} is not an absolute path")]
    NotAbsolute(PathBuf),
    /// A socket path that the kernel does not take; holds its bytes.
    #[error("the path has {0} bytes, a Unix socket at most {SOCKET_PATH_BYTES_MAX}")]
    SocketPath(usize),
    /// A store of no known kind; holds the part before the colon.
    #[error("{0:?} is not a store; begin with sqlite: or postgres:")]
    Store(String),
    /// A number outside its range.
    #[error("{0} is not between {1} and {2}")]
    Range(u32, u32, u32),
}

/// Where control listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How long roll-ups are kept, by width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Hours that buckets of 10 seconds are kept.
    pub tens_kept_h: u32,
    /// Days that buckets of one minute are kept.
    pub minutes_kept_d: u32,
    /// Days that buckets of one hour are kept.
    pub hours_kept_d: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { tens_kept_h: 24, minutes_kept_d: 14, hours_kept_d: 400 }
    }
}

/// The configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// Directory of the lock and, by default, of the store.
    pub state_dir: PathBuf,
    /// Connection URL of the store.
    pub store: String,
    /// Versions that are kept; older ones are forgotten.
    pub versions_kept: u32,
    /// How long roll-ups are kept.
    pub retention: Retention,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: String,
    state_dir: PathBuf,
    store: Option<String>,
    #[serde(default = "versions_kept_by_default")]
    versions_kept: u32,
    #[serde(default)]
    retention: Retention,
}

fn versions_kept_by_default() -> u32 {
    1_000
}

impl Config {
    /// Reads and checks a configuration file.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |reason: String| ConfigError::Unreadable { file: file.to_owned(), reason };
        let bytes = std::fs::metadata(file).map_err(|error| unreadable(error.to_string()))?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(unreadable(format!("{bytes} bytes, at most {FILE_BYTES_MAX} are possible")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
        Self::parse(file, &text)
    }

    /// Checks the text of a configuration file; `file` is only named in errors.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let parsed: File = toml::from_str(text).map_err(|error| syntax(file, text, &error))?;
        let value = |key, reason| ConfigError::Value { file: file.to_owned(), key, reason };
        let File { listen, state_dir, store, versions_kept, retention } = parsed;
        let Retention { tens_kept_h, minutes_kept_d, hours_kept_d } = retention;
        check_range(versions_kept, 1, 1_000_000).map_err(|reason| value("versions_kept", reason))?;
        check_range(tens_kept_h, 1, 24 * 365).map_err(|reason| value("retention.tens_kept_h", reason))?;
        check_range(minutes_kept_d, 1, 3_650).map_err(|reason| value("retention.minutes_kept_d", reason))?;
        check_range(hours_kept_d, 1, 36_500).map_err(|reason| value("retention.hours_kept_d", reason))?;
        if !state_dir.is_absolute() {
            return Err(value("state_dir", ValueFault::NotAbsolute(state_dir)));
        }
        let store = match store {
            Some(url) => check_store(url).map_err(|reason| value("store", reason))?,
            None => sqlite_url(&state_dir.join("control.sqlite")),
        };
        let listen = parse_listen(&listen).map_err(|reason| value("listen", reason))?;
        Ok(Self { listen, state_dir, store, versions_kept, retention })
    }
}

/// Returns the connection URL of a SQLite file.
pub fn sqlite_url(file: &Path) -> String {
    let escaped = file.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    format!("sqlite:{escaped}")
}

fn check_range(value: u32, min: u32, max: u32) -> Result<(), ValueFault> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(ValueFault::Range(value, min, max)) }
}

fn check_store(url: String) -> Result<String, ValueFault> {
    let kind = url.split(':').next().unwrap_or_default();
    if url.contains(':') && matches!(kind, "sqlite" | "postgres" | "postgresql") {
        return Ok(url);
    }
    Err(ValueFault::Store(kind.to_owned()))
}

fn parse_listen(text: &str) -> Result<Listen, ValueFault> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return match path.as_os_str().len() {
            _ if !path.is_absolute() => Err(ValueFault::NotAbsolute(path)),
            bytes if bytes > SOCKET_PATH_BYTES_MAX => Err(ValueFault::SocketPath(bytes)),
            _ => Ok(Listen::Unix(path)),
        };
    }
    let address: SocketAddr = text.parse().map_err(|_| ValueFault::Listen(text.to_owned()))?;
    if address.ip().is_loopback() { Ok(Listen::Tcp(address)) } else { Err(ValueFault::NotLoopback(address)) }
}

fn syntax(file: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.get(..start).unwrap_or_default();
    let line_text = text.lines().nth(before.matches('\n').count()).unwrap_or_default();
    ConfigError::Syntax {
        file: file.to_owned(),
        line: before.matches('\n').count() + 1,
        key: line_text.split('=').next().unwrap_or_default().trim().chars().take(64).collect(),
        reason: error.message().lines().next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("control.toml"), text)
    }

    fn refusal(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn two_lines_are_enough() {
        let config = parse("listen = '127.0.0.1:7600'\nstate_dir = '/var/lib/m'").unwrap();
        assert_eq!(config.store, "sqlite:/var/lib/m/control.sqlite");
        assert_eq!(config.retention, Retention::default());
        let unix = parse("listen = 'unix:/run/c.sock'\nstate_dir = '/s'").unwrap();
        assert_eq!(unix.listen, Listen::Unix("/run/c.sock".into()));
    }

    #[test]
    fn an_address_that_others_can_reach_is_refused_by_name() {
        let error = refusal("listen = '0.0.0.0:7600'\nstate_dir = '/s'");
        assert!(error.starts_with("control.toml: listen: 0.0.0.0:7600 is not a loopback address"), "{error}");
    }

    #[test]
    fn faults_name_file_line_and_key_in_one_line() {
        let error = refusal("listen = '127.0.0.1:7600'\nstate_dir = '/s'\nlisen = 3");
        assert!(error.starts_with("control.toml: line 3: lisen: unknown field `lisen`"), "{error}");
        let error = refusal("listen = 7\nstate_dir = '/s'");
        assert!(error.starts_with("control.toml: line 1: listen: invalid type"), "{error}");
        for text in ["", "listen = ", "listen = '127.0.0.1:1'", "\u{0}", "[retention]\nx = 1"] {
            assert_eq!(refusal(text).lines().count(), 1, "{text:?}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused_by_key() {
        let base = "listen = '127.0.0.1:1'\nstate_dir = '/s'\n";
        let error = refusal(&format!("{base}[retention]\ntens_kept_h = 0"));
        assert_eq!(error, "control.toml: retention.tens_kept_h: 0 is not between 1 and 8760");
        assert!(refusal(&format!("{base}store = 'mysql://x'")).contains("store: \"mysql\" is not a store"));
        assert!(refusal("listen = '127.0.0.1:1'\nstate_dir = 's'").contains("state_dir: \"s\" is not an"));
    }
}
