//! Measures parts of Meshgate. Each figure is also a last line `bar: NAME = VALUE UNIT`, for scripts.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures are what this program is for")]

mod classbench;
mod classify;
mod groups;
mod hard;
mod pairs;
mod product;
mod timing;
mod update;
mod veth;
mod worker;

use clap::{Parser, Subcommand};
use meshgate_dataplane::classifier::{CompileError, Difference};
use meshgate_dataplane::subscriber::ApplyError;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures parts of Meshgate.
#[derive(Debug, Parser)]
#[command(name = "meshgate-bench", version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

/// What is measured.
#[derive(Debug, Subcommand)]
enum What {
    /// Look-ups in a ClassBench set
    Classify(classify::Classify),
    /// Look-ups in a policy of overlapping groups, between endpoints drawn uniformly
    Groups(groups::Groups),
    /// The same with few and with many rules
    RulesFlat(groups::RulesFlat),
    /// Look-ups in policies and traffic that are as hard as people can make them
    Hard(hard::Hard),
    /// What a change of one rule takes until it could be published
    Update(update::Update),
    /// The whole worker: known flows, new ones, refused packets
    Worker(worker::Worker),
    /// Forwarding between two veth devices beside another forwarder
    Veth(veth::Veth),
}

/// Why nothing was measured, or what was measured is wrong.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("{path}: {1}", path = .0.display())]
    Unreadable(PathBuf, std::io::Error),
    #[error("{path}: {1}", path = .0.display())]
    Unwritable(PathBuf, std::io::Error),
    #[error("{path}: line {1}: {2}", path = .0.display())]
    Line(PathBuf, usize, &'static str),
    #[error("{path}: line {1} names source ports, which rules have none of: --ignore-source-port takes such lines without", path = .0.display())]
    SourcePort(PathBuf, usize),
    #[error("the policy cannot be compiled: {0}")]
    Compile(CompileError),
    #[error("--rules 0: there is no rule to change")]
    NoRules,
    #[error("--groups {0}: hard policies need at least as many as an endpoint may be in")]
    FewGroups(u32),
    #[error("{0} policies over a limit were refused without the limit's name")]
    UnnamedRefusals(usize),
    #[error(transparent)]
    Apply(ApplyError),
    #[error("the compiled policy is wrong: {0}")]
    Difference(Difference),
    #[error("{0} headers judged unlike a linear scan, {1} unlike the trace expects")]
    Mismatches(usize, usize),
    #[error(transparent)]
    Worker(#[from] worker::WorkerError),
    #[error(transparent)]
    Veth(#[from] veth::VethError),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().what {
        What::Classify(classify) => classify.run(),
        What::Groups(groups) => groups.run(),
        What::RulesFlat(rules_flat) => rules_flat.run(),
        What::Hard(hard) => hard.run(),
        What::Update(update) => update.run(),
        What::Worker(worker) => worker.run(),
        What::Veth(veth) => veth.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meshgate-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
