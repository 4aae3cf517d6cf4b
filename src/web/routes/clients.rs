//! Clients.

use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse, delete, get, put};
use utoipa_actix_web::scope::Scope;

use super::edit::Editable;
use super::{Answer, Routing, State, tagged};
use crate::domain::routing::client::Client;
use crate::domain::routing::query::ClientQuery;
use crate::engine::{Engine, OperateError};
use crate::web::model::client::{ClientFilter, ClientStatusView, ClientView};
use crate::web::model::delivery::{Removal, Removed};
use crate::web::model::page::List;
use crate::web::problems::{Code, Problem};
use crate::web::read::{Body, Query};
use crate::web::{cursor, etag};

pub(super) fn add<T: Routing>(scope: Scope<T>) -> Scope<T> {
    let scope = scope.service(list).service(show).service(put_client);
    scope.service(remove)
}

/// List clients, ordered by id. Only those that were put are listed.
#[utoipa::path(
    tag = "clients",
    params(ClientFilter),
    responses((status = 200, description = "A page of clients.", body = List<ClientView>)),
    security(("token" = ["read"]))
)]
#[get("/clients")]
async fn list(web: State, Query(filter): Query<ClientFilter>) -> Answer {
    let after = filter.cursor.as_deref();
    let after = after.map(|given| cursor::place(&filter, given));
    let query = ClientQuery {
        contains: filter.q.clone(),
        after: after.transpose()?.map(Into::into),
        limit: filter.limit.get(),
    };
    let page = web.engine.find_clients(query).await?;
    let next = page.next.map(|id| cursor::after(&filter, id.as_str()));
    let shown = page.clients.iter().map(ClientView::from).collect();
    Ok(HttpResponse::Ok().json(List::new(shown, next)))
}

/// Show a client: its settings without secrets, and its status.
#[utoipa::path(
    tag = "clients",
    params(("id" = String, Path, description = "The client's id.")),
    responses((
        status = 200,
        description = "The client.",
        body = ClientView,
        headers(("ETag" = String, description = "Its tag."))
    )),
    security(("token" = ["read"]))
)]
#[get("/clients/{id}")]
async fn show(web: State, id: Path<String>) -> Answer {
    let client = Client::known(&web.engine, &id).await?;
    let status = web.engine.client_status(client.id.clone()).await?;
    let view = ClientView::from(&client).with_status(ClientStatusView::new(&status)?);
    tagged(HttpResponse::Ok(), &client, &view)
}

/// Put a client as a whole. Its authorisation stays.
#[utoipa::path(
    tag = "clients",
    params(
        ("id" = String, Path, description = "The client's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have.")
    ),
    request_body(content = ClientView),
    responses(
        (
            status = 200,
            description = "It is changed.",
            body = ClientView,
            headers(("ETag" = String, description = "Its new tag."))
        ),
        (
            status = 201,
            description = "It is created.",
            body = ClientView,
            headers(("ETag" = String, description = "Its tag."))
        )
    ),
    security(("token" = ["configure"]))
)]
#[put("/clients/{id}")]
async fn put_client(
    web: State,
    request: HttpRequest,
    id: Path<String>,
    Body(given): Body<ClientView>,
) -> Answer {
    let _changing = web.engine.changing().await;
    let before = find(&web.engine, &id).await?;
    check(&request, before.as_ref())?;
    let client = given.with_id(id.as_str().into(), before.as_ref())?;
    web.engine.put_client(client.clone()).await?;
    let answer = match before {
        Some(_) => HttpResponse::Ok(),
        None => HttpResponse::Created(),
    };
    tagged(answer, &client, &ClientView::from(&client))
}

/// Remove a client. Its deliveries continue unless `endDeliveries` is `true`; its rules stay.
#[utoipa::path(
    tag = "clients",
    params(
        ("id" = String, Path, description = "The client's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have."),
        Removal
    ),
    responses((status = 200, description = "It is removed.", body = Removed)),
    security(("token" = ["configure"]))
)]
#[delete("/clients/{id}")]
async fn remove(
    web: State,
    request: HttpRequest,
    id: Path<String>,
    Query(removal): Query<Removal>,
) -> Answer {
    let _changing = web.engine.changing().await;
    let client = Client::known(&web.engine, &id).await?;
    check(&request, Some(&client))?;
    let dead_lettered = if removal.end_deliveries {
        web.engine.end_client(client.id).await?
    } else {
        web.engine.remove_client(client.id).await?;
        0
    };
    Ok(HttpResponse::Ok().json(Removed { dead_lettered }))
}

fn check(request: &HttpRequest, client: Option<&Client>) -> Result<(), Problem> {
    let tag = client.map(etag::of).transpose()?;
    etag::check(request, tag.as_deref())
}

async fn find(engine: &Engine, id: &str) -> Result<Option<Client>, Problem> {
    Ok(engine.client(id).await?)
}

impl Editable for Client {
    async fn known(engine: &Engine, id: &str) -> Result<Self, Problem> {
        let found = find(engine, id).await?;
        found
            .ok_or_else(|| Problem::new(Code::UnknownClient, "no client has this id; put it first"))
    }

    async fn put(self, engine: &Engine) -> Result<(), OperateError> {
        engine.put_client(self).await
    }
}
