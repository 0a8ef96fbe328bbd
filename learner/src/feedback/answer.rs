//! An answer, with everything that was known when it was given.

use super::point::Questions;
use super::ranking::Labelled;
use super::standpoint::{HEIGHT, STATIC_SCORE, feature, seen};
use crate::draft_key::DraftKey;
use meshgate_policy::suggestion::{Feature, Proposal, Reason};
use serde::{Deserialize, Serialize};

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
    /// The draft in full, where it was edited.
    pub proposed: Option<Proposal>,
    /// The draft as the person wanted it, where edited.
    pub edited: Option<Proposal>,
    /// Of what draft and edited form permit together, the share that both do, 0 to 1; 1 of a draft that was not edited.
    pub overlap: f64,
    /// Who said it, as control tells it; at most [`meshgate_policy::limits::ACTOR_BYTES_MAX`] bytes. One person's answers
    /// can be told from another's.
    pub actor: String,
    /// When, nanoseconds since 1970.
    pub time_ns: u64,
}

impl Answer {
    /// Returns what is to be learned of it, with the number of the person; nothing of one that was put off, and nothing of
    /// what the ranking does not rank, such as memberships.
    ///
    /// Each reason speaks to its question: whether what was seen is worth a rule, whether the rule is the right one. One that
    /// is too broad says yes to the first and leaves the second to the narrower draft that comes next.
    pub fn labelled(&self, person: u32) -> Option<Labelled> {
        if !self.features.iter().any(|feature| feature.name == STATIC_SCORE) {
            return None;
        }
        let (reward, says) = match (self.verdict, self.reason) {
            (Verdict::Accepted, _) => (1.0, vec![(Questions::BOTH, 1.0)]),
            (Verdict::Edited, _) => {
                let overlap = self.overlap.clamp(0.0, 1.0);
                (overlap, vec![(Questions::SITUATION, 1.0), (Questions::RULE, overlap)])
            }
            (Verdict::Rejected, Some(Reason::Later)) => return None,
            (Verdict::Rejected, Some(Reason::WrongAnomaly)) => (0.0, vec![(Questions::SITUATION, 0.0)]),
            (Verdict::Rejected, Some(Reason::WrongRule)) => (0.0, vec![(Questions::RULE, 0.0)]),
            (Verdict::Rejected, Some(Reason::TooBroad)) => (0.0, vec![(Questions::SITUATION, 1.0)]),
            (Verdict::Rejected, None) => (0.0, vec![(Questions::BOTH, 0.0)]),
        };
        Some(Labelled {
            suggestion: self.suggestion,
            seen: seen(&self.features),
            height: feature(&self.features, HEIGHT)
                .clamp(-super::level::HEIGHT_MAX, super::level::HEIGHT_MAX),
            reward,
            says,
            person,
            time_ns: self.time_ns,
        })
    }

    /// Returns the entities that it is about: their numbers, with the names that they have in the draft.
    pub fn entities(&self) -> [(u64, String); super::point::ENTITIES] {
        let DraftKey { source, destination, service, action } = &self.draft;
        let [from, to, pair, about] = seen(&self.features).entities;
        [
            (from, format!("source {source}")),
            (to, format!("destination {destination}")),
            (pair, format!("pair {source} -> {destination}")),
            (about, format!("{action} {service}")),
        ]
    }

    /// Returns whether it was a yes, as people count: an edited draft is one.
    pub fn is_yes(&self) -> bool {
        matches!(self.verdict, Verdict::Accepted | Verdict::Edited)
    }

    /// Returns whether it says anything of the draft.
    pub fn counts(&self) -> bool {
        self.reason != Some(Reason::Later)
    }
}
