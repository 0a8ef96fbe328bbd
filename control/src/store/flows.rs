//! Rows of roll-ups.
//!
//! A collector delivers the same flows in buckets of three widths. A query must count them once: it takes the widest
//! buckets that lie in the span as a whole, and narrower ones only where the same collector run has no wider one there.
//!
//! A bucket is delivered again while it grows, a narrow one every second, an hour every six minutes. So a wide bucket
//! falls behind the narrower ones within it. One that was overtaken is stale: it does not count until it comes again,
//! or until what overtook it is forgotten.

use super::costs::replace_zones;
use super::{Store, StoreError, TENANT, failed, number, stored, text};
use crate::config::Retention;
use crate::flow_book::{Bucket, Delivery, FlowAnswer, FlowKey, FlowQuery, FlowSum, Width};
use crate::replay::{Matchable, Replay};
use meshgate_policy::{Action, EffectCounts, GroupId};
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Transaction};
use tokio_stream::StreamExt;

/// Sums of one INSERT: 200 rows of 21 parameters stay far below SQLite's 32,766 and PostgreSQL's 65,535.
const ROWS_PER_INSERT: usize = 200;
/// Columns of a sum.
const COLUMNS: usize = 21;

/// Buckets that are counted. $1 tenant, $2 first second, $3 second after the last.
pub(super) const COUNTED: &str = "b.tenant = $1 AND b.start_s >= $2 AND b.start_s + b.width_s <= $3 AND b.is_stale = 0 \
    AND NOT EXISTS (SELECT 1 FROM flow_buckets w WHERE w.tenant = b.tenant AND w.collector = b.collector \
    AND w.epoch = b.epoch AND w.width_s IN (60, 3600) AND w.width_s > b.width_s \
    AND w.start_s = b.start_s - b.start_s % w.width_s AND w.start_s >= $2 AND w.start_s + w.width_s <= $3 \
    AND w.is_stale = 0)";
/// Sums that are asked for. $4 to $8 are the conditions; an empty text or -1 means any.
const ASKED: &str = "($4 = '' OR s.source_groups LIKE $4) AND ($5 = '' OR s.destination_groups LIKE $5) \
    AND ($6 = -1 OR s.action = $6) AND ($7 = -1 OR s.protocol = $7) AND ($8 = -1 OR s.service_port = $8)";
/// Buckets with their sums.
pub(super) const JOIN: &str = "flow_buckets b JOIN flow_sums s ON s.tenant = b.tenant AND s.collector = b.collector \
    AND s.epoch = b.epoch AND s.width_s = b.width_s AND s.start_s = b.start_s";
const KEY: &str = "s.segment, s.source_groups, s.destination_groups, s.protocol, s.service_port, s.action, \
    s.stage, s.rule, s.shadow_rule";

impl Store {
    /// Keeps buckets, all or none. A bucket that was there before is replaced.
    pub async fn ingest(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let doing = "keeping roll-ups";
        let epoch = stored("epoch", delivery.epoch)?;
        let mut transaction = self.writes.begin().await.map_err(failed(doing))?;
        let mut buckets: Vec<&Bucket> = delivery.buckets.iter().collect();
        // Narrow ones first: what comes in one delivery was handed out together.
        buckets.sort_by_key(|bucket| bucket.width);
        for bucket in buckets {
            let place = Place {
                collector: delivery.collector.as_str(),
                epoch,
                width_s: stored("width_s", bucket.width.seconds())?,
                start_s: stored("start_s", bucket.start_s)?,
            };
            replace(&mut transaction, place, bucket).await?;
            overtake(&mut transaction, place, bucket).await?;
        }
        transaction.commit().await.map_err(failed(doing))
    }

    /// Adds up what is asked for.
    pub async fn query_flows(&self, query: &FlowQuery) -> Result<FlowAnswer, StoreError> {
        let sums = format!(
            "SELECT {KEY}, CAST(SUM(s.flows) AS BIGINT) AS flows, \
             CAST(SUM(s.packets_forward) AS BIGINT) AS packets_forward, \
             CAST(SUM(s.bytes_forward) AS BIGINT) AS bytes_forward, \
             CAST(SUM(s.packets_reverse) AS BIGINT) AS packets_reverse, \
             CAST(SUM(s.bytes_reverse) AS BIGINT) AS bytes_reverse, \
             MIN(s.first_ns) AS first_ns, MAX(s.last_ns) AS last_ns \
             FROM {JOIN} WHERE {COUNTED} AND {ASKED} GROUP BY {KEY} \
             ORDER BY SUM(s.bytes_forward + s.bytes_reverse) DESC, {KEY} LIMIT $9"
        );
        let count = format!(
            "SELECT COUNT(*) AS count FROM (SELECT {KEY} FROM {JOIN} WHERE {COUNTED} AND {ASKED} GROUP BY {KEY}) k"
        );
        let lost = format!(
            "SELECT COALESCE(CAST(SUM(b.records_lost) AS BIGINT), 0) AS lost FROM flow_buckets b WHERE {COUNTED}"
        );
        let doing = failed("adding up roll-ups");
        let span = |sql: String| {
            let until = query.until_s.map_or(i64::MAX, |until| i64::try_from(until).unwrap_or(i64::MAX));
            let from = i64::try_from(query.from_s).unwrap_or(i64::MAX);
            sqlx::query(AssertSqlSafe(sql)).bind(TENANT).bind(from).bind(until)
        };
        let asked = |sql: String| {
            span(sql)
                .bind(pattern(query.source_group))
                .bind(pattern(query.destination_group))
                .bind(query.action.map_or(-1, action_number))
                .bind(query.protocol.map_or(-1, |protocol| i64::from(protocol.0)))
                .bind(query.service_port.map_or(-1, i64::from))
        };
        let rows = asked(sums).bind(i64::from(query.limit)).fetch_all(&self.reads).await.map_err(&doing)?;
        let sums: Vec<FlowSum> = rows.iter().map(flow_sum).collect::<Result<_, _>>()?;
        let count = number(&asked(count).fetch_one(&self.reads).await.map_err(&doing)?, "count")?;
        let records_lost = number(&span(lost).fetch_one(&self.reads).await.map_err(&doing)?, "lost")?;
        let given = u64::try_from(sums.len()).unwrap_or(u64::MAX);
        Ok(FlowAnswer { sums, left_out: count.saturating_sub(given), records_lost })
    }

    /// Replays flows since a time: those that can be matched one key after the other, the others as a total. Rows come
    /// one by one, so that a week of many keys costs no memory.
    pub async fn replay(
        &self,
        from_s: u64,
        matchable: Matchable,
        mut replay: Replay<'_>,
    ) -> Result<EffectCounts, StoreError> {
        let keys = format!(
            "SELECT {KEY}, CAST(SUM(s.flows) AS BIGINT) AS flows FROM {JOIN} WHERE {COUNTED} AND {ASKED} GROUP BY {KEY}"
        );
        let total =
            format!("SELECT COALESCE(CAST(SUM(s.flows) AS BIGINT), 0) AS flows FROM {JOIN} WHERE {COUNTED}");
        let Matchable { source_group, destination_group, protocol } = matchable;
        let doing = failed("replaying roll-ups");
        let from = i64::try_from(from_s).unwrap_or(i64::MAX);
        let mut rows = sqlx::query(AssertSqlSafe(keys))
            .bind(TENANT)
            .bind(from)
            .bind(i64::MAX)
            .bind(pattern(source_group))
            .bind(pattern(destination_group))
            .bind(-1_i64)
            .bind(protocol.map_or(-1, |protocol| i64::from(protocol.0)))
            .bind(-1_i64)
            .fetch(&self.reads);
        while let Some(row) = rows.try_next().await.map_err(&doing)? {
            replay.add(&flow_key(&row)?, number(&row, "flows")?);
        }
        drop(rows);
        let total = sqlx::query(AssertSqlSafe(total)).bind(TENANT).bind(from).bind(i64::MAX);
        let total = total.fetch_one(&self.reads).await.map_err(&doing)?;
        Ok(replay.into_counts(number(&total, "flows")?))
    }

    /// Deletes buckets that have been kept long enough.
    pub(super) async fn forget_buckets(&self, now_s: u64, retention: Retention) -> Result<(), StoreError> {
        let Retention { tens_kept_h, minutes_kept_d, hours_kept_d } = retention;
        for width in Width::ALL {
            let kept_s = match width {
                Width::Ten => u64::from(tens_kept_h) * 3_600,
                Width::Minute => u64::from(minutes_kept_d) * 86_400,
                Width::Hour => u64::from(hours_kept_d) * 86_400,
            };
            let oldest = stored("start_s", now_s.saturating_sub(kept_s))?;
            let width_s = stored("width_s", width.seconds())?;
            let mut transaction = self.writes.begin().await.map_err(failed("deleting old roll-ups"))?;
            for statement in [
                "DELETE FROM zone_sums WHERE tenant = $1 AND width_s = $2 AND start_s < $3",
                "DELETE FROM flow_sums WHERE tenant = $1 AND width_s = $2 AND start_s < $3",
                "DELETE FROM flow_buckets WHERE tenant = $1 AND width_s = $2 AND start_s < $3",
            ] {
                let statement = sqlx::query(statement).bind(TENANT).bind(width_s).bind(oldest);
                statement.execute(&mut *transaction).await.map_err(failed("deleting old roll-ups"))?;
            }
            // Of the next wider ones from before then, what overtook them is gone, at least in part.
            if let Some(wider) = Width::ALL.into_iter().find(|wider| *wider > width) {
                let back = "UPDATE flow_buckets SET is_stale = 0 WHERE tenant = $1 AND width_s = $2 AND start_s < $3";
                let back =
                    sqlx::query(back).bind(TENANT).bind(stored("width_s", wider.seconds())?).bind(oldest);
                back.execute(&mut *transaction).await.map_err(failed("deleting old roll-ups"))?;
            }
            transaction.commit().await.map_err(failed("deleting old roll-ups"))?;
        }
        Ok(())
    }
}

/// What makes a bucket the same bucket.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) collector: &'a str,
    pub(super) epoch: i64,
    pub(super) width_s: i64,
    pub(super) start_s: i64,
}

async fn replace(
    transaction: &mut Transaction<'_, Any>,
    place: Place<'_>,
    bucket: &Bucket,
) -> Result<(), StoreError> {
    let doing = failed("keeping roll-ups");
    let Place { collector, epoch, width_s, start_s } = place;
    let kept = "INSERT INTO flow_buckets (tenant, collector, epoch, width_s, start_s, records_lost) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, collector, epoch, width_s, start_s) \
        DO UPDATE SET records_lost = excluded.records_lost, is_stale = 0";
    let kept = sqlx::query(kept).bind(TENANT).bind(collector).bind(epoch).bind(width_s).bind(start_s);
    let kept = kept.bind(stored("records_lost", bucket.records_lost)?);
    kept.execute(&mut **transaction).await.map_err(&doing)?;
    let before = "DELETE FROM flow_sums WHERE tenant = $1 AND collector = $2 AND epoch = $3 AND width_s = $4 \
        AND start_s = $5";
    let before = sqlx::query(before).bind(TENANT).bind(collector).bind(epoch).bind(width_s).bind(start_s);
    before.execute(&mut **transaction).await.map_err(&doing)?;
    for sums in bucket.sums.chunks(ROWS_PER_INSERT) {
        insert(transaction, place, sums).await?;
    }
    if bucket.width == Width::Hour { replace_zones(transaction, place, &bucket.zones).await } else { Ok(()) }
}

/// Marks the wider buckets around a bucket as stale.
async fn overtake(
    transaction: &mut Transaction<'_, Any>,
    place: Place<'_>,
    bucket: &Bucket,
) -> Result<(), StoreError> {
    let Place { collector, epoch, .. } = place;
    for width in Width::ALL.into_iter().filter(|width| *width > bucket.width) {
        let start_s = bucket.start_s - bucket.start_s % width.seconds();
        let mark = "UPDATE flow_buckets SET is_stale = 1 WHERE tenant = $1 AND collector = $2 AND epoch = $3 \
            AND width_s = $4 AND start_s = $5";
        let mark = sqlx::query(mark).bind(TENANT).bind(collector).bind(epoch);
        let mark = mark.bind(stored("width_s", width.seconds())?).bind(stored("start_s", start_s)?);
        mark.execute(&mut **transaction).await.map_err(failed("keeping roll-ups"))?;
    }
    Ok(())
}

async fn insert(
    transaction: &mut Transaction<'_, Any>,
    place: Place<'_>,
    sums: &[FlowSum],
) -> Result<(), StoreError> {
    let row = |row: usize| {
        let columns = (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column));
        format!("({})", columns.collect::<Vec<_>>().join(", "))
    };
    let sql = format!(
        "INSERT INTO flow_sums (tenant, collector, epoch, width_s, start_s, segment, source_groups, \
         destination_groups, protocol, service_port, action, stage, rule, shadow_rule, flows, packets_forward, \
         bytes_forward, packets_reverse, bytes_reverse, first_ns, last_ns) VALUES {}",
        (0..sums.len()).map(row).collect::<Vec<_>>().join(", ")
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(sums.len() == ROWS_PER_INSERT);
    for FlowSum {
        key,
        flows,
        packets_forward,
        bytes_forward,
        packets_reverse,
        bytes_reverse,
        first_ns,
        last_ns,
    } in sums
    {
        let Place { collector, epoch, width_s, start_s } = place;
        query = query
            .bind(TENANT)
            .bind(collector)
            .bind(epoch)
            .bind(width_s)
            .bind(start_s)
            .bind(i64::from(key.segment))
            .bind(groups_text(&key.source_groups))
            .bind(groups_text(&key.destination_groups))
            .bind(i64::from(key.protocol))
            .bind(i64::from(key.service_port))
            .bind(action_number(key.action))
            .bind(i64::from(key.stage))
            .bind(i64::from(key.rule))
            .bind(i64::from(key.shadow_rule))
            .bind(stored("flows", *flows)?)
            .bind(stored("packets_forward", *packets_forward)?)
            .bind(stored("bytes_forward", *bytes_forward)?)
            .bind(stored("packets_reverse", *packets_reverse)?)
            .bind(stored("bytes_reverse", *bytes_reverse)?)
            .bind(stored("first_ns", *first_ns)?)
            .bind(stored("last_ns", *last_ns)?);
    }
    query.execute(&mut **transaction).await.map_err(failed("keeping roll-ups"))?;
    Ok(())
}

fn flow_key(row: &AnyRow) -> Result<FlowKey, StoreError> {
    Ok(FlowKey {
        segment: small(row, "segment")?,
        source_groups: groups(row, "source_groups")?,
        destination_groups: groups(row, "destination_groups")?,
        protocol: small(row, "protocol")?,
        service_port: small(row, "service_port")?,
        action: match number(row, "action")? {
            1 => Action::Allow,
            2 => Action::Deny,
            _ => Action::Reject,
        },
        stage: small(row, "stage")?,
        rule: small(row, "rule")?,
        shadow_rule: small(row, "shadow_rule")?,
    })
}

fn flow_sum(row: &AnyRow) -> Result<FlowSum, StoreError> {
    Ok(FlowSum {
        key: flow_key(row)?,
        flows: number(row, "flows")?,
        packets_forward: number(row, "packets_forward")?,
        bytes_forward: number(row, "bytes_forward")?,
        packets_reverse: number(row, "packets_reverse")?,
        bytes_reverse: number(row, "bytes_reverse")?,
        first_ns: number(row, "first_ns")?,
        last_ns: number(row, "last_ns")?,
    })
}

pub(super) fn small<T: TryFrom<u64>>(row: &AnyRow, column: &'static str) -> Result<T, StoreError> {
    let value = number(row, column)?;
    T::try_from(value).map_err(|_| StoreError::Corrupt(column, format!("{value} is too large")))
}

pub(super) fn groups(row: &AnyRow, column: &'static str) -> Result<Vec<GroupId>, StoreError> {
    let text = text(row, column)?;
    let number = |part: &str| {
        let bad = |_| StoreError::Corrupt(column, format!("{part:?} is not a number"));
        part.parse().map(GroupId).map_err(bad)
    };
    text.split(',').filter(|part| !part.is_empty()).map(number).collect()
}

/// Returns the numbers with a comma before, between and behind, so that one can be searched for by `,16,`.
pub(super) fn groups_text(groups: &[GroupId]) -> String {
    groups.iter().fold(String::from(","), |text, group| format!("{text}{group},"))
}

fn pattern(group: Option<GroupId>) -> String {
    group.map_or_else(String::new, |group| format!("%,{group},%"))
}

fn action_number(action: Action) -> i64 {
    match action {
        Action::Allow => 1,
        Action::Deny => 2,
        Action::Reject => 3,
    }
}
