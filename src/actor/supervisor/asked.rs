//! Answers about an endpoint's settings, its URL, and the engine itself.

use actix::{Context, Handler, MessageResult};

use super::SupervisorActor;
use crate::actor::message::{EndpointError, EngineStatus, FindEndpoint, GetEndpoint, GetEngine};
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::OnWall as _;

impl Handler<GetEndpoint> for SupervisorActor {
    type Result = Result<Endpoint, EndpointError>;

    fn handle(&mut self, GetEndpoint { url }: GetEndpoint, _: &mut Context<Self>) -> Self::Result {
        let (url, entry) = self.entry(&url)?;
        if entry.unreadable {
            let shown = url.without_query().to_owned();
            return Err(EndpointError::Unreadable(shown));
        }
        Ok(match &entry.endpoint {
            Some(endpoint) => Endpoint::clone(endpoint),
            None => Endpoint::at(url).policy((*self.default_policy).clone()),
        })
    }
}

impl Handler<FindEndpoint> for SupervisorActor {
    type Result = Option<WebhookUrl>;

    fn handle(&mut self, FindEndpoint { id }: FindEndpoint, _: &mut Context<Self>) -> Self::Result {
        let url = self.endpoints.find(id)?.clone();
        // One that is being removed is known no longer.
        self.entry(url.as_str()).ok().map(|(url, _)| url)
    }
}

impl Handler<GetEngine> for SupervisorActor {
    type Result = MessageResult<GetEngine>;

    fn handle(&mut self, _: GetEngine, _: &mut Context<Self>) -> Self::Result {
        let (clock, store) = (&self.shared.clock, &self.shared.store);
        let offset = clock.offset();
        MessageResult(EngineStatus {
            started_at: self.started_at.on_wall(offset),
            now: clock.now().on_wall(offset),
            draining: self.draining,
            default_policy: (*self.default_policy).clone(),
            store_error: store.condition(),
        })
    }
}
