//! What a redelivery by filter would redeliver, and which endpoints would not take it now.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use actix::fut::wrap_future;
use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, ResponseActFuture};
use futures_util::future::{join, join_all};

use super::SupervisorActor;
use super::operators::Known;
use crate::actor::message::{BlockedEndpoint, PlanRedelivery, RedeliveryPlan};
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::OnWall as _;
use crate::store::{StoreError, Survey};

impl Handler<PlanRedelivery> for SupervisorActor {
    type Result = ResponseActFuture<Self, Result<RedeliveryPlan, StoreError>>;

    fn handle(
        &mut self,
        PlanRedelivery { which, at_most }: PlanRedelivery,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let which = which.in_engine_time(self.shared.clock.offset());
        let survey = self.shared.call(|store| store.survey(which, at_most));
        let removed = self.shared.call(|store| store.removed());
        let looked = wrap_future::<_, Self>(join(survey, removed));
        let plan = looked.then(|(survey, removed), supervisor, ctx| {
            let plan = survey.and_then(|survey| Ok((survey, removed?)));
            let plan = plan.map(|(survey, removed)| supervisor.plan(survey, removed, ctx));
            wrap_future(async move {
                match plan {
                    Ok(plan) => Ok(plan.await),
                    Err(error) => Err(error),
                }
            })
        });
        Box::pin(plan)
    }
}

impl SupervisorActor {
    /// Returns a future of the plan. Only the endpoints that it lists are asked for their states.
    fn plan(
        &self,
        survey: Survey,
        removed: Vec<WebhookUrl>,
        ctx: &Context<Self>,
    ) -> impl Future<Output = RedeliveryPlan> + use<> {
        let offset = self.shared.clock.offset();
        let removed: BTreeSet<WebhookUrl> = removed.into_iter().collect();
        let endpoints = number(survey.endpoints.len());
        let mut blocked = survey.endpoints;
        blocked.retain(|(url, _)| removed.contains(url) || self.is_stopped(url));
        let blocked_endpoints = number(blocked.len());
        blocked.sort_by_key(|(_, deliveries)| Reverse(*deliveries));
        blocked.truncate(LISTED);
        let states = blocked.into_iter().map(|(url, deliveries)| {
            let entry = self.endpoints.get(&url);
            let entry = entry.filter(|_| !removed.contains(&url));
            let status =
                entry.map(|entry| self.describe(&url, entry, Known::InMemory, ctx.address()));
            async move {
                let by = match status {
                    Some(status) => Some(status.await.state),
                    None => None,
                };
                BlockedEndpoint {
                    url,
                    deliveries,
                    by,
                }
            }
        });
        let states = join_all(states);
        async move {
            RedeliveryPlan {
                count: survey.count,
                endpoints,
                oldest: survey.oldest.on_wall(offset),
                newest: survey.newest.on_wall(offset),
                blocked_endpoints,
                // One may have been resumed since it was chosen.
                blocked: states
                    .await
                    .into_iter()
                    .filter(BlockedEndpoint::is_still)
                    .collect(),
            }
        }
    }

    /// Returns `true` if nothing starts at an endpoint, as it is counted.
    fn is_stopped(&self, url: &WebhookUrl) -> bool {
        let entry = self.endpoints.get(url);
        let standing = entry.and_then(|entry| entry.counted.standing());
        standing.is_some_and(|standing| standing.kind.is_stopped())
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The most endpoints that a plan lists.
const LISTED: usize = 100;
