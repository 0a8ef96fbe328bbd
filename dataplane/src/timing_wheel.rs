//! Timeouts of many flows at constant cost.
