//! Suggestions whose time is up are closed: what nobody answered must not fill the inbox, and what still holds may be
//! suggested anew.

use super::{Keeper, KeeperFault};
use crate::audit::{Draft, Event, Head};
use crate::clock::now_ns;
use crate::store::{StoreError, Turn};
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
            let turn = Turn { decision: Some(&decision), ..Turn::default() };
            match self.finish(head, turn, audit, None).await {
                Ok(()) => {}
                // Another control was first, with an answer or with the same.
                Err(StoreError::Conflict) => return Ok(0),
                Err(error) => return Err(error.into()),
            }
            tracing::info!(id, "suggestion expired");
        }
        Ok(overdue.len())
    }
}
