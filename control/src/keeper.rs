//! The keeper: the one way by which policy changes. One write at a time; on disk first, then in memory, then to hosts.
//!
//! What readers see is replaced as a whole, so that nobody ever sees half a version. A write runs as a task of its own:
//! a caller that hangs up does not leave a version on disk that memory does not know.

mod acceptance;
mod automatic;
mod costs;
mod expiry;
mod gate;
mod grounds;
mod leases;
mod made;
mod suggestions;
mod switch;
mod trial;
mod turn;
mod withdrawal;

pub use costs::{CostsAdvised, TableChange};
pub use gate::GATE_STEPS_PER_DAY_MAX;
pub use suggestions::{Acceptance, Accepted, AnswerFault, Look, Rejection};
pub use switch::Switching;
pub use withdrawal::{Retraction, TakenBack};

use crate::audit::{Draft, Event, Head};
use crate::clock::now_ns;
use crate::config::Config;
use crate::costs::Zones;
use crate::distributor::{Distributor, Published};
use crate::keeper::trial::Trial;
use crate::leases::LeaseBook;
use crate::policy_book::{BookFault, Change, Difference, PolicyBook, diff, warnings};
use crate::store::{NewVersion, Store, StoreError, StoredVersion};
use meshgate_classifier::Classifier;
use meshgate_policy::{Digest, Name, PolicyVersion, RuleId};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{Mutex, Semaphore, watch};

/// Bytes of the longest comment of a commit.
pub const COMMENT_BYTES_MAX: usize = 1_024;

/// Why the keeper did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeeperFault {
    /// The transaction is refused.
    #[error(transparent)]
    Book(#[from] BookFault),
    /// The store failed, or another control was first.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A suggestion is not decided.
    #[error(transparent)]
    Answer(#[from] AnswerFault),
    /// A version that is not kept.
    #[error("version: there is no version {0}, or it is no longer kept")]
    NoVersion(PolicyVersion),
    /// A comment that is too long; holds its bytes.
    #[error("comment: {0} bytes, at most {COMMENT_BYTES_MAX} are possible")]
    Comment(usize),
    /// A table of prices that was made against another revision than the newest.
    #[error("expected_revision: {expected} is not the newest revision of the cost table, which is {newest}")]
    CostRevision {
        /// The revision it was made against.
        expected: u64,
        /// The newest revision.
        newest: u64,
    },
    /// The program is ending.
    #[error("control is stopping")]
    Stopping,
}

/// One version with everything that is said of it.
#[derive(Debug)]
pub struct Kept {
    /// What is written, its numbers, and what hosts get.
    pub book: PolicyBook,
    /// Digest of what hosts get.
    pub digest: Digest,
    /// When it was committed, nanoseconds since 1970; 0 for version 0.
    pub committed_ns: u64,
}

/// A write.
#[derive(Debug)]
pub struct Write {
    /// What is to change.
    pub changes: Vec<Change>,
    /// The version the changes were made against; none skips the check.
    pub expected_version: Option<PolicyVersion>,
    /// Who writes.
    pub author: String,
    /// What the author says.
    pub comment: String,
}

/// What became of a write.
#[derive(Debug)]
pub struct Committed {
    /// The newest version.
    pub kept: Arc<Kept>,
    /// Whether the write made it.
    pub changed: bool,
    /// Numbers of the relationships and rules that were created, in order of the changes.
    pub created_ids: Vec<RuleId>,
}

/// What a write would do.
#[derive(Debug)]
pub struct Plan {
    /// The version it would change.
    pub base: PolicyVersion,
    /// What would differ.
    pub differences: Vec<Difference>,
    /// What is probably not meant.
    pub warnings: Vec<String>,
}

/// Keeps the policy.
#[derive(Debug)]
pub struct Keeper {
    store: Store,
    distributor: Arc<Distributor>,
    newest: RwLock<Arc<Kept>>,
    /// The sequence of the newest decision; whoever watches decisions is woken by it and reads the store.
    decided: watch::Sender<u64>,
    /// What hosts say that endpoints lease.
    leases: std::sync::Mutex<LeaseBook>,
    /// Zones of the endpoints of the version that was asked for last.
    zones: RwLock<Arc<Zones>>,
    /// What compiles the next version.
    trial: Trial,
    /// Whose turn it is to ask what a write would do.
    planning: Arc<Semaphore>,
    /// Held during a write; the audit trail goes on from here.
    writing: Mutex<Head>,
}

impl Keeper {
    /// Reads the newest version and the hosts from the store.
    pub async fn open(store: Store) -> Result<Arc<Self>, StoreError> {
        let head = store.audit_head().await?;
        let newest = Arc::new(store.newest().await?.map_or_else(Kept::nothing, Kept::from));
        let hosts = store.hosts().await?;
        let distributor = Arc::new(Distributor::new(newest.published(head), hosts));
        tracing::info!(store = store.name(), version = newest.book.version().0, digest = %newest.digest.short(), "opened");
        let decided = watch::Sender::new(store.newest_decision().await?);
        let (newest, writing) = (RwLock::new(newest), Mutex::new(head));
        let (leases, zones, trial) = Default::default();
        let planning = Arc::new(Semaphore::new(1));
        Ok(Arc::new(Self { store, distributor, newest, decided, leases, zones, trial, planning, writing }))
    }

    /// Returns the store, for what is not policy.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns who has what.
    pub fn distributor(&self) -> &Arc<Distributor> {
        &self.distributor
    }

    /// Returns the newest version.
    pub fn newest(&self) -> Arc<Kept> {
        // A writer only swaps the pointer, so the value is whole whatever happened.
        Arc::clone(&self.newest.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns a version, the newest if none is named.
    pub async fn version(&self, version: Option<PolicyVersion>) -> Result<Arc<Kept>, KeeperFault> {
        let newest = self.newest();
        match version {
            None => Ok(newest),
            Some(wanted) if wanted == newest.book.version() => Ok(newest),
            Some(PolicyVersion(0)) => Ok(Arc::new(Kept::nothing())),
            Some(wanted) => {
                let stored = self.store.version(wanted).await?;
                Ok(Arc::new(stored.map(Kept::from).ok_or(KeeperFault::NoVersion(wanted))?))
            }
        }
    }

    /// Says what a write would do.
    pub async fn plan(
        &self,
        changes: Vec<Change>,
        expected_version: Option<PolicyVersion>,
    ) -> Result<Plan, KeeperFault> {
        // One at a time, and whoever hangs up before its turn is gone: a commit must find threads for its own work.
        let turn = Arc::clone(&self.planning).acquire_owned().await.map_err(|_| KeeperFault::Stopping)?;
        let newest = self.newest();
        let plan = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let next = newest.book.apply(changes, expected_version)?;
            if next.changed {
                Classifier::compile(next.book.policy()).map_err(BookFault::Compile)?;
            }
            Ok(Plan {
                base: newest.book.version(),
                differences: diff(newest.book.authored(), next.book.authored()),
                warnings: warnings(newest.book.policy(), next.book.policy()),
            })
        });
        plan.await.map_err(|_| KeeperFault::Stopping)?
    }

    /// Makes the changes the next version, all or none of them. On disk when it returns.
    pub async fn commit(self: &Arc<Self>, write: Write) -> Result<Committed, KeeperFault> {
        let keeper = Arc::clone(self);
        let task = tokio::spawn(async move { keeper.write(write, Event::Commit).await });
        task.await.map_err(|_| KeeperFault::Stopping)?
    }

    /// Makes the content of an old version the next version.
    pub async fn rollback(
        self: &Arc<Self>,
        to: PolicyVersion,
        write: Write,
    ) -> Result<Committed, KeeperFault> {
        let old = self.version(Some(to)).await?.book.authored().clone();
        let comment = match write.comment.as_str() {
            "" => format!("rollback to version {to}"),
            comment => format!("rollback to version {to}: {comment}"),
        };
        let write = Write { changes: vec![Change::ReplaceAll(Box::new(old))], comment, ..write };
        let keeper = Arc::clone(self);
        let task = tokio::spawn(async move { keeper.write(write, Event::Rollback).await });
        task.await.map_err(|_| KeeperFault::Stopping)?
    }

    /// Notes in the audit trail that a host refused a version.
    pub async fn note_refusal(&self, host: &Name, version: PolicyVersion, reason: &str) {
        let detail = format!("version {version}: {}", one_line(reason));
        let draft =
            Draft { time_ns: now_ns(), actor: format!("host {host}"), event: Event::HostNack, detail };
        if let Err(error) = self.note(draft).await {
            tracing::error!(%host, %error, "refusal not audited");
        }
    }

    /// Notes in the audit trail that somebody looks at packets. Nobody may unless it is on disk.
    pub async fn note_capture(&self, actor: String, detail: &str) -> Result<(), StoreError> {
        self.note(Draft { time_ns: now_ns(), actor, event: Event::Capture, detail: one_line(detail) }).await
    }

    async fn note(&self, draft: Draft) -> Result<(), StoreError> {
        let mut head = self.writing.lock().await;
        match self.store.append(*head, draft).await {
            Ok(next) => *head = next,
            Err(error) => {
                self.reload(&mut head).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes over what another control has written to a shared store. Every write is audited, so the trail tells.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let mut head = self.writing.lock().await;
        if self.store.audit_head().await? != *head {
            self.reload(&mut head).await;
        }
        Ok(())
    }

    /// Keeps what changed of the hosts.
    pub async fn keep_hosts(&self) -> Result<(), StoreError> {
        let (changed, forgotten) = self.distributor.take_changed();
        if !changed.is_empty() {
            self.store.keep_hosts(&changed).await?;
        }
        self.store.forget_hosts(&forgotten).await
    }

    /// Deletes what has been kept long enough.
    pub async fn forget(&self, config: &Config) -> Result<(), StoreError> {
        self.store.forget(now_ns() / 1_000_000_000, config.retention, config.versions_kept).await
    }

    async fn write(&self, write: Write, event: Event) -> Result<Committed, KeeperFault> {
        let Write { changes, expected_version, author, comment } = write;
        if comment.len() > COMMENT_BYTES_MAX {
            return Err(KeeperFault::Comment(comment.len()));
        }
        let mut head = self.writing.lock().await;
        let newest = self.newest();
        let (base, trial) = (Arc::clone(&newest), self.trial.clone());
        let next = tokio::task::spawn_blocking(move || {
            let next = base.book.apply(changes, expected_version)?;
            trial.compile(&next)?;
            Ok::<_, BookFault>((next.book.digest(), next))
        });
        let (digest, next) = next.await.map_err(|_| KeeperFault::Stopping)??;
        if !next.changed {
            return Ok(Committed { kept: newest, changed: false, created_ids: Vec::new() });
        }
        let kept = Arc::new(Kept { book: next.book, digest, committed_ns: now_ns() });
        let committed_ns = kept.committed_ns;
        let detail = audit_detail(&kept, &comment);
        let audit = Draft { time_ns: committed_ns, actor: author.clone(), event, detail };
        let new = NewVersion { book: &kept.book, digest, author: &author, comment: &comment, committed_ns };
        match self.store.commit(new, *head, audit).await {
            Ok(next) => *head = next,
            Err(error) => {
                tracing::error!(%error, version = kept.book.version().0, "commit refused");
                self.reload(&mut head).await;
                return Err(error.into());
            }
        }
        tracing::info!(version = kept.book.version().0, digest = %digest.short(), author, "committed");
        self.show(Arc::clone(&kept), *head);
        Ok(Committed { kept, changed: true, created_ids: next.created_ids })
    }

    /// Reads what is on disk after a failed write, whose outcome may be unknown, or after another control's write.
    async fn reload(&self, head: &mut Head) {
        let read = async {
            let head = self.store.audit_head().await?;
            Ok::<_, StoreError>((head, self.store.newest().await?, self.store.newest_decision().await?))
        };
        match read.await {
            Ok((stored_head, stored, decided)) => {
                *head = stored_head;
                let newer = stored.map(Kept::from);
                let newer = newer.filter(|kept| kept.book.version() > self.newest().book.version());
                if let Some(kept) = newer {
                    tracing::info!(version = kept.book.version().0, "taken over from the store");
                    self.show(Arc::new(kept), *head);
                }
                self.decided.send_if_modified(|known| std::mem::replace(known, decided) != decided);
            }
            Err(error) => tracing::error!(%error, "store cannot be read"),
        }
    }

    fn show(&self, kept: Arc<Kept>, head: Head) {
        let published = kept.published(head);
        *self.newest.write().unwrap_or_else(PoisonError::into_inner) = kept;
        self.distributor.publish(published);
    }
}

impl Kept {
    /// Returns version 0.
    fn nothing() -> Self {
        let book = PolicyBook::default();
        Self { digest: book.digest(), book, committed_ns: 0 }
    }

    fn published(&self, head: Head) -> Published {
        Published {
            policy: Arc::clone(self.book.policy()),
            digest: self.digest,
            committed_ns: self.committed_ns,
            audit_head: head.hash,
        }
    }
}

impl From<StoredVersion> for Kept {
    fn from(stored: StoredVersion) -> Self {
        let StoredVersion { line, book } = stored;
        Self { book, digest: line.digest, committed_ns: line.committed_ns }
    }
}

fn audit_detail(kept: &Kept, comment: &str) -> String {
    let base = format!("version {} digest {}", kept.book.version(), kept.digest);
    if comment.is_empty() { base } else { format!("{base}: {}", one_line(comment)) }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(group: &str) -> Write {
        let group = toml::from_str(&format!("name = '{group}'")).unwrap();
        Write {
            changes: vec![Change::PutGroup(group)],
            expected_version: None,
            author: "root".into(),
            comment: String::new(),
        }
    }

    async fn keeper(name: &str) -> (Arc<Keeper>, std::path::PathBuf) {
        let dir = std::env::temp_dir().join(format!("meshgate-keeper-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let url = crate::config::sqlite_url(&dir.join("control.sqlite"));
        (Keeper::open(Store::open(&url).await.unwrap()).await.unwrap(), dir)
    }

    #[tokio::test]
    async fn a_full_disk_refuses_the_commit_and_leaves_memory_as_it_was() {
        let (keeper, dir) = keeper("full").await;
        keeper.commit(write("a")).await.unwrap();
        // As far as SQLite can tell, the disk is full from here on.
        keeper.store.run("PRAGMA max_page_count = 1").await;
        let mut large = write("b");
        large.comment = "c".repeat(COMMENT_BYTES_MAX);
        let long = "x".repeat(meshgate_policy::limits::NOTE_BYTES_MAX);
        for i in 0..200 {
            let text = format!(
                "source_group_name = 'a'\ndestination_group_name = 'a'\nport_range = '{i}'\nprotocol = 'TCP'\n\
                 action = 'deny'\nnote = '{long}'"
            );
            large.changes.push(Change::PutRelationship(toml::from_str(&text).unwrap()));
        }
        let refusal = keeper.commit(large).await.unwrap_err().to_string();
        assert!(refusal.contains("full"), "{refusal}");
        assert_eq!(keeper.newest().book.version(), PolicyVersion(1));
        assert_eq!(keeper.distributor.newest().policy.version, PolicyVersion(1));
        keeper.store.run("PRAGMA max_page_count = 1073741823").await;
        let after = keeper.commit(write("c")).await.unwrap();
        assert_eq!(after.kept.book.version(), PolicyVersion(2));
        assert_eq!(keeper.store.audit_break().await.unwrap(), None);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test]
    async fn what_no_host_could_compile_is_refused_by_the_name_of_the_limit() {
        let (keeper, dir) = keeper("limit").await;
        keeper.commit(write("a")).await.unwrap();
        // Rules for neighbouring ports, and for ports at the same place of their neighbourhoods, tell all ports apart.
        let mut large = write("a");
        let ports = |ports: &mut dyn Iterator<Item = u32>| {
            ports.map(|port| port.to_string()).collect::<Vec<_>>().join(",")
        };
        let near = (0..1_024).map(|at| ports(&mut (64 * at..64 * at + 64)));
        let alike = (0..1_024).map(|at| ports(&mut (0..64).map(|i| at / 64 * 4_096 + i * 64 + at % 64)));
        for list in near.chain(alike).collect::<Vec<_>>() {
            for protocol in ["TCP", "UDP"] {
                let text = format!(
                    "source_group_name = 'a'\ndestination_group_name = 'a'\nport_range = '{list}'\nprotocol = '{protocol}'\n\
                     action = 'deny'"
                );
                large.changes.push(Change::PutRelationship(toml::from_str(&text).unwrap()));
            }
        }
        let asked = keeper.plan(large.changes.clone(), None).await.unwrap_err().to_string();
        let refused = keeper.commit(large).await.unwrap_err().to_string();
        assert_eq!(refused, "no host could compile the policy: 131073 L4 classes, L4_CLASSES_MAX is 65536");
        assert_eq!(asked, refused);
        assert_eq!(keeper.newest().book.version(), PolicyVersion(1));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test]
    async fn a_caller_that_hangs_up_leaves_disk_and_memory_alike() {
        let (keeper, dir) = keeper("hangup").await;
        for i in 0..20 {
            let writer = Arc::clone(&keeper);
            let call = tokio::spawn(async move { writer.commit(write(&format!("g{i}"))).await });
            tokio::task::yield_now().await;
            call.abort();
        }
        let last = keeper.commit(write("last")).await.unwrap();
        let stored = keeper.store.newest().await.unwrap().unwrap();
        assert_eq!(stored.line.version, last.kept.book.version());
        assert_eq!(stored.line.digest, last.kept.digest);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
