//! The dataplane program: reads its configuration, takes its devices, and judges until it is told to stop.
#![forbid(unsafe_code)]

use clap::Parser;
use meshgate_dataplane::config::Config;
use meshgate_dataplane::{doctor, live, processor, replay, topology_commands};
use std::path::PathBuf;
use std::process::ExitCode;

/// Enforces group policy on one host: poll-mode AF_XDP, a compiled classifier, flow records.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  meshgate-dataplane --config /etc/meshgate/dataplane.toml --check
  meshgate-dataplane --config /etc/meshgate/dataplane.toml --prepare-devices
  meshgate-dataplane --config /etc/meshgate/dataplane.toml --doctor
  meshgate-dataplane --config /etc/meshgate/dataplane.toml
  meshgate-dataplane --config replay.toml --replay capture.pcap --replay-output sent.pcap
  meshgate-dataplane --inventory capture.pcap > policy.toml

Log lines go to standard error; MESHGATE_LOG sets their level (error, warn, info, debug, trace)."
)]
struct Arguments {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", required_unless_present = "inventory")]
    config: Option<PathBuf>,
    /// Check the configuration and end.
    #[arg(long)]
    check: bool,
    /// Take addresses, IPv6 and master off the devices so that the host is safe, remember them, and end.
    #[arg(long, conflicts_with_all = ["check", "replay", "inventory"])]
    prepare_devices: bool,
    /// Undo --prepare-devices, and end.
    #[arg(long, conflicts_with_all = ["check", "replay", "inventory", "prepare_devices"])]
    restore_devices: bool,
    /// Say what keeps the dataplane of this host from working well, and what to do about it, and end.
    #[arg(long, conflicts_with_all = ["check", "replay", "inventory", "prepare_devices", "restore_devices"])]
    doctor: bool,
    /// With --doctor: as a JSON list.
    #[arg(long, requires = "doctor")]
    json: bool,
    /// Judge the frames of this capture instead of opening devices, and end. Needs no privileges.
    #[arg(long, value_name = "CAPTURE")]
    replay: Option<PathBuf>,
    /// Where to write what a replay would have sent (pcap).
    #[arg(long, value_name = "FILE", requires = "replay")]
    replay_output: Option<PathBuf>,
    /// Print a policy file with the endpoints found in this capture, and end.
    #[arg(long, value_name = "CAPTURE", conflicts_with_all = ["config", "replay"])]
    inventory: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let level = tracing_subscriber::EnvFilter::try_from_env("MESHGATE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    processor::check()?;
    if let Some(capture) = &arguments.inventory {
        return Ok(replay::inventory(capture, &mut std::io::stdout().lock())?);
    }
    let path = arguments.config.as_deref().ok_or("--config is missing")?;
    let config = Config::read(path)?;
    if arguments.check {
        return Ok(());
    }
    if arguments.prepare_devices {
        return Ok(topology_commands::prepare(&config)?);
    }
    if arguments.restore_devices {
        return Ok(topology_commands::restore(&config)?);
    }
    if arguments.doctor {
        let findings = doctor::examine(&config);
        let text = if arguments.json { doctor::json(&findings) } else { doctor::table(&findings) };
        return Ok(std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes())?);
    }
    match &arguments.replay {
        Some(capture) => Ok(replay::run(&config, capture, arguments.replay_output.as_deref())?),
        None => Ok(live::run(&config, path)?),
    }
}

/// Prints an error and its causes in one line.
#[expect(clippy::print_stderr, reason = "the one place where the program speaks of its own failure")]
fn tell(error: &dyn std::error::Error) {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = inner.source();
    }
    eprintln!("meshgate-dataplane: {}", line.replace('\n', "; "));
}
