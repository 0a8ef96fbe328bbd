//! Where a ring changes hands: a Unix socket at which the producer gives it to one consumer at a time.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zerocopy::{FromZeros, IntoBytes};

use crate::consumer::HandedRing;
use crate::error::{HandOverError, SystemError};
use crate::greeting::Greeting;
use crate::producer::Producer;
use crate::socket;

/// Users that a process talks to: its own, and those it was configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedUids {
    /// This process's user.
    own: u32,
    /// Further users.
    configured: Vec<u32>,
}

impl AllowedUids {
    /// Allows this process's own user, and `configured` ones.
    pub fn own_and(configured: &[u32]) -> Self {
        Self { own: socket::own_uid(), configured: configured.to_vec() }
    }

    /// Returns whether `uid` is allowed.
    pub fn permits(&self, uid: u32) -> bool {
        uid == self.own || self.configured.contains(&uid)
    }
}

/// What [`Listener::poll`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// Nobody was waiting.
    Nobody,
    /// A consumer holds the ring from here on; [`Producer::consumer`] tells which.
    Consumer,
    /// A living consumer holds the ring, so this second one was told so and sent away.
    SecondConsumer {
        /// The process that was sent away.
        pid: u32,
    },
    /// A user that is not allowed was told so and sent away.
    Stranger {
        /// The user that the kernel vouches for.
        uid: u32,
    },
}

/// The producer's socket. Dropping it removes the socket from the file system.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    socket: UnixListener,
    /// Where it is.
    path: PathBuf,
    /// Who may have the ring.
    allowed: AllowedUids,
    /// Held locked as long as this process listens at `path`.
    lock: File,
}

impl Listener {
    /// Listens at `path`, where at most a socket of a dead process may be. The socket has mode 0600; it belongs to the
    /// first configured user, if there is one, so that this user can connect. A lock on `path` with `.lock` appended
    /// tells a dead process's socket from a living one's; that empty file stays, since removing it would race.
    pub fn bind(path: &Path, allowed: AllowedUids) -> Result<Self, HandOverError> {
        let lock = lock(path)?;
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(HandOverError::NotASocket { path: path.to_owned() });
            }
            Ok(_) => fs::remove_file(path).map_err(SystemError::at("remove the stale socket"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(SystemError::at("look at the socket's path")(error).into()),
        }
        let socket = UnixListener::bind(path).map_err(SystemError::at("bind the socket"))?;
        // Until this call the umask rules; the uid check of `poll` holds from the start.
        fs::set_permissions(path, Permissions::from_mode(0o600))
            .map_err(SystemError::at("close the socket to others"))?;
        if let Some(&owner) = allowed.configured.iter().find(|&&uid| uid != allowed.own) {
            chown(path, Some(owner), None)
                .map_err(SystemError::at("give the socket to the configured user"))?;
        }
        socket.set_nonblocking(true).map_err(SystemError::at("prepare the socket"))?;
        Ok(Self { socket, path: path.to_owned(), allowed, lock })
    }

    /// Answers at most one process that wants the ring, without waiting. An error concerns that process or is passing
    /// (no descriptors left); ring and socket stay good.
    pub fn poll<R>(&self, producer: &mut Producer<R>) -> Result<Accepted, HandOverError> {
        let connection = match self.socket.accept() {
            Ok((connection, _)) => connection,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Accepted::Nobody),
            Err(error) => return Err(SystemError::at("accept a consumer")(error).into()),
        };
        let peer = socket::peer(&connection).map_err(SystemError::at("ask who the consumer is"))?;
        if !self.allowed.permits(peer.uid) {
            refuse(&connection, Greeting::uid_refused(peer.uid));
            return Ok(Accepted::Stranger { uid: peer.uid });
        }
        if producer.consumer_alive() {
            let holder = producer.consumer().map_or(0, |consumer| consumer.pid);
            refuse(&connection, Greeting::consumer_alive(holder));
            return Ok(Accepted::SecondConsumer { pid: peer.pid });
        }
        producer.hand_over(connection)?;
        Ok(Accepted::Consumer)
    }

    /// Returns where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A socket that stays is removed by the next listener.
        let _ = fs::remove_file(&self.path);
        // Not left to the closing of the file, of which a child that was forked meanwhile holds a copy.
        let _ = self.lock.unlock();
    }
}

/// Locks the file beside `path`; the kernel unlocks it when this process ends, however it ends.
fn lock(path: &Path) -> Result<File, HandOverError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&beside)
        .map_err(SystemError::at("open the socket's lock file"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(HandOverError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(SystemError::at("lock the socket's lock file")(error).into()),
    }
}

/// Tells a process why it does not get the ring. One that has gone already needs no answer.
fn refuse(connection: &UnixStream, greeting: Greeting) {
    let _ = socket::send_with_fds(connection, greeting.as_bytes(), &[]);
}

/// Asks the producer that listens at `path` for its ring, and waits at most `timeout` for the answer. The process
/// that listens must run as one of `allowed`, so that nobody else's records are taken for the dataplane's.
pub fn connect(path: &Path, allowed: &AllowedUids, timeout: Duration) -> Result<HandedRing, HandOverError> {
    let connection = UnixStream::connect(path).map_err(SystemError::at("connect to the producer"))?;
    let peer = socket::peer(&connection).map_err(SystemError::at("ask who the producer is"))?;
    if !allowed.permits(peer.uid) {
        return Err(HandOverError::PeerUid { uid: peer.uid });
    }
    connection.set_read_timeout(Some(timeout)).map_err(SystemError::at("limit the wait for the producer"))?;
    receive(connection)
}

/// Receives a ring over an established connection.
pub fn receive(connection: UnixStream) -> Result<HandedRing, HandOverError> {
    let mut greeting = Greeting::new_zeroed();
    let expected_bytes = size_of::<Greeting>();
    let (bytes, fds) = socket::receive_with_fds(&connection, greeting.as_mut_bytes())
        .map_err(SystemError::at("receive the ring"))?;
    if bytes != expected_bytes {
        return Err(HandOverError::Greeting { problem: "shorter than a greeting" });
    }
    greeting.check()?;
    let [data, page] = <[_; 2]>::try_from(fds)
        .map_err(|_| HandOverError::Greeting { problem: "does not carry two descriptors" })?;
    Ok(HandedRing { data, page, connection })
}
