//! Targets for fuzzing: functions of bytes that hold a part of the dataplane against something plainer, and panic where
//! the two differ. `fuzz_cases` replays their cases and runs them on seeded inputs; `dataplane/fuzz` runs them with
//! coverage.

#![expect(clippy::unwrap_used, reason = "a target that cannot be set up has failed")]

pub mod classify;
pub mod compile;
pub mod flow_model;
pub mod flow_state;
pub mod frames;
pub mod input;
pub mod packet;
pub mod packet_reader;
pub mod wire_policy;

/// A target: what it is called, what it does with an input, and how many inputs make a second or two of a test.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub inputs: usize,
}

pub const PACKET: Target = Target { name: "packet", run: packet::run, inputs: 200_000 };
pub const FRAMES: Target = Target { name: "frames", run: frames::run, inputs: 300 };
pub const FLOW_STATE: Target = Target { name: "flow_state", run: flow_state::run, inputs: 10_000 };
pub const WIRE: Target = Target { name: "wire", run: wire_policy::run, inputs: 20_000 };
pub const COMPILE: Target = Target { name: "compile", run: compile::run, inputs: 1_000 };
pub const CLASSIFY: Target = Target { name: "classify", run: classify::run, inputs: 1_000 };
