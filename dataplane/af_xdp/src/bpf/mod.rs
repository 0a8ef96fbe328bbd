//! Programs for the kernel's XDP hook, assembled in Rust and loaded with bpf(2); no compiler and no object files.

pub(crate) mod attachment;
pub(crate) mod calls;
pub(crate) mod drop_counter;
pub(crate) mod generator;
pub(crate) mod instruction;
pub(crate) mod program;
