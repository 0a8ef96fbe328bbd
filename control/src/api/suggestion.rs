//! `SuggestionService`: drafts of learners, what people say to them, how learners are doing.

use super::caller::caller;
use super::decisions::{Decided, WATCHERS_MAX, watch_decisions};
use super::fault::{exhausted, invalid, refused};
use super::learner::learner_report;
use crate::clock::now_ns;
use crate::inbox::{Listing, Obstacle, Refusal, SUBMITTED_MAX};
use crate::keeper::{Acceptance, Accepted, Keeper, Look, Rejection, Retraction, TakenBack};
use meshgate_policy::suggestion::{Proposal, Reason, State, Suggestion};
use meshgate_policy::{Name, PolicyVersion, UnknownWord};
use meshgate_proto::wire;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};
use tonic::{Request, Response, Status};

/// Suggestions of a list where nothing was said, and at most.
const LISTED_DEFAULT: u32 = 50;
const LISTED_MAX: u32 = 1_000;
/// Bytes of the longest text that is shown back where a word was wanted.
const SHOWN_BYTES_MAX: usize = 64;

/// The service.
#[derive(Debug)]
pub struct SuggestionApi {
    keeper: Arc<Keeper>,
    stopping: watch::Receiver<bool>,
    watchers: Arc<Semaphore>,
}

impl SuggestionApi {
    /// Returns the service of a keeper.
    pub fn new(keeper: Arc<Keeper>, stopping: watch::Receiver<bool>) -> Self {
        Self { keeper, stopping, watchers: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }
}

#[tonic::async_trait]
impl wire::suggestion_service_server::SuggestionService for SuggestionApi {
    type WatchDecisionsStream = Decided;

    async fn submit(
        &self,
        request: Request<wire::SubmitRequest>,
    ) -> Result<Response<wire::SubmitResponse>, Status> {
        let wire::SubmitRequest { learner, suggestions } = request.into_inner();
        if suggestions.len() > SUBMITTED_MAX {
            let count = suggestions.len();
            return Err(exhausted(format!(
                "suggestions: {count} entries, at most {SUBMITTED_MAX} are possible"
            )));
        }
        let name = Name::new(&learner).map_err(|error| invalid("learner", error))?;
        let (mut read, mut unread) = (Vec::new(), Vec::new());
        for message in suggestions {
            match submitted(message, &learner) {
                Ok(suggestion) => {
                    read.push(suggestion);
                    unread.push(None);
                }
                Err(refusal) => unread.push(Some(refusal)),
            }
        }
        let mut judged = self.keeper.submit(name, read).await?.into_iter();
        let answer = |unread: Option<String>| match unread {
            Some(refusal) => Some(wire::SubmitAnswer { id: 0, refusal }),
            None => judged.next().map(submit_answer),
        };
        Ok(Response::new(wire::SubmitResponse { answers: unread.into_iter().filter_map(answer).collect() }))
    }

    async fn watch_decisions(
        &self,
        request: Request<wire::WatchDecisionsRequest>,
    ) -> Result<Response<Decided>, Status> {
        let places = (&self.watchers, self.stopping.clone());
        Ok(Response::new(watch_decisions(&self.keeper, request.into_inner(), places).await?))
    }

    async fn report_learner(
        &self,
        request: Request<wire::ReportLearnerRequest>,
    ) -> Result<Response<wire::ReportLearnerResponse>, Status> {
        let wire::ReportLearnerRequest { report } = request.into_inner();
        let report = learner_report(report.ok_or_else(|| invalid("report", "is missing"))?)?;
        let now_ns = now_ns();
        if !self.keeper.store().keep_learner(&report, now_ns).await? {
            let words = format!("report.epoch: a later start of learner {} has reported", report.learner);
            return Err(Status::failed_precondition(words));
        }
        if let Some(feedback) = &report.feedback {
            self.keeper.note_gate(&report.learner, feedback, now_ns).await?;
        }
        Ok(Response::new(wire::ReportLearnerResponse {}))
    }

    async fn list_suggestions(
        &self,
        request: Request<wire::ListSuggestionsRequest>,
    ) -> Result<Response<wire::ListSuggestionsResponse>, Status> {
        let wire::ListSuggestionsRequest { state, limit } = request.into_inner();
        let listing = Listing {
            state: match state.as_str() {
                "" => Some(State::Open),
                "all" => None,
                word => Some(shown(word).parse().map_err(|word| unknown(&word))?),
            },
            limit: if limit == 0 { LISTED_DEFAULT } else { limit.min(LISTED_MAX) },
        };
        let (page, obstacles) = self.keeper.list(listing).await?;
        let listed = page.suggestions.into_iter().zip(obstacles).map(|(filed, obstacle)| {
            wire::ListedSuggestion { suggestion: Some(filed.into()), obstacle: in_words(obstacle) }
        });
        Ok(Response::new(wire::ListSuggestionsResponse {
            suggestions: listed.collect(),
            left_out: u32::try_from(page.left_out).unwrap_or(u32::MAX),
        }))
    }

    async fn get_suggestion(
        &self,
        request: Request<wire::GetSuggestionRequest>,
    ) -> Result<Response<wire::GetSuggestionResponse>, Status> {
        let wire::GetSuggestionRequest { id } = request.into_inner();
        let Look { filed, obstacle, effect, version, withdrawals, run, left_to_people } =
            self.keeper.look(id, now_ns()).await?;
        Ok(Response::new(wire::GetSuggestionResponse {
            suggestion: Some(filed.into()),
            obstacle: in_words(obstacle),
            effect: effect.map(Into::into),
            version: version.0,
            withdrawals: withdrawals.into_iter().map(Into::into).collect(),
            automatic: run.map(Into::into),
            left_to_people: left_to_people.unwrap_or_default(),
        }))
    }

    async fn accept_suggestion(
        &self,
        request: Request<wire::AcceptSuggestionRequest>,
    ) -> Result<Response<wire::AcceptSuggestionResponse>, Status> {
        let actor = caller(&request)?;
        let wire::AcceptSuggestionRequest { id, edited, expected_version, comment, alternative } =
            request.into_inner();
        let edited = edited.map(Proposal::try_from).transpose();
        let edited = edited.map_err(|fault| refused("edited", &fault))?;
        let expected_version = expected_version.map(PolicyVersion);
        let acceptance = Acceptance { id, edited, alternative, expected_version, actor, comment };
        let Accepted { decision, committed_ns, digest } = self.keeper.accept(acceptance).await?;
        Ok(Response::new(wire::AcceptSuggestionResponse {
            decision: Some(decision.into()),
            committed_ns,
            digest: digest.0.to_vec(),
        }))
    }

    async fn reject_suggestion(
        &self,
        request: Request<wire::RejectSuggestionRequest>,
    ) -> Result<Response<wire::RejectSuggestionResponse>, Status> {
        let actor = caller(&request)?;
        let wire::RejectSuggestionRequest { id, reason, comment } = request.into_inner();
        let reason: Reason = shown(&reason).parse().map_err(|word| unknown(&word))?;
        let decision = self.keeper.reject(Rejection { id, reason, actor, comment }).await?;
        Ok(Response::new(wire::RejectSuggestionResponse { decision: Some(decision.into()) }))
    }

    async fn withdraw_answer(
        &self,
        request: Request<wire::WithdrawAnswerRequest>,
    ) -> Result<Response<wire::WithdrawAnswerResponse>, Status> {
        let actor = caller(&request)?;
        let wire::WithdrawAnswerRequest { id, comment, answer_only } = request.into_inner();
        let TakenBack { withdrawal, digest } =
            self.keeper.withdraw(Retraction { id, answer_only, actor, comment }).await?;
        let digest = digest.map_or_else(Vec::new, |digest| digest.0.to_vec());
        Ok(Response::new(wire::WithdrawAnswerResponse { withdrawal: Some(withdrawal.into()), digest }))
    }

    async fn list_learners(
        &self,
        request: Request<wire::ListLearnersRequest>,
    ) -> Result<Response<wire::ListLearnersResponse>, Status> {
        let wire::ListLearnersRequest {} = request.into_inner();
        let learners = self.keeper.store().learners().await?;
        Ok(Response::new(wire::ListLearnersResponse {
            learners: learners.into_iter().map(Into::into).collect(),
        }))
    }
}

/// Returns the suggestion of a message from a learner, or why it cannot be read.
fn submitted(message: wire::Suggestion, learner: &str) -> Result<Suggestion, String> {
    if !message.learner.is_empty() && message.learner != learner {
        return Err("learner: is another one than the learner that submits".to_owned());
    }
    Suggestion::try_from(message).map_err(|fault| fault.to_string())
}

fn submit_answer(judged: Result<u64, Refusal>) -> wire::SubmitAnswer {
    match judged {
        Ok(id) => wire::SubmitAnswer { id, refusal: String::new() },
        Err(refusal) => wire::SubmitAnswer { id: refusal.repeated(), refusal: refusal.to_string() },
    }
}

fn in_words(obstacle: Option<Obstacle>) -> String {
    obstacle.map_or_else(String::new, |obstacle| obstacle.to_string())
}

/// Returns the status of a word that is none; it names its field itself.
pub(super) fn unknown(word: &UnknownWord) -> Status {
    Status::invalid_argument(word.to_string())
}

/// Returns as much of a text as is shown back where a word was wanted.
pub(super) fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)]
}
