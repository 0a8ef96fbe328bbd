//! The real program, started, asked, stopped and killed: over a Unix socket, on SQLite and on PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod automatic;
mod costs;
mod diagnostics;
mod distribution;
mod postgres;
mod program;
mod services;
mod suggestions;
mod suite;
mod withdrawals;
