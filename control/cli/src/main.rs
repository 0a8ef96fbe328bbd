//! `meshgate`, the command-line client of the control plane: it parses, asks, shows.
//!
//! Every noun has a file with its flags, its commands and its tables. Answers come back as a [`session::Reply`], errors
//! as a [`failure::Failure`]; only this file prints.
#![forbid(unsafe_code)]

mod answers;
mod apply;
mod automatic;
mod automatic_text;
mod capture;
mod cli;
mod client;
mod cost_answers;
mod cost_text;
mod costs;
mod doctor;
mod edits;
mod endpoints;
mod enforcement;
mod explain;
mod failure;
mod feedback_text;
mod flags;
mod flows;
mod groups;
mod inside_answers;
mod learner;
mod pcapng;
mod policy_file;
mod proposals;
mod relationships;
mod reload;
mod rules;
mod segments;
mod server;
mod session;
mod status;
mod status_text;
mod suggestion_answers;
mod suggestion_text;
mod suggestions;
mod table;
mod top;
mod units;
mod versions;

use clap::Parser;
use failure::Failure;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let parsed = match cli::Cli::try_parse() {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Failure::Start(error)),
    };
    let reply = match runtime.block_on(parsed.run()) {
        Ok(reply) => reply,
        Err(failure) => return fail(&failure),
    };
    match (print(&reply.text), reply.lacking) {
        (Err(error), _) if error.kind() != ErrorKind::BrokenPipe => fail(&Failure::Output(error)),
        (_, Some(lacking)) => fail(&Failure::NotEnforced(lacking)),
        (_, None) => ExitCode::SUCCESS,
    }
}

fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn fail(failure: &Failure) -> ExitCode {
    complain(&failure.to_string());
    failure.exit_code()
}

/// Says why the command line is not understood, in one line; help and version are no mistakes.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Help goes to standard output, with clap's own styles where that is a terminal.
        return if error.print().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    complain(&cli::usage_line(error));
    ExitCode::from(failure::EXIT_USAGE)
}

/// Prints every line of a complaint; most have one.
#[expect(clippy::print_stderr, reason = "the one place that reports errors")]
fn complain(text: &str) {
    for line in text.lines() {
        eprintln!("meshgate: {}", table::printable(line.to_owned()));
    }
}
