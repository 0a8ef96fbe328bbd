//! Versions of the policy. A version and its audit entry are one transaction.

use super::trail::append;
use super::{Store, StoreError, TENANT, failed, number, parsed, stored, text};
use crate::audit::{Draft, Head};
use crate::policy_book::PolicyBook;
use meshgate_policy::{AuthoredPolicy, Digest, Numbering, PolicyVersion};
use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};

/// A version to be kept.
#[derive(Clone, Copy, Debug)]
pub struct NewVersion<'a> {
    /// What is written and its numbers.
    pub book: &'a PolicyBook,
    /// Digest of what hosts get.
    pub digest: Digest,
    /// Who wrote it.
    pub author: &'a str,
    /// What the author says.
    pub comment: &'a str,
    /// When, nanoseconds since 1970.
    pub committed_ns: u64,
}

/// A line of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionLine {
    /// Version.
    pub version: PolicyVersion,
    /// Digest of what hosts get.
    pub digest: Digest,
    /// When, nanoseconds since 1970.
    pub committed_ns: u64,
    /// Who wrote it.
    pub author: String,
    /// What the author says.
    pub comment: String,
}

/// A version that was kept.
#[derive(Clone, Debug)]
pub struct StoredVersion {
    /// Its line of the history.
    pub line: VersionLine,
    /// What was written and its numbers.
    pub book: PolicyBook,
}

const NEWEST: &str = "SELECT version, digest, author, comment, committed_ns, authored, numbering FROM versions \
    WHERE tenant = $1 ORDER BY version DESC LIMIT 1";
const ONE: &str = "SELECT version, digest, author, comment, committed_ns, authored, numbering FROM versions \
    WHERE tenant = $1 AND version = $2";
const LINES: &str = "SELECT version, digest, author, comment, committed_ns FROM versions \
    WHERE tenant = $1 AND version < $2 ORDER BY version DESC LIMIT $3";

impl Store {
    /// Keeps a version and its audit entry, both or none, on disk when it returns.
    pub async fn commit(&self, new: NewVersion<'_>, head: Head, audit: Draft) -> Result<Head, StoreError> {
        let doing = "keeping the version";
        let mut transaction = self.writes.begin().await.map_err(failed(doing))?;
        insert_version(&mut transaction, new).await?;
        let head = append(&mut transaction, head, audit).await?;
        transaction.commit().await.map_err(failed(doing))?;
        Ok(head)
    }

    /// Returns the newest version, or none before the first commit.
    pub async fn newest(&self) -> Result<Option<StoredVersion>, StoreError> {
        let row = sqlx::query(NEWEST).bind(TENANT).fetch_optional(&self.reads).await;
        row.map_err(failed("reading the newest version"))?.map(|row| stored_version(&row)).transpose()
    }

    /// Returns the number of the newest version; 0 before the first commit.
    pub async fn newest_number(&self) -> Result<PolicyVersion, StoreError> {
        let row = sqlx::query("SELECT version FROM versions WHERE tenant = $1 ORDER BY version DESC LIMIT 1")
            .bind(TENANT)
            .fetch_optional(&self.reads)
            .await
            .map_err(failed("reading the newest version"))?;
        Ok(PolicyVersion(row.map_or(Ok(0), |row| number(&row, "version"))?))
    }

    /// Returns one version, if it is kept.
    pub async fn version(&self, version: PolicyVersion) -> Result<Option<StoredVersion>, StoreError> {
        let Ok(wanted) = i64::try_from(version.0) else { return Ok(None) };
        let row = sqlx::query(ONE).bind(TENANT).bind(wanted).fetch_optional(&self.reads).await;
        row.map_err(failed("reading a version"))?.map(|row| stored_version(&row)).transpose()
    }

    /// Returns lines of the history below a version, newest first.
    pub async fn versions(&self, before: PolicyVersion, limit: u32) -> Result<Vec<VersionLine>, StoreError> {
        let before = i64::try_from(before.0).unwrap_or(i64::MAX);
        let rows = sqlx::query(LINES).bind(TENANT).bind(before).bind(i64::from(limit));
        let rows = rows.fetch_all(&self.reads).await.map_err(failed("reading the history"))?;
        rows.iter().map(version_line).collect()
    }

    /// Deletes all but the newest versions.
    pub(super) async fn forget_versions(&self, kept: u32) -> Result<(), StoreError> {
        let newest = i64::try_from(self.newest_number().await?.0).unwrap_or(i64::MAX);
        sqlx::query("DELETE FROM versions WHERE tenant = $1 AND version <= $2")
            .bind(TENANT)
            .bind(newest.saturating_sub(i64::from(kept)))
            .execute(&self.writes)
            .await
            .map_err(failed("deleting old versions"))?;
        Ok(())
    }
}

/// Adds a version within a transaction.
pub(super) async fn insert_version(
    transaction: &mut Transaction<'_, Any>,
    new: NewVersion<'_>,
) -> Result<(), StoreError> {
    let NewVersion { book, digest, author, comment, committed_ns } = new;
    let json = |error: serde_json::Error| StoreError::Corrupt("authored", error.to_string());
    let authored = serde_json::to_string(book.authored()).map_err(json)?;
    let numbering = serde_json::to_string(book.numbering()).map_err(json)?;
    let insert = "INSERT INTO versions (tenant, version, digest, author, comment, committed_ns, authored, \
        numbering) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let inserted = sqlx::query(insert)
        .bind(TENANT)
        .bind(stored("version", book.version().0)?)
        .bind(digest.to_string())
        .bind(author)
        .bind(comment)
        .bind(stored("committed_ns", committed_ns)?)
        .bind(authored)
        .bind(numbering)
        .execute(&mut **transaction)
        .await;
    match inserted {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Err(StoreError::Conflict),
        outcome => outcome.map(drop).map_err(failed("keeping the version")),
    }
}

fn version_line(row: &AnyRow) -> Result<VersionLine, StoreError> {
    Ok(VersionLine {
        version: PolicyVersion(number(row, "version")?),
        digest: parsed(row, "digest")?,
        committed_ns: number(row, "committed_ns")?,
        author: text(row, "author")?,
        comment: text(row, "comment")?,
    })
}

/// Returns the version of a row. One whose content has another digest than the row says was tampered with.
fn stored_version(row: &AnyRow) -> Result<StoredVersion, StoreError> {
    let line = version_line(row)?;
    let corrupt = |column| move |error: serde_json::Error| StoreError::Corrupt(column, error.to_string());
    let authored: AuthoredPolicy =
        serde_json::from_str(&text(row, "authored")?).map_err(corrupt("authored"))?;
    let numbering: Numbering =
        serde_json::from_str(&text(row, "numbering")?).map_err(corrupt("numbering"))?;
    let book = PolicyBook::restore(authored, numbering, line.version).map_err(|faults| {
        StoreError::Corrupt("authored", faults.first().map(ToString::to_string).unwrap_or_default())
    })?;
    if book.digest() != line.digest {
        let words = format!("version {} has not the digest that was kept with it", line.version);
        return Err(StoreError::Corrupt("digest", words));
    }
    Ok(StoredVersion { line, book })
}
