//! `meshgate top`: what a host does at this moment.

mod live;
mod screen;
mod view;

use crate::capture::summaries;
use crate::client::{CallError, Client};
use crate::failure::{Failure, UsageError};
use crate::inside_answers::Activity;
use crate::session::{Reply, Session};
use crate::units::parse_span;
use clap::Args;
use meshgate_policy::Name;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;
use view::View;

/// Shortest time between two looks: rates of less are noise, and each look is a call.
const INTERVAL_MIN: Duration = Duration::from_millis(200);
/// Width of what is printed once.
const COLUMNS: usize = 80;
/// Names of rules are asked for again after so many looks.
const LOOKS_PER_POLICY: u32 = 15;

/// `meshgate top`.
#[derive(Args, Clone, Debug)]
pub struct Top {
    /// The host; may be left out if one dataplane is connected
    #[arg(long, value_name = "NAME")]
    host: Option<Name>,
    /// Time between two looks; rates are over this time
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = parse_span)]
    interval: Duration,
    /// Look twice, print once, and end
    #[arg(long)]
    once: bool,
    /// At most this many rules and flows
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

/// Looks at one host again and again.
struct Looks<'a> {
    client: &'a Client,
    host: String,
    limit: u32,
    /// Rules in words, and after how many looks they are asked for again.
    summaries: BTreeMap<u32, String>,
    looks_left: u32,
}

impl Top {
    /// Shows the host until a person ends it, or once.
    pub async fn run(self, session: &Session) -> Result<Reply, Failure> {
        if self.interval < INTERVAL_MIN {
            return Err(UsageError::Interval.into());
        }
        if !self.once && !std::io::stdout().is_terminal() {
            return Err(UsageError::NoTerminal.into());
        }
        let client = session.connect().await?;
        let host = self.host.map(String::from).unwrap_or_default();
        let mut looks = Looks::new(&client, host, self.limit);
        let before = looks.look().await?;
        if !self.once {
            return live::run(looks, before, self.interval).await.map(|()| String::new().into());
        }
        tokio::time::sleep(self.interval).await;
        let view = View::between(&before, looks.look().await?);
        let lines = |view: &View| screen::lines(view, COLUMNS, usize::MAX).join("\n") + "\n";
        Ok(session.show(&view, lines)?.into())
    }
}

impl<'a> Looks<'a> {
    fn new(client: &'a Client, host: String, limit: u32) -> Self {
        Self { client, host, limit, summaries: BTreeMap::new(), looks_left: 0 }
    }

    /// Asks what the host counts at this moment.
    async fn look(&mut self) -> Result<Activity, CallError> {
        if self.looks_left == 0 {
            self.summaries = summaries(&self.client.policy(None).await?);
            self.looks_left = LOOKS_PER_POLICY;
        }
        self.looks_left -= 1;
        let mut activity = self.client.observe(&self.host, self.limit).await?;
        for rule in &mut activity.rules {
            rule.summary = self.summaries.get(&rule.rule).cloned().unwrap_or_default();
        }
        Ok(activity)
    }
}
