//! `CostService`: prices of traffic between zones, and what cost most.

use super::caller::caller;
use super::fault::{exhausted, invalid};
use crate::costs::{Advice, CostTable, Line, PRICES_MAX, Pair, Price, Revised, Totals, Zone};
use crate::keeper::{CostsAdvised, Keeper, TableChange};
use meshgate_proto::wire;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Days that are looked at where nothing was said, and at most: as long as hours are kept unless configured otherwise.
const DAYS_DEFAULT: u32 = 7;
const DAYS_MAX: u32 = 400;
/// Lines of an answer where nothing was said, and at most.
const TOP_DEFAULT: u32 = 10;
const TOP_MAX: u32 = 1_000;

/// The service.
#[derive(Debug)]
pub struct CostApi {
    keeper: Arc<Keeper>,
}

impl CostApi {
    /// Returns the service of a keeper.
    pub fn new(keeper: Arc<Keeper>) -> Self {
        Self { keeper }
    }
}

#[tonic::async_trait]
impl wire::cost_service_server::CostService for CostApi {
    async fn get_cost_table(
        &self,
        request: Request<wire::GetCostTableRequest>,
    ) -> Result<Response<wire::CostTable>, Status> {
        let wire::GetCostTableRequest {} = request.into_inner();
        let Revised { revision, table } = self.keeper.store().cost_table().await?;
        let price = |(from, to, price): (&Zone, &Zone, Price)| wire::CostPrice {
            from_zone: from.to_string(),
            to_zone: to.to_string(),
            per_gib: price.to_string(),
        };
        let prices = table.prices().map(price).collect();
        Ok(Response::new(wire::CostTable { revision, currency: table.currency().to_string(), prices }))
    }

    async fn set_cost_table(
        &self,
        request: Request<wire::SetCostTableRequest>,
    ) -> Result<Response<wire::SetCostTableResponse>, Status> {
        let actor = caller(&request)?;
        let wire::SetCostTableRequest { table, expected_revision } = request.into_inner();
        let table = cost_table(table.ok_or_else(|| invalid("table", "is missing"))?)?;
        let (revision, changed) =
            self.keeper.set_costs(TableChange { table, expected_revision, actor }).await?;
        Ok(Response::new(wire::SetCostTableResponse { revision, changed }))
    }

    async fn advise_costs(
        &self,
        request: Request<wire::AdviseCostsRequest>,
    ) -> Result<Response<wire::AdviseCostsResponse>, Status> {
        let wire::AdviseCostsRequest { days, top } = request.into_inner();
        let days = if days == 0 { DAYS_DEFAULT } else { days };
        if days > DAYS_MAX {
            return Err(invalid("days", format!("{days} is above {DAYS_MAX}")));
        }
        let top = if top == 0 { TOP_DEFAULT } else { top.min(TOP_MAX) };
        let advised = self.keeper.advise_costs(days, usize::try_from(top).unwrap_or(usize::MAX)).await?;
        Ok(Response::new(advised_message(advised)))
    }
}

fn cost_table(message: wire::CostTable) -> Result<CostTable, Status> {
    let wire::CostTable { revision: _, currency, prices } = message;
    if prices.len() > PRICES_MAX {
        let count = prices.len();
        return Err(exhausted(format!("table.prices: {count} entries, at most {PRICES_MAX} are possible")));
    }
    let prices =
        prices.into_iter().enumerate().map(|(i, wire::CostPrice { from_zone, to_zone, per_gib })| {
            let at = |field: &str| format!("table.prices[{i}].{field}");
            let from: Zone = from_zone.parse().map_err(|problem| invalid(&at("from_zone"), problem))?;
            let to: Zone = to_zone.parse().map_err(|problem| invalid(&at("to_zone"), problem))?;
            let price: Price = per_gib.parse().map_err(|problem| invalid(&at("per_gib"), problem))?;
            Ok::<_, Status>((from, to, price))
        });
    let prices = prices.collect::<Result<_, _>>()?;
    CostTable::new(&currency, prices).map_err(|fault| Status::invalid_argument(format!("table.{fault}")))
}

fn advised_message(advised: CostsAdvised) -> wire::AdviseCostsResponse {
    let CostsAdvised { advice, revised, from_s, until_s, sums_left_out, records_lost } = advised;
    let Advice { lines, left_out, totals } = advice;
    let Totals { bytes, bytes_within, bytes_between, bytes_unknown, bytes_unpriced, cost_millionths } =
        totals;
    wire::AdviseCostsResponse {
        lines: lines.into_iter().map(line_message).collect(),
        left_out: u32::try_from(left_out).unwrap_or(u32::MAX),
        totals: Some(wire::CostTotals {
            bytes,
            bytes_within,
            bytes_between,
            bytes_unknown,
            bytes_unpriced,
            cost_millionths,
        }),
        currency: revised.table.currency().to_string(),
        table_revision: revised.revision,
        from_s,
        until_s,
        records_lost,
        sums_left_out,
    }
}

fn line_message(line: Line) -> wire::CostLine {
    let Line { rule, carrier, from, to, bytes, cost_millionths, bytes_within, pairs, pairs_left_out, advice } =
        line;
    let pair = |Pair { source, destination, bytes }| wire::CostPair {
        source_group_names: source,
        destination_group_names: destination,
        bytes,
    };
    wire::CostLine {
        rule,
        carrier,
        from_zone: from.to_string(),
        to_zone: to.to_string(),
        bytes,
        cost_millionths,
        bytes_within,
        pairs: pairs.into_iter().map(pair).collect(),
        pairs_left_out: u32::try_from(pairs_left_out).unwrap_or(u32::MAX),
        advice,
    }
}
