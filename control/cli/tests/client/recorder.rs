//! A control plane that answers with what it was given and writes down what it was asked.

use meshgate_proto::wire::{
    self,
    automatic_service_server::{AutomaticService, AutomaticServiceServer},
    distribution_service_server::{DistributionService, DistributionServiceServer},
    explain_service_server::{ExplainService, ExplainServiceServer},
    flow_service_server::{FlowService, FlowServiceServer},
    policy_service_server::{PolicyService, PolicyServiceServer},
    suggestion_service_server::{SuggestionService, SuggestionServiceServer},
};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// What was asked, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    Commit(wire::CommitRequest),
    Plan(wire::PlanRequest),
    GetPolicy(wire::GetPolicyRequest),
    ListVersions(wire::ListVersionsRequest),
    ListAudit(wire::ListAuditRequest),
    Rollback(wire::RollbackRequest),
    Explain(wire::ExplainRequest),
    Flows(wire::QueryFlowsRequest),
    ListSuggestions(wire::ListSuggestionsRequest),
    GetSuggestion(wire::GetSuggestionRequest),
    Accept(wire::AcceptSuggestionRequest),
    Reject(wire::RejectSuggestionRequest),
    Withdraw(wire::WithdrawAnswerRequest),
    ListLearners(wire::ListLearnersRequest),
    ShowAutomatic(wire::ShowAutomaticRequest),
    EnableAutomatic(wire::EnableAutomaticRequest),
    DisableAutomatic(wire::DisableAutomaticRequest),
}

/// What is answered.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    pub policy: wire::GetPolicyResponse,
    pub plan: wire::PlanResponse,
    pub hosts: wire::ListHostsResponse,
    pub suggestion: wire::Suggestion,
    pub learners: wire::ListLearnersResponse,
    pub automatic: wire::AutomaticLine,
    /// Refusal of every write, if any.
    pub refusal: Option<(tonic::Code, &'static str)>,
}

#[derive(Clone)]
struct Recorder {
    asked: Arc<Mutex<Vec<Asked>>>,
    answers: Arc<Answers>,
}

/// A recorder that listens on a Unix socket of its own until it is dropped.
pub struct Served {
    directory: PathBuf,
    asked: Arc<Mutex<Vec<Asked>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Served {
    /// Starts a recorder with these answers.
    pub fn start(answers: Answers) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("meshgate-cli-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let recorder = Recorder { asked: asked.clone(), answers: Arc::new(answers) };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let socket = directory.join("control.sock");
        runtime.block_on(async {
            let listener = tokio::net::UnixListener::bind(socket).unwrap();
            let router = tonic::transport::Server::builder()
                .add_service(PolicyServiceServer::new(recorder.clone()))
                .add_service(DistributionServiceServer::new(recorder.clone()))
                .add_service(ExplainServiceServer::new(recorder.clone()))
                .add_service(FlowServiceServer::new(recorder.clone()))
                .add_service(AutomaticServiceServer::new(recorder.clone()))
                .add_service(SuggestionServiceServer::new(recorder));
            tokio::spawn(router.serve_with_incoming(UnixListenerStream::new(listener)));
        });
        Self { directory, asked, _runtime: runtime }
    }

    /// Runs the command line against the recorder, with this text on standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_meshgate"))
            .args(arguments)
            .env("MESHGATE_SERVER", format!("unix:{}", self.directory.join("control.sock").display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs the command line against the recorder.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with_input(arguments, "")
    }

    /// Runs the command line, which must succeed, and returns what it printed and what it asked.
    pub fn done(&self, arguments: &[&str]) -> (String, Vec<Asked>) {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8(output.stdout).unwrap(), self.asked())
    }

    /// Returns what was asked since the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Recorder {
    fn note(&self, asked: Asked) {
        self.asked.lock().unwrap().push(asked);
    }

    fn committed(&self) -> Result<Response<wire::CommitResponse>, Status> {
        if let Some((code, message)) = self.answers.refusal {
            return Err(Status::new(code, message));
        }
        let version = self.answers.policy.version + 1;
        let (digest, created_ids) = (vec![0xcd; 32], vec![41]);
        Ok(Response::new(wire::CommitResponse {
            version,
            digest,
            changed: true,
            created_ids,
            committed_ns: 1,
        }))
    }
}

#[tonic::async_trait]
impl PolicyService for Recorder {
    async fn commit(
        &self,
        request: Request<wire::CommitRequest>,
    ) -> Result<Response<wire::CommitResponse>, Status> {
        self.note(Asked::Commit(request.into_inner()));
        self.committed()
    }

    async fn plan(
        &self,
        request: Request<wire::PlanRequest>,
    ) -> Result<Response<wire::PlanResponse>, Status> {
        self.note(Asked::Plan(request.into_inner()));
        Ok(Response::new(self.answers.plan.clone()))
    }

    async fn get_policy(
        &self,
        request: Request<wire::GetPolicyRequest>,
    ) -> Result<Response<wire::GetPolicyResponse>, Status> {
        self.note(Asked::GetPolicy(request.into_inner()));
        Ok(Response::new(self.answers.policy.clone()))
    }

    async fn list_versions(
        &self,
        request: Request<wire::ListVersionsRequest>,
    ) -> Result<Response<wire::ListVersionsResponse>, Status> {
        self.note(Asked::ListVersions(request.into_inner()));
        Ok(Response::new(wire::ListVersionsResponse::default()))
    }

    async fn rollback(
        &self,
        request: Request<wire::RollbackRequest>,
    ) -> Result<Response<wire::CommitResponse>, Status> {
        self.note(Asked::Rollback(request.into_inner()));
        self.committed()
    }

    async fn list_audit(
        &self,
        request: Request<wire::ListAuditRequest>,
    ) -> Result<Response<wire::ListAuditResponse>, Status> {
        self.note(Asked::ListAudit(request.into_inner()));
        Ok(Response::new(wire::ListAuditResponse::default()))
    }
}

#[tonic::async_trait]
impl DistributionService for Recorder {
    type SubscribeStream = tokio_stream::Empty<Result<wire::ControlMessage, Status>>;

    async fn subscribe(
        &self,
        _request: Request<Streaming<wire::HostMessage>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        Err(Status::unimplemented("not for this test"))
    }

    async fn list_hosts(
        &self,
        _request: Request<wire::ListHostsRequest>,
    ) -> Result<Response<wire::ListHostsResponse>, Status> {
        Ok(Response::new(self.answers.hosts.clone()))
    }
}

#[tonic::async_trait]
impl ExplainService for Recorder {
    async fn explain(
        &self,
        request: Request<wire::ExplainRequest>,
    ) -> Result<Response<wire::ExplainResponse>, Status> {
        self.note(Asked::Explain(request.into_inner()));
        Ok(Response::new(wire::ExplainResponse { action: "deny".into(), ..Default::default() }))
    }
}

#[tonic::async_trait]
impl FlowService for Recorder {
    async fn ingest(
        &self,
        _: Request<wire::IngestRequest>,
    ) -> Result<Response<wire::IngestResponse>, Status> {
        Err(Status::unimplemented("not for this test"))
    }

    async fn query_flows(
        &self,
        request: Request<wire::QueryFlowsRequest>,
    ) -> Result<Response<wire::QueryFlowsResponse>, Status> {
        self.note(Asked::Flows(request.into_inner()));
        Ok(Response::new(wire::QueryFlowsResponse::default()))
    }
}

#[tonic::async_trait]
impl SuggestionService for Recorder {
    type WatchDecisionsStream = tokio_stream::Empty<Result<wire::DecidedSuggestion, Status>>;

    async fn submit(
        &self,
        _: Request<wire::SubmitRequest>,
    ) -> Result<Response<wire::SubmitResponse>, Status> {
        Err(Status::unimplemented("not for this test"))
    }

    async fn watch_decisions(
        &self,
        _: Request<wire::WatchDecisionsRequest>,
    ) -> Result<Response<Self::WatchDecisionsStream>, Status> {
        Err(Status::unimplemented("not for this test"))
    }

    async fn report_learner(
        &self,
        _: Request<wire::ReportLearnerRequest>,
    ) -> Result<Response<wire::ReportLearnerResponse>, Status> {
        Err(Status::unimplemented("not for this test"))
    }

    async fn list_suggestions(
        &self,
        request: Request<wire::ListSuggestionsRequest>,
    ) -> Result<Response<wire::ListSuggestionsResponse>, Status> {
        self.note(Asked::ListSuggestions(request.into_inner()));
        Ok(Response::new(wire::ListSuggestionsResponse::default()))
    }

    async fn get_suggestion(
        &self,
        request: Request<wire::GetSuggestionRequest>,
    ) -> Result<Response<wire::GetSuggestionResponse>, Status> {
        self.note(Asked::GetSuggestion(request.into_inner()));
        let suggestion = Some(self.answers.suggestion.clone());
        Ok(Response::new(wire::GetSuggestionResponse { suggestion, ..Default::default() }))
    }

    async fn accept_suggestion(
        &self,
        request: Request<wire::AcceptSuggestionRequest>,
    ) -> Result<Response<wire::AcceptSuggestionResponse>, Status> {
        let request = request.into_inner();
        let verdict = if request.edited.is_some() { "edited" } else { "accepted" };
        let mut made =
            request.edited.clone().or_else(|| self.answers.suggestion.draft.clone()).unwrap_or_default();
        if let Some(wire::proposal::Kind::Relationship(relationship)) = &mut made.kind {
            relationship.id = 41;
        }
        let decision = wire::Decision {
            sequence: 5,
            suggestion_id: request.id,
            verdict: verdict.into(),
            version: 7,
            made: Some(made),
            ..Default::default()
        };
        self.note(Asked::Accept(request));
        let (decision, digest) = (Some(decision), vec![0xcd; 32]);
        Ok(Response::new(wire::AcceptSuggestionResponse { decision, committed_ns: 1, digest }))
    }

    async fn reject_suggestion(
        &self,
        request: Request<wire::RejectSuggestionRequest>,
    ) -> Result<Response<wire::RejectSuggestionResponse>, Status> {
        let request = request.into_inner();
        let decision = wire::Decision {
            verdict: "rejected".into(),
            reason: request.reason.clone(),
            ..Default::default()
        };
        self.note(Asked::Reject(request));
        Ok(Response::new(wire::RejectSuggestionResponse { decision: Some(decision) }))
    }

    async fn list_learners(
        &self,
        request: Request<wire::ListLearnersRequest>,
    ) -> Result<Response<wire::ListLearnersResponse>, Status> {
        self.note(Asked::ListLearners(request.into_inner()));
        Ok(Response::new(self.answers.learners.clone()))
    }

    async fn withdraw_answer(
        &self,
        request: Request<wire::WithdrawAnswerRequest>,
    ) -> Result<Response<wire::WithdrawAnswerResponse>, Status> {
        let request = request.into_inner();
        let withdrawal = wire::Withdrawal {
            sequence: 6,
            suggestion_id: request.id,
            decision: 5,
            version: 8,
            ..Default::default()
        };
        self.note(Asked::Withdraw(request));
        Ok(Response::new(wire::WithdrawAnswerResponse {
            withdrawal: Some(withdrawal),
            digest: vec![0xcd; 32],
        }))
    }
}

#[tonic::async_trait]
impl AutomaticService for Recorder {
    async fn show_automatic(
        &self,
        request: Request<wire::ShowAutomaticRequest>,
    ) -> Result<Response<wire::ShowAutomaticResponse>, Status> {
        self.note(Asked::ShowAutomatic(request.into_inner()));
        Ok(Response::new(wire::ShowAutomaticResponse { kinds: vec![self.answers.automatic.clone()] }))
    }

    async fn enable_automatic(
        &self,
        request: Request<wire::EnableAutomaticRequest>,
    ) -> Result<Response<wire::EnableAutomaticResponse>, Status> {
        self.note(Asked::EnableAutomatic(request.into_inner()));
        Ok(Response::new(wire::EnableAutomaticResponse { kind: Some(self.answers.automatic.clone()) }))
    }

    async fn disable_automatic(
        &self,
        request: Request<wire::DisableAutomaticRequest>,
    ) -> Result<Response<wire::DisableAutomaticResponse>, Status> {
        self.note(Asked::DisableAutomatic(request.into_inner()));
        Ok(Response::new(wire::DisableAutomaticResponse { kind: Some(self.answers.automatic.clone()) }))
    }
}
