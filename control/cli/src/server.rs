//! Where the control plane listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The address used when nobody names one.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:7600";

/// An address of the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// TCP; holds `http://host:port`.
    Tcp(String),
    /// A Unix socket; holds its path.
    Unix(PathBuf),
}

/// Why a text is no address of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// Neither `http://` nor `unix:`.
    #[error("{0:?} is not an address like {DEFAULT_SERVER} or unix:/run/meshgate/control.sock")]
    Text(String),
    /// Encrypted transport, which this client does not speak.
    #[error("{0:?}: https is not supported; use http:// on loopback, or unix:")]
    Https(String),
}

impl FromStr for Server {
    type Err = ServerError;
    fn from_str(text: &str) -> Result<Self, ServerError> {
        let bad = || ServerError::Text(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(bad()) } else { Ok(Self::Unix(path.into())) };
        }
        if text.starts_with("https://") {
            return Err(ServerError::Https(text.to_owned()));
        }
        let authority = match text.split_once("://") {
            Some(("http", authority)) => authority.trim_end_matches('/'),
            Some(_) => return Err(bad()),
            None => text, // `host:port` is what many people type.
        };
        let is_plain = !authority.contains(|c: char| c == '/' || c == '?' || c == '@' || c.is_whitespace());
        match authority.rsplit_once(':') {
            Some((host, port)) if is_plain && !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(format!("http://{authority}")))
            }
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(url) => f.write_str(url),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_sockets_and_bare_authorities_are_read() {
        for (text, shown) in [
            ("http://127.0.0.1:7600", "http://127.0.0.1:7600"),
            ("http://[::1]:7600/", "http://[::1]:7600"),
            ("control.lan:7600", "http://control.lan:7600"),
            ("unix:/run/m.sock", "unix:/run/m.sock"),
            ("unix:///run/m.sock", "unix:/run/m.sock"),
        ] {
            assert_eq!(text.parse::<Server>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn texts_that_are_no_address_are_refused() {
        for text in ["", "unix:", "ftp://x:1", "http://x", "x:99999", "http://a b:1", "http://x:1/y"] {
            assert!(matches!(text.parse::<Server>(), Err(ServerError::Text(_))), "{text}");
        }
        assert!("https://x:1".parse::<Server>().unwrap_err().to_string().contains("https is not supported"));
    }
}
