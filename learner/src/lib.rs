//! The learner of one host or fleet: watches who talks to whom, finds what is unusual and what is steady, suggests rules
//! for both, and keeps what people answer.
//!
//! A flow record travels: ring -> [`collector`] -> [`intake`]: what is new of it ([`flow_totals`]), who the parties are
//! ([`memberships`], from [`policies`]), and into which sums it goes: roll-ups for control ([`rollup`], and bytes by endpoint
//! in [`hauls`] -> [`reporter`]) and the windows of [`history`].
//!
//! A window travels: [`history`] -> [`analysis`] (the thread) -> [`analyst`]: rows of [`features`] ([`feature_memory`]) ->
//! [`detector`] (what is unusual) and [`profile`] (what is steady). The same rows teach the network: [`train`] with its
//! [`replay_buffer`] -> [`model`], by which the detector judges; [`calibration`] makes scores comparable.
//!
//! A suggestion travels: [`adviser`] (draft, drop conflicts, rank, top N) -> [`justification`], or [`membership_advice`] (who
//! behaves like which group) -> [`client`] -> control's
//! inbox -> a person -> [`client`] -> [`feedback`], whose [`draft_log`] keeps drafts from coming back.
//!
//! [`live`] runs all of it as a daemon and [`checkpoint`] keeps it; [`replay`] drives the same analyst by recorded flows
//! ([`flow_csv`], [`capture`] -> [`recorded`]), and [`evaluate`] measures network and detector on them beside [`baselines`],
//! [`evaluate_rules`] the rules of [`miner`], which weighs how wide a rule should be, and of the adviser. [`blend`] puts
//! recorded attacks into a benign recording, so that there is something to measure by.
#![forbid(unsafe_code)]

pub mod adviser;
pub mod analysis;
pub mod analyst;
pub mod baselines;
pub mod blend;
pub mod calibration;
pub mod capture;
mod capture_flows;
pub mod checkpoint;
pub mod client;
pub mod collector;
pub mod collector_counts;
pub mod config;
mod conn_state;
pub mod detector;
mod distinct;
pub mod draft_key;
pub mod draft_log;
pub mod evaluate;
pub mod evaluate_feedback;
pub mod evaluate_rules;
pub mod feature_memory;
pub mod features;
pub mod feedback;
pub mod flow_csv;
pub mod flow_totals;
pub mod freed_memory;
mod group_index;
pub mod hauls;
pub mod history;
pub mod intake;
pub mod isolation_forest;
pub mod justification;
pub mod link;
pub mod live;
mod matrix_product;
pub mod membership_advice;
pub mod memberships;
pub mod miner;
pub mod model;
pub mod networks;
pub mod offline;
mod plot;
pub mod policies;
pub mod profile;
pub mod proportion;
pub mod recent;
pub mod recorded;
pub mod recorded_flow;
pub mod replay;
pub mod replay_buffer;
mod report_folder;
mod report_page;
pub mod reporter;
pub mod rollup;
pub mod series;
pub mod status;
pub mod subscriber;
pub mod train;
