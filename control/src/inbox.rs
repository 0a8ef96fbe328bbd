//! The inbox: which drafts are taken in, and what speaks against a draft. Pure; the keeper reads before and writes after.
//!
//! A draft is taken if its numbers and texts are within their limits, nobody has answered it before, and it would do
//! something under the newest version without contradicting what people wrote. Every refusal names the field at fault.

mod drafted;
mod form;
mod obstacle;

pub use drafted::drafted_rule;
pub use form::{
    EVIDENCE_MAX, FEATURES_MAX, FormFault, JUSTIFICATION_BYTES_MAX, MEASURES_MAX, RULES_NAMED_MAX,
    SENTENCE_BYTES_MAX, check_form,
};
pub use obstacle::{Judge, Obstacle};

use crate::draft_key::DraftKey;
use meshgate_policy::limits::NOTE_BYTES_MAX;
use meshgate_policy::suggestion::{FiledSuggestion, Proposal, Reason, State, Suggestion, Verdict};
use meshgate_policy::{Name, Numbering, RuleId};
use std::collections::HashMap;

/// Suggestions that are open at once: more than a person reads in a day, few enough to be compared with every version.
pub const OPEN_MAX: usize = 200;
/// Drafts of one call: far above the top few of a window.
pub const SUBMITTED_MAX: usize = 100;
/// Seconds after which a draft that was put off may be proposed again: a day, so that the next shift sees it.
pub const LATER_RESTS_S: u64 = 24 * 3_600;

/// Why a draft is not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A number or text that cannot be used.
    #[error(transparent)]
    Form(#[from] FormFault),
    /// The draft waits for an answer already.
    #[error("draft: repeats suggestion {0}, which is open")]
    Open(u64),
    /// The draft was rejected.
    #[error("draft: repeats suggestion {0}, which was rejected: {1}")]
    Rejected(u64, Reason),
    /// The draft was put off and the time is not up; holds the seconds that are left.
    #[error("draft: repeats suggestion {0}, which was put off; it may be proposed again in {1} s")]
    Later(u64, u64),
    /// What came of the draft is still part of the policy.
    #[error("draft: repeats suggestion {0}, which was accepted as rule {1}")]
    Accepted(u64, RuleId),
    /// It expires before anybody can answer.
    #[error("expires_ns: {0} has passed")]
    Expired(u64),
    /// Something of the newest version speaks against it.
    #[error(transparent)]
    Obstacle(#[from] Obstacle),
    /// The inbox is full.
    #[error("suggestions: {OPEN_MAX} are open, more are not taken until some are answered")]
    Full,
}

impl Refusal {
    /// Returns the suggestion that the refused draft repeats; 0 for none.
    pub fn repeated(&self) -> u64 {
        match self {
            Self::Open(id) | Self::Rejected(id, _) | Self::Later(id, _) | Self::Accepted(id, _) => *id,
            Self::Form(_) | Self::Expired(_) | Self::Obstacle(_) | Self::Full => 0,
        }
    }
}

/// The newest suggestion with some draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its number.
    pub id: u64,
    /// What became of it.
    pub answer: Answer,
}

/// What became of a suggestion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nobody has decided yet.
    Open,
    /// It was rejected at this time, nanoseconds since 1970.
    Rejected(Reason, u64),
    /// It became this rule; none for a change of members, which leaves its trace in the policy alone.
    Accepted(Option<RuleId>),
    /// Its time was up.
    Expired,
}

/// What has to be known of the inbox to judge the drafts of one call.
#[derive(Clone, Debug, Default)]
pub struct Inbox {
    /// Suggestions that are open.
    pub open: usize,
    /// The largest number given.
    pub last_id: u64,
    /// The newest suggestion of each draft of the call, where there is one. It alone counts: after a final rejection or
    /// while one is open, no other is taken.
    pub standing: HashMap<DraftKey, Standing>,
}

/// Who proposes, and when.
#[derive(Clone, Debug)]
pub struct Submitter {
    /// The learner.
    pub learner: Name,
    /// The time, nanoseconds since 1970.
    pub now_ns: u64,
}

impl Inbox {
    /// Returns the suggestion with the next number, or why it is not taken.
    pub fn take(
        &mut self,
        judge: &Judge<'_>,
        submitter: &Submitter,
        suggestion: Suggestion,
    ) -> Result<FiledSuggestion, Refusal> {
        let Submitter { learner, now_ns } = submitter;
        check_form(&suggestion)?;
        if suggestion.is_overdue(*now_ns) {
            return Err(Refusal::Expired(suggestion.expires_ns));
        }
        let key = DraftKey::of(&suggestion.draft);
        let standing = self.standing.get(&key);
        if let Some(refusal) = standing.and_then(|standing| standing.forbids(judge.numbering(), *now_ns)) {
            return Err(refusal);
        }
        if let Some(obstacle) = judge.obstacle(&suggestion.draft) {
            return Err(obstacle.into());
        }
        if self.open >= OPEN_MAX {
            return Err(Refusal::Full);
        }
        self.open += 1;
        self.last_id += 1;
        let id = self.last_id;
        self.standing.insert(key, Standing { id, answer: Answer::Open });
        Ok(FiledSuggestion {
            id,
            learner: learner.clone(),
            submitted_ns: *now_ns,
            suggestion,
            decision: None,
        })
    }
}

impl Standing {
    /// Returns why the same draft is not taken again.
    fn forbids(&self, numbering: &Numbering, now_ns: u64) -> Option<Refusal> {
        let id = self.id;
        match self.answer {
            Answer::Open => Some(Refusal::Open(id)),
            Answer::Rejected(Reason::Later, time_ns) => {
                let until_s = (time_ns / 1_000_000_000).saturating_add(LATER_RESTS_S);
                let left_s = until_s.saturating_sub(now_ns / 1_000_000_000);
                (left_s > 0).then_some(Refusal::Later(id, left_s))
            }
            Answer::Rejected(reason, _) => Some(Refusal::Rejected(id, reason)),
            // Once people have deleted what came of it, it may be proposed anew.
            Answer::Accepted(rule) => {
                rule.filter(|rule| numbering.has_rule(*rule)).map(|rule| Refusal::Accepted(id, rule))
            }
            Answer::Expired => None,
        }
    }
}

/// Returns what accepting the suggestion writes: the edited form if there is one, with the draft's reason as its note where
/// it has none; and whether it differs from the draft in more than the note.
pub fn accepted_form(filed: &FiledSuggestion, edited: Option<Proposal>) -> (Proposal, bool) {
    let draft = &filed.suggestion.draft;
    let wanted = edited.unwrap_or_else(|| draft.clone());
    let note = if wanted.note().is_empty() {
        let note = format!("suggestion {}: {}", filed.id, filed.suggestion.justification);
        note[..note.floor_char_boundary(NOTE_BYTES_MAX)].to_owned()
    } else {
        wanted.note().to_owned()
    };
    let wanted = wanted.with(None, &note);
    let differs = wanted != draft.clone().with(None, &note);
    (wanted, differs)
}

/// Returns what became of a suggestion with this state and verdict.
pub fn answer(verdict: Option<&Verdict>, time_ns: u64) -> Answer {
    match verdict {
        None => Answer::Open,
        Some(Verdict::Rejected(reason)) => Answer::Rejected(*reason, time_ns),
        Some(Verdict::Accepted { made, .. }) => Answer::Accepted(made.rule_id()),
        Some(Verdict::Expired) => Answer::Expired,
    }
}

/// Which suggestions are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Only those that stand so; none for all.
    pub state: Option<State>,
    /// At most this many.
    pub limit: u32,
}

#[cfg(test)]
mod tests;
