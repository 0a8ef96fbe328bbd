//! The table of hosts: who is connected, who enforces what, who refused what.

use super::{Greeting, HOSTS_MAX, JoinFault, Superseded};
use crate::report::Report;
use crate::store::StoredHost;
use meshgate_policy::{Digest, Name, PolicyVersion};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use tokio::sync::oneshot;

/// Rule lines of the reports of all hosts together, some 20 MB on the wire: the list of hosts is one message. A full
/// table of hosts with the largest policy would have fifty times as many.
const RULE_LINES_MAX: usize = 1_000_000;

/// What a host wants the policy for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It enforces it.
    Dataplane,
    /// It reads it.
    Observer,
}

impl Role {
    /// Returns the role as it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dataplane => "dataplane",
            Self::Observer => "observer",
        }
    }

    /// Returns the role that is written so.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Dataplane, Self::Observer].into_iter().find(|role| role.word() == word)
    }
}

/// A host as it is listed.
#[derive(Clone, Debug)]
pub struct HostLine {
    /// What outlives a restart.
    pub kept: StoredHost,
    /// Whether it is connected.
    pub connected: bool,
    /// Its devices, if it is or was connected since the start.
    pub devices: Vec<String>,
    /// Its last report.
    pub report: Option<Report>,
}

#[derive(Debug)]
struct Host {
    kept: StoredHost,
    devices: Vec<String>,
    report: Option<Report>,
    /// The number of its session, and how to end it.
    session: Option<(u64, oneshot::Sender<u64>)>,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    hosts: BTreeMap<Name, Host>,
    changed: BTreeSet<Name>,
    forgotten: Vec<Name>,
    sessions: u64,
    /// Rule lines of all reports.
    rule_lines: usize,
}

impl Table {
    pub(super) fn restore(hosts: Vec<StoredHost>) -> Self {
        let host = |kept: StoredHost| {
            (kept.host.clone(), Host { kept, devices: Vec::new(), report: None, session: None })
        };
        Self { hosts: hosts.into_iter().take(HOSTS_MAX).map(host).collect(), ..Self::default() }
    }

    pub(super) fn join(&mut self, greeting: Greeting, now_ns: u64) -> Result<(u64, Superseded), JoinFault> {
        let Greeting { host: name, role, holds: _, epoch, devices } = greeting;
        match self.hosts.get(&name) {
            Some(host) if host.session.is_some() && host.kept.epoch > epoch => {
                return Err(JoinFault::Older(name, host.kept.epoch));
            }
            Some(_) => {}
            None => self.make_room()?,
        }
        self.sessions += 1;
        let (end, superseded) = oneshot::channel();
        let session = Some((self.sessions, end));
        let host = self.hosts.entry(name.clone()).or_insert_with(|| Host {
            kept: new_host(name.clone()),
            devices: Vec::new(),
            report: None,
            session: None,
        });
        if let Some((_, older)) = host.session.take() {
            // An error means that the older stream has ended by itself.
            let _ended = older.send(epoch);
        }
        let kept =
            StoredHost { role: role.word().to_owned(), epoch, last_seen_ns: now_ns, ..host.kept.clone() };
        *host = Host { kept, devices, report: host.report.take(), session };
        self.changed.insert(name);
        Ok((self.sessions, superseded))
    }

    /// Forgets the host that has been gone longest if the table is full.
    fn make_room(&mut self) -> Result<(), JoinFault> {
        if self.hosts.len() < HOSTS_MAX {
            return Ok(());
        }
        let gone = self.hosts.values().filter(|host| host.session.is_none());
        let oldest = gone.min_by_key(|host| host.kept.last_seen_ns).map(|host| host.kept.host.clone());
        let oldest = oldest.ok_or(JoinFault::Full)?;
        let forgotten = self.hosts.remove(&oldest).and_then(|host| host.report);
        self.rule_lines -= forgotten.map_or(0, |report| report.rules.len());
        self.changed.remove(&oldest);
        self.forgotten.push(oldest);
        Ok(())
    }

    pub(super) fn leave(&mut self, name: &Name, session: u64, now_ns: u64) {
        self.touch(name, now_ns, |host| {
            host.session.take_if(|(number, _)| *number == session);
        });
    }

    pub(super) fn enforces(
        &mut self,
        name: &Name,
        (version, digest): (PolicyVersion, Digest),
        (commit_to_ack_ns, now_ns): (u64, u64),
    ) {
        self.touch(name, now_ns, |host| {
            let kept = &mut host.kept;
            // An answer to "up to date" measures nothing.
            if (kept.version, kept.digest) != (version, digest) || commit_to_ack_ns != 0 {
                kept.commit_to_ack_ns = commit_to_ack_ns;
            }
            (kept.version, kept.digest) = (version, digest);
            (kept.nack_version, kept.nack_reason) = (PolicyVersion(0), String::new());
        });
    }

    /// Returns whether the refusal is another than the last one.
    pub(super) fn refuses(
        &mut self,
        name: &Name,
        version: PolicyVersion,
        reason: String,
        now_ns: u64,
    ) -> bool {
        let mut is_news = false;
        self.touch(name, now_ns, |host| {
            is_news = (host.kept.nack_version, &host.kept.nack_reason) != (version, &reason);
            (host.kept.nack_version, host.kept.nack_reason) = (version, reason);
        });
        is_news
    }

    /// Keeps a report; without its rules if those of all hosts together would be too many.
    pub(super) fn reports(&mut self, name: &Name, mut report: Report, now_ns: u64) {
        if let Some(host) = self.hosts.get_mut(name) {
            self.rule_lines -= host.report.as_ref().map_or(0, |report| report.rules.len());
            if self.rule_lines + report.rules.len() > RULE_LINES_MAX {
                report.rules = Vec::new();
            }
            self.rule_lines += report.rules.len();
            host.report = Some(report);
            // Not worth a write to disk: the next change keeps it too.
            host.kept.last_seen_ns = now_ns;
        }
    }

    pub(super) fn lines(&self) -> Vec<HostLine> {
        let line = |host: &Host| HostLine {
            kept: host.kept.clone(),
            connected: host.session.is_some(),
            devices: host.devices.clone(),
            report: host.report.clone(),
        };
        self.hosts.values().map(line).collect()
    }

    pub(super) fn connected(&self) -> HashSet<Name> {
        let connected = self.hosts.iter().filter(|(_, host)| host.session.is_some());
        connected.map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn take_changed(&mut self) -> (Vec<StoredHost>, Vec<Name>) {
        let changed = std::mem::take(&mut self.changed);
        let kept = changed.iter().filter_map(|name| self.hosts.get(name)).map(|host| host.kept.clone());
        (kept.collect(), std::mem::take(&mut self.forgotten))
    }

    fn touch(&mut self, name: &Name, now_ns: u64, change: impl FnOnce(&mut Host)) {
        if let Some(host) = self.hosts.get_mut(name) {
            change(host);
            host.kept.last_seen_ns = now_ns;
            self.changed.insert(name.clone());
        }
    }
}

fn new_host(host: Name) -> StoredHost {
    StoredHost {
        host,
        role: String::new(),
        epoch: 0,
        version: PolicyVersion(0),
        digest: Digest::default(),
        nack_version: PolicyVersion(0),
        nack_reason: String::new(),
        last_seen_ns: 0,
        commit_to_ack_ns: 0,
    }
}
