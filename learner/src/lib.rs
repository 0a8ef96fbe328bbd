//! The learner of one host or fleet. In this version it collects: flow records come out of the dataplane's ring, are
//! added into roll-ups by group sets, and go to control.
//!
//! A flow record travels: ring -> [`collector`] -> [`flow_totals`] (what is new of it) -> [`rollup`] -> [`reporter`].
//! A policy arrives: [`subscriber`] -> [`policies`], which turns addresses into group sets.
#![forbid(unsafe_code)]

pub mod calibration;
pub mod checkpoint;
pub mod collector;
pub mod config;
pub mod detector;
pub mod features;
pub mod flow_totals;
pub mod link;
pub mod model;
pub mod policies;
pub mod recent;
pub mod replay_buffer;
pub mod reporter;
pub mod rollup;
pub mod series;
pub mod subscriber;
pub mod suggestion;
pub mod train;
