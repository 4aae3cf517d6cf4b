//! The attempts of all deliveries of an endpoint.

use actix_web::web::Path;
use actix_web::{HttpResponse, get};
use utoipa_actix_web::scope::Scope;

use super::{Answer, Caller, Routing, State, endpoints};
use crate::web::model::attempts::{AttemptFilter, EndpointAttemptView};
use crate::web::model::page::List;
use crate::web::operator::Capability;
use crate::web::read::Query;

pub(super) fn add<T: Routing>(scope: Scope<T>) -> Scope<T> {
    scope.service(list)
}

/// List the attempts of all deliveries of an endpoint, the latest first. Those of each 1,000
/// deliveries are in order together, the latest accepted deliveries first. What receivers answered
/// is only for those who may see `bodies`.
#[utoipa::path(
    tag = "endpoints",
    params(("id" = String, Path, description = "The endpoint's id."), AttemptFilter),
    responses((status = 200, description = "A page of attempts.", body = List<EndpointAttemptView>)),
    security(("token" = ["read"]))
)]
#[get("/endpoints/{id}/attempts")]
async fn list(
    web: State,
    Caller(operator): Caller,
    id: Path<String>,
    Query(filter): Query<AttemptFilter>,
) -> Answer {
    let endpoint = endpoints::find(&web.engine, &id).await?;
    let page = endpoint.attempts(filter.query(&id)?).await?;
    let with_bodies = operator.may(Capability::Bodies);
    let shown = page.items.iter();
    let shown = shown.map(|found| EndpointAttemptView::new(found, with_bodies));
    let next = page.next.map(|next| filter.after(&id, next));
    let list = List::new(shown.collect::<Result<_, _>>()?, next);
    Ok(HttpResponse::Ok().json(List {
        searched_to: page.searched_to,
        ..list
    }))
}
