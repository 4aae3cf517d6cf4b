//! The `webhooks` section of the OpenAPI document: the calls that receivers get.

use serde_json::{Value, json};

/// Returns a webhook for each format of bodies.
pub(super) fn section() -> Value {
    json!({
        "alert": call(
            "The alert service's envelope (`alert`, the default). Keys without a value are left out.",
            "application/json",
            &json!({
                "type": "object",
                "required": ["ClientId", "RuleId", "RuleType", "AlertId"],
                "properties": {
                    "ClientId": { "type": "string" },
                    "ClientName": { "type": "string" },
                    "CompanyId": { "type": "string" },
                    "DataConnectionId": { "type": "string" },
                    "RuleId": { "type": "string" },
                    "RuleType": { "type": "string" },
                    "AlertId": {
                        "type": "string",
                        "format": "uuid",
                        "description": "The same on every attempt, as in `webhook-id`.",
                    },
                    "Message": { "type": "string" },
                    "Data": { "description": "The event's data, unchanged." },
                },
            }),
        ),
        "standardWebhook": call(
            "Standard Webhooks 1.0 (`standard_webhooks`).",
            "application/json",
            &json!({
                "type": "object",
                "required": ["type", "timestamp", "data"],
                "properties": {
                    "type": { "type": "string" },
                    "timestamp": { "type": "string", "format": "date-time" },
                    "data": { "description": "The event's data; `null` if it has none." },
                },
            }),
        ),
        "cloudEvent": call(
            "CloudEvents 1.0 in structured mode (`cloud_events`).",
            "application/cloudevents+json",
            &json!({
                "type": "object",
                "required": ["specversion", "id", "source", "type", "time", "datacontenttype"],
                "properties": {
                    "specversion": { "type": "string", "const": "1.0" },
                    "id": { "type": "string", "format": "uuid" },
                    "source": { "type": "string", "examples": ["/clients/bank-of-dave"] },
                    "type": { "type": "string" },
                    "time": { "type": "string", "format": "date-time" },
                    "subject": { "type": "string", "description": "The company." },
                    "datacontenttype": { "type": "string", "const": "application/json" },
                    "data": { "description": "The event's data, unchanged." },
                },
            }),
        ),
        "raw": call(
            "The event's data alone (`raw`); `null` if it has none.",
            "application/json",
            &json!({ "description": "The event's data, unchanged." }),
        ),
    })
}

fn call(summary: &str, media: &str, schema: &Value) -> Value {
    json!({
        "post": {
            "summary": summary,
            "description": "Sent until it is answered with a 2xx, at least once: the same \
                `webhook-id` is the same alert. An endpoint may name the three signature headers \
                differently, and has further headers of its own.",
            "parameters": [
                header("webhook-id", true, "The alert's id, the same on every attempt.",
                    &json!({ "type": "string", "format": "uuid" })),
                header("webhook-timestamp", true, "The time of the attempt, in unix seconds.",
                    &json!({ "type": "integer", "format": "int64" })),
                header("webhook-signature", false,
                    "If the endpoint has secrets: for each, `v1,` and an HMAC-SHA256, or `v1a,` and \
                     an ed25519 signature, in base64, of `{id}.{timestamp}.{body}`; separated by \
                     spaces.",
                    &json!({ "type": "string" })),
                header("webhook-attempt", true, "The number of the attempt, from 1.",
                    &json!({ "type": "integer", "minimum": 1 })),
                header("X-Codat-ClientId", true,
                    "The client's id. The application may have chosen another name.",
                    &json!({ "type": "string" })),
            ],
            "requestBody": { "required": true, "content": { media: { "schema": schema } } },
            "responses": {
                "2XX": { "description": "The receiver has accepted the delivery." },
                "410": { "description": "The receiver is gone for good." },
                "429": { "description": "Slow down; `Retry-After` is honoured." },
                "503": { "description": "Try again; `Retry-After` is honoured." },
            },
        },
    })
}

fn header(name: &str, required: bool, description: &str, schema: &Value) -> Value {
    json!({
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "schema": schema,
    })
}
