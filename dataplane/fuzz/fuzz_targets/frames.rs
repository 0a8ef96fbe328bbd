//! The target `frames` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (meshgate_fuzz::fuzz::FRAMES.run)(bytes));
