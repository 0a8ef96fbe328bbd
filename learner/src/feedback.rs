//! What people answered: kept with everything that was known of the suggestion, so that a ranking can learn from it later.
//! The answers do not change the ranking; they keep drafts from coming back.
//!
//! Decisions come from control numbered, and again from the start of what was not acknowledged after a restart. Each is
//! applied once and in order; a checkpoint holds the answers, the log and the number of the last one together.

use crate::draft_key::DraftKey;
use crate::draft_log::{DraftLog, DraftLogState};
use meshgate_policy::suggestion::{Feature, Proposal, Reason};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};

/// Answers that are kept, newest last. A ranking that learns from them looks at some hundreds.
pub const ANSWERS_MAX: usize = 10_000;

/// What a person said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The draft was taken as it is.
    Accepted,
    /// Another form of it was taken.
    Edited,
    /// It was not taken.
    Rejected,
}

/// An answer with what was known when it was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Place among the decisions of the tenant, from 1.
    pub sequence: u64,
    /// Number of the suggestion.
    pub suggestion: u64,
    /// What the draft said.
    pub draft: DraftKey,
    /// What the ranking saw of it.
    pub features: Vec<Feature>,
    /// Place at which it was shown, 1 = first.
    pub rank: u32,
    /// Probability with which the ranking put it there.
    pub propensity: f64,
    /// Confidence that was shown.
    pub confidence: f64,
    /// What was said.
    pub verdict: Verdict,
    /// Why, of a rejection.
    pub reason: Option<Reason>,
    /// The draft as the person wanted it, where edited.
    pub edited: Option<Proposal>,
    /// When, nanoseconds since 1970.
    pub time_ns: u64,
}

/// What became of an answer that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is kept.
    Taken,
    /// It was applied before.
    Known,
}

/// All answers and what they bar.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Feedback {
    answers: VecDeque<Answer>,
    sequence: u64,
    draft_log: DraftLog,
}

/// What a checkpoint keeps of a [`Feedback`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedbackState {
    answers: Vec<Answer>,
    sequence: u64,
    draft_log: DraftLogState,
}

impl Feedback {
    /// Takes in an answer, unless its number was reached before. Numbers may be left out: those of other learners.
    pub fn apply(&mut self, answer: Answer) -> Applied {
        if answer.sequence <= self.sequence {
            return Applied::Known;
        }
        self.sequence = answer.sequence;
        let now_s = answer.time_ns / 1_000_000_000;
        self.draft_log.answer(answer.draft.clone(), answer.verdict, answer.reason, now_s);
        if let Some(made) = &answer.edited {
            self.draft_log.prefer(made);
        }
        if self.answers.len() >= ANSWERS_MAX {
            self.answers.pop_front();
        }
        self.answers.push_back(answer);
        Applied::Taken
    }

    /// Takes note that a draft waits for an answer.
    pub fn submitted(&mut self, draft: DraftKey, now_s: u64) {
        self.draft_log.open(draft, now_s);
    }

    /// Takes note that a draft reached nobody, so that it may be suggested again.
    pub fn withdraw(&mut self, draft: &DraftKey) {
        self.draft_log.withdraw(draft);
    }

    /// Brings the open drafts in line with those that wait at control for an answer.
    pub fn reconcile(&mut self, open: &BTreeSet<DraftKey>, now_s: u64) {
        self.draft_log.reconcile(open, now_s);
    }

    /// Returns the number of the last decision that was applied.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns what was suggested and what became of it.
    pub fn draft_log(&self) -> &DraftLog {
        &self.draft_log
    }

    /// Returns the answers, oldest first.
    pub fn answers(&self) -> impl ExactSizeIterator<Item = &Answer> {
        self.answers.iter()
    }

    /// Returns what a checkpoint keeps.
    pub fn state(&self) -> FeedbackState {
        FeedbackState {
            answers: self.answers.iter().cloned().collect(),
            sequence: self.sequence,
            draft_log: self.draft_log.checkpoint(),
        }
    }

    /// Returns what a checkpoint kept, within the bounds of this one.
    pub fn restore(state: FeedbackState) -> Self {
        let FeedbackState { answers, sequence, draft_log } = state;
        let first = answers.len().saturating_sub(ANSWERS_MAX);
        let answers = answers.into_iter().skip(first).collect();
        Self { answers, sequence, draft_log: DraftLog::restore(draft_log) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(sequence: u64, verdict: Verdict, reason: Option<Reason>) -> Answer {
        Answer {
            sequence,
            suggestion: sequence + 100,
            draft: DraftKey {
                source: "a".into(),
                destination: "b".into(),
                service: "TCP 22 - -".into(),
                action: "deny".into(),
            },
            features: vec![Feature { name: "confidence".into(), value: 0.75 }],
            rank: 1,
            propensity: 1.0,
            confidence: 0.75,
            verdict,
            reason,
            edited: None,
            time_ns: 5_000_000_000,
        }
    }

    #[test]
    fn an_answer_is_applied_once() {
        let mut feedback = Feedback::default();
        let rejected = answer(2, Verdict::Rejected, Some(Reason::WrongRule));
        assert_eq!(feedback.apply(rejected.clone()), Applied::Taken);
        assert_eq!(feedback.apply(rejected), Applied::Known);
        assert_eq!(feedback.apply(answer(1, Verdict::Accepted, None)), Applied::Known);
        assert_eq!((feedback.answers().len(), feedback.sequence()), (1, 2));
        assert!(feedback.draft_log().is_barred(&answer(2, Verdict::Edited, None).draft, u64::MAX));
    }

    #[test]
    fn the_oldest_answers_leave_and_a_checkpoint_brings_the_rest_back() {
        let mut feedback = Feedback::default();
        let max = u64::try_from(ANSWERS_MAX).unwrap();
        for sequence in 1..=max + 5 {
            feedback.apply(answer(sequence, Verdict::Accepted, None));
        }
        assert_eq!(feedback.answers().len(), ANSWERS_MAX);
        assert_eq!(feedback.answers().next().map(|answer| answer.sequence), Some(6));
        let text = serde_json::to_string(&feedback.state()).unwrap();
        let mut again = Feedback::restore(serde_json::from_str(&text).unwrap());
        assert_eq!(again, feedback);
        assert_eq!(again.apply(answer(max + 5, Verdict::Accepted, None)), Applied::Known);
    }
}
