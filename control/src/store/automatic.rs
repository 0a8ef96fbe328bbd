//! Rows of automatic acceptance: which kinds are on, and what is being watched.

use super::suggestions::{formed, read_form};
use super::{Store, StoreError, TENANT, failed, number, parsed, stored, text};
use crate::automatic::Kind;
use meshgate_policy::RuleId;
use meshgate_policy::automatic::{AutomaticKind, AutomaticRun, RunStage};
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Transaction};

const RUN: &str = "decision, suggestion_id, kind, relationship, stage, since_ns, settings, expected, steps";

impl Store {
    /// Returns the kinds that were ever switched.
    pub async fn automatic_kinds(&self) -> Result<Vec<Kind>, StoreError> {
        let select = "SELECT kind, state, since_ns, actor, comment, settings FROM automatic_kinds \
            WHERE tenant = $1 ORDER BY kind";
        let rows = sqlx::query(select).bind(TENANT).fetch_all(&self.reads).await;
        rows.map_err(failed("reading automatic kinds"))?.iter().map(kind).collect()
    }

    /// Returns the acceptances that are in shadow or being watched, oldest first.
    pub async fn live_runs(&self) -> Result<Vec<AutomaticRun>, StoreError> {
        let select = format!(
            "SELECT {RUN} FROM automatic_runs WHERE tenant = $1 AND stage IN ('shadow', 'enforced') \
             ORDER BY decision"
        );
        let rows = sqlx::query(AssertSqlSafe(select)).bind(TENANT).fetch_all(&self.reads).await;
        rows.map_err(failed("reading automatic acceptances"))?.iter().map(run).collect()
    }

    /// Returns the automatic acceptance of a suggestion, if there was one.
    pub async fn run_of(&self, suggestion: u64) -> Result<Option<AutomaticRun>, StoreError> {
        let Ok(wanted) = i64::try_from(suggestion) else { return Ok(None) };
        let select = format!("SELECT {RUN} FROM automatic_runs WHERE tenant = $1 AND suggestion_id = $2");
        let row = sqlx::query(AssertSqlSafe(select)).bind(TENANT).bind(wanted);
        let row = row.fetch_optional(&self.reads).await.map_err(failed("reading an automatic acceptance"))?;
        row.map(|row| run(&row)).transpose()
    }

    /// Counts acceptances of a kind that began at a time or later.
    pub async fn runs_begun(&self, kind: AutomaticKind, from_ns: u64) -> Result<u32, StoreError> {
        let select =
            "SELECT COUNT(*) AS count FROM automatic_runs WHERE tenant = $1 AND kind = $2 AND begun_ns >= $3";
        let row = sqlx::query(select).bind(TENANT).bind(kind.word()).bind(stored("begun_ns", from_ns)?);
        let row = row.fetch_one(&self.reads).await.map_err(failed("counting automatic acceptances"))?;
        Ok(u32::try_from(number(&row, "count")?).unwrap_or(u32::MAX))
    }

    /// Returns the learners that ever suggested something of a kind.
    pub async fn learners_of(&self, kind: AutomaticKind) -> Result<Vec<String>, StoreError> {
        let select =
            "SELECT DISTINCT learner FROM suggestions WHERE tenant = $1 AND origin = $2 ORDER BY learner";
        let rows = sqlx::query(select).bind(TENANT).bind(kind.word()).fetch_all(&self.reads).await;
        rows.map_err(failed("reading who suggested"))?.iter().map(|row| text(row, "learner")).collect()
    }

    /// Returns the last answers by people to suggestions of one learner and kind with at least this confidence, newest
    /// first: whether the draft was accepted as it was. What was put off is no answer, nor is what was taken
    /// back or expired; and what was said of a change of members says nothing of rules.
    pub async fn people_said(
        &self,
        learner: &str,
        kind: AutomaticKind,
        confidence: f64,
        limit: u32,
    ) -> Result<Vec<bool>, StoreError> {
        let select = "SELECT d.verdict FROM decisions d JOIN suggestions s ON s.tenant = d.tenant \
            AND s.id = d.suggestion_id WHERE d.tenant = $1 AND s.origin = $2 AND d.withdrawn_by = 0 \
            AND d.is_automatic = 0 AND d.reason <> 'later' AND d.verdict <> 'expired' \
            AND s.learner = $5 AND s.draft NOT LIKE '{\"kind\":\"membership\"%' \
            AND CAST(s.confidence AS DOUBLE PRECISION) >= $3 ORDER BY d.sequence DESC LIMIT $4";
        let rows = sqlx::query(select).bind(TENANT).bind(kind.word()).bind(confidence);
        let rows = rows.bind(i64::from(limit)).bind(learner).fetch_all(&self.reads).await;
        let rows = rows.map_err(failed("reading answers"))?;
        rows.iter().map(|row| Ok(text(row, "verdict")? == "accepted")).collect()
    }

    /// Returns the open suggestions of a kind whose draft was never answered, nor accepted automatically, under any number:
    /// a draft that was put off, or whose rule was removed, is suggested anew. The most confident come first.
    pub async fn never_answered(&self, kind: AutomaticKind, limit: u32) -> Result<Vec<u64>, StoreError> {
        let select = "SELECT s.id FROM suggestions s WHERE s.tenant = $1 AND s.origin = $2 AND s.state = 'open' \
            AND NOT EXISTS (SELECT 1 FROM suggestions o JOIN decisions d ON d.tenant = o.tenant AND d.suggestion_id = o.id \
            WHERE o.tenant = s.tenant AND o.draft_key = s.draft_key AND d.verdict <> 'expired') \
            ORDER BY CAST(s.confidence AS DOUBLE PRECISION) DESC, s.id LIMIT $3";
        let rows = sqlx::query(select).bind(TENANT).bind(kind.word()).bind(i64::from(limit));
        let rows = rows.fetch_all(&self.reads).await.map_err(failed("reading open suggestions"))?;
        rows.iter().map(|row| number(row, "id")).collect()
    }
}

/// Keeps an acceptance that begins, within a transaction.
pub(super) async fn insert_run(
    transaction: &mut Transaction<'_, Any>,
    run: &AutomaticRun,
) -> Result<(), StoreError> {
    let insert = "INSERT INTO automatic_runs (tenant, decision, suggestion_id, kind, relationship, begun_ns, \
        stage, since_ns, settings, expected, steps) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let inserted = sqlx::query(insert)
        .bind(TENANT)
        .bind(stored("decision", run.decision)?)
        .bind(stored("suggestion_id", run.suggestion)?)
        .bind(run.kind.word())
        .bind(i64::from(run.relationship.0))
        .bind(stored("begun_ns", run.since_ns)?)
        .bind(run.stage.word())
        .bind(stored("since_ns", run.since_ns)?)
        .bind(formed("settings", &run.settings)?)
        .bind(formed("expected", run.expected)?)
        .bind(formed("steps", &run.steps)?)
        .execute(&mut **transaction)
        .await;
    match inserted {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Err(StoreError::Conflict),
        outcome => outcome.map(drop).map_err(failed("keeping an automatic acceptance")),
    }
}

/// Keeps the step of an acceptance that is still in a stage, within a transaction.
pub(super) async fn update_run(
    transaction: &mut Transaction<'_, Any>,
    run: &AutomaticRun,
    from: RunStage,
) -> Result<(), StoreError> {
    let update = "UPDATE automatic_runs SET stage = $4, since_ns = $5, expected = $6, steps = $7 \
        WHERE tenant = $1 AND decision = $2 AND stage = $3";
    let updated = sqlx::query(update)
        .bind(TENANT)
        .bind(stored("decision", run.decision)?)
        .bind(from.word())
        .bind(run.stage.word())
        .bind(stored("since_ns", run.since_ns)?)
        .bind(formed("expected", run.expected)?)
        .bind(formed("steps", &run.steps)?)
        .execute(&mut **transaction)
        .await
        .map_err(failed("keeping a step of an automatic acceptance"))?;
    if updated.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Conflict) }
}

/// Keeps how a kind stands, within a transaction.
pub(super) async fn put_kind(transaction: &mut Transaction<'_, Any>, kind: &Kind) -> Result<(), StoreError> {
    let upsert = "INSERT INTO automatic_kinds (tenant, kind, state, since_ns, actor, comment, settings) \
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, kind) DO UPDATE SET state = excluded.state, \
        since_ns = excluded.since_ns, actor = excluded.actor, comment = excluded.comment, \
        settings = excluded.settings";
    sqlx::query(upsert)
        .bind(TENANT)
        .bind(kind.kind.word())
        .bind(kind.state.word())
        .bind(stored("since_ns", kind.since_ns)?)
        .bind(kind.actor.as_str())
        .bind(kind.comment.as_str())
        .bind(formed("settings", &kind.settings)?)
        .execute(&mut **transaction)
        .await
        .map(drop)
        .map_err(failed("keeping an automatic kind"))
}

fn kind(row: &AnyRow) -> Result<Kind, StoreError> {
    Ok(Kind {
        kind: parsed(row, "kind")?,
        state: parsed(row, "state")?,
        since_ns: number(row, "since_ns")?,
        actor: text(row, "actor")?,
        comment: text(row, "comment")?,
        settings: read_form("settings", &text(row, "settings")?)?,
    })
}

fn run(row: &AnyRow) -> Result<AutomaticRun, StoreError> {
    let relationship = number(row, "relationship")?;
    let too_large = |_| StoreError::Corrupt("relationship", format!("{relationship} is too large"));
    Ok(AutomaticRun {
        suggestion: number(row, "suggestion_id")?,
        decision: number(row, "decision")?,
        kind: parsed(row, "kind")?,
        relationship: RuleId(u32::try_from(relationship).map_err(too_large)?),
        stage: parsed(row, "stage")?,
        since_ns: number(row, "since_ns")?,
        settings: read_form("settings", &text(row, "settings")?)?,
        expected: read_form("expected", &text(row, "expected")?)?,
        steps: read_form("steps", &text(row, "steps")?)?,
    })
}
