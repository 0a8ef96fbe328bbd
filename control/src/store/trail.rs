//! The audit trail's rows. Nothing here changes or deletes one.

use super::{Store, StoreError, TENANT, failed, number, parsed, stored, text};
use crate::audit::{Draft, Entry, Head};
use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};

/// Entries that are read at once when the trail is followed.
const PAGE_ENTRIES: i64 = 1_000;

const BELOW: &str = "SELECT sequence, time_ns, actor, event, detail, hash FROM audit \
    WHERE tenant = $1 AND sequence < $2 ORDER BY sequence DESC LIMIT $3";
const ABOVE: &str = "SELECT sequence, time_ns, actor, event, detail, hash FROM audit \
    WHERE tenant = $1 AND sequence > $2 ORDER BY sequence LIMIT $3";

impl Store {
    /// Adds an entry, on disk when it returns.
    pub async fn append(&self, head: Head, draft: Draft) -> Result<Head, StoreError> {
        let mut transaction = self.writes.begin().await.map_err(failed("keeping an audit entry"))?;
        let head = append(&mut transaction, head, draft).await?;
        transaction.commit().await.map_err(failed("keeping an audit entry"))?;
        Ok(head)
    }

    /// Returns entries below a place, newest first.
    pub async fn audit(&self, before: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        let rows = sqlx::query(BELOW).bind(TENANT).bind(before).bind(i64::from(limit));
        let rows = rows.fetch_all(&self.reads).await.map_err(failed("reading the audit trail"))?;
        rows.iter().map(entry).collect()
    }

    /// Returns the last entry of the trail.
    pub async fn audit_head(&self) -> Result<Head, StoreError> {
        let last = self.audit(u64::MAX, 1).await?.pop();
        Ok(last.map_or_else(Head::default, |entry| Head { sequence: entry.sequence, hash: entry.hash }))
    }

    /// Follows the trail from its start. Returns the place of the first entry that does not follow the one before.
    pub async fn audit_break(&self) -> Result<Option<u64>, StoreError> {
        let mut head = Head::default();
        loop {
            let rows =
                sqlx::query(ABOVE).bind(TENANT).bind(stored("sequence", head.sequence)?).bind(PAGE_ENTRIES);
            let rows = rows.fetch_all(&self.reads).await.map_err(failed("reading the audit trail"))?;
            if rows.is_empty() {
                return Ok(None);
            }
            for row in &rows {
                let entry = entry(row)?;
                match head.follow(&entry) {
                    Some(next) => head = next,
                    None => return Ok(Some(entry.sequence)),
                }
            }
        }
    }
}

/// Adds an entry within a transaction.
pub(super) async fn append(
    transaction: &mut Transaction<'_, Any>,
    head: Head,
    draft: Draft,
) -> Result<Head, StoreError> {
    let Entry { sequence, time_ns, actor, event, detail, hash } = head.next(draft);
    let insert = "INSERT INTO audit (tenant, sequence, time_ns, actor, event, detail, hash) \
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let inserted = sqlx::query(insert)
        .bind(TENANT)
        .bind(stored("sequence", sequence)?)
        .bind(stored("time_ns", time_ns)?)
        .bind(actor)
        .bind(event)
        .bind(detail)
        .bind(hash.to_string())
        .execute(&mut **transaction)
        .await;
    match inserted {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Err(StoreError::Conflict),
        Err(error) => Err(failed("keeping an audit entry")(error)),
        Ok(_) => Ok(Head { sequence, hash }),
    }
}

fn entry(row: &AnyRow) -> Result<Entry, StoreError> {
    Ok(Entry {
        sequence: number(row, "sequence")?,
        time_ns: number(row, "time_ns")?,
        actor: text(row, "actor")?,
        event: text(row, "event")?,
        detail: text(row, "detail")?,
        hash: parsed(row, "hash")?,
    })
}
