//! One subscribed host: what it holds, what is on its way to it, what it answered.

use super::{Distributor, Published, REASON_BYTES_MAX};
use crate::report::Report;
use meshgate_policy::{Delta, Digest, Name, Policy, PolicyVersion};
use std::sync::Arc;

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The whole policy.
    Snapshot(Arc<Policy>),
    /// What changed since the version the host holds.
    Delta(Arc<Delta>),
    /// Nothing: the host holds the newest version, or nothing was ever committed.
    UpToDate(PolicyVersion),
}

/// A message to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Number that the answer repeats.
    pub nonce: u64,
    /// The audit head at the commit of the version.
    pub audit_head: Digest,
    /// What is sent.
    pub content: Content,
}

/// An answer that fits nothing that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nonce: {0} is not the number of the last message, which is {1}")]
pub struct StrayAnswer(pub u64, pub u64);

/// A message that has not been answered.
#[derive(Debug)]
struct Pending {
    published: Arc<Published>,
    is_snapshot: bool,
}

/// A subscribed host. Leaves the table of the distributor by [`Session::leave`].
#[derive(Debug)]
pub struct Session {
    host: Name,
    number: u64,
    joined_ns: u64,
    holds: Option<(PolicyVersion, Digest)>,
    /// The number of the last message.
    nonce: u64,
    /// The audit head that went with it.
    audit_head: Digest,
    pending: Option<Pending>,
    /// The newest version that the host was told of.
    told: Option<PolicyVersion>,
    wants_snapshot: bool,
}

impl Session {
    pub(super) fn new(
        host: Name,
        number: u64,
        holds: Option<(PolicyVersion, Digest)>,
        joined_ns: u64,
    ) -> Self {
        Self {
            host,
            number,
            joined_ns,
            holds,
            nonce: 0,
            audit_head: Digest::default(),
            pending: None,
            told: None,
            wants_snapshot: false,
        }
    }

    /// Returns the host's name.
    pub fn host(&self) -> &Name {
        &self.host
    }

    /// Returns whether this is the audit head that went with the last message.
    pub fn has_sent(&self, audit_head: &[u8]) -> bool {
        self.audit_head.0 == audit_head
    }

    /// Returns whether an answer is awaited.
    pub fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }

    /// Returns what to send now; nothing while an answer is awaited or the host knows of the newest version.
    pub fn next(&mut self, distributor: &Distributor) -> Option<Outgoing> {
        let newest = distributor.newest();
        let version = newest.policy.version;
        if self.pending.is_some() || (self.told == Some(version) && !self.wants_snapshot) {
            return None;
        }
        let delta = || self.holds.and_then(|held| distributor.delta(held, &newest));
        let content = match () {
            () if version == PolicyVersion(0) => Content::UpToDate(version),
            () if self.wants_snapshot => Content::Snapshot(Arc::clone(&newest.policy)),
            () if self.holds == Some((version, newest.digest)) => Content::UpToDate(version),
            () => match delta() {
                Some(delta) => Content::Delta(delta),
                None => Content::Snapshot(Arc::clone(&newest.policy)),
            },
        };
        self.wants_snapshot = false;
        self.told = Some(version);
        self.nonce = distributor.nonce();
        let is_snapshot = matches!(content, Content::Snapshot(_));
        let audit_head = newest.audit_head;
        self.audit_head = audit_head;
        if !matches!(content, Content::UpToDate(_)) {
            self.pending = Some(Pending { published: newest, is_snapshot });
        }
        Some(Outgoing { nonce: self.nonce, audit_head, content })
    }

    /// Takes an ACK: the host enforces the version.
    pub fn ack(
        &mut self,
        distributor: &Distributor,
        (nonce, version, digest): (u64, PolicyVersion, Digest),
        now_ns: u64,
    ) -> Result<(), StrayAnswer> {
        self.check_nonce(nonce)?;
        let Some(Pending { published, is_snapshot }) = self.pending.take() else {
            // The answer to "up to date" says what is enforced.
            if self.holds == Some((version, digest)) {
                distributor.table(|table| table.enforces(&self.host, (version, digest), (0, now_ns)));
            }
            return Ok(());
        };
        if (version, digest) != (published.policy.version, published.digest) {
            let reason = format!("acknowledged version {version} with digest {}", digest.short());
            distributor.table(|table| table.refuses(&self.host, published.policy.version, reason, now_ns));
            self.wants_snapshot = !is_snapshot;
            return Ok(());
        }
        let was_here = self.joined_ns <= published.committed_ns;
        let commit_to_ack_ns = if was_here { now_ns.saturating_sub(published.committed_ns) } else { 0 };
        self.holds = Some((version, digest));
        distributor.table(|table| table.enforces(&self.host, (version, digest), (commit_to_ack_ns, now_ns)));
        Ok(())
    }

    /// Takes a NACK: the host keeps what it enforces. Returns whether the reason is another than the last one.
    pub fn nack(
        &mut self,
        distributor: &Distributor,
        (nonce, mut reason, resync): (u64, String, bool),
        now_ns: u64,
    ) -> Result<Option<(PolicyVersion, String)>, StrayAnswer> {
        self.check_nonce(nonce)?;
        while reason.len() > REASON_BYTES_MAX {
            reason.pop();
        }
        let (version, was_snapshot) = match self.pending.take() {
            Some(pending) => (pending.published.policy.version, pending.is_snapshot),
            None => (self.told.unwrap_or_default(), false),
        };
        // A host that refuses a snapshot gets nothing more until there is a newer version.
        self.wants_snapshot = resync && !was_snapshot && version != PolicyVersion(0);
        if self.wants_snapshot {
            self.holds = None;
        }
        let is_news = distributor.table(|table| table.refuses(&self.host, version, reason.clone(), now_ns));
        Ok(is_news.then_some((version, reason)))
    }

    /// Takes a report.
    pub fn report(&self, distributor: &Distributor, report: Report, now_ns: u64) {
        distributor.table(|table| table.reports(&self.host, report, now_ns));
    }

    /// Says that the stream has ended.
    pub fn leave(&self, distributor: &Distributor, now_ns: u64) {
        distributor.table(|table| table.leave(&self.host, self.number, now_ns));
    }

    fn check_nonce(&self, nonce: u64) -> Result<(), StrayAnswer> {
        if nonce == self.nonce && nonce != 0 { Ok(()) } else { Err(StrayAnswer(nonce, self.nonce)) }
    }
}
