//! Rules, in the API's form and in the alert service's.

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use actix_web::web::Path;
use actix_web::{
    FromRequest, HttpRequest, HttpResponse, HttpResponseBuilder, delete, get, patch, post, put,
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use utoipa_actix_web::scope::Scope;
use uuid::Uuid;

use super::deliveries::url_of;
use super::edit::Editable;
use super::{Answer, Routing, State, prefers, tagged};
use crate::actor::message::RulePage;
use crate::domain::routing::query::RuleQuery;
use crate::domain::routing::rule::Rule;
use crate::domain::value::id::RuleId;
use crate::engine::{Engine, OperateError};
use crate::web::model::delivery::{Removal, Removed};
use crate::web::model::page::List;
use crate::web::model::reshape;
use crate::web::model::rule::{
    AlertServiceRule, Form, RuleFilter, RuleForm, RuleInAnyForm, RulePatch, RuleView,
};
use crate::web::problems::{Code, Problem};
use crate::web::read::{JSON, Patch, Query, Raw, parse};
use crate::web::{cursor, etag};

/// The media type of a rule in the alert service's form.
const ALERT_SERVICE: &str = "application/vnd.alert-service.rule+json";

pub(super) fn add<T: Routing>(scope: Scope<T>) -> Scope<T> {
    let scope = scope.service(list).service(create).service(show);
    scope.service(put_rule).service(change).service(remove)
}

/// List rules, ordered by id.
#[utoipa::path(
    tag = "rules",
    params(RuleFilter),
    responses((
        status = 200,
        description = "A page of rules.",
        content(
            (List<RuleInAnyForm> = "application/json"),
            (List<AlertServiceRule> = "application/vnd.alert-service.rule+json")
        )
    )),
    security(("token" = ["read"]))
)]
#[get("/rules")]
async fn list(web: State, request: HttpRequest, Query(filter): Query<RuleFilter>) -> Answer {
    let page = web.engine.find_rules(query(&web.engine, &filter).await?);
    let RulePage { rules, next, .. } = page.await?;
    let next = next.map(|id| cursor::after(&filter, id.as_str()));
    if form_of_answer(&request, filter.form).is_some() {
        let shown = rules.iter().filter_map(AlertServiceRule::new).collect();
        let mut answer = HttpResponse::Ok();
        answer.insert_header((CONTENT_TYPE, content_type(&request)));
        return Ok(answer.json(List::new(shown, next)));
    }
    let shown = rules.iter().map(RuleView::new).collect::<Result<_, _>>()?;
    Ok(HttpResponse::Ok().json(List::new(shown, next)))
}

/// Returns the query of a filter.
async fn query(engine: &Engine, filter: &RuleFilter) -> Result<RuleQuery, Problem> {
    let after = filter.cursor.as_deref();
    let after = after.map(|given| cursor::place(filter, given));
    Ok(RuleQuery {
        client_id: filter.client.as_deref().map(Into::into),
        rule_type: filter.rule_type.clone(),
        url: url_of(engine, filter.endpoint).await?,
        enabled: filter.enabled,
        contains: filter.q.clone(),
        after: after.transpose()?.map(Into::into),
        limit: filter.limit.get(),
    })
}

/// Create a rule under an id that the service gives it, or under the one in the body.
#[utoipa::path(
    tag = "rules",
    params(RuleForm),
    request_body(content(
        (RuleView = "application/json"),
        (AlertServiceRule = "application/vnd.alert-service.rule+json")
    )),
    responses((
        status = 201,
        description = "The rule.",
        content(
            (RuleInAnyForm = "application/json"),
            (AlertServiceRule = "application/vnd.alert-service.rule+json")
        ),
        headers(
            ("Location" = String, description = "Its path."),
            ("ETag" = String, description = "Its tag.")
        )
    )),
    security(("token" = ["configure"]))
)]
#[post("/rules")]
async fn create(
    web: State,
    request: HttpRequest,
    Query(form): Query<RuleForm>,
    body: RuleBody,
) -> Answer {
    let _changing = web.engine.changing().await;
    let given = body.parse(form.form)?;
    let id = given.id().unwrap_or_else(|| Uuid::now_v7().into());
    if find(&web.engine, id.as_str()).await?.is_some() {
        let detail = "a rule has this id already; change it by PUT or PATCH";
        return Err(Problem::part(Code::RuleExists, "/id", detail));
    }
    let rule = given.rule(id, None)?;
    web.engine.put_rule(rule.clone()).await?;
    let encoded: String =
        url::form_urlencoded::byte_serialize(rule.id.as_str().as_bytes()).collect();
    let place = format!("{}/{}", request.path(), encoded.replace('+', "%20"));
    let mut answer = HttpResponse::Created();
    answer.insert_header((LOCATION, place));
    shown(&request, answer, &rule, body.form(form.form))
}

/// Show a rule.
#[utoipa::path(
    tag = "rules",
    params(("id" = String, Path, description = "The rule's id."), RuleForm),
    responses((
        status = 200,
        description = "The rule.",
        content(
            (RuleInAnyForm = "application/json"),
            (AlertServiceRule = "application/vnd.alert-service.rule+json")
        ),
        headers(("ETag" = String, description = "Its tag."))
    )),
    security(("token" = ["read"]))
)]
#[get("/rules/{id}")]
async fn show(
    web: State,
    request: HttpRequest,
    id: Path<String>,
    Query(form): Query<RuleForm>,
) -> Answer {
    let rule = Rule::known(&web.engine, &id).await?;
    let form = form_of_answer(&request, form.form);
    shown(&request, HttpResponse::Ok(), &rule, form)
}

/// Put a rule as a whole. Its authorisation stays.
#[utoipa::path(
    tag = "rules",
    params(
        ("id" = String, Path, description = "The rule's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have."),
        RuleForm
    ),
    request_body(content(
        (RuleView = "application/json"),
        (AlertServiceRule = "application/vnd.alert-service.rule+json")
    )),
    responses(
        (
            status = 200,
            description = "It is changed.",
            content(
                (RuleInAnyForm = "application/json"),
                (AlertServiceRule = "application/vnd.alert-service.rule+json")
            ),
            headers(("ETag" = String, description = "Its new tag."))
        ),
        (
            status = 201,
            description = "It is created.",
            content(
                (RuleInAnyForm = "application/json"),
                (AlertServiceRule = "application/vnd.alert-service.rule+json")
            ),
            headers(("ETag" = String, description = "Its tag."))
        )
    ),
    security(("token" = ["configure"]))
)]
#[put("/rules/{id}")]
async fn put_rule(
    web: State,
    request: HttpRequest,
    id: Path<String>,
    Query(form): Query<RuleForm>,
    body: RuleBody,
) -> Answer {
    let _changing = web.engine.changing().await;
    let before = find(&web.engine, &id).await?;
    check(&request, before.as_ref())?;
    let rule = body
        .parse(form.form)?
        .rule(id.as_str().into(), before.as_ref())?;
    web.engine.put_rule(rule.clone()).await?;
    let answer = match before {
        Some(_) => HttpResponse::Ok(),
        None => HttpResponse::Created(),
    };
    shown(&request, answer, &rule, body.form(form.form))
}

/// Change a rule by a merge patch. Its authorisation stays.
#[utoipa::path(
    tag = "rules",
    params(
        ("id" = String, Path, description = "The rule's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have.")
    ),
    request_body(content = RulePatch, content_type = "application/merge-patch+json"),
    responses((
        status = 200,
        description = "The rule.",
        body = RuleView,
        headers(("ETag" = String, description = "Its new tag."))
    )),
    security(("token" = ["configure"]))
)]
#[patch("/rules/{id}")]
async fn change(web: State, request: HttpRequest, id: Path<String>, patch: Patch) -> Answer {
    let _changing = web.engine.changing().await;
    let before = Rule::known(&web.engine, &id).await?;
    check(&request, Some(&before))?;
    let target = reshape(&RuleView::new(&before)?)?;
    let view: RuleView = patch.apply(target)?;
    let rule = view.with_id(before.id.clone(), Some(&before))?;
    web.engine.put_rule(rule.clone()).await?;
    shown(&request, HttpResponse::Ok(), &rule, None)
}

/// Remove a rule. Its deliveries continue unless `endDeliveries` is `true`.
#[utoipa::path(
    tag = "rules",
    params(
        ("id" = String, Path, description = "The rule's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have."),
        Removal
    ),
    responses((status = 200, description = "It is removed.", body = Removed)),
    security(("token" = ["configure"]))
)]
#[delete("/rules/{id}")]
async fn remove(
    web: State,
    request: HttpRequest,
    id: Path<String>,
    Query(removal): Query<Removal>,
) -> Answer {
    let _changing = web.engine.changing().await;
    let rule = Rule::known(&web.engine, &id).await?;
    check(&request, Some(&rule))?;
    let dead_lettered = if removal.end_deliveries {
        web.engine.end_rule(rule.id).await?
    } else {
        web.engine.remove_rule(rule.id).await?;
        0
    };
    Ok(HttpResponse::Ok().json(Removed { dead_lettered }))
}

/// A rule in one of two forms, before it is parsed.
struct RuleBody {
    by_media: Option<Form>,
    bytes: Bytes,
}

impl FromRequest for RuleBody {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let raw = Raw::read(request, payload.take(), &[JSON, ALERT_SERVICE]);
        async move {
            let Raw { media, bytes } = raw.await?;
            let by_media = (media == ALERT_SERVICE).then_some(Form::AlertService);
            Ok(Self { by_media, bytes })
        }
        .boxed_local()
    }
}

impl RuleBody {
    fn form(&self, asked: Option<Form>) -> Option<Form> {
        asked.or(self.by_media)
    }

    fn parse(&self, asked: Option<Form>) -> Result<GivenRule, Problem> {
        Ok(match self.form(asked) {
            Some(Form::AlertService) => GivenRule::AlertService(parse(&self.bytes)?),
            None => GivenRule::Own(parse(&self.bytes)?),
        })
    }
}

enum GivenRule {
    Own(RuleView),
    AlertService(AlertServiceRule),
}

impl GivenRule {
    fn id(&self) -> Option<RuleId> {
        match self {
            Self::Own(view) => view.id(),
            Self::AlertService(rule) => rule.id(),
        }
        .cloned()
    }

    fn rule(self, id: RuleId, current: Option<&Rule>) -> Result<Rule, Problem> {
        match self {
            Self::Own(view) => view.with_id(id, current),
            Self::AlertService(rule) => rule.with_id(id, current),
        }
    }
}

/// Returns the form that an answer is asked for in.
fn form_of_answer(request: &HttpRequest, asked: Option<Form>) -> Option<Form> {
    let by_media = prefers(request, ALERT_SERVICE);
    asked.or(by_media.then_some(Form::AlertService))
}

/// Returns the type of an answer in the alert service's form: plain JSON for a program that knows
/// no other.
fn content_type(request: &HttpRequest) -> &'static str {
    let own = form_of_answer(request, None).is_some()
        || request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind == ALERT_SERVICE);
    if own { ALERT_SERVICE } else { JSON }
}

/// Answers with a rule.
fn shown(
    request: &HttpRequest,
    mut answer: HttpResponseBuilder,
    rule: &Rule,
    form: Option<Form>,
) -> Answer {
    match form {
        None => tagged(answer, rule, &RuleView::new(rule)?),
        Some(Form::AlertService) => {
            answer.insert_header((CONTENT_TYPE, content_type(request)));
            let shown = AlertServiceRule::new(rule).ok_or_else(|| {
                let detail = "rule has several webhooks, and this form holds one";
                Problem::new(Code::NotRepresentable, detail)
            })?;
            tagged(answer, rule, &shown)
        }
    }
}

fn check(request: &HttpRequest, rule: Option<&Rule>) -> Result<(), Problem> {
    let tag = rule.map(etag::of).transpose()?;
    etag::check(request, tag.as_deref())
}

async fn find(engine: &Engine, id: &str) -> Result<Option<Rule>, Problem> {
    Ok(engine.rule(id).await?)
}

impl Editable for Rule {
    async fn known(engine: &Engine, id: &str) -> Result<Self, Problem> {
        let found = find(engine, id).await?;
        found.ok_or_else(|| Problem::new(Code::UnknownRule, "no rule has this id"))
    }

    async fn put(self, engine: &Engine) -> Result<(), OperateError> {
        engine.put_rule(self).await
    }
}
