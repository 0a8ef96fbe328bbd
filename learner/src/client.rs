//! The learner's calls of `SuggestionService`: suggestions and reports out, decisions in.
//!
//! Whatever fails is tried again for as long as the program runs. Decisions are asked for from the last one that the
//! analyst has kept, so that none is missed, and one that comes twice is known by its number.

mod learned;
mod wire_form;

use crate::analysis::News;
use crate::draft_key::DraftKey;
use crate::link::{LinkError, connect};
use crate::status::Status;
use crossbeam::channel::{Sender, TrySendError};
use meshgate_policy::Name;
use meshgate_policy::suggestion::{Proposal, Suggestion};
use meshgate_proto::wire;
use meshgate_proto::wire::suggestion_service_client::SuggestionServiceClient;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::transport::Channel;

/// Suggestions that may wait to be submitted. The adviser makes at most ten in a round.
pub const SUGGESTIONS_WAITING: usize = 64;
/// News that may wait for the analyst.
pub const NEWS_WAITING: usize = 1_024;
/// Pause before control is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Pause before the analyst is told again, while it is busy.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// Time between two reports.
const REPORT_EVERY: Duration = Duration::from_secs(2);
/// Time between two looks at what is open: what expired is no decision, and is missing there.
const OPEN_EVERY: Duration = Duration::from_secs(600);
/// Most open suggestions that are asked for: more than control keeps open.
const OPEN_MAX: u32 = 1_000;

/// Who calls, and where.
#[derive(Clone)]
pub struct Caller {
    /// Address of control.
    pub control: String,
    /// Name of the learner.
    pub learner: Name,
    /// Grows with each start.
    pub epoch: u64,
}

impl Caller {
    async fn client(&self) -> Result<SuggestionServiceClient<Channel>, LinkError> {
        Ok(SuggestionServiceClient::new(connect(&self.control).await?))
    }

    /// Submits what comes until the sender is gone.
    pub async fn submit_all(self, mut suggestions: mpsc::Receiver<Suggestion>, news: Sender<News>) {
        let mut waiting: Vec<Suggestion> = Vec::with_capacity(SUGGESTIONS_WAITING);
        while suggestions.recv_many(&mut waiting, SUGGESTIONS_WAITING).await > 0 {
            while let Err(error) = self.submit(&waiting, &news).await {
                tracing::warn!(control = %self.control, %error, waiting = waiting.len(), "suggestions not taken");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            waiting.clear();
        }
    }

    async fn submit(&self, suggestions: &[Suggestion], news: &Sender<News>) -> Result<(), LinkError> {
        let mut client = self.client().await?;
        let request = wire::SubmitRequest {
            learner: self.learner.to_string(),
            suggestions: suggestions.iter().map(|suggestion| self.wire_suggestion(suggestion)).collect(),
        };
        let answers = client.submit(request).await.map_err(status)?.into_inner().answers;
        for (suggestion, answer) in suggestions.iter().zip(answers) {
            let wire::SubmitAnswer { id, refusal } = answer;
            let text = &suggestion.justification;
            if refusal.is_empty() {
                tracing::info!(id, text, "suggested");
            } else if id == 0 {
                tracing::warn!(refusal, text, "suggestion refused");
                tell(news, News::Refused(DraftKey::of(&suggestion.draft))).await;
            } else {
                tracing::debug!(id, refusal, "suggested before");
            }
        }
        Ok(())
    }

    /// Tells the analyst what people decide. `after_sequence` is the last decision that it has kept.
    pub async fn watch_decisions(self, after_sequence: u64, news: Sender<News>) {
        let mut after_sequence = after_sequence;
        loop {
            let ended = match self.watch(&mut after_sequence, &news).await {
                Ok(()) => LinkError::Ended,
                Err(error) => error,
            };
            tracing::warn!(control = %self.control, error = %ended, after_sequence, "decisions not heard");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn watch(&self, after_sequence: &mut u64, news: &Sender<News>) -> Result<(), LinkError> {
        let mut client = self.client().await?;
        let request = wire::WatchDecisionsRequest {
            learner: self.learner.to_string(),
            after_sequence: *after_sequence,
        };
        let mut decisions = client.watch_decisions(request).await.map_err(status)?.into_inner();
        // Only now: what is decided between the two calls is heard as a decision.
        tell(news, News::Open(self.open_drafts(&mut client).await?)).await;
        let mut looks = tokio::time::interval(OPEN_EVERY);
        looks.reset();
        loop {
            let decided = tokio::select! {
                decided = decisions.message() => decided.map_err(status)?,
                _ = looks.tick() => {
                    tell(news, News::Open(self.open_drafts(&mut client).await?)).await;
                    continue;
                }
            };
            let Some(decided) = decided else { return Ok(()) };
            match wire_form::told(decided) {
                Ok((sequence, told)) => {
                    *after_sequence = sequence;
                    tell(news, told).await;
                }
                Err(fault) => tracing::error!(fault, "a decision is not understood"),
            }
        }
    }

    /// Returns the drafts that wait at control for an answer.
    async fn open_drafts(
        &self,
        client: &mut SuggestionServiceClient<Channel>,
    ) -> Result<BTreeSet<DraftKey>, LinkError> {
        let request = wire::ListSuggestionsRequest { state: "open".into(), limit: OPEN_MAX };
        let listed = client.list_suggestions(request).await.map_err(status)?.into_inner();
        let drafts = listed.suggestions.into_iter().filter_map(|listed| listed.suggestion?.draft);
        let drafts = drafts.filter_map(|draft| Proposal::try_from(draft).ok());
        Ok(drafts.map(|draft| DraftKey::of(&draft)).collect())
    }

    /// Reports how the learner is doing, every two seconds.
    pub async fn report_all(self, figures: Status) {
        let mut told = String::new();
        loop {
            match self.report(&figures).await {
                Ok(()) => told.clear(),
                Err(error) if error.to_string() != told => {
                    told = error.to_string();
                    tracing::warn!(control = %self.control, %error, "not reported");
                }
                Err(_) => {}
            }
            tokio::time::sleep(REPORT_EVERY).await;
        }
    }

    async fn report(&self, figures: &Status) -> Result<(), LinkError> {
        let report = Some(self.report_of(figures).into());
        self.client().await?.report_learner(wire::ReportLearnerRequest { report }).await.map_err(status)?;
        Ok(())
    }
}

/// Tells the analyst; waits while it is busy, which is at most a step of training.
async fn tell(news: &Sender<News>, mut item: News) {
    loop {
        match news.try_send(item) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => return,
            Err(TrySendError::Full(back)) => {
                item = back;
                tokio::time::sleep(BUSY_PAUSE).await;
            }
        }
    }
}

fn status(status: tonic::Status) -> LinkError {
    LinkError::Status(Box::new(status))
}
