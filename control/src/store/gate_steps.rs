//! Which steps of learners' gates stand in the audit trail.

use super::trail::append;
use super::{Store, StoreError, TENANT, failed, number, stored};
use crate::audit::{Draft, Head};

/// What is known of the gate steps of a learner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateMemory {
    /// The time of the newest step that stands in the trail, nanoseconds since 1970.
    pub newest_ns: u64,
    /// Steps that came to stand there within the last day.
    pub today: u64,
}

impl Store {
    /// Returns what is known of the gate steps of a learner, counting from a time.
    pub async fn gate_memory(&self, learner: &str, from_ns: u64) -> Result<GateMemory, StoreError> {
        let select = "SELECT COALESCE(MAX(time_ns), 0) AS newest, \
            COUNT(CASE WHEN audited_ns >= $3 THEN 1 END) AS today FROM gate_steps \
            WHERE tenant = $1 AND learner = $2";
        let row = sqlx::query(select).bind(TENANT).bind(learner).bind(stored("from_ns", from_ns)?);
        let row = row.fetch_one(&self.reads).await.map_err(failed("reading gate steps"))?;
        Ok(GateMemory { newest_ns: number(&row, "newest")?, today: number(&row, "today")? })
    }

    /// Notes a gate step and its audit entry, both or none, on disk when it returns.
    pub async fn note_gate_step(
        &self,
        learner: &str,
        time_ns: u64,
        head: Head,
        audit: Draft,
    ) -> Result<Head, StoreError> {
        let doing = failed("keeping a gate step");
        let mut transaction = self.writes.begin().await.map_err(&doing)?;
        let insert = "INSERT INTO gate_steps (tenant, learner, time_ns, audited_ns) VALUES ($1, $2, $3, $4)";
        let inserted = sqlx::query(insert)
            .bind(TENANT)
            .bind(learner)
            .bind(stored("time_ns", time_ns)?)
            .bind(stored("audited_ns", audit.time_ns)?)
            .execute(&mut *transaction)
            .await;
        match inserted {
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                return Err(StoreError::Conflict);
            }
            outcome => outcome.map_err(&doing)?,
        };
        let head = append(&mut transaction, head, audit).await?;
        transaction.commit().await.map_err(doing)?;
        Ok(head)
    }
}
