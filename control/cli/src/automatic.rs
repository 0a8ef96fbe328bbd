//! `meshgate automatic`: what the control plane may accept by itself.

use crate::automatic_text::{line_text, lines_text};
use crate::failure::Failure;
use crate::session::{Reply, Session};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use meshgate_policy::automatic::{AutomaticLine, AutomaticSettings, Tolerance};
use serde::Serialize;

/// Commands of `meshgate automatic`.
#[derive(Subcommand, Clone, Debug)]
pub enum AutomaticCommand {
    /// Show for every kind of suggestion whether it is on, how far it is earned, and what is watched
    #[command(after_help = "Examples:
  meshgate automatic show
  meshgate automatic show --output json")]
    Show(Show),
    /// Let the control plane accept suggestions of a kind, once their confidence is earned
    #[command(after_help = "Examples:
  meshgate automatic enable anomaly
  meshgate automatic enable steady --confidence 0.97 --answers 200 --shadow-hours 72 --per-day 1

What is accepted first only reports for the shadow period. It decides after that if it did what its
replay said, and is taken back if it then decides much more than expected; the kind is then
suspended until it is enabled again. A draft that touches rules of people, and a deny of busy
traffic, is never accepted. What is not named stays as `show` says, also while the kind is off.")]
    Enable(Box<Enable>),
    /// Have people answer suggestions of a kind again
    #[command(after_help = "Examples:
  meshgate automatic disable anomaly --comment 'until the move is over'

What is still in shadow is dropped and open again; what decides already is watched to its end.")]
    Disable(Disable),
}

/// `automatic show`.
#[derive(Args, Clone, Debug)]
pub struct Show {}

/// The kind of suggestion.
#[derive(Args, Clone, Debug)]
pub struct Kind {
    /// steady: allows from patterns that hold; anomaly: denies from what is unusual
    #[arg(value_name = "KIND", hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(["steady", "anomaly"]))]
    kind: String,
}

/// `automatic enable`.
#[derive(Args, Clone, Debug)]
pub struct Enable {
    #[command(flatten)]
    kind: Kind,
    /// Least confidence of what is accepted, 0.5 to 1
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    confidence: Option<f64>,
    /// Answers of people to suggestions of that confidence that must be there; the last ones count
    #[arg(long, value_name = "N")]
    answers: Option<u32>,
    /// How far the surely accepted share of them (95 % Wilson interval) may lie below the confidence; never under one half
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    margin: Option<f64>,
    /// Hours that a rule only reports before it decides
    #[arg(long, value_name = "HOURS")]
    shadow_hours: Option<u32>,
    /// Hours that a rule is watched once it decides
    #[arg(long, value_name = "HOURS")]
    rollback_hours: Option<u32>,
    /// Acceptances within a day
    #[arg(long, value_name = "N")]
    per_day: Option<u32>,
    /// Largest share of what an allow permits that was never seen
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    over_permissiveness: Option<f64>,
    /// In shadow: times what the replay said that a rule may change ...
    #[arg(long, value_name = "TIMES", allow_negative_numbers = true)]
    shadow_factor: Option<f64>,
    /// ... and flows beyond that
    #[arg(long, value_name = "FLOWS")]
    shadow_flows: Option<u32>,
    /// In force: times what was expected that a rule may decide ...
    #[arg(long, value_name = "TIMES", allow_negative_numbers = true)]
    rollback_factor: Option<f64>,
    /// ... and flows beyond that
    #[arg(long, value_name = "FLOWS")]
    rollback_flows: Option<u32>,
    /// Kept in the audit trail
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
}

/// `automatic disable`.
#[derive(Args, Clone, Debug)]
pub struct Disable {
    #[command(flatten)]
    kind: Kind,
    /// Kept in the audit trail
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
}

/// Every kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Kinds {
    kinds: Vec<AutomaticLine>,
}

/// Runs a command.
pub async fn run(command: AutomaticCommand, session: &Session) -> Result<Reply, Failure> {
    let client = session.connect().await?;
    match command {
        AutomaticCommand::Show(Show {}) => {
            let kinds = Kinds { kinds: client.automatic().await? };
            Ok(session.show(&kinds, |kinds| lines_text(&kinds.kinds))?.into())
        }
        AutomaticCommand::Enable(enable) => {
            let kinds = client.automatic().await?;
            let now = kinds.iter().find(|line| line.kind.to_string() == enable.kind.kind);
            let settings = now.and_then(|line| enable.over(&line.settings));
            let line = client.enable_automatic(&enable.kind.kind, settings, &enable.comment).await?;
            Ok(session.show(&line, line_text)?.into())
        }
        AutomaticCommand::Disable(disable) => {
            let line = client.disable_automatic(&disable.kind.kind, &disable.comment).await?;
            Ok(session.show(&line, line_text)?.into())
        }
    }
}

impl Enable {
    /// Returns the settings with what was typed in place of what is asked now; none if nothing was.
    fn over(&self, now: &AutomaticSettings) -> Option<AutomaticSettings> {
        let wanted = AutomaticSettings {
            confidence: self.confidence.unwrap_or(now.confidence),
            answers: self.answers.unwrap_or(now.answers),
            margin: self.margin.unwrap_or(now.margin),
            shadow_hours: self.shadow_hours.unwrap_or(now.shadow_hours),
            rollback_hours: self.rollback_hours.unwrap_or(now.rollback_hours),
            per_day: self.per_day.unwrap_or(now.per_day),
            over_permissiveness_max: self.over_permissiveness.unwrap_or(now.over_permissiveness_max),
            shadow: Tolerance {
                factor: self.shadow_factor.unwrap_or(now.shadow.factor),
                flows: self.shadow_flows.unwrap_or(now.shadow.flows),
            },
            rollback: Tolerance {
                factor: self.rollback_factor.unwrap_or(now.rollback.factor),
                flows: self.rollback_flows.unwrap_or(now.rollback.flows),
            },
        };
        (wanted != *now).then_some(wanted)
    }
}
