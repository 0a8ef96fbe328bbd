//! Suggestions whose time is up are closed: what nobody answered must not fill the inbox, and what still holds may be
//! suggested anew.

use super::{Keeper, KeeperFault};
use crate::audit::{Draft, Event, Head};
use crate::clock::now_ns;
use crate::store::StoreError;
use meshgate_policy::suggestion::Verdict;

/// Who closes what nobody answered, in decisions and in the audit trail.
const ACTOR: &str = "control";

impl Keeper {
    /// Closes the suggestions whose time is up. On disk when it returns; returns how many.
    pub async fn expire(&self) -> Result<usize, KeeperFault> {
        let mut head = self.writing.lock().await;
        self.expire_at(&mut head, now_ns()).await
    }

    /// Closes the suggestions whose time is up; call it under the lock of writes.
    pub(super) async fn expire_at(&self, head: &mut Head, now_ns: u64) -> Result<usize, KeeperFault> {
        let overdue = self.store.overdue(now_ns).await?;
        for id in &overdue {
            let said = (ACTOR, String::new());
            let decision = self.decision(*id, Verdict::Expired, said, now_ns);
            let audit = Draft {
                time_ns: now_ns,
                actor: ACTOR.to_owned(),
                event: Event::SuggestionExpire,
                detail: format!("suggestion {id}"),
            };
            match self.store.decide(&decision, None, *head, audit).await {
                Ok(next) => *head = next,
                Err(error) => {
                    self.reload(head).await;
                    // Another control was first, with an answer or with the same.
                    return if matches!(error, StoreError::Conflict) { Ok(0) } else { Err(error.into()) };
                }
            }
            tracing::info!(id, "suggestion expired");
            self.decided.send_replace(decision.sequence);
        }
        Ok(overdue.len())
    }
}
