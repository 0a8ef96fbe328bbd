//! One turn of whoever decides: the rows that it writes and its audit entry are one transaction. Whatever happens to the
//! process, none of them is there without the others.

use super::automatic::{insert_run, put_kind, update_run};
use super::decisions::insert_decision;
use super::trail::append;
use super::versions::{NewVersion, insert_version};
use super::withdrawals::insert_withdrawal;
use super::{Store, StoreError, failed};
use crate::audit::{Draft, Head};
use crate::automatic::Kind;
use meshgate_policy::Withdrawal;
use meshgate_policy::automatic::{AutomaticRun, RunStage};
use meshgate_policy::suggestion::Decision;

/// What a turn writes; most write one or two of these.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn<'a> {
    /// A version of the policy.
    pub version: Option<NewVersion<'a>>,
    /// A decision; the suggestion is closed.
    pub decision: Option<&'a Decision>,
    /// A decision taken back; the suggestion is open.
    pub withdrawal: Option<&'a Withdrawal>,
    /// An automatic acceptance that begins.
    pub new_run: Option<&'a AutomaticRun>,
    /// An automatic acceptance that takes a step, and the stage that it must still be in.
    pub run: Option<(&'a AutomaticRun, RunStage)>,
    /// A kind that is switched.
    pub kind: Option<&'a Kind>,
}

impl Store {
    /// Keeps everything of a turn and its audit entry, all or none, on disk when it returns. Two controls that take the
    /// same turn write the same place of the trail: one of them is refused.
    pub async fn take_turn(&self, turn: Turn<'_>, head: Head, audit: Draft) -> Result<Head, StoreError> {
        let doing = failed("keeping a decision");
        let Turn { version, decision, withdrawal, new_run, run, kind } = turn;
        let mut transaction = self.writes.begin().await.map_err(&doing)?;
        if let Some(version) = version {
            insert_version(&mut transaction, version).await?;
        }
        if let Some(decision) = decision {
            insert_decision(&mut transaction, decision).await?;
        }
        if let Some(withdrawal) = withdrawal {
            insert_withdrawal(&mut transaction, withdrawal).await?;
        }
        if let Some(run) = new_run {
            insert_run(&mut transaction, run).await?;
        }
        if let Some((run, from)) = run {
            update_run(&mut transaction, run, from).await?;
        }
        if let Some(kind) = kind {
            put_kind(&mut transaction, kind).await?;
        }
        let head = append(&mut transaction, head, audit).await?;
        transaction.commit().await.map_err(doing)?;
        Ok(head)
    }
}
