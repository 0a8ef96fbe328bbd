//! A server for one page: as much of HTTP/1.1 (RFC 9112) as a scraper needs, bounded in every direction.
//!
//! One request a connection. A client that sends too much, too slowly, or does not take its answer, loses its
//! connection and holds up nobody: there are few at once, each with a limit in time.

use super::exposition::exposition;
use super::listen::MetricsListen;
use crate::inside::Inside;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;

/// Connections at once: a few scrapers and a person with curl.
const CONNECTIONS_MAX: usize = 8;
/// Bytes of the largest request; a scraper's has some hundred.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// Time for one request and its answer, below the ten seconds after which scrapers give up.
const EXCHANGE_WAIT: Duration = Duration::from_secs(5);
/// Pause after the system refused a connection, for want of descriptors for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Metrics cannot be offered.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}: {1}")]
pub struct MetricsError(MetricsListen, io::Error);

/// An open socket that is not served yet.
pub struct Metrics {
    socket: Socket,
    inside: Inside,
}

enum Socket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Metrics {
    /// Opens the socket.
    pub fn open(at: &MetricsListen, inside: Inside) -> Result<Self, MetricsError> {
        let socket = bind(at).map_err(|error| MetricsError(at.clone(), error))?;
        tracing::info!(at = %at, "metrics offered");
        Ok(Self { socket, inside })
    }

    /// Returns the address, if it is one.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// Serves for as long as the future is polled; without metrics it only waits.
    pub async fn run(metrics: Option<Self>) {
        let Some(Self { socket, inside }) = metrics else { return std::future::pending().await };
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let served = match socket {
            Socket::Tcp(listener) => tokio::net::TcpListener::from_std(listener).map(Listener::Tcp),
            Socket::Unix(listener) => tokio::net::UnixListener::from_std(listener).map(Listener::Unix),
        };
        let listener = match served {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "metrics not offered");
                return std::future::pending().await;
            }
        };
        loop {
            // Never closed, so that a place is always given.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "connection for metrics not taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let inside = inside.clone();
            tokio::spawn(async move {
                // Too slow, or gone: either way it is over.
                _ = tokio::time::timeout(EXCHANGE_WAIT, exchange(stream, &inside)).await;
                drop(place);
            });
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

enum Listener {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => Ok(Box::new(listener.accept().await?.0)),
            Self::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

fn bind(at: &MetricsListen) -> io::Result<Socket> {
    match at {
        MetricsListen::Tcp(address) => {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(Socket::Tcp(listener))
        }
        MetricsListen::Unix(path) => {
            clear(path)?;
            let listener = std::os::unix::net::UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            Ok(Socket::Unix(listener))
        }
    }
}

/// Removes a socket that nobody listens at; anything else stays and makes binding fail.
fn clear(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Reads one request and answers it.
async fn exchange(mut stream: Box<dyn Stream>, inside: &Inside) -> io::Result<()> {
    let mut request = Vec::with_capacity(1_024);
    let mut limited = (&mut stream).take(REQUEST_BYTES_MAX as u64);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if limited.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    let answer = answer(&request, || exposition(inside));
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// Returns the answer to a request, head and body.
fn answer(request: &[u8], page: impl FnOnce() -> String) -> String {
    if !request.windows(4).any(|end| end == b"\r\n\r\n") {
        return response("400 Bad Request", "the request does not end within 8 KiB\n");
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    match (method, path) {
        ("GET" | "HEAD", "/metrics") => {
            let whole = response("200 OK", &page());
            match (method, whole.find("\r\n\r\n")) {
                ("HEAD", Some(end)) => whole[..end + 4].to_owned(),
                _ => whole,
            }
        }
        ("GET" | "HEAD", _) => response("404 Not Found", "metrics are at /metrics\n"),
        _ => response("405 Method Not Allowed", "only GET is answered\n"),
    }
}

fn response(status: &str, body: &str) -> String {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    let bytes = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(request: &str) -> String {
        let answer = answer(request.as_bytes(), || "x 1\n".to_owned());
        answer.lines().next().unwrap().to_owned()
    }

    #[test]
    fn only_the_page_is_answered() {
        assert_eq!(status("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(status("GET /metrics?x=1 HTTP/1.0\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
        assert_eq!(status("POST /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(status("\u{0}\r\n\r\n"), "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(status("GET /metrics HTTP/1.1\r\n"), "HTTP/1.1 400 Bad Request");
    }

    #[test]
    fn the_length_is_that_of_the_body_and_a_head_has_none() {
        let page = || "x 1\n".to_owned();
        let whole = answer(b"GET /metrics HTTP/1.1\r\n\r\n", page);
        assert!(whole.ends_with("Content-Length: 4\r\nConnection: close\r\n\r\nx 1\n"), "{whole}");
        let head = answer(b"HEAD /metrics HTTP/1.1\r\n\r\n", page);
        assert_eq!(format!("{head}x 1\n"), whole);
    }
}
