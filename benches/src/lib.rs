//! Seeded traffic, for the packet generator, the benchmarks and their tests.
#![forbid(unsafe_code)]

pub mod device_counters;
pub mod traffic;
