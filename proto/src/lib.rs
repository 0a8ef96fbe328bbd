//! The wire: messages and services of package `meshgate.v1`, and their conversions to and from policy types.
//!
//! Each conversion takes a message apart completely, so that a new field breaks the build here and nowhere else.
#![forbid(unsafe_code)]

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
