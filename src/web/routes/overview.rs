//! The state of the engine, series, and operators' actions.

use actix_web::{HttpResponse, get};
use utoipa_actix_web::scope::Scope;

use super::deliveries::url_of;
use super::{Answer, Routing, State};
use crate::actor::message::ListActions;
use crate::web::model::overview::{
    ActionFilter, ActionView, OverviewView, SeriesView, Window, WindowName,
};
use crate::web::model::page::List;
use crate::web::problems::Problem;
use crate::web::read::Query;

pub(super) fn add<T: Routing>(scope: Scope<T>) -> Scope<T> {
    scope.service(overview).service(statistics).service(actions)
}

/// Are we fine, and who is not?
#[utoipa::path(
    tag = "overview",
    responses((status = 200, description = "The state of the engine.", body = OverviewView)),
    security(("token" = ["read"]))
)]
#[get("/overview")]
async fn overview(web: State) -> Answer {
    let overview = web.engine.overview().await?;
    Ok(HttpResponse::Ok().json(OverviewView::new(&overview)?))
}

/// Attempts by second or minute: of all endpoints together, or of one from its latest attempts.
#[utoipa::path(
    tag = "overview",
    params(Window),
    responses((status = 200, description = "The series.", body = SeriesView)),
    security(("token" = ["read"]))
)]
#[get("/statistics")]
async fn statistics(web: State, Query(Window { window, endpoint }): Query<Window>) -> Answer {
    let window = window.unwrap_or(WindowName::Hour);
    let series = match url_of(&web.engine, endpoint).await? {
        None => SeriesView::new(&web.engine.series(window.into()).await?)?,
        Some(url) => {
            let endpoint = web.engine.endpoint(&url);
            SeriesView::of_endpoint(&endpoint.statistics(window.into()).await?)?
        }
    };
    Ok(HttpResponse::Ok().json(series))
}

/// What did operators do? The newest first, at most 100.
#[utoipa::path(
    tag = "overview",
    params(ActionFilter),
    responses((status = 200, description = "The actions.", body = List<ActionView>)),
    security(("token" = ["read"]))
)]
#[get("/actions")]
async fn actions(web: State, Query(filter): Query<ActionFilter>) -> Answer {
    let url = url_of(&web.engine, filter.endpoint).await?;
    let query = match (url, filter.about) {
        (Some(_), Some(_)) => {
            return Err(Problem::parameter("about", "goes only without endpoint"));
        }
        (Some(url), None) => ListActions::about(url.as_str()),
        (None, Some(about)) => ListActions::about(about),
        (None, None) => ListActions::default(),
    };
    let actions = web.engine.actions(query).await?;
    let shown = actions.iter().map(ActionView::new);
    let list = List::new(shown.collect::<Result<_, _>>()?, None);
    Ok(HttpResponse::Ok().json(list))
}
