//! The dataplane of one host: takes frames from devices, judges them by the policy, passes or drops them, and tells
//! the learner who talks to whom.
//!
//! A packet travels: [`device`] -> [`worker`] -> [`packet`] -> [`binding`] -> [`fragments`] -> [`tracker`] ([`flow_table`]) ->
//! [`classifier`] -> [`verdict`] -> [`switch`] -> [`meter`] -> [`device`].
//! A rule arrives: [`subscriber`] -> [`classifier`] (compile) -> [`published`].
//! A flow record leaves: [`meter`] -> ring -> [`exporter`] -> shared-memory ring.
//! A person looks in: [`inspector`] -> [`capture`], [`top_flows`], [`doctor`]; and [`metrics`].
#![forbid(unsafe_code)]

pub mod assembly;
pub mod binding;
pub mod capture;
pub mod config;
pub mod counters;
pub mod device;
pub mod device_keeper;
pub mod doctor;
pub mod exporter;
pub mod flow_table;
pub mod fragments;
pub mod inside;
pub mod inspector;
pub mod last_good;
pub mod leases;
pub mod live;
pub mod meter;
pub mod metrics;
pub mod packet;
pub mod processor;
pub mod published;
mod queues;
pub mod reject;
pub mod replay;
pub mod reporter;
pub mod start;
pub mod stop_signals;
pub mod subscriber;
pub mod switch;
pub mod threads;
pub mod timing_wheel;
pub mod token_bucket;
pub mod top_flows;
pub mod topology_commands;
pub mod tracker;
pub mod verdict;
pub mod worker;

pub use meshgate_classifier as classifier;
