//! Measures the ranking that learns from answers.

pub mod persona;
pub mod recorded;
pub mod simulation;
pub mod synthetic;
pub mod world;
