//! The fuzz targets of the dataplane's tests, and what they use of them, for the binaries of libFuzzer.
#![forbid(unsafe_code)]

#[path = "../../tests/fuzz/mod.rs"]
pub mod fuzz;
#[path = "../../classifier/tests/random/generator.rs"]
pub mod generator;
#[path = "../../tests/lab/mod.rs"]
pub mod lab;
#[path = "../../tests/mutations/mod.rs"]
pub mod mutations;

pub mod watched {
    //! Stands in for the allocator that counts: the fuzzer has one of its own.

    /// Does something. Nobody counts how often it called the allocator.
    pub fn calls_of(work: impl FnOnce()) -> u64 {
        work();
        0
    }
}
