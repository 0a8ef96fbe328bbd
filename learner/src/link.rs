//! The connection to control that subscriber and reporter share.

use hyper_util::rt::TokioIo;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint, Uri};

/// How long a connection attempt may take, and how often a silent connection is probed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address is none.
    #[error("{0:?} is no address of a control plane: write http://HOST:PORT or unix:/PATH")]
    Address(String),
    /// It cannot be reached.
    #[error("not reachable: {0}")]
    Connect(String),
    /// The other side refused or ended with this.
    #[error("{0}")]
    Status(Box<tonic::Status>),
    /// The other side ended.
    #[error("the stream ended")]
    Ended,
}

/// Connects to `http://HOST:PORT` or `unix:/PATH`.
pub async fn connect(address: &str) -> Result<Channel, LinkError> {
    let unreachable = |error: tonic::transport::Error| {
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        LinkError::Connect(cause)
    };
    let tune = |endpoint: Endpoint| {
        let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT);
        endpoint.http2_keep_alive_interval(CONNECT_TIMEOUT).keep_alive_while_idle(true)
    };
    if let Some(path) = address.strip_prefix("unix:") {
        let path = path.to_owned();
        let open = move |_: Uri| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        };
        let endpoint = tune(Endpoint::from_static("http://unix"));
        return endpoint.connect_with_connector(tower::service_fn(open)).await.map_err(unreachable);
    }
    let endpoint =
        Endpoint::from_shared(address.to_owned()).map_err(|_| LinkError::Address(address.to_owned()))?;
    tune(endpoint).connect().await.map_err(unreachable)
}
