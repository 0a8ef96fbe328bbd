//! The target `flow_state` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (meshgate_fuzz::fuzz::FLOW_STATE.run)(bytes));
