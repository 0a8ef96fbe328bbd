//! `meshgate apply`, `plan` and `export`: the whole policy as a file.

use crate::answers::{ChangeKind, Committed, Plan, PlannedChange};
use crate::edits::{Edit, Transaction};
use crate::failure::Failure;
use crate::policy_file::{self, Format};
use crate::session::{Output, Reply, Session, WriteFlags};
use crate::table::printable;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// The file of `apply` and `plan`.
#[derive(Args, Clone, Debug)]
pub struct PolicyFile {
    /// Policy file; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// How the file is written, where its name does not end in .toml, .yaml, .yml or .json
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

/// `meshgate apply`.
#[derive(Args, Clone, Debug)]
pub struct Apply {
    #[command(flatten)]
    file: PolicyFile,
    /// Show what would change and leave the policy alone
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    write: WriteFlags,
}

/// `meshgate export`.
#[derive(Args, Clone, Debug)]
pub struct Export {
    /// How to write the policy; toml if not given
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// The version to write; the newest if not given
    #[arg(long = "version", value_name = "N")]
    version: Option<u64>,
}

/// What `apply` did, as JSON.
#[derive(Serialize)]
struct Applied<'a> {
    plan: &'a Plan,
    committed: &'a Committed,
}

impl PolicyFile {
    /// Shows what `apply` would do.
    pub async fn plan(self, session: &Session) -> Result<Reply, Failure> {
        let edits = self.edits()?;
        let plan = session.connect().await?.plan(&edits).await?;
        Ok(session.show(&plan, plan_text)?.into())
    }

    fn edits(&self) -> Result<Vec<Edit>, Failure> {
        let policy = policy_file::read(&self.file, self.format)?;
        Ok(vec![Edit::ReplaceAll(Box::new(policy))])
    }
}

impl Apply {
    /// Makes the file the policy.
    pub async fn run(self, session: &Session) -> Result<Reply, Failure> {
        if self.dry_run {
            return self.file.plan(session).await;
        }
        let edits = self.file.edits()?;
        let client = session.connect().await?;
        let plan = client.plan(&edits).await?;
        let comment = self.write.comment_or(&format!("apply {}", self.file.file.display()));
        let transaction = Transaction { expected_version: Some(plan.base_version), edits, comment };
        let committed = client.commit(&transaction).await?;
        let applied = Applied { plan: &plan, committed: &committed };
        let text = session.show(&applied, |_| applied_text(&plan, &committed))?;
        Ok(Reply { text, lacking: session.wait_if(&client, committed.version, self.write.wait).await? })
    }
}

impl Export {
    /// Writes the policy as the text of a file.
    pub async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let snapshot = session.connect().await?.policy(self.version).await?;
        let format = self.format.unwrap_or(match session.output {
            Output::Table => Format::Toml,
            Output::Json => Format::Json,
        });
        Ok(policy_file::write(&snapshot.policy, format, snapshot.version)?.into())
    }
}

fn plan_text(plan: &Plan) -> String {
    if plan.changes.is_empty() {
        return format!("no change: the file is version {}\n{}", plan.base_version, warnings(plan));
    }
    format!("{}would change version {}: {}\n", lines(plan), plan.base_version, totals(&plan.changes))
}

fn applied_text(plan: &Plan, committed: &Committed) -> String {
    if committed.changed {
        format!("{}applied as version {}: {}\n", lines(plan), committed.version, totals(&plan.changes))
    } else {
        format!("{}no change: version {} stays\n", warnings(plan), committed.version)
    }
}

/// Returns one line a change, then the warnings.
fn lines(plan: &Plan) -> String {
    let line = |PlannedChange { kind, object, name, detail }: &PlannedChange| {
        let sign = match kind {
            ChangeKind::Add => '+',
            ChangeKind::Remove => '-',
            ChangeKind::Change => '~',
        };
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        // The default action is an object without a name.
        let name = if name.is_empty() { String::new() } else { format!(" {name}") };
        format!("{sign} {}\n", printable(format!("{object}{name}{detail}")))
    };
    plan.changes.iter().map(line).collect::<String>() + &warnings(plan)
}

fn warnings(plan: &Plan) -> String {
    plan.warnings.iter().map(|warning| format!("warning: {}\n", printable(warning.clone()))).collect()
}

fn totals(changes: &[PlannedChange]) -> String {
    let count = |kind| changes.iter().filter(|change| change.kind == kind).count();
    let (added, changed, removed) =
        (count(ChangeKind::Add), count(ChangeKind::Change), count(ChangeKind::Remove));
    format!("{added} added, {changed} changed, {removed} removed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let change = |kind, object: &str, name: &str, detail: &str| PlannedChange {
            kind,
            object: object.into(),
            name: name.into(),
            detail: detail.into(),
        };
        Plan {
            base_version: 5,
            changes: vec![
                change(ChangeKind::Add, "group", "WebServers", ""),
                change(ChangeKind::Change, "default_action", "", "allow -> deny"),
                change(ChangeKind::Remove, "endpoint", "web-9", ""),
            ],
            warnings: vec!["rule 4 never decides: rule 3 comes first".into()],
        }
    }

    #[test]
    fn a_plan_has_one_line_a_change_and_a_sum() {
        let expected = "\
+ group WebServers
~ default_action: allow -> deny
- endpoint web-9
warning: rule 4 never decides: rule 3 comes first
would change version 5: 1 added, 1 changed, 1 removed
";
        assert_eq!(plan_text(&plan()), expected);
    }

    #[test]
    fn a_file_that_changes_nothing_says_so() {
        let plan = Plan { changes: Vec::new(), warnings: Vec::new(), ..plan() };
        assert_eq!(plan_text(&plan), "no change: the file is version 5\n");
        let committed = Committed { version: 5, changed: false, ..Committed::default() };
        assert_eq!(applied_text(&plan, &committed), "no change: version 5 stays\n");
    }
}
