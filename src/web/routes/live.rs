//! What changes, as it changes.

use std::convert::Infallible;

use actix_web::{HttpResponse, get};
use futures_util::StreamExt as _;
use utoipa_actix_web::scope::Scope;

use super::{Answer, Routing, State};
use crate::web::model::live::{Update, Wanted};
use crate::web::problems::Problem;
use crate::web::read::Query;
use crate::web::{Shared, live::Topics};

pub(super) fn add<T: Routing>(scope: Scope<T>) -> Scope<T> {
    scope.service(live)
}

/// Watch things by server-sent events: first their present state, then each change, once a second
/// at most.
#[utoipa::path(
    tag = "overview",
    params(Wanted),
    responses((
        status = 200,
        description = "Events until the client leaves, ten minutes are over or the engine stops.",
        content_type = "text/event-stream",
        body = Update
    )),
    security(("token" = ["read"]))
)]
#[get("/live")]
async fn live(web: State, shared: Shared, Query(wanted): Query<Wanted>) -> Answer {
    let topics: Topics = wanted
        .topics
        .parse()
        .map_err(|error| Problem::parameter("topics", error))?;
    let events = shared.live.listen(&web.engine, topics).await?;
    let mut answer = HttpResponse::Ok();
    answer
        .content_type(russe::MEDIA_TYPE_STR)
        // Some proxies would collect the events.
        .insert_header(("X-Accel-Buffering", "no"));
    Ok(answer.streaming(events.map(Ok::<_, Infallible>)))
}
