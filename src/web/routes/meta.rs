//! The caller, the document, and the codes of problems.

use actix_web::{HttpResponse, get};
use utoipa_actix_web::scope::Scope;

use super::{Answer, Caller, Routing, State};
use crate::web::document;
use crate::web::model::meta::{Me, ProblemKind};

pub(super) fn add<T: Routing>(scope: Scope<T>) -> Scope<T> {
    scope.service(me).service(openapi).service(problems)
}

/// Who am I, and what may I do?
#[utoipa::path(
    tag = "meta",
    responses((status = 200, description = "The caller, and the engine.", body = Me)),
    security(("token" = []))
)]
#[get("/me")]
async fn me(web: State, Caller(operator): Caller) -> Answer {
    let engine = web.engine.status().await?;
    Ok(HttpResponse::Ok().json(Me::new(&operator, &engine)))
}

/// This document.
#[utoipa::path(
    tag = "meta",
    responses((status = 200, description = "The document.", body = Object)),
    security(("token" = []))
)]
#[get("/openapi.json")]
async fn openapi() -> Answer {
    Ok(HttpResponse::Ok().json(document()))
}

/// The codes that problems can have.
#[utoipa::path(
    tag = "meta",
    responses((status = 200, description = "All codes, ordered by status.", body = Vec<ProblemKind>)),
    security(("token" = []))
)]
#[get("/problems")]
async fn problems() -> Answer {
    Ok(HttpResponse::Ok().json(ProblemKind::all()))
}
