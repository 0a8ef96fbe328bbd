//! Automatic acceptance: what an administrator switches on, what has to be earned for it, and how one acceptance goes.

use crate::ids::RuleId;
use crate::rule::{UnknownWord, words};
use crate::suggestion::{Origin, Suggestion};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Answers that may be asked for at most: what a learner remembers.
pub const AUTOMATIC_ANSWERS_MAX: u32 = 10_000;
/// Hours of a shadow or rollback period at most: a month.
pub const AUTOMATIC_HOURS_MAX: u32 = 31 * 24;
/// Acceptances of one day and kind at most: what a person can still look through.
pub const AUTOMATIC_PER_DAY_MAX: u32 = 100;
/// Largest factor of a tolerance.
pub const TOLERANCE_FACTOR_MAX: f64 = 1_000.0;
/// Largest number of flows of a tolerance.
pub const TOLERANCE_FLOWS_MAX: u32 = 1_000_000_000;

/// A kind of suggestion that can be accepted automatically.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AutomaticKind {
    /// Allows that come from a pattern that holds.
    Steady,
    /// Denies that come from something unusual.
    Anomaly,
}
words!(AutomaticKind, "kind", "steady, anomaly", Steady = "steady", Anomaly = "anomaly");

impl AutomaticKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Steady, Self::Anomaly];

    /// Returns the kind of a suggestion.
    pub fn of(suggestion: &Suggestion) -> Self {
        match suggestion.origin {
            Origin::Steady => Self::Steady,
            Origin::Anomaly => Self::Anomaly,
        }
    }
}

/// Whether a kind is accepted automatically.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AutomaticState {
    /// People answer.
    Off,
    /// Control accepts what passes.
    On,
    /// Control took an acceptance back; until an administrator switches it on again, people answer.
    Suspended,
}
words!(AutomaticState, "state", "off, on, suspended", Off = "off", On = "on", Suspended = "suspended");

/// How much more than expected may be seen: `factor` times what was expected, and so many flows on top.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tolerance {
    /// Times what was expected.
    pub factor: f64,
    /// Flows beyond that.
    pub flows: u32,
}

/// What an administrator asks of automatic acceptances of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AutomaticSettings {
    /// Least confidence of a suggestion that is accepted, 0.5 to 1.
    pub confidence: f64,
    /// Answers by people to suggestions of that confidence that are looked at, the last ones; so many there must be.
    pub answers: u32,
    /// How far the surely accepted share of them may lie below the confidence, 0 to 0.5.
    pub margin: f64,
    /// Hours that a rule only reports before it decides, at least 1.
    pub shadow_hours: u32,
    /// Hours that a rule is watched once it decides, at least 1.
    pub rollback_hours: u32,
    /// Acceptances of the kind within a day.
    pub per_day: u32,
    /// Largest share of what an allow permits that was never seen, 0 to 1.
    pub over_permissiveness_max: f64,
    /// What a rule in shadow may change beyond what its replay said; a deny may change its flows and no more.
    pub shadow: Tolerance,
    /// What a rule in force may decide beyond what was expected. Expected are flows; of what is refused, every try counts.
    pub rollback: Tolerance,
}

impl Default for AutomaticSettings {
    fn default() -> Self {
        Self {
            confidence: 0.95,
            answers: 100,
            margin: 0.05,
            shadow_hours: 24,
            rollback_hours: 24,
            per_day: 3,
            over_permissiveness_max: 0.1,
            shadow: Tolerance { factor: 2.0, flows: 20 },
            // A refused connection is counted once a try, and TCP tries up to seven times.
            rollback: Tolerance { factor: 10.0, flows: 50 },
        }
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field}: {value} is not between {least} and {most}")]
pub struct SettingsFault {
    /// The setting.
    pub field: &'static str,
    /// Its value.
    pub value: f64,
    /// The least that is possible.
    pub least: f64,
    /// The most that is possible.
    pub most: f64,
}

impl AutomaticSettings {
    /// Refuses a setting out of its range, or one that is no number.
    pub fn check(&self) -> Result<(), SettingsFault> {
        let Self {
            confidence,
            answers,
            margin,
            shadow_hours,
            rollback_hours,
            per_day,
            over_permissiveness_max,
            shadow,
            rollback,
        } = self;
        let hours = f64::from(AUTOMATIC_HOURS_MAX);
        let flows = f64::from(TOLERANCE_FLOWS_MAX);
        let ranges = [
            ("confidence", *confidence, 0.5, 1.0),
            ("answers", f64::from(*answers), 10.0, f64::from(AUTOMATIC_ANSWERS_MAX)),
            // However wide the margin, more than half of the answers must have been a yes.
            ("margin", *margin, 0.0, (*confidence - 0.5).max(0.0)),
            ("shadow_hours", f64::from(*shadow_hours), 1.0, hours),
            ("rollback_hours", f64::from(*rollback_hours), 1.0, hours),
            ("per_day", f64::from(*per_day), 1.0, f64::from(AUTOMATIC_PER_DAY_MAX)),
            ("over_permissiveness_max", *over_permissiveness_max, 0.0, 1.0),
            ("shadow.factor", shadow.factor, 1.0, TOLERANCE_FACTOR_MAX),
            ("shadow.flows", f64::from(shadow.flows), 0.0, flows),
            ("rollback.factor", rollback.factor, 1.0, TOLERANCE_FACTOR_MAX),
            ("rollback.flows", f64::from(rollback.flows), 0.0, flows),
        ];
        let out = ranges.into_iter().find(|(_, value, least, most)| !(least..=most).contains(&value));
        match out {
            None => Ok(()),
            Some((field, value, least, most)) => Err(SettingsFault { field, value, least, most }),
        }
    }
}

/// Where an automatic acceptance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RunStage {
    /// The rule only reports.
    Shadow,
    /// The rule decides and is watched.
    Enforced,
    /// It was watched for long enough and stays.
    Kept,
    /// It did not get beyond shadow; the suggestion is open for a person.
    Dropped,
    /// It was taken back after it had decided; the suggestion is open for a person.
    RolledBack,
    /// A person withdrew it.
    Withdrawn,
    /// A person changed or removed its rule, which is theirs since.
    TakenOver,
}
words!(
    RunStage,
    "stage",
    "shadow, enforced, kept, dropped, rolled-back, withdrawn, taken-over",
    Shadow = "shadow",
    Enforced = "enforced",
    Kept = "kept",
    Dropped = "dropped",
    RolledBack = "rolled-back",
    Withdrawn = "withdrawn",
    TakenOver = "taken-over"
);

impl RunStage {
    /// Returns whether control still has something to do with it.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Shadow | Self::Enforced)
    }
}

/// One step of an automatic acceptance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStep {
    /// Where it led.
    pub stage: RunStage,
    /// When, nanoseconds since 1970.
    pub time_ns: u64,
    /// Why, with the figures.
    pub words: String,
}

/// What a rule was expected to do, from flows before and while it decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Seconds of the past that the draft was replayed against.
    pub replayed_s: u64,
    /// Flows of these whose verdict it would have changed.
    pub changed: u64,
    /// Flows of these that it would have decided, changed or not.
    pub decided: u64,
    /// Seconds that the rule was in shadow; 0 while it still is.
    pub shadow_s: u64,
    /// Flows of these whose verdict it would have changed.
    pub shadow_changed: u64,
}

/// An automatic acceptance, from the shadow rule to its end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AutomaticRun {
    /// Number of the suggestion.
    pub suggestion: u64,
    /// Sequence of the decision.
    pub decision: u64,
    /// Kind of the suggestion.
    pub kind: AutomaticKind,
    /// Number of the rule or relationship that it made.
    pub relationship: RuleId,
    /// Where it stands.
    pub stage: RunStage,
    /// Since when, nanoseconds since 1970.
    pub since_ns: u64,
    /// What was asked when it began; changed settings do not change it.
    pub settings: AutomaticSettings,
    /// What the rule was expected to do.
    pub expected: Expected,
    /// Its steps, oldest first.
    pub steps: Vec<RunStep>,
}

/// What people's answers say of the confidence of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Earned {
    /// Answers that count, of those that are asked for.
    pub answers: u32,
    /// Of these, drafts that were accepted as they were.
    pub accepted: u32,
    /// Lower end of the 95 % Wilson interval of the accepted share.
    pub lower: f64,
    /// Its upper end.
    pub upper: f64,
    /// What the lower end must reach.
    pub needed: f64,
    /// Whether there are enough answers and the lower end reaches it.
    pub is_earned: bool,
}

/// One kind with everything that decides whether control accepts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AutomaticLine {
    /// The kind.
    pub kind: AutomaticKind,
    /// Whether it is accepted automatically.
    pub state: AutomaticState,
    /// Since when, nanoseconds since 1970; 0 if it never was.
    pub since_ns: u64,
    /// Who made it so.
    pub actor: String,
    /// Why, where control suspended it or somebody said.
    pub comment: String,
    /// What is asked.
    pub settings: AutomaticSettings,
    /// What was earned so far, by the learner that is furthest.
    pub earned: Earned,
    /// Acceptances within the last day.
    pub accepted_today: u32,
    /// Acceptances that are still watched.
    pub live: Vec<AutomaticRun>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_and_what_cannot_is_named() {
        let settings = AutomaticSettings::default();
        assert_eq!(settings.check(), Ok(()));
        let refusal = |settings: AutomaticSettings| settings.check().unwrap_err().to_string();
        let none = AutomaticSettings { shadow_hours: 0, ..settings.clone() };
        assert_eq!(refusal(none), "shadow_hours: 0 is not between 1 and 744");
        let odd = AutomaticSettings { confidence: f64::NAN, ..settings.clone() };
        assert_eq!(refusal(odd), "confidence: NaN is not between 0.5 and 1");
        let anything = AutomaticSettings { confidence: 0.9, margin: 0.45, ..settings.clone() };
        assert_eq!(refusal(anything), "margin: 0.45 is not between 0 and 0.4");
        let shrinks = Tolerance { factor: 0.5, flows: 0 };
        let odd = AutomaticSettings { rollback: shrinks, ..settings };
        assert_eq!(refusal(odd), "rollback.factor: 0.5 is not between 1 and 1000");
    }

    #[test]
    fn only_two_stages_are_live() {
        let live = |word: &str| word.parse::<RunStage>().unwrap().is_live();
        assert!(live("shadow") && live("enforced"));
        assert!(!["kept", "dropped", "rolled-back", "withdrawn", "taken-over"].iter().any(|word| live(word)));
    }
}
