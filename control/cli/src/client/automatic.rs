//! Calls about automatic acceptance.

use super::{CallError, Client};
use meshgate_policy::automatic::{AutomaticLine, AutomaticSettings};
use meshgate_proto::wire::{self, automatic_service_client::AutomaticServiceClient};
use tonic::transport::Channel;

impl Client {
    /// Says of every kind of suggestion how it stands.
    pub async fn automatic(&self) -> Result<Vec<AutomaticLine>, CallError> {
        let request = self.request(wire::ShowAutomaticRequest {});
        let answer = self.automatic_service().show_automatic(request).await;
        let wire::ShowAutomaticResponse { kinds } = self.answer(answer)?;
        kinds.into_iter().map(|kind| AutomaticLine::try_from(kind).map_err(CallError::Answer)).collect()
    }

    /// Switches a kind on, with these settings or as they are.
    pub async fn enable_automatic(
        &self,
        kind: &str,
        settings: Option<AutomaticSettings>,
        comment: &str,
    ) -> Result<AutomaticLine, CallError> {
        let (kind, settings, comment) = (kind.to_owned(), settings.map(Into::into), comment.to_owned());
        let request = self.request(wire::EnableAutomaticRequest { kind, settings, comment });
        let answer = self.automatic_service().enable_automatic(request).await;
        let wire::EnableAutomaticResponse { kind } = self.answer(answer)?;
        line(kind)
    }

    /// Switches a kind off.
    pub async fn disable_automatic(&self, kind: &str, comment: &str) -> Result<AutomaticLine, CallError> {
        let (kind, comment) = (kind.to_owned(), comment.to_owned());
        let request = self.request(wire::DisableAutomaticRequest { kind, comment });
        let answer = self.automatic_service().disable_automatic(request).await;
        let wire::DisableAutomaticResponse { kind } = self.answer(answer)?;
        line(kind)
    }

    fn automatic_service(&self) -> AutomaticServiceClient<Channel> {
        AutomaticServiceClient::new(self.channel.clone())
    }
}

fn line(message: Option<wire::AutomaticLine>) -> Result<AutomaticLine, CallError> {
    message.ok_or(CallError::Missing("kind"))?.try_into().map_err(CallError::Answer)
}
