//! Calls to the control plane. Wire types stay in this folder.

mod automatic;
mod change;
mod costs;
mod diagnostics;
mod error;
mod reading;
mod suggestions;

use crate::answers::{AuditEntry, Committed, Explanation, FlowSums, Hosts, Plan, Snapshot, VersionEntry};
use crate::edits::{Edit, Transaction};
use crate::server::Server;
use meshgate_policy::ProtocolMatch;
use meshgate_proto::MESSAGE_BYTES_MAX;
use meshgate_proto::wire::{
    self, distribution_service_client::DistributionServiceClient,
    explain_service_client::ExplainServiceClient, flow_service_client::FlowServiceClient,
    policy_service_client::PolicyServiceClient,
};
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

pub use diagnostics::CaptureOrder;
pub use error::CallError;
pub use suggestions::Form;

/// Metadata by which a caller names the person behind it.
const USER_KEY: &str = "x-meshgate-user";

/// A connection to the control plane.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    server: Server,
    user: Option<MetadataValue<Ascii>>,
}

/// What `explain` is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Segment; empty = `default`.
    pub segment: String,
    /// An address or the name of an endpoint.
    pub source: String,
    /// An address or the name of an endpoint.
    pub destination: String,
    /// Protocol.
    pub protocol: ProtocolMatch,
    /// Source port; 0 = none.
    pub source_port: u16,
    /// Destination port; 0 = none.
    pub destination_port: u16,
    /// ICMP type.
    pub icmp_type: Option<u8>,
    /// ICMP code.
    pub icmp_code: Option<u8>,
    /// Version; absent = newest.
    pub version: Option<u64>,
}

/// Which flows are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowFilter {
    /// Start of the span, seconds since 1970; 0 = open.
    pub from_s: u64,
    /// Name of the source group; empty = any.
    pub source_group_name: String,
    /// Name of the destination group; empty = any.
    pub destination_group_name: String,
    /// "allow", "deny", "reject"; empty = any.
    pub action: String,
    /// Protocol; empty = any.
    pub protocol: String,
    /// Destination port or ICMP type; 0 = any.
    pub service_port: u16,
    /// At most this many.
    pub limit: u32,
}

impl Client {
    /// Connects on behalf of `user`; both this and every later call end after `timeout`. A name that no header can carry
    /// is left out: it is a claim, and the control plane knows the peer anyway.
    pub async fn connect(server: &Server, timeout: Duration, user: &str) -> Result<Self, CallError> {
        let unreachable = |error: tonic::transport::Error| CallError::unreachable(server, &error);
        let endpoint = Endpoint::from_shared(server.to_string())
            .map_err(unreachable)?
            .connect_timeout(timeout)
            .timeout(timeout);
        let connecting = tokio::time::timeout(timeout, endpoint.connect());
        let channel = connecting.await.map_err(|_| CallError::Timeout(server.clone()))?;
        let user = user.parse().ok().filter(|_| !user.is_empty());
        Ok(Self { channel: channel.map_err(unreachable)?, server: server.clone(), user })
    }

    /// Returns the message with the name of the person who asks.
    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(user) = &self.user {
            request.metadata_mut().insert(USER_KEY, user.clone());
        }
        request
    }

    /// Returns the authored policy of the newest version, or of the named one.
    pub async fn policy(&self, version: Option<u64>) -> Result<Snapshot, CallError> {
        let answer = self.policies().get_policy(self.request(wire::GetPolicyRequest { version })).await;
        reading::snapshot(self.answer(answer)?)
    }

    /// Commits a transaction.
    pub async fn commit(&self, transaction: &Transaction) -> Result<Committed, CallError> {
        let Transaction { expected_version, edits, comment } = transaction;
        let request = wire::CommitRequest {
            expected_version: *expected_version,
            changes: changes(edits),
            comment: comment.clone(),
        };
        let answer = self.policies().commit(self.request(request)).await;
        Ok(reading::committed(self.answer(answer)?))
    }

    /// Returns what the edits would do.
    pub async fn plan(&self, edits: &[Edit]) -> Result<Plan, CallError> {
        let request = wire::PlanRequest { expected_version: None, changes: changes(edits) };
        let answer = self.policies().plan(self.request(request)).await;
        Ok(reading::plan(self.answer(answer)?))
    }

    /// Makes the content of an old version the next version.
    pub async fn rollback(&self, to_version: u64, comment: &str) -> Result<Committed, CallError> {
        let request =
            wire::RollbackRequest { to_version, expected_version: None, comment: comment.to_owned() };
        let answer = self.policies().rollback(self.request(request)).await;
        Ok(reading::committed(self.answer(answer)?))
    }

    /// Lists versions, newest first, below `before` unless that is 0.
    pub async fn versions(&self, limit: u32, before: u64) -> Result<Vec<VersionEntry>, CallError> {
        let request = wire::ListVersionsRequest { limit, before_version: before };
        let answer = self.policies().list_versions(self.request(request)).await;
        Ok(reading::versions(self.answer(answer)?))
    }

    /// Lists entries of the audit trail, newest first, below `before` unless that is 0.
    pub async fn audit(&self, limit: u32, before: u64) -> Result<Vec<AuditEntry>, CallError> {
        let request = wire::ListAuditRequest { limit, before_sequence: before };
        let answer = self.policies().list_audit(self.request(request)).await;
        Ok(reading::audit(self.answer(answer)?))
    }

    /// Lists the hosts by name.
    pub async fn hosts(&self) -> Result<Hosts, CallError> {
        let mut service =
            DistributionServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let answer = service.list_hosts(self.request(wire::ListHostsRequest {})).await;
        Ok(reading::hosts(self.answer(answer)?))
    }

    /// Asks why a packet would pass or not.
    pub async fn explain(&self, question: Question) -> Result<Explanation, CallError> {
        let Question {
            segment,
            source,
            destination,
            protocol,
            source_port,
            destination_port,
            icmp_type,
            icmp_code,
            version,
        } = question;
        let request = wire::ExplainRequest {
            segment,
            source,
            destination,
            protocol: protocol.to_string(),
            source_port: source_port.into(),
            destination_port: destination_port.into(),
            icmp_type: icmp_type.map(Into::into),
            icmp_code: icmp_code.map(Into::into),
            version,
        };
        let answer = ExplainServiceClient::new(self.channel.clone()).explain(self.request(request)).await;
        Ok(reading::explanation(self.answer(answer)?))
    }

    /// Sums flows.
    pub async fn flows(&self, filter: FlowFilter) -> Result<FlowSums, CallError> {
        let FlowFilter {
            from_s,
            source_group_name,
            destination_group_name,
            action,
            protocol,
            service_port,
            limit,
        } = filter;
        let request = wire::QueryFlowsRequest {
            from_s,
            until_s: 0,
            source_group_name,
            destination_group_name,
            action,
            protocol,
            service_port: service_port.into(),
            limit,
        };
        let mut service =
            FlowServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let answer = service.query_flows(self.request(request)).await;
        Ok(reading::flow_sums(self.answer(answer)?))
    }

    fn policies(&self) -> PolicyServiceClient<Channel> {
        PolicyServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Returns the message of an answer, or the refusal in words.
    fn answer<T>(&self, answer: Result<tonic::Response<T>, tonic::Status>) -> Result<T, CallError> {
        answer.map(tonic::Response::into_inner).map_err(|status| CallError::refused(&self.server, &status))
    }
}

fn changes(edits: &[Edit]) -> Vec<wire::Change> {
    edits.iter().map(change::change).collect()
}
