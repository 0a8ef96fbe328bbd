//! The wire: messages and services of package `meshgate.v1`, and their conversions to and from policy types.
//!
//! Each conversion takes a message apart completely, so that a new field breaks the build here and nowhere else. What
//! comes in is bounded and checked field by field; a fault names the path of the field.
#![forbid(unsafe_code)]

mod authored;
mod authored_rule;
mod automatic;
mod delta;
mod fault;
mod feedback_report;
mod field;
mod finding;
mod learner_report;
mod policy;
mod proposal;
mod rule;
mod suggestion;
mod withdrawal;

pub use authored::default_action_from_wire;
pub use authored_rule::protocol_from_wire;
pub use fault::{Problem, WireFault};
pub use field::action_from_wire;
pub use policy::check_policy;

/// Bytes of the largest message of any service. The largest policy that the limits permit, with the groups people
/// write, is some 30 MB; gRPC's own default of 4 MiB would refuse it, so both sides set this.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The generated messages, clients and servers of `meshgate.v1`.
#[expect(
    missing_docs,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated from the .proto files"
)]
pub mod wire {
    tonic::include_proto!("meshgate.v1");

    /// The encoded `FileDescriptorSet` of the package, for server reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
