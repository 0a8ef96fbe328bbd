//! Rows of learners: the newest report of each.

use super::suggestions::{formed, read_form};
use super::{Store, StoreError, TENANT, failed, number, stored, text};
use meshgate_policy::{LearnerLine, LearnerReport};

/// Learners that are remembered; a new one beyond takes the place of the one not heard of for longest. A fleet has one
/// learner or a few.
pub(super) const LEARNERS_MAX: u32 = 64;

const UPSERT: &str = "INSERT INTO learners (tenant, learner, epoch, reported_ns, report) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant, learner) DO UPDATE SET epoch = excluded.epoch, \
    reported_ns = excluded.reported_ns, report = excluded.report WHERE learners.epoch <= excluded.epoch";
const FORGET: &str = "DELETE FROM learners WHERE tenant = $1 AND learner NOT IN (SELECT learner FROM learners \
    WHERE tenant = $1 ORDER BY reported_ns DESC, learner LIMIT $2)";

impl Store {
    /// Keeps a report in place of the one before. Returns false, and keeps nothing, if a later start of the learner has
    /// reported already.
    pub async fn keep_learner(&self, report: &LearnerReport, now_ns: u64) -> Result<bool, StoreError> {
        let doing = failed("keeping the report of a learner");
        let mut transaction = self.writes.begin().await.map_err(&doing)?;
        let kept = sqlx::query(UPSERT)
            .bind(TENANT)
            .bind(report.learner.as_str())
            .bind(stored("report.epoch", report.epoch)?)
            .bind(stored("reported_ns", now_ns)?)
            .bind(formed("report", report)?)
            .execute(&mut *transaction)
            .await
            .map_err(&doing)?;
        let forget = sqlx::query(FORGET).bind(TENANT).bind(i64::from(LEARNERS_MAX));
        forget.execute(&mut *transaction).await.map_err(&doing)?;
        transaction.commit().await.map_err(doing)?;
        Ok(kept.rows_affected() > 0)
    }

    /// Returns all learners by name.
    pub async fn learners(&self) -> Result<Vec<LearnerLine>, StoreError> {
        let select = "SELECT reported_ns, report FROM learners WHERE tenant = $1 ORDER BY learner";
        let rows = sqlx::query(select).bind(TENANT).fetch_all(&self.reads).await;
        let line = |row| {
            let report = read_form("report", &text(row, "report")?)?;
            Ok(LearnerLine { report, reported_ns: number(row, "reported_ns")? })
        };
        rows.map_err(failed("reading learners"))?.iter().map(line).collect()
    }
}
