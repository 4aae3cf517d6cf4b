//! Dead letters: listing and discarding.

use actix_web::{HttpResponse, get, post};
use utoipa_actix_web::scope::Scope;

use super::deliveries::{before, instant, url_of};
use super::{Answer, Routing, State};
use crate::engine::Engine;
use crate::store::DeadLetterQuery;
use crate::web::model::delivery::{DeadLetterFilter, DeadLetterView, Discard, Discarded};
use crate::web::model::page::List;
use crate::web::problems::{Code, Problem};
use crate::web::read::{Body, Query};

pub(super) fn add<T: Routing>(scope: Scope<T>) -> Scope<T> {
    scope.service(list).service(discard)
}

/// List dead letters, newest first.
#[utoipa::path(
    tag = "deliveries",
    params(DeadLetterFilter),
    responses((status = 200, description = "A page of dead letters.", body = List<DeadLetterView>)),
    security(("token" = ["read"]))
)]
#[get("/dead-letters")]
async fn list(web: State, Query(filter): Query<DeadLetterFilter>) -> Answer {
    let query = query(&web.engine, &filter).await?;
    let letters = web.engine.dead_letters(query).await?;
    let list = List::of(&letters, &filter, DeadLetterView::new)?;
    Ok(HttpResponse::Ok().json(list))
}

/// Returns the query of a filter.
async fn query(engine: &Engine, filter: &DeadLetterFilter) -> Result<DeadLetterQuery, Problem> {
    Ok(DeadLetterQuery {
        url: url_of(engine, filter.endpoint).await?,
        client_id: filter.client.as_deref().map(Into::into),
        company_id: filter.company.as_deref().map(Into::into),
        event_id: filter.event.as_deref().map(Into::into),
        alert_id: filter.webhook_id,
        rule_id: filter.rule.as_deref().map(Into::into),
        rule_type: filter.rule_type.clone(),
        failure: filter.failure,
        reason: filter.reason,
        since: instant(engine, filter.since).await?,
        until: instant(engine, filter.until).await?,
        before: before(filter, filter.cursor.as_deref())?,
        limit: filter.limit.get(),
    })
}

/// Discard dead letters: they can no longer be redelivered. They stay in the record of deliveries.
#[utoipa::path(
    tag = "deliveries",
    request_body(content = Discard),
    responses((status = 200, description = "How many.", body = Discarded)),
    security(("token" = ["operate"]))
)]
#[post("/discards")]
async fn discard(web: State, Body(which): Body<Discard>) -> Answer {
    if !(1..=1_000).contains(&which.limit) {
        let why = "limit must be from 1 to 1,000";
        return Err(Problem::part(Code::InvalidBody, "/limit", why));
    }
    let query = DeadLetterQuery {
        url: url_of(&web.engine, which.endpoint).await?,
        client_id: which.client.as_deref().map(Into::into),
        event_id: which.event.as_deref().map(Into::into),
        since: instant(&web.engine, which.since).await?,
        limit: usize::from(which.limit),
        ..DeadLetterQuery::default()
    };
    let discarded = web.engine.discard_dead_letters(query).await?;
    Ok(HttpResponse::Ok().json(Discarded { discarded }))
}
