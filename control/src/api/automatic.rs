//! `AutomaticService`: what control may accept under its own role.

use super::caller::caller;
use super::fault::refused;
use super::suggestion::{shown, unknown};
use crate::clock::now_ns;
use crate::keeper::{Keeper, Switching};
use meshgate_policy::automatic::{AutomaticKind, AutomaticSettings};
use meshgate_proto::wire;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug)]
pub struct AutomaticApi {
    keeper: Arc<Keeper>,
}

impl AutomaticApi {
    /// Returns the service of a keeper.
    pub fn new(keeper: Arc<Keeper>) -> Self {
        Self { keeper }
    }
}

#[tonic::async_trait]
impl wire::automatic_service_server::AutomaticService for AutomaticApi {
    async fn show_automatic(
        &self,
        request: Request<wire::ShowAutomaticRequest>,
    ) -> Result<Response<wire::ShowAutomaticResponse>, Status> {
        let wire::ShowAutomaticRequest {} = request.into_inner();
        let lines = self.keeper.automatic_lines(now_ns()).await?;
        let kinds = lines.into_iter().map(Into::into).collect();
        Ok(Response::new(wire::ShowAutomaticResponse { kinds }))
    }

    async fn enable_automatic(
        &self,
        request: Request<wire::EnableAutomaticRequest>,
    ) -> Result<Response<wire::EnableAutomaticResponse>, Status> {
        let actor = caller(&request)?;
        let wire::EnableAutomaticRequest { kind, settings, comment } = request.into_inner();
        let kind = kind_of(&kind)?;
        let settings = settings.map(AutomaticSettings::try_from).transpose();
        let settings = settings.map_err(|fault| refused("settings", &fault))?;
        let switching = Switching { kind, is_on: true, settings, actor, comment };
        let line = self.keeper.switch_automatic(switching).await?;
        Ok(Response::new(wire::EnableAutomaticResponse { kind: Some(line.into()) }))
    }

    async fn disable_automatic(
        &self,
        request: Request<wire::DisableAutomaticRequest>,
    ) -> Result<Response<wire::DisableAutomaticResponse>, Status> {
        let actor = caller(&request)?;
        let wire::DisableAutomaticRequest { kind, comment } = request.into_inner();
        let switching = Switching { kind: kind_of(&kind)?, is_on: false, settings: None, actor, comment };
        let line = self.keeper.switch_automatic(switching).await?;
        Ok(Response::new(wire::DisableAutomaticResponse { kind: Some(line.into()) }))
    }
}

fn kind_of(word: &str) -> Result<AutomaticKind, Status> {
    shown(word).parse().map_err(|word| unknown(&word))
}
