//! What every command shares: where the control plane is, how answers are shown, how long to wait.

use crate::answers::Committed;
use crate::client::{CallError, Client};
use crate::edits::Transaction;
use crate::enforcement;
use crate::failure::{Failure, NotEnforced};
use crate::server::Server;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::time::Duration;

/// How answers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[value(help = None::<&str>)]
    Table,
    /// For programs: one JSON document.
    #[value(help = None::<&str>)]
    Json,
}

/// What every command shares.
#[derive(Clone, Debug)]
pub struct Session {
    /// Where the control plane listens.
    pub server: Server,
    /// How answers are shown.
    pub output: Output,
    /// How long one call, or waiting for hosts, may take.
    pub timeout: Duration,
    /// Who asks; empty = nobody says.
    pub user: String,
}

/// What a command prints, and what it waited for in vain.
#[derive(Debug)]
pub struct Reply {
    /// For standard output.
    pub text: String,
    /// What was lacking when the time was over.
    pub lacking: Option<NotEnforced>,
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Self { text, lacking: None }
    }
}

/// Flags of every command that changes the policy.
#[derive(Args, Clone, Debug, Default)]
pub struct WriteFlags {
    /// Why, for history and audit trail
    #[arg(long, value_name = "TEXT", help_heading = "Write options")]
    pub comment: Option<String>,
    /// Return when a dataplane is connected and every connected one enforces it; exit code 3 if --timeout passes first
    #[arg(long, help_heading = "Write options")]
    pub wait: bool,
}

impl WriteFlags {
    /// Returns the comment, or what the command would say of itself.
    pub fn comment_or(&self, own: &str) -> String {
        self.comment.clone().unwrap_or_else(|| own.to_owned())
    }
}

impl Session {
    /// Connects to the control plane.
    pub async fn connect(&self) -> Result<Client, CallError> {
        Client::connect(&self.server, self.timeout, &self.user).await
    }

    /// Returns the answer as JSON, or as the text that `people` makes of it.
    pub fn show<T: Serialize>(
        &self,
        answer: &T,
        people: impl FnOnce(&T) -> String,
    ) -> Result<String, Failure> {
        match self.output {
            Output::Table => Ok(people(answer)),
            Output::Json => json(answer),
        }
    }

    /// Commits, and waits for the hosts where that is wanted. `done` says what a commit that changed something did.
    pub async fn write(
        &self,
        client: &Client,
        transaction: &Transaction,
        flags: &WriteFlags,
        done: impl FnOnce(&Committed) -> String,
    ) -> Result<Reply, Failure> {
        let committed = client.commit(transaction).await?;
        self.written(client, &committed, flags, done).await
    }

    /// Shows a commit, and waits for the hosts where that is wanted.
    pub async fn written(
        &self,
        client: &Client,
        committed: &Committed,
        flags: &WriteFlags,
        done: impl FnOnce(&Committed) -> String,
    ) -> Result<Reply, Failure> {
        let text = self.show(committed, |committed| outcome(committed, done))?;
        Ok(Reply { text, lacking: self.wait_if(client, committed.version, flags.wait).await? })
    }

    /// Waits until the hosts enforce the version, where that is wanted.
    pub async fn wait_if(
        &self,
        client: &Client,
        version: u64,
        wait: bool,
    ) -> Result<Option<NotEnforced>, Failure> {
        if !wait {
            return Ok(None);
        }
        Ok(enforcement::wait(client, Some(version), self.timeout).await?.1)
    }
}

fn outcome(committed: &Committed, done: impl FnOnce(&Committed) -> String) -> String {
    if committed.changed {
        format!("{} (version {})\n", done(committed), committed.version)
    } else {
        format!("nothing changed; version {} stays\n", committed.version)
    }
}

/// Returns the value as an indented JSON document.
pub fn json<T: Serialize>(value: &T) -> Result<String, Failure> {
    let unwritable =
        |error: serde_json::Error| Failure::Unwritable { format: "JSON", reason: error.to_string() };
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(unwritable)
}
