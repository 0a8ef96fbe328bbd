//! Stage 3: fragments.
