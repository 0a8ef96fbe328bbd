//! The loop of one pinned thread.
