//! The services: the only place that knows messages. Each takes a message apart, asks the inside, puts an answer
//! together; nothing is decided here.

mod automatic;
mod caller;
mod change;
mod cost;
mod decisions;
mod diagnostics;
mod diagnostics_message;
mod distribution;
mod explain;
mod fault;
mod flow;
mod learner;
mod policy;
mod report;
mod suggestion;

pub use automatic::AutomaticApi;
pub use cost::CostApi;
pub use diagnostics::DiagnosticsApi;
pub use distribution::DistributionApi;
pub use explain::ExplainApi;
pub use flow::FlowApi;
pub use policy::PolicyApi;
pub use suggestion::SuggestionApi;

use crate::keeper::Keeper;
use meshgate_proto::MESSAGE_BYTES_MAX;
use meshgate_proto::wire::automatic_service_server::AutomaticServiceServer;
use meshgate_proto::wire::cost_service_server::CostServiceServer;
use meshgate_proto::wire::diagnostics_service_server::DiagnosticsServiceServer;
use meshgate_proto::wire::distribution_service_server::DistributionServiceServer;
use meshgate_proto::wire::explain_service_server::ExplainServiceServer;
use meshgate_proto::wire::flow_service_server::FlowServiceServer;
use meshgate_proto::wire::policy_service_server::PolicyServiceServer;
use meshgate_proto::wire::suggestion_service_server::SuggestionServiceServer;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::service::Routes;

/// Bytes of the largest message of a host: a report about every rule a policy can have.
const HOST_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of the largest delivery of roll-ups: as many sums as are taken in one call.
const INGEST_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of the largest table of prices: as many as one may have, with the longest names.
const COSTS_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the largest question to `ExplainService` and `AutomaticService`.
const QUESTION_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the largest call of a learner: as many drafts as one call takes, each with all the evidence it may have.
const SUBMIT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of the largest part of a host's answer: a batch of captured packets, or all rules and flows of a live view.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Returns all services of the package, health and reflection. `stopping` turns true when the program is to end.
pub async fn routes(
    keeper: &Arc<Keeper>,
    stopping: &watch::Receiver<bool>,
) -> Result<Routes, tonic_reflection::server::Error> {
    let policy = PolicyServiceServer::new(PolicyApi::new(Arc::clone(keeper)))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let distribution =
        DistributionServiceServer::new(DistributionApi::new(Arc::clone(keeper), stopping.clone()))
            .max_decoding_message_size(HOST_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let flow = FlowServiceServer::new(FlowApi::new(Arc::clone(keeper)))
        .max_decoding_message_size(INGEST_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let cost = CostServiceServer::new(CostApi::new(Arc::clone(keeper)))
        .max_decoding_message_size(COSTS_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let explain = ExplainServiceServer::new(ExplainApi::new(Arc::clone(keeper)))
        .max_decoding_message_size(QUESTION_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let suggestion = SuggestionServiceServer::new(SuggestionApi::new(Arc::clone(keeper), stopping.clone()))
        .max_decoding_message_size(SUBMIT_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let diagnostics =
        DiagnosticsServiceServer::new(DiagnosticsApi::new(Arc::clone(keeper), stopping.clone()))
            .max_decoding_message_size(ANSWER_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let automatic = AutomaticServiceServer::new(AutomaticApi::new(Arc::clone(keeper)))
        .max_decoding_message_size(QUESTION_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<PolicyServiceServer<PolicyApi>>().await;
    health.set_serving::<DistributionServiceServer<DistributionApi>>().await;
    health.set_serving::<FlowServiceServer<FlowApi>>().await;
    health.set_serving::<CostServiceServer<CostApi>>().await;
    health.set_serving::<ExplainServiceServer<ExplainApi>>().await;
    health.set_serving::<SuggestionServiceServer<SuggestionApi>>().await;
    health.set_serving::<DiagnosticsServiceServer<DiagnosticsApi>>().await;
    health.set_serving::<AutomaticServiceServer<AutomaticApi>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(meshgate_proto::wire::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    Ok(Routes::new(policy)
        .add_service(distribution)
        .add_service(flow)
        .add_service(cost)
        .add_service(explain)
        .add_service(suggestion)
        .add_service(diagnostics)
        .add_service(automatic)
        .add_service(health_service)
        .add_service(reflection))
}
