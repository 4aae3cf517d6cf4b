//! The authorisation of calls, of a rule, a client and an endpoint. The first of them that has one
//! decides.

use actix_web::web::Path;
use actix_web::{HttpRequest, delete, put};
use utoipa_actix_web::scope::Scope;

use super::edit::{Editable, edit};
use super::{Answer, Routing, State};
use crate::domain::authorisation::auth::Auth;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::routing::client::Client;
use crate::domain::routing::rule::Rule;
use crate::web::model::auth::AuthGiven;
use crate::web::read::Body;

pub(super) fn add<T: Routing>(scope: Scope<T>) -> Scope<T> {
    let scope = scope.service(put_of_rule).service(delete_of_rule);
    let scope = scope.service(put_of_client).service(delete_of_client);
    scope.service(put_of_endpoint).service(delete_of_endpoint)
}

/// Set the authorisation of a rule's calls, before that of its client and of the endpoint.
#[utoipa::path(
    tag = "secrets",
    params(
        ("id" = String, Path, description = "The rule's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have.")
    ),
    request_body(content = AuthGiven),
    responses((status = 204, description = "It is set.")),
    security(("token" = ["configure"]))
)]
#[put("/rules/{id}/auth")]
async fn put_of_rule(
    web: State,
    request: HttpRequest,
    id: Path<String>,
    Body(auth): Body<AuthGiven>,
) -> Answer {
    set::<Rule>(&web, &request, &id, auth).await
}

/// Leave the authorisation of a rule's calls to its client or the endpoint.
#[utoipa::path(
    tag = "secrets",
    params(
        ("id" = String, Path, description = "The rule's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have.")
    ),
    responses((status = 204, description = "There is none.")),
    security(("token" = ["configure"]))
)]
#[delete("/rules/{id}/auth")]
async fn delete_of_rule(web: State, request: HttpRequest, id: Path<String>) -> Answer {
    remove::<Rule>(&web, &request, &id).await
}

/// Set the authorisation of calls for a client, unless a rule has its own.
#[utoipa::path(
    tag = "secrets",
    params(
        ("id" = String, Path, description = "The client's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have.")
    ),
    request_body(content = AuthGiven),
    responses((status = 204, description = "It is set.")),
    security(("token" = ["configure"]))
)]
#[put("/clients/{id}/auth")]
async fn put_of_client(
    web: State,
    request: HttpRequest,
    id: Path<String>,
    Body(auth): Body<AuthGiven>,
) -> Answer {
    set::<Client>(&web, &request, &id, auth).await
}

/// Leave the authorisation of calls for a client to the endpoint.
#[utoipa::path(
    tag = "secrets",
    params(
        ("id" = String, Path, description = "The client's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have.")
    ),
    responses((status = 204, description = "There is none.")),
    security(("token" = ["configure"]))
)]
#[delete("/clients/{id}/auth")]
async fn delete_of_client(web: State, request: HttpRequest, id: Path<String>) -> Answer {
    remove::<Client>(&web, &request, &id).await
}

/// Set the authorisation of an endpoint's calls, if neither their rule nor their client has any.
#[utoipa::path(
    tag = "secrets",
    params(
        ("id" = String, Path, description = "The endpoint's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have.")
    ),
    request_body(content = AuthGiven),
    responses((status = 204, description = "It is set.")),
    security(("token" = ["configure"]))
)]
#[put("/endpoints/{id}/auth")]
async fn put_of_endpoint(
    web: State,
    request: HttpRequest,
    id: Path<String>,
    Body(auth): Body<AuthGiven>,
) -> Answer {
    set::<Endpoint>(&web, &request, &id, auth).await
}

/// Remove the authorisation of an endpoint's calls.
#[utoipa::path(
    tag = "secrets",
    params(
        ("id" = String, Path, description = "The endpoint's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have.")
    ),
    responses((status = 204, description = "There is none.")),
    security(("token" = ["configure"]))
)]
#[delete("/endpoints/{id}/auth")]
async fn delete_of_endpoint(web: State, request: HttpRequest, id: Path<String>) -> Answer {
    remove::<Endpoint>(&web, &request, &id).await
}

/// A thing whose calls may have an authorisation of its own.
trait Authorised: Editable {
    fn auth(&mut self) -> &mut Option<Auth>;
}

impl Authorised for Rule {
    fn auth(&mut self) -> &mut Option<Auth> {
        &mut self.auth
    }
}

impl Authorised for Client {
    fn auth(&mut self) -> &mut Option<Auth> {
        &mut self.auth
    }
}

impl Authorised for Endpoint {
    fn auth(&mut self) -> &mut Option<Auth> {
        &mut self.auth
    }
}

/// Sets an authorisation. Secrets that were left out stay as they are.
async fn set<T: Authorised>(
    web: &State,
    request: &HttpRequest,
    id: &str,
    given: AuthGiven,
) -> Answer {
    let change = |mut thing: T| {
        let complete = given.complete(thing.auth().as_ref())?;
        *thing.auth() = Some(complete);
        Ok(thing)
    };
    edit(web, request, id, change).await
}

async fn remove<T: Authorised>(web: &State, request: &HttpRequest, id: &str) -> Answer {
    let change = |mut thing: T| {
        *thing.auth() = None;
        Ok(thing)
    };
    edit(web, request, id, change).await
}
