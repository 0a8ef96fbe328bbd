//! Turns what flows did into flow records.
