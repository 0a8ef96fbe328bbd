//! Calls about suggestions and learners, and their answers taken apart completely.

use super::{CallError, Client};
use crate::answers::Digest;
use crate::suggestion_answers::{
    Accepted, Decision, DraftEffect, Evidence, Feature, Learner, Learners, Listed, Measure, Rejected, Shown,
    Suggestion, Suggestions,
};
use meshgate_policy::AuthoredRelationship;
use meshgate_proto::MESSAGE_BYTES_MAX;
use meshgate_proto::wire::{self, suggestion_service_client::SuggestionServiceClient};
use tonic::transport::Channel;

impl Client {
    /// Lists suggestions that stand so: "open", "accepted", "edited", "rejected", "all".
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
        let wire::GetSuggestionResponse { suggestion, obstacle, effect, version } = self.answer(answer)?;
        let suggestion = self::suggestion(suggestion.ok_or(CallError::Missing("suggestion"))?)?;
        Ok(Shown { suggestion, obstacle, effect: effect.map(draft_effect), version, rules: Vec::new() })
    }

    /// Accepts a suggestion, as it is or in another form.
    pub async fn accept(
        &self,
        id: u64,
        edited: Option<&AuthoredRelationship>,
        comment: &str,
    ) -> Result<Accepted, CallError> {
        let request = wire::AcceptSuggestionRequest {
            id,
            edited: edited.map(Into::into),
            expected_version: None,
            comment: comment.to_owned(),
        };
        let answer = self.suggestion_service().accept_suggestion(self.request(request)).await;
        let wire::AcceptSuggestionResponse { decision, committed_ns, digest } = self.answer(answer)?;
        let decision = self::decision(decision.ok_or(CallError::Missing("decision"))?)?;
        Ok(Accepted::new(decision, Digest(digest), committed_ns))
    }

    /// Rejects a suggestion.
    pub async fn reject(&self, id: u64, reason: &str, comment: &str) -> Result<Rejected, CallError> {
        let request =
            wire::RejectSuggestionRequest { id, reason: reason.to_owned(), comment: comment.to_owned() };
        let answer = self.suggestion_service().reject_suggestion(self.request(request)).await;
        let wire::RejectSuggestionResponse { decision } = self.answer(answer)?;
        Ok(Rejected { decision: self::decision(decision.ok_or(CallError::Missing("decision"))?)? })
    }

    /// Lists learners by name.
    pub async fn learners(&self) -> Result<Learners, CallError> {
        let request = self.request(wire::ListLearnersRequest {});
        let wire::ListLearnersResponse { learners } =
            self.answer(self.suggestion_service().list_learners(request).await)?;
        let mut learners: Vec<Learner> = learners.into_iter().map(learner).collect();
        learners.sort_by(|a, b| a.learner.cmp(&b.learner));
        Ok(Learners { learners })
    }

    fn suggestion_service(&self) -> SuggestionServiceClient<Channel> {
        SuggestionServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

fn listed(message: wire::ListedSuggestion) -> Result<Listed, CallError> {
    let wire::ListedSuggestion { suggestion, obstacle } = message;
    Ok(Listed {
        suggestion: self::suggestion(suggestion.ok_or(CallError::Missing("suggestion"))?)?,
        obstacle,
    })
}

fn suggestion(message: wire::Suggestion) -> Result<Suggestion, CallError> {
    let wire::Suggestion {
        id,
        tenant: _,
        learner,
        state,
        origin,
        draft,
        confidence,
        relevance,
        rank,
        propensity,
        justification,
        evidence,
        effect,
        over_permissiveness,
        narrows,
        shadows,
        makes_explicit,
        features,
        base_version,
        model_version,
        window_end_ns,
        submitted_ns,
        decision,
    } = message;
    Ok(Suggestion {
        id,
        learner,
        state,
        origin,
        draft: draft.ok_or(CallError::Missing("draft"))?.try_into().map_err(CallError::Answer)?,
        confidence,
        relevance,
        rank,
        propensity,
        justification,
        evidence: evidence.into_iter().map(self::evidence).collect(),
        effect: draft_effect(effect.unwrap_or_default()),
        over_permissiveness,
        narrows,
        shadows,
        makes_explicit,
        features: features.into_iter().map(feature).collect(),
        base_version,
        model_version,
        window_end_ns,
        submitted_ns,
        decision: decision.map(self::decision).transpose()?,
    })
}

fn evidence(message: wire::Evidence) -> Evidence {
    let wire::Evidence { number, kind, sentence, measures, from_ns, until_ns } = message;
    let measure = |wire::Measure { name, value, unit, text }| Measure { name, value, unit, text };
    let measures = measures.into_iter().map(measure).collect();
    Evidence { number, kind, sentence, measures, from_ns, until_ns }
}

fn feature(message: wire::Feature) -> Feature {
    let wire::Feature { name, value } = message;
    Feature { name, value }
}

fn draft_effect(message: wire::DraftEffect) -> DraftEffect {
    let wire::DraftEffect {
        flows_seen,
        flows_matched,
        flows_newly_allowed,
        flows_newly_denied,
        flows_attributed,
    } = message;
    DraftEffect { flows_seen, flows_matched, flows_newly_allowed, flows_newly_denied, flows_attributed }
}

fn decision(message: wire::Decision) -> Result<Decision, CallError> {
    let wire::Decision {
        sequence,
        suggestion_id: _,
        verdict,
        reason,
        comment,
        actor,
        time_ns,
        version,
        relationship,
    } = message;
    let relationship = relationship.map(TryInto::try_into).transpose().map_err(CallError::Answer)?;
    Ok(Decision { sequence, verdict, reason, comment, actor, time_ns, version, relationship })
}

fn learner(message: wire::LearnerEntry) -> Learner {
    let wire::LearnerEntry { report, reported_ns } = message;
    let wire::LearnerReport {
        learner,
        epoch,
        model_version,
        records_read,
        records_lost,
        window_s,
        windows_closed,
        windows_left_out,
        series_live,
        series_left_out,
        training_steps,
        training_loss,
        calibration_scores,
        calibration_scores_needed,
        suggestions_submitted,
        drafts_dropped,
        decision_sequence,
        uptime_ns,
    } = report.unwrap_or_default();
    Learner {
        learner,
        reported_ns,
        epoch,
        model_version,
        records_read,
        records_lost,
        window_s,
        windows_closed,
        windows_left_out,
        series_live,
        series_left_out,
        training_steps,
        training_loss,
        calibration_scores,
        calibration_scores_needed,
        suggestions_submitted,
        drafts_dropped: drafts_dropped.into_iter().map(feature).collect(),
        decision_sequence,
        uptime_ns,
    }
}
