//! Leases become policy: what hosts report, committed under control's own name, in one version for many.

use super::{COMMENT_BYTES_MAX, Event, Keeper, KeeperFault, Kept, Write};
use crate::clock::now_ns;
use crate::leases::{LeaseBook, Settling};
use crate::policy_book::{BookFault, Change};
use crate::report::Lease;
use meshgate_policy::Name;
use std::collections::HashSet;
use std::sync::{Arc, MutexGuard, PoisonError};

/// Who commits leases.
const AUTHOR: &str = "dhcp";

impl Keeper {
    /// Notes what a host says that its endpoints lease.
    pub fn note_leases(&self, host: &Name, leases: &[Lease]) {
        let newest = self.newest();
        self.lease_book().note(newest.book.policy(), host, leases, now_ns());
    }

    /// Makes the leases that changed part of the policy. A change that is refused does not keep the others back; it is
    /// logged, and tried again when the host hears of the lease again.
    pub async fn settle_leases(self: &Arc<Self>) {
        let newest = self.newest();
        let changes = self.lease_changes(&newest);
        if changes.is_empty() {
            return;
        }
        let Err(error) = self.commit_leases(changes.clone()).await else { return };
        // A policy that no host could compile is at fault as a whole.
        let is_of_one = matches!(&error, KeeperFault::Book(fault) if !matches!(fault, BookFault::Compile(_)));
        if changes.len() == 1 || !is_of_one {
            tracing::warn!(%error, "leases not committed");
            return;
        }
        for change in changes {
            if let Err(error) = self.commit_leases(vec![change]).await {
                tracing::warn!(%error, "lease not committed");
            }
        }
    }

    fn lease_changes(&self, newest: &Kept) -> Vec<Change> {
        let mut book = self.lease_book();
        let now_ns = now_ns();
        let connected: HashSet<Name> = self.distributor().connected();
        let settling = Settling {
            authored: newest.book.authored(),
            numbering: newest.book.numbering(),
            version: newest.book.version(),
            connected: &connected,
        };
        if book.is_due(&settling, now_ns) { book.settle(&settling, now_ns) } else { Vec::new() }
    }

    async fn commit_leases(self: &Arc<Self>, changes: Vec<Change>) -> Result<(), KeeperFault> {
        let words = changes.iter().filter_map(|change| match change {
            Change::SetLeased(name, leased) if leased.is_empty() => Some(format!("{name}: none")),
            Change::SetLeased(name, leased) => {
                let leased: Vec<String> = leased.iter().map(ToString::to_string).collect();
                Some(format!("{name}: {}", leased.join(" ")))
            }
            _ => None,
        });
        let mut comment = format!("leased by {}", words.collect::<Vec<_>>().join(", "));
        comment.truncate(COMMENT_BYTES_MAX); // Names and addresses are ASCII.
        let write = Write { changes, expected_version: None, author: AUTHOR.into(), comment };
        let keeper = Arc::clone(self);
        let task = tokio::spawn(async move { keeper.write(write, Event::Commit).await });
        task.await.map_err(|_| KeeperFault::Stopping)?.map(drop)
    }

    fn lease_book(&self) -> MutexGuard<'_, LeaseBook> {
        // Whatever happened, each entry is whole.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
