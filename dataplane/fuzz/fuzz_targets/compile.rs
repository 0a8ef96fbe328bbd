//! The target `compile` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (meshgate_fuzz::fuzz::COMPILE.run)(bytes));
