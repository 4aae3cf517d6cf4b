//! Endpoints: listing, creating, changing, removing, pausing.

use actix_web::http::header::LOCATION;
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post};
use serde_json::Value;
use utoipa_actix_web::scope::Scope;

use super::edit::Editable;
use super::{Answer, Routing, State, tagged};
use crate::actor::message::{ListEndpoints, ListStatus, SendTest};
use crate::domain::endpoint::id::EndpointId;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::endpoint::status::EndpointStatus;
use crate::domain::value::operator::Note;
use crate::domain::value::url::WebhookUrl;
use crate::engine::{EndpointHandle, Engine, OperateError};
use crate::web::model::delivery::{Redelivered, Removed};
use crate::web::model::event::{Noted, TestGiven};
use crate::web::model::page::List;
use crate::web::model::settings::{EndpointPatch, EndpointView, NewEndpoint};
use crate::web::model::status::{EndpointFilter, StatusView};
use crate::web::problems::{Code, Problem};
use crate::web::read::{Body, Patch, Query};
use crate::web::refusals::unknown_endpoint;
use crate::web::{cursor, etag};

pub(super) fn add<T: Routing>(scope: Scope<T>) -> Scope<T> {
    let scope = scope.service(list).service(create).service(show);
    let scope = scope.service(change).service(remove);
    let scope = scope.service(pause).service(resume).service(disable);
    scope.service(test)
}

/// List endpoints, ordered by URL.
#[utoipa::path(
    tag = "endpoints",
    params(EndpointFilter),
    responses((status = 200, description = "A page of statuses.", body = List<StatusView>)),
    security(("token" = ["read"]))
)]
#[get("/endpoints")]
async fn list(web: State, Query(filter): Query<EndpointFilter>) -> Answer {
    if let Some(query) = filter.indexed() {
        return listed(&web.engine, &filter, query).await;
    }
    let limit = filter.limit.get();
    let after = match &filter.cursor {
        Some(given) => Some(place(&web.engine, &filter, given).await?),
        None => None,
    };
    let query = ListStatus {
        filter: filter.filter(),
        after,
        limit: if filter.state.is_some() {
            EXAMINED
        } else {
            limit
        },
    };
    let mut page = web.engine.endpoints(query).await?;
    let mut next = page.next;
    if let Some(last) = super::cut(&mut page.statuses, limit) {
        next = Some(last.url.clone());
    }
    let next = next.map(|url| cursor::after(&filter, &EndpointId::of(&url).to_string()));
    let shown = page.statuses.iter().map(StatusView::new);
    let list = List::new(shown.collect::<Result<_, _>>()?, next);
    Ok(HttpResponse::Ok().json(list))
}

/// Answers with a page of the index of all endpoints.
async fn listed(engine: &Engine, filter: &EndpointFilter, query: ListEndpoints) -> Answer {
    let after = match &filter.cursor {
        None => None,
        Some(given) => {
            let place = cursor::place(filter, given)?;
            let (rank, id) = place.split_once('-').ok_or_else(cursor::malformed)?;
            let id = id.parse().map_err(|_| cursor::malformed())?;
            let url = engine.find_endpoint(id).await?;
            let url = url.ok_or_else(cursor::malformed)?;
            let after = format!("{rank}-{url}").parse();
            Some(after.map_err(|_| cursor::malformed())?)
        }
    };
    let page = engine
        .endpoints_by(ListEndpoints { after, ..query })
        .await?;
    let next = page.next.as_ref().and_then(|next| {
        // The id in place of the URL, which may hold secrets.
        let text = next.to_string();
        let (rank, url) = text.split_once('-')?;
        let id = EndpointId::of(&WebhookUrl::parse(url).ok()?);
        Some(cursor::after(filter, &format!("{rank}-{id}")))
    });
    let shown = page.endpoints.iter();
    let shown = shown.map(|listed| StatusView::new(&listed.status));
    let page = List::new(shown.collect::<Result<_, _>>()?, next);
    Ok(HttpResponse::Ok().json(page))
}

/// The number of endpoints examined for a page of those in one condition.
const EXAMINED: usize = 1_000;

/// Returns the URL after which a page begins. A cursor holds its id, because a URL may hold secrets
/// and cursors end up in access logs.
async fn place(
    engine: &Engine,
    filter: &EndpointFilter,
    given: &str,
) -> Result<WebhookUrl, Problem> {
    let id = cursor::place(filter, given)?.parse();
    let id = id.map_err(|_| cursor::malformed())?;
    engine
        .find_endpoint(id)
        .await?
        .ok_or_else(cursor::malformed)
}

/// Create an endpoint. What is left out has the engine's default.
#[utoipa::path(
    tag = "endpoints",
    request_body(content = NewEndpoint, content_type = "application/json"),
    responses((
        status = 201,
        description = "The endpoint.",
        body = EndpointView,
        headers(
            ("Location" = String, description = "Its path."),
            ("ETag" = String, description = "Its tag.")
        )
    )),
    security(("token" = ["configure"]))
)]
#[post("/endpoints")]
async fn create(web: State, request: HttpRequest, body: Patch) -> Answer {
    let url = body.get("url").and_then(Value::as_str).unwrap_or_default();
    let url = WebhookUrl::parse(url)
        .map_err(|error| Problem::part(Code::InvalidEndpoint, "/url", error))?;
    let _changing = web.engine.changing().await;
    let id = EndpointId::of(&url);
    if web.engine.find_endpoint(id).await?.is_some() {
        let detail = format!("endpoint {id} has this URL already; change it by PATCH");
        return Err(Problem::part(Code::EndpointExists, "/url", detail));
    }
    let policy = web.engine.status().await?.default_policy;
    let blank = Endpoint::at(url).policy(policy);
    // In its normalised spelling it is that of the blank endpoint.
    let given: EndpointView = body
        .without("url")
        .apply(EndpointView::new(&blank)?.as_target()?)?;
    let endpoint = given.applied_to(blank)?;
    web.engine.put_endpoint(endpoint.clone()).await?;
    let mut answer = HttpResponse::Created();
    answer.insert_header((LOCATION, format!("{}/{id}", request.path())));
    shown(&web.engine, &endpoint, answer).await
}

/// Show an endpoint: its settings without secrets, and its status.
#[utoipa::path(
    tag = "endpoints",
    params(("id" = String, Path, description = "The endpoint's id.")),
    responses((
        status = 200,
        description = "The endpoint.",
        body = EndpointView,
        headers(("ETag" = String, description = "Its tag."))
    )),
    security(("token" = ["read"]))
)]
#[get("/endpoints/{id}")]
async fn show(web: State, id: Path<String>) -> Answer {
    let endpoint = find(&web.engine, &id).await?.settings().await?;
    shown(&web.engine, &endpoint, HttpResponse::Ok()).await
}

/// Change an endpoint's settings by a merge patch. Secrets stay as they are.
#[utoipa::path(
    tag = "endpoints",
    params(
        ("id" = String, Path, description = "The endpoint's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have.")
    ),
    request_body(content = EndpointPatch, content_type = "application/merge-patch+json"),
    responses((
        status = 200,
        description = "The endpoint.",
        body = EndpointView,
        headers(("ETag" = String, description = "Its new tag."))
    )),
    security(("token" = ["configure"]))
)]
#[patch("/endpoints/{id}")]
async fn change(web: State, request: HttpRequest, id: Path<String>, patch: Patch) -> Answer {
    let _changing = web.engine.changing().await;
    let before = find(&web.engine, &id).await?.settings().await?;
    etag::check(&request, Some(&etag::of(&before)?))?;
    let target = EndpointView::new(&before)?.as_target()?;
    let after = patch
        .without("status")
        .apply::<EndpointView>(target)?
        .applied_to(before)?;
    web.engine.put_endpoint(after.clone()).await?;
    shown(&web.engine, &after, HttpResponse::Ok()).await
}

/// Remove an endpoint's settings, and give up its open deliveries.
#[utoipa::path(
    tag = "endpoints",
    params(
        ("id" = String, Path, description = "The endpoint's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have.")
    ),
    responses((status = 200, description = "It is removed.", body = Removed)),
    security(("token" = ["configure"]))
)]
#[delete("/endpoints/{id}")]
async fn remove(web: State, request: HttpRequest, id: Path<String>) -> Answer {
    let _changing = web.engine.changing().await;
    let handle = find(&web.engine, &id).await?;
    if request
        .headers()
        .contains_key(actix_web::http::header::IF_MATCH)
    {
        let settings = handle.settings().await?;
        etag::check(&request, Some(&etag::of(&settings)?))?;
    }
    let dead_lettered = handle.remove().await?;
    Ok(HttpResponse::Ok().json(Removed { dead_lettered }))
}

/// Pause attempts to an endpoint. Its events are kept.
#[utoipa::path(
    tag = "endpoints",
    params(("id" = String, Path, description = "The endpoint's id."), Noted),
    responses((status = 200, description = "The status.", body = StatusView)),
    security(("token" = ["operate"]))
)]
#[post("/endpoints/{id}/pause")]
async fn pause(web: State, id: Path<String>, Query(noted): Query<Noted>) -> Answer {
    let handle = note(find(&web.engine, &id).await?, noted)?;
    handle.pause().await?;
    now(&handle).await
}

/// Resume an endpoint that is paused, disabled, held by its receiver, or behind an open circuit.
#[utoipa::path(
    tag = "endpoints",
    params(("id" = String, Path, description = "The endpoint's id.")),
    responses((status = 200, description = "The status.", body = StatusView)),
    security(("token" = ["operate"]))
)]
#[post("/endpoints/{id}/resume")]
async fn resume(web: State, id: Path<String>) -> Answer {
    let handle = find(&web.engine, &id).await?;
    handle.resume().await?;
    now(&handle).await
}

/// Disable an endpoint, as for a customer who has left. Its events are kept.
#[utoipa::path(
    tag = "endpoints",
    params(("id" = String, Path, description = "The endpoint's id."), Noted),
    responses((status = 200, description = "The status.", body = StatusView)),
    security(("token" = ["operate"]))
)]
#[post("/endpoints/{id}/disable")]
async fn disable(web: State, id: Path<String>, Query(noted): Query<Noted>) -> Answer {
    let handle = note(find(&web.engine, &id).await?, noted)?;
    handle.disable().await?;
    now(&handle).await
}

/// Adds the operator's note.
fn note(handle: EndpointHandle, noted: Noted) -> Result<EndpointHandle, Problem> {
    let Some(text) = noted.note else {
        return Ok(handle);
    };
    let note = Note::new(text).map_err(|error| Problem::parameter("note", error))?;
    Ok(handle.note(note))
}

/// Send a test event to an endpoint now: one attempt, which does not count against its health.
#[utoipa::path(
    tag = "endpoints",
    params(("id" = String, Path, description = "The endpoint's id.")),
    request_body(content = TestGiven),
    responses((status = 202, description = "The delivery.", body = Redelivered)),
    security(("token" = ["operate"]))
)]
#[post("/endpoints/{id}/test")]
async fn test(web: State, id: Path<String>, Body(given): Body<TestGiven>) -> Answer {
    let id: EndpointId = id
        .parse()
        .map_err(|error| Problem::parameter("id", error))?;
    let url = web.engine.find_endpoint(id).await?;
    let mut test = SendTest::new(url.ok_or_else(unknown_endpoint)?);
    if let Some(rule_type) = given.rule_type {
        test = test.rule_type(rule_type);
    }
    if let Some(data) = given.data {
        test = test.data(data);
    }
    let sent = Redelivered::from(web.engine.send_test(test).await?);
    Ok(HttpResponse::Accepted().json(sent))
}

/// Returns a handle to the endpoint with an id.
pub(super) async fn find(engine: &Engine, id: &str) -> Result<EndpointHandle, Problem> {
    let id: EndpointId = id
        .parse()
        .map_err(|error| Problem::parameter("id", error))?;
    let url = engine
        .find_endpoint(id)
        .await?
        .ok_or_else(unknown_endpoint)?;
    Ok(engine.endpoint(&url))
}

impl Editable for Endpoint {
    async fn known(engine: &Engine, id: &str) -> Result<Self, Problem> {
        Ok(find(engine, id).await?.settings().await?)
    }

    async fn put(self, engine: &Engine) -> Result<(), OperateError> {
        engine.put_endpoint(self).await
    }
}

async fn status(handle: &EndpointHandle) -> Result<EndpointStatus, Problem> {
    handle.status().await?.ok_or_else(unknown_endpoint)
}

/// Answers with the status.
async fn now(handle: &EndpointHandle) -> Answer {
    let status = status(handle).await?;
    Ok(HttpResponse::Ok().json(StatusView::new(&status)?))
}

/// Answers with an endpoint and its status.
async fn shown(
    engine: &Engine,
    endpoint: &Endpoint,
    answer: actix_web::HttpResponseBuilder,
) -> Answer {
    let status = status(&engine.endpoint(&endpoint.url)).await?;
    let view = EndpointView::new(endpoint)?.with_status(StatusView::new(&status)?);
    tagged(answer, endpoint, &view)
}
