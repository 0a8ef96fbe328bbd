//! The end of every decision: what it leads to is on disk as a whole, then in memory, then told.

use super::{Keeper, KeeperFault, Kept};
use crate::audit::{Draft, Head};
use crate::policy_book::{BookFault, Change};
use crate::store::{NewVersion, StoreError, Turn};
use meshgate_policy::RuleId;
use meshgate_policy::suggestion::Suggestion;
use std::sync::Arc;

impl Keeper {
    /// Returns the version that changes lead to, compiled as hosts do, and the numbers of what they create; call it under
    /// the lock of writes.
    pub(super) async fn prepared(
        &self,
        changes: Vec<Change>,
        committed_ns: u64,
    ) -> Result<(Arc<Kept>, Vec<RuleId>), KeeperFault> {
        let (base, trial) = (self.newest(), self.trial.clone());
        let work = tokio::task::spawn_blocking(move || {
            let next = base.book.apply(changes, None)?;
            trial.compile(&next)?;
            Ok::<_, BookFault>((next.book.digest(), next))
        });
        let (digest, next) = work.await.map_err(|_| KeeperFault::Stopping)??;
        Ok((Arc::new(Kept { book: next.book, digest, committed_ns }), next.created_ids))
    }

    /// Writes a turn; then shows the version that it made and wakes whoever watches decisions.
    pub(super) async fn finish(
        &self,
        head: &mut Head,
        turn: Turn<'_>,
        audit: Draft,
        kept: Option<Arc<Kept>>,
    ) -> Result<(), StoreError> {
        let decided = turn.decision.map(|decision| decision.sequence);
        let sequence = decided.or(turn.withdrawal.map(|withdrawal| withdrawal.sequence));
        match self.store.take_turn(turn, *head, audit).await {
            Ok(next) => *head = next,
            Err(error) => {
                tracing::error!(%error, "decision refused");
                self.reload(head).await;
                return Err(error);
            }
        }
        if let Some(kept) = kept {
            self.show(kept, *head);
        }
        if let Some(sequence) = sequence {
            self.decided.send_replace(sequence);
        }
        Ok(())
    }
}

impl Kept {
    /// Returns the version as the store takes it.
    pub(super) fn by<'a>(&'a self, author: &'a str, comment: &'a str) -> NewVersion<'a> {
        let Self { book, digest, committed_ns } = self;
        NewVersion { book, digest: *digest, author, comment, committed_ns: *committed_ns }
    }
}

/// Returns what a person saw of a suggestion before answering it, for the audit trail.
pub(super) fn shown_words(suggestion: &Suggestion) -> String {
    let Suggestion { model_version, rank, propensity, confidence, .. } = suggestion;
    let model = if model_version.is_empty() { "none" } else { model_version };
    format!("model {model}, rank {rank}, propensity {propensity:.4}, confidence {confidence:.4}")
}
