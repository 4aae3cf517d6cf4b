//! Deliveries: listing, showing with attempts, redelivering.

use actix_web::http::header::CONTENT_DISPOSITION;
use actix_web::web::Path;
use actix_web::{HttpResponse, get, post};
use utoipa_actix_web::scope::Scope;

use super::{Answer, Caller, Routing, State};
use crate::domain::deliveries::delivery::{DeliveryDetails, DeliveryState};
use crate::domain::endpoint::due::AttemptNowAnswer;
use crate::domain::endpoint::id::EndpointId;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::engine::Engine;
use crate::store::DeliveryQuery;
use crate::web::cursor;
use crate::web::model::delivery::{
    Again, CountView, DeliveryDetail, DeliveryFilter, DeliveryView, Redelivered,
};
use crate::web::model::page::{List, Moment};
use crate::web::operator::Capability;
use crate::web::problems::{Code, Problem};
use crate::web::read::{Body, Query};
use crate::web::refusals::unknown_endpoint;

pub(super) fn add<T: Routing>(scope: Scope<T>) -> Scope<T> {
    let scope = scope.service(list).service(count).service(show);
    scope.service(body).service(redeliver).service(attempt_now)
}

/// List deliveries, newest first.
#[utoipa::path(
    tag = "deliveries",
    params(DeliveryFilter),
    responses((status = 200, description = "A page of deliveries.", body = List<DeliveryView>)),
    security(("token" = ["read"]))
)]
#[get("/deliveries")]
async fn list(web: State, Query(filter): Query<DeliveryFilter>) -> Answer {
    let query = query(&web.engine, &filter).await?;
    let deliveries = web.engine.deliveries(query).await?;
    let list = List::of(&deliveries, &filter, DeliveryView::new)?;
    Ok(HttpResponse::Ok().json(list))
}

/// Count deliveries, up to 10,000.
#[utoipa::path(
    tag = "deliveries",
    params(DeliveryFilter),
    responses((status = 200, description = "The number.", body = CountView)),
    security(("token" = ["read"]))
)]
#[get("/deliveries/count")]
async fn count(web: State, Query(filter): Query<DeliveryFilter>) -> Answer {
    let query = query(&web.engine, &filter).await?;
    let count = web.engine.count_deliveries(query).await?;
    Ok(HttpResponse::Ok().json(CountView::from(count)))
}

/// Returns the query of a filter.
pub(super) async fn query(
    engine: &Engine,
    filter: &DeliveryFilter,
) -> Result<DeliveryQuery, Problem> {
    Ok(DeliveryQuery {
        url: url_of(engine, filter.endpoint).await?,
        client_id: filter.client.as_deref().map(Into::into),
        company_id: filter.company.as_deref().map(Into::into),
        event_id: filter.event.as_deref().map(Into::into),
        alert_id: filter.webhook_id,
        rule_id: filter.rule.as_deref().map(Into::into),
        rule_type: filter.rule_type.clone(),
        stage: filter.state.map(Into::into),
        failure: filter.failure,
        reason: filter.reason,
        since: instant(engine, filter.since).await?,
        until: instant(engine, filter.until).await?,
        before: before(filter, filter.cursor.as_deref())?,
        limit: filter.limit.get(),
    })
}

/// Show a delivery with its attempts. What receivers answered is only for those who may see
/// `bodies`.
#[utoipa::path(
    tag = "deliveries",
    params(("id" = String, Path, description = "The delivery's id.")),
    responses((status = 200, description = "The delivery.", body = DeliveryDetail)),
    security(("token" = ["read"]))
)]
#[get("/deliveries/{id}")]
async fn show(web: State, Caller(operator): Caller, id: Path<String>) -> Answer {
    let details = find(&web.engine, &id).await?;
    let attempts = web.engine.attempts(details.delivery.id).await?;
    let with_bodies = operator.may(Capability::Bodies);
    let detail = DeliveryDetail::new(&details, &attempts, with_bodies)?;
    Ok(HttpResponse::Ok().json(detail))
}

/// Show the body of a delivery, exactly as it is sent.
#[utoipa::path(
    tag = "deliveries",
    params(("id" = String, Path, description = "The delivery's id.")),
    responses((status = 200, description = "The body, to be saved.", content_type = "application/octet-stream", body = Vec<u8>)),
    security(("token" = ["bodies"]))
)]
#[get("/deliveries/{id}/body")]
async fn body(web: State, id: Path<String>) -> Answer {
    let alert = find(&web.engine, &id).await?.alert;
    // As a file: a browser must not show a customer's data as a page of this site.
    let disposition = (CONTENT_DISPOSITION, "attachment; filename=\"body.json\"");
    let mut answer = HttpResponse::Ok();
    answer
        .insert_header(disposition)
        .content_type("application/octet-stream");
    Ok(answer.body(alert.body.clone()))
}

/// Deliver the same alert again, as a fresh delivery.
#[utoipa::path(
    tag = "deliveries",
    params(("id" = String, Path, description = "The delivery's id.")),
    request_body(content = Again),
    responses((status = 202, description = "The fresh delivery.", body = Redelivered)),
    security(("token" = ["redeliver"]))
)]
#[post("/deliveries/{id}/redeliver")]
async fn redeliver(web: State, id: Path<String>, Body(again): Body<Again>) -> Answer {
    let delivery = find(&web.engine, &id).await?.delivery;
    if delivery.state.is_open() && !again.force {
        let due = match delivery.state {
            DeliveryState::Waiting { due_at } => format!("it is attempted again at {due_at}"),
            DeliveryState::Queued
            | DeliveryState::Delivered { .. }
            | DeliveryState::DeadLettered { .. } => "it has not been attempted yet".to_owned(),
        };
        let detail = format!("delivery is still open: {due}; force it to send it twice");
        return Err(Problem::new(Code::StillOpen, detail));
    }
    let fresh = web.engine.redeliver(delivery.id).await?;
    let fresh = fresh.first().copied();
    let gone = || Problem::new(Code::UnknownDelivery, "delivery is no longer stored");
    let fresh = Redelivered::from(fresh.ok_or_else(gone)?);
    Ok(HttpResponse::Accepted().json(fresh))
}

/// Attempt a delivery now that waits for a retry.
#[utoipa::path(
    tag = "deliveries",
    params(("id" = String, Path, description = "The delivery's id.")),
    responses((status = 202, description = "It is attempted now, or already.", body = Redelivered)),
    security(("token" = ["redeliver"]))
)]
#[post("/deliveries/{id}/attempt-now")]
async fn attempt_now(web: State, id: Path<String>) -> Answer {
    let id = delivery_id("id", &id)?;
    match web.engine.attempt_now(id).await? {
        AttemptNowAnswer::Started | AttemptNowAnswer::UnderWay => {
            Ok(HttpResponse::Accepted().json(Redelivered::from(id)))
        }
        AttemptNowAnswer::Blocked { by } => {
            let detail = format!("its endpoint is {by}; resume it first");
            Err(Problem::new(Code::EndpointStopped, detail))
        }
        AttemptNowAnswer::NotOpen => {
            let detail = "delivery has ended; redeliver it instead";
            Err(Problem::new(Code::NotOpen, detail))
        }
        AttemptNowAnswer::Unknown => {
            let detail = "no delivery has this id, or it is no longer stored";
            Err(Problem::new(Code::UnknownDelivery, detail))
        }
    }
}

/// Returns everything stored of the delivery with an id.
async fn find(engine: &Engine, id: &str) -> Result<DeliveryDetails, Problem> {
    let found = engine.delivery(delivery_id("id", id)?).await?;
    let detail = "no delivery has this id, or it is no longer stored";
    found.ok_or_else(|| Problem::new(Code::UnknownDelivery, detail))
}

/// Reads the id of a delivery from a parameter.
pub(super) fn delivery_id(parameter: &str, text: &str) -> Result<DeliveryId, Problem> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let id: Option<DeliveryId> = text.parse().ok().filter(|_| plain);
    id.ok_or_else(|| Problem::parameter(parameter, "delivery id must be a number"))
}

/// Returns the URL of the endpoint that a filter names.
pub(super) async fn url_of(
    engine: &Engine,
    id: Option<EndpointId>,
) -> Result<Option<WebhookUrl>, Problem> {
    let Some(id) = id else {
        return Ok(None);
    };
    let url = engine.find_endpoint(id).await?;
    url.map(Some).ok_or_else(unknown_endpoint)
}

/// Returns the instant that a filter names.
pub(super) async fn instant(
    engine: &Engine,
    moment: Option<Moment>,
) -> Result<Option<Timestamp>, Problem> {
    Ok(match moment {
        None => None,
        Some(Moment::At(at)) => Some(at),
        Some(ago) => Some(ago.from(engine.status().await?.now)),
    })
}

/// Returns the delivery before which a page begins.
pub(super) fn before(
    filter: &impl serde::Serialize,
    given: Option<&str>,
) -> Result<Option<DeliveryId>, Problem> {
    let Some(given) = given else {
        return Ok(None);
    };
    let id = cursor::place(filter, given)?.parse();
    id.map(Some).map_err(|_| cursor::malformed())
}
