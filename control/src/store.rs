//! The store: what has to outlive the process. The same SQL runs on SQLite and PostgreSQL.
//!
//! Parameters are written `$1` by hand; numbers are `BIGINT`, everything else `TEXT`, which both understand alike.
//! SQLite has one connection that writes and several that read, so that a long query never holds up a commit; a commit
//! is on disk before it returns (write-ahead log with `synchronous = FULL`).

mod automatic;
mod costs;
mod decisions;
mod flows;
mod gate_steps;
mod hosts;
mod learners;
mod suggestions;
mod trail;
mod turn;
mod versions;
mod watched_flows;
mod withdrawals;

pub use costs::ZONE_SUMS_READ_MAX;
pub use gate_steps::GateMemory;
pub use hosts::StoredHost;
pub use suggestions::SuggestionPage;
pub use turn::Turn;
pub use versions::{NewVersion, StoredVersion, VersionLine};
pub use withdrawals::Told;

use crate::config::Retention;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, Connection, Row};
use std::str::FromStr;
use std::time::Duration;

/// The tenant of every row that this version writes.
const TENANT: &str = "default";
/// Connections that read.
const READERS_MAX: u32 = 4;
/// Time to wait for a free connection, and for another process's lock on a SQLite file.
const WAIT_MAX_S: u64 = 10;
/// The schema this program writes; [`Store::open`] refuses a newer one.
const SCHEMA: i64 = 7;
/// What the table `meta` says of a store of ours.
const APPLICATION: &str = "meshgate-control";

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("store {name}: cannot be opened: {source}")]
    Open {
        /// The store, without password.
        name: String,
        /// What the database says.
        source: sqlx::Error,
    },
    /// It holds tables of something else.
    #[error("store {0}: is not a database of meshgate-control (it has a table {1:?})")]
    NotOurs(String, String),
    /// It was written by a newer program.
    #[error("store {name}: its schema is {found}, this program knows up to {SCHEMA}")]
    Newer {
        /// The store, without password.
        name: String,
        /// The schema it has.
        found: String,
    },
    /// Its tables cannot be created.
    #[error("store {name}: {source}")]
    Migrate {
        /// The store, without password.
        name: String,
        /// What went wrong.
        source: sqlx::migrate::MigrateError,
    },
    /// Another control wrote first.
    #[error("store: another control wrote first")]
    Conflict,
    /// A query failed.
    #[error("store: {doing}: {source}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// What the database says.
        source: sqlx::Error,
    },
    /// A row that nothing of ours wrote.
    #[error("store: {0}: {1}")]
    Corrupt(&'static str, String),
    /// A number that the database cannot hold.
    #[error("{0}: {1} is above {max}", max = i64::MAX)]
    TooLarge(&'static str, u64),
}

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    reads: AnyPool,
    writes: AnyPool,
    name: String,
    /// Whether other controls may write to it too.
    shared: bool,
}

impl Store {
    /// Opens the database, refuses a foreign or newer one, and brings its tables up to date.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let name = public_name(url);
        let sqlite = url.starts_with("sqlite:");
        let url = if sqlite { sqlite_options(url) } else { url.to_owned() };
        let open = |source| StoreError::Open { name: name.clone(), source };
        let options = AnyConnectOptions::from_str(&url).map_err(open)?;
        look_first(sqlite, &options, &name).await?;
        let writes = pool(sqlite, if sqlite { 1 } else { READERS_MAX }, &options).await.map_err(open)?;
        let migrated = MIGRATIONS.run(&writes).await;
        migrated.map_err(|source| StoreError::Migrate { name: name.clone(), source })?;
        let reads =
            if sqlite { pool(true, READERS_MAX, &options).await.map_err(open)? } else { writes.clone() };
        Ok(Self { reads, writes, name, shared: !sqlite })
    }

    /// Returns the store's URL without its password.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether other controls may write to the store too.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.reads.close().await;
        self.writes.close().await;
    }

    /// Deletes versions and roll-ups that have been kept long enough. Audit entries are kept for ever.
    pub async fn forget(
        &self,
        now_s: u64,
        retention: Retention,
        versions_kept: u32,
    ) -> Result<(), StoreError> {
        self.forget_buckets(now_s, retention).await?;
        self.forget_versions(versions_kept).await
    }

    /// Runs a statement of a test on the connection that writes.
    #[cfg(test)]
    pub(crate) async fn run(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&self.writes).await.unwrap();
    }
}

/// Looks at the database on a connection of its own before anything is set up: setting up writes into the file, and a
/// foreign one must stay as it is. A pool would, besides, try again until its time is up and then only say that.
async fn look_first(sqlite: bool, options: &AnyConnectOptions, name: &str) -> Result<(), StoreError> {
    let open = |source| StoreError::Open { name: name.to_owned(), source };
    let mut connection = AnyConnection::connect_with(options).await.map_err(open)?;
    check_owner(&mut connection, sqlite, name).await?;
    let set_up = if sqlite { SQLITE_SET_UP } else { POSTGRES_SET_UP };
    sqlx::raw_sql(set_up).execute(&mut connection).await.map_err(open)?;
    connection.close().await.map_err(open)
}

async fn pool(sqlite: bool, connections_max: u32, options: &AnyConnectOptions) -> sqlx::Result<AnyPool> {
    let set_up = if sqlite { SQLITE_SET_UP } else { POSTGRES_SET_UP };
    AnyPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(Duration::from_secs(WAIT_MAX_S))
        .after_connect(move |connection, _| {
            Box::pin(async move { sqlx::raw_sql(set_up).execute(connection).await.map(drop) })
        })
        .connect_with(options.clone())
        .await
}

const SQLITE_SET_UP: &str =
    "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL";
/// A commit is on disk before it is acknowledged, whatever the server's default is.
const POSTGRES_SET_UP: &str = "SET synchronous_commit = on";

/// Has a missing SQLite file created.
fn sqlite_options(url: &str) -> String {
    match url {
        _ if url.contains("mode=") => url.to_owned(),
        _ if url.contains('?') => format!("{url}&mode=rwc"),
        _ => format!("{url}?mode=rwc"),
    }
}

/// Refuses a database that has tables and does not say that it is ours, or that a newer program has written.
async fn check_owner(connection: &mut AnyConnection, sqlite: bool, name: &str) -> Result<(), StoreError> {
    let tables = if sqlite {
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    } else {
        "SELECT CAST(table_name AS TEXT) AS name FROM information_schema.tables \
         WHERE table_schema = current_schema() ORDER BY table_name"
    };
    let open = |source| StoreError::Open { name: name.to_owned(), source };
    let rows = sqlx::query(tables).fetch_all(&mut *connection).await.map_err(open)?;
    let tables: Vec<String> =
        rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(open)?;
    let Some(first) = tables.first() else { return Ok(()) };
    if !tables.iter().any(|table| table == "meta") {
        return Err(StoreError::NotOurs(name.to_owned(), first.clone()));
    }
    let not_ours = |_| StoreError::NotOurs(name.to_owned(), "meta".to_owned());
    let rows = sqlx::query("SELECT name, value FROM meta").fetch_all(connection).await.map_err(not_ours)?;
    let value = |key: &str| -> Option<String> {
        let row = rows.iter().find(|row| row.try_get::<String, _>(0).is_ok_and(|name| name == key))?;
        row.try_get(1).ok()
    };
    if value("application").as_deref() != Some(APPLICATION) {
        return Err(StoreError::NotOurs(name.to_owned(), "meta".to_owned()));
    }
    let found = value("schema").unwrap_or_default();
    match found.parse::<i64>() {
        Ok(schema) if schema <= SCHEMA => Ok(()),
        _ => Err(StoreError::Newer { name: name.to_owned(), found }),
    }
}

/// Returns the URL without user and password.
fn public_name(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://{}", &url[..scheme], &url[at + 1..]),
        _ => url.to_owned(),
    }
}

/// Returns a function that says what was being done when a query failed.
fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| StoreError::Failed { doing, source }
}

/// Returns the number as the database keeps it.
fn stored(field: &'static str, number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::TooLarge(field, number))
}

/// Returns a number of a row.
fn number(row: &sqlx::any::AnyRow, column: &'static str) -> Result<u64, StoreError> {
    let value: i64 = row.try_get(column).map_err(failed(column))?;
    u64::try_from(value).map_err(|_| StoreError::Corrupt(column, format!("{value} is below 0")))
}

/// Returns a text of a row.
fn text(row: &sqlx::any::AnyRow, column: &'static str) -> Result<String, StoreError> {
    row.try_get(column).map_err(failed(column))
}

/// Returns a value of a row that is kept as text.
fn parsed<T: FromStr<Err: ToString>>(row: &sqlx::any::AnyRow, column: &'static str) -> Result<T, StoreError> {
    text(row, column)?.parse().map_err(|error: T::Err| StoreError::Corrupt(column, error.to_string()))
}

#[cfg(test)]
mod tests;
