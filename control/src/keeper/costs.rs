//! The keeper's part in costs: prices are replaced under the same lock as every other write, with an entry of the audit
//! trail; advice is worked out from what is there.

use super::{Keeper, KeeperFault};
use crate::audit::{Draft, Event};
use crate::clock::now_ns;
use crate::costs::{Advice, CostTable, Question, Revised, Zones};
use crate::flow_book::ZoneAnswer;
use crate::store::{StoreError, ZONE_SUMS_READ_MAX};
use std::sync::{Arc, PoisonError};

/// Prices that an entry of the audit trail names; the rest is counted.
const PRICES_AUDITED_MAX: usize = 64;
/// Seconds of a day, and of the hours in which bytes by zone are kept.
const DAY_S: u64 = 86_400;
const HOUR_S: u64 = 3_600;

/// A new table of prices.
#[derive(Clone, Debug)]
pub struct TableChange {
    /// The table.
    pub table: CostTable,
    /// The revision it was made against; none skips the check.
    pub expected_revision: Option<u64>,
    /// Who writes.
    pub actor: String,
}

/// Advice, and what it rests on.
#[derive(Clone, Debug)]
pub struct CostsAdvised {
    /// The advice.
    pub advice: Advice,
    /// The prices.
    pub revised: Revised,
    /// First second that was looked at.
    pub from_s: u64,
    /// When it was asked.
    pub until_s: u64,
    /// Sums of the span, the smallest, that were too many to be added up.
    pub sums_left_out: u64,
    /// Records that never reached a collector in the span.
    pub records_lost: u64,
}

impl Keeper {
    /// Replaces the prices. Returns the revision, and whether the table is another one than before.
    pub async fn set_costs(self: &Arc<Self>, change: TableChange) -> Result<(u64, bool), KeeperFault> {
        let keeper = Arc::clone(self);
        let task = tokio::spawn(async move {
            match keeper.replace_costs(change.clone()).await {
                // Another control was first; what it wrote is known by now.
                Err(KeeperFault::Store(StoreError::Conflict)) => keeper.replace_costs(change).await,
                outcome => outcome,
            }
        });
        task.await.map_err(|_| KeeperFault::Stopping)?
    }

    /// Says what cost most in the last days, in `top` lines at most.
    pub async fn advise_costs(&self, days: u32, top: usize) -> Result<CostsAdvised, KeeperFault> {
        let until_s = now_ns() / 1_000_000_000;
        let from_s = until_s.saturating_sub(u64::from(days) * DAY_S);
        let from_s = from_s - from_s % HOUR_S;
        let revised = self.store.cost_table().await?;
        let answer = self.store.zone_sums(from_s, ZONE_SUMS_READ_MAX).await?;
        let (newest, zones) = (self.newest(), self.zones());
        let work = tokio::task::spawn_blocking(move || {
            let question = Question { table: &revised.table, book: &newest.book, zones: &zones, days, top };
            let advice = Advice::of(&answer.sums, question);
            let ZoneAnswer { sums: _, left_out: sums_left_out, records_lost } = answer;
            CostsAdvised { advice, revised, from_s, until_s, sums_left_out, records_lost }
        });
        work.await.map_err(|_| KeeperFault::Stopping)
    }

    /// Returns the zones of the newest version.
    pub fn zones(&self) -> Arc<Zones> {
        let newest = self.newest();
        let known = Arc::clone(&self.zones.read().unwrap_or_else(PoisonError::into_inner));
        if known.version() == newest.book.version() {
            return known;
        }
        let zones = Arc::new(Zones::of(&newest.book));
        *self.zones.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&zones);
        zones
    }

    async fn replace_costs(&self, change: TableChange) -> Result<(u64, bool), KeeperFault> {
        let TableChange { table, expected_revision, actor } = change;
        let mut head = self.writing.lock().await;
        let before = self.store.cost_table().await?;
        let newest = before.revision;
        if let Some(expected) = expected_revision.filter(|expected| *expected != newest) {
            return Err(KeeperFault::CostRevision { expected, newest });
        }
        if newest > 0 && before.table == table {
            return Ok((newest, false));
        }
        let revised = Revised { revision: newest + 1, table };
        let audit = Draft {
            time_ns: now_ns(),
            actor: actor.clone(),
            event: Event::CostTable,
            detail: detail(&revised),
        };
        match self.store.set_cost_table(&revised, *head, audit).await {
            Ok(next) => *head = next,
            Err(error) => {
                tracing::error!(%error, "cost table refused");
                self.reload(&mut head).await;
                return Err(error.into());
            }
        }
        tracing::info!(revision = revised.revision, actor, "cost table replaced");
        Ok((revised.revision, true))
    }
}

fn detail(Revised { revision, table }: &Revised) -> String {
    let price = |(from, to, price)| format!("{from} -> {to} {price}");
    let named: Vec<String> = table.prices().take(PRICES_AUDITED_MAX).map(price).collect();
    let more = match table.prices().len().saturating_sub(PRICES_AUDITED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("revision {revision}, {} a GiB: {}{more}", table.currency(), named.join(", "))
}
