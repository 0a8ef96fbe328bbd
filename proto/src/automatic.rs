//! Automatic acceptance, both ways.

use crate::fault::{At, Problem, WireFault, Within};
use crate::field::{check_count, check_share, messages, word};
use crate::wire;
use meshgate_policy::RuleId;
use meshgate_policy::automatic::{
    AutomaticLine, AutomaticRun, AutomaticSettings, Earned, Expected, RunStep, Tolerance,
};

/// Steps of one run at most, and runs that are watched at once: far above what control makes.
const LISTED_MAX: usize = 1_000;

impl TryFrom<wire::AutomaticSettings> for AutomaticSettings {
    type Error = WireFault;
    fn try_from(message: wire::AutomaticSettings) -> Result<Self, WireFault> {
        let wire::AutomaticSettings {
            confidence,
            answers,
            margin,
            shadow_hours,
            rollback_hours,
            per_day,
            over_permissiveness_max,
            shadow,
            rollback,
        } = message;
        let tolerance = |message: Option<wire::Tolerance>| {
            message.map(|wire::Tolerance { factor, flows }| Tolerance { factor, flows })
        };
        let settings = Self {
            confidence,
            answers,
            margin,
            shadow_hours,
            rollback_hours,
            per_day,
            over_permissiveness_max,
            shadow: tolerance(shadow).ok_or(Problem::Missing).at("shadow")?,
            rollback: tolerance(rollback).ok_or(Problem::Missing).at("rollback")?,
        };
        let fault = |fault: meshgate_policy::automatic::SettingsFault| WireFault {
            path: fault.field.to_owned(),
            problem: Problem::Setting(fault),
        };
        settings.check().map_err(fault)?;
        Ok(settings)
    }
}

impl From<AutomaticSettings> for wire::AutomaticSettings {
    fn from(settings: AutomaticSettings) -> Self {
        let AutomaticSettings {
            confidence,
            answers,
            margin,
            shadow_hours,
            rollback_hours,
            per_day,
            over_permissiveness_max,
            shadow,
            rollback,
        } = settings;
        let tolerance = |Tolerance { factor, flows }| Some(wire::Tolerance { factor, flows });
        Self {
            confidence,
            answers,
            margin,
            shadow_hours,
            rollback_hours,
            per_day,
            over_permissiveness_max,
            shadow: tolerance(shadow),
            rollback: tolerance(rollback),
        }
    }
}

fn settings(message: Option<wire::AutomaticSettings>) -> Result<AutomaticSettings, WireFault> {
    let message = message.ok_or(Problem::Missing).at("settings")?;
    AutomaticSettings::try_from(message).within("settings")
}

impl TryFrom<wire::AutomaticLine> for AutomaticLine {
    type Error = WireFault;
    fn try_from(message: wire::AutomaticLine) -> Result<Self, WireFault> {
        let wire::AutomaticLine {
            kind,
            state,
            since_ns,
            actor,
            comment,
            settings: asked,
            earned,
            accepted_today,
            live,
        } = message;
        let earned = earned.ok_or(Problem::Missing).at("earned")?;
        Ok(Self {
            kind: word(&kind).at("kind")?,
            state: word(&state).at("state")?,
            since_ns,
            actor,
            comment,
            settings: settings(asked)?,
            earned: Earned::try_from(earned).within("earned")?,
            accepted_today,
            live: messages(live, "live", LISTED_MAX, AutomaticRun::try_from)?,
        })
    }
}

impl From<AutomaticLine> for wire::AutomaticLine {
    fn from(line: AutomaticLine) -> Self {
        let AutomaticLine { kind, state, since_ns, actor, comment, settings, earned, accepted_today, live } =
            line;
        Self {
            kind: kind.to_string(),
            state: state.to_string(),
            since_ns,
            actor,
            comment,
            settings: Some(settings.into()),
            earned: Some(earned.into()),
            accepted_today,
            live: live.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::Earned> for Earned {
    type Error = WireFault;
    fn try_from(message: wire::Earned) -> Result<Self, WireFault> {
        let wire::Earned { answers, accepted, lower, upper, needed, is_earned } = message;
        for (share, field) in [(lower, "lower"), (upper, "upper"), (needed, "needed")] {
            check_share(share).at(field)?;
        }
        Ok(Self { answers, accepted, lower, upper, needed, is_earned })
    }
}

impl From<Earned> for wire::Earned {
    fn from(earned: Earned) -> Self {
        let Earned { answers, accepted, lower, upper, needed, is_earned } = earned;
        Self { answers, accepted, lower, upper, needed, is_earned }
    }
}

impl TryFrom<wire::AutomaticRun> for AutomaticRun {
    type Error = WireFault;
    fn try_from(message: wire::AutomaticRun) -> Result<Self, WireFault> {
        let wire::AutomaticRun {
            suggestion_id,
            decision,
            kind,
            relationship,
            stage,
            since_ns,
            settings: asked,
            expected,
            steps,
        } = message;
        check_count(&steps, LISTED_MAX).at("steps")?;
        let wire::Expected { replayed_s, flows_changed, flows_decided, shadow_s, shadow_flows_changed } =
            expected.ok_or(Problem::Missing).at("expected")?;
        Ok(Self {
            suggestion: suggestion_id,
            decision,
            kind: word(&kind).at("kind")?,
            relationship: RuleId(relationship),
            stage: word(&stage).at("stage")?,
            since_ns,
            settings: settings(asked)?,
            expected: Expected {
                replayed_s,
                changed: flows_changed,
                decided: flows_decided,
                shadow_s,
                shadow_changed: shadow_flows_changed,
            },
            steps: messages(steps, "steps", LISTED_MAX, step)?,
        })
    }
}

fn step(message: wire::RunStep) -> Result<RunStep, WireFault> {
    let wire::RunStep { stage, time_ns, words } = message;
    Ok(RunStep { stage: word(&stage).at("stage")?, time_ns, words })
}

impl From<AutomaticRun> for wire::AutomaticRun {
    fn from(run: AutomaticRun) -> Self {
        let AutomaticRun {
            suggestion,
            decision,
            kind,
            relationship,
            stage,
            since_ns,
            settings,
            expected,
            steps,
        } = run;
        let Expected { replayed_s, changed, decided, shadow_s, shadow_changed } = expected;
        let step =
            |RunStep { stage, time_ns, words }| wire::RunStep { stage: stage.to_string(), time_ns, words };
        Self {
            suggestion_id: suggestion,
            decision,
            kind: kind.to_string(),
            relationship: relationship.0,
            stage: stage.to_string(),
            since_ns,
            settings: Some(settings.into()),
            expected: Some(wire::Expected {
                replayed_s,
                flows_changed: changed,
                flows_decided: decided,
                shadow_s,
                shadow_flows_changed: shadow_changed,
            }),
            steps: steps.into_iter().map(step).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::automatic::{AutomaticKind, AutomaticState, RunStage};

    fn line() -> AutomaticLine {
        let run = AutomaticRun {
            suggestion: 3,
            decision: 9,
            kind: AutomaticKind::Anomaly,
            relationship: RuleId(4),
            stage: RunStage::Enforced,
            since_ns: 8,
            settings: AutomaticSettings::default(),
            expected: Expected { replayed_s: 1, changed: 2, decided: 3, shadow_s: 4, shadow_changed: 5 },
            steps: vec![RunStep { stage: RunStage::Shadow, time_ns: 7, words: "why".into() }],
        };
        AutomaticLine {
            kind: AutomaticKind::Anomaly,
            state: AutomaticState::Suspended,
            since_ns: 5,
            actor: "automatic".into(),
            comment: "refused flows rose".into(),
            settings: AutomaticSettings { answers: 50, ..AutomaticSettings::default() },
            earned: Earned {
                answers: 4,
                accepted: 3,
                lower: 0.3,
                upper: 0.95,
                needed: 0.9,
                is_earned: false,
            },
            accepted_today: 1,
            live: vec![run],
        }
    }

    #[test]
    fn a_line_survives_the_wire() {
        assert_eq!(AutomaticLine::try_from(wire::AutomaticLine::from(line())).unwrap(), line());
    }

    #[test]
    fn what_cannot_be_is_named_by_its_field() {
        type Spoil = fn(&mut wire::AutomaticLine);
        let cases: [(Spoil, &str); 6] = [
            (|m| m.kind = "cost".into(), "kind: \"cost\" is not one of steady, anomaly"),
            (|m| m.settings = None, "settings: is missing"),
            (|m| m.earned = None, "earned: is missing"),
            (|m| m.live[0].stage = "open".into(), "live[0].stage: \"open\" is not one of "),
            (|m| m.live[0].expected = None, "live[0].expected: is missing"),
            (
                |m| m.live[0].settings.as_mut().unwrap().shadow_hours = 0,
                "live[0].settings.shadow_hours: 0 is not between 1 and 744",
            ),
        ];
        for (spoil, expected) in cases {
            let mut message = wire::AutomaticLine::from(line());
            spoil(&mut message);
            let shown = AutomaticLine::try_from(message).unwrap_err().to_string();
            assert!(shown.starts_with(expected), "{shown}");
        }
        let none = wire::AutomaticSettings { shadow: None, ..AutomaticSettings::default().into() };
        assert_eq!(AutomaticSettings::try_from(none).unwrap_err().to_string(), "shadow: is missing");
    }
}
