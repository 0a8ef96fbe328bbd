//! The learner of one host or fleet. In this version it collects: flow records come out of the dataplane's ring, are
//! added into roll-ups by group sets, and go to control.
//!
//! A flow record travels: ring -> [`collector`] -> [`flow_totals`] (what is new of it) -> [`rollup`] -> [`reporter`].
//! A policy arrives: [`subscriber`] -> [`policies`], which turns addresses into group sets.
//! A suggestion is made: [`detector`] (anomalies) and [`profile`] (steady patterns) -> [`adviser`] (draft, drop conflicts,
//! rank, top N) -> [`justification`]; its answer comes back to [`feedback`], which keeps drafts from coming back
//! ([`draft_log`]).
#![forbid(unsafe_code)]

pub mod adviser;
pub mod calibration;
pub mod checkpoint;
pub mod collector;
pub mod config;
pub mod detector;
pub mod draft_log;
pub mod features;
pub mod feedback;
pub mod flow_totals;
pub mod justification;
pub mod link;
pub mod model;
pub mod policies;
pub mod profile;
pub mod proportion;
pub mod recent;
pub mod replay_buffer;
pub mod reporter;
pub mod rollup;
pub mod series;
pub mod subscriber;
pub mod suggestion;
pub mod train;
