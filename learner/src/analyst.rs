//! The analyst: takes window after window, says what is unusual, and suggests rules. Between windows it learns.
//!
//! A window's way through it: feature rows ([`FeatureMemory`]) -> anomalies ([`Detector`]) -> what is usual ([`Profile`])
//! -> drafts ([`suggest_policy`]). The same rows go to the [`Trainer`], whose network the detector takes over after each
//! time of learning. Nothing here knows a clock, a thread or a connection: the live learner, the replay of recorded flows
//! and the tests drive the same analyst, and the same windows give the same suggestions.

use crate::adviser::{AdviserInput, AdviserSettings, DropReason, suggest_policy};
use crate::checkpoint::{self, Checkpoint, Section};
use crate::detector::{Anomaly, Detector, DetectorConfig, DetectorStatus};
use crate::draft_key::DraftKey;
use crate::feature_memory::{FeatureMemory, MemoryError, MemoryState};
use crate::feedback::overlap::overlap;
use crate::feedback::{Answer, Feedback, FeedbackState};
use crate::membership_advice::{Behaviours, BehavioursState, MembershipWatch, Round};
use crate::profile::{Profile, ProfileState};
use crate::series::{ClosedWindow, Parties, PartiesError};
use crate::train::{Hyperparameters, Trainer};
use meshgate_policy::suggestion::Suggestion;
use meshgate_policy::{FeedbackReport, Policy};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// Training steps before the detector listens to the network: a younger one finds everything unlikely in equal measure.
const STEPS_BEFORE_USE: u64 = 50;
/// Windows between two looks for endpoints that behave like a group: behaviour changes in hours, and each look compares
/// everybody.
const MEMBERSHIP_WINDOWS: u64 = 30;

/// How an analyst works.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnalystSettings {
    /// Width of the windows in seconds.
    pub window_s: u32,
    /// Of the detector.
    pub detector: DetectorConfig,
    /// Of profile and adviser.
    pub adviser: AdviserSettings,
    /// Of learning.
    pub hyperparameters: Hyperparameters,
}

/// What a window led to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// What is unusual, the most unusual first.
    pub anomalies: Vec<Anomaly>,
    /// What to suggest, best first. They count as open from now on: see [`Analyst::withdraw`].
    pub suggestions: Vec<Suggestion>,
}

/// Figures for status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnalystStatus {
    /// Windows analysed.
    pub windows: u64,
    /// Of the detector.
    pub detector: DetectorStatus,
    /// Training steps.
    pub training_steps: u64,
    /// Mean negative log likelihood of the last steps in nats; none before the first.
    pub training_loss: Option<f64>,
    /// Suggestions made.
    pub suggestions: u64,
    /// Drafts that were dropped, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Last decision that was taken in.
    pub decision_sequence: u64,
    /// What was learned from answers.
    pub feedback: FeedbackReport,
}

/// Why the state of a checkpoint is not taken over.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// A part is missing.
    #[error("the checkpoint lacks its part {0:?}")]
    Missing(&'static str),
    /// A part makes no sense.
    #[error("the checkpoint's part {0:?}: {1}")]
    Part(&'static str, serde_json::Error),
    /// What was seen does not fit.
    #[error("the checkpoint's part {FEATURES:?}: {0}")]
    Features(#[from] MemoryError),
}

/// The analyst.
pub struct Analyst {
    settings: AnalystSettings,
    parties: Parties,
    features: FeatureMemory,
    detector: Detector,
    trainer: Trainer,
    profile: Profile,
    feedback: Feedback,
    memberships: MembershipWatch,
    windows: u64,
    suggestions: u64,
    dropped: BTreeMap<DropReason, u64>,
}

/// Names of the parts of a checkpoint.
const PARTIES: &str = "parties";
const FEATURES: &str = "features";
const PROFILE: &str = "profile";
const FEEDBACK: &str = "feedback";
const BEHAVIOURS: &str = "behaviours";
const WINDOWS: &str = "windows";

impl Analyst {
    /// Returns an analyst that has seen nothing.
    pub fn new(settings: AnalystSettings) -> Self {
        Self {
            parties: Parties::default(),
            features: FeatureMemory::new(settings.window_s),
            detector: Detector::new(settings.detector.clone()),
            trainer: Trainer::new(settings.hyperparameters.clone()),
            profile: Profile::default(),
            feedback: Feedback::new(settings.adviser.ranking()),
            memberships: MembershipWatch::default(),
            windows: 0,
            suggestions: 0,
            dropped: BTreeMap::new(),
            settings,
        }
    }

    /// Returns an analyst that goes on where a checkpoint was made.
    pub fn resume(settings: AnalystSettings, checkpoint: Checkpoint) -> Result<Self, ResumeError> {
        let Checkpoint { trainer, mut detector, sections } = checkpoint;
        let parties: Parties = part(&sections, PARTIES)?;
        detector.resume(settings.detector.clone(), &parties);
        let memory: MemoryState = part(&sections, FEATURES)?;
        let profile: ProfileState = part(&sections, PROFILE)?;
        let feedback: FeedbackState = part(&sections, FEEDBACK)?;
        let behaviours: BehavioursState = part(&sections, BEHAVIOURS)?;
        Ok(Self {
            features: FeatureMemory::restore(memory, settings.window_s, parties.len())?,
            profile: Profile::restore(profile),
            feedback: Feedback::restore(settings.adviser.ranking(), feedback),
            memberships: MembershipWatch::new(Behaviours::restore(behaviours)),
            windows: part(&sections, WINDOWS)?,
            suggestions: 0,
            dropped: BTreeMap::new(),
            settings,
            parties,
            detector,
            trainer,
        })
    }

    /// Returns the bytes of a checkpoint of everything that is known.
    pub fn checkpoint(&self) -> Vec<u8> {
        let sections = [
            section(PARTIES, &self.parties),
            section(FEATURES, &self.features.state()),
            section(PROFILE, &self.profile.state()),
            section(FEEDBACK, &self.feedback.state()),
            section(BEHAVIOURS, &self.memberships.behaviours().state()),
            section(WINDOWS, &self.windows),
        ];
        checkpoint::encode(&self.trainer, &self.detector, &sections)
    }

    /// Analyses a window under the newest policy. The parties of the window must follow those of the windows before.
    pub fn observe(&mut self, closed: &ClosedWindow, policy: &Policy) -> Result<Findings, PartiesError> {
        self.parties.follow(closed.first_party, &closed.parties)?;
        let window = &closed.window;
        let mut rows = self.features.describe(window);
        let anomalies = self.detector.inspect(window, &self.parties, &mut rows);
        self.trainer.observe(&rows, self.windows);
        self.windows += 1;
        self.profile.observe(window);
        self.profile.note_anomalies(&anomalies);
        self.feedback.pass_time(window.end_s());
        let model_version = self.detector.status().model_version.unwrap_or_default();
        let advice = suggest_policy(&AdviserInput {
            policy,
            parties: &self.parties,
            profile: &self.profile,
            anomalies: &anomalies,
            draft_log: self.feedback.draft_log(),
            ranking: self.feedback.ranking(),
            settings: &self.settings.adviser,
            window_end_s: window.end_s(),
            model_version: &model_version,
        });
        self.feedback.weighed(advice.weighed);
        for (reason, drafts) in advice.dropped {
            *self.dropped.entry(reason).or_default() += drafts;
        }
        let mut suggestions = advice.suggestions;
        self.memberships.observe(window, &self.parties, policy);
        if self.windows.is_multiple_of(MEMBERSHIP_WINDOWS) {
            suggestions.extend(self.memberships.advise(&Round {
                policy,
                parties: &self.parties,
                draft_log: self.feedback.draft_log(),
                settings: &self.settings.adviser,
                width_s: window.width_s,
                window_end_s: window.end_s(),
                model_version: &model_version,
                rules: suggestions.len(),
            }));
        }
        self.suggestions += suggestions.len() as u64;
        for suggestion in &suggestions {
            self.feedback.submitted(DraftKey::of(&suggestion.draft), window.end_s());
        }
        Ok(Findings { anomalies, suggestions })
    }

    /// Learns for as long as `goes_on` says, which is asked before each step with the number of steps made, and lets the
    /// detector judge by the result.
    pub fn train(&mut self, goes_on: impl FnMut(u64) -> bool) {
        let report = self.trainer.train(goes_on);
        if report.steps > 0 && self.trainer.steps() >= STEPS_BEFORE_USE {
            self.detector.adopt(self.trainer.model());
        }
    }

    /// Takes in what a person said; of an edited draft, under the newest policy, how much of the draft is left in it.
    pub fn answer(&mut self, mut answer: Answer, policy: Option<&Policy>) {
        if let (Some(proposed), Some(edited), Some(policy)) = (&answer.proposed, &answer.edited, policy) {
            answer.overlap = overlap(policy, proposed, edited);
        }
        self.feedback.apply(answer);
    }

    /// Takes back what a person said of a suggestion, as if it had never been said.
    pub fn retract(&mut self, sequence: u64, suggestion: u64, time_ns: u64) {
        let applied = self.feedback.retract(sequence, suggestion);
        tracing::debug!(sequence, suggestion, time_ns, ?applied, "an answer was taken back");
    }

    /// Takes note that control accepted a draft by itself, from which nothing is learned.
    pub fn pass(&mut self, sequence: u64, draft: DraftKey, time_ns: u64) {
        self.feedback.pass(sequence, draft, time_ns);
    }

    /// Takes note that a suggestion did not reach anybody, so that it may be made again.
    pub fn withdraw(&mut self, draft: &DraftKey) {
        self.feedback.withdraw(draft);
    }

    /// Brings the open drafts in line with those that wait at control for an answer.
    pub fn reconcile(&mut self, open: &BTreeSet<DraftKey>, now_s: u64) {
        self.feedback.reconcile(open, now_s);
    }

    /// Returns the parties that are known, for who numbers them from here on.
    pub fn parties(&self) -> &Parties {
        &self.parties
    }

    /// Returns the answers.
    pub fn feedback(&self) -> &Feedback {
        &self.feedback
    }

    /// Returns what is usual.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Returns figures for status.
    pub fn status(&mut self) -> AnalystStatus {
        AnalystStatus {
            windows: self.windows,
            detector: self.detector.status(),
            training_steps: self.trainer.steps(),
            training_loss: self.trainer.loss(),
            suggestions: self.suggestions,
            dropped: self.dropped.clone(),
            decision_sequence: self.feedback.sequence(),
            feedback: self.feedback.report().clone(),
        }
    }
}

fn section<T: Serialize>(name: &str, part: &T) -> Section {
    (name.to_owned(), serde_json::to_vec(part).expect("our own types have text keys and no other faults"))
}

fn part<T: DeserializeOwned>(sections: &[Section], name: &'static str) -> Result<T, ResumeError> {
    let found = sections.iter().find(|(section, _)| section == name);
    let (_, bytes) = found.ok_or(ResumeError::Missing(name))?;
    serde_json::from_slice(bytes).map_err(|error| ResumeError::Part(name, error))
}
