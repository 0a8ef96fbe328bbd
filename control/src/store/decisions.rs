//! Rows of decisions. A decision, the suggestion's new state, the version it made and the audit entry are one
//! transaction: whatever happens to the process, none of them is there without the others.

use super::trail::append;
use super::versions::{NewVersion, insert_version};
use super::{Store, StoreError, TENANT, failed, number, parsed, stored, text};
use crate::audit::{Draft, Head};
use meshgate_policy::PolicyVersion;
use meshgate_policy::suggestion::{Decision, State, Verdict};
use sqlx::any::AnyRow;

/// Columns of a decision that may be absent. Every column has the name of what it holds, with `decision_` before it.
pub(super) const DECISION_COLUMNS: &str = "COALESCE(d.sequence, 0) AS decision_sequence, \
    COALESCE(d.suggestion_id, 0) AS decision_suggestion, COALESCE(d.verdict, '') AS decision_verdict, \
    COALESCE(d.reason, '') AS decision_reason, COALESCE(d.comment, '') AS decision_comment, \
    COALESCE(d.actor, '') AS decision_actor, COALESCE(d.time_ns, 0) AS decision_time_ns, \
    COALESCE(d.version, 0) AS decision_version, COALESCE(d.made, '') AS decision_made";

impl Store {
    /// Keeps a decision, the version it made if any, and its audit entry, all or none, on disk when it returns.
    pub async fn decide(
        &self,
        decision: &Decision,
        new: Option<NewVersion<'_>>,
        head: Head,
        audit: Draft,
    ) -> Result<Head, StoreError> {
        let doing = failed("keeping the decision");
        let mut transaction = self.writes.begin().await.map_err(&doing)?;
        if let Some(new) = new {
            insert_version(&mut transaction, new).await?;
        }
        let Decision { sequence, suggestion, verdict, comment, actor, time_ns } = decision;
        let (reason, version, made) = match verdict {
            Verdict::Rejected(reason) => (reason.word(), PolicyVersion(0), String::new()),
            Verdict::Expired => ("", PolicyVersion(0), String::new()),
            Verdict::Accepted { edited: _, version, made } => {
                let json = |error: serde_json::Error| StoreError::Corrupt("made", error.to_string());
                ("", *version, serde_json::to_string(made).map_err(json)?)
            }
        };
        let insert = "INSERT INTO decisions (tenant, sequence, suggestion_id, verdict, reason, comment, actor, \
            time_ns, version, made) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let inserted = sqlx::query(insert)
            .bind(TENANT)
            .bind(stored("sequence", *sequence)?)
            .bind(stored("suggestion_id", *suggestion)?)
            .bind(verdict.state().word())
            .bind(reason)
            .bind(comment.as_str())
            .bind(actor.as_str())
            .bind(stored("time_ns", *time_ns)?)
            .bind(stored("version", version.0)?)
            .bind(made)
            .execute(&mut *transaction)
            .await;
        match inserted {
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                return Err(StoreError::Conflict);
            }
            outcome => outcome.map_err(&doing)?,
        };
        sqlx::query("UPDATE suggestions SET state = $3 WHERE tenant = $1 AND id = $2")
            .bind(TENANT)
            .bind(stored("id", *suggestion)?)
            .bind(verdict.state().word())
            .execute(&mut *transaction)
            .await
            .map_err(&doing)?;
        let head = append(&mut transaction, head, audit).await?;
        transaction.commit().await.map_err(doing)?;
        Ok(head)
    }

    /// Returns the sequence of the newest decision; 0 before the first.
    pub async fn newest_decision(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT COALESCE(MAX(sequence), 0) AS last FROM decisions WHERE tenant = $1")
            .bind(TENANT)
            .fetch_one(&self.reads)
            .await
            .map_err(failed("reading the newest decision"))?;
        number(&row, "last")
    }
}

/// Returns the decision of a joined row; none if the suggestion is open.
pub(super) fn decision_of(row: &AnyRow) -> Result<Option<Decision>, StoreError> {
    let sequence = number(row, "decision_sequence")?;
    if sequence == 0 {
        return Ok(None);
    }
    let verdict = match parsed(row, "decision_verdict")? {
        State::Rejected => Verdict::Rejected(parsed(row, "decision_reason")?),
        State::Expired => Verdict::Expired,
        state @ (State::Accepted | State::Edited) => {
            let json = |error: serde_json::Error| StoreError::Corrupt("made", error.to_string());
            Verdict::Accepted {
                edited: state == State::Edited,
                version: PolicyVersion(number(row, "decision_version")?),
                made: serde_json::from_str(&text(row, "decision_made")?).map_err(json)?,
            }
        }
        State::Open => return Err(StoreError::Corrupt("verdict", "open is no verdict".to_owned())),
    };
    Ok(Some(Decision {
        sequence,
        suggestion: number(row, "decision_suggestion")?,
        verdict,
        comment: text(row, "decision_comment")?,
        actor: text(row, "decision_actor")?,
        time_ns: number(row, "decision_time_ns")?,
    }))
}
