//! `meshgate segments`: broadcast domains with an address space of their own.

use crate::edits::{Edit, Transaction};
use crate::failure::Failure;
use crate::session::{Reply, Session, WriteFlags};
use crate::table::{named, numbers, table, words};
use clap::{Args, Subcommand};
use meshgate_policy::{AuthoredSegment, Name};
use serde::Serialize;

/// Commands of `meshgate segments`.
#[derive(Subcommand, Clone, Debug)]
pub enum SegmentsCommand {
    /// Create segments
    #[command(after_help = "Examples:\n  meshgate segments create blue green")]
    Create(Named),
    /// List segments
    #[command(visible_alias = "ls", after_help = "Examples:\n  meshgate segments list")]
    List,
    /// Delete segments
    #[command(visible_alias = "rm", after_help = "Examples:\n  meshgate segments delete blue")]
    Delete(Named),
}

/// A command on segments.
#[derive(Args, Clone, Debug)]
pub struct Named {
    /// Names of the segments
    #[arg(required = true)]
    names: Vec<Name>,
    #[command(flatten)]
    write: WriteFlags,
}

/// The list as JSON.
#[derive(Serialize)]
struct Segments {
    version: u64,
    segments: Vec<Shown>,
}

/// One segment and what is in it.
#[derive(Serialize)]
struct Shown {
    name: Name,
    tenant: Name,
    endpoints: usize,
    groups: usize,
}

/// Runs a command.
pub async fn run(command: SegmentsCommand, session: &Session) -> Result<Reply, Failure> {
    let segment = |name: &Name| AuthoredSegment { name: name.clone(), tenant: Name::default_name() };
    match command {
        SegmentsCommand::Create(Named { names, write }) => {
            let edits = names.iter().map(|name| Edit::PutSegment(segment(name))).collect();
            change(session, ("create", "created"), edits, &names, &write).await
        }
        SegmentsCommand::Delete(Named { names, write }) => {
            let edits = names.iter().map(|name| Edit::DeleteSegment(name.clone())).collect();
            change(session, ("delete", "deleted"), edits, &names, &write).await
        }
        SegmentsCommand::List => {
            let answer = listed(session).await?;
            Ok(session.show(&answer, list_text)?.into())
        }
    }
}

async fn change(
    session: &Session,
    (verb, did): (&str, &str),
    edits: Vec<Edit>,
    names: &[Name],
    write: &WriteFlags,
) -> Result<Reply, Failure> {
    let names = named("segment", names);
    let comment = write.comment_or(&format!("{verb} {names}"));
    let transaction = Transaction { expected_version: None, edits, comment };
    session.write(&session.connect().await?, &transaction, write, |_| format!("{did} {names}")).await
}

/// Returns every segment by name; `default` is there even where nobody wrote it.
async fn listed(session: &Session) -> Result<Segments, Failure> {
    let snapshot = session.connect().await?.policy(None).await?;
    let policy = &snapshot.policy;
    let mut names: Vec<(Name, Name)> =
        policy.segments.iter().map(|segment| (segment.name.clone(), segment.tenant.clone())).collect();
    names.push((Name::default_name(), Name::default_name()));
    names.sort();
    names.dedup();
    let shown = |(name, tenant): (Name, Name)| Shown {
        endpoints: policy.endpoints.iter().filter(|endpoint| endpoint.segment == name).count(),
        groups: policy.groups.iter().filter(|group| group.segment == name).count(),
        name,
        tenant,
    };
    Ok(Segments { version: snapshot.version, segments: names.into_iter().map(shown).collect() })
}

fn list_text(answer: &Segments) -> String {
    let row = |segment: &Shown| {
        let Shown { name, tenant, endpoints, groups } = segment;
        vec![name.to_string(), tenant.to_string(), endpoints.to_string(), groups.to_string()]
    };
    let columns = [words("NAME"), words("TENANT"), numbers("ENDPOINTS"), numbers("GROUPS")];
    table(&columns, answer.segments.iter().map(row).collect())
}
