//! What people answered, and what is learned from it.
//!
//! Each answer is kept with everything that was known of the suggestion. It keeps the draft from coming back (`draft_log`) and
//! teaches the ranking (`ranking`): by day, behind a gate that lets only in what predicted answers better than chance would.
//!
//! Decisions come from control numbered, and again from the start of what was not acknowledged after a restart. Each is
//! applied once and in order; a checkpoint holds the answers, what was learned, the log and the number of the last decision
//! together.

pub mod answer;
pub mod confidence;
pub mod course;
pub mod expert;
pub mod fitted;
pub mod level;
pub mod null;
pub mod overlap;
pub mod point;
pub mod ranking;
mod report;
pub mod settings;
pub mod standpoint;
pub mod triangle;

pub use answer::{Answer, Verdict};

use crate::draft_key::DraftKey;
use crate::draft_log::{DraftLog, DraftLogState};
use level::Seen;
use meshgate_policy::FeedbackReport;
use ranking::{Labelled, Ranking, RankingState};
use serde::{Deserialize, Serialize};
use settings::RankingSettings;
use standpoint::LEARNED;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Answers that are kept, newest last. The ranking looks at some hundreds, the report at the last ones.
pub const ANSWERS_MAX: usize = 10_000;
/// Drafts of a day that tell the ranking how strong drafts are.
const DRAFTS_OF_DAY_MAX: usize = 4_096;
/// Seconds of a day.
const DAY_S: u64 = 86_400;
/// Bits of an entity's number that a person's does without.
const PERSON_SHIFT: u32 = 21;

/// What became of an answer that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is kept.
    Taken,
    /// It was applied before.
    Known,
}

/// All answers and what they bar and teach.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Feedback {
    answers: VecDeque<Answer>,
    sequence: u64,
    draft_log: DraftLog,
    ranking: Ranking,
    withdrawn: u64,
    day: Day,
    report: FeedbackReport,
    is_report_due: bool,
}

/// The drafts that were weighed today.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Day {
    /// Days since 1970.
    number: u64,
    drafts: BTreeMap<u64, Seen>,
}

/// What a checkpoint keeps of a [`Feedback`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedbackState {
    answers: Vec<Answer>,
    sequence: u64,
    draft_log: DraftLogState,
    ranking: RankingState,
    withdrawn: u64,
    day: Day,
}

impl Feedback {
    /// Returns what nobody has answered yet, for a ranking with these settings.
    pub fn new(settings: RankingSettings) -> Self {
        Self { ranking: Ranking::new(settings), is_report_due: true, ..Self::default() }
    }

    /// Takes in an answer, unless its number was reached before. Numbers may be left out: those of other learners.
    pub fn apply(&mut self, answer: Answer) -> Applied {
        if answer.sequence <= self.sequence {
            return Applied::Known;
        }
        self.sequence = answer.sequence;
        let now_s = answer.time_ns / 1_000_000_000;
        self.draft_log.answer(answer.draft.clone(), answer.verdict, answer.reason, now_s);
        if let Some(labelled) = labelled(&answer) {
            self.ranking.learn(labelled);
        }
        if let Some(made) = &answer.edited {
            self.draft_log.prefer(made);
        }
        if self.answers.len() >= ANSWERS_MAX {
            self.answers.pop_front();
        }
        self.answers.push_back(answer);
        self.is_report_due = true;
        Applied::Taken
    }

    /// Takes an answer back, as if it had never been given: the suggestion waits for an answer again. Its number is one
    /// of the decisions'; unless it was reached before, it counts as applied even where no answer is found.
    pub fn retract(&mut self, sequence: u64, suggestion: u64) -> Applied {
        if sequence <= self.sequence {
            return Applied::Known;
        }
        self.sequence = sequence;
        // A suggestion can be answered again after that: the last answer is the one that stood.
        if let Some(at) = self.answers.iter().rposition(|answer| answer.suggestion == suggestion)
            && let Some(answer) = self.answers.remove(at)
        {
            if answer.edited.is_some() {
                let edited = self.answers.iter().filter_map(|answer| answer.edited.as_ref());
                self.draft_log.restore_preferred(edited);
            }
            if labelled(&answer).is_some() && !self.ranking.retract(suggestion) {
                self.ranking.relearn(self.answers.iter().filter_map(labelled));
            }
            // A newer answer to the same draft stands.
            if !self
                .answers
                .iter()
                .any(|other| other.sequence > answer.sequence && other.draft == answer.draft)
            {
                self.draft_log.reopen(answer.draft, answer.time_ns / 1_000_000_000);
            }
            self.withdrawn += 1;
            self.is_report_due = true;
        }
        Applied::Taken
    }

    /// Lets time pass. With a new day what was answered before it takes part in the ranking.
    pub fn pass_time(&mut self, now_s: u64) {
        let number = now_s / DAY_S;
        if number <= self.day.number {
            return;
        }
        let drafts: Vec<Seen> = std::mem::take(&mut self.day.drafts).into_values().collect();
        self.day.number = number;
        if !drafts.is_empty() {
            self.ranking.observe(&drafts);
        }
        self.ranking.begin_day(number.saturating_mul(DAY_S).saturating_mul(1_000_000_000));
        self.is_report_due = true;
    }

    /// Takes note of drafts that were weighed, of which a day has each once, as it was strongest.
    pub fn weighed(&mut self, drafts: impl IntoIterator<Item = Seen>) {
        for seen in drafts {
            let (pair, about) = (seen.entities[point::PAIR], seen.entities[point::SERVICE]);
            let key = pair ^ about.rotate_left(32);
            let is_room = self.day.drafts.len() < DRAFTS_OF_DAY_MAX;
            match self.day.drafts.get_mut(&key) {
                Some(known) if known.static_score < seen.static_score => *known = seen,
                None if is_room => {
                    self.day.drafts.insert(key, seen);
                }
                Some(_) | None => {}
            }
        }
    }

    /// Goes on through answers that a withdrawal left to be gone through again, some at a time.
    /// Returns whether there are more.
    pub fn catch_up(&mut self) -> bool {
        let is_behind = self.ranking.catch_up();
        self.is_report_due |= is_behind;
        is_behind
    }

    /// Returns the ranking.
    pub fn ranking(&self) -> &Ranking {
        &self.ranking
    }

    /// Returns what was learned, for people: worked out anew where something has changed.
    pub fn report(&mut self) -> &FeedbackReport {
        if std::mem::take(&mut self.is_report_due) {
            self.report = report::report(&mut self.ranking, self.answers.iter(), self.withdrawn);
        }
        &self.report
    }

    /// Takes note that control accepted a draft by itself: nothing to learn from, and not to be suggested while the policy
    /// that has it is on its way.
    pub fn pass(&mut self, sequence: u64, draft: DraftKey, time_ns: u64) -> Applied {
        if sequence <= self.sequence {
            return Applied::Known;
        }
        self.sequence = sequence;
        self.draft_log.answer(draft, Verdict::Accepted, None, time_ns / 1_000_000_000);
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
            ranking: self.ranking.state().clone(),
            withdrawn: self.withdrawn,
            day: self.day.clone(),
        }
    }

    /// Returns what a checkpoint kept, within the bounds of this one.
    pub fn restore(settings: RankingSettings, state: FeedbackState) -> Self {
        let FeedbackState { answers, sequence, draft_log, ranking, withdrawn, mut day } = state;
        let first = answers.len().saturating_sub(ANSWERS_MAX);
        let answers: VecDeque<Answer> = answers.into_iter().skip(first).collect();
        day.drafts.retain(|_, seen| seen.features.len() == LEARNED.len() && seen.is_finite());
        while day.drafts.len() > DRAFTS_OF_DAY_MAX {
            day.drafts.pop_last();
        }
        let kept = Ranking::restore(settings.clone(), ranking, LEARNED.len());
        let ranking = kept.unwrap_or_else(|| {
            tracing::warn!(
                "what a checkpoint kept of the ranking makes no sense: it is learned anew from the answers"
            );
            let mut ranking = Ranking::new(settings);
            ranking.relearn(answers.iter().filter_map(labelled));
            ranking
        });
        Self {
            answers,
            sequence,
            draft_log: DraftLog::restore(draft_log),
            ranking,
            withdrawn,
            day,
            report: FeedbackReport::default(),
            is_report_due: true,
        }
    }
}

/// Returns what is to be learned of an answer, with the person as a number.
fn labelled(answer: &Answer) -> Option<Labelled> {
    let person = standpoint::number(&["person", &answer.actor]) >> PERSON_SHIFT;
    answer.labelled(u32::try_from(person).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::suggestion::{Feature, Reason};

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
            features: vec![Feature { name: standpoint::STATIC_SCORE.into(), value: 0.75 }],
            rank: 1,
            propensity: 1.0,
            confidence: 0.75,
            verdict,
            reason,
            edited: None,
            overlap: 1.0,
            proposed: None,
            actor: "alice".into(),
            time_ns: 5_000_000_000,
        }
    }

    #[test]
    fn a_retracted_answer_is_as_if_it_had_never_been_given() {
        let mut feedback = Feedback::default();
        feedback.apply(answer(1, Verdict::Accepted, None));
        let before: Vec<Answer> = feedback.answers().cloned().collect();
        let rejected = Answer { suggestion: 7, ..answer(2, Verdict::Rejected, Some(Reason::TooBroad)) };
        feedback.apply(rejected.clone());
        assert_eq!(feedback.retract(3, 7), Applied::Taken);
        assert_eq!(feedback.answers().cloned().collect::<Vec<_>>(), before);
        assert!(feedback.draft_log().is_open(&rejected.draft), "it waits for an answer again");
        let report = feedback.report();
        assert_eq!(
            (report.answers, report.waiting, report.withdrawn),
            (0, 1, 1),
            "no day has shown what is usual"
        );
        assert_eq!(feedback.retract(3, 101), Applied::Known, "the number was reached before");
        assert_eq!((feedback.answers().len(), feedback.sequence()), (1, 3));
        // Of two answers to a draft the newer one stands, whatever becomes of the older.
        let again = |sequence, suggestion| Answer { suggestion, ..answer(sequence, Verdict::Rejected, None) };
        let mut twice = Feedback::default();
        twice.apply(again(1, 7));
        twice.apply(again(2, 8));
        twice.retract(3, 7);
        assert!(!twice.draft_log().is_open(&rejected.draft));
        twice.retract(4, 8);
        assert!(twice.draft_log().is_open(&rejected.draft));
        // What is not known any more still moves the number on.
        assert_eq!(feedback.retract(9, 7), Applied::Taken);
        assert_eq!((feedback.answers().len(), feedback.sequence()), (1, 9));
        assert_eq!(feedback.apply(Answer { sequence: 10, ..rejected }), Applied::Taken);
    }

    #[test]
    fn an_automatic_acceptance_is_no_answer() {
        let mut feedback = Feedback::default();
        let draft = answer(1, Verdict::Accepted, None).draft;
        assert_eq!(feedback.pass(4, draft.clone(), 5_000_000_000), Applied::Taken);
        assert_eq!(feedback.pass(4, draft.clone(), 5_000_000_000), Applied::Known);
        assert_eq!((feedback.answers().len(), feedback.sequence()), (0, 4));
        assert!(feedback.draft_log().is_barred(&draft, 6), "its policy is on its way");
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
        let mut again = Feedback::restore(RankingSettings::default(), serde_json::from_str(&text).unwrap());
        assert_eq!(again, feedback);
        assert_eq!(again.apply(answer(max + 5, Verdict::Accepted, None)), Applied::Known);
    }

    /// Returns what the ranking sees of a draft of this service; others vary from draft to draft.
    fn features(number: u32, service: &str) -> Vec<Feature> {
        let draft = DraftKey {
            source: format!("s{}", number % 5),
            destination: format!("d{}", number % 7),
            service: service.into(),
            action: "deny".into(),
        };
        let value = |name: &str, value: f64| Feature { name: name.into(), value };
        let mut features = standpoint::entity_features(&draft);
        let spread = f64::from(number * 37 % 101) / 101.0;
        features.push(value(standpoint::STATIC_SCORE, spread));
        features.push(value("flows_ln", f64::from(number % 11)));
        features.push(value("is_new_pair", f64::from(u8::from(service == "TCP 22 - -"))));
        features
    }

    fn seconds(day: u64) -> u64 {
        DAY_S * (20_000 + day)
    }

    /// Lets somebody answer drafts of two services for days: denying SSH is right, denying TCP 80 is not.
    fn taught(days: u64) -> Feedback {
        let mut feedback = Feedback::new(RankingSettings::default());
        for day in 0..days {
            feedback.pass_time(seconds(day));
            for number in 0..12 {
                let number = u32::try_from(day * 12 + number).unwrap();
                let service = if number.is_multiple_of(2) { "TCP 22 - -" } else { "TCP 80 - -" };
                let features = features(number, service);
                feedback.weighed([standpoint::seen(&features)]);
                let yes = service == "TCP 22 - -";
                feedback.apply(Answer {
                    suggestion: u64::from(number),
                    features,
                    draft: DraftKey { service: service.into(), ..answer(1, Verdict::Accepted, None).draft },
                    time_ns: (seconds(day) + u64::from(number % 12)) * 1_000_000_000,
                    ..answer(
                        u64::from(number) + 1,
                        if yes { Verdict::Accepted } else { Verdict::Rejected },
                        (!yes).then_some(Reason::WrongRule),
                    )
                });
            }
        }
        feedback.pass_time(seconds(days));
        while feedback.catch_up() {}
        feedback
    }

    #[test]
    fn days_of_answers_change_the_order_and_the_report_says_how() {
        let mut feedback = taught(12);
        let drafts: Vec<Seen> = [(1, "TCP 80 - -"), (2, "TCP 22 - -"), (3, "TCP 80 - -")]
            .map(|(number, service)| standpoint::seen(&features(number, service)))
            .to_vec();
        assert!(feedback.ranking().is_in_force());
        assert_eq!(feedback.ranking().rank(&drafts, 10, |_| true)[0].index, 1);
        let report = feedback.report().clone();
        assert!(report.gate_open && report.evidence_nats >= report.evidence_needed_nats, "{report:?}");
        assert_eq!((report.answers, report.withdrawn), (144, 0));
        assert!(report.gate_steps[0].open && report.calibration.len() == 5);
        let named = |name: &str| report.entities.iter().find(|effect| effect.name == name);
        let (refused, taken) = (named("deny TCP 80 - -").unwrap(), named("deny TCP 22 - -").unwrap());
        assert!(refused.log_odds < 0.0 && taken.log_odds > 0.0, "{report:?}");
        assert_eq!(report.features[0].name, "is_new_pair");
        let last = report.precision.last().unwrap();
        assert!(last.shown > last.by_static, "{:?}", report.precision);
    }

    #[test]
    fn a_withdrawn_answer_is_not_learned_from() {
        let mut feedback = taught(3);
        let before = feedback.ranking().clone();
        let late = Answer {
            suggestion: 7_000,
            features: features(5, "TCP 22 - -"),
            time_ns: seconds(1) * 1_000_000_000,
            ..answer(1_000, Verdict::Rejected, Some(Reason::WrongAnomaly))
        };
        feedback.apply(late);
        assert!(*feedback.ranking() != before);
        feedback.retract(1_001, 7_000);
        assert!(*feedback.ranking() == before);
        assert_eq!(feedback.report().withdrawn, 1);
        // What was put off says nothing.
        feedback.apply(answer(1_002, Verdict::Rejected, Some(Reason::Later)));
        assert!(*feedback.ranking() == before);
    }

    #[test]
    fn a_checkpoint_brings_back_what_was_learned() {
        let feedback = taught(4);
        let text = serde_json::to_string(&feedback.state()).unwrap();
        let again = Feedback::restore(RankingSettings::default(), serde_json::from_str(&text).unwrap());
        assert!(again.ranking() == feedback.ranking());
        let drafts: Vec<Seen> =
            (0..9).map(|number| standpoint::seen(&features(number, "TCP 22 - -"))).collect();
        let placed = |feedback: &Feedback| feedback.ranking().rank(&drafts, 10, |_| true);
        assert_eq!(placed(&again), placed(&feedback));
    }

    #[test]
    fn each_reason_speaks_to_its_question() {
        use point::Questions;
        let says = |verdict, reason| answer(1, verdict, reason).labelled(1).map(|one| (one.reward, one.says));
        let no = |reason| says(Verdict::Rejected, Some(reason));
        assert_eq!(says(Verdict::Accepted, None), Some((1.0, vec![(Questions::BOTH, 1.0)])));
        assert_eq!(no(Reason::WrongAnomaly), Some((0.0, vec![(Questions::SITUATION, 0.0)])));
        assert_eq!(no(Reason::WrongRule), Some((0.0, vec![(Questions::RULE, 0.0)])));
        assert_eq!(no(Reason::TooBroad), Some((0.0, vec![(Questions::SITUATION, 1.0)])));
        assert_eq!(no(Reason::Later), None);
        let edited = Answer { overlap: 0.25, ..answer(1, Verdict::Edited, None) }.labelled(1).unwrap();
        assert_eq!((edited.reward, edited.says[1]), (0.25, (Questions::RULE, 0.25)));
    }
}
