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

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It could be better.
    Hint,
    /// Something does not work, or loses packets.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of thing: `kernel`, `processor`, `device` and so on.
    pub topic: &'static str,
    /// Which one: a device, a counter; empty = the host.
    pub subject: String,
    /// What was found, in one line.
    pub text: String,
    /// What to do; empty if there is nothing to do.
    pub cure: String,
}

impl Severity {
    /// Returns the severity as it is shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Hint => "hint",
            Self::Problem => "problem",
        }
    }
}

impl Finding {
    fn ok(topic: &'static str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Ok, topic, subject: String::new(), text: text.into(), cure: String::new() }
    }

    fn hint(topic: &'static str, text: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { severity: Severity::Hint, cure: cure.into(), ..Self::ok(topic, text) }
    }

    fn problem(topic: &'static str, text: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, cure: cure.into(), ..Self::ok(topic, text) }
    }

    fn of(self, subject: &str) -> Self {
        Self { subject: subject.to_owned(), ..self }
    }
}

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
