//! Where an allowed frame goes.
