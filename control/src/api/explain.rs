//! `ExplainService`: why a packet would pass or not.

use super::fault::invalid;
use crate::distributor::Role;
use crate::explain::{Explanation, Question, RuleReason, explain};
use crate::keeper::Keeper;
use meshgate_policy::{L4Key, Name, PolicyVersion, Protocol, ProtocolMatch};
use meshgate_proto::{protocol_from_wire, wire};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// What an answer does not cover.
const NOTES: [&str; 4] = [
    "stages 1 to 4 (form, binding, fragments, known flows) are not judged: a reply of an allowed flow passes",
    "every host on the way judges by the version it enforces; both ends must allow",
    "the source port is not matched by any rule",
    "address translation, routing and tunnels between the two are not seen",
];

/// The service.
#[derive(Debug)]
pub struct ExplainApi {
    keeper: Arc<Keeper>,
}

impl ExplainApi {
    /// Returns the service of a keeper.
    pub fn new(keeper: Arc<Keeper>) -> Self {
        Self { keeper }
    }

    /// Returns the connected hosts that enforce the version, and those that do not.
    fn hosts(&self, kept: &crate::keeper::Kept) -> (Vec<String>, Vec<String>) {
        let hosts = self.keeper.distributor().hosts().into_iter();
        let hosts = hosts.filter(|line| line.connected && line.kept.role == Role::Dataplane.word());
        let (enforcing, behind): (Vec<_>, Vec<_>) = hosts
            .partition(|line| (line.kept.version, line.kept.digest) == (kept.book.version(), kept.digest));
        let names = |lines: Vec<crate::distributor::HostLine>| {
            lines.into_iter().map(|line| line.kept.host.to_string()).collect()
        };
        (names(enforcing), names(behind))
    }
}

#[tonic::async_trait]
impl wire::explain_service_server::ExplainService for ExplainApi {
    async fn explain(
        &self,
        request: Request<wire::ExplainRequest>,
    ) -> Result<Response<wire::ExplainResponse>, Status> {
        let (question, version) = question(request.into_inner())?;
        let kept = self.keeper.version(version).await?;
        let asked = Arc::clone(&kept);
        let answer = tokio::task::spawn_blocking(move || explain(asked.book.policy(), &question)).await;
        let answer = answer.map_err(|_| Status::unavailable("control is stopping"))??;
        let (hosts_enforcing, hosts_behind) = self.hosts(&kept);
        let response = response(answer, kept.digest.0.to_vec());
        Ok(Response::new(wire::ExplainResponse { hosts_enforcing, hosts_behind, ..response }))
    }
}

fn question(message: wire::ExplainRequest) -> Result<(Question, Option<PolicyVersion>), Status> {
    let wire::ExplainRequest {
        segment,
        source,
        destination,
        protocol,
        source_port,
        destination_port,
        icmp_type,
        icmp_code,
        version,
    } = message;
    let segment = if segment.is_empty() { "default" } else { &segment };
    let segment = Name::new(segment).map_err(|error| invalid("segment", error))?;
    let protocol = match protocol_from_wire(&protocol).map_err(|error| invalid("protocol", error))? {
        ProtocolMatch::Is(protocol) => protocol,
        ProtocolMatch::Any => return Err(invalid("protocol", "one protocol is wanted, like TCP or 47")),
    };
    let ports = (source_port, destination_port);
    let l4 = l4_key(protocol, ports, (icmp_type, icmp_code))?;
    Ok((Question { segment, source, destination, l4 }, version.map(PolicyVersion)))
}

fn l4_key(
    protocol: Protocol,
    (source_port, destination_port): (u32, u32),
    (icmp_type, icmp_code): (Option<u32>, Option<u32>),
) -> Result<L4Key, Status> {
    let port = |field, number: u32| {
        u16::try_from(number).map_err(|_| invalid(field, format!("{number} is above {}", u16::MAX)))
    };
    let byte = |field, number: Option<u32>| {
        let number = number.unwrap_or(0);
        u8::try_from(number).map_err(|_| invalid(field, format!("{number} is above {}", u8::MAX)))
    };
    if !protocol.has_ports() && (source_port, destination_port) != (0, 0) {
        return Err(invalid(
            "destination_port",
            format!("{protocol} has no ports; only TCP, UDP and SCTP do"),
        ));
    }
    if !protocol.is_icmp() && icmp_type.or(icmp_code).is_some() {
        return Err(invalid("icmp_type", format!("{protocol} has no ICMP type; only ICMP and ICMPv6 do")));
    }
    if protocol.is_icmp() {
        return Ok(L4Key::icmp(protocol, byte("icmp_type", icmp_type)?, byte("icmp_code", icmp_code)?));
    }
    let (source, destination) =
        (port("source_port", source_port)?, port("destination_port", destination_port)?);
    Ok(L4Key::ports(protocol, source, destination))
}

fn response(answer: Explanation, digest: Vec<u8>) -> wire::ExplainResponse {
    let Explanation {
        key,
        decision,
        reason,
        source_endpoint,
        destination_endpoint,
        source_groups,
        destination_groups,
        rules,
        rules_left_out,
        shadow,
    } = answer;
    let name = |endpoint: Option<Name>| endpoint.map(String::from).unwrap_or_default();
    wire::ExplainResponse {
        version: decision.version.0,
        digest,
        stage: decision.stage.to_string(),
        action: decision.action.to_string(),
        rule: decision.rule.map_or(0, |id| id.0),
        reason,
        source: key.source.to_string(),
        destination: key.destination.to_string(),
        source_endpoint: name(source_endpoint),
        destination_endpoint: name(destination_endpoint),
        source_group_names: source_groups,
        destination_group_names: destination_groups,
        rules: rules.into_iter().map(rule_explanation).collect(),
        rules_left_out: u32::try_from(rules_left_out).unwrap_or(u32::MAX),
        shadow,
        hosts_enforcing: Vec::new(),
        hosts_behind: Vec::new(),
        notes: NOTES.map(str::to_owned).to_vec(),
    }
}

fn rule_explanation(reason: RuleReason) -> wire::RuleExplanation {
    let RuleReason { rule, summary, matches, decides, reason } = reason;
    wire::RuleExplanation { rule, summary, matches, decides, reason }
}
