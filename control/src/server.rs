//! The running program: socket, services, the tasks beside them, and an orderly end.

use crate::clock::now_ns;
use crate::config::{Config, Listen};
use crate::keeper::Keeper;
use crate::state_dir::{StateDir, StateDirError};
use crate::store::{Store, StoreError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server as Transport;

/// How often what hosts report of leases becomes policy: often enough for a machine that starts, seldom enough that a
/// hundred that start together make one version.
const LEASES_SETTLED_EVERY: Duration = Duration::from_millis(200);
/// Time between writes of what changed of the hosts. An acknowledged commit never waits for this.
const HOSTS_KEPT_EVERY_S: u64 = 1;
/// Time between deletions of what has been kept long enough.
const FORGET_EVERY_S: u64 = 60;
/// Seconds between looks for suggestions whose time is up: they live for days.
const EXPIRED_EVERY_S: u64 = 10;
/// Time between looks for another control's commit in a shared store.
const REFRESH_EVERY_S: u64 = 1;
/// Time between looks at what may be accepted automatically, or has to be taken back: far below an hour, which is the
/// shortest period that an administrator can ask for.
const AUTOMATIC_EVERY_S: u64 = 20;
/// Time between pings on a quiet connection, and to wait for the answer: a host that is gone is noticed after both.
const PING_EVERY_S: u64 = 10;
const PING_WAIT_S: u64 = 20;
/// Streams of one connection at once.
const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Mode of a Unix socket: its owner and group may connect, and whoever may connect may change policy.
const SOCKET_MODE: u32 = 0o660;
/// Time that calls have to end after a signal.
const END_WAIT_S: u64 = 10;

/// Why the program cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The state directory cannot be used.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The socket cannot be opened.
    #[error("listen: {listen}: {source}")]
    Listen {
        /// Where.
        listen: Listen,
        /// What the system says.
        source: io::Error,
    },
    /// The path of the socket is something else or is in use.
    #[error("listen: unix:{}: {reason}", path.display())]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// What is there.
        reason: &'static str,
    },
    /// The services cannot be described.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("serving: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// A server that holds its socket and its state directory, and does not serve yet.
#[derive(Debug)]
pub struct Server {
    config: Config,
    keeper: Arc<Keeper>,
    socket: Socket,
    _state_dir: StateDir,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Server {
    /// Locks the state directory, opens the store, and listens.
    pub async fn open(config: Config) -> Result<Self, ServerError> {
        let state_dir = StateDir::open(&config.state_dir)?;
        let store = Store::open(&config.store).await?;
        if let Some(sequence) = store.audit_break().await? {
            tracing::error!(
                sequence,
                "the audit trail does not follow from here: it was changed outside control"
            );
        }
        let keeper = Keeper::open(store).await?;
        let socket = listen(&config.listen).await?;
        Ok(Self { config, keeper, socket, _state_dir: state_dir })
    }

    /// Returns the address, if it listens on one.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(..) => None,
        }
    }

    /// Returns the keeper.
    pub fn keeper(&self) -> &Arc<Keeper> {
        &self.keeper
    }

    /// Serves until `end` resolves and every call has been answered.
    pub async fn serve(self, end: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Self { config, keeper, socket, _state_dir } = self;
        let (stop, stopping) = watch::channel(false);
        let mut tasks = background(&keeper, &config);
        let routes = crate::api::routes(&keeper, &stopping).await?;
        let router = Transport::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(PING_EVERY_S)))
            .http2_keepalive_timeout(Some(Duration::from_secs(PING_WAIT_S)))
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .tcp_nodelay(true)
            .add_routes(routes);
        let mut told = stopping.clone();
        let told = async move {
            // An error means that the sender is gone, which is an end too.
            let _stop = told.wait_for(|stop| *stop).await;
        };
        let path = match &socket {
            Socket::Unix(_, path) => Some(path.clone()),
            Socket::Tcp(_) => None,
        };
        let serving = async move {
            match socket {
                Socket::Tcp(listener) => {
                    router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), told).await
                }
                Socket::Unix(listener, _) => {
                    router.serve_with_incoming_shutdown(UnixListenerStream::new(listener), told).await
                }
            }
        };
        tokio::pin!(serving, end);
        let served = tokio::select! {
            served = &mut serving => served,
            () = &mut end => {
                tracing::info!("stopping");
                stop.send_replace(true);
                // Whoever keeps a connection open after that is cut off.
                tokio::time::timeout(Duration::from_secs(END_WAIT_S), serving).await.unwrap_or(Ok(()))
            }
        };
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
        if let Err(error) = keeper.keep_hosts().await {
            tracing::error!(%error, "hosts not kept");
        }
        keeper.store().close().await;
        if let Some(path) = path {
            // An error means that it is gone already.
            let _removed = std::fs::remove_file(path);
        }
        Ok(served?)
    }
}

/// Starts the tasks beside the services.
fn background(keeper: &Arc<Keeper>, config: &Config) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let kept = Arc::clone(keeper);
    tasks.spawn(async move {
        let mut ticks = every(HOSTS_KEPT_EVERY_S);
        loop {
            ticks.tick().await;
            if let Err(error) = kept.keep_hosts().await {
                tracing::error!(%error, "hosts not kept");
            }
        }
    });
    let (kept, config) = (Arc::clone(keeper), config.clone());
    tasks.spawn(async move {
        let mut ticks = every(FORGET_EVERY_S);
        loop {
            ticks.tick().await;
            if let Err(error) = kept.forget(&config).await {
                tracing::error!(%error, "old versions and roll-ups not deleted");
            }
        }
    });
    let kept = Arc::clone(keeper);
    tasks.spawn(async move {
        let mut ticks = every(EXPIRED_EVERY_S);
        loop {
            ticks.tick().await;
            if let Err(error) = kept.expire().await {
                tracing::error!(%error, "suggestions that expired are not closed");
            }
        }
    });
    let kept = Arc::clone(keeper);
    tasks.spawn(async move {
        let mut ticks = interval(LEASES_SETTLED_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            kept.settle_leases().await;
        }
    });
    let kept = Arc::clone(keeper);
    tasks.spawn(async move {
        let mut ticks = every(AUTOMATIC_EVERY_S);
        loop {
            ticks.tick().await;
            if let Err(error) = kept.act_automatically(now_ns()).await {
                tracing::error!(%error, "automatic acceptances not looked at");
            }
        }
    });
    if keeper.store().is_shared() {
        let kept = Arc::clone(keeper);
        tasks.spawn(async move {
            let mut ticks = every(REFRESH_EVERY_S);
            loop {
                ticks.tick().await;
                if let Err(error) = kept.refresh().await {
                    tracing::error!(%error, "store cannot be read");
                }
            }
        });
    }
    tasks
}

fn every(seconds: u64) -> tokio::time::Interval {
    let mut ticks = interval(Duration::from_secs(seconds));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn listen(listen: &Listen) -> Result<Socket, ServerError> {
    let failed = |source| ServerError::Listen { listen: listen.clone(), source };
    match listen {
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            tracing::info!(%address, "listening on loopback only: there are no certificates");
            Ok(Socket::Tcp(listener))
        }
        Listen::Unix(path) => {
            clear(path).await?;
            let listener = UnixListener::bind(path).map_err(failed)?;
            let mode = std::fs::Permissions::from_mode(SOCKET_MODE);
            std::fs::set_permissions(path, mode).map_err(failed)?;
            tracing::info!(path = %path.display(), "listening on a Unix socket only: there are no certificates");
            Ok(Socket::Unix(listener, path.clone()))
        }
    }
}

/// Removes a socket that a process left behind; refuses one that is in use, and anything else.
async fn clear(path: &Path) -> Result<(), ServerError> {
    let taken = |reason| ServerError::SocketPath { path: path.to_owned(), reason };
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(taken("exists and is not a socket"));
    }
    if tokio::net::UnixStream::connect(path).await.is_ok() {
        return Err(taken("another process listens there"));
    }
    std::fs::remove_file(path).map_err(|_| taken("is left from before and cannot be removed"))
}
