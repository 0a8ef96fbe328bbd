//! Rows of prices, and of what was carried between zones.

use super::flows::{Place, groups, groups_text, small};
use super::trail::append;
use super::{Store, StoreError, TENANT, failed, number, parsed, stored, text};
use crate::audit::{Draft, Head};
use crate::costs::{CostTable, Price, Revised, Zone};
use crate::flow_book::{Width, ZoneAnswer, ZoneKey, ZoneSum};
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Transaction};

/// Sums of one INSERT.
const ROWS_PER_INSERT: usize = 200;
/// Columns of a sum.
const COLUMNS: usize = 12;
/// Sums that advice reads: the largest. A fleet of 1,000 rules and 10 zones has a tenth of that.
pub const ZONE_SUMS_READ_MAX: u32 = 200_000;

const KEY: &str = "source_groups, destination_groups, rule, source_zone, destination_zone";

impl Store {
    /// Returns the prices.
    pub async fn cost_table(&self) -> Result<Revised, StoreError> {
        // One statement, so that a table that is being replaced is never read half.
        let select = "SELECT t.revision, t.currency, COALESCE(p.from_zone, '') AS from_zone, \
            COALESCE(p.to_zone, '') AS to_zone, COALESCE(p.price_millionths, 0) AS price_millionths \
            FROM cost_tables t LEFT JOIN cost_prices p ON p.tenant = t.tenant WHERE t.tenant = $1";
        let rows = sqlx::query(select).bind(TENANT).fetch_all(&self.reads).await;
        let rows = rows.map_err(failed("reading the cost table"))?;
        let Some(first) = rows.first() else { return Ok(Revised::default()) };
        let (revision, currency) = (number(first, "revision")?, text(first, "currency")?);
        let is_price = |row: &&AnyRow| text(row, "from_zone").is_ok_and(|zone| !zone.is_empty());
        let prices = rows.iter().filter(is_price).map(price).collect::<Result<_, _>>()?;
        let table = CostTable::new(&currency, prices);
        let table = table.map_err(|fault| StoreError::Corrupt("cost_prices", fault.to_string()))?;
        Ok(Revised { revision, table })
    }

    /// Replaces the prices, with the audit entry, both or none, on disk when it returns.
    pub async fn set_cost_table(
        &self,
        revised: &Revised,
        head: Head,
        audit: Draft,
    ) -> Result<Head, StoreError> {
        let doing = failed("keeping the cost table");
        let Revised { revision, table } = revised;
        let mut transaction = self.writes.begin().await.map_err(&doing)?;
        // First of all: of two controls that write, the trail lets one through.
        let head = append(&mut transaction, head, audit).await?;
        let kept = "INSERT INTO cost_tables (tenant, revision, currency) VALUES ($1, $2, $3) \
            ON CONFLICT (tenant) DO UPDATE SET revision = excluded.revision, currency = excluded.currency";
        let kept = sqlx::query(kept).bind(TENANT).bind(stored("revision", *revision)?);
        kept.bind(table.currency().as_str()).execute(&mut *transaction).await.map_err(&doing)?;
        let before = sqlx::query("DELETE FROM cost_prices WHERE tenant = $1").bind(TENANT);
        before.execute(&mut *transaction).await.map_err(&doing)?;
        for (from, to, price) in table.prices() {
            let insert = "INSERT INTO cost_prices (tenant, from_zone, to_zone, price_millionths) \
                VALUES ($1, $2, $3, $4)";
            let insert = sqlx::query(insert).bind(TENANT).bind(from.to_string()).bind(to.to_string());
            let insert = insert.bind(stored("price", price.millionths())?);
            insert.execute(&mut *transaction).await.map_err(&doing)?;
        }
        transaction.commit().await.map_err(doing)?;
        Ok(head)
    }

    /// Adds up what was carried in the hours that begin at `from_s` or later. A collector tells the hour that is open every
    /// six minutes, so the answer is behind by as much. Returns `most` sums at most, and says how many others there are.
    pub async fn zone_sums(&self, from_s: u64, most: u32) -> Result<ZoneAnswer, StoreError> {
        let doing = failed("adding up what zones exchanged");
        let sums = format!(
            "SELECT {KEY}, CAST(SUM(bytes_forward) AS BIGINT) AS bytes_forward, \
             CAST(SUM(bytes_reverse) AS BIGINT) AS bytes_reverse FROM zone_sums \
             WHERE tenant = $1 AND width_s = $2 AND start_s >= $3 GROUP BY {KEY} \
             ORDER BY SUM(bytes_forward + bytes_reverse) DESC, {KEY} LIMIT $4"
        );
        let count = format!(
            "SELECT COUNT(*) AS count FROM (SELECT 1 AS one FROM zone_sums WHERE tenant = $1 AND width_s = $2 \
             AND start_s >= $3 GROUP BY {KEY}) every_sum"
        );
        let lost = "SELECT COALESCE(CAST(SUM(records_lost) AS BIGINT), 0) AS lost FROM flow_buckets \
            WHERE tenant = $1 AND width_s = $2 AND start_s >= $3";
        let (width_s, from_s) = (stored("width_s", Width::Hour.seconds())?, stored("from_s", from_s)?);
        let sums = sqlx::query(AssertSqlSafe(sums)).bind(TENANT).bind(width_s).bind(from_s);
        let rows = sums.bind(i64::from(most)).fetch_all(&self.reads).await.map_err(&doing)?;
        let lost = sqlx::query(lost).bind(TENANT).bind(width_s).bind(from_s);
        let records_lost = number(&lost.fetch_one(&self.reads).await.map_err(&doing)?, "lost")?;
        let sums = rows.iter().map(zone_sum).collect::<Result<Vec<_>, _>>()?;
        let read = u64::try_from(sums.len()).unwrap_or(u64::MAX);
        let mut left_out = 0;
        if read >= u64::from(most) {
            let count = sqlx::query(AssertSqlSafe(count)).bind(TENANT).bind(width_s).bind(from_s);
            let all = number(&count.fetch_one(&self.reads).await.map_err(&doing)?, "count")?;
            left_out = all.saturating_sub(read);
        }
        Ok(ZoneAnswer { sums, left_out, records_lost })
    }
}

/// Replaces what a bucket says of zones.
pub(super) async fn replace_zones(
    transaction: &mut Transaction<'_, Any>,
    place: Place<'_>,
    zones: &[ZoneSum],
) -> Result<(), StoreError> {
    let doing = failed("keeping what zones exchanged");
    let Place { collector, epoch, width_s, start_s } = place;
    let before = "DELETE FROM zone_sums WHERE tenant = $1 AND collector = $2 AND epoch = $3 AND width_s = $4 \
        AND start_s = $5";
    let before = sqlx::query(before).bind(TENANT).bind(collector).bind(epoch).bind(width_s).bind(start_s);
    before.execute(&mut **transaction).await.map_err(&doing)?;
    for sums in zones.chunks(ROWS_PER_INSERT) {
        let row = |row: usize| {
            let columns = (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column));
            format!("({})", columns.collect::<Vec<_>>().join(", "))
        };
        let sql = format!(
            "INSERT INTO zone_sums (tenant, collector, epoch, width_s, start_s, {KEY}, bytes_forward, bytes_reverse) \
             VALUES {}",
            (0..sums.len()).map(row).collect::<Vec<_>>().join(", ")
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(sums.len() == ROWS_PER_INSERT);
        for ZoneSum { key, bytes_forward, bytes_reverse } in sums {
            let ZoneKey { source_groups, destination_groups, rule, source_zone, destination_zone } = key;
            query = query
                .bind(TENANT)
                .bind(collector)
                .bind(epoch)
                .bind(width_s)
                .bind(start_s)
                .bind(groups_text(source_groups))
                .bind(groups_text(destination_groups))
                .bind(i64::from(*rule))
                .bind(source_zone.to_string())
                .bind(destination_zone.to_string())
                .bind(stored("bytes_forward", *bytes_forward)?)
                .bind(stored("bytes_reverse", *bytes_reverse)?);
        }
        query.execute(&mut **transaction).await.map_err(&doing)?;
    }
    Ok(())
}

fn price(row: &AnyRow) -> Result<(Zone, Zone, Price), StoreError> {
    let millionths = number(row, "price_millionths")?;
    let price = Price::new(millionths)
        .ok_or_else(|| StoreError::Corrupt("price_millionths", format!("{millionths} is too large")))?;
    Ok((parsed(row, "from_zone")?, parsed(row, "to_zone")?, price))
}

fn zone_sum(row: &AnyRow) -> Result<ZoneSum, StoreError> {
    let key = ZoneKey {
        source_groups: groups(row, "source_groups")?,
        destination_groups: groups(row, "destination_groups")?,
        rule: small(row, "rule")?,
        source_zone: parsed(row, "source_zone")?,
        destination_zone: parsed(row, "destination_zone")?,
    };
    let (bytes_forward, bytes_reverse) = (number(row, "bytes_forward")?, number(row, "bytes_reverse")?);
    Ok(ZoneSum { key, bytes_forward, bytes_reverse })
}
