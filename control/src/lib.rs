//! The control plane: stores, validates, versions and distributes policy.
//!
//! A rule's way through it: `api` (the only place that knows messages) -> `keeper` (one write at a time) ->
//! [`policy_book`] (pure: what would the next state be?) -> [`store`] (durable, with its audit entry) ->
//! [`distributor`] (who has what) -> every host's stream.
//!
//! A suggestion's way: `api` -> `keeper` -> [`inbox`] (pure: is the draft taken?) -> [`store`] -> a person, who sees it
//! replayed against the roll-ups ([`replay`]) -> `keeper` -> [`policy_book`] and, as a decision, the learner's stream.
//!
//! A suggestion that nobody answers, where an administrator switched that on: [`automatic`] (pure: is it due?) -> `keeper`
//! -> [`store`], step by step from shadow to its end.
//!
//! A look inside a host: `api` -> [`wanted_packets`] (names become addresses) -> [`switchboard`] (the host's stream and
//! back) -> a person; [`fleet`] adds what no host can see of itself.
#![forbid(unsafe_code)]

pub mod api;
pub mod audit;
pub mod automatic;
mod clock;
pub mod config;
pub mod costs;
pub mod distributor;
pub mod draft_key;
pub mod explain;
pub mod fleet;
pub mod flow_book;
pub mod inbox;
pub mod keeper;
pub mod leases;
pub mod policy_book;
pub mod replay;
pub mod report;
pub mod server;
pub mod state_dir;
pub mod store;
pub mod switchboard;
pub mod wanted_packets;
mod words;
