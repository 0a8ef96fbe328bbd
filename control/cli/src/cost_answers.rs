//! What the control plane answers about costs, in this program's own types; their JSON form is kept stable.

use serde::{Deserialize, Serialize};

/// The prices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CostTable {
    /// How often the table was replaced; 0 = never set.
    pub revision: u64,
    /// The currency.
    pub currency: String,
    /// The prices.
    pub prices: Vec<Price>,
}

/// What a GiB costs from one zone to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// The zone that sends.
    pub from: String,
    /// The zone that receives.
    pub to: String,
    /// Decimal.
    pub per_gib: String,
}

/// What setting the prices did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CostsSet {
    /// The newest revision.
    pub revision: u64,
    /// Whether it is a new one.
    pub changed: bool,
}

/// What cost most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CostAdvice {
    /// The dearest first.
    pub lines: Vec<CostLine>,
    /// Lines that the limit left out.
    pub left_out: u32,
    /// Of everything.
    pub totals: CostTotals,
    /// The currency.
    pub currency: String,
    /// Revision of the prices; 0 = none was ever set.
    pub table_revision: u64,
    /// First second of the span.
    pub from_s: u64,
    /// Its end.
    pub until_s: u64,
    /// Records that never reached a collector.
    pub records_lost: u64,
    /// The smallest sums, which are in neither lines nor totals.
    pub sums_left_out: u64,
}

/// What one carrier brought from one zone to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CostLine {
    /// The rule; 0 = none.
    pub rule: u32,
    /// In words.
    pub carrier: String,
    /// The zone that sent.
    pub from_zone: String,
    /// The zone that received.
    pub to_zone: String,
    /// How much.
    pub bytes: u64,
    /// What it cost in millionths of the currency; null without a price.
    pub cost_millionths: Option<u64>,
    /// What the same carrier brought within zones.
    pub bytes_within: u64,
    /// Pairs of group sets, the largest first.
    pub pairs: Vec<CostPair>,
    /// Pairs beyond those.
    pub pairs_left_out: u32,
    /// One sentence.
    pub advice: String,
}

/// Bytes of one pair of group sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CostPair {
    /// All groups of the side that began.
    pub source_group_names: Vec<String>,
    /// All groups of the other side.
    pub destination_group_names: Vec<String>,
    /// How much.
    pub bytes: u64,
}

/// Every byte once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CostTotals {
    /// All.
    pub bytes: u64,
    /// Within zones.
    pub bytes_within: u64,
    /// Between zones.
    pub bytes_between: u64,
    /// An end is in no zone that is known.
    pub bytes_unknown: u64,
    /// Between zones, without a price.
    pub bytes_unpriced: u64,
    /// What the others cost, in millionths of the currency.
    pub cost_millionths: u64,
}
