//! The learner program.
#![forbid(unsafe_code)]

use clap::{Args, Parser, Subcommand};
use meshgate_learner::blend::{self, BlendArguments};
use meshgate_learner::config::Config;

use meshgate_learner::evaluate::{self, EvaluateArguments};
use meshgate_learner::evaluate_feedback::{self, EvaluateFeedbackArguments};
use meshgate_learner::evaluate_rules::{self, EvaluateRulesArguments};
use meshgate_learner::offline::{self, TrainArguments};
use meshgate_learner::replay::{self, ReplayArguments};
use meshgate_learner::{freed_memory, live};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Watches who talks to whom, and suggests rules.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  meshgate-learner --config /etc/meshgate/learner.toml --check
  meshgate-learner --config /etc/meshgate/learner.toml
  meshgate-learner replay flows.csv.gz
  meshgate-learner evaluate --flows darpa98.csv.gz --train-until 1998-06-15 --test-until 1998-06-28 --report out
  meshgate-learner evaluate-feedback --seeds 30 --report out

Log lines go to standard error; MESHGATE_LOG sets their level (error, warn, info, debug, trace).")]
struct Arguments {
    #[command(flatten)]
    live: LiveArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Without a subcommand: learn from the flow records of a dataplane.
#[derive(Args)]
struct LiveArguments {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Check the configuration and end.
    #[arg(long)]
    check: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Watch recorded flows or captures and print what would be suggested
    Replay(ReplayArguments),
    /// Learn from recorded flows, and write a checkpoint that a daemon goes on from
    Train(TrainArguments),
    /// Measure the detector on recorded flows with labels, beside the baselines
    Evaluate(EvaluateArguments),
    /// Make a labelled set of flows: recorded attacks in a benign recording
    Blend(BlendArguments),
    /// Measure rules: how much of later flows they cover, how much they permit that nobody used
    EvaluateRules(EvaluateRulesArguments),
    /// Measure the ranking that learns from answers, by simulated administrators
    EvaluateFeedback(EvaluateFeedbackArguments),
}

fn main() -> ExitCode {
    freed_memory::keep();
    let arguments = Arguments::parse();
    let level = tracing_subscriber::EnvFilter::try_from_env("MESHGATE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).init();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = error.to_string().replace('\n', "; ");
            // Nothing is left to be done if standard error is closed.
            let _written = writeln!(std::io::stderr(), "meshgate-learner: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let Arguments { live: LiveArguments { config, check }, command } = arguments;
    match command {
        Some(Command::Replay(arguments)) => {
            let text = replay::run(&arguments)?;
            Ok(std::io::stdout().write_all(text.as_bytes())?)
        }
        Some(Command::Evaluate(arguments)) => {
            evaluate::run(&arguments)?;
            Ok(writeln!(std::io::stdout(), "{}: the report is written", arguments.report.display())?)
        }
        Some(Command::Train(arguments)) => Ok(write!(std::io::stdout(), "{}", offline::run(&arguments)?)?),
        Some(Command::Blend(arguments)) => Ok(write!(std::io::stdout(), "{}", blend::run(&arguments)?)?),
        Some(Command::EvaluateRules(arguments)) => {
            let text = evaluate_rules::run(&arguments)?;
            Ok(std::io::stdout().write_all(text.as_bytes())?)
        }
        Some(Command::EvaluateFeedback(arguments)) => {
            let text = evaluate_feedback::run(&arguments)?;
            Ok(std::io::stdout().write_all(text.as_bytes())?)
        }
        None => {
            let path = config.ok_or("--config FILE is missing")?;
            let config = Config::read(&path)?;
            if check {
                writeln!(std::io::stdout(), "{}: ok, reads {}", path.display(), config.flow_ring.display())?;
                return Ok(());
            }
            live::run(&config)
        }
    }
}
