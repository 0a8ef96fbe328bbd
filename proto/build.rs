//! Generates the module `wire` from the `.proto` files, with a parser written in Rust: no protoc is needed.

use std::path::PathBuf;

const FILES: [&str; 9] = [
    "meshgate/v1/policy.proto",
    "meshgate/v1/distribution.proto",
    "meshgate/v1/flow.proto",
    "meshgate/v1/cost.proto",
    "meshgate/v1/explain.proto",
    "meshgate/v1/suggestion.proto",
    "meshgate/v1/feedback.proto",
    "meshgate/v1/automatic.proto",
    "meshgate/v1/diagnostics.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
