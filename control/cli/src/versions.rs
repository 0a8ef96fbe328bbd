//! `meshgate history`, `rollback`, `audit` and `default-action`.

use crate::answers::{AuditEntry, Committed, VersionEntry};
use crate::edits::{Edit, Transaction};
use crate::failure::Failure;
use crate::session::{Reply, Session, WriteFlags};
use crate::table::{numbers, or_dash, table, words};
use crate::units::time;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use meshgate_policy::Action;
use serde::Serialize;

/// `meshgate history`.
#[derive(Args, Clone, Debug)]
pub struct History {
    /// At most this many, newest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// Only versions below this one
    #[arg(long, value_name = "VERSION", default_value_t = 0, hide_default_value = true)]
    before: u64,
}

/// `meshgate audit`.
#[derive(Args, Clone, Debug)]
pub struct Audit {
    /// At most this many, newest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// Only entries below this one
    #[arg(long, value_name = "ENTRY", default_value_t = 0, hide_default_value = true)]
    before: u64,
}

/// `meshgate rollback`.
#[derive(Args, Clone, Debug)]
pub struct Rollback {
    /// The version whose content becomes the next version
    version: u64,
    #[command(flatten)]
    write: WriteFlags,
}

/// `meshgate default-action`.
#[derive(Args, Clone, Debug)]
pub struct DefaultAction {
    /// deny, or allow while watching; without it the action in force is shown
    #[arg(value_parser = default_action(), ignore_case = true)]
    action: Option<Action>,
    #[command(flatten)]
    write: WriteFlags,
}

fn default_action() -> impl TypedValueParser<Value = Action> {
    let word = |word: String| if word.eq_ignore_ascii_case("allow") { Action::Allow } else { Action::Deny };
    PossibleValuesParser::new(["allow", "deny"]).map(word)
}

/// The versions as JSON.
#[derive(Serialize)]
struct Versions {
    versions: Vec<VersionEntry>,
}

/// The entries as JSON.
#[derive(Serialize)]
struct Entries {
    entries: Vec<AuditEntry>,
}

/// The default as JSON.
#[derive(Serialize)]
struct InForce {
    version: u64,
    default_action: Action,
}

impl History {
    /// Lists versions.
    pub async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let versions = session.connect().await?.versions(self.limit, self.before).await?;
        Ok(session.show(&Versions { versions }, history_text)?.into())
    }
}

impl Audit {
    /// Lists entries of the audit trail.
    pub async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let entries = session.connect().await?.audit(self.limit, self.before).await?;
        Ok(session.show(&Entries { entries }, audit_text)?.into())
    }
}

impl Rollback {
    /// Makes an old version's content the next version.
    pub async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let client = session.connect().await?;
        let comment = self.write.comment_or(&format!("rollback to version {}", self.version));
        let committed = client.rollback(self.version, &comment).await?;
        let done = |_: &Committed| format!("rolled back to the content of version {}", self.version);
        session.written(&client, &committed, &self.write, done).await
    }
}

impl DefaultAction {
    /// Sets or shows what happens where nothing else decides.
    pub async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let client = session.connect().await?;
        let Some(action) = self.action else {
            let snapshot = client.policy(None).await?;
            let answer =
                InForce { version: snapshot.version, default_action: snapshot.policy.default_action };
            return Ok(session.show(&answer, in_force_text)?.into());
        };
        let transaction = Transaction {
            expected_version: None,
            edits: vec![Edit::SetDefaultAction(action)],
            comment: self.write.comment_or(&format!("default action {action}")),
        };
        session.write(&client, &transaction, &self.write, |_| format!("default action is {action}")).await
    }
}

fn in_force_text(InForce { version, default_action }: &InForce) -> String {
    format!("{default_action} (version {version}): what neither a rule nor a common group decides\n")
}

fn history_text(Versions { versions }: &Versions) -> String {
    if versions.is_empty() {
        return "no versions yet; the first change of the policy makes version 1\n".to_owned();
    }
    let row = |VersionEntry { version, digest, committed_ns, author, comment }: &VersionEntry| {
        vec![version.to_string(), time(*committed_ns), digest.short(), or_dash(author), or_dash(comment)]
    };
    let columns =
        [numbers("VERSION"), words("COMMITTED"), words("DIGEST"), words("AUTHOR"), words("COMMENT")];
    table(&columns, versions.iter().map(row).collect())
}

fn audit_text(Entries { entries }: &Entries) -> String {
    if entries.is_empty() {
        return "the audit trail is empty\n".to_owned();
    }
    let row = |AuditEntry { sequence, time_ns, actor, event, detail, hash }: &AuditEntry| {
        let (actor, detail) = (or_dash(actor), or_dash(&with_short_digests(detail)));
        vec![sequence.to_string(), time(*time_ns), actor, event.clone(), detail, hash.short()]
    };
    let columns =
        [numbers("ENTRY"), words("TIME"), words("ACTOR"), words("EVENT"), words("DETAIL"), words("HASH")];
    table(&columns, entries.iter().map(row).collect())
}

/// Returns the text with every SHA-256 cut to the eight digits that other tables show.
fn with_short_digests(text: &str) -> String {
    let is_digest = |word: &str| word.len() == 64 && word.bytes().all(|digit| digit.is_ascii_hexdigit());
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    let shorten = |word: &str| {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        if is_digest(bare) { format!("{}{}", &bare[..8], &word[bare.len()..]) } else { word.to_owned() }
    };
    words.map(shorten).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::Digest;

    #[test]
    fn digests_in_the_trail_are_as_short_as_elsewhere() {
        let detail = format!("version 2 digest {}: caf\u{e9} {}", "ab".repeat(32), "ab".repeat(31));
        assert_eq!(
            with_short_digests(&detail),
            format!("version 2 digest abababab: caf\u{e9} {}", "ab".repeat(31))
        );
    }

    #[test]
    fn history_is_a_table_with_the_newest_first() {
        let entry = |version, comment: &str| VersionEntry {
            version,
            digest: Digest(vec![0xab; 32]),
            committed_ns: 1_769_860_800_000_000_000,
            author: "local".into(),
            comment: comment.into(),
        };
        let versions = vec![entry(10, "open 5432"), entry(9, "")];
        let expected = "\
VERSION  COMMITTED             DIGEST    AUTHOR  COMMENT
     10  2026-01-31 12:00:00Z  abababab  local   open 5432
      9  2026-01-31 12:00:00Z  abababab  local   -
";
        assert_eq!(history_text(&Versions { versions }), expected);
    }
}
