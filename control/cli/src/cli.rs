//! The command line: its grammar, and which file runs what.

use crate::apply::{Apply, Export, PolicyFile};
use crate::automatic::{self, AutomaticCommand};
use crate::capture::Capture;
use crate::costs::{self, CostsCommand};
use crate::doctor::Doctor;
use crate::endpoints::{self, EndpointsCommand};
use crate::explain::Explain;
use crate::failure::Failure;
use crate::flows::Flows;
use crate::groups::{self, GroupsCommand};
use crate::learner::{self, LearnerCommand};
use crate::relationships::{self, RelationshipsCommand};
use crate::reload::Reload;
use crate::rules::{self, RulesCommand};
use crate::segments::{self, SegmentsCommand};
use crate::server::{DEFAULT_SERVER, Server};
use crate::session::{Output, Reply, Session};
use crate::status::Status;
use crate::suggestions::{self, SuggestionsCommand};
use crate::top::Top;
use crate::units::parse_span;
use crate::versions::{Audit, DefaultAction, History, Rollback};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::time::Duration;

/// Say which groups of virtual machines may talk to which, and see that it is so.
#[derive(Parser, Clone, Debug)]
#[command(name = "meshgate", version, propagate_version = false, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  meshgate groups create WebServers --selector role=web
  meshgate relationships create --source WebServers --destination DatabaseServers \\
      --protocol TCP --port-range 5432 --action allow --wait
  meshgate explain --from web-1 --to db-1 --protocol TCP --port 5432

Exit codes: 0 done; 1 refused or failed; 2 command line not understood; 3 not enforced in time.")]
pub struct Cli {
    /// Control plane: http://HOST:PORT or unix:PATH
    #[arg(long, global = true, env = "MESHGATE_SERVER", default_value = DEFAULT_SERVER, value_name = "URL")]
    #[arg(help_heading = "Global options", hide_env_values = true)]
    server: Server,
    /// table for people, json for programs
    #[arg(short, long, global = true, value_enum, default_value = "table", value_name = "FORMAT")]
    #[arg(hide_possible_values = true)]
    #[arg(help_heading = "Global options")]
    output: Output,
    /// Longest wait for an answer, or with --wait for hosts
    #[arg(long, global = true, default_value = "10s", value_name = "SPAN", value_parser = parse_span)]
    #[arg(help_heading = "Global options")]
    timeout: Duration,
    /// Who acts, for the audit trail; else the logged-in user
    #[arg(long, global = true, env = "MESHGATE_USER", value_name = "NAME", hide_env_values = true)]
    #[arg(help_heading = "Global options")]
    user: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// Network interfaces of virtual machines
    #[command(subcommand, alias = "endpoint")]
    Endpoints(EndpointsCommand),
    /// Named sets of endpoints and prefixes
    #[command(subcommand, alias = "group")]
    Groups(GroupsCommand),
    /// Rules between two groups
    #[command(subcommand, alias = "relationship")]
    Relationships(RelationshipsCommand),
    /// Rules between one group and addresses
    #[command(subcommand, alias = "rule")]
    Rules(RulesCommand),
    /// Broadcast domains with an address space of their own
    #[command(subcommand, alias = "segment")]
    Segments(SegmentsCommand),
    /// Show or set what happens where no rule and no common group decides
    #[command(after_help = "Examples:
  meshgate default-action
  meshgate default-action deny --wait")]
    DefaultAction(DefaultAction),
    /// Make a file the whole policy; what it does not hold is deleted
    #[command(after_help = "Examples:
  meshgate apply -f policy.toml --dry-run
  meshgate apply -f policy.yaml --comment 'open the shop' --wait
  meshgate export | sed s/5432/5433/ | meshgate apply -f -")]
    Apply(Apply),
    /// Show what applying a file would change, and warn of rules that would never decide
    #[command(after_help = "Examples:\n  meshgate plan -f policy.toml")]
    Plan(PolicyFile),
    /// Write the policy as a file that `apply` takes
    #[command(after_help = "Examples:
  meshgate export > policy.toml
  meshgate export --format yaml --version 4")]
    Export(Export),
    /// List versions of the policy
    #[command(after_help = "Examples:\n  meshgate history --limit 5")]
    History(History),
    /// Make the content of an old version the next version
    #[command(after_help = "Examples:\n  meshgate rollback 4 --comment 'version 5 cut the backup' --wait")]
    Rollback(Rollback),
    /// List who did what
    #[command(after_help = "Examples:\n  meshgate audit --limit 100 --output json")]
    Audit(Audit),
    /// Show every host, what it enforces and what it counted
    #[command(after_help = "Examples:
  meshgate status
  meshgate status --wait --timeout 30s
  meshgate status --counters")]
    Status(Status),
    /// Say why a packet would pass or not
    #[command(after_help = "Examples:
  meshgate explain --from web-1 --to db-1 --protocol TCP --port 5432
  meshgate explain --from 10.0.0.1 --to 192.0.2.9 --protocol ICMP --icmp-type 8 --version 4")]
    Explain(Explain),
    /// Show who talks to whom
    #[command(after_help = "Examples:
  meshgate flows --since 5m
  meshgate flows --to-group DatabaseServers --action deny --since 1d --limit 10")]
    Flows(Flows),
    /// What traffic between zones costs
    #[command(subcommand, alias = "cost")]
    Costs(CostsCommand),
    /// Say what keeps hosts from working well, and what to do about it
    #[command(after_help = "Examples:
  meshgate doctor
  meshgate doctor --host gw-1 --all")]
    Doctor(Doctor),
    /// Have a host read its configuration again: devices come and go, the others are not touched
    #[command(after_help = "Examples:
  meshgate reload
  meshgate reload --host gw-1")]
    Reload(Reload),
    /// Copy packets of a host with their verdicts into a file that Wireshark reads
    #[command(after_help = "Examples:
  meshgate capture -w drops.pcapng --verdict drop --count 100
  meshgate capture -w db.pcapng --host gw-1 --group DatabaseServers --span 30s --snap 1514
  meshgate capture -w - --from web-1 --to 10.0.1.0/24 --protocol TCP --port 5432 | tshark -r -

Every packet has its verdict as comment: version, stage, rule, reason. Both directions are taken.")]
    Capture(Capture),
    /// Show live what a host does: devices, workers, drops, top rules and flows
    #[command(after_help = "Examples:
  meshgate top
  meshgate top --host gw-1 --interval 5s
  meshgate top --once --output json")]
    Top(Top),
    /// Rules that the learner suggests, to be accepted or rejected
    #[command(subcommand, alias = "suggestion")]
    Suggestions(SuggestionsCommand),
    /// What the control plane may accept by itself
    #[command(subcommand)]
    Automatic(AutomaticCommand),
    /// How the learner is doing
    #[command(subcommand, alias = "learners")]
    Learner(LearnerCommand),
    /// Write a completion script for a shell
    #[command(after_help = "Examples:
  meshgate completions bash > /etc/bash_completion.d/meshgate
  meshgate completions zsh > ~/.zfunc/_meshgate")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl Cli {
    /// Runs the command.
    pub async fn run(self) -> Result<Reply, Failure> {
        let Self { server, output, timeout, user, command } = self;
        let user = user.or_else(|| std::env::var("USER").ok()).unwrap_or_default();
        let session = Session { server, output, timeout, user };
        match command {
            Command::Endpoints(command) => endpoints::run(command, &session).await,
            Command::Groups(command) => groups::run(command, &session).await,
            Command::Relationships(command) => relationships::run(command, &session).await,
            Command::Rules(command) => rules::run(command, &session).await,
            Command::Segments(command) => segments::run(command, &session).await,
            Command::DefaultAction(command) => command.run(&session).await,
            Command::Apply(command) => command.run(&session).await,
            Command::Plan(file) => file.plan(&session).await,
            Command::Export(command) => command.run(&session).await,
            Command::History(command) => command.run(&session).await,
            Command::Rollback(command) => command.run(&session).await,
            Command::Audit(command) => command.run(&session).await,
            Command::Status(command) => command.run(&session).await,
            Command::Explain(command) => command.run(&session).await,
            Command::Flows(command) => command.run(&session).await,
            Command::Costs(command) => costs::run(command, &session).await,
            Command::Doctor(command) => command.run(&session).await,
            Command::Reload(command) => command.run(&session).await,
            Command::Capture(command) => command.run(&session).await,
            Command::Top(command) => command.run(&session).await,
            Command::Suggestions(command) => suggestions::run(command, &session).await,
            Command::Automatic(command) => automatic::run(command, &session).await,
            Command::Learner(command) => learner::run(command, &session).await,
            Command::Completions { shell } => Ok(completions(shell).into()),
        }
    }
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "meshgate", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Returns what is wrong with a command line in one line, without clap's frame around it.
pub fn usage_line(error: &clap::Error) -> String {
    let whole = error.render().to_string();
    let usage_at = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|end| whole.find(end)).min();
    let reason = whole[..usage_at.unwrap_or(whole.len())].trim_start_matches("error: ");
    let lines: Vec<&str> = reason.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ") + "; see --help"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    fn refusal(line: &str) -> String {
        usage_line(&Cli::try_parse_from(line.split(' ')).unwrap_err())
    }

    #[test]
    fn a_bad_command_line_is_told_in_one_line() {
        for (line, shown) in [
            (
                "meshgate relationships create --source a --destination b --protocol TCP --port-range 8080-80",
                "invalid value '8080-80' for '--port-range <PORTS>': port range 8080-80 is backwards: 8080 is \
                 above 80; see --help",
            ),
            (
                "meshgate relationships create --actoin allow",
                "unexpected argument '--actoin' found tip: a similar \
              argument exists: '--action'; see --help",
            ),
            (
                "meshgate groups show",
                "the following required arguments were not provided: <NAME>; see --help",
            ),
            (
                "meshgate groups create a+b",
                "invalid value 'a+b' for '[NAME]': name \"a+b\": character '+' is not one \
              of A-Z a-z 0-9 . _ -; see --help",
            ),
        ] {
            assert_eq!(refusal(line), shown);
        }
    }

    #[test]
    fn every_command_ends_its_help_with_examples() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let is_leaf = command.get_subcommands().next().is_none();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(!is_leaf || help.starts_with("Examples:\n  meshgate"), "{path}");
            assert!(help.lines().all(|line| line.len() <= 100), "{path}: a line would be wrapped");
            command.get_subcommands().filter(|c| c.get_name() != "help").for_each(|sub| check(sub, &path));
        }
        check(&Cli::command(), "");
    }
}
