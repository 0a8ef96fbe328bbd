//! Puts a policy file into a dataplane's state directory as if it had been accepted, so that a benchmark or test runs
//! without control: `keep_policy POLICY.toml STATE_DIR`.
#![forbid(unsafe_code)]

use meshgate_dataplane::last_good::LastGood;
use meshgate_dataplane::subscriber::encode;
use meshgate_policy::{AuthoredPolicy, Numbering, PolicyVersion, resolve};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, state_dir] = arguments.as_slice() else {
        return Err("usage: keep_policy POLICY.toml STATE_DIR".into());
    };
    let mut authored: AuthoredPolicy = toml::from_str(&std::fs::read_to_string(file)?)?;
    let mut numbering = Numbering::default();
    numbering.assign(&mut authored)?;
    let policy = resolve(&authored, &numbering, PolicyVersion(1))
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    LastGood::open(Path::new(state_dir))?.write(&encode(&policy))?;
    Ok(())
}
