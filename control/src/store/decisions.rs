//! Rows of decisions. What is kept together with one is said by the turn that it is part of.

use super::{Store, StoreError, TENANT, failed, number, parsed, stored, text};
use meshgate_policy::PolicyVersion;
use meshgate_policy::suggestion::{Decision, State, Verdict};
use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};

/// Columns of a decision that may be absent. Every column has the name of what it holds, with `decision_` before it.
pub(super) const DECISION_COLUMNS: &str = "COALESCE(d.sequence, 0) AS decision_sequence, \
    COALESCE(d.suggestion_id, 0) AS decision_suggestion, COALESCE(d.verdict, '') AS decision_verdict, \
    COALESCE(d.reason, '') AS decision_reason, COALESCE(d.comment, '') AS decision_comment, \
    COALESCE(d.actor, '') AS decision_actor, COALESCE(d.time_ns, 0) AS decision_time_ns, \
    COALESCE(d.version, 0) AS decision_version, COALESCE(d.made, '') AS decision_made, \
    COALESCE(d.is_automatic, 0) AS decision_is_automatic";

/// Keeps a decision and closes its suggestion, within a transaction.
pub(super) async fn insert_decision(
    transaction: &mut Transaction<'_, Any>,
    decision: &Decision,
) -> Result<(), StoreError> {
    let doing = failed("keeping the decision");
    let Decision { sequence, suggestion, verdict, comment, actor, time_ns, automatic } = decision;
    let (reason, version, made) = match verdict {
        Verdict::Rejected(reason) => (reason.word(), PolicyVersion(0), String::new()),
        Verdict::Expired => ("", PolicyVersion(0), String::new()),
        Verdict::Accepted { edited: _, version, made } => {
            let json = |error: serde_json::Error| StoreError::Corrupt("made", error.to_string());
            ("", *version, serde_json::to_string(made).map_err(json)?)
        }
    };
    let insert = "INSERT INTO decisions (tenant, sequence, suggestion_id, verdict, reason, comment, actor, \
        time_ns, version, made, is_automatic, withdrawn_by) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0)";
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
        .bind(i64::from(*automatic))
        .execute(&mut **transaction)
        .await;
    match inserted {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => return Err(StoreError::Conflict),
        outcome => outcome.map_err(&doing)?,
    };
    sqlx::query("UPDATE suggestions SET state = $3 WHERE tenant = $1 AND id = $2")
        .bind(TENANT)
        .bind(stored("id", *suggestion)?)
        .bind(verdict.state().word())
        .execute(&mut **transaction)
        .await
        .map(drop)
        .map_err(doing)
}

impl Store {
    /// Returns the sequence of the newest decision or withdrawal; 0 before the first.
    pub async fn newest_decision(&self) -> Result<u64, StoreError> {
        let newest = "SELECT COALESCE(MAX(sequence), 0) AS last FROM (SELECT sequence FROM decisions \
            WHERE tenant = $1 UNION ALL SELECT sequence FROM withdrawals WHERE tenant = $1) both_kinds";
        let row = sqlx::query(newest)
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
        automatic: number(row, "decision_is_automatic")? != 0,
    }))
}
