//! Why a receiver got nothing, and what an event would match.

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse, get, post};
use utoipa_actix_web::scope::Scope;

use super::deliveries::{delivery_id, instant, url_of};
use super::{Answer, Routing, State, prefers};
use crate::actor::message::{AskWhy, ExplainRouting};
use crate::engine::Engine;
use crate::store::DeliveryQuery;
use crate::web::model::why::{ExplanationView, Probe, Question, WhyView};
use crate::web::problems::Problem;
use crate::web::read::{Body, Query};

pub(super) fn add<T: Routing>(scope: Scope<T>) -> Scope<T> {
    scope.service(why).service(explain)
}

/// Why did a receiver get nothing, or what did it get?
///
/// As text for a terminal if `Accept` prefers `text/plain` to JSON.
#[utoipa::path(
    tag = "why",
    params(Question),
    responses((
        status = 200,
        description = "What was found.",
        content((WhyView = "application/json"), (String = "text/plain"))
    )),
    security(("token" = ["read"]))
)]
#[get("/why")]
async fn why(web: State, request: HttpRequest, Query(question): Query<Question>) -> Answer {
    let question = asked(&web.engine, question).await?;
    let why = web.engine.why(question).await?;
    Ok(if prefers(&request, TEXT) {
        let text = format!("{why}\n");
        HttpResponse::Ok()
            .content_type(ContentType::plaintext())
            .body(text)
    } else {
        HttpResponse::Ok().json(WhyView::new(&why)?)
    })
}

async fn asked(engine: &Engine, question: Question) -> Result<AskWhy, Problem> {
    let beside = [
        ("ruleType", question.rule_type.is_some()),
        ("company", question.company.is_some()),
        ("endpoint", question.endpoint.is_some()),
        ("since", question.since.is_some()),
    ];
    let beside = beside.into_iter().find(|(_, given)| *given);
    let one = match (
        question.event,
        question.delivery,
        question.webhook_id,
        question.client,
    ) {
        (Some(event), None, None, None) => AskWhy::event(event),
        (None, Some(id), None, None) => AskWhy::delivery(delivery_id("delivery", &id)?),
        (None, None, Some(id), None) => AskWhy::alert(id),
        (None, None, None, Some(client)) => {
            return Ok(AskWhy::deliveries(DeliveryQuery {
                client_id: Some(client.into()),
                rule_type: question.rule_type,
                company_id: question.company.map(Into::into),
                url: url_of(engine, question.endpoint).await?,
                since: instant(engine, question.since).await?,
                ..DeliveryQuery::default()
            }));
        }
        _ => {
            let one = "ask for one of event, delivery, webhookId and client";
            return Err(Problem::parameter("event", one));
        }
    };
    match beside {
        Some((name, _)) => Err(Problem::parameter(name, "goes only with client")),
        None => Ok(one),
    }
}

/// Which rules would an event match now, and why not others? Nothing is published.
#[utoipa::path(
    tag = "why",
    request_body(content = Probe),
    responses((status = 200, description = "What matches.", body = ExplanationView)),
    security(("token" = ["read"]))
)]
#[post("/routing/explain")]
async fn explain(web: State, Body(probe): Body<Probe>) -> Answer {
    let mut asked = ExplainRouting::new(probe.rule_type, probe.client_id);
    asked.company_id = probe.company_id.map(Into::into);
    asked.data = probe.data;
    let explanation = web.engine.explain(asked).await?;
    Ok(HttpResponse::Ok().json(ExplanationView::new(&explanation)?))
}

/// The media type of an answer as text.
const TEXT: &str = "text/plain";
