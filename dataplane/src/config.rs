//! The configuration file of the dataplane.
