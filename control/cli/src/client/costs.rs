//! Calls about costs, and their answers taken apart completely.

use super::{CallError, Client};
use crate::cost_answers::{CostAdvice, CostLine, CostPair, CostTable, CostTotals, CostsSet, Price};
use meshgate_proto::MESSAGE_BYTES_MAX;
use meshgate_proto::wire::{self, cost_service_client::CostServiceClient};
use tonic::transport::Channel;

impl Client {
    /// Returns the prices.
    pub async fn cost_table(&self) -> Result<CostTable, CallError> {
        let answer = self.costs().get_cost_table(self.request(wire::GetCostTableRequest {})).await;
        let wire::CostTable { revision, currency, prices } = self.answer(answer)?;
        let price =
            |wire::CostPrice { from_zone, to_zone, per_gib }| Price { from: from_zone, to: to_zone, per_gib };
        Ok(CostTable { revision, currency, prices: prices.into_iter().map(price).collect() })
    }

    /// Replaces the prices if their revision is the newest one.
    pub async fn set_costs(&self, table: CostTable) -> Result<CostsSet, CallError> {
        let CostTable { revision, currency, prices } = table;
        let price = |Price { from, to, per_gib }| wire::CostPrice { from_zone: from, to_zone: to, per_gib };
        let prices = prices.into_iter().map(price).collect();
        let table = Some(wire::CostTable { revision: 0, currency, prices });
        let request = wire::SetCostTableRequest { table, expected_revision: Some(revision) };
        let answer = self.costs().set_cost_table(self.request(request)).await;
        let wire::SetCostTableResponse { revision, changed } = self.answer(answer)?;
        Ok(CostsSet { revision, changed })
    }

    /// Asks what cost most.
    pub async fn cost_advice(&self, days: u32, top: u32) -> Result<CostAdvice, CallError> {
        let request = wire::AdviseCostsRequest { days, top };
        let answer = self.costs().advise_costs(self.request(request)).await;
        let wire::AdviseCostsResponse {
            lines,
            left_out,
            totals,
            currency,
            table_revision,
            from_s,
            until_s,
            records_lost,
            sums_left_out,
        } = self.answer(answer)?;
        let totals = totals.ok_or(CallError::Missing("totals"))?;
        let wire::CostTotals {
            bytes,
            bytes_within,
            bytes_between,
            bytes_unknown,
            bytes_unpriced,
            cost_millionths,
        } = totals;
        let totals =
            CostTotals { bytes, bytes_within, bytes_between, bytes_unknown, bytes_unpriced, cost_millionths };
        let lines = lines.into_iter().map(line).collect();
        Ok(CostAdvice {
            lines,
            left_out,
            totals,
            currency,
            table_revision,
            from_s,
            until_s,
            records_lost,
            sums_left_out,
        })
    }

    fn costs(&self) -> CostServiceClient<Channel> {
        CostServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

fn line(message: wire::CostLine) -> CostLine {
    let wire::CostLine {
        rule,
        carrier,
        from_zone,
        to_zone,
        bytes,
        cost_millionths,
        bytes_within,
        pairs,
        pairs_left_out,
        advice,
    } = message;
    let pair = |wire::CostPair { source_group_names, destination_group_names, bytes }| CostPair {
        source_group_names,
        destination_group_names,
        bytes,
    };
    let pairs = pairs.into_iter().map(pair).collect();
    CostLine {
        rule,
        carrier,
        from_zone,
        to_zone,
        bytes,
        cost_millionths,
        bytes_within,
        pairs,
        pairs_left_out,
        advice,
    }
}
