//! The target `classify` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (meshgate_fuzz::fuzz::CLASSIFY.run)(bytes));
