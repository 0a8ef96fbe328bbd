//! `meshgate status`: which host enforces what.

use crate::enforcement::wait;
use crate::failure::Failure;
use crate::session::{Reply, Session};
use crate::status_text::{counters_text, status_text};
use clap::Args;
use std::time::{SystemTime, UNIX_EPOCH};

/// `meshgate status`.
#[derive(Args, Clone, Debug)]
pub struct Status {
    /// Return when a dataplane is connected and every connected one enforces the newest version; exit code 3 if
    /// --timeout passes first
    #[arg(long)]
    wait: bool,
    /// With --wait: this version or a later one, instead of the newest
    #[arg(long = "version", value_name = "N", requires = "wait")]
    version: Option<u64>,
    /// Also show drop reasons, rules and devices of every host
    #[arg(long)]
    counters: bool,
}

impl Status {
    /// Shows the hosts, after waiting for them where that is wanted.
    pub async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let client = session.connect().await?;
        let (hosts, lacking) = if self.wait {
            wait(&client, self.version, session.timeout).await?
        } else {
            (client.hosts().await?, None)
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let text = session.show(&hosts, |hosts| {
            let mut text = status_text(hosts, now_ns);
            if self.counters {
                text.push_str(&counters_text(hosts));
            }
            text
        })?;
        Ok(Reply { text, lacking })
    }
}
