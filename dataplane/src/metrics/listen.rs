//! Where metrics are offered.

use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// An address, or a path of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum MetricsListen {
    /// An address with a port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A text that is neither; holds it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metrics: {0:?} is not an address like 127.0.0.1:9600 or unix:/run/meshgate/metrics.sock")]
pub struct NoListen(String);

impl TryFrom<String> for MetricsListen {
    type Error = NoListen;
    fn try_from(text: String) -> Result<Self, NoListen> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(NoListen(text)),
            None => text.parse().map(Self::Tcp).map_err(|_| NoListen(text)),
        }
    }
}

impl fmt::Display for MetricsListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_sockets_are_read_and_others_refused() {
        let read = |text: &str| MetricsListen::try_from(text.to_owned()).map(|listen| listen.to_string());
        for text in ["127.0.0.1:9600", "[::1]:9600", "unix:/run/m.sock"] {
            assert_eq!(read(text).unwrap(), text);
        }
        for text in ["", "9600", "localhost:9600", "unix:m.sock", "http://127.0.0.1:9600"] {
            assert!(read(text).unwrap_err().to_string().starts_with("metrics: "), "{text}");
        }
    }
}
