//! Hosts that are or were subscribed, so that a restart does not forget who enforces what.

use super::{Store, StoreError, TENANT, failed, number, parsed, stored, text};
use meshgate_policy::{Digest, Name, PolicyVersion};

/// What is kept of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHost {
    /// Its name.
    pub host: Name,
    /// `dataplane` or `observer`.
    pub role: String,
    /// Its newest process start.
    pub epoch: u64,
    /// The version it enforces.
    pub version: PolicyVersion,
    /// The digest of that version.
    pub digest: Digest,
    /// The version it refused last, if it has not accepted one since; else 0.
    pub nack_version: PolicyVersion,
    /// Why it refused.
    pub nack_reason: String,
    /// When it was last heard of, nanoseconds since 1970.
    pub last_seen_ns: u64,
    /// Nanoseconds from commit to ACK of the version it enforces; 0 if it was not connected at the commit.
    pub commit_to_ack_ns: u64,
}

const UPSERT: &str = "INSERT INTO hosts (tenant, host, role, epoch, version, digest, nack_version, nack_reason, \
    last_seen_ns, commit_to_ack_ns) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
    ON CONFLICT (tenant, host) DO UPDATE SET role = excluded.role, epoch = excluded.epoch, \
    version = excluded.version, digest = excluded.digest, nack_version = excluded.nack_version, \
    nack_reason = excluded.nack_reason, last_seen_ns = excluded.last_seen_ns, \
    commit_to_ack_ns = excluded.commit_to_ack_ns";

impl Store {
    /// Keeps what changed of some hosts, all or none.
    pub async fn keep_hosts(&self, hosts: &[StoredHost]) -> Result<(), StoreError> {
        let doing = "keeping hosts";
        let mut transaction = self.writes.begin().await.map_err(failed(doing))?;
        for entry in hosts {
            let StoredHost { host, role, epoch, version, digest, nack_version, .. } = entry;
            sqlx::query(UPSERT)
                .bind(TENANT)
                .bind(host.as_str())
                .bind(role.as_str())
                .bind(stored("epoch", *epoch)?)
                .bind(stored("version", version.0)?)
                .bind(digest.to_string())
                .bind(stored("nack_version", nack_version.0)?)
                .bind(entry.nack_reason.as_str())
                .bind(stored("last_seen_ns", entry.last_seen_ns)?)
                .bind(stored("commit_to_ack_ns", entry.commit_to_ack_ns)?)
                .execute(&mut *transaction)
                .await
                .map_err(failed(doing))?;
        }
        transaction.commit().await.map_err(failed(doing))
    }

    /// Forgets hosts.
    pub async fn forget_hosts(&self, hosts: &[Name]) -> Result<(), StoreError> {
        for host in hosts {
            sqlx::query("DELETE FROM hosts WHERE tenant = $1 AND host = $2")
                .bind(TENANT)
                .bind(host.as_str())
                .execute(&self.writes)
                .await
                .map_err(failed("forgetting a host"))?;
        }
        Ok(())
    }

    /// Returns all hosts.
    pub async fn hosts(&self) -> Result<Vec<StoredHost>, StoreError> {
        let select = "SELECT host, role, epoch, version, digest, nack_version, nack_reason, last_seen_ns, \
            commit_to_ack_ns FROM hosts WHERE tenant = $1 ORDER BY host";
        let rows = sqlx::query(select).bind(TENANT).fetch_all(&self.reads).await;
        let rows = rows.map_err(failed("reading hosts"))?;
        let host = |row| {
            Ok(StoredHost {
                host: parsed(row, "host")?,
                role: text(row, "role")?,
                epoch: number(row, "epoch")?,
                version: PolicyVersion(number(row, "version")?),
                digest: parsed(row, "digest")?,
                nack_version: PolicyVersion(number(row, "nack_version")?),
                nack_reason: text(row, "nack_reason")?,
                last_seen_ns: number(row, "last_seen_ns")?,
                commit_to_ack_ns: number(row, "commit_to_ack_ns")?,
            })
        };
        rows.iter().map(host).collect()
    }
}
