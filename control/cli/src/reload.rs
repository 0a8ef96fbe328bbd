//! `meshgate reload`: a host reads its configuration again.

use crate::failure::Failure;
use crate::inside_answers::Reloaded;
use crate::session::{Reply, Session};
use crate::table::{plural, printable};
use clap::Args;
use meshgate_policy::Name;

/// `meshgate reload`.
#[derive(Args, Clone, Debug)]
pub struct Reload {
    /// The host; not needed where one dataplane is connected
    #[arg(long, value_name = "NAME")]
    host: Option<Name>,
}

impl Reload {
    /// Asks and says what came of it.
    pub async fn run(self, session: &Session) -> Result<Reply, Failure> {
        let host = self.host.as_ref().map(ToString::to_string).unwrap_or_default();
        let reloaded = session.connect().await?.reload(&host).await?;
        Ok(session.show(&reloaded, text)?.into())
    }
}

fn text(Reloaded { host, devices }: &Reloaded) -> String {
    let devices = usize::try_from(*devices).unwrap_or(usize::MAX);
    format!("{}: configuration read again, {}\n", printable(host.clone()), plural(devices, "device"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_many_devices_there_are_now() {
        let reloaded = |devices| text(&Reloaded { host: "gw-1".into(), devices });
        assert_eq!(reloaded(1), "gw-1: configuration read again, 1 device\n");
        assert_eq!(reloaded(3), "gw-1: configuration read again, 3 devices\n");
    }
}
