//! The OpenAPI document: the routes as their handlers describe them, and what all of them share.

use serde_json::{Map, Value, json};
use utoipa::openapi::{Components, OpenApiBuilder};
use utoipa::{PartialSchema as _, ToSchema as _};
use utoipa_actix_web::OpenApiFactory;

use super::problem::ProblemDocument;
use super::webhooks;

/// Returns the document of these routes.
pub(in crate::web) fn document(routes: &impl OpenApiFactory) -> Value {
    let mut schemas = Vec::new();
    routes.schemas(&mut schemas);
    ProblemDocument::schemas(&mut schemas);
    schemas.push((
        ProblemDocument::name().into_owned(),
        ProblemDocument::schema(),
    ));
    let mut components = Components::new();
    components.schemas.extend(schemas);
    let api = OpenApiBuilder::new()
        .paths(routes.paths())
        .components(Some(components))
        .build();
    let mut document = serde_json::to_value(api).unwrap_or_default();
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    for (path, item) in paths.into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            if let Value::Object(operation) = operation {
                complete(operation);
                operation.insert("operationId".to_owned(), id(method, path).into());
            }
        }
    }
    if let Value::Object(whole) = &mut document {
        whole.insert("info".to_owned(), info());
        whole.insert("servers".to_owned(), json!([{ "url": "." }]));
        whole.insert("tags".to_owned(), tags());
        whole.insert("webhooks".to_owned(), webhooks::section());
        if let Some(Value::Object(components)) = whole.get_mut("components") {
            components.insert("securitySchemes".to_owned(), schemes());
            components.insert("responses".to_owned(), json!({ "Problem": problem() }));
        }
    }
    document
}

/// Returns the id of an operation: `postEndpointsByIdPause` for `POST /endpoints/{id}/pause`.
fn id(method: &str, path: &str) -> String {
    let mut id = method.to_owned();
    for segment in path
        .split(['/', '-', '.'])
        .filter(|segment| !segment.is_empty())
    {
        let name = match segment.strip_prefix('{') {
            Some(parameter) => {
                id.push_str("By");
                parameter.trim_end_matches('}')
            }
            None => segment,
        };
        let mut letters = name.chars();
        id.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        id.push_str(letters.as_str());
    }
    id
}

/// Adds what every operation has: the second way to send credentials, and problems.
fn complete(operation: &mut Map<String, Value>) {
    let scopes = operation
        .get("security")
        .and_then(|all| all.pointer("/0/token"))
        .cloned();
    if let (Some(scopes), Some(Value::Array(all))) = (scopes, operation.get_mut("security")) {
        all.push(json!({ "basic": scopes }));
    }
    if let Some(Value::Object(responses)) = operation.get_mut("responses") {
        let reference = json!({ "$ref": "#/components/responses/Problem" });
        responses.insert("default".to_owned(), reference);
    }
}

fn info() -> Value {
    json!({
        "title": "actix-webhooks",
        "version": env!("CARGO_PKG_VERSION"),
        "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        "description": "Endpoints, rules, clients, events and deliveries of a webhook sender. \
            Times are RFC 3339 in UTC, durations milliseconds, delivery ids strings. Unknown \
            parameters and fields are errors. Every error is a problem (RFC 9457) with a code of a \
            closed list. The scope of an operation's `token` is the capability that it needs.",
    })
}

fn tags() -> Value {
    json!([
        { "name": "meta", "description": "The caller, this document, and the codes of problems." },
        { "name": "endpoints", "description": "Webhook URLs with their settings and their state." },
        { "name": "secrets", "description": "What goes in and never comes back." },
        { "name": "rules", "description": "Which events go where." },
        { "name": "clients", "description": "The customers whose events are sent." },
        { "name": "events", "description": "Publishing." },
        { "name": "deliveries", "description": "Alerts on their way, and dead letters." },
    ])
}

fn schemes() -> Value {
    json!({
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "If the application gives access by tokens. With a guard of its own it \
                takes other credentials.",
        },
        "basic": {
            "type": "http",
            "scheme": "basic",
            "description": "If the application gives access by HTTP Basic.",
        },
    })
}

fn problem() -> Value {
    json!({
        "description": "A problem; see `code`.",
        "headers": {
            "X-Request-Id": {
                "description": "The id of the request, as in the log.",
                "schema": { "type": "string" },
            },
        },
        "content": {
            "application/problem+json": {
                "schema": { "$ref": "#/components/schemas/Problem" },
            },
        },
    })
}
