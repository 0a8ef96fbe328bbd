//! `meshgate-control`: reads its configuration and runs until it is told to end.
#![forbid(unsafe_code)]

use clap::Parser;
use meshgate_control::config::Config;
use meshgate_control::server::Server;
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Keeps the policy and brings it to every host.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  meshgate-control --config /etc/meshgate/control.toml --check
  meshgate-control --config /etc/meshgate/control.toml

Log lines go to standard error; MESHGATE_LOG sets their level (error, warn, info, debug, trace)."
)]
struct Arguments {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration and end.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done if standard error is closed.
            let _written = writeln!(std::io::stderr(), "meshgate-control: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let config = Config::read(&arguments.config)?;
    if arguments.check {
        writeln!(std::io::stdout(), "{}: ok, listens on {}", arguments.config.display(), config.listen)?;
        return Ok(());
    }
    let filter = tracing_subscriber::EnvFilter::try_from_env("MESHGATE_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    // Before the socket is there, so that a signal never finds the default action.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let end = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Server::open(config).await?.serve(end).await?;
    Ok(())
}
