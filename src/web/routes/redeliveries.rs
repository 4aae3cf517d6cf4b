//! Redeliveries of everything that a filter finds: planning, starting, watching, stopping.

use actix_web::web::Path;
use actix_web::{HttpResponse, delete, get, post};
use utoipa_actix_web::scope::Scope;

use super::deliveries::{instant, url_of};
use super::{Answer, Routing, State};
use crate::actor::message::{PlanRedelivery, StartRedelivery};
use crate::engine::Engine;
use crate::store::{DeadLetterQuery, DeliveryQuery, Redelivery, RedeliveryId, RedeliveryJob};
use crate::web::model::page::List;
use crate::web::model::redelivery::{DryRun, Kind, Plan, RedeliveryView, Wanted};
use crate::web::problems::{Code, Problem};
use crate::web::read::{Body, Query};

pub(super) fn add<T: Routing>(scope: Scope<T>) -> Scope<T> {
    scope
        .service(list)
        .service(start)
        .service(show)
        .service(stop)
}

/// Redeliver everything that a filter finds, oldest first; or, with `dryRun`, plan it.
#[utoipa::path(
    tag = "redeliveries",
    params(DryRun),
    request_body(content = Wanted),
    responses(
        (status = 200, description = "What it would redeliver.", body = Plan),
        (status = 202, description = "It has begun.", body = RedeliveryView)
    ),
    security(("token" = ["redeliver"]))
)]
#[post("/redeliveries")]
async fn start(web: State, Query(run): Query<DryRun>, Body(wanted): Body<Wanted>) -> Answer {
    let which = which(&web.engine, &wanted).await?;
    if run.dry_run || wanted.expected.is_some() {
        let plan = PlanRedelivery::new(which.clone());
        let plan = web.engine.plan_redelivery(plan).await?;
        if run.dry_run {
            return Ok(HttpResponse::Ok().json(Plan::from(plan)));
        }
        let now = plan.count.count;
        if let Some(expected) = wanted.expected.filter(|expected| now > *expected) {
            let detail = format!("{now} deliveries match now, not {expected}; look at them again");
            return Err(Problem::new(Code::ChangedSince, detail));
        }
    }
    let job = web.engine.start_redelivery(StartRedelivery(which)).await?;
    Ok(HttpResponse::Accepted().json(RedeliveryView::new(&job)?))
}

async fn which(engine: &Engine, wanted: &Wanted) -> Result<Redelivery, Problem> {
    let url = url_of(engine, wanted.endpoint).await?;
    let since = instant(engine, wanted.since).await?;
    let until = instant(engine, wanted.until).await?;
    Ok(match wanted.of {
        Kind::DeadLetters => Redelivery::DeadLetters(DeadLetterQuery {
            url,
            client_id: wanted.client.as_deref().map(Into::into),
            company_id: wanted.company.as_deref().map(Into::into),
            event_id: wanted.event.as_deref().map(Into::into),
            rule_id: wanted.rule.as_deref().map(Into::into),
            rule_type: wanted.rule_type.clone(),
            failure: wanted.failure,
            reason: wanted.reason,
            since,
            until,
            ..DeadLetterQuery::default()
        }),
        Kind::Ended => Redelivery::Ended(DeliveryQuery {
            url,
            client_id: wanted.client.as_deref().map(Into::into),
            company_id: wanted.company.as_deref().map(Into::into),
            event_id: wanted.event.as_deref().map(Into::into),
            rule_id: wanted.rule.as_deref().map(Into::into),
            rule_type: wanted.rule_type.clone(),
            failure: wanted.failure,
            reason: wanted.reason,
            since,
            until,
            ..DeliveryQuery::default()
        }),
    })
}

/// List redeliveries, oldest first: those that go on, and at least the last 100 that have ended.
#[utoipa::path(
    tag = "redeliveries",
    responses((status = 200, description = "All of them.", body = List<RedeliveryView>)),
    security(("token" = ["read"]))
)]
#[get("/redeliveries")]
async fn list(web: State) -> Answer {
    let jobs = web.engine.redeliveries().await?;
    let shown = jobs.iter().map(RedeliveryView::new);
    let list = List::new(shown.collect::<Result<_, _>>()?, None);
    Ok(HttpResponse::Ok().json(list))
}

/// Show a redelivery and its progress.
#[utoipa::path(
    tag = "redeliveries",
    params(("id" = String, Path, description = "The redelivery's id.")),
    responses((status = 200, description = "The redelivery.", body = RedeliveryView)),
    security(("token" = ["read"]))
)]
#[get("/redeliveries/{id}")]
async fn show(web: State, id: Path<String>) -> Answer {
    let job = find(&web.engine, read(&id)?).await?;
    Ok(HttpResponse::Ok().json(RedeliveryView::new(&job)?))
}

/// Returns the redelivery with an id.
pub(in crate::web) async fn find(
    engine: &Engine,
    id: RedeliveryId,
) -> Result<RedeliveryJob, Problem> {
    let jobs = engine.redeliveries().await?;
    jobs.into_iter()
        .find(|job| job.id == id)
        .ok_or_else(unknown)
}

/// Stop a redelivery. What it has started goes on; what is left was not touched.
#[utoipa::path(
    tag = "redeliveries",
    params(("id" = String, Path, description = "The redelivery's id.")),
    responses((status = 202, description = "The redelivery.", body = RedeliveryView)),
    security(("token" = ["redeliver"]))
)]
#[delete("/redeliveries/{id}")]
async fn stop(web: State, id: Path<String>) -> Answer {
    let job = web.engine.stop_redelivery(read(&id)?).await?;
    let job = job.ok_or_else(unknown)?;
    Ok(HttpResponse::Accepted().json(RedeliveryView::new(&job)?))
}

fn read(id: &str) -> Result<RedeliveryId, Problem> {
    let plain = id.bytes().all(|byte| byte.is_ascii_digit());
    let number = id.parse().ok().filter(|_| plain);
    let wrong = || Problem::parameter("id", "redelivery id must be a number");
    number.map(RedeliveryId::new).ok_or_else(wrong)
}

fn unknown() -> Problem {
    Problem::new(
        Code::UnknownRedelivery,
        "no redelivery has this id, or it is forgotten",
    )
}
