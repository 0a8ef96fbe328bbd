//! Answers of the wire, taken apart completely and turned into this program's own types.

use crate::answers::{
    AuditEntry, ChangeKind, Committed, DeviceReport, Digest, Explanation, FlowSum, FlowSums, Host,
    HostReport, Hosts, Plan, PlannedChange, RecordCounts, RuleCounter, RuleExplanation, Snapshot,
    VersionEntry,
};
use crate::client::CallError;
use meshgate_policy::Stage;
use meshgate_proto::wire;

/// Reads a policy.
pub fn snapshot(message: wire::GetPolicyResponse) -> Result<Snapshot, CallError> {
    let wire::GetPolicyResponse { version, digest: _, policy, group_ids, endpoint_ids } = message;
    let policy = policy.ok_or(CallError::Missing("policy"))?.try_into().map_err(CallError::Answer)?;
    let (group_ids, endpoint_ids) = (group_ids.into_iter().collect(), endpoint_ids.into_iter().collect());
    Ok(Snapshot { version, policy, group_ids, endpoint_ids })
}

/// Reads the result of a write.
pub fn committed(message: wire::CommitResponse) -> Committed {
    let wire::CommitResponse { version, digest, changed, created_ids, committed_ns } = message;
    Committed { version, digest: Digest(digest), changed, created_ids, committed_ns }
}

/// Reads a plan.
pub fn plan(message: wire::PlanResponse) -> Plan {
    let wire::PlanResponse { base_version, changes, warnings } = message;
    Plan { base_version, changes: changes.into_iter().map(planned_change).collect(), warnings }
}

fn planned_change(message: wire::PlannedChange) -> PlannedChange {
    use wire::planned_change::Kind;
    let wire::PlannedChange { kind, object, name, detail } = message;
    let kind = match Kind::try_from(kind) {
        Ok(Kind::Add) => ChangeKind::Add,
        Ok(Kind::Remove) => ChangeKind::Remove,
        Ok(Kind::Change | Kind::Unspecified) | Err(_) => ChangeKind::Change,
    };
    PlannedChange { kind, object, name, detail }
}

/// Reads a list of versions.
pub fn versions(message: wire::ListVersionsResponse) -> Vec<VersionEntry> {
    let wire::ListVersionsResponse { versions } = message;
    let entry = |entry| {
        let wire::VersionEntry { version, digest, committed_ns, author, comment } = entry;
        VersionEntry { version, digest: Digest(digest), committed_ns, author, comment }
    };
    versions.into_iter().map(entry).collect()
}

/// Reads entries of the audit trail.
pub fn audit(message: wire::ListAuditResponse) -> Vec<AuditEntry> {
    let wire::ListAuditResponse { entries } = message;
    let entry = |entry| {
        let wire::AuditEntry { sequence, time_ns, actor, event, detail, hash } = entry;
        AuditEntry { sequence, time_ns, actor, event, detail, hash: Digest(hash) }
    };
    entries.into_iter().map(entry).collect()
}

/// Reads the hosts, sorted by name.
pub fn hosts(message: wire::ListHostsResponse) -> Hosts {
    let wire::ListHostsResponse { version, digest, hosts } = message;
    let mut hosts: Vec<Host> = hosts.into_iter().map(host).collect();
    hosts.sort_by(|a, b| a.host.cmp(&b.host));
    Hosts { version, digest: Digest(digest), hosts }
}

fn host(message: wire::HostEntry) -> Host {
    let wire::HostEntry {
        host,
        role,
        connected,
        version,
        digest,
        nack_reason,
        nack_version,
        last_seen_ns,
        commit_to_ack_ns,
        report,
    } = message;
    Host {
        host,
        role,
        connected,
        version,
        digest: Digest(digest),
        nack_reason,
        nack_version,
        last_seen_ns,
        commit_to_ack_ns,
        report: report.map(host_report),
    }
}

fn host_report(message: wire::HostReport) -> HostReport {
    let wire::HostReport {
        version,
        digest: _,
        counters,
        devices,
        rules,
        flows_live,
        records_produced: produced,
        records_delivered: delivered,
        records_waiting: waiting,
        records_sampled_out: sampled_out,
        records_lost: lost,
        uptime_ns,
        // Shown with the endpoints, once control has taken them over.
        leases: _,
    } = message;
    let mut devices: Vec<DeviceReport> = devices.into_iter().map(device_report).collect();
    devices.sort_by(|a, b| a.name.cmp(&b.name));
    let mut rules: Vec<RuleCounter> = rules.into_iter().map(rule_counter).collect();
    rules.sort_by_key(|counter| counter.rule);
    HostReport {
        version,
        counters: counters.into_iter().map(|wire::Counter { name, value }| (name, value)).collect(),
        devices,
        rules,
        flows_live,
        records: RecordCounts { produced, delivered, waiting, sampled_out, lost },
        uptime_ns,
    }
}

fn device_report(message: wire::DeviceReport) -> DeviceReport {
    let wire::DeviceReport {
        name,
        role,
        mode,
        up,
        received_packets,
        received_bytes,
        sent_packets,
        sent_bytes,
        dropped_packets,
    } = message;
    DeviceReport {
        name,
        role,
        mode,
        up,
        received_packets,
        received_bytes,
        sent_packets,
        sent_bytes,
        dropped_packets,
    }
}

fn rule_counter(message: wire::RuleCounter) -> RuleCounter {
    let wire::RuleCounter { rule, flows, packets, bytes } = message;
    RuleCounter { rule, flows, packets, bytes }
}

/// Reads an explanation.
pub fn explanation(message: wire::ExplainResponse) -> Explanation {
    let wire::ExplainResponse {
        version,
        digest,
        stage,
        action,
        rule,
        reason,
        source,
        destination,
        source_endpoint,
        destination_endpoint,
        source_group_names,
        destination_group_names,
        rules,
        rules_left_out,
        shadow,
        hosts_enforcing,
        hosts_behind,
        notes,
    } = message;
    Explanation {
        version,
        digest: Digest(digest),
        stage,
        action,
        rule,
        reason,
        source,
        destination,
        source_endpoint,
        destination_endpoint,
        source_group_names,
        destination_group_names,
        rules: rules.into_iter().map(rule_explanation).collect(),
        rules_left_out,
        shadow,
        hosts_enforcing,
        hosts_behind,
        notes,
    }
}

fn rule_explanation(message: wire::RuleExplanation) -> RuleExplanation {
    let wire::RuleExplanation { rule, summary, matches, decides, reason } = message;
    RuleExplanation { rule, summary, matches, decides, reason }
}

/// Reads sums of flows, in the order of the answer.
pub fn flow_sums(message: wire::QueryFlowsResponse) -> FlowSums {
    let wire::QueryFlowsResponse { sums, left_out, records_lost } = message;
    FlowSums { sums: sums.into_iter().map(flow_sum).collect(), left_out, records_lost }
}

fn flow_sum(message: wire::NamedFlowSum) -> FlowSum {
    let wire::NamedFlowSum { sum, source_group_names, destination_group_names } = message;
    let wire::FlowSum {
        tenant: _,
        segment: _,
        source_groups: _,
        destination_groups: _,
        protocol,
        service_port,
        action,
        stage,
        rule,
        shadow_rule,
        flows,
        packets_forward,
        bytes_forward,
        packets_reverse,
        bytes_reverse,
        first_ns,
        last_ns,
    } = sum.unwrap_or_default();
    FlowSum {
        source_group_names,
        destination_group_names,
        protocol,
        service_port,
        action: action_word(action),
        stage: stage_word(stage),
        rule,
        shadow_rule,
        flows,
        packets_forward,
        bytes_forward,
        packets_reverse,
        bytes_reverse,
        first_ns,
        last_ns,
    }
}

fn action_word(number: u32) -> String {
    let action = i32::try_from(number).ok().and_then(|n| meshgate_proto::action_from_wire(n).ok());
    action.map_or_else(|| format!("action {number}"), |action| action.to_string())
}

fn stage_word(number: u32) -> String {
    let stage = u8::try_from(number).ok().and_then(Stage::from_number);
    stage.map_or_else(|| format!("stage {number}"), |stage| stage.to_string())
}
