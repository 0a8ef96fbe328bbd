//! `PolicyService`: write, plan, read, history, rollback, audit.

use super::caller::caller;
use super::change::changes;
use crate::audit::Entry;
use crate::keeper::{Committed, Keeper, Kept, Write};
use crate::policy_book::{Difference, DifferenceKind};
use crate::store::VersionLine;
use meshgate_policy::{GroupId, PolicyVersion};
use meshgate_proto::wire;
use std::collections::HashMap;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Lines of a list where nothing was said, and at most.
const LINES_DEFAULT: u32 = 50;
const LINES_MAX: u32 = 1_000;

/// The service.
#[derive(Debug)]
pub struct PolicyApi {
    keeper: Arc<Keeper>,
}

impl PolicyApi {
    /// Returns the service of a keeper.
    pub fn new(keeper: Arc<Keeper>) -> Self {
        Self { keeper }
    }
}

#[tonic::async_trait]
impl wire::policy_service_server::PolicyService for PolicyApi {
    async fn commit(
        &self,
        request: Request<wire::CommitRequest>,
    ) -> Result<Response<wire::CommitResponse>, Status> {
        let author = caller(&request)?;
        let wire::CommitRequest { expected_version, changes: messages, comment } = request.into_inner();
        let changes = changes(messages)?;
        let expected_version = expected_version.map(PolicyVersion);
        let write = Write { changes, expected_version, author, comment };
        Ok(Response::new(committed(self.keeper.commit(write).await?)))
    }

    async fn plan(
        &self,
        request: Request<wire::PlanRequest>,
    ) -> Result<Response<wire::PlanResponse>, Status> {
        let wire::PlanRequest { expected_version, changes: messages } = request.into_inner();
        let plan = self.keeper.plan(changes(messages)?, expected_version.map(PolicyVersion)).await?;
        Ok(Response::new(wire::PlanResponse {
            base_version: plan.base.0,
            changes: plan.differences.into_iter().map(planned_change).collect(),
            warnings: plan.warnings,
        }))
    }

    async fn get_policy(
        &self,
        request: Request<wire::GetPolicyRequest>,
    ) -> Result<Response<wire::GetPolicyResponse>, Status> {
        let wire::GetPolicyRequest { version } = request.into_inner();
        let kept = self.keeper.version(version.map(PolicyVersion)).await?;
        Ok(Response::new(policy_response(&kept)))
    }

    async fn list_versions(
        &self,
        request: Request<wire::ListVersionsRequest>,
    ) -> Result<Response<wire::ListVersionsResponse>, Status> {
        let wire::ListVersionsRequest { limit, before_version } = request.into_inner();
        let before = PolicyVersion(from_newest(before_version));
        let lines = self.keeper.store().versions(before, lines(limit)).await?;
        Ok(Response::new(wire::ListVersionsResponse {
            versions: lines.into_iter().map(version_entry).collect(),
        }))
    }

    async fn rollback(
        &self,
        request: Request<wire::RollbackRequest>,
    ) -> Result<Response<wire::CommitResponse>, Status> {
        let author = caller(&request)?;
        let wire::RollbackRequest { to_version, expected_version, comment } = request.into_inner();
        let expected_version = expected_version.map(PolicyVersion);
        let write = Write { changes: Vec::new(), expected_version, author, comment };
        Ok(Response::new(committed(self.keeper.rollback(PolicyVersion(to_version), write).await?)))
    }

    async fn list_audit(
        &self,
        request: Request<wire::ListAuditRequest>,
    ) -> Result<Response<wire::ListAuditResponse>, Status> {
        let wire::ListAuditRequest { limit, before_sequence } = request.into_inner();
        let entries = self.keeper.store().audit(from_newest(before_sequence), lines(limit)).await?;
        Ok(Response::new(wire::ListAuditResponse { entries: entries.into_iter().map(audit_entry).collect() }))
    }
}

fn lines(limit: u32) -> u32 {
    if limit == 0 { LINES_DEFAULT } else { limit.min(LINES_MAX) }
}

fn from_newest(before: u64) -> u64 {
    if before == 0 { u64::MAX } else { before }
}

fn committed(committed: Committed) -> wire::CommitResponse {
    let Committed { kept, changed, created_ids } = committed;
    wire::CommitResponse {
        version: kept.book.version().0,
        digest: kept.digest.0.to_vec(),
        changed,
        created_ids: created_ids.into_iter().map(|id| id.0).collect(),
        committed_ns: kept.committed_ns,
    }
}

fn planned_change(difference: Difference) -> wire::PlannedChange {
    let Difference { kind, object, name, detail } = difference;
    let kind = match kind {
        DifferenceKind::Add => wire::planned_change::Kind::Add,
        DifferenceKind::Remove => wire::planned_change::Kind::Remove,
        DifferenceKind::Change => wire::planned_change::Kind::Change,
    };
    wire::PlannedChange { kind: kind.into(), object: object.to_owned(), name, detail }
}

fn policy_response(kept: &Kept) -> wire::GetPolicyResponse {
    let policy = kept.book.policy();
    let built_in = [GroupId::ANY, GroupId::EXTERNAL, GroupId::MULTICAST];
    let group_ids: HashMap<String, u32> = built_in
        .into_iter()
        .filter_map(|id| Some((id.built_in_name()?.to_owned(), id.0)))
        .chain(policy.groups.iter().map(|group| (group.name.to_string(), group.id.0)))
        .collect();
    wire::GetPolicyResponse {
        version: policy.version.0,
        digest: kept.digest.0.to_vec(),
        policy: Some(kept.book.authored().into()),
        group_ids,
        endpoint_ids: policy.endpoints.iter().map(|e| (e.name.to_string(), e.id.0)).collect(),
    }
}

fn version_entry(line: VersionLine) -> wire::VersionEntry {
    let VersionLine { version, digest, committed_ns, author, comment } = line;
    wire::VersionEntry { version: version.0, digest: digest.0.to_vec(), committed_ns, author, comment }
}

fn audit_entry(entry: Entry) -> wire::AuditEntry {
    let Entry { sequence, time_ns, actor, event, detail, hash } = entry;
    wire::AuditEntry { sequence, time_ns, actor, event, detail, hash: hash.0.to_vec() }
}
