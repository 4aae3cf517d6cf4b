//! The routes, a file for each group.
//!
//! A handler is an `async fn` with `#[utoipa::path]` over actix-web's own macro. The first names
//! the capability that the route needs, as the scope of its security requirement; the gate reads it
//! from there. To add a route: write its handler, and add it to its group's `add`. The table test
//! in `tests/web` fails until it has a row there, and that of `docs/openapi.json` until the file is
//! generated again.

mod attempts;
mod auth;
mod clients;
mod dead_letters;
mod deliveries;
mod edit;
mod endpoints;
mod events;
mod live;
mod meta;
mod overview;
pub(super) mod probes;
pub(super) mod redeliveries;
mod rules;
mod search;
mod secrets;
mod why;

use actix_web::Error;
use actix_web::dev::{ServiceFactory, ServiceRequest};
use actix_web::http::header::{Accept, ETAG, Header as _};
use actix_web::mime::Mime;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::future::{Ready, ready};
use serde::Serialize;
use utoipa_actix_web::scope::Scope;

use super::operator::Operator;
use super::problems::{Code, Problem};
use super::read::JSON;
use super::{Shared, etag};
use crate::engine::Engine;

/// The service of a scope, which adding a route does not change.
pub(super) trait Routing:
    ServiceFactory<ServiceRequest, Config = (), Error = Error, InitError = ()>
{
}

impl<T> Routing for T where
    T: ServiceFactory<ServiceRequest, Config = (), Error = Error, InitError = ()>
{
}

/// Adds every route.
pub(super) fn add_all<T: Routing>(scope: Scope<T>) -> Scope<T> {
    let scope = meta::add(scope);
    let scope = endpoints::add(scope);
    let scope = attempts::add(scope);
    let scope = secrets::add(scope);
    let scope = auth::add(scope);
    let scope = rules::add(scope);
    let scope = clients::add(scope);
    let scope = events::add(scope);
    let scope = deliveries::add(scope);
    let scope = dead_letters::add(scope);
    let scope = redeliveries::add(scope);
    let scope = overview::add(scope);
    let scope = search::add(scope);
    let scope = live::add(scope);
    why::add(scope)
}

/// The answer of a handler.
type Answer = Result<HttpResponse, Problem>;

/// What a handler needs: the engine, on behalf of the caller, who is named in every change.
struct State {
    engine: Engine,
}

impl FromRequest for State {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        let web = request.app_data::<Shared>();
        let caller = request.extensions().get::<Operator>().cloned();
        let engine = web
            .zip(caller)
            .map(|(web, caller)| web.engine.by(&*caller.name));
        let lost = || Problem::new(Code::Internal, "the scope has lost its state");
        ready(engine.map(|engine| Self { engine }).ok_or_else(lost))
    }
}

/// The caller, as the gate found it.
struct Caller(Operator);

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        let found = request.extensions().get::<Operator>().cloned();
        let lost = || Problem::new(Code::Internal, "the gate has lost the caller");
        ready(found.map(Self).ok_or_else(lost))
    }
}

/// Returns `true` if a request asks for an answer of this media type rather than for JSON.
///
/// Naming it is not enough: some clients accept `application/json, text/plain, */*` everywhere.
fn prefers(request: &HttpRequest, media: &str) -> bool {
    let accepted = Accept::parse(request).map(|accepted| accepted.ranked());
    let accepted = accepted.unwrap_or_default();
    let mut known = accepted.iter().map(Mime::essence_str);
    known.find(|named| [media, JSON].contains(named)) == Some(media)
}

/// Answers with a thing that can be changed: its tag covers its secrets.
fn tagged(
    mut answer: HttpResponseBuilder,
    thing: &impl Serialize,
    shown: &impl Serialize,
) -> Answer {
    answer.insert_header((ETAG, etag::of(thing)?));
    Ok(answer.json(shown))
}

/// Answers without content, with the tag of the changed thing.
fn changed(thing: &impl Serialize) -> Answer {
    let tag = (ETAG, etag::of(thing)?);
    Ok(HttpResponse::NoContent().insert_header(tag).finish())
}

/// Cuts a list that was asked for with one thing more than fits on the page. Returns the page's
/// last thing if there is another page.
fn cut<T>(things: &mut Vec<T>, limit: usize) -> Option<&T> {
    let more = things.len() > limit;
    things.truncate(limit);
    things.last().filter(|_| more)
}
