//! `DiagnosticsService`: people's questions on their way to hosts, and the answers back.

use super::caller::caller;
use super::diagnostics_message::{capture_in_words, capture_question, host_name};
use super::fault::invalid;
use crate::clock::now_ns;
use crate::distributor::{HOSTS_MAX, HostLine, Role};
use crate::fleet::{ClockReading, clock_finding, connection_findings};
use crate::keeper::Keeper;
use crate::switchboard::{AskFault, Inquiry, Switchboard};
use meshgate_policy::{Finding, Name};
use meshgate_proto::wire;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};
use wire::host_answer::Answer;
use wire::host_question::Question;

/// Time a host has for the first part of an answer. It looks into files and asks the kernel; nothing of it waits.
const ANSWER_WAIT: Duration = Duration::from_secs(8);
/// Hosts that are asked at once for findings; below the limit of inquiries, so that others may ask meanwhile.
const DIAGNOSED_AT_ONCE: usize = 32;
/// Questions between a host's queue and its stream.
const STREAM_QUESTIONS: usize = 4;
/// Parts of a capture between the host's answer and the caller's stream.
const STREAM_PARTS: usize = 4;
/// Rules and flows of a live view.
const OBSERVED_MAX: u32 = 1_000;
/// The same where the caller names no number.
const OBSERVED: u32 = 10;

type Board = Switchboard<Question, Answer>;
type Asked = Inquiry<Question, Answer>;

/// The service.
#[derive(Debug)]
pub struct DiagnosticsApi {
    keeper: Arc<Keeper>,
    board: Arc<Board>,
    stopping: watch::Receiver<bool>,
}

impl DiagnosticsApi {
    /// Returns the service of a keeper.
    pub fn new(keeper: Arc<Keeper>, stopping: watch::Receiver<bool>) -> Self {
        Self { keeper, board: Arc::default(), stopping }
    }

    /// Returns the host that a request means: the named one, or the one that there is.
    fn host(&self, text: &str) -> Result<Name, Status> {
        if !text.is_empty() {
            return host_name("host", text);
        }
        let mut hosts = self.board.hosts();
        match hosts.len() {
            0 => Err(Status::failed_precondition("no dataplane is connected that could be asked")),
            1 => Ok(hosts.remove(0)),
            many => {
                let named = hosts.iter().take(8).map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let more = if many > 8 { format!(" and {} more", many - 8) } else { String::new() };
                Err(invalid("host", format!("{many} dataplanes are connected, name one: {named}{more}")))
            }
        }
    }

    fn ask(&self, host: &Name, question: Question) -> Result<Asked, Status> {
        self.board.ask(host, question).map_err(|fault| Status::failed_precondition(fault.to_string()))
    }

    /// Returns the known hosts that a diagnosis is of.
    fn diagnosed(&self, text: &str) -> Result<Vec<HostLine>, Status> {
        let mut lines = self.keeper.distributor().hosts();
        if !text.is_empty() {
            let host = host_name("host", text)?;
            lines.retain(|line| line.kept.host == host);
            if lines.is_empty() {
                return Err(Status::not_found(format!("host: there is no host {host}")));
            }
        }
        Ok(lines)
    }
}

#[tonic::async_trait]
impl wire::diagnostics_service_server::DiagnosticsService for DiagnosticsApi {
    type AttachStream = ReceiverStream<Result<wire::HostQuestion, Status>>;
    type CaptureStream = ReceiverStream<Result<wire::CapturePart, Status>>;

    async fn attach(
        &self,
        request: Request<wire::AttachRequest>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let wire::AttachRequest { host, epoch } = request.into_inner();
        let host = host_name("host", &host)?;
        let attached = self.board.attach(host.clone(), epoch);
        let mut attachment = attached.map_err(|fault| Status::failed_precondition(fault.to_string()))?;
        let (to_host, stream) = mpsc::channel(STREAM_QUESTIONS);
        let mut stopping = self.stopping.clone();
        tokio::spawn(async move {
            loop {
                let question = tokio::select! {
                    question = attachment.next() => question,
                    () = to_host.closed() => return,
                    // An error means that the sender is gone, which is an end too.
                    _ = stopping.wait_for(|stopping| *stopping) => {
                        _ = to_host.try_send(Err(Status::unavailable("control is stopping")));
                        return;
                    }
                };
                let Some((inquiry, question)) = question else {
                    let words = format!("host {host} has attached again");
                    _ = to_host.try_send(Err(Status::aborted(words)));
                    return;
                };
                let question = wire::HostQuestion { inquiry, question: Some(question) };
                if to_host.send(Ok(question)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn answer(
        &self,
        request: Request<Streaming<wire::HostAnswer>>,
    ) -> Result<Response<wire::AnswerResponse>, Status> {
        let mut answers = request.into_inner();
        let first = answers.message().await?;
        let first = first.ok_or_else(|| invalid("answer", "is missing"))?;
        let (host, inquiry) = (host_name("host", &first.host)?, first.inquiry);
        let gone = || Status::cancelled("nobody waits for this answer any more");
        let parts = self.board.answer(&host, inquiry).ok_or_else(gone)?;
        let mut stopping = self.stopping.clone();
        let mut next = Some(first);
        while let Some(wire::HostAnswer { inquiry: _, host: _, answer }) = next {
            let answer = answer.ok_or_else(|| invalid("answer", "is missing"))?;
            parts.send(answer).await.map_err(|_| gone())?;
            next = tokio::select! {
                message = answers.message() => message?,
                () = parts.closed() => return Err(gone()),
                _ = stopping.wait_for(|stopping| *stopping) => {
                    return Err(Status::unavailable("control is stopping"));
                }
            };
        }
        Ok(Response::new(wire::AnswerResponse {}))
    }

    async fn diagnose(
        &self,
        request: Request<wire::DiagnoseRequest>,
    ) -> Result<Response<wire::DiagnoseResponse>, Status> {
        let wire::DiagnoseRequest { host } = request.into_inner();
        let mut lines = self.diagnosed(&host)?;
        debug_assert!(lines.len() <= HOSTS_MAX);
        let mut hosts = Vec::with_capacity(lines.len());
        while !lines.is_empty() {
            let rest = lines.split_off(lines.len().min(DIAGNOSED_AT_ONCE));
            let mut asking = JoinSet::new();
            for (place, line) in std::mem::replace(&mut lines, rest).into_iter().enumerate() {
                let newest = self.keeper.distributor().newest();
                let found = connection_findings(&line, &newest, now_ns());
                let is_dataplane = line.kept.role == Role::Dataplane.word();
                let question = Question::Diagnose(wire::DiagnoseQuestion {});
                let inquiry = (line.connected && is_dataplane).then(|| self.ask(&line.kept.host, question));
                asking.spawn(async move { (place, diagnosis(&line.kept.host, found, inquiry).await) });
            }
            let mut answered = asking.join_all().await;
            answered.sort_by_key(|(place, _)| *place);
            hosts.extend(answered.into_iter().map(|(_, diagnosis)| diagnosis));
        }
        Ok(Response::new(wire::DiagnoseResponse { hosts }))
    }

    async fn capture(
        &self,
        request: Request<wire::CaptureRequest>,
    ) -> Result<Response<Self::CaptureStream>, Status> {
        let actor = caller(&request)?;
        let request = request.into_inner();
        let host = self.host(&request.host)?;
        let words = capture_in_words(&host, &request);
        let question = capture_question(request, self.keeper.newest().book.policy())?;
        if !self.board.hosts().contains(&host) {
            return Err(Status::failed_precondition(AskFault::NotAttached(host).to_string()));
        }
        // Whoever looks at other people's packets is written down before the first one is copied.
        self.keeper.note_capture(actor, &words).await?;
        let mut inquiry = self.ask(&host, Question::Capture(question))?;
        let first = captured(first_part(&host, &mut inquiry).await?)?;
        let (to_caller, stream) = mpsc::channel(STREAM_PARTS);
        tokio::spawn(async move {
            let mut part = Some(Ok(first));
            while let Some(sent) = part {
                if to_caller.send(sent).await.is_err() {
                    return;
                }
                part = tokio::select! {
                    answer = inquiry.next() => answer.map(captured),
                    () = to_caller.closed() => return,
                };
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn observe(
        &self,
        request: Request<wire::ObserveRequest>,
    ) -> Result<Response<wire::Activity>, Status> {
        let wire::ObserveRequest { host, limit } = request.into_inner();
        let limit = match limit {
            0 => OBSERVED,
            limit if limit > OBSERVED_MAX => {
                return Err(invalid("limit", format!("{limit} is above {OBSERVED_MAX}")));
            }
            limit => limit,
        };
        let host = self.host(&host)?;
        let mut inquiry = self.ask(&host, Question::Observe(wire::ObserveQuestion { limit }))?;
        match first_part(&host, &mut inquiry).await? {
            Answer::Activity(activity) => Ok(Response::new(activity)),
            _ => Err(astray(&host)),
        }
    }

    async fn reload(
        &self,
        request: Request<wire::ReloadRequest>,
    ) -> Result<Response<wire::ReloadResponse>, Status> {
        caller(&request)?;
        let wire::ReloadRequest { host } = request.into_inner();
        let host = self.host(&host)?;
        let mut inquiry = self.ask(&host, Question::Reload(wire::ReloadQuestion {}))?;
        match first_part(&host, &mut inquiry).await? {
            Answer::Reloaded(wire::HostReloaded { devices }) => {
                Ok(Response::new(wire::ReloadResponse { host: host.to_string(), devices }))
            }
            _ => Err(astray(&host)),
        }
    }
}

/// Returns the first part of an answer.
async fn first_part(host: &Name, inquiry: &mut Asked) -> Result<Answer, Status> {
    match timeout(ANSWER_WAIT, inquiry.next()).await {
        Ok(Some(Answer::Refusal(reason))) => {
            Err(Status::failed_precondition(format!("host {host}: {reason}")))
        }
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(Status::unavailable(format!("host {host} left before it answered"))),
        Err(_) => {
            let words = format!("host {host} did not answer within {} s", ANSWER_WAIT.as_secs());
            Err(Status::unavailable(words))
        }
    }
}

fn captured(answer: Answer) -> Result<wire::CapturePart, Status> {
    match answer {
        Answer::Capture(part) => Ok(part),
        Answer::Refusal(reason) => Err(Status::failed_precondition(reason)),
        Answer::Diagnosis(_) | Answer::Activity(_) | Answer::Reloaded(_) => {
            Err(Status::internal("the host answered something else"))
        }
    }
}

fn astray(host: &Name) -> Status {
    Status::new(Code::Internal, format!("host {host} answered something else"))
}

/// Returns the findings of control and of the host itself, if it was asked.
async fn diagnosis(
    host: &Name,
    mut found: Vec<Finding>,
    inquiry: Option<Result<Asked, Status>>,
) -> wire::HostDiagnosis {
    let asked_ns = now_ns();
    let answer = match inquiry {
        Some(Ok(mut inquiry)) => Some(first_part(host, &mut inquiry).await),
        Some(Err(status)) => Some(Err(status)),
        None => None,
    };
    let answered_ns = now_ns();
    let (mut theirs, mut time_ns) = (Vec::new(), 0);
    match answer {
        Some(Ok(Answer::Diagnosis(wire::HostDiagnosis { host: _, findings, time_ns: host_ns }))) => {
            found.push(clock_finding(ClockReading { asked_ns, answered_ns, host_ns }));
            (theirs, time_ns) = (findings, host_ns);
        }
        Some(Ok(_)) => found.push(silent(&astray(host))),
        Some(Err(status)) => found.push(silent(&status)),
        None => {}
    }
    let mut findings: Vec<wire::Finding> = found.into_iter().map(Into::into).collect();
    findings.append(&mut theirs);
    wire::HostDiagnosis { host: host.to_string(), findings, time_ns }
}

fn silent(status: &Status) -> Finding {
    let cure = "run meshgate-dataplane --config FILE --doctor on the host itself";
    Finding::problem("control", status.message(), cure)
}
