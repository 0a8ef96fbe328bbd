//! Automatic acceptance, as far as it is decided and not done: pure, values in, values out.
//!
//! An administrator switches it on for a kind of suggestion. A confidence counts only once people's answers have borne it
//! out ([`earned()`]); a draft that touches what people wrote is never accepted ([`Objection`]); what is accepted begins in
//! shadow, is promoted if it does what its replay said, and is taken back if it then decides more than was expected
//! ([`next_step`]). `keeper/automatic.rs` does what is decided here, one transaction a step.
//!
//! What is seen of flows are the roll-ups that learners deliver: how many flows a rule decided, and how many it would have
//! decided otherwise while it was in shadow. A flow that no collector saw, that was sampled out, or that another shadow
//! rule changed first is not in them. So silence proves nothing: hours without any roll-up do not count as watched.

mod earned;
mod objection;
mod step;

pub use earned::earned;
pub use objection::{Objection, denies};
pub use step::{NextStep, RunFacts, Standing, next_step};

use meshgate_policy::automatic::{AutomaticKind, AutomaticSettings, AutomaticState};

/// Who accepts, promotes and takes back: control under its own role.
pub const ACTOR: &str = "automatic";
/// Acceptances that are in shadow or watched at once, of all kinds: each is looked at every few seconds.
pub const LIVE_RUNS_MAX: usize = 64;
/// Open suggestions that are looked at in one round.
pub const CANDIDATES_MAX: u32 = 200;

/// How a kind stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// The kind.
    pub kind: AutomaticKind,
    /// Whether it is accepted automatically.
    pub state: AutomaticState,
    /// Since when, nanoseconds since 1970; 0 if it never was.
    pub since_ns: u64,
    /// Who made it so.
    pub actor: String,
    /// Why.
    pub comment: String,
    /// What is asked.
    pub settings: AutomaticSettings,
}

impl Kind {
    /// Returns a kind that was never switched.
    pub fn off(kind: AutomaticKind) -> Self {
        Self {
            kind,
            state: AutomaticState::Off,
            since_ns: 0,
            actor: String::new(),
            comment: String::new(),
            settings: AutomaticSettings::default(),
        }
    }
}

/// What roll-ups say of one rule over a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// All flows.
    pub seen: u64,
    /// Flows that the rule, in shadow, would have decided otherwise.
    pub changed: u64,
    /// Flows that the rule decided.
    pub decided: u64,
    /// Records that never reached a collector.
    pub lost: u64,
    /// Hours that the span touches.
    pub hours: u64,
    /// Hours of these with any roll-up.
    pub hours_seen: u64,
}

/// Returns the count as a real number: counts of flows are far below where neighbours fall together.
#[expect(clippy::cast_precision_loss, reason = "compared with a tolerance far wider than the loss")]
fn real(count: u64) -> f64 {
    count as f64
}
