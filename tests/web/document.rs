//! The OpenAPI document is what is committed.

use std::fs;
use std::path::Path;

use actix_webhooks::web::openapi;
use serde_json::Value;

use super::support::serve;

/// Generates the document again if `OPENAPI_UPDATE` is set.
#[test]
fn the_committed_document_is_the_generated_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let document = openapi();
    if std::env::var_os("OPENAPI_UPDATE").is_some() {
        let text = serde_json::to_string_pretty(&document).unwrap();
        fs::write(&file, text + "\n").unwrap();
    }
    let committed: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert!(
        committed == document,
        "docs/openapi.json is out of date; run OPENAPI_UPDATE=1 cargo test --test web document"
    );
}

#[test]
fn the_document_is_served_and_every_reference_in_it_leads_somewhere() {
    serve(async |api, _| {
        let document = api.get("/openapi.json").await.expect(200).json();
        assert_eq!(document["openapi"], "3.1.0");
        let mut references = Vec::new();
        collect(&document, &mut references);
        assert!(references.len() > 100, "{}", references.len());
        for reference in references {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let operations = document["paths"].as_object().unwrap().values();
        let operations = operations.flat_map(|item| item.as_object().unwrap().values());
        let ids: Vec<_> = operations
            .map(|operation| operation["operationId"].to_string())
            .collect();
        assert!(
            ids.contains(&"\"postEndpointsByIdPause\"".to_owned()),
            "{ids:?}"
        );
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(
            distinct.len(),
            ids.len(),
            "generators of clients name functions by them"
        );
        let calls = document["webhooks"].as_object().unwrap();
        assert_eq!(calls.len(), 4, "one for each format");
        for operation in calls.values() {
            let headers = operation["post"]["parameters"].as_array().unwrap();
            let names = headers
                .iter()
                .map(|header| header["name"].as_str().unwrap());
            assert!(names.eq([
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature",
                "webhook-attempt",
                "X-Codat-ClientId"
            ]));
        }
    });
}

fn collect<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|field| collect(field, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

#[test]
fn every_code_of_a_problem_is_listed_with_its_place_in_the_documentation() {
    serve(async |api, _| {
        let listed = api.get("/problems").await.expect(200).json();
        let document = openapi();
        let known = &document["components"]["schemas"]["ProblemCode"]["enum"];
        let listed = listed.as_array().unwrap();
        let codes: Vec<Value> = listed.iter().map(|kind| kind["code"].clone()).collect();
        assert_eq!(&Value::from(codes), known);
        let first = &listed[0];
        assert_eq!(first["status"], 400);
        let place = first["type"].as_str().unwrap();
        assert!(
            place.ends_with("/web/problems/index.html#invalid-parameter"),
            "{place}"
        );
    });
}
