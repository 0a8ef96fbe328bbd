//! Who has which version, and what to send next. No I/O: the streams are in `api/distribution.rs`.
//!
//! Every subscribed host has a [`Session`]. At most one message is on its way to a host; until the host answers, newer
//! versions only replace each other as "the newest", so that a slow host costs one message and skips what it missed.
//! What a host holds decides what it is sent: nothing, the delta from what it holds, or a snapshot.

mod session;
mod table;

pub use session::{Content, Outgoing, Session};
pub use table::{HostLine, Role};

use crate::store::StoredHost;
use meshgate_policy::{Delta, Digest, Name, Policy, PolicyVersion};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use table::Table;
use tokio::sync::{oneshot, watch};

/// Hosts that are remembered, and that may be connected at once.
pub const HOSTS_MAX: usize = 1_024;
/// Devices that a host may name.
pub const DEVICES_MAX: usize = 256;
/// Bytes of the longest reason of a refusal that is kept; a longer one is cut.
pub const REASON_BYTES_MAX: usize = 1_024;
/// Versions from which deltas are made; a host that is further behind gets a snapshot.
const VERSIONS_HELD: usize = 16;

/// A version as hosts get it.
#[derive(Clone, Debug)]
pub struct Published {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Its digest.
    pub digest: Digest,
    /// When it was committed, nanoseconds since 1970; 0 for version 0.
    pub committed_ns: u64,
    /// The audit head of that time.
    pub audit_head: Digest,
}

/// What a host says first.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// Its name.
    pub host: Name,
    /// What it wants the policy for.
    pub role: Role,
    /// What it holds; none for nothing.
    pub holds: Option<(PolicyVersion, Digest)>,
    /// Its process start, growing.
    pub epoch: u64,
    /// Its devices.
    pub devices: Vec<String>,
}

/// Why a host is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinFault {
    /// A newer process of the same name is connected.
    #[error("hello.epoch: host {0} is connected with the newer epoch {1}")]
    Older(Name, u64),
    /// As many hosts as possible are connected.
    #[error("{HOSTS_MAX} hosts are connected, more are not possible")]
    Full,
}

/// The other end of a stream that is about to be ended.
pub type Superseded = oneshot::Receiver<u64>;

/// The hosts and the versions they may have.
#[derive(Debug)]
pub struct Distributor {
    newest: watch::Sender<Arc<Published>>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    table: Table,
    /// The newest versions, oldest first.
    held: VecDeque<Arc<Published>>,
    /// Deltas to the newest version that were made already.
    deltas: HashMap<PolicyVersion, Arc<Delta>>,
    nonce: u64,
}

impl Distributor {
    /// Returns the distributor of a version, with the hosts that were known before a restart.
    pub fn new(newest: Published, hosts: Vec<StoredHost>) -> Self {
        let newest = Arc::new(newest);
        let inner = Inner {
            table: Table::restore(hosts),
            held: VecDeque::from([Arc::clone(&newest)]),
            deltas: HashMap::new(),
            nonce: 0,
        };
        Self { newest: watch::Sender::new(newest), inner: Mutex::new(inner) }
    }

    /// Makes a version the newest; sessions are woken.
    pub fn publish(&self, newest: Published) {
        let newest = Arc::new(newest);
        let mut inner = self.lock();
        inner.deltas.clear();
        inner.held.push_back(Arc::clone(&newest));
        if inner.held.len() > VERSIONS_HELD {
            inner.held.pop_front();
        }
        drop(inner);
        self.newest.send_replace(newest);
    }

    /// Returns the newest version.
    pub fn newest(&self) -> Arc<Published> {
        Arc::clone(&self.newest.borrow())
    }

    /// Returns what wakes when there is a newer version.
    pub fn watch(&self) -> watch::Receiver<Arc<Published>> {
        self.newest.subscribe()
    }

    /// Lets a host in, and ends the stream of an older process of the same name.
    pub fn join(&self, greeting: Greeting, now_ns: u64) -> Result<(Session, Superseded), JoinFault> {
        let Greeting { host, holds, .. } = greeting.clone();
        let (number, superseded) = self.lock().table.join(greeting, now_ns)?;
        Ok((Session::new(host, number, holds, now_ns), superseded))
    }

    /// Returns every host that is known, by name.
    pub fn hosts(&self) -> Vec<HostLine> {
        self.lock().table.lines()
    }

    /// Returns the hosts that are connected.
    pub fn connected(&self) -> HashSet<Name> {
        self.lock().table.connected()
    }

    /// Takes what changed of the hosts since the last call: to be kept, and to be forgotten.
    pub fn take_changed(&self) -> (Vec<StoredHost>, Vec<Name>) {
        self.lock().table.take_changed()
    }

    fn table<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        work(&mut self.lock().table)
    }

    /// Returns a number for the next message.
    fn nonce(&self) -> u64 {
        let mut inner = self.lock();
        inner.nonce += 1;
        inner.nonce
    }

    /// Returns the delta to the newest version, if the version that is held is known by this digest.
    fn delta(&self, (version, digest): (PolicyVersion, Digest), newest: &Published) -> Option<Arc<Delta>> {
        let (old, made) = {
            let inner = self.lock();
            let old = inner.held.iter().find(|old| old.policy.version == version && old.digest == digest)?;
            (Arc::clone(old), inner.deltas.get(&version).cloned())
        };
        if let Some(delta) = made.filter(|delta| delta.to == newest.policy.version) {
            return Some(delta);
        }
        // Made outside the lock: it looks at the whole policy.
        let delta = Arc::new(old.policy.delta_to(&newest.policy));
        self.lock().deltas.insert(version, Arc::clone(&delta));
        Some(delta)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock; if something did, the tables are still the best there is.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
