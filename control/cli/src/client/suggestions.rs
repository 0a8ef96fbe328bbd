//! Calls about suggestions and learners, and their answers taken apart completely.

use super::{CallError, Client};
use crate::answers::Digest;
use crate::suggestion_answers::{Accepted, Learners, Listed, Rejected, Shown, Suggestions, Withdrawn};
use meshgate_policy::automatic::AutomaticRun;
use meshgate_policy::suggestion::{Decision, FiledSuggestion, Proposal};
use meshgate_policy::{LearnerLine, Withdrawal};
use meshgate_proto::MESSAGE_BYTES_MAX;
use meshgate_proto::wire::{self, suggestion_service_client::SuggestionServiceClient};
use tonic::transport::Channel;

/// The form in which a suggestion is accepted.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    /// As it was drafted, or the alternative with this number.
    Drafted(Option<u32>),
    /// As the person wants it.
    Edited(&'a Proposal),
}

impl Client {
    /// Lists suggestions that stand so: "open", "accepted", "edited", "rejected", "expired", "all".
    pub async fn suggestions(&self, state: &str, limit: u32) -> Result<Suggestions, CallError> {
        let request = wire::ListSuggestionsRequest { state: state.to_owned(), limit };
        let answer = self.suggestion_service().list_suggestions(self.request(request)).await;
        let wire::ListSuggestionsResponse { suggestions, left_out } = self.answer(answer)?;
        let suggestions = suggestions.into_iter().map(listed).collect::<Result<_, _>>()?;
        Ok(Suggestions { suggestions, left_out })
    }

    /// Returns one suggestion with its evidence.
    pub async fn suggestion(&self, id: u64) -> Result<Shown, CallError> {
        let request = wire::GetSuggestionRequest { id };
        let answer = self.suggestion_service().get_suggestion(self.request(request)).await;
        let wire::GetSuggestionResponse {
            suggestion,
            obstacle,
            effect,
            version,
            withdrawals,
            automatic,
            left_to_people,
        } = self.answer(answer)?;
        let withdrawals = withdrawals.into_iter().map(Withdrawal::try_from).collect::<Result<_, _>>();
        Ok(Shown {
            filed: filed(suggestion)?,
            obstacle,
            effect: effect.map(Into::into),
            version,
            rules: Vec::new(),
            withdrawals: withdrawals.map_err(CallError::Answer)?,
            left_to_people,
            automatic: automatic.map(AutomaticRun::try_from).transpose().map_err(CallError::Answer)?,
        })
    }

    /// Accepts a suggestion in this form.
    pub async fn accept(&self, id: u64, form: Form<'_>, comment: &str) -> Result<Accepted, CallError> {
        let (edited, alternative) = match form {
            Form::Drafted(alternative) => (None, alternative.unwrap_or(0)),
            Form::Edited(edited) => (Some(edited.into()), 0),
        };
        let (expected_version, comment) = (None, comment.to_owned());
        let request = wire::AcceptSuggestionRequest { id, edited, expected_version, comment, alternative };
        let answer = self.suggestion_service().accept_suggestion(self.request(request)).await;
        let wire::AcceptSuggestionResponse { decision: told, committed_ns, digest } = self.answer(answer)?;
        Ok(Accepted::new(decision(told)?, Digest(digest), committed_ns))
    }

    /// Rejects a suggestion.
    pub async fn reject(&self, id: u64, reason: &str, comment: &str) -> Result<Rejected, CallError> {
        let request =
            wire::RejectSuggestionRequest { id, reason: reason.to_owned(), comment: comment.to_owned() };
        let answer = self.suggestion_service().reject_suggestion(self.request(request)).await;
        let wire::RejectSuggestionResponse { decision: told } = self.answer(answer)?;
        Ok(Rejected { decision: decision(told)? })
    }

    /// Takes the answer to a suggestion back, with what it made or only the answer.
    pub async fn withdraw(&self, id: u64, answer_only: bool, comment: &str) -> Result<Withdrawn, CallError> {
        let request = wire::WithdrawAnswerRequest { id, comment: comment.to_owned(), answer_only };
        let answer = self.suggestion_service().withdraw_answer(self.request(request)).await;
        let wire::WithdrawAnswerResponse { withdrawal, digest } = self.answer(answer)?;
        let withdrawal = withdrawal.ok_or(CallError::Missing("withdrawal"))?;
        let withdrawal = Withdrawal::try_from(withdrawal).map_err(CallError::Answer)?;
        Ok(Withdrawn { withdrawal, digest: Digest(digest) })
    }

    /// Lists learners by name.
    pub async fn learners(&self) -> Result<Learners, CallError> {
        let request = self.request(wire::ListLearnersRequest {});
        let wire::ListLearnersResponse { learners } =
            self.answer(self.suggestion_service().list_learners(request).await)?;
        let lines = learners.into_iter().map(LearnerLine::try_from).collect::<Result<_, _>>();
        let mut learners: Vec<LearnerLine> = lines.map_err(CallError::Answer)?;
        learners.sort_by(|a, b| a.report.learner.cmp(&b.report.learner));
        Ok(Learners { learners })
    }

    fn suggestion_service(&self) -> SuggestionServiceClient<Channel> {
        SuggestionServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

fn listed(message: wire::ListedSuggestion) -> Result<Listed, CallError> {
    let wire::ListedSuggestion { suggestion, obstacle } = message;
    Ok(Listed { filed: filed(suggestion)?, obstacle })
}

fn filed(message: Option<wire::Suggestion>) -> Result<FiledSuggestion, CallError> {
    message.ok_or(CallError::Missing("suggestion"))?.try_into().map_err(CallError::Answer)
}

fn decision(message: Option<wire::Decision>) -> Result<Decision, CallError> {
    message.ok_or(CallError::Missing("decision"))?.try_into().map_err(CallError::Answer)
}
