//! What roll-ups say of one rule: flows it decided, flows it would have decided otherwise, and how much of the time was
//! seen at all.

use super::flows::{COUNTED, JOIN};
use super::{Store, StoreError, TENANT, failed, number, stored};
use crate::automatic::Watched;
use meshgate_policy::RuleId;
use sqlx::AssertSqlSafe;

/// Seconds of a bucket of the narrowest width: what begins within one counts from the next.
const NARROWEST_S: u64 = 10;
/// Seconds by which is said whether anything was seen.
const HOUR_S: u64 = 3_600;

impl Store {
    /// Adds up what was seen of a rule within a span, in seconds since 1970.
    pub async fn watched_flows(
        &self,
        rule: RuleId,
        from_s: u64,
        until_s: u64,
    ) -> Result<Watched, StoreError> {
        let doing = failed("adding up what a rule did");
        let from_s = from_s.next_multiple_of(NARROWEST_S);
        let (from, until) = (stored("from_s", from_s)?, stored("until_s", until_s)?);
        let sums = format!(
            "SELECT COALESCE(CAST(SUM(s.flows) AS BIGINT), 0) AS seen, \
             COALESCE(CAST(SUM(CASE WHEN s.shadow_rule = $4 THEN s.flows ELSE 0 END) AS BIGINT), 0) AS changed, \
             COALESCE(CAST(SUM(CASE WHEN s.rule = $4 THEN s.flows ELSE 0 END) AS BIGINT), 0) AS decided \
             FROM {JOIN} WHERE {COUNTED}"
        );
        let row = sqlx::query(AssertSqlSafe(sums)).bind(TENANT).bind(from).bind(until);
        let row = row.bind(i64::from(rule.0)).fetch_one(&self.reads).await.map_err(&doing)?;
        let (seen, changed, decided) =
            (number(&row, "seen")?, number(&row, "changed")?, number(&row, "decided")?);
        let lost = format!(
            "SELECT COALESCE(CAST(SUM(b.records_lost) AS BIGINT), 0) AS lost FROM flow_buckets b WHERE {COUNTED}"
        );
        let row = sqlx::query(AssertSqlSafe(lost)).bind(TENANT).bind(from).bind(until);
        let lost = number(&row.fetch_one(&self.reads).await.map_err(&doing)?, "lost")?;
        let hours = "SELECT COUNT(DISTINCT start_s / 3600) AS hours FROM flow_buckets WHERE tenant = $1 \
            AND start_s >= $2 AND start_s < $3";
        let row = sqlx::query(hours).bind(TENANT).bind(from).bind(until);
        let hours_seen = number(&row.fetch_one(&self.reads).await.map_err(doing)?, "hours")?;
        let hours = until_s.div_ceil(HOUR_S).saturating_sub(from_s / HOUR_S);
        Ok(Watched { seen, changed, decided, lost, hours, hours_seen })
    }

    /// Returns when the oldest roll-up of a span begins, seconds since 1970; none if there is none.
    pub async fn oldest_bucket(&self, from_s: u64) -> Result<Option<u64>, StoreError> {
        let select = "SELECT COALESCE(MIN(start_s), -1) AS oldest FROM flow_buckets WHERE tenant = $1 AND start_s >= $2";
        let row = sqlx::query(select).bind(TENANT).bind(stored("from_s", from_s)?);
        let row = row.fetch_one(&self.reads).await.map_err(failed("reading the oldest roll-up"))?;
        let oldest: i64 = sqlx::Row::try_get(&row, "oldest").map_err(failed("oldest"))?;
        Ok(u64::try_from(oldest).ok())
    }
}
