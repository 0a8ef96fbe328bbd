//! What traffic between zones costs. Pure; the store keeps the table, roll-ups say what was carried.
//!
//! The zone of an endpoint is its label `zone`, at the time at which its traffic was told of. Roll-ups are kept by group
//! sets, whose members may lie in several zones, so zones cannot be had from them: collectors tell bytes by endpoint as
//! well, an hour at a time, and what is kept of that is bytes by zone ([`ZoneSum`](crate::flow_book::ZoneSum)).

mod advice;
mod sentence;
mod zones;

pub use advice::{Advice, Line, Pair, Question, Totals};
pub use zones::{Haul, Zones};

use meshgate_policy::Name;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The label whose value is an endpoint's zone.
pub const ZONE_LABEL: &str = "zone";
/// Prices of one table: every pair of 64 zones.
pub const PRICES_MAX: usize = 4_096;
/// Bytes of the name of a currency.
const CURRENCY_BYTES_MAX: usize = 8;
/// Parts of the currency in which prices are kept.
pub const MILLIONTHS: u64 = 1_000_000;
/// The highest price of a GiB, in millionths: a million.
const PRICE_MAX: u64 = 1_000_000 * MILLIONTHS;
/// Places behind the point of a price.
const PLACES: usize = 6;

/// Where one end of traffic lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Zone {
    /// A zone that a label names.
    Named(Name),
    /// Outside: no endpoint and no prefix claims the address.
    External,
    /// Nobody knows.
    Unknown,
}

/// A price of a GiB, in millionths of the currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price(u64);

/// Why a table is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CostFault {
    /// A currency that is no name or too long.
    #[error("currency: {0:?} is not a name of at most {CURRENCY_BYTES_MAX} characters")]
    Currency(String),
    /// More prices than a table may have.
    #[error("prices: {0} entries, at most {PRICES_MAX} are possible")]
    TooMany(usize),
    /// A price for what is not known.
    #[error("prices: the zone \"unknown\" has no price")]
    Unknown,
    /// A pair that occurs twice.
    #[error("prices: {0} -> {1} occurs twice")]
    Twice(Zone, Zone),
}

/// A text that is no price; holds it, shortened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a price of at most 1000000 with at most {PLACES} places, such as 0.02")]
pub struct PriceError(String);

/// Prices of what goes from one zone to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostTable {
    currency: Name,
    prices: BTreeMap<(Zone, Zone), Price>,
}

/// A table with the number of times that it was replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revised {
    /// 0 before the first table was set.
    pub revision: u64,
    /// The table.
    pub table: CostTable,
}

impl Zone {
    const EXTERNAL: &str = "external";
    const UNKNOWN: &str = "unknown";

    /// Returns the zone of a label's value; a value that is no name, or is one of the two words, names none.
    pub fn of_label(value: &str) -> Self {
        match value.parse() {
            Ok(Self::Named(name)) => Self::Named(name),
            Ok(Self::External | Self::Unknown) | Err(_) => Self::Unknown,
        }
    }

    /// Returns whether the zone is known.
    pub fn is_known(&self) -> bool {
        *self != Self::Unknown
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => name.fmt(f),
            Self::External => f.pad(Self::EXTERNAL),
            Self::Unknown => f.pad(Self::UNKNOWN),
        }
    }
}

impl FromStr for Zone {
    type Err = meshgate_policy::NameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            Self::EXTERNAL => Ok(Self::External),
            Self::UNKNOWN => Ok(Self::Unknown),
            _ => Name::new(text).map(Self::Named),
        }
    }
}

impl Price {
    /// Returns the price of so many millionths, if it is one.
    pub fn new(millionths: u64) -> Option<Self> {
        (millionths <= PRICE_MAX).then_some(Self(millionths))
    }

    /// Returns the price in millionths of the currency.
    pub fn millionths(self) -> u64 {
        self.0
    }

    /// Returns what so many bytes cost, in millionths, rounded to the nearest.
    pub fn of(self, bytes: u64) -> u64 {
        let whole = u128::from(bytes) * u128::from(self.0);
        u64::try_from((whole + (1 << 29)) >> 30).unwrap_or(u64::MAX)
    }
}

impl FromStr for Price {
    type Err = PriceError;
    fn from_str(text: &str) -> Result<Self, PriceError> {
        let bad = || PriceError(text.chars().take(32).collect());
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(part) || part.len() > PLACES {
            return Err(bad());
        }
        let whole: u64 = whole.parse().map_err(|_| bad())?;
        let part: u64 = format!("{part:0<PLACES$}").parse().map_err(|_| bad())?;
        let millionths = whole.checked_mul(MILLIONTHS).and_then(|whole| whole.checked_add(part));
        millionths.and_then(Self::new).ok_or_else(bad)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:0PLACES$}", self.0 / MILLIONTHS, self.0 % MILLIONTHS);
        f.pad(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Default for CostTable {
    /// Returns a table without prices.
    fn default() -> Self {
        Self { currency: Name::new("EUR").expect("three letters are a name"), prices: BTreeMap::new() }
    }
}

impl CostTable {
    /// Returns a table, or what is wrong with it.
    pub fn new(currency: &str, prices: Vec<(Zone, Zone, Price)>) -> Result<Self, CostFault> {
        let bad = || CostFault::Currency(currency.chars().take(CURRENCY_BYTES_MAX * 4).collect());
        let currency = Name::new(currency).map_err(|_| bad())?;
        if currency.as_str().len() > CURRENCY_BYTES_MAX {
            return Err(bad());
        }
        if prices.len() > PRICES_MAX {
            return Err(CostFault::TooMany(prices.len()));
        }
        let mut table = Self { currency, prices: BTreeMap::new() };
        for (from, to, price) in prices {
            if !from.is_known() || !to.is_known() {
                return Err(CostFault::Unknown);
            }
            if table.prices.insert((from.clone(), to.clone()), price).is_some() {
                return Err(CostFault::Twice(from, to));
            }
        }
        Ok(table)
    }

    /// Returns the currency.
    pub fn currency(&self) -> &Name {
        &self.currency
    }

    /// Returns the prices in order of their zones.
    pub fn prices(&self) -> impl ExactSizeIterator<Item = (&Zone, &Zone, Price)> {
        self.prices.iter().map(|((from, to), price)| (from, to, *price))
    }

    /// Returns the price from one zone to another, if there is one.
    pub fn price(&self, from: &Zone, to: &Zone) -> Option<Price> {
        self.prices.get(&(from.clone(), to.clone())).copied()
    }
}

#[cfg(test)]
pub(crate) mod tests;
