//! Length-checked reading of a frame.
