//! What decides whether a dataplane works well on this host, looked at one by one, each finding with its cure.
//!
//! Looks and changes nothing. What it looks at are values: files below a root ([`System`]), what the kernel said of the
//! devices, and what a running dataplane counted ([`Running`]); so every finding has a test without a host that is ill.

mod client;
mod devices;
mod kernel;
mod privileges;
mod processor;
mod running;
mod system;
mod text;

pub use devices::DeviceSight;
pub use running::{DeviceRunning, Running};
pub use system::System;
pub use text::{json, table};

use crate::config::Config;
use meshgate_policy::Finding;

/// Returns what is to be said of the host this runs on; `running` is what the dataplane that runs here says of itself,
/// if one does.
pub fn diagnose(config: &Config, running: Option<&Running>) -> Vec<Finding> {
    let system = System::new();
    let mut findings = kernel::findings(&system);
    findings.extend(privileges::findings(&system, config));
    findings.extend(processor::findings(&system, config));
    findings.extend(devices::findings(config, devices::sights(config), running));
    findings.extend(running.map_or_else(running::absent, |running| running::findings(config, running)));
    findings
}

/// Looks at this host beside the dataplane that may run on it, which is asked by way of control.
pub fn examine(config: &Config) -> Vec<Finding> {
    let (running, link) = client::running(config);
    let mut findings = diagnose(config, running.as_ref());
    findings.push(link);
    findings
}
