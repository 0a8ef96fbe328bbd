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
suspended until it is enabled again. A draft that touches rules of people is never accepted.")]
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
    #[arg(long, value_name = "SHARE", default_value_t = AutomaticSettings::default().confidence)]
    confidence: f64,
    /// Answers of people to suggestions of that confidence that must be there; the last ones count
    #[arg(long, value_name = "N", default_value_t = AutomaticSettings::default().answers)]
    answers: u32,
    /// How far the surely accepted share of them (95 % Wilson interval) may lie below the confidence
    #[arg(long, value_name = "SHARE", default_value_t = AutomaticSettings::default().margin)]
    margin: f64,
    /// Hours that a rule only reports before it decides
    #[arg(long, value_name = "HOURS", default_value_t = AutomaticSettings::default().shadow_hours)]
    shadow_hours: u32,
    /// Hours that a rule is watched once it decides
    #[arg(long, value_name = "HOURS", default_value_t = AutomaticSettings::default().rollback_hours)]
    rollback_hours: u32,
    /// Acceptances within a day
    #[arg(long, value_name = "N", default_value_t = AutomaticSettings::default().per_day)]
    per_day: u32,
    /// Largest share of what an allow permits that was never seen
    #[arg(long, value_name = "SHARE")]
    #[arg(default_value_t = AutomaticSettings::default().over_permissiveness_max)]
    over_permissiveness: f64,
    /// In shadow: times what the replay said that a rule may change ...
    #[arg(long, value_name = "TIMES", default_value_t = AutomaticSettings::default().shadow.factor)]
    shadow_factor: f64,
    /// ... and flows beyond that
    #[arg(long, value_name = "FLOWS", default_value_t = AutomaticSettings::default().shadow.flows)]
    shadow_flows: u32,
    /// In force: times what was expected that a rule may decide ...
    #[arg(long, value_name = "TIMES", default_value_t = AutomaticSettings::default().rollback.factor)]
    rollback_factor: f64,
    /// ... and flows beyond that
    #[arg(long, value_name = "FLOWS", default_value_t = AutomaticSettings::default().rollback.flows)]
    rollback_flows: u32,
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
            let settings = enable.settings();
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
    fn settings(&self) -> AutomaticSettings {
        AutomaticSettings {
            confidence: self.confidence,
            answers: self.answers,
            margin: self.margin,
            shadow_hours: self.shadow_hours,
            rollback_hours: self.rollback_hours,
            per_day: self.per_day,
            over_permissiveness_max: self.over_permissiveness,
            shadow: Tolerance { factor: self.shadow_factor, flows: self.shadow_flows },
            rollback: Tolerance { factor: self.rollback_factor, flows: self.rollback_flows },
        }
    }
}
