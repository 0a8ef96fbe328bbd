//! The control plane: stores, validates, versions and distributes policy.
//!
//! A rule's way through it: `api` (the only place that knows messages) -> `keeper` (one write at a time) ->
//! [`policy_book`] (pure: what would the next state be?) -> [`store`] (durable, with its audit entry) ->
//! [`distributor`] (who has what) -> every host's stream.
#![forbid(unsafe_code)]

pub mod api;
pub mod audit;
mod clock;
pub mod config;
pub mod distributor;
pub mod explain;
pub mod flow_book;
pub mod keeper;
pub mod policy_book;
pub mod report;
pub mod server;
pub mod state_dir;
pub mod store;
mod words;
