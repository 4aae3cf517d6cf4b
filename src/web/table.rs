//! The routes as the OpenAPI document lists them: what each needs, and which parameters it has.
//!
//! The document is generated from the handlers, so a route cannot be mounted without being in this
//! table. One that names no capability is refused to everybody.

use std::sync::LazyLock;

use serde_json::Value;

use super::operator::Capability;
use super::problems::{Code, Problem};

/// A route.
#[derive(Debug)]
pub(super) struct Operation {
    method: String,
    /// The segments of the path; `None` for a parameter.
    segments: Vec<Option<String>>,
    needs: Needs,
    /// The names of the parameters in the query.
    query: Vec<String>,
}

/// What an operator must have to call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Valid credentials.
    Credentials,
    /// Valid credentials, and this capability.
    Capability(Capability),
    /// The route forgot to say. Nobody may call it.
    Nobody,
}

impl Operation {
    /// Returns the route that a request is for. `path` is below the API's prefix.
    pub(super) fn find(method: &str, path: &str) -> Result<&'static Self, Problem> {
        let mut allowed = Vec::new();
        for operation in TABLE.iter().filter(|operation| operation.has(path)) {
            if operation.method == method {
                return Ok(operation);
            }
            allowed.push(operation.method.as_str());
        }
        if allowed.is_empty() {
            return Err(Problem::new(Code::UnknownPath, "no route has this path"));
        }
        let methods = allowed.join(", ");
        let detail = format!("this path has only {methods}");
        Err(Problem::new(Code::MethodNotAllowed, detail).allow(&methods))
    }

    pub(super) fn needs(&self) -> Needs {
        self.needs
    }

    /// Checks that a query has only parameters of the route.
    pub(super) fn check_query(&self, query: &str) -> Result<(), Problem> {
        for (name, _) in url::form_urlencoded::parse(query.as_bytes()) {
            if !self.query.iter().any(|known| *known == name) {
                let shown: String = name.chars().take(64).collect();
                let known = if self.query.is_empty() {
                    "none".to_owned()
                } else {
                    self.query.join(", ")
                };
                let why = format!("not a parameter of this route; it has {known}");
                return Err(Problem::parameter(&shown, why));
            }
        }
        Ok(())
    }

    fn has(&self, path: &str) -> bool {
        let mut given = path.strip_prefix('/').unwrap_or(path).split('/');
        let fits = self
            .segments
            .iter()
            .all(|segment| match (segment, given.next()) {
                (Some(expected), Some(given)) => expected == given,
                (None, Some(given)) => !given.is_empty(),
                (_, None) => false,
            });
        fits && given.next().is_none()
    }
}

/// Returns every route of a document.
fn read(document: &Value) -> Vec<Operation> {
    let paths = document.get("paths").and_then(Value::as_object);
    let items = paths.into_iter().flatten().filter_map(|(path, item)| {
        let operations = item.as_object()?.iter();
        Some(operations.map(move |(method, operation)| Operation {
            method: method.to_ascii_uppercase(),
            segments: segments(path),
            needs: needs(operation),
            query: query(operation),
        }))
    });
    items.flatten().collect()
}

fn segments(path: &str) -> Vec<Option<String>> {
    let parts = path.split('/').skip(1);
    let fixed = |part: &str| (!part.starts_with('{')).then(|| part.to_owned());
    parts.map(fixed).collect()
}

fn needs(operation: &Value) -> Needs {
    let scopes = operation
        .pointer("/security/0/token")
        .and_then(Value::as_array);
    let Some(scopes) = scopes else {
        return Needs::Nobody;
    };
    let [name] = &scopes[..] else {
        return if scopes.is_empty() {
            Needs::Credentials
        } else {
            Needs::Nobody
        };
    };
    serde_json::from_value(name.clone()).map_or(Needs::Nobody, Needs::Capability)
}

fn query(operation: &Value) -> Vec<String> {
    let parameters = operation.get("parameters").and_then(Value::as_array);
    let of_query = |parameter: &&Value| parameter.get("in").is_some_and(|place| place == "query");
    let names = parameters.into_iter().flatten().filter(of_query);
    names
        .filter_map(|parameter| Some(parameter.get("name")?.as_str()?.to_owned()))
        .collect()
}

static TABLE: LazyLock<Vec<Operation>> = LazyLock::new(|| read(super::document()));

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_route_that_names_no_capability_is_for_nobody() {
        for (security, expected) in [
            (
                json!([{ "token": ["read"] }]),
                Needs::Capability(Capability::Read),
            ),
            (json!([{ "token": [] }]), Needs::Credentials),
            (json!([{ "token": ["write"] }]), Needs::Nobody),
            (json!([{ "token": ["read", "operate"] }]), Needs::Nobody),
            (json!([]), Needs::Nobody),
        ] {
            let document = json!({ "paths": { "/a/{id}": { "get": { "security": security } } } });
            let [operation] = &read(&document)[..] else {
                panic!()
            };
            assert_eq!(operation.needs, expected);
        }
        let document = json!({ "paths": { "/a": { "get": {} } } });
        assert_eq!(read(&document)[0].needs, Needs::Nobody);
    }

    #[test]
    fn every_mounted_route_names_what_it_needs() {
        assert!(TABLE.len() > 20, "{}", TABLE.len());
        for operation in TABLE.iter() {
            assert_ne!(operation.needs, Needs::Nobody, "{operation:?}");
        }
    }

    #[test]
    fn a_path_fits_segment_by_segment() {
        let document = json!({ "paths": { "/a/{id}/b": { "get": {} } } });
        let [operation] = &read(&document)[..] else {
            panic!()
        };
        assert!(operation.has("/a/1/b"));
        for other in ["/a/1", "/a//b", "/a/1/b/", "/a/1/c", "/", "", "/a/1/2/b"] {
            assert!(!operation.has(other), "{other}");
        }
    }
}
