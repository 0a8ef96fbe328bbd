//! `meshgate costs`: prices of traffic between zones, and what cost most.

use crate::cost_answers::{CostTable, CostsSet, Price};
use crate::cost_text::{advice_text, table_text};
use crate::failure::{Failure, UsageError};
use crate::policy_file::{FileError, name_of, place, text_of};
use crate::session::{Reply, Session};
use clap::{Args, Subcommand};
use serde::Deserialize;
use std::path::Path;

/// Commands of `meshgate costs`.
#[derive(Subcommand, Clone, Debug)]
pub enum CostsCommand {
    /// Say which relationships carried most between which zones, and what that cost
    #[command(after_help = "Examples:
  meshgate costs advise
  meshgate costs advise --days 30 --top 3

The zone of an endpoint is its label zone; what lies outside of all groups and prefixes is in zone
external. Of other addresses the zone is unknown: they are counted, and have no price.")]
    Advise(Advise),
    /// Show the prices
    #[command(visible_alias = "show", after_help = "Examples:\n  meshgate costs table")]
    Table,
    /// Set the price of a GiB from one zone to another, or with a file the whole table
    #[command(after_help = "Examples:
  meshgate costs set a b 0.02
  meshgate costs set b external 0.09 --currency USD
  meshgate costs set costs.toml

The file:
  currency = \"EUR\"
  prices = [
      { from = \"a\", to = \"b\", per_gib = \"0.02\" },
      { from = \"a\", to = \"external\", per_gib = \"0.09\" },
  ]")]
    Set(Set),
}

/// `meshgate costs advise`.
#[derive(Args, Clone, Debug)]
pub struct Advise {
    /// How many days to look back
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=400))]
    days: u32,
    /// At most this many, the dearest first
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    top: u32,
}

/// `meshgate costs set`.
#[derive(Args, Clone, Debug)]
pub struct Set {
    /// A file with the whole table (- for standard input), or two zones and a price
    #[arg(required = true, num_args = 1..=3, value_names = ["FILE|FROM", "TO", "PRICE"])]
    what: Vec<String>,
    /// The currency of all prices; the one that the table has if not given
    #[arg(long, value_name = "NAME")]
    currency: Option<String>,
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    currency: String,
    prices: Vec<Price>,
}

/// Runs a command.
pub async fn run(command: CostsCommand, session: &Session) -> Result<Reply, Failure> {
    match command {
        CostsCommand::Advise(Advise { days, top }) => {
            let advice = session.connect().await?.cost_advice(days, top).await?;
            Ok(session.show(&advice, |advice| advice_text(advice, days))?.into())
        }
        CostsCommand::Table => {
            let table = session.connect().await?.cost_table().await?;
            Ok(session.show(&table, table_text)?.into())
        }
        CostsCommand::Set(set) => set.run(session).await,
    }
}

impl Set {
    async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let Self { what, currency } = self;
        match (what.as_slice(), currency) {
            ([_], Some(_)) => Err(UsageError::Currency.into()),
            ([file], None) => {
                let File { currency, prices } = read(Path::new(file))?;
                let client = session.connect().await?;
                let revision = client.cost_table().await?.revision;
                let set = client.set_costs(CostTable { revision, currency, prices }).await?;
                Ok(session.show(&set, done)?.into())
            }
            ([from, to, per_gib], currency) => {
                let client = session.connect().await?;
                let mut table = client.cost_table().await?;
                table.prices.retain(|price| price.from != *from || price.to != *to);
                let (from, to, per_gib) = (from.clone(), to.clone(), per_gib.clone());
                table.prices.push(Price { from, to, per_gib });
                table.currency = currency.unwrap_or(table.currency);
                let set = client.set_costs(table).await?;
                Ok(session.show(&set, done)?.into())
            }
            _ => Err(UsageError::Price.into()),
        }
    }
}

fn done(set: &CostsSet) -> String {
    if set.changed {
        format!("cost table replaced (revision {})\n", set.revision)
    } else {
        format!("nothing changed; revision {} of the cost table stays\n", set.revision)
    }
}

fn read(path: &Path) -> Result<File, FileError> {
    let text = text_of(path)?;
    toml::from_str(&text).map_err(|error| {
        let (line, column) = place(&text, error.span().map_or(0, |span| span.start));
        let reason = error.message().lines().collect::<Vec<_>>().join("; ");
        FileError::Syntax { path: name_of(path), line, column, reason }
    })
}
