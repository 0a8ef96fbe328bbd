//! Stage 4: flows that are known, and their state.
