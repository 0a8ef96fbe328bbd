//! Tests of the ring through its public face: both halves in one process, hostile contents, and processes that die.

mod fixture;
mod hostile;
mod pair;
mod processes;
mod socket;
